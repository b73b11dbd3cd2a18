"""What a layer sends to the next where that takes events: counts instead of values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 255  # neurons of a pool's window: a count is a byte


@dataclass(frozen=True)
class Events:
    """What a layer sends to the next over all steps, as counts; a value is gain times a count.

    With NeuNorm it is less U x, where x is one number a pixel.
    """

    counts: Tensor  # (N, h, w, C), bytes: how many of a window's neurons fired
    gain: float
    most: int  # the largest count that there can be
    spiking: int  # how many counts are not 0
    x: Tensor | None = None  # (N, h, w), of the synapses' type
    U: Tensor | None = None  # (C, h, w)

    @property
    def density(self) -> float:
        """The share of counts that are not 0."""
        return self.spiking / max(1, self.counts.numel())

    def values(self, dtype: torch.dtype) -> Tensor:  # -> (N, C, h, w), channels last
        """What the next layer's input is."""
        values = self.counts.to(dtype).mul_(self.gain)
        if self.x is not None and self.U is not None:
            values -= self.x[..., None] * self.U.to(dtype).permute(1, 2, 0)
        return values.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Ran:
    """How a layer's last call was done."""

    density: float  # of what it was sent
    forward: bool  # by events
    weight_gradient: bool
