"""How the event kernels' work is cut to fit registers and caches."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from harness.fused.event.vectors import BYTES


class Rows(NamedTuple):
    """Rows of sums, weights or gradients: so many vectors of numbers of a type."""

    dtype: torch.dtype
    vectors: int

    @classmethod
    def of(cls, dtype: torch.dtype, outputs: int, most: int) -> Rows:
        """The shortest that hold all outputs, else the longest that there are."""
        vectors = 1
        while vectors < most and vectors * BYTES < outputs * dtype.itemsize:
            vectors *= 2
        return cls(dtype, vectors)

    @property
    def bytes(self) -> int:
        """Of one."""
        return self.vectors * BYTES

    @property
    def outputs(self) -> int:
        """Of one."""
        return self.bytes // self.dtype.itemsize

    def sets(self, outputs: int) -> int:
        """How many are filled by so many outputs."""
        return -(-outputs // self.outputs)


class Cut(NamedTuple):
    """How images are cut into groups: so many together, or lines of one."""

    together: int
    lines: int

    def groups(self, images: int, height: int) -> int:
        """How many there are."""
        return -(-images // self.together) * -(-height // self.lines)


@cache
def cache_bytes(level: int) -> int:
    """Of a core's data cache; what is common where the system does not say."""
    name = {1: "SC_LEVEL1_DCACHE_SIZE", 2: "SC_LEVEL2_CACHE_SIZE"}[level]
    try:
        found = os.sysconf(name)
    except (AttributeError, OSError, ValueError):
        found = 0
    return found if found > 0 else {1: 2**15, 2: 2**19}[level]


def cut(counts: Tensor, pixel: int, margin: int, room: int, at_least: int) -> Cut:
    """Groups of images whose pixels, of so many bytes, fit the room with a margin of lines.

    There are `at_least` so many groups, if there are lines enough.
    """
    images, height, width, _ = counts.shape
    line = (width + 2) * pixel
    lines = max(1, min(height, room // line - margin))
    if images < at_least:
        lines = min(lines, max(1, height * images // at_least))
    lines = -(-height // -(-height // lines))
    if lines < height:
        return Cut(1, lines)
    fitting = max(1, room // ((height + margin) * line))
    return Cut(max(1, min(fitting, -(-images // at_least))), lines)


def block_of(rows: Rows) -> int:
    """Rows of weights that two thirds of the first cache hold; whole vectors of counts."""
    return max(64, cache_bytes(1) * 2 // 3 // rows.bytes // 64 * 64)
