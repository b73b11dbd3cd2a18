"""The arguments of kernels for a layer of neurons, and the events between layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.spec import LIF, NeuNorm

MOST = 255  # neurons of a pool's window: a count is a byte
PackedWeights = dict[str, Any] | None  # what calls on the same weights share; None: nothing is kept
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
        """Mask that leaves the count of a byte: 255, or 1 where other bits hold marks."""
        return MOST if self.marked is None else 1

    @property
    def density(self) -> float:
        """The share of counts that are not 0."""
        return self.spiking / max(1, self.counts.numel())

    @property
    def window(self) -> float | None:
        """The share of neurons inside the surrogate's window: all whose gradient is read."""
        return None if self.marked is None else self.marked / max(1, self.counts.numel())


@dataclass(frozen=True)
class Dispatch:
    """How a layer's last call was computed, by events or densely."""

    density: float  # of what it was sent
    window: float | None  # of the neurons that sent it; None: their gradients are all wanted
    forward: bool  # by events
    weight_gradient: bool
    input_gradient: bool
    tiles: bool = False  # else the input gradient is by Winograd's tiles


class Encoding(NamedTuple):
    """An encoding layer's current, which is computed where it is needed and is never in memory."""

    x: Tensor  # (T, B, H, W, I)
    weight: Tensor  # (9 I, C), of the potential's type
    bias: Tensor  # (C,), so too

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the current, (T, B, C, H, W)."""
        return *self.x.shape[:2], len(self.bias), *self.x.shape[2:4]


class Gradients(NamedTuple):
    """The gradients that a layer of neurons passes back."""

    current: Tensor | None  # of its shape; summed over the steps where it stands still
    U: Tensor | None  # (C, h, w)
    bias: Tensor  # (C,): the sum of the current's
    weight: Tensor | None = None  # (9 I, C), of an encoding, whose current has no gradient


@dataclass(frozen=True)
class Form:
    """A layer's neurons over all steps, the pool behind them, NeuNorm where U is given, dropout."""

    steps: int
    lif: LIF
    pool: int  # 1: none
    neunorm: NeuNorm | None
    maps: int
    dtype: torch.dtype  # of the potential
    p: float = 0.0  # of dropout
    keys: Tensor | None = None  # (T, B, 2) of its masks; None: nothing is dropped
    detached: bool = False  # no gradient goes through the reset: another function than the paper's
    marks: bool = False  # counts are marked where a neuron lies inside the surrogate's window

    @property
    def scale(self) -> float:
        """NeuNorm's constant c, eq. (9)."""
        return self.neunorm.scale(self.maps) if self.neunorm else 0.0

    @property
    def numbers(self) -> tuple[float, ...]:
        """The constants in the kernels' order.

        k_tau, V_th, a / 2, 1 / a, k_tau2, c, pool area, dropout's factor, 0, 1, the mark of a
        count, and the reset's share of the gradient.
        """
        k_tau2 = self.neunorm.k_tau2 if self.neunorm else 0.0
        lif, area, grown = self.lif, float(self.pool**2), 1 / (1 - self.p)
        of_lif = lif.k_tau, lif.v_th, lif.a / 2, 1 / lif.a
        mark = float(MARK) if self.marks else 0.0
        reset = 0.0 if self.detached else 1.0
        return *of_lif, k_tau2, self.scale, area, grown, 0.0, 1.0, mark, reset
