"""Neuron normalisation: the auxiliary neuron, eq. (9), and what it takes from spikes, eq. (10)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from harness import spec


def auxiliary(x: Tensor, spikes: Tensor, k_tau2: float, c: float) -> Tensor:
    """Compute the auxiliary neurons' next state (B, 1, H, W), eq. (9), from spikes (B, C, H, W)."""
    return k_tau2 * x + c * spikes.sum(1, keepdim=True)  # eq. (9)


def normalise(spikes: Tensor, x: Tensor, U: Tensor) -> Tensor:
    """Normalise by eq. (10): (B, C, H, W), (B, 1, H, W), (C, H, W) -> (B, C, H, W)."""
    return spikes - U * x  # eq. (10), inside the parentheses


class NeuNormStep(nn.Module):
    """One step of NeuNorm with its trainable U, of the size of the maps that enter the next layer.

    The paper does not state U's first values. They are `neunorm.u` everywhere, or uniform within
    1 / sqrt(H W), PyTorch's own choice for a weight of that fan-in.
    """

    def __init__(self, neunorm: spec.NeuNorm, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.neunorm = neunorm
        self.U = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.U, a=sqrt(5))
        if neunorm.u is not None:  # drawn all the same: a seed's other weights stay as they are
            nn.init.constant_(self.U, neunorm.u)

    def forward(self, spikes: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the normalised spikes (B, C, H, W) and the next x (B, 1, H, W); None is x = 0."""
        if state is None:
            state = torch.zeros_like(spikes[:, :1])
        c = self.neunorm.scale(spikes.shape[1])
        x = auxiliary(state, spikes, self.neunorm.k_tau2, c)
        return normalise(spikes, x, self.U), x


def for_stage(stage: spec.Stage, network: spec.Network) -> NeuNormStep | None:
    """Return a new NeuNorm for a layer's output; None where none acts on it."""
    if network.neunorm is None or stage.neunorm_shape is None:
        return None
    return NeuNormStep(network.neunorm, stage.neunorm_shape)
