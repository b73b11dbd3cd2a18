"""Events as rows of whole numbers (x, y, t, p), and loops over them that numba compiles."""

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
Rows: TypeAlias = NDArray[np.int64]  # (M, 4): x, y, t, and a polarity or what takes its place

P = ParamSpec("P")
R = TypeVar("R")


def rows_of(events: Events, sensor: tuple[int, int]) -> Rows:
    """Those on the sensor (H, W), in their order: compiled loops do not check their indices."""
    kept = on_sensor(events, sensor)
    return np.stack([kept[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, compiled at its first call with arguments of these types and
    kept in the user's cache folder.

    What it calls must stand in the same file: numba looks at that file alone for changes. Indices
    are not checked, and numbers are rounded as they are written.
    """
    source = Path(function.__code__.co_filename).read_bytes()
    with kept_in(f"baselines-{hashlib.sha256(source).hexdigest()[:12]}"):
        return numba.njit(cache=True, error_model="numpy")(function)
