"""The paper's three data sets, from disk, else from scikit-learn's embedded digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.datasets import cifar10, dvs_cifar10, nmnist
from harness.datasets.batch import Batch, Request, assemble, network_input
from harness.datasets.dataset import DataSet, EventDataSet
from harness.datasets.download import attempt
from harness.datasets.events import Bins, Events, MissingReader
from harness.datasets.recordings import Recorded, Recordings, gather_events
from harness.datasets.samples import About, Samples, Split, data_root, home_relative, left_out
from harness.datasets.whole import Labelled, Wanted, gather, joined
from harness.spec import Say, UsageError

__all__ = [
    "DOWNLOAD_MIB",
    "Batch",
    "Found",
    "Labelled",
    "Recorded",
    "Recordings",
    "Request",
    "Wanted",
    "data_root",
    "find",
    "load_batch",
    "load_recorded",
    "load_recordings",
    "load_split",
    "load_splits",
    "network_input",
]


DATASETS: dict[str, DataSet] = {
    "cifar10": cifar10,
    "nmnist": nmnist,
    "dvs-cifar10": dvs_cifar10,
}
EVENT_DATASETS: dict[str, EventDataSet] = {"nmnist": nmnist, "dvs-cifar10": dvs_cifar10}
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
    samples, note = _frames(
        request.dataset,
        request.split,
        Bins(request.T),
        root=request.root,
        download=request.download,
    )
    return assemble(request, samples, note)


def load_split(wanted: Wanted, split: Split, say: Say) -> Labelled:
    """A whole split as arrays, or as many samples as are wanted: real, else what stands in.

    Raises UsageError for an unknown data set, a data root that is none, and where no sample can be
    read. Damaged samples are left out and named in `source`, as are a failed download and a
    missing reader.
    """
    samples, note = _listed(wanted, split)
    return gather(wanted, split, samples, note, say)


def load_splits(wanted: Wanted, test_samples: int | None, say: Say) -> tuple[Labelled, Labelled]:
    """The training and the test split, as `load_split` reads each; `test_samples` of the latter.

    Raises UsageError, before anything is read, where the two are of different kinds: a network
    trained on recordings says nothing about them when it is tested on what stands in for them.
    """
    train, train_note = _listed(wanted, "train")
    test, test_note = _listed(wanted, "test")
    _same_kind(wanted, {"train": train.about, "test": test.about})
    fewer = replace(wanted, samples=test_samples)
    return (
        gather(wanted, "train", train, train_note, say),
        gather(fewer, "test", test, test_note, say),
    )


def load_recordings(
    wanted: Wanted, test_samples: int | None, say: Say
) -> tuple[Recorded, Recorded]:
    """The whole recordings of both splits, with the samples that `load_splits` takes of them.

    Raises UsageError as `load_splits` does, and for a data set of images.
    """
    camera = _events(wanted.dataset).CAMERA
    train, train_note = _recordings(wanted, "train")
    test, test_note = _recordings(wanted, "test")
    _same_kind(wanted, {"train": train.about, "test": test.about})
    fewer = replace(wanted, samples=test_samples)
    return (
        gather_events(wanted, camera, train, train_note, say),
        gather_events(fewer, camera, test, test_note, say),
    )


def load_recorded(wanted: Wanted, say: Say) -> Labelled | None:
    """The recordings of both splits as frames, to test what is trained on simulated events.

    None where there are none. Raises UsageError as `load_split` does.
    """
    dataset, root = _events(wanted.dataset), _root(wanted.root)
    splits: tuple[Split, ...] = ("train", "test")
    every, parts = replace(wanted, samples=None), []
    for split in splits:
        found = dataset.inputs(root, split, wanted.bins)
        if found is not None:
            parts.append(gather(every, split, found, "", say))
    return joined(parts) if parts else None


def _recordings(wanted: Wanted, split: Split) -> tuple[Samples[Events], str]:
    """The recordings of a split, not yet read, and why they are not the real ones."""
    dataset = EVENT_DATASETS[wanted.dataset]
    if wanted.embedded:
        samples, note = dataset.simulated(None, split), ""
    else:
        seek = _Seek(dataset, split, _root(wanted.root), wanted.download)
        samples, note = seek.found(
            lambda root: dataset.recordings(root, split),
            lambda root: dataset.simulated(root, split),
        )
    return samples, note


def _listed(wanted: Wanted, split: Split) -> tuple[Samples[NDArray[np.uint8]], str]:
    """The samples of a split, not yet read, and why they are not the real ones."""
    if wanted.embedded:
        return _dataset(wanted.dataset).stand_in(None, split, wanted.bins), ""
    if wanted.simulated:
        return _events(wanted.dataset).unrecorded(_root(wanted.root), split, wanted.bins), ""
    return _frames(wanted.dataset, split, wanted.bins, root=wanted.root, download=wanted.download)


def _same_kind(wanted: Wanted, found: dict[Split, About]) -> None:
    """Raises UsageError where one split is real and the other stands in for it."""
    distance = {split: (about.substitute, about.simulated) for split, about in found.items()}
    if distance["train"] == distance["test"]:
        return
    missing: Split = "test" if distance["test"] > distance["train"] else "train"
    there: Split = "train" if missing == "test" else "test"
    dataset, root = _dataset(wanted.dataset), home_relative(_root(wanted.root))
    raise UsageError(
        f"{dataset.TITLE}: the {there} samples are {found[there].description}, and no such "
        f"{missing} samples are under {root}, where {dataset.LAYOUT} was looked for: a network is "
        f"not tested on {found[missing].description} in their place; to get the whole original, "
        f"{dataset.HOW} ({dataset.DOWNLOAD_MIB:,} MiB)"
    )


def _frames(
    name: str, split: Split, bins: Bins, *, root: Path | None, download: bool
) -> tuple[Samples[NDArray[np.uint8]], str]:
    """A network's inputs under the root, fetched where they may be, else the stand-in; and why."""
    dataset = _dataset(name)
    return _Seek(dataset, split, _root(root), download).found(
        lambda root: dataset.inputs(root, split, bins),
        lambda root: dataset.stand_in(root, split, bins),
    )


X = TypeVar("X")


@dataclass(frozen=True)
class _Seek:
    """What is sought, and where."""

    dataset: DataSet
    split: Split
    root: Path
    download: bool

    def found(
        self,
        inputs: Callable[[Path], Samples[X] | None],
        stand_in: Callable[[Path], Samples[X]],
    ) -> tuple[Samples[X], str]:
        """The samples under the root, fetched where they may be, else the stand-in; and why."""
        dataset, root, failure = self.dataset, self.root, ""
        try:
            found = inputs(root)
            if found is None and self.download:
                failure = attempt(lambda: _fetch(dataset, root, self.split))
                found = inputs(root)
        except MissingReader as error:
            return stand_in(root), str(error)
        problem = _problem(dataset, root, {self.split: found.about if found else None})
        note = "; ".join(text for text in (failure, problem) if text)
        return found or stand_in(root), note


def find(dataset: str, root: Path | None = None) -> Found:
    """What of `dataset` is under `root`. Raises UsageError for a wrong name or root alone."""
    sought = _dataset(dataset)
    root = _root(root)
    found: dict[Split, About | None] = {"train": None, "test": None}
    problem = ""
    for split in found:
        try:
            samples = sought.inputs(root, split, Bins(1))
        except UsageError as error:  # a damaged folder, a missing reader
            problem = str(error)
        else:
            found[split] = samples.about if samples else None
    if not problem:
        abouts = [about for about in found.values() if about]
        notes = [_problem(sought, root, found), *(left_out(about.left_out) for about in abouts)]
        problem = "; ".join(dict.fromkeys(note for note in notes if note))
    return Found(dataset, sought.TITLE, found["train"], found["test"], problem)


def _dataset(name: str) -> DataSet:
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}, choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def _events(name: str) -> EventDataSet:
    if name not in EVENT_DATASETS:
        raise UsageError(f"{name} has no recordings, choose from {', '.join(EVENT_DATASETS)}")
    return EVENT_DATASETS[name]


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
