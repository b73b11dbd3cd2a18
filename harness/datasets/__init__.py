"""The paper's three data sets, from disk, else from scikit-learn's embedded digits.

What was read of a split is kept as arrays in the user's cache folder: an epoch never reads a
recording again.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.dvs_cifar10 import DVS_CIFAR10
from harness.datasets.events import Bins, DataSet, MissingReader, Recordings, from_zero
from harness.datasets.images import CIFAR10
from harness.datasets.nmnist import NMNIST
from harness.datasets.samples import (
    SPLIT_SEED,
    About,
    Normal,
    Samples,
    Split,
    choose,
    data_root,
    home_relative,
)
from harness.spec import BIN_US, Access, Say, Source, System, Trained, UsageError
from harness.spec.network import checked
from harness.system.files import locked, make_user_cache, printable, user_cache, write_whole

CACHE_FORMAT = 3  # of the entries, and of what is in them
FAILED = "the download failed"  # what its note says first
TIMEOUT_SECONDS = 10  # of a download, without an answer of the server
# Of the test samples so many may be training samples; of the originals next to none are.
MOST_SHARED = 0.005
FEW = 16  # events: recordings of more are not alike by chance
SPLITS: tuple[Split, ...] = ("train", "test")

DATASETS: dict[str, DataSet[Any]]
DATASETS = {"cifar10": CIFAR10, "nmnist": NMNIST, "dvs-cifar10": DVS_CIFAR10}
DOWNLOAD_MIB = {name: dataset.download_mib for name, dataset in DATASETS.items()}


@dataclass(frozen=True)
class Wanted:
    """What splits are wanted. Raises UsageError where that cannot be."""

    dataset: str
    T: int  # event frames that are kept; of no matter to images
    samples: int | None = None  # a seeded choice of as many; None: all
    root: Path | None = None  # None: HARNESS_DATA, else the user's cache folder
    download: bool = False  # False never touches the network
    embedded: bool = False  # the embedded default, whatever there is
    bin_us: int = BIN_US  # of an event frame
    simulated: bool = False  # simulated events to train on and to test, whatever recordings are

    def __post_init__(self) -> None:
        checked("T", self.T)
        checked("samples", 1 if self.samples is None else self.samples)

    @classmethod
    def of(cls, case: Trained | System, access: Access) -> Wanted:
        """What a case is trained and tested on."""
        of, may = case.training, case.dataset in access.download
        what = case.dataset, max((case.T, *of.tested_at)), of.samples
        return cls(*what, access.root, may, of.embedded, of.bin_us, of.simulated)

    @property
    def bins(self) -> Bins:
        """The frames of a recording."""
        return Bins(self.T, self.bin_us)


@dataclass(frozen=True)
class Batch:
    """Inputs, labels, and where they came from."""

    inputs: Tensor  # float32 (T, B, C, H, W); a static image is expanded over T: stride 0
    labels: Tensor  # int64 (B,)
    source: Source


@dataclass(frozen=True)
class Labelled:
    """Samples of one split, all in memory."""

    raw: Tensor  # uint8 (N, C, H, W) pixels, or (N, T, C, H, W) event counts
    labels: Tensor  # int64 (N,)
    about: About
    source: Source

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Labelled:
        return replace(self, raw=self.raw.to(device), labels=self.labels.to(device))

    def part(self, indices: Tensor) -> Labelled:
        """The samples of those indices, in their order."""
        chosen = indices.to(self.raw.device)
        return replace(self, raw=self.raw[chosen], labels=self.labels[chosen])

    def batches(self, T: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs (T, B, C, H, W) and labels (B,), in order; the last batch may be smaller."""
        parts = self.raw.split(batch_size), self.labels.split(batch_size)
        for raw, labels in zip(*parts, strict=True):
            yield network_input(raw, T, self.about.normal), labels


@dataclass(frozen=True, eq=False)
class Recorded:
    """Recordings of one split, and where they came from."""

    recordings: Recordings
    about: About
    source: Source


def network_input(raw: Tensor, T: int, normal: Normal | None) -> Tensor:
    """Pixels (B, C, H, W) or event counts (B, T, C, H, W) as a network's input (T, B, C, H, W).

    float32. Pixels are normalised, and expanded over the steps; of event counts the first T steps
    are taken, as they are.
    """
    if normal is None:
        return raw[:, :T].transpose(0, 1).float().contiguous()
    mean, std = (torch.tensor(each, device=raw.device) for each in (normal.mean, normal.std))
    images = (raw.float() / 255 - mean[:, None, None]) / std[:, None, None]
    return images.expand(T, *images.shape)


def _source(dataset: str, about: About, content: str, *notes: str) -> Source:
    """What a record says of samples whose content has that hash."""
    return Source(
        name=dataset,
        description=about.description,
        samples=about.count,
        sha256=content,
        partial=about.count < about.whole,
        lossy=about.lossy,
        simulated=about.simulated,
        substitute=about.substitute,
        note="; ".join(each for each in notes if each),
    )


def _left_out(sentences: tuple[str, ...]) -> str:
    """How many samples were left out, and why the first of them; "" where none was."""
    if not sentences:
        return ""
    more = f" and {len(sentences) - 3} more" if len(sentences) > 3 else ""
    return f"left out: {len(sentences)} of the samples: {'; '.join(sentences[:3])}{more}"


def sha256(*arrays: NDArray[np.generic]) -> str:
    """The hash of arrays' bytes, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load_batch(
    dataset: str,
    T: int,
    batch_size: int,
    seed: int = 0,
    split: Split = "train",
    root: Path | None = None,
    download: bool = False,
) -> Batch:
    """A batch of T steps that the seed draws, of a data set or of what stands in for it: its
    `source` says which, and whether a download failed or a reader is missing.

    Raises UsageError for an unknown data set, a data root that is none, numbers out of range, fewer
    samples than the batch size, and a damaged file.
    """
    checked("batch_size", batch_size)
    checked("seed", seed, least=0)
    wanted = Wanted(dataset, T, root=root, download=download)
    samples, note = _frames(wanted, split)
    about, chosen = samples.about, choose(samples.about.count, batch_size, seed)
    raw = torch.from_numpy(np.stack([samples.read(index) for index in chosen]))
    labels = torch.from_numpy(samples.labels[chosen])
    inputs = network_input(raw, T, about.normal)
    once = inputs[0] if raw.ndim == 4 else inputs  # of a static image, not of event frames
    content = sha256(once.numpy(), labels.numpy())
    return Batch(inputs, labels, _source(dataset, about, content, note, _left_out(about.left_out)))


def load_split(wanted: Wanted, split: Split, say: Say) -> Labelled:
    """A whole split as arrays, or as many samples as are wanted: real, else what stands in.

    Raises UsageError for an unknown data set, a data root that is none, and where no sample can be
    read. Damaged samples are left out and named in `source`, as are a failed download and a
    missing reader.
    """
    return _labelled(wanted, split, *_frames(wanted, split), say)


def load_splits(wanted: Wanted, test_samples: int | None, say: Say) -> tuple[Labelled, Labelled]:
    """The training and the test split, as `load_split` reads each; `test_samples` of the latter.

    Raises UsageError where a network that was trained on the one cannot be tested on the other:
    they are of different kinds, one has not all classes, or they share samples.
    """
    return _both(wanted, test_samples, _frames, _labelled, say)


def load_recordings(
    wanted: Wanted, test_samples: int | None, say: Say
) -> tuple[Recorded, Recorded]:
    """The whole recordings of both splits, with the samples that `load_splits` takes of them.

    Raises UsageError as `load_splits` does, and for a data set of images.
    """
    _events(wanted.dataset)
    return _both(wanted, test_samples, partial(_sought, bins=None), _recorded, say)


def load_recorded(wanted: Wanted, say: Say) -> Labelled | None:
    """The recordings of both splits as frames, to test what is trained on simulated events.

    None where there are none. Raises UsageError as `load_split` does.
    """
    dataset, root = _events(wanted.dataset), data_root(wanted.root)
    every, parts = replace(wanted, samples=None), list[Labelled]()
    for split in SPLITS:
        found = dataset.found(root, split)
        if found is not None:
            parts.append(_labelled(every, split, dataset.frames(found, wanted.bins), "", say))
    if not parts:
        return None
    raw, labels = torch.cat([each.raw for each in parts]), torch.cat([p.labels for p in parts])
    whole = sum(each.about.whole for each in parts)
    about = replace(parts[0].about, count=len(labels), whole=whole)
    notes = dict.fromkeys(each.source.note for each in parts)
    content = sha256(raw.numpy(), labels.numpy())
    return Labelled(raw, labels, about, _source(wanted.dataset, about, content, *notes))


def _frames(wanted: Wanted, split: Split) -> tuple[Samples[Any], str]:
    """A network's inputs, not yet read, and why they are not the real ones."""
    dataset = _dataset(wanted.dataset)
    if wanted.simulated and not wanted.embedded:
        simulate = _events(wanted.dataset).unrecorded
        assert simulate is not None
        return dataset.frames(simulate(data_root(wanted.root), split, wanted.bins), wanted.bins), ""
    samples, note = _sought(wanted, split, wanted.bins)
    return dataset.frames(samples, wanted.bins), note


def _sought(wanted: Wanted, split: Split, bins: Bins | None) -> tuple[Samples[Any], str]:
    """The samples under the root, fetched where they may be, else the stand-in; and why."""
    dataset = _dataset(wanted.dataset)
    if wanted.embedded:
        return dataset.stand_in(None, split, bins, None), ""
    root, failure = data_root(wanted.root), ""
    try:
        found = dataset.found(root, split)
        if found is None and wanted.download:
            failure, found = _download(dataset, root, split), dataset.found(root, split)
    except MissingReader as error:
        return dataset.stand_in(root, split, bins, wanted.samples), str(error)
    problem = _problem(dataset, root, {split: found})
    note = "; ".join(text for text in (failure, problem) if text)
    return found or dataset.stand_in(root, split, bins, wanted.samples), note


def _download(dataset: DataSet[Any], root: Path, split: Split) -> str:
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


def _labelled(wanted: Wanted, split: Split, samples: Samples[Any], note: str, say: Say) -> Labelled:
    images = samples.about.normal is not None
    what = f"{split} pixels" if images else f"{split} {wanted.T} bins of {wanted.bin_us} us"
    parts, about, source = _gather(wanted, what, samples, note, say)
    raw, labels = map(torch.from_numpy, parts)
    return Labelled(raw, labels, about, source)


def _recorded(wanted: Wanted, split: Split, samples: Samples[Any], note: str, say: Say) -> Recorded:
    dataset, samples = _events(wanted.dataset), samples.mapped(from_zero)
    what, classes = f"{split} events", len(dataset.classes)
    parts, about, source = _gather(wanted, what, samples, note, say)
    assert dataset.sensor is not None
    events, labels, starts = parts
    return Recorded(Recordings(events, starts, labels, dataset.sensor, classes), about, source)


# what training and test samples must be


L = TypeVar("L", Labelled, Recorded)


def _both(
    wanted: Wanted,
    test_samples: int | None,
    seek: Callable[[Wanted, Split], tuple[Samples[Any], str]],
    read: Callable[[Wanted, Split, Samples[Any], str, Say], L],
    say: Say,
) -> tuple[L, L]:
    """Both splits, read once they are known to belong together. Raises as `load_splits` does."""
    dataset, root = _dataset(wanted.dataset), home_relative(data_root(wanted.root))
    tested = replace(wanted, samples=test_samples)
    (train, train_note), (test, test_note) = seek(wanted, "train"), seek(tested, "test")
    found = [(split, each.about) for split, each in (("train", train), ("test", test))]
    found.sort(key=lambda each: (each[1].substitute, each[1].simulated))
    (there, real), (missing, other) = found
    if (real.substitute, real.simulated) != (other.substitute, other.simulated):
        raise UsageError(
            f"{dataset.title}: the {there} samples are {real.description}, and no such "
            f"{missing} samples are under {root}, where {dataset.layout} was looked for: a network "
            f"is not tested on {other.description} in their place; {_how(dataset)}"
        )
    lacking = [*_lacking(dataset, "train", train), *_lacking(dataset, "test", test)]
    if lacking:
        raise UsageError(
            f"{dataset.title} under {root}: {', '.join(lacking)}, and a network is trained where "
            f"both splits have all classes; {_how(dataset)}"
        )
    ours = read(wanted, "train", train, train_note, say)
    theirs = read(tested, "test", test, test_note, say)
    if not ours.about.substitute:
        seen, asked = _hashes(ours), _hashes(theirs)
        known = {content for content, _ in seen}
        shared = sum(content in known for content, _ in asked)
        # recordings of few events may be alike by chance: as many as among those of training
        few = [content for content, size in seen if size < FEW]
        alike = (len(few) - len(set(few))) / len(seen)
        if shared > len(asked) * max(MOST_SHARED, 2 * alike):
            raise UsageError(
                f"{dataset.title} under {root}: {shared:,} of {len(asked):,} test samples are "
                "training samples too: one split is a copy of the other, at least in part; unpack "
                "them anew"
            )
    return ours, theirs


def _hashes(split: Labelled | Recorded) -> list[tuple[int, int]]:
    """A hash of each sample, and how many events or numbers above 0 it has."""
    if isinstance(split, Labelled):
        return [(hash(each.tobytes()), int(np.count_nonzero(each))) for each in split.raw.numpy()]
    found = (split.recordings[n] for n in range(len(split.recordings)))
    return [(hash(each.tobytes()), len(each)) for each in found]


def _lacking(dataset: DataSet[Any], split: Split, samples: Samples[Any]) -> list[str]:
    there = set(samples.labels.tolist())
    names = [name for n, name in enumerate(dataset.classes) if n not in there]
    return [f"no {split} sample is of class {', '.join(names)}"] if names else []


# what is there


@dataclass(frozen=True)
class Found:
    """What of a data set is under a data root."""

    title: str
    train: About | None  # None: nothing that can be read
    test: About | None
    problem: str  # what is wrong or missing, the layout expected, how to get it; "" if all is there


def find(dataset: str, root: Path | None = None) -> Found:
    """What of `dataset` is under `root`. Raises UsageError for a wrong name or root alone."""
    sought, root = _dataset(dataset), data_root(root)
    found: dict[Split, Samples[Any] | None] = dict.fromkeys(SPLITS)
    problem = ""
    for split in SPLITS:
        try:
            found[split] = sought.found(root, split)
        except UsageError as error:  # a damaged folder, a missing reader
            problem = str(error)
    train, test = (each and sought.frames(each, Bins(1)).about for each in found.values())
    if not problem:
        notes = [_problem(sought, root, found)]
        notes += [_left_out(about.left_out) for about in (train, test) if about]
        problem = "; ".join(dict.fromkeys(note for note in notes if note))
    return Found(sought.title, train, test, problem)


def _problem(dataset: DataSet[Any], root: Path, found: dict[Split, Samples[Any] | None]) -> str:
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
        lacks = [f"not found under {home_relative(root)}, where {dataset.layout} was looked for"]
    return f"{dataset.title}: {', '.join(lacks)}; {_how(dataset)}" if lacks else ""


def _how(dataset: DataSet[Any]) -> str:
    return f"to get the whole original, {dataset.how} ({dataset.download_mib:,} MiB)"


def _dataset(name: str) -> DataSet[Any]:
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}, choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def _events(name: str) -> DataSet[Any]:
    dataset = _dataset(name)
    if dataset.sensor is None:
        known = ", ".join(key for key, each in DATASETS.items() if each.sensor)
        raise UsageError(f"{name} has no recordings, choose from {known}")
    return dataset


# the cache


@dataclass(frozen=True)
class Arrays:
    """The samples that were read and their labels; of recordings also where each starts."""

    parts: tuple[NDArray[Any], ...]
    sha256: str  # of all parts
    damaged: tuple[str, ...] = ()  # a sentence for each sample that could not be read
    note: str = ""  # on the cache itself


def _gather(
    wanted: Wanted, what: str, samples: Samples[Any], note: str, say: Say
) -> tuple[tuple[NDArray[Any], ...], About, Source]:
    """Reads as many of the samples as are wanted, or takes them from the cache; `what` they are.

    They come in one array, then their labels; "train events" one after the other, and then where
    each starts. Raises UsageError where no sample can be read.
    """
    count = samples.about.count
    if wanted.samples is not None and wanted.samples < count:
        samples = samples.chosen(sorted(choose(count, wanted.samples, SPLIT_SEED)))
    key = f"{wanted.dataset} {what} {samples.origin()}"
    arrays = cached(key, lambda: _read(samples, what.endswith("events"), say), say)
    about = replace(samples.about, count=len(arrays.parts[1]))
    notes = note, arrays.note, _left_out((*about.left_out, *arrays.damaged))
    return arrays.parts, about, _source(wanted.dataset, about, arrays.sha256, *notes)


def _read(samples: Samples[Any], events: bool, say: Say) -> Arrays:
    found, labels, damaged = [], [], []
    count = samples.about.count
    for index in range(count):
        say(index / count, f"reading {samples.about.description}: {index:,} of {count:,}")
        try:
            found.append(samples.read(index))
            labels.append(samples.labels[index])
        except UsageError as error:  # one damaged file does not cost the others
            damaged.append(str(error))
    if not found:
        raise UsageError(f"none of {count} samples could be read: {damaged[0]}")
    parts = np.concatenate(found) if events else np.stack(found), np.array(labels, np.int64)
    if events:
        parts = *parts, np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Arrays(parts, sha256(*parts), tuple(damaged))


def cached(key: str, make: Callable[[], Arrays], say: Say) -> Arrays:
    """The arrays of that key, made where the cache has none that are sound.

    `key` must say all that decides the content. Without a folder that can be written the arrays are
    made each time, and `note` says so.
    """
    made: Arrays | None = None
    name = hashlib.sha256(f"{CACHE_FORMAT} {key}".encode()).hexdigest()[:32]
    try:
        path, note = make_user_cache("arrays") / f"{name}.npz", ""
        waiting = "another process reads the same samples: waiting for it"
        with locked(path.with_suffix(".lock"), lambda: say(0.0, waiting)):
            if path.exists():
                try:
                    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                        content = dict(arrays)
                    hashed, damaged = str(content.pop("sha256")), content.pop("damaged").tolist()
                    return Arrays(tuple(content.values()), hashed, tuple(damaged))
                # its sums of each array are checked as it is read
                except Exception as error:  # noqa: BLE001 numpy raises of any kind
                    what = f"{type(error).__name__}: {error}"
                    note = printable(f"the cached {path} was damaged ({what}) and was made again")
            made = make()
            content: dict[str, Any] = {f"part{n}": part for n, part in enumerate(made.parts)}
            content |= {"sha256": np.array(made.sha256), "damaged": np.array(made.damaged, str)}

            def save(place: Path) -> None:
                with place.open("wb") as file:
                    np.savez(file, **content)

            write_whole(path, save)
            return replace(made, note=note)
    except OSError as error:
        place, why = printable(user_cache()), error.strerror or error
        return replace(made or make(), note=f"not cached: {place} cannot be written ({why})")
