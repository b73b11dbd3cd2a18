"""The paper's three data sets, from disk, else from scikit-learn's embedded digits."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.datasets import cifar10, dvs_cifar10, nmnist
from harness.datasets.events import Bins, Events, MissingReader, Recordings
from harness.datasets.loading import (
    Batch,
    Labelled,
    Recorded,
    Request,
    Wanted,
    assemble,
    gather,
    gather_events,
    joined,
    left_out,
    network_input,
)
from harness.datasets.samples import About, Samples, Split, data_root, home_relative
from harness.spec import Say, UsageError

__all__ = [
    "DOWNLOAD_MIB",
    "FAILED",
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

X = TypeVar("X")
Pixels = NDArray[np.uint8]

FAILED = "the download failed"  # what its note says first
TIMEOUT_SECONDS = 10  # of a download, without an answer of the server
MOST_SHARED = (
    0.005  # of the test samples may be training samples; of the originals next to none are
)


class DataSet(Protocol):
    """What the file of a data set holds."""

    TITLE: str
    DOWNLOAD_MIB: int  # of the archives
    LAYOUT: str  # expected under the data root
    HOW: str  # to get it
    WHOLE: dict[Split, int]
    CLASSES: tuple[str, ...]

    # the samples found: pixels (C, H, W), or event counts (T, C, H, W)
    def inputs(self, root: Path, split: Split, bins: Bins) -> Samples[Pixels] | None: ...

    # what takes their place: from other data under `root`, else what packages embed
    def stand_in(self, root: Path | None, split: Split, bins: Bins) -> Samples[Pixels]: ...

    def download(self, root: Path, split: Split) -> None: ...


class EventDataSet(DataSet, Protocol):
    """What the file of a data set of recordings holds too. MissingReader: they cannot be read."""

    SENSOR: tuple[int, int]  # (H, W)

    def recordings(self, root: Path, split: Split) -> Samples[Events] | None: ...

    # what takes their place, each as long as a whole recording
    def simulated(self, root: Path | None, split: Split) -> Samples[Events]: ...

    # simulated events as frames; to train on, of images alone that no recording is of
    def unrecorded(self, root: Path, split: Split, bins: Bins) -> Samples[Pixels]: ...


DATASETS: dict[str, DataSet] = {"cifar10": cifar10, "nmnist": nmnist, "dvs-cifar10": dvs_cifar10}
EVENT_DATASETS: dict[str, EventDataSet] = {"nmnist": nmnist, "dvs-cifar10": dvs_cifar10}
DOWNLOAD_MIB = {name: dataset.DOWNLOAD_MIB for name, dataset in DATASETS.items()}


def load_batch(request: Request) -> Batch:
    """A seeded batch of `request.dataset`, or of what stands in for it: `source` says which.

    Raises UsageError for an unknown data set, a data root that is none, fewer samples than the
    batch size, and a damaged file. A failed download and a missing reader are notes in `source`.
    """
    wanted = Wanted(request.dataset, request.T, root=request.root, download=request.download)
    return assemble(request, *_frames(wanted, request.split))


def load_split(wanted: Wanted, split: Split, say: Say) -> Labelled:
    """A whole split as arrays, or as many samples as are wanted: real, else what stands in.

    Raises UsageError for an unknown data set, a data root that is none, and where no sample can be
    read. Damaged samples are left out and named in `source`, as are a failed download and a
    missing reader.
    """
    return gather(wanted, split, *_frames(wanted, split), say)


def load_splits(wanted: Wanted, test_samples: int | None, say: Say) -> tuple[Labelled, Labelled]:
    """The training and the test split, as `load_split` reads each; `test_samples` of the latter.

    Raises UsageError where a network that was trained on the one cannot be tested on the other:
    they are of different kinds, one has not all classes, or they share samples.
    """
    (train, train_note), (test, test_note) = _frames(wanted, "train"), _frames(wanted, "test")
    _check(wanted, train, test)
    fewer = replace(wanted, samples=test_samples)
    found = (
        gather(wanted, "train", train, train_note, say),
        gather(fewer, "test", test, test_note, say),
    )
    if not train.about.substitute:
        hashes = ([hash(each.tobytes()) for each in part.raw.numpy()] for part in found)
        _check_shared(wanted, *hashes)
    return found


def load_recordings(
    wanted: Wanted, test_samples: int | None, say: Say
) -> tuple[Recorded, Recorded]:
    """The whole recordings of both splits, with the samples that `load_splits` takes of them.

    Raises UsageError as `load_splits` does, and for a data set of images.
    """
    dataset = _events(wanted.dataset)
    camera = dataset.SENSOR, len(dataset.CLASSES)
    train, train_note = _events_of(wanted, "train")
    test, test_note = _events_of(wanted, "test")
    _check(wanted, train, test)
    fewer = replace(wanted, samples=test_samples)
    found = (
        gather_events(wanted, "train", train, *camera, train_note, say),
        gather_events(fewer, "test", test, *camera, test_note, say),
    )
    if not train.about.substitute:
        both = (part.recordings for part in found)
        hashes = ([hash(part[n].tobytes()) for n in range(len(part))] for part in both)
        _check_shared(wanted, *hashes)
    return found


def load_recorded(wanted: Wanted, say: Say) -> Labelled | None:
    """The recordings of both splits as frames, to test what is trained on simulated events.

    None where there are none. Raises UsageError as `load_split` does.
    """
    dataset, root = _events(wanted.dataset), data_root(wanted.root)
    splits: tuple[Split, ...] = ("train", "test")
    every, parts = replace(wanted, samples=None), []
    for split in splits:
        found = dataset.inputs(root, split, wanted.bins)
        if found is not None:
            parts.append(gather(every, split, found, "", say))
    return joined(parts) if parts else None


def _frames(wanted: Wanted, split: Split) -> tuple[Samples[Pixels], str]:
    """A network's inputs, not yet read, and why they are not the real ones."""
    dataset = _dataset(wanted.dataset)
    if wanted.simulated and not wanted.embedded:
        root = data_root(wanted.root)
        return _events(wanted.dataset).unrecorded(root, split, wanted.bins), ""
    return _sought(
        wanted,
        split,
        lambda root: dataset.inputs(root, split, wanted.bins),
        lambda root: dataset.stand_in(root, split, wanted.bins),
    )


def _events_of(wanted: Wanted, split: Split) -> tuple[Samples[Events], str]:
    """Whole recordings, not yet read, and why they are not the real ones."""
    dataset = _events(wanted.dataset)
    return _sought(
        wanted,
        split,
        lambda root: dataset.recordings(root, split),
        lambda root: dataset.simulated(root, split),
    )


def _sought(
    wanted: Wanted,
    split: Split,
    inputs: Callable[[Path], Samples[X] | None],
    stand_in: Callable[[Path | None], Samples[X]],
) -> tuple[Samples[X], str]:
    """The samples under the root, fetched where they may be, else the stand-in; and why."""
    if wanted.embedded:
        return stand_in(None), ""
    dataset, root, failure = _dataset(wanted.dataset), data_root(wanted.root), ""
    try:
        found = inputs(root)
        if found is None and wanted.download:
            failure = _download(dataset, root, split)
            found = inputs(root)
    except MissingReader as error:
        return stand_in(root), str(error)
    problem = _problem(dataset, root, {split: found})
    note = "; ".join(text for text in (failure, problem) if text)
    return found or stand_in(root), note


def _download(dataset: DataSet, root: Path, split: Split) -> str:
    """One attempt; "" where it succeeded, else a sentence that says why it did not."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # tonic prints; our own is for tables
            dataset.download(root, split)
    # a full disk and all of urllib's; of torchvision and tonic where an archive's hash is wrong
    except (
        *(OSError, RuntimeError, http.client.HTTPException, MissingReader),
        *(tarfile.TarError, zipfile.BadZipFile),
    ) as error:
        return f"{FAILED}: {type(error).__name__}: {error}"
    finally:
        socket.setdefaulttimeout(previous)
    return ""


# what training and test samples must be


def _check(wanted: Wanted, train: Samples[X], test: Samples[X]) -> None:
    """Raises UsageError where one split is real and the other stands in for it: a network trained
    on recordings says nothing about them when it is tested on what stands in for them. And where
    one of them has not all classes.
    """
    dataset, root = _dataset(wanted.dataset), home_relative(data_root(wanted.root))
    found: dict[Split, About] = {"train": train.about, "test": test.about}
    distance = {split: (about.substitute, about.simulated) for split, about in found.items()}
    if distance["train"] != distance["test"]:
        missing: Split = "test" if distance["test"] > distance["train"] else "train"
        there: Split = "train" if missing == "test" else "test"
        raise UsageError(
            f"{dataset.TITLE}: the {there} samples are {found[there].description}, and no such "
            f"{missing} samples are under {root}, where {dataset.LAYOUT} was looked for: a network "
            f"is not tested on {found[missing].description} in their place; {_how(dataset)}"
        )
    lacking = [*_lacking(dataset, "train", train), *_lacking(dataset, "test", test)]
    if lacking:
        raise UsageError(
            f"{dataset.TITLE} under {root}: {', '.join(lacking)}, and a network is trained where "
            f"both splits have all classes; {_how(dataset)}"
        )


def _lacking(dataset: DataSet, split: Split, samples: Samples[X]) -> list[str]:
    there = set(samples.labels.tolist())
    names = [name for n, name in enumerate(dataset.CLASSES) if n not in there]
    return [f"no {split} sample is of class {', '.join(names)}"] if names else []


def _check_shared(wanted: Wanted, train: list[int], test: list[int]) -> None:
    """Raises UsageError where test samples, given by their hashes, are training samples too.

    Short recordings of few events may be alike by chance: as many as within the training samples.
    """
    known = set(train)
    shared = sum(each in known for each in test)
    alike = 1 - len(known) / len(train)
    if shared > len(test) * max(MOST_SHARED, 2 * alike):
        title, root = _dataset(wanted.dataset).TITLE, home_relative(data_root(wanted.root))
        raise UsageError(
            f"{title} under {root}: {shared:,} of {len(test):,} test samples are training samples "
            "too: one split is a copy of the other, at least in part; unpack them anew"
        )


# what is there


@dataclass(frozen=True)
class Found:
    """What of a data set is under a data root."""

    dataset: str
    title: str
    train: About | None  # None: nothing that can be read
    test: About | None
    problem: str  # what is wrong or missing, the layout expected, how to get it; "" if all is there


def find(dataset: str, root: Path | None = None) -> Found:
    """What of `dataset` is under `root`. Raises UsageError for a wrong name or root alone."""
    sought = _dataset(dataset)
    root = data_root(root)
    found: dict[Split, Samples[Pixels] | None] = {"train": None, "test": None}
    problem = ""
    for split in found:
        try:
            found[split] = sought.inputs(root, split, Bins(1))
        except UsageError as error:  # a damaged folder, a missing reader
            problem = str(error)
    train, test = (each and each.about for each in found.values())
    if not problem:
        notes = [_problem(sought, root, found)]
        notes += [left_out(about.left_out) for about in (train, test) if about]
        problem = "; ".join(dict.fromkeys(note for note in notes if note))
    return Found(dataset, sought.TITLE, train, test, problem)


def _problem(dataset: DataSet, root: Path, found: dict[Split, Samples[X] | None]) -> str:
    """Why the splits `found` are not the whole data set, and how to get it; "" where they are."""
    lacks: list[str] = []
    for split, samples in found.items():
        if samples is None:
            lacks.append(f"no {split} samples")
            continue
        about = samples.about
        if about.count < about.whole:
            lacks.append(f"{about.count:,} of {about.whole:,} {split} samples found")
        lacks += _lacking(dataset, split, samples)
        if about.lossy:
            lacks.append(f"the {split} samples are a lossy copy")
    if not any(found.values()):
        lacks = [f"not found under {home_relative(root)}, where {dataset.LAYOUT} was looked for"]
    if not lacks:
        return ""
    return f"{dataset.TITLE}: {', '.join(lacks)}; {_how(dataset)}"


def _how(dataset: DataSet) -> str:
    return f"to get the whole original, {dataset.HOW} ({dataset.DOWNLOAD_MIB:,} MiB)"


def _dataset(name: str) -> DataSet:
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}, choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def _events(name: str) -> EventDataSet:
    if name not in EVENT_DATASETS:
        raise UsageError(f"{name} has no recordings, choose from {', '.join(EVENT_DATASETS)}")
    return EVENT_DATASETS[name]
