"""What the kernels must know of a layer of neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness.fused.events import MARK
from harness.spec import LIF, NeuNorm


class Gradients(NamedTuple):
    """What goes back through a layer of neurons."""

    current: Tensor  # of the current's shape; summed over the steps where that stands still
    U: Tensor | None  # (C, h, w)
    bias: Tensor  # (C,): the sum of the current's


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
        """The constants in the kernels' order: k_tau, V_th, a / 2, 1 / a, k_tau2, c, pool area, the
        factor of what dropout keeps, 0, 1, what marks a count, and the reset's share of the
        gradient."""
        k_tau2 = self.neunorm.k_tau2 if self.neunorm else 0.0
        lif, area, grown = self.lif, float(self.pool**2), 1 / (1 - self.p)
        of_lif = lif.k_tau, lif.v_th, lif.a / 2, 1 / lif.a
        mark = float(MARK) if self.marks else 0.0
        reset = 0.0 if self.detached else 1.0
        return *of_lif, k_tau2, self.scale, area, grown, 0.0, 1.0, mark, reset
