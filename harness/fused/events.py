"""What a layer sends to the next where that takes events: counts instead of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 255  # neurons of a pool's window: a count is a byte
Made = dict[str, Any] | None  # what calls on the same weights share; None: nothing is kept
MARK = 2  # in the byte of a neuron that has no pool: it lies inside the surrogate's window


@dataclass(frozen=True)
class Events:
    """What a layer sends to the next over all steps, as counts; a value is gain times a count.

    With NeuNorm it is less U x, where x is one number a pixel.
    """

    counts: Tensor  # (N, h, w, C), bytes: how many of a window's neurons fired
    gain: float
    most: int  # the largest count that there can be
    spiking: int  # how many counts are not 0
    x: Tensor | None = None  # (N, h, w), of the potential's type
    U: Tensor | None = None  # (C, h, w)
    marked: int | None = None  # how many bytes are marked; None: marks were not asked for

    @property
    def bits(self) -> int:
        """Those of a byte that are its count."""
        return MOST if self.marked is None else 1

    @property
    def density(self) -> float:
        """The share of counts that are not 0."""
        return self.spiking / max(1, self.counts.numel())

    @property
    def window(self) -> float | None:
        """The share of neurons inside the surrogate's window: all whose gradient is read."""
        return None if self.marked is None else self.marked / max(1, self.counts.numel())

    def values(self, dtype: torch.dtype) -> Tensor:  # -> (N, C, h, w), channels last
        """What the next layer's input is."""
        from harness.fused import on_cpu  # it needs numba, and makes events

        return on_cpu.values(self, dtype)


@dataclass(frozen=True)
class Ran:
    """How a layer's last call was done."""

    density: float  # of what it was sent
    window: float | None  # of the neurons that sent it; None: their gradients are all wanted
    forward: bool  # by events
    weight_gradient: bool
    input_gradient: bool
