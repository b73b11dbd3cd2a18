"""Events of an event camera, recordings of them, frames that count them, and `DataSet`."""

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

LARGE, STRIDE = 128, 3  # pixels: sensors of at least 128 are reduced by 3 in each direction

Events: TypeAlias = NDArray[Any]  # structured, of dtype EVENT, in the order of time

# Coordinates in pixels, time in microseconds, polarity: True where it became brighter (ON).
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])


@dataclass(frozen=True)
class Bins:
    """Consecutive time windows, from a recording's first event on; each becomes a frame."""

    count: int
    us: int = BIN_US  # duration of each in microseconds

    def __str__(self) -> str:
        return f"{self.us / 1000:g} ms bins"


@dataclass(frozen=True, kw_only=True)
class DataSet(Generic[X]):
    """How to find, download and substitute a set of images, uint8 (3, H, W), or of recordings."""

    title: str
    layout: str  # of the files under the data root
    how_to_get: str
    download_mib: int  # size of the archives
    classes: tuple[str, ...]
    # under the data root; raises MissingReader if no package reads the recordings there
    find: Callable[[Path, Split], Samples[X] | None]
    # what stands in if `find` returns None: made of other data under the root (None: of data that
    # packages embed), for so many bins (None: of a recording's length), and so many samples (None:
    # as many as the data set has)
    stand_in: Callable[[Path | None, Split, Bins | None, int | None], Samples[X]]
    download: Callable[[Path, Split], object]  # into the data root
    sensor: tuple[int, int] | None = None  # (H, W) of recordings

    def frames(self, samples: Samples[Any], bins: Bins) -> Samples[NDArray[np.uint8]]:
        """Return images unchanged, and recordings as counts at input size (bins, 2, H, W)."""
        if self.sensor is None:
            return samples
        sensor = self.sensor
        size = reduced_size(sensor)
        frames = samples.mapped(
            lambda events: bin_events(reduced(events, sensor), bins.count, size, bins.us)
        )
        info = replace(frames.info, description=f"{frames.info.description}, {bins}")
        windows = f"{bins.count} bins of {bins.us} us"
        return replace(frames, info=info, fingerprint=lambda: f"{windows} {samples.fingerprint()}")


def bin_events(
    events: Events, bins: int, size: tuple[int, int], bin_us: int = BIN_US
) -> NDArray[np.uint8]:
    """Count OFF and ON events in windows of `bin_us` from the first event on: (bins, 2, H, W).

    Events outside the sensor's `size` (H, W) and after the last window are dropped. Counts stop at
    255: in windows of 5 ms, fifty events a millisecond.
    """
    height, width = size
    first = events["t"].min(initial=2**62)
    events = on_sensor(events[events["t"] - first < bins * bin_us], size)
    place = (events["t"] - first) // bin_us * (2 * height * width) + addresses(events, size)
    counts = np.bincount(place, minlength=bins * 2 * height * width)
    return np.minimum(counts, 255).astype(np.uint8).reshape(bins, 2, height, width)


def on_sensor(events: Events, size: tuple[int, int]) -> Events:
    """Drop the events outside a sensor of `size` (H, W)."""
    (height, width), x, y = size, events["x"], events["y"]
    return events[(x >= 0) & (x < width) & (y >= 0) & (y < height)]


def checked_events(path: Path, events: Events, sensor: tuple[int, int]) -> Events:
    """Return a file's events unchanged after checks that a camera can have recorded them.

    Raises UsageError if there are none, one lies outside the sensor (H, W), or time goes back.
    """
    if not len(events):
        raise damaged(path, "it holds no events")
    if off := len(events) - len(on_sensor(events, sensor)):
        raise damaged(path, f"{off:,} of {len(events):,} events lie off its pixels")
    if (np.diff(events["t"]) < 0).any():
        raise damaged(path, "time goes back in it")
    return events


def addresses(events: Events, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return each event's index in a flat array of polarity, row and column (2, H, W)."""
    height, width = size
    return (events["p"].astype(np.int64) * height + events["y"]) * width + events["x"]


def from_zero(events: Events) -> Events:
    """Return the events with times counted from the first one, in us."""
    shifted = events.astype(EVENT)
    shifted["t"] -= events["t"][:1]
    return shifted


def reduced_size(sensor: tuple[int, int]) -> tuple[int, int]:
    """Return a network's input size (H, W): the sensor's, or a third of it from 128 pixels on."""
    height, width = sensor
    return sensor if min(sensor) < LARGE else (height // STRIDE, width // STRIDE)


def reduced(events: Events, sensor: tuple[int, int]) -> Events:
    """Move events to the pixels of `reduced_size`; drop those of incomplete 3 x 3 blocks."""
    height, width = reduced_size(sensor)
    if (height, width) == sensor:
        return events
    smaller = events[(events["x"] < width * STRIDE) & (events["y"] < height * STRIDE)]
    smaller["x"] //= STRIDE
    smaller["y"] //= STRIDE
    return smaller


@dataclass(frozen=True, eq=False)
class Recordings:
    """Labelled recordings, concatenated in one array."""

    events: Events  # (M,): sorted by time in each recording, in us from its first event
    starts: NDArray[np.int64]  # (N + 1,): recording n is events[starts[n] : starts[n + 1]]
    labels: NDArray[np.int64]  # (N,)
    sensor: tuple[int, int]  # (H, W) in pixels
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, n: int) -> Events:  # past the end IndexError: it can be iterated over
        return self.events[self.starts[n] : self.starts[n + 1]]

    def part(self, indices: NDArray[np.integer]) -> Recordings:
        """Return the recordings of these indices, in their order."""
        return self._with([self[int(n)] for n in indices], self.labels[indices])

    def first(self, microseconds: int) -> Recordings:
        """Keep the events of each recording's first `microseconds`."""
        return self._with([events[events["t"] < microseconds] for events in self], self.labels)

    def reduced(self) -> Recordings:
        """Move all events to the input size of the paper's networks."""
        smaller = self._with([reduced(events, self.sensor) for events in self], self.labels)
        return replace(smaller, sensor=reduced_size(self.sensor))

    def frames(self, bins: int, bin_us: int = BIN_US) -> NDArray[np.uint8]:
        """Count OFF and ON events in the first `bins` windows: (N, bins, 2, H, W)."""
        return np.stack([bin_events(events, bins, self.sensor, bin_us) for events in self])

    @property
    def input_neurons(self) -> int:
        """The number of input neurons: pixels times two polarities."""
        return 2 * self.sensor[0] * self.sensor[1]

    @property
    def longest_us(self) -> int:
        """The duration of the longest recording in us."""
        return int(self.events["t"].max(initial=-1)) + 1

    def _with(self, events: list[Events], labels: NDArray[np.int64]) -> Recordings:
        starts = np.cumsum([0, *map(len, events)], dtype=np.int64)
        return replace(self, events=np.concatenate(events), starts=starts, labels=labels)


class MissingReader(UsageError):
    """Recordings exist, but the package that reads them cannot be imported."""


def require_packages(*packages: str) -> None:
    """Import optional packages. Raises MissingReader if one cannot be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingReader(
                f"event recordings need the package {package}, which cannot be imported "
                f"({error}): pip install 'snn-harness[events]'"
            ) from error
