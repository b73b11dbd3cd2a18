"""A layer's gradients: back through time, summed into weights and biases, held against others.

Eqs. (5) and (12)-(14), by the reference's own functions of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, nan, sqrt

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from harness.reference.neuron import potential, spike_gradient
from harness.spec import LIF


@dataclass(frozen=True)
class Compared:
    """A parameter's gradient beside the reference's."""

    error: float  # largest difference over the largest entry; NaN where there is no gradient
    cosine: float  # NaN where one has no gradient
    distance: float  # length of the difference over the reference's; NaN where there is none


def compared(given: Tensor, expected: Tensor) -> Compared:
    """The two beside each other."""
    if not given.isfinite().all():
        return Compared(inf, nan, inf)
    difference = given.to(expected.dtype) - expected
    off, largest = difference.abs().max().item(), expected.abs().max().item()
    if largest == 0:
        return Compared(inf, nan, inf) if off > 0 else Compared(nan, nan, nan)
    a, b = norm(given), norm(expected)
    dot = torch.dot(given.flatten().double(), expected.flatten().double()).item()
    return Compared(off / largest, dot / (a * b) if a > 0 else nan, norm(difference) / b)


def joined(gradients: Iterable[Tensor]) -> Tensor:
    """Several parameters' gradients as one."""
    return torch.cat([each.flatten() for each in gradients])


def norm(gradient: Tensor) -> float:
    """Its length."""
    flat = gradient.flatten().double()
    return sqrt(torch.dot(flat, flat).item())


def weight_gradient(synapse: nn.Conv2d | nn.Linear, inputs: Tensor, du: Tensor) -> Tensor:
    """By inputs (T or 1, B, ...) and the current's gradient (T, B, ...): a step at a time.

    The steps are added in float64. In one float32 sum over all of 200 images of 34x34 a right
    gradient was 1.8e-5 of its largest entry off.
    """
    if len(inputs) == 1:
        du = du.sum(0, keepdim=True)
    total = torch.zeros_like(synapse.weight, dtype=torch.float64)
    for x, back in zip(inputs, du, strict=True):
        if isinstance(synapse, nn.Conv2d):
            margin = synapse.weight.shape[-1] // 2
            total += conv2d_weight(x, synapse.weight.shape, back, padding=margin)
        else:
            total += back.t() @ x.flatten(1)
    return total.to(du.dtype)


def bias_gradient(du: Tensor) -> Tensor:  # (T, B, C, ...) -> (C,)
    """The sum over all but the maps, in float64: of 200,000 float32 numbers the sum wants it."""
    maps = du.flatten(0, 1).transpose(0, 1).flatten(1)
    return maps.sum(1, dtype=torch.float64).to(du.dtype)


@dataclass(frozen=True)
class Course:
    """Neurons over all steps, each (T, ...) of one shape, as the adjoint needs them."""

    u: Tensor
    o: Tensor
    back: Tensor  # dL/do from the next layer
    passes: Tensor  # bool: within the surrogate's rectangle

    def of(self, part: Callable[[Tensor], Tensor]) -> Course:
        """A part of each."""
        return Course(part(self.u), part(self.o), part(self.back), part(self.passes))


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
