"""A layer's neurons over all steps, their spikes and the surrogate's windows given.

Eqs. (5) and (12)-(14), by the reference's own functions of one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.reference.adjoint import spike_gradient
from harness.reference.neuron import potential
from harness.spec import LIF


@dataclass(frozen=True)
class Course:
    """Neurons over all steps, each (T, ...) of one shape, as the adjoint needs them."""

    u: Tensor
    o: Tensor
    back: Tensor  # dL/do from the next layer
    passes: Tensor  # bool: within the surrogate's rectangle


def potentials(current: Tensor, o: Tensor, k_tau: float) -> Tensor:
    """u (T, B, ...), eq. (5), from the currents and the spikes that reset it."""
    u = torch.empty_like(current, memory_format=torch.contiguous_format)
    u[0] = current[0]
    for t in range(1, len(u)):
        u[t] = potential(u[t - 1], o[t - 1], current[t], k_tau)
    return u


def within(u: Tensor, lif: LIF) -> Tensor:
    """Where the surrogate passes a gradient, eq. (14)."""
    return (u - lif.v_th).abs() < lif.a / 2


def through_time(course: Course, lif: LIF) -> Tensor:
    """dL/dI, eqs. (12)-(13), with the rectangle as `course.passes` has it."""
    du = torch.empty_like(course.u)
    du_next = torch.zeros_like(course.u[0])
    for t in reversed(range(len(du))):
        do = spike_gradient(course.back[t], du_next, course.u[t], lif)
        slope = course.passes[t].to(do.dtype) / lif.a  # eq. (14)
        du_next = do * slope + du_next * lif.k_tau * (1 - course.o[t])  # eq. (13)
        du[t] = du_next
    return du
