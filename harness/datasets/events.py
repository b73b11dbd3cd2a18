"""Events of an event camera: their type, whole recordings of them, and frames that count them; and
what the file of a data set says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.datasets.samples import Samples, Split, X
from harness.spec import BIN_US, UsageError

Events: TypeAlias = NDArray[Any]  # structured, of dtype EVENT, in the order of time

# Coordinates in pixels, time in microseconds, polarity: True where it became brighter (ON).
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])


@dataclass(frozen=True)
class Bins:
    """The windows from the first event on in which events are counted, a frame each."""

    count: int
    us: int = BIN_US

    def __str__(self) -> str:
        return f"{self.us / 1000:g} ms bins"


@dataclass(frozen=True, kw_only=True)
class DataSet(Generic[X]):
    """A data set of images uint8 (3, H, W), or of whole recordings. `MissingReader` is raised where
    these are there and cannot be read.
    """

    title: str
    layout: str  # expected under the data root
    how: str  # to get it
    download_mib: int  # of the archives
    whole: dict[Split, int]
    classes: tuple[str, ...]
    found: Callable[[Path, Split], Samples[X] | None]  # under a root
    # what takes their place: of other data under a root, else (None) of what packages embed;
    # recordings for so many bins, or (None) as long as a whole one
    stand_in: Callable[[Path | None, Split, Bins | None], Samples[X]]
    download: Callable[[Path, Split], object]  # into a root
    sensor: tuple[int, int] | None = None  # (H, W) of recordings
    stride: int = 1  # a frame's pixel is so many times as wide as the sensor's
    # simulated events; to train on, of images alone that no recording is of
    unrecorded: Callable[[Path, Split, Bins], Samples[X]] | None = None

    def frames(self, samples: Samples[Any], bins: Bins) -> Samples[NDArray[np.uint8]]:
        """Images as they are; recordings as frames (bins, 2, H, W), as their description says."""
        if self.sensor is None:
            return samples
        height, width = (size // self.stride for size in self.sensor)

        def frame(events: Events) -> NDArray[np.uint8]:
            if self.stride > 1:
                events = reduced(events, self.stride, (height, width))
            return bin_events(events, bins.count, (height, width), bins.us)

        found = samples.mapped(frame)
        about = replace(found.about, description=f"{found.about.description}, {bins}")
        return replace(found, about=about)


def bin_events(
    events: Events, bins: int, size: tuple[int, int], bin_us: int = BIN_US
) -> NDArray[np.uint8]:
    """Counts events in windows of `bin_us` from the first event on: (bins, 2, H, W).

    `size` is (H, W). Channel 0 counts OFF events, channel 1 ON events. Events outside the sensor
    and after the last window are dropped; a count ends at 255, fifty events a millisecond.
    """
    height, width = size
    if len(events) == 0:
        return np.zeros((bins, 2, height, width), np.uint8)
    x, y = events["x"].astype(np.int64), events["y"].astype(np.int64)
    window = (events["t"] - events["t"].min()) // bin_us
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (window < bins)
    place = ((window * 2 + events["p"]) * height + y) * width + x
    counts = np.bincount(place[inside], minlength=bins * 2 * height * width)
    return np.minimum(counts, 255).astype(np.uint8).reshape(bins, 2, height, width)


def from_zero(events: Events) -> Events:
    """In the order of time, which starts at the first event."""
    ordered = events[np.argsort(events["t"], kind="stable")].astype(EVENT)
    if len(ordered):
        ordered["t"] -= ordered["t"][0]
    return ordered


def reduced(events: Events, stride: int, size: tuple[int, int]) -> Events:
    """On a sensor (H, W) whose pixels are `stride` x `stride` of theirs; what is over is cut."""
    height, width = size
    kept = events[(events["x"] < width * stride) & (events["y"] < height * stride)]
    kept["x"] //= stride
    kept["y"] //= stride
    return kept


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
        kept = [reduced(self[n], stride, (height, width)) for n in range(len(self))]
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


class MissingReader(UsageError):
    """Recordings are there, and the package that reads them is not."""


def require(*packages: str) -> None:
    """Raises MissingReader where one of the optional `packages` cannot be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingReader(
                f"event recordings need the package {package}, which cannot be imported "
                f"({error}): pip install 'snn-harness[events]'"
            ) from error
