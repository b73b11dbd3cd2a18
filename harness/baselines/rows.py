"""Events as rows of whole numbers (x, y, t, p), as compiled loops take them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import Events

Rows: TypeAlias = NDArray[np.int64]  # (M, 4): x, y, t, and a polarity or what takes its place


def rows_of(events: Events, sensor: tuple[int, int]) -> Rows:
    """Those on the sensor (H, W), in their order: compiled loops do not check their indices."""
    rows = np.stack([events[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)
    height, width = sensor
    x, y = rows[:, 0], rows[:, 1]
    return rows[(x >= 0) & (x < width) & (y >= 0) & (y < height)]
