"""Convert events to integer rows (x, y, t, p), and compile loops over them with numba."""

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
    """Return the events on the sensor (H, W) as rows: compiled loops do not check indices."""
    kept = on_sensor(events, sensor)
    return np.stack([kept[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function with numba at its first call, and cache it in the user's cache folder.

    Functions that it calls must be in the same file: numba looks for changes only there. Indices
    are not checked, and there is no fast math.
    """
    source = Path(function.__code__.co_filename).read_bytes()
    with kept_in(f"baselines-{hashlib.sha256(source).hexdigest()[:12]}"):
        return numba.njit(cache=True, error_model="numpy")(function)
