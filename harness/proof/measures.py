"""How far apart two gradients are."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Compared:
    """A parameter's gradient beside the reference's."""

    error: float  # largest difference over the largest entry; NaN where there is no gradient
    cosine: float  # NaN where one has no gradient
    length: float  # the given one's over the reference's; NaN where that has none


def compared(given: Tensor, expected: Tensor) -> Compared:
    """The two beside each other."""
    if not given.isfinite().all():
        return Compared(inf, nan, inf)
    largest = expected.abs().max().item()
    off = (given.to(expected.dtype) - expected).abs().max().item()
    a, b = norm(given), norm(expected)
    error = off / largest if largest > 0 else inf if off > 0 else nan
    dot = torch.dot(given.flatten().double(), expected.flatten().double()).item()
    return Compared(error, dot / (a * b) if a * b > 0 else nan, a / b if b > 0 else nan)


def norm(gradient: Tensor) -> float:
    """Its length."""
    flat = gradient.flatten().double()
    return sqrt(torch.dot(flat, flat).item())


def bias_gradient(du: Tensor) -> Tensor:  # (T, B, C, ...) -> (C,)
    """The sum over all but the maps, in float64: of 200,000 float32 numbers the sum wants it."""
    maps = du.flatten(0, 1).transpose(0, 1).flatten(1)
    return maps.sum(1, dtype=torch.float64).to(du.dtype)
