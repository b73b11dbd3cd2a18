"""Samples in memory: a batch, a whole split, whole recordings.

What was read of a split is kept as arrays in the user's cache folder: an epoch never reads a
recording again.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.events import MissingReader, Recordings
from harness.datasets.samples import SPLIT_SEED, About, Normal, Samples, choose
from harness.spec import Say, Source, UsageError
from harness.system.files import make_user_cache, printable, user_cache, write_whole

CACHE_FORMAT = 2  # of the entries, and of what is in them


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
        parts = self.raw.split(batch_size), self.labels.split(batch_size)
        for raw, labels in zip(*parts, strict=True):
            yield network_input(raw, T, self.about.normal), labels

    def each(self) -> Iterator[bytes]:
        """The samples, to compare them."""
        return (sample.tobytes() for sample in self.raw.numpy())


@dataclass(frozen=True, eq=False)
class Recorded:
    """Recordings of one split, and where they came from."""

    recordings: Recordings
    about: About
    source: Source

    def each(self) -> Iterator[bytes]:
        """The samples, to compare them."""
        return (self.recordings[n].tobytes() for n in range(len(self.recordings)))


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


def gather(
    dataset: str, what: str, samples: Samples[Any], wanted: int | None, note: str, say: Say
) -> tuple[tuple[NDArray[Any], ...], About, Source]:
    """Reads as many of the samples as are wanted, or takes them from the cache; `what` they are.

    They come in one array, then their labels; "train events" one after the other, and then where
    each starts. Raises UsageError where no sample can be read.
    """
    count = samples.about.count
    if wanted is not None and wanted < count:
        samples = samples.chosen(sorted(choose(count, wanted, SPLIT_SEED)))
    key = f"{dataset} {what} {samples.origin()}"
    arrays = cached(key, lambda: _read(samples, what.endswith("events"), say))
    about = replace(samples.about, count=len(arrays.parts[1]))
    notes = note, arrays.note, left_out((*about.left_out, *arrays.damaged))
    return arrays.parts, about, source_of(dataset, about, arrays.sha256, *notes)


def _read(samples: Samples[Any], events: bool, say: Say) -> Arrays:
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
    parts = np.concatenate(found) if events else np.stack(found), np.array(labels, np.int64)
    if events:
        parts = *parts, np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Arrays(parts, sha256(*parts), tuple(damaged))


# What numpy raises for a file that is cut short or changed, by place.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, AttributeError, SyntaxError),
)


def cached(key: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of that key, made where the cache has none that are sound.

    `key` must say all that decides the content. Without a folder that can be written the arrays are
    made each time, and `note` says so.
    """
    name = hashlib.sha256(f"{CACHE_FORMAT} {key}".encode()).hexdigest()[:32]
    try:
        path, note = make_user_cache("arrays") / f"{name}.npz", ""
        with FileLock(path.with_suffix(".lock")):
            if path.exists():
                try:
                    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                        content = dict(arrays)
                    hashed, damaged = str(content.pop("sha256")), content.pop("damaged").tolist()
                    return Arrays(tuple(content.values()), hashed, tuple(damaged))
                except _UNREADABLE as error:  # its sums of each array are checked as it is read
                    what = f"{type(error).__name__}: {error}"
                    note = printable(f"the cached {path} was damaged ({what}) and was made again")
            made = make()
            write_whole(path, lambda place: _save(place, made))
            return replace(made, note=note)
    except OSError as error:
        place, why = printable(user_cache()), error.strerror or error
        return replace(make(), note=f"not cached: {place} cannot be written ({why})")


def _save(path: Path, made: Arrays) -> None:
    parts: dict[str, Any] = {f"part{n}": part for n, part in enumerate(made.parts)}
    with path.open("wb") as file:
        np.savez(file, sha256=np.array(made.sha256), damaged=np.array(made.damaged, str), **parts)
