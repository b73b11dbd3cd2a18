"""What kernels are given and give back: a layer's settings, events, gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.spec import LIF, NeuNorm

MOST = 255  # neurons of a pool's window: a count is a byte
PackedWeights = dict[str, Any] | None  # shared by calls on the same weights; None: not kept
MARK = 2  # in the byte of a neuron that has no pool: it lies inside the surrogate's window


@dataclass(frozen=True)
class Events:
    """A layer's output over all N = T B images as counts: a value is gain * count.

    With NeuNorm a value is gain * count - U x, where x is one number a pixel, eq. (10).
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
        """Bit mask of the count in a byte: 255, or 1 where the other bits hold marks."""
        return MOST if self.marked is None else 1

    @property
    def density(self) -> float:
        """The share of counts that are not 0."""
        return self.spiking / max(1, self.counts.numel())

    @property
    def window(self) -> float | None:
        """Share of neurons in the surrogate's window, whose gradient alone is read, or None."""
        return None if self.marked is None else self.marked / max(1, self.counts.numel())


@dataclass(frozen=True)
class Dispatch:
    """Which parts of one call of a convolution are computed by events; the others are dense."""

    density: float  # of the layer's input
    window: float | None  # share of input neurons whose gradient is read; None: all
    forward: bool  # by events
    weight_gradient: bool
    input_gradient: bool
    tiles: bool = False  # an input gradient that is not by events is by Winograd's tiles
    limits: str = field(default="", compare=False)  # the densities that decided, in words


class Encoding(NamedTuple):
    """Stand-in for an encoding layer's current: kernels compute it as they go, never store it."""

    x: Tensor  # (T, B, H, W, I)
    weight: Tensor  # (9 I, C), of the potential's type
    bias: Tensor  # (C,), so too

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the current, (T, B, C, H, W)."""
        return *self.x.shape[:2], len(self.bias), *self.x.shape[2:4]


class NeuronGradients(NamedTuple):
    """The gradients that a layer of neurons passes back."""

    current: Tensor | None  # of its shape: for (1, B, ...) the sum over the steps
    U: Tensor | None  # (C, h, w)
    bias: Tensor  # (C,): the sum of the current's
    weight: Tensor | None = None  # (9 I, C), only of an `Encoding`: its current's is None


@dataclass(frozen=True)
class Form:
    """Settings of a layer's neurons and what follows: pool, NeuNorm where U is given, dropout."""

    steps: int
    lif: LIF
    pool: int  # 1: none
    neunorm: NeuNorm | None
    maps: int
    dtype: torch.dtype  # of the potential
    p: float = 0.0  # of dropout
    keys: Tensor | None = None  # (T, B, 2) of its masks; None: nothing is dropped
    detached: bool = False  # no gradient through the reset, which is not the paper's function
    marks: bool = False  # counts are marked where a neuron lies inside the surrogate's window

    @property
    def scale(self) -> float:
        """NeuNorm's constant c, eq. (9)."""
        return self.neunorm.scale(self.maps) if self.neunorm else 0.0

    @property
    def numbers(self) -> tuple[float, ...]:
        """Constants in the order in which kernels read them.

        k_tau, V_th, a / 2, 1 / a, k_tau2, c, pool area, dropout's 1 / (1 - p), 0, 1, the mark
        (0: none), and the factor of the reset's gradient (0: detached).
        """
        k_tau2 = self.neunorm.k_tau2 if self.neunorm else 0.0
        lif, area, kept_factor = self.lif, float(self.pool**2), 1 / (1 - self.p)
        of_lif = lif.k_tau, lif.v_th, lif.a / 2, 1 / lif.a
        mark = float(MARK) if self.marks else 0.0
        reset = 0.0 if self.detached else 1.0
        return *of_lif, k_tau2, self.scale, area, kept_factor, 0.0, 1.0, mark, reset
