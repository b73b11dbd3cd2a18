"""The iterative LIF neuron and its rectangular surrogate, eqs. (5)-(7) and (14), and STBP.

STBP, eqs. (12)-(13), is written by hand: a step back through time, without autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.spec import LIF


def potential(u: Tensor, o: Tensor, current: Tensor, k_tau: float) -> Tensor:  # any one shape
    """Compute the next potential, eq. (5), for maps eq. (7); `u`, `o` are the last step's."""
    return k_tau * u * (1 - o) + current  # eq. (5): decay, reset by the last spike, integrate


def surrogate(distance: Tensor, a: float) -> Tensor:
    """Compute the rectangle for do/du, eq. (14), of `distance` = u - V_th: 0 at a / 2, its edge."""
    return (distance.abs() < a / 2).to(distance.dtype) / a  # eq. (14)


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(distance: Tensor, a: float) -> Tensor:
        return (distance >= 0).to(distance.dtype)  # eq. (6): it fires AT the threshold

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        distance, ctx.a = inputs
        ctx.save_for_backward(distance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return gradients[0] * surrogate(distance, ctx.a), None


def fire(distance: Tensor, a: float) -> Tensor:
    """Fire, eq. (6), by `distance` = u - V_th: 1 where it is 0 or more; backward, eq. (14)."""
    return _Fire.apply(distance, a)


class LIFCell(nn.Module):
    """One step of a layer of iterative LIF neurons; nothing is detached."""

    def __init__(self, lif: LIF) -> None:
        super().__init__()
        self.lif = lif

    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # (B, ...) each -> o, (u, o)
        """Compute the spikes and the next state from current and last state; None: all 0."""
        u = current if state is None else potential(*state, current, self.lif.k_tau)
        o = fire(u - self.lif.v_th, self.lif.a)
        return o, (u, o)


def spike_gradient(from_next_layer: Tensor, du_next: Tensor, u: Tensor, lif: LIF) -> Tensor:
    """Compute dL/do[t], eq. (12): from the next layer, and through the next potential's reset."""
    return from_next_layer - du_next * lif.k_tau * u  # eq. (12): do[t+1]/do[t] acts through (1 - o)


def potential_gradient(do: Tensor, du_next: Tensor, u: Tensor, o: Tensor, lif: LIF) -> Tensor:
    """Compute dL/du[t], eq. (13): through this step's spike, and the potential carried on.

    The current adds to u, so this is dL/dI[t]. Printed literally, eq. (13) leaves out the carry
    u[t] -> u[t+1]; we read it as the gradient of eqs. (5)-(6), which is what autograd computes.
    """
    return do * surrogate(u - lif.v_th, lif.a) + du_next * lif.k_tau * (1 - o)  # eq. (13)
