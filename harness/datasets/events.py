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

from harness.datasets.samples import Samples, Split, X, damaged
from harness.spec import BIN_US, UsageError

LARGE, STRIDE = 128, 3  # pixels: sensors from this size on are reduced

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
    # recordings for so many bins, or (None) as long as a whole one; so many samples, or (None) as
    # many as the data set has
    stand_in: Callable[[Path | None, Split, Bins | None, int | None], Samples[X]]
    download: Callable[[Path, Split], object]  # into a root
    sensor: tuple[int, int] | None = None  # (H, W) of recordings
    # simulated events; to train on, of images alone that no recording is of
    unrecorded: Callable[[Path, Split, Bins], Samples[X]] | None = None

    def frames(self, samples: Samples[Any], bins: Bins) -> Samples[NDArray[np.uint8]]:
        """Images as they are; recordings as frames (bins, 2, H, W), as their description says."""
        if self.sensor is None:
            return samples
        sensor = self.sensor
        found = samples.mapped(
            lambda events: bin_events(reduced(events, sensor), bins.count, seen(sensor), bins.us)
        )
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
    first = events["t"].min(initial=2**62)
    events = on_sensor(events[events["t"] - first < bins * bin_us], size)
    place = (events["t"] - first) // bin_us * (2 * height * width) + addresses(events, size)
    counts = np.bincount(place, minlength=bins * 2 * height * width)
    return np.minimum(counts, 255).astype(np.uint8).reshape(bins, 2, height, width)


def on_sensor(events: Events, size: tuple[int, int]) -> Events:
    """Those on a sensor (H, W), in their order."""
    (height, width), x, y = size, events["x"], events["y"]
    return events[(x >= 0) & (x < width) & (y >= 0) & (y < height)]


def checked_events(path: Path, events: Events, sensor: tuple[int, int]) -> Events:
    """The events of a file, as read. Raises UsageError where no camera recorded them: where there
    are none, where one lies off the sensor (H, W), and where time goes back.
    """
    if not len(events):
        raise damaged(path, "it holds no events")
    if off := len(events) - len(on_sensor(events, sensor)):
        height, width = sensor
        places = f"{off:,} of {len(events):,} events lie off its {width} x {height} pixels"
        raise damaged(path, places)
    if (np.diff(events["t"]) < 0).any():
        raise damaged(path, "time goes back in it")
    return events


def addresses(events: Events, size: tuple[int, int]) -> NDArray[np.int64]:
    """Polarity, row and column of each, which lies on a sensor (H, W), as one number."""
    height, width = size
    return (events["p"].astype(np.int64) * height + events["y"]) * width + events["x"]


def from_zero(events: Events) -> Events:
    """In the order of time, which starts at the first event."""
    ordered = events[np.argsort(events["t"], kind="stable")].astype(EVENT)
    if len(ordered):
        ordered["t"] -= ordered["t"][0]
    return ordered


def seen(sensor: tuple[int, int]) -> tuple[int, int]:
    """The pixels (H, W) that the paper's networks see: of a large sensor 3 x 3 as one."""
    height, width = sensor
    return sensor if min(sensor) < LARGE else (height // STRIDE, width // STRIDE)


def reduced(events: Events, sensor: tuple[int, int]) -> Events:
    """On the pixels that are `seen` of a sensor; what is over is cut."""
    height, width = seen(sensor)
    if (height, width) == sensor:
        return events
    kept = events[(events["x"] < width * STRIDE) & (events["y"] < height * STRIDE)]
    kept["x"] //= STRIDE
    kept["y"] //= STRIDE
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

    def reduced(self) -> Recordings:
        """On the pixels that the paper's networks see."""
        kept = [reduced(self[n], self.sensor) for n in range(len(self))]
        return replace(self._with(kept, self.labels), sensor=seen(self.sensor))

    def frames(self, bins: int, bin_us: int = BIN_US) -> NDArray[np.uint8]:
        """Counts of OFF and ON events in the first windows of `bin_us`: (N, bins, 2, H, W)."""
        found = [bin_events(self[n], bins, self.sensor, bin_us) for n in range(len(self))]
        return np.stack(found)

    @property
    def inputs(self) -> int:
        """Pixels of both polarities."""
        return 2 * self.sensor[0] * self.sensor[1]

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
