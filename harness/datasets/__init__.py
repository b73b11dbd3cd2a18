"""Load the paper's three data sets from disk, or scikit-learn's digits in their place.

A split that was read is cached as arrays in the user's cache folder, so that no recording is read
twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.dvs_cifar10 import DVS_CIFAR10
from harness.datasets.events import (
    EVENT,
    Bins,
    DataSet,
    Events,
    MissingReader,
    Recordings,
    from_zero,
)
from harness.datasets.images import CIFAR10
from harness.datasets.nmnist import NMNIST, simulate_unrecorded
from harness.datasets.samples import (
    SPLIT_SEED,
    Normalisation,
    SampleInfo,
    Samples,
    Split,
    choose,
    data_root,
    home_relative,
)
from harness.machine.files import cached
from harness.spec import BIN_US, Access, Fit, ProgressCallback, Source, Training, UsageError, paper

CACHE_FORMAT = 3  # raise when the content of the cache's files changes
DOWNLOAD_FAILED = "the download failed"  # the start of its note
TIMEOUT_SECONDS = 10  # of a download without an answer of the server
# Share of test samples that may be training samples too; next to none of the originals are.
MAX_SHARED = 0.005
SPIKE_SHARE = 0.1  # of the steps, at which a random spike train has a spike
FEW_EVENTS = 16  # recordings of as many events are not equal by chance
SPLITS: tuple[Split, ...] = ("train", "test")
Arrays: TypeAlias = tuple[NDArray[Any], ...]
Gathered: TypeAlias = "tuple[Arrays, SampleInfo, Source]"

DATASETS: dict[str, DataSet[Any]]
DATASETS = {"cifar10": CIFAR10, "nmnist": NMNIST, "dvs-cifar10": DVS_CIFAR10}
DOWNLOAD_MIB = {name: dataset.download_mib for name, dataset in DATASETS.items()}


@dataclass(frozen=True)
class SplitRequest:
    """Which samples of a data set to load, of either split, and how."""

    dataset: str
    T: int  # event frames to load; images ignore it
    samples: int | None = None  # a seeded choice of so many; None: all
    root: Path | None = None  # None: HARNESS_DATA, else the user's cache folder
    download: bool = False  # False: no network access
    embedded: bool = False  # load scikit-learn's digits even if there are data
    bin_us: int = BIN_US  # duration of an event frame in us
    simulated: bool = False  # N-MNIST's simulated events even if there are recordings

    @classmethod
    def of_case(cls, case: Training | Fit, access: Access) -> SplitRequest:
        """Return the request for the samples that a case trains and tests on."""
        return cls(
            dataset=case.workload.dataset,
            T=max((case.workload.T, *case.tested_at)),
            samples=case.sampling.train,
            root=access.root,
            download=case.workload.dataset in access.download,
            embedded=case.sampling.embedded,
            bin_us=case.sampling.bin_us,
            simulated=case.sampling.simulated,
        )

    @property
    def bins(self) -> Bins:
        """The time windows whose events become a recording's frames, one a step."""
        return Bins(self.T, self.bin_us)


@dataclass(frozen=True)
class Batch:
    """Network inputs, labels, and their source."""

    inputs: Tensor  # float32 (T, B, C, H, W); a static image is expanded over T: stride 0
    labels: Tensor  # int64 (B,)
    source: Source


@dataclass(frozen=True)
class LabelledSplit:
    """Labelled samples of one split in memory, before normalisation."""

    raw: Tensor  # uint8 (N, C, H, W) pixels, or (N, T, C, H, W) event counts
    labels: Tensor  # int64 (N,)
    info: SampleInfo
    source: Source

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> LabelledSplit:
        """Copy the samples to a device."""
        return replace(self, raw=self.raw.to(device), labels=self.labels.to(device))

    def part(self, indices: Tensor) -> LabelledSplit:
        """Return the samples of these indices, in their order."""
        indices = indices.to(self.raw.device)
        return replace(self, raw=self.raw[indices], labels=self.labels[indices])

    def batches(self, T: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs (T, B, C, H, W) and labels (B,) in order; the last batch may be smaller."""
        parts = self.raw.split(batch_size), self.labels.split(batch_size)
        for raw, labels in zip(*parts, strict=True):
            yield network_input(raw, T, self.info.normalisation), labels


@dataclass(frozen=True, eq=False)
class RecordedSplit:
    """Recordings of one split, and their source."""

    recordings: Recordings
    info: SampleInfo
    source: Source


def network_input(raw: Tensor, T: int, normalisation: Normalisation | None) -> Tensor:
    """Convert uint8 pixels or event counts to a network's input, float32 (T, B, C, H, W).

    With a `normalisation`, `raw` is pixels (B, C, H, W): normalised, then repeated at each step.
    Without one it is event counts (B, T', C, H, W), of which the first T steps stay as they are.
    """
    if normalisation is None:
        return raw[:, :T].transpose(0, 1).float().contiguous()
    mean = torch.tensor(normalisation.mean, device=raw.device)[:, None, None]
    std = torch.tensor(normalisation.std, device=raw.device)[:, None, None]
    images = (raw.float() / 255 - mean) / std
    return images.expand(T, *images.shape)


def _source(info: SampleInfo, content: str) -> Source:
    """Describe samples for a record; `content` is their hash."""
    return Source(
        description=info.description,
        samples=info.count,
        sha256=content,
        partial=info.count < info.whole,
        lossy=info.lossy,
        simulated=info.simulated,
        substitute=info.substitute,
        note=info.note,
    )


def _joined(notes: Iterable[str]) -> str:
    """Join the notes that are not empty, each once."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def sha256(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 of the arrays' concatenated bytes."""
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
    """Load a batch of a data set, drawn by the seed; of its stand-in where the data are missing.

    The batch's `source` says which, and whether a download failed or a reader is missing.
    Raises UsageError for an unknown data set or data root, a damaged file, and if there are fewer
    samples than `batch_size`.
    """
    if (trains := paper.spike_trains(dataset)) is not None:
        return _random_spikes((T, batch_size, trains, 1, 1), seed)
    request = SplitRequest(dataset, T, root=root, download=download)
    samples = _list_frames(request, split)
    info, indices = samples.info, choose(samples.info.count, batch_size, seed)
    raw = torch.from_numpy(np.stack([samples.read(index) for index in indices]))
    labels = torch.from_numpy(samples.labels[indices])
    inputs = network_input(raw, T, info.normalisation)
    frames = inputs[0] if raw.ndim == 4 else inputs  # all steps of a static image are equal
    return Batch(inputs, labels, _source(info, sha256(frames.numpy(), labels.numpy())))


def _random_spikes(shape: tuple[int, ...], seed: int) -> Batch:
    """Draw a batch of spike trains (T, B, N, 1, 1), 0 or 1, and labels, both without a meaning."""
    random = np.random.default_rng(seed)
    spikes = (random.random(shape, np.float32) < SPIKE_SHARE).astype(np.float32)
    labels = random.integers(paper.LAYER_CLASSES, size=shape[1])
    description = f"random spikes, one in {1 / SPIKE_SHARE:g} steps"
    source = Source(description, shape[1], sha256(spikes, labels))
    return Batch(torch.from_numpy(spikes), torch.from_numpy(labels), source)


def load_split(request: SplitRequest, split: Split, say: ProgressCallback) -> LabelledSplit:
    """Load a split, or a seeded choice from it; of the stand-in where the data are missing.

    `source` names damaged samples, which are left out, a failed download and a missing reader.
    Raises UsageError for an unknown data set or root, a damaged folder, and no readable sample.
    """
    return _labelled(*_gather(request, split, _list_frames(request, split), say))


def load_splits(
    request: SplitRequest, test_samples: int | None, say: ProgressCallback
) -> tuple[LabelledSplit, LabelledSplit]:
    """Load the training split, and `test_samples` (None: all) of the test split.

    Raises as `load_split`, and if the splits do not fit: one is real and the other a stand-in,
    one lacks a class, or they share samples.
    """
    train, test = _gather_both(request, test_samples, _list_frames, say)
    return _labelled(*train), _labelled(*test)


def load_recordings(
    request: SplitRequest, test_samples: int | None, say: ProgressCallback
) -> tuple[RecordedSplit, RecordedSplit]:
    """Load whole recordings of both splits. Raises as `load_splits`, and for a set of images."""
    dataset = _data_set(request.dataset)
    if dataset.sensor is None:
        raise UsageError(f"{request.dataset} has no recordings")
    sensor, classes = dataset.sensor, len(dataset.classes)

    def recorded(arrays: Arrays, info: SampleInfo, source: Source) -> RecordedSplit:
        events, labels, starts = arrays
        return RecordedSplit(Recordings(events, starts, labels, sensor, classes), info, source)

    train, test = _gather_both(request, test_samples, _list_events, say)
    return recorded(*train), recorded(*test)


def load_recorded_frames(request: SplitRequest, say: ProgressCallback) -> LabelledSplit | None:
    """Load all recordings of both splits as one split of frames; None if there are none.

    They test a training on simulated events. Raises as `load_split`.
    """
    dataset, root = _data_set(request.dataset), data_root(request.root)
    all_samples = replace(request, samples=None)
    parts = [
        _labelled(*_gather(all_samples, split, dataset.frames(samples, request.bins), say))
        for split in SPLITS
        if (samples := dataset.find(root, split)) is not None
    ]
    if not parts:
        return None
    raw, labels = torch.cat([p.raw for p in parts]), torch.cat([p.labels for p in parts])
    whole = sum(part.info.whole for part in parts)
    note = _joined(part.info.note for part in parts)
    info = replace(parts[0].info, count=len(labels), whole=whole, note=note)
    content = sha256(raw.numpy(), labels.numpy())
    return LabelledSplit(raw, labels, info, _source(info, content))


def _labelled(arrays: Arrays, info: SampleInfo, source: Source) -> LabelledSplit:
    raw, labels = map(torch.from_numpy, arrays)
    return LabelledSplit(raw, labels, info, source)


def _list_frames(request: SplitRequest, split: Split) -> Samples[Any]:
    """Return a split's samples as frames: simulated if the request says so, else recorded."""
    dataset, bins = _data_set(request.dataset), request.bins
    if request.simulated and not request.embedded:
        return dataset.frames(simulate_unrecorded(data_root(request.root), split, bins), bins)
    return dataset.frames(_list_samples(request, split, bins), bins)


def _list_events(request: SplitRequest, split: Split) -> Samples[Events]:
    return _list_samples(request, split, None).mapped(from_zero)


def _list_samples(request: SplitRequest, split: Split, bins: Bins | None) -> Samples[Any]:
    """List the samples under the root, downloaded if allowed, else the stand-in with a note."""
    dataset = _data_set(request.dataset)
    if request.embedded:
        return dataset.stand_in(None, split, bins, None)
    root, failure, samples = data_root(request.root), "", None
    try:
        samples = dataset.find(root, split)
        if samples is None and request.download:
            failure, samples = _download(dataset, root, split), dataset.find(root, split)
        note = _joined((failure, _incomplete(dataset, root, {split: samples})))
    except MissingReader as error:
        note = str(error)
    samples = samples or dataset.stand_in(root, split, bins, request.samples)
    return replace(samples, info=replace(samples.info, note=note))


def why_not_the_data(request: SplitRequest) -> str:
    """Return what takes the place of missing data, and why; "" where none are missing.

    Downloads what is missing, if allowed. Raises UsageError as `load_split`.
    """
    infos = [_list_frames(request, split).info for split in SPLITS]
    note = _joined(info.note for info in infos)
    if not note or not (DOWNLOAD_FAILED in note or any(info.substitute for info in infos)):
        return ""
    return f"{note}; used instead: {_joined(info.description for info in infos)}"


def _download(dataset: DataSet[Any], root: Path, split: Split) -> str:
    """Try a download once. Returns "", or a sentence that says why it failed."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # tonic prints, and stdout is for tables
            dataset.download(root, split)
    # OSError: a full disk, urllib; RuntimeError: an archive's hash is wrong
    except (
        *(OSError, RuntimeError, http.client.HTTPException, MissingReader),
        *(tarfile.TarError, zipfile.BadZipFile),
    ) as error:
        return f"{DOWNLOAD_FAILED}: {type(error).__name__}: {error}"
    finally:
        socket.setdefaulttimeout(previous)
    return ""


# checks that training and test samples fit


def _gather_both(
    request: SplitRequest,
    test_samples: int | None,
    find: Callable[[SplitRequest, Split], Samples[Any]],
    say: ProgressCallback,
) -> tuple[Gathered, Gathered]:
    """List both splits, check that they fit, then read them. Raises as `load_splits`."""
    dataset, root = _data_set(request.dataset), home_relative(data_root(request.root))
    test_request = replace(request, samples=test_samples)
    train, test = find(request, "train"), find(test_request, "test")
    infos = {"train": train.info, "test": test.info}
    kinds = {name: (info.substitute, info.simulated) for name, info in infos.items()}
    real, other = sorted(infos, key=lambda name: kinds[name])
    if kinds[real] != kinds[other]:
        raise UsageError(
            f"{dataset.title}: the {real} samples are {infos[real].description}, and no such "
            f"{other} samples are under {root}, where {dataset.layout} was looked for: a network "
            f"is not tested on {infos[other].description} in their place; {_how_to_get(dataset)}"
        )
    lacking = [*_missing_classes(dataset, "train", train), *_missing_classes(dataset, "test", test)]
    if lacking:
        raise UsageError(
            f"{dataset.title} under {root}: {', '.join(lacking)}, and a network is trained where "
            f"both splits have all classes; {_how_to_get(dataset)}"
        )
    both = _gather(request, "train", train, say), _gather(test_request, "test", test, say)
    if not train.info.substitute:
        _check_splits_differ(f"{dataset.title} under {root}", *(arrays for arrays, *_ in both))
    return both


def _check_splits_differ(place: str, train: Arrays, test: Arrays) -> None:
    """Raise UsageError if test samples are training samples too: one split is the other's copy.

    The few doubles that the original data sets have are let through.
    """
    training, compared = set(_hashes(train)), _hashes(test)
    shared = sum(sample in training for sample in compared)
    if shared > max(1, len(compared) * MAX_SHARED):  # a lone double is no copy of a split
        raise UsageError(
            f"{place}: of {len(compared):,} test samples that were compared {shared:,} are "
            "training samples too: one split is a copy of the other, at least in part; unpack them "
            "anew"
        )


def _hashes(arrays: Arrays) -> list[int]:
    """Hash the samples; those of fewer events may be equal by chance, and are left out."""
    samples, _, *starts = arrays
    if starts:
        recordings = np.split(samples, starts[0][1:-1])
        compared = [events for events in recordings if len(events) >= FEW_EVENTS]
    else:
        compared = [sample for sample in samples if np.count_nonzero(sample) >= FEW_EVENTS]
    return [hash(sample.tobytes()) for sample in compared]


def _missing_classes(dataset: DataSet[Any], split: Split, samples: Samples[Any]) -> list[str]:
    """Return a note that names the classes without a sample in the split, if any."""
    labels = set(samples.labels.tolist())
    names = [name for n, name in enumerate(dataset.classes) if n not in labels]
    return [f"no {split} sample is of class {', '.join(names)}"] if names else []


# which data exist


@dataclass(frozen=True)
class Availability:
    """What a data root holds of a data set, and what it lacks."""

    title: str
    train: SampleInfo | None  # None: none can be read
    test: SampleInfo | None
    problem: str  # what is damaged or missing, where, and how to get it; "" if complete


def find(dataset: str, root: Path | None = None) -> Availability:
    """Return what `root` holds of a data set. Raises UsageError if either is unknown."""
    data_set, root = _data_set(dataset), data_root(root)
    splits: dict[Split, Samples[Any] | None] = dict.fromkeys(SPLITS)
    problem = ""
    for split in SPLITS:
        try:
            splits[split] = data_set.find(root, split)
        except UsageError as error:  # a damaged folder, a missing reader
            problem = str(error)
    train, test = (samples and samples.info for samples in splits.values())
    problem = problem or _incomplete(data_set, root, splits)
    return Availability(data_set.title, train, test, problem)


def _incomplete(dataset: DataSet[Any], root: Path, splits: dict[Split, Samples[Any] | None]) -> str:
    """Say what the splits lack of the complete data set, and how to get it; "" if nothing."""
    lacks: list[str] = []
    for split, samples in splits.items():
        if samples is None:
            lacks.append(f"no {split} samples")
            continue
        info = samples.info
        if info.count < info.whole:
            lacks.append(f"{info.count:,} of {info.whole:,} {split} samples found")
        lacks += _missing_classes(dataset, split, samples)
        if info.lossy:
            lacks.append(f"the {split} samples are a lossy copy")
        if info.note:
            lacks.append(info.note)
    if not any(splits.values()):
        lacks = [f"not found under {home_relative(root)}, where {dataset.layout} was looked for"]
    return f"{dataset.title}: {', '.join(lacks)}; {_how_to_get(dataset)}" if lacks else ""


def _how_to_get(dataset: DataSet[Any]) -> str:
    return f"to get the whole original, {dataset.how_to_get} ({dataset.download_mib:,} MiB)"


def _data_set(name: str) -> DataSet[Any]:
    """Return the data set of a name.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}, choose from {', '.join(DATASETS)}")
    return DATASETS[name]


# the cache


@dataclass(frozen=True)
class CachedArrays:
    """Arrays that are kept on disk: a split's samples and labels, or trained weights."""

    parts: Arrays
    sha256: str  # of all parts
    damaged: tuple[str, ...] = ()  # a sentence for each sample that could not be read
    note: str = ""  # why the cache could not be used


def _gather(
    request: SplitRequest, split: Split, samples: Samples[Any], say: ProgressCallback
) -> Gathered:
    """Read the requested samples, or take them from the cache.

    The arrays are the samples and their labels. Events are concatenated, and a third array says
    where each recording starts. Raises UsageError if no sample can be read.
    """
    count = samples.info.count
    if request.samples is not None and request.samples < count:
        samples = samples.subset(sorted(choose(count, request.samples, SPLIT_SEED)))
    key = f"{request.dataset} {split} {samples.fingerprint()}"
    arrays = cached_arrays(key, lambda: _read(samples, say), say)
    notes = [samples.info.note, arrays.note]
    if damaged := arrays.damaged:
        reasons = "; ".join(damaged[:3] if len(damaged) <= 3 else (*damaged[:3], "..."))
        notes.append(f"left out: {len(damaged)} of the samples: {reasons}")
    note = _joined(notes)
    info = replace(samples.info, count=len(arrays.parts[1]), note=note)
    return arrays.parts, info, _source(info, arrays.sha256)


def _read(samples: Samples[Any], say: ProgressCallback) -> CachedArrays:
    """Read the samples; leave out those that are damaged, and say which."""
    values, labels, damaged = [], [], []
    count = samples.info.count
    for index in range(count):
        say(index / count, f"reading {samples.info.description}: {index:,} of {count:,}")
        try:
            values.append(samples.read(index))
            labels.append(samples.labels[index])
        except UsageError as error:  # one damaged file does not cost the others
            damaged.append(str(error))
    if not values:
        raise UsageError(f"none of {count} samples could be read: {damaged[0]}")
    if values[0].dtype == EVENT:
        starts = np.cumsum([0, *map(len, values)], dtype=np.int64)
        parts = np.concatenate(values), np.array(labels, np.int64), starts
    else:
        parts = np.stack(values), np.array(labels, np.int64)
    return CachedArrays(parts, sha256(*parts), tuple(damaged))


def cached_arrays(
    key: str, make: Callable[[], CachedArrays], say: ProgressCallback
) -> CachedArrays:
    """Return the cached arrays of `key`, all that they depend on, or make and cache them."""

    def read(path: Path) -> CachedArrays:
        """Return the arrays that a file of the cache holds."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = dict(arrays)  # which checks the checksum of each
        hashed, damaged = str(content.pop("sha256")), content.pop("damaged").tolist()
        return CachedArrays(tuple(content.values()), hashed, tuple(damaged))

    def write(path: Path, arrays: CachedArrays) -> None:
        """Write the arrays to a file of the cache, with their hash and the damaged files' names."""
        content: dict[str, Any] = {f"part{n}": part for n, part in enumerate(arrays.parts)}
        content |= {"sha256": np.array(arrays.sha256), "damaged": np.array(arrays.damaged, str)}
        with path.open("wb") as file:
            np.savez(file, **content)

    def wait() -> None:
        say(0.0, "another process computes the same: waiting for it")

    arrays, note = cached("arrays", ".npz", f"{CACHE_FORMAT} {key}", make, read, write, wait)
    return replace(arrays, note=note)
