"""What tests share: small networks and the batches to run them on."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.spec import Network, Reading, paper

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared, which only the project's own machines have"
)


def small(dataset: str, scale: str = "Small", neunorm: Reading | None = None) -> Network:
    """A network of Table 1 at an eighth of its width."""
    return paper.network(scale, dataset, neunorm=neunorm, width=Fraction(1, 8))[1]


def random_batch(network: Network, T: int, B: int, *, static: bool, seed: int = 0) -> Tensor:
    """Inputs (T, B, C, H, W) as the data has them: normalised pixels, or sparse counts."""
    generator = torch.Generator().manual_seed(seed)
    if static:
        image = torch.randn(B, *network.input_shape, generator=generator)
        return image.expand(T, *image.shape)
    rates = torch.full((T, B, *network.input_shape), 0.1)
    return torch.poisson(rates, generator=generator)
