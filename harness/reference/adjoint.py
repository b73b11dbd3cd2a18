"""STBP written by hand: the adjoint over time of one layer, eqs. (12)-(13), without autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.reference.neuron import surrogate
from harness.spec import LIF


def spike_gradient(from_next_layer: Tensor, du_next: Tensor, u: Tensor, lif: LIF) -> Tensor:
    """dL/do[t], eq. (12): what the next layer sends back, and the next potential's reset."""
    return from_next_layer - du_next * lif.k_tau * u  # eq. (12): do[t+1]/do[t] acts through (1 - o)


def potential_gradient(do: Tensor, du_next: Tensor, u: Tensor, o: Tensor, lif: LIF) -> Tensor:
    """dL/du[t], eq. (13): through the spike of this step, and the potential carried to the next."""
    return do * surrogate(u - lif.v_th, lif.a) + du_next * lif.k_tau * (1 - o)  # eq. (13)


def adjoint(from_next_layer: Tensor, u: Tensor, o: Tensor, lif: LIF) -> Tensor:
    """dL/dI of a layer over all steps, each (T, B, ...), from dL/do as the next layer sends it.

    The current adds to u, so dL/dI[t] = dL/du[t]. Printed literally, eq. (13) leaves out the carry
    u[t] -> u[t+1]; we read it as the gradient of eqs. (5)-(6), which is what autograd computes.
    """
    du = torch.zeros_like(u)
    du_next = torch.zeros_like(u[0])  # the gradient after the last step is zero
    for t in reversed(range(u.shape[0])):
        do = spike_gradient(from_next_layer[t], du_next, u[t], lif)
        du[t] = du_next = potential_gradient(do, du_next, u[t], o[t], lif)
    return du
