"""Samples in memory: a batch, a whole split, whole recordings.

What was read of a split is kept as arrays in the user's cache folder: an epoch never reads a
recording again.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.events import Bins, Events, MissingReader, Recordings, from_zero
from harness.datasets.samples import SPLIT_SEED, About, Normal, Samples, Split, choose
from harness.spec import BIN_US, Say, Source, UsageError
from harness.system.files import make_user_cache, printable, user_cache, write_whole

X = TypeVar("X")
CACHE_FORMAT = 2  # of the entries, and of what is in them


@dataclass(frozen=True)
class Request:
    """What batch is wanted. Raises UsageError where that cannot be."""

    dataset: str
    T: int
    batch_size: int
    seed: int = 0  # draws the samples
    split: Split = "train"
    root: Path | None = None  # None: HARNESS_DATA, else the user's cache folder
    download: bool = False  # False never touches the network

    def __post_init__(self) -> None:
        for name, value, least in (
            ("T", self.T, 1),
            ("batch_size", self.batch_size, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{name} is {value}, expected {least} or more")
        if self.split not in get_args(Split):
            raise UsageError(f"unknown split {self.split!r}, choose from train, test")


@dataclass(frozen=True)
class Wanted:
    """What splits are wanted. Raises UsageError where that cannot be."""

    dataset: str
    T: int  # event frames that are kept; of no matter to images
    samples: int | None = None  # a seeded choice of as many; None: all
    root: Path | None = None  # None: HARNESS_DATA, else the user's cache folder
    download: bool = False
    embedded: bool = False  # the embedded default, whatever there is
    bin_us: int = BIN_US  # of an event frame
    simulated: bool = False  # simulated events to train on and to test, whatever recordings are

    def __post_init__(self) -> None:
        if self.T < 1 or (self.samples is not None and self.samples < 1):
            raise UsageError(f"T {self.T}, samples {self.samples}: expected 1 or more of each")

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
        """The same on a device."""
        return replace(self, raw=self.raw.to(device), labels=self.labels.to(device))

    def part(self, indices: Tensor) -> Labelled:
        """The samples of those indices, in their order."""
        chosen = indices.to(self.raw.device)
        return replace(self, raw=self.raw[chosen], labels=self.labels[chosen])

    def batches(self, T: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs (T, B, C, H, W) and labels (B,), in order; the last batch may be smaller."""
        for raw, labels in zip(
            self.raw.split(batch_size), self.labels.split(batch_size), strict=True
        ):
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


def assemble(request: Request, samples: Samples[NDArray[np.uint8]], note: str) -> Batch:
    """Draws and reads a batch: samples (C, H, W) are static images, (T, C, H, W) event frames."""
    about = samples.about
    chosen = choose(about.count, request.batch_size, request.seed)
    raw = torch.from_numpy(np.stack([samples.read(index) for index in chosen]))
    labels = torch.from_numpy(samples.labels[chosen])
    inputs = network_input(raw, request.T, about.normal)
    once = inputs[0] if raw.ndim == 4 else inputs
    content = sha256(once.numpy(), labels.numpy())
    source = source_of(request.dataset, about, content, note, left_out(about.left_out))
    return Batch(inputs, labels, source)


def gather(
    wanted: Wanted, split: Split, samples: Samples[NDArray[np.uint8]], note: str, say: Say
) -> Labelled:
    """Reads as many of the samples as are wanted, or takes them from the cache.

    Raises UsageError where no sample can be read.
    """
    frames = f"{wanted.T} bins of {wanted.bin_us} us" if samples.about.normal is None else "pixels"
    arrays, about, source = _gathered(wanted, samples, f"{split} {frames}", note, say)
    inputs, labels = map(torch.from_numpy, arrays.parts)
    return Labelled(inputs, labels, about, source)


def gather_events(
    wanted: Wanted,
    split: Split,
    samples: Samples[Events],
    sensor: tuple[int, int],
    classes: int,
    note: str,
    say: Say,
) -> Recorded:
    """Whole recordings, as `gather` reads frames."""
    samples = samples.mapped(from_zero)
    arrays, about, source = _gathered(wanted, samples, f"{split} events", note, say)
    events, labels, starts = arrays.parts
    return Recorded(Recordings(events, starts, labels, sensor, classes), about, source)


def joined(parts: Sequence[Labelled]) -> Labelled:
    """The samples of several, one after the other."""
    raw = torch.cat([each.raw for each in parts])
    labels = torch.cat([each.labels for each in parts])
    first, whole = parts[0], sum(each.about.whole for each in parts)
    about = replace(first.about, count=len(labels), whole=whole)
    notes = dict.fromkeys(each.source.note for each in parts)
    content = sha256(raw.numpy(), labels.numpy())
    return Labelled(raw, labels, about, source_of(first.source.name, about, content, *notes))


def source_of(dataset: str, about: About, content: str, *notes: str) -> Source:
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


def left_out(sentences: tuple[str, ...]) -> str:
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


# reading


@dataclass(frozen=True)
class Arrays:
    """The samples that were read and their labels; of recordings also where each starts."""

    parts: tuple[NDArray[Any], ...]
    sha256: str  # of all parts
    damaged: tuple[str, ...] = ()  # a sentence for each sample that could not be read
    note: str = ""  # on the cache itself


def _gathered(
    wanted: Wanted, samples: Samples[X], what: str, note: str, say: Say
) -> tuple[Arrays, About, Source]:
    count = samples.about.count
    if wanted.samples is not None and wanted.samples < count:
        samples = samples.chosen(sorted(choose(count, wanted.samples, SPLIT_SEED)))
    key = f"{wanted.dataset} {what} {samples.origin()}"
    arrays = cached(key, lambda: _read(samples, what.endswith("events"), say))
    about = replace(samples.about, count=len(arrays.parts[1]))
    notes = note, arrays.note, left_out((*about.left_out, *arrays.damaged))
    return arrays, about, source_of(wanted.dataset, about, arrays.sha256, *notes)


def _read(samples: Samples[X], events: bool, say: Say) -> Arrays:
    found, labels, damaged = [], [], []
    count = samples.about.count
    for index in range(count):
        say(index / count, f"reading {samples.about.description}: {index:,} of {count:,}")
        try:
            found.append(samples.read(index))
            labels.append(samples.labels[index])
        except MissingReader:
            raise
        except UsageError as error:  # one damaged file does not cost the others
            damaged.append(str(error))
    if not found:
        raise UsageError(f"none of {count} samples could be read: {damaged[0]}")
    numbers = np.array(labels, np.int64)
    if events:
        starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
        parts = np.concatenate(found), numbers, starts
    else:
        parts = np.stack(found), numbers
    return Arrays(parts, sha256(*parts), tuple(damaged))


def cached(key: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of that key, made where the cache has none that are sound.

    `key` must say all that decides the content. Without a folder that can be written the arrays are
    made each time, and `note` says so.
    """
    name = hashlib.sha256(f"{CACHE_FORMAT} {key}".encode()).hexdigest()[:32]
    try:
        folder = make_user_cache("arrays")
        with FileLock(folder / f"{name}.lock"):
            return _entry(folder / f"{name}.npz", make)
    except OSError as error:
        place, why = printable(user_cache()), error.strerror or error
        return replace(make(), note=f"not cached: {place} cannot be written ({why})")


def _entry(path: Path, make: Callable[[], Arrays]) -> Arrays:
    note = ""
    if path.exists():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                content = dict(arrays)
            hashed, damaged = str(content.pop("sha256")), content.pop("damaged").tolist()
            parts = tuple(content.values())
            if sha256(*parts) != hashed:
                raise ValueError("its hash is another")
            return Arrays(parts, hashed, tuple(damaged))
        except _UNREADABLE as error:
            what = f"{type(error).__name__}: {error}"
            note = printable(f"the cached {path} was damaged ({what}) and was made again")
    made = make()
    write_whole(path, lambda part: _save(part, made))
    return replace(made, note=note)


# What numpy raises for a file that is cut short or changed, by place.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, AttributeError, SyntaxError),
)


def _save(path: Path, made: Arrays) -> None:
    parts: dict[str, Any] = {f"part{n}": part for n, part in enumerate(made.parts)}
    with path.open("wb") as file:
        np.savez(file, sha256=np.array(made.sha256), damaged=np.array(made.damaged, str), **parts)
