"""Events as integer rows (x, y, t, p), a filter against noise, and loops compiled with numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from adapters.fused.compiled import kept_in
from harness.datasets.events import Events, on_sensor

NEVER = -(2**62)  # a time before all others
Rows: TypeAlias = NDArray[np.int64]  # (M, 4): x, y, t, polarity (or prototype, orientation, class)

P = ParamSpec("P")
R = TypeVar("R")


def rows_of(events: Events, sensor: tuple[int, int]) -> Rows:
    """Return events as rows, without those off the sensor (H, W): loops check no indices."""
    seen = on_sensor(events, sensor)
    return np.stack([seen[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function with numba at its first call, and cache it in the user's cache folder.

    Functions that it calls must be in the same file: numba looks for changes only there.
    """
    source = Path(function.__code__.co_filename).read_bytes()
    with kept_in(f"baselines-{hashlib.sha256(source).hexdigest()[:12]}"):
        return numba.njit(cache=True, error_model="numpy")(function)


Offsets: TypeAlias = tuple[tuple[int, int], ...]  # dy, dx
NEXT_4: Offsets = ((-1, 0), (0, -1), (0, 1), (1, 0))
NEXT_8: Offsets = (*NEXT_4, (-1, -1), (-1, 1), (1, -1), (1, 1))


@compiled
def _follow_neighbours(
    events: Rows, last: NDArray[np.int64], offsets: Offsets, window: int
) -> NDArray[np.bool_]:  # `last` (H + 2, W + 2): each pixel's last time
    """Return which events follow one at a neighbouring pixel within the window."""
    follow = np.zeros(len(events), np.bool_)
    for n in range(len(events)):
        row, column, t = events[n, 1] + 1, events[n, 0] + 1, events[n, 2]
        for dy, dx in offsets:
            if t - last[row + dy, column + dx] < window:
                follow[n] = True
        last[row, column] = t
    return follow


def denoise(
    rows: Rows, sensor: tuple[int, int], window_us: int, offsets: Offsets, first: int = NEVER
) -> Rows:
    """Keep an event if a pixel at one of the offsets had one less than `window_us` before it.

    Every pixel counts as having had an event at the time `first`.
    """
    last = np.pad(np.full(sensor, first), 1, constant_values=NEVER)
    return rows[_follow_neighbours(rows, last, offsets, window_us)]
