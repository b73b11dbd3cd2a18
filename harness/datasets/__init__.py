"""The paper's three data sets, from disk, else from scikit-learn's embedded digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.datasets import cifar10, dvs_cifar10, nmnist
from harness.datasets.batch import Batch, Request, assemble
from harness.datasets.download import attempt
from harness.datasets.events import MissingReader
from harness.datasets.samples import About, Samples, Split, data_root, home_relative
from harness.datasets.whole import Labelled, Say, Wanted, gather
from harness.spec import UsageError

__all__ = [
    "DOWNLOAD_MIB",
    "Batch",
    "Found",
    "Labelled",
    "Request",
    "Wanted",
    "data_root",
    "find",
    "load_batch",
    "load_split",
]


class DataSet(Protocol):
    """What the file of a data set holds."""

    TITLE: str
    DOWNLOAD_MIB: int  # of the archives
    LAYOUT: str  # expected under the data root
    HOW: str  # to get it
    WHOLE: dict[Split, int]

    def inputs(self, root: Path, split: Split, T: int) -> Samples[NDArray[np.uint8]] | None:
        """The samples found: pixels (C, H, W), or event counts (T, C, H, W).

        Raises MissingReader where they cannot be read.
        """
        ...

    def stand_in(self, root: Path | None, split: Split, T: int) -> Samples[NDArray[np.uint8]]:
        """What takes their place: from other data under `root`, else what packages embed."""
        ...

    def download(self, root: Path, split: Split) -> None:
        """Fetches them into `root`."""
        ...


DATASETS: dict[str, DataSet] = {
    "cifar10": cifar10,
    "nmnist": nmnist,
    "dvs-cifar10": dvs_cifar10,
}
DOWNLOAD_MIB = {name: dataset.DOWNLOAD_MIB for name, dataset in DATASETS.items()}


@dataclass(frozen=True)
class Found:
    """What of a data set is under a data root."""

    dataset: str
    title: str
    train: About | None  # None: nothing that can be read
    test: About | None
    problem: str  # what is wrong or missing, the layout expected, how to get it; "" if all is there


def load_batch(request: Request) -> Batch:
    """A seeded batch of `request.dataset`, or of what stands in for it: `source` says which.

    Raises UsageError for an unknown data set, a data root that is none, fewer samples than the
    batch size, and a damaged file. A failed download and a missing reader are notes in `source`.
    """
    samples, note = _sought(
        request.dataset, request.split, request.T, root=request.root, download=request.download
    )
    return assemble(request, samples, note)


def load_split(wanted: Wanted, split: Split, say: Say) -> Labelled:
    """A whole split as arrays, or as many samples as are wanted: real, else what stands in.

    Raises UsageError for an unknown data set, a data root that is none, and where no sample can be
    read. Damaged samples are left out and named in `source`, as are a failed download and a
    missing reader.
    """
    if wanted.embedded:
        samples, note = _dataset(wanted.dataset).stand_in(None, split, wanted.T), ""
    else:
        samples, note = _sought(
            wanted.dataset, split, wanted.T, root=wanted.root, download=wanted.download
        )
    return gather(wanted, split, samples, note, say)


def _sought(
    name: str, split: Split, T: int, *, root: Path | None, download: bool
) -> tuple[Samples[NDArray[np.uint8]], str]:
    """The samples under the root, fetched where they may be, else the stand-in; and why."""
    dataset, root = _dataset(name), _root(root)
    failure = ""
    try:
        found = dataset.inputs(root, split, T)
        if found is None and download:
            failure = attempt(lambda: _fetch(dataset, root, split))
            found = dataset.inputs(root, split, T)
    except MissingReader as error:
        return dataset.stand_in(root, split, T), str(error)
    problem = _problem(dataset, root, {split: found.about if found else None})
    note = "; ".join(text for text in (failure, problem) if text)
    return found or dataset.stand_in(root, split, T), note


def find(dataset: str, root: Path | None = None) -> Found:
    """What of `dataset` is under `root`. Raises UsageError for a wrong name or root alone."""
    sought = _dataset(dataset)
    root = _root(root)
    found: dict[Split, About | None] = {"train": None, "test": None}
    problem = ""
    for split in found:
        try:
            samples = sought.inputs(root, split, T=1)
        except UsageError as error:  # a damaged folder, a missing reader
            problem = str(error)
        else:
            found[split] = samples.about if samples else None
    if not problem:
        problem = _problem(sought, root, found)
    return Found(dataset, sought.TITLE, found["train"], found["test"], problem)


def _dataset(name: str) -> DataSet:
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}, choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def _root(given: Path | None) -> Path:
    return data_root(None if given is None else str(given))


def _fetch(dataset: DataSet, root: Path, split: Split) -> None:
    root.mkdir(parents=True, exist_ok=True)
    dataset.download(root, split)


def _problem(dataset: DataSet, root: Path, found: dict[Split, About | None]) -> str:
    """Why the splits `found` are not the whole data set, and how to get it; "" where they are."""
    if all(about is None for about in found.values()):
        lack = f"not found under {home_relative(root)}, where {dataset.LAYOUT} was looked for"
    else:
        lack = ", ".join(text for split, about in found.items() for text in _lacks(split, about))
    if not lack:
        return ""
    how = f"{dataset.HOW} ({dataset.DOWNLOAD_MIB:,} MiB)"
    return f"{dataset.TITLE}: {lack}; to get the whole original, {how}"


def _lacks(split: Split, about: About | None) -> list[str]:
    if about is None:
        return [f"no {split} samples"]
    lacks: list[str] = []
    if about.count < about.whole:
        lacks.append(f"{about.count:,} of {about.whole:,} {split} samples found")
    if about.lossy:
        lacks.append(f"the {split} samples are a lossy copy")
    return lacks
