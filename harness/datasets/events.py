"""Events of an event camera: their type, and binning them into frames."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.datasets.samples import Samples
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


def framed(
    recordings: Samples[Events], bins: Bins, size: tuple[int, int]
) -> Samples[NDArray[np.uint8]]:
    """Recordings as frames (bins, 2, H, W); their description says so."""
    found = recordings.mapped(lambda events: bin_events(events, bins.count, size, bins.us))
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
