"""A whole split in memory: pixels or event counts as bytes, from the cache of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets import cache
from harness.datasets.batch import network_input, sha256, source_of
from harness.datasets.cache import Arrays
from harness.datasets.events import Bins, MissingReader
from harness.datasets.samples import SPLIT_SEED, About, Samples, Split, choose, left_out
from harness.spec import BIN_US, Say, Source, UsageError


@dataclass(frozen=True)
class Wanted:
    """What data are wanted. Raises UsageError where that cannot be."""

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


def gather(
    wanted: Wanted, split: Split, samples: Samples[NDArray[np.uint8]], note: str, say: Say
) -> Labelled:
    """Reads as many of the samples as are wanted, or takes them from the cache.

    Raises UsageError where no sample can be read.
    """
    count = samples.about.count
    if wanted.samples is not None and wanted.samples < count:
        samples = samples.chosen(sorted(choose(count, wanted.samples, SPLIT_SEED)))
    frames = f"{wanted.T} bins of {wanted.bin_us} us" if samples.about.normal is None else "pixels"
    key = f"{wanted.dataset} {split} {frames} {samples.origin()}"
    with closing(samples):
        arrays = cache.kept(key, lambda: _read(samples, say))
    about = replace(samples.about, count=len(arrays.labels))
    notes = [note, arrays.note, left_out((*about.left_out, *arrays.damaged))]
    note = "; ".join(text for text in notes if text)
    return Labelled(
        torch.from_numpy(arrays.inputs),
        torch.from_numpy(arrays.labels),
        about,
        source_of(wanted.dataset, about, arrays.sha256, note),
    )


def joined(parts: Sequence[Labelled]) -> Labelled:
    """The samples of several, one after the other."""
    first = parts[0]
    raw, labels = (
        torch.cat(each) for each in zip(*((p.raw, p.labels) for p in parts), strict=True)
    )
    count = len(labels)
    about = replace(first.about, count=count, whole=sum(each.about.whole for each in parts))
    notes = "; ".join(dict.fromkeys(each.source.note for each in parts if each.source.note))
    content = sha256(raw.numpy(), labels.numpy())
    return Labelled(raw, labels, about, source_of(first.source.name, about, content, notes))


def _read(samples: Samples[NDArray[np.uint8]], say: Say) -> Arrays:
    inputs, labels, damaged = [], [], []
    count = samples.about.count
    for index in range(count):
        say(index / count, f"reading {samples.about.description}: {index:,} of {count:,}")
        try:
            sample, label = samples.read(index)
        except MissingReader:
            raise
        except UsageError as error:  # one damaged file does not cost the others
            damaged.append(str(error))
            continue
        inputs.append(sample)
        labels.append(label)
    if not inputs:
        raise UsageError(f"none of {count} samples could be read: {damaged[0]}")
    stacked, numbers = np.stack(inputs), np.array(labels, np.int64)
    return Arrays(stacked, numbers, sha256(stacked, numbers), tuple(damaged))
