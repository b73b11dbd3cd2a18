"""Whole recordings of an event camera in memory, for who reads events and not frames."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.datasets import cache
from harness.datasets.batch import sha256, source_of
from harness.datasets.cache import Arrays
from harness.datasets.events import EVENT, Events, MissingReader, bin_events
from harness.datasets.samples import SPLIT_SEED, About, Samples, choose, left_out
from harness.datasets.whole import Wanted
from harness.spec import BIN_US, Say, Source, UsageError


@dataclass(frozen=True, eq=False)
class Recordings:
    """Labelled recordings, one after the other in one array."""

    events: Events  # (M,): of each recording in the order of time, in us from its first event
    starts: NDArray[np.int64]  # (N + 1,): recording n is events[starts[n] : starts[n + 1]]
    labels: NDArray[np.int64]  # (N,)
    sensor: tuple[int, int]  # (H, W) in pixels
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, n: int) -> Events:
        return self.events[self.starts[n] : self.starts[n + 1]]

    def part(self, indices: NDArray[np.integer]) -> Recordings:
        """The recordings of those indices, in their order."""
        return self._with([self[int(n)] for n in indices], self.labels[indices])

    def first(self, microseconds: int) -> Recordings:
        """The beginning of each, so long."""
        found = (self[n] for n in range(len(self)))
        return self._with([each[each["t"] < microseconds] for each in found], self.labels)

    def reduced(self, stride: int) -> Recordings:
        """On a sensor whose pixels are `stride` x `stride` of this one's; what is over is cut."""
        height, width = (size // stride for size in self.sensor)
        kept = []
        for n in range(len(self)):
            each = self[n]
            each = each[(each["x"] < width * stride) & (each["y"] < height * stride)]
            each["x"] //= stride
            each["y"] //= stride
            kept.append(each)
        return replace(self._with(kept, self.labels), sensor=(height, width))

    def frames(self, bins: int, bin_us: int = BIN_US) -> NDArray[np.uint8]:
        """Counts of OFF and ON events in the first windows of `bin_us`: (N, bins, 2, H, W)."""
        found = [bin_events(self[n], bins, self.sensor, bin_us) for n in range(len(self))]
        return np.stack(found)

    @property
    def longest_us(self) -> int:
        """How long the longest of them is."""
        return int(self.events["t"].max(initial=-1)) + 1

    def _with(self, events: list[Events], labels: NDArray[np.int64]) -> Recordings:
        starts = np.cumsum([0, *map(len, events)], dtype=np.int64)
        return replace(self, events=np.concatenate(events), starts=starts, labels=labels)


@dataclass(frozen=True, eq=False)
class Recorded:
    """Recordings of one split, and where they came from."""

    recordings: Recordings
    about: About
    source: Source


@dataclass(frozen=True)
class Camera:
    """What is to be known of a data set's recordings before they are read."""

    sensor: tuple[int, int]  # (H, W)
    classes: int


def gather_events(
    wanted: Wanted,
    camera: Camera,
    samples: Samples[Events],
    note: str,
    say: Say,
) -> Recorded:
    """Reads as many of the samples as are wanted, or takes them from the cache.

    Raises UsageError where no sample can be read.
    """
    count = samples.about.count
    if wanted.samples is not None and wanted.samples < count:
        samples = samples.chosen(sorted(choose(count, wanted.samples, SPLIT_SEED)))
    key = f"{wanted.dataset} events {samples.origin()}"
    with closing(samples):
        arrays = cache.kept(key, lambda: _read(samples, say))
    assert arrays.starts is not None
    found = Recordings(arrays.inputs, arrays.starts, arrays.labels, camera.sensor, camera.classes)
    about = replace(samples.about, count=len(found))
    notes = [note, arrays.note, left_out((*about.left_out, *arrays.damaged))]
    note = "; ".join(text for text in notes if text)
    return Recorded(found, about, source_of(wanted.dataset, about, arrays.sha256, note))


def _read(samples: Samples[Events], say: Say) -> Arrays:
    events, labels, damaged = [], [], []
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
        events.append(_from_zero(sample))
        labels.append(label)
    if not events:
        raise UsageError(f"none of {count} samples could be read: {damaged[0]}")
    joined = np.concatenate(events)
    numbers = np.array(labels, np.int64)
    starts = np.cumsum([0, *map(len, events)], dtype=np.int64)
    return Arrays(joined, numbers, sha256(joined, numbers, starts), tuple(damaged), starts=starts)


def _from_zero(events: Events) -> Events:
    """In the order of time, which starts at the first event."""
    ordered = events[np.argsort(events["t"], kind="stable")].astype(EVENT)
    if len(ordered):
        ordered["t"] -= ordered["t"][0]
    return ordered
