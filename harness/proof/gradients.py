"""A layer's gradients: back through time, summed into weights and biases, held against others.

Eqs. (5) and (12) by the reference's own functions of one step; (13) and (14) here, since the window
of (14) may be a contender's. `settle` tells on which side of the window's edge a contender's
rounding put the few neurons that lie on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from harness.reference.network import StepNetwork
from harness.reference.neuron import potential, spike_gradient
from harness.spec import LIF


@dataclass(frozen=True)
class Compared:
    """How far a parameter's gradient is from the expected one."""

    error: float  # largest difference over the largest entry; NaN where there is no gradient
    cosine: float  # NaN where one has no gradient
    distance: float  # length of the difference over the reference's; NaN where there is none


def compared(gradient: Tensor, expected: Tensor) -> Compared:
    """Return how far a gradient is from the expected one; infinitely where it is not finite."""
    if not gradient.isfinite().all():
        return Compared(inf, nan, inf)
    difference = gradient.to(expected.dtype) - expected
    off, largest = difference.abs().max().item(), expected.abs().max().item()
    if largest == 0:
        return Compared(inf, nan, inf) if off > 0 else Compared(nan, nan, nan)
    a, b, c = (sqrt(_dot(g, g)) for g in (gradient, expected, difference))
    return Compared(off / largest, _dot(gradient, expected) / (a * b) if a > 0 else nan, c / b)


def _dot(a: Tensor, b: Tensor) -> float:
    return torch.dot(a.flatten().double(), b.flatten().double()).item()


def weight_gradient(synapse: nn.Conv2d | nn.Linear, inputs: Tensor, du: Tensor) -> Tensor:
    """Return dL/dW from a layer's inputs (T or 1, B, ...) and du = dL/du (T, B, ...).

    Steps are added in float64: one float32 sum over 200 images of 34x34 is 1.8e-5 off.
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
    """Return dL/db: du summed over all but maps, in float64, which 200,000 float32 numbers need."""
    maps = du.flatten(0, 1).transpose(0, 1).flatten(1)
    return maps.sum(1, dtype=torch.float64).to(du.dtype)


@dataclass(frozen=True)
class NeuronTrace:
    """What backpropagation through time needs of neurons, each tensor (T, ...) of one shape."""

    u: Tensor
    o: Tensor
    back: Tensor  # dL/do from the next layer
    passes: Tensor  # bool: within the surrogate's rectangle

    def select(self, part: Callable[[Tensor], Tensor]) -> NeuronTrace:
        """Return the trace of those neurons that `part` takes from each tensor."""
        return NeuronTrace(part(self.u), part(self.o), part(self.back), part(self.passes))


def potentials(current: Tensor, o: Tensor, k_tau: float) -> Tensor:
    """Compute u (T, B, ...), eq. (5), from the currents and given spikes, which reset it."""
    u = torch.empty_like(current, memory_format=torch.contiguous_format)
    u[0] = current[0]
    for t in range(1, len(u)):
        u[t] = potential(u[t - 1], o[t - 1], current[t], k_tau)
    return u


def keep_potentials(
    module: StepNetwork, keep: Callable[[Tensor], Tensor] = Tensor.detach
) -> list[list[Tensor]]:
    """Record each layer's potentials (B, ...), step by step, in the lists returned, by hooks.

    The network must have the paper's neurons. `keep` may reduce what is appended.
    """
    potentials: list[list[Tensor]] = [[] for _ in module.layers]
    for layer, steps in zip(module.layers, potentials, strict=True):

        def record(cell: nn.Module, x: object, out: Any, steps: list[Tensor] = steps) -> None:
            steps.append(keep(out[1][0]))

        layer.cell.register_forward_hook(record)
    return potentials


def within(u: Tensor, lif: LIF) -> Tensor:
    """Return where the surrogate passes a gradient, eq. (14)."""
    return (u - lif.v_th).abs() < lif.a / 2


def through_time(trace: NeuronTrace, lif: LIF) -> Tensor:
    """Compute dL/dI (T, ...), eqs. (12)-(13), with `trace.passes` as the window of eq. (14)."""
    du = torch.empty_like(trace.u)
    du_next = torch.zeros_like(trace.u[0])
    for t in reversed(range(len(du))):
        do = spike_gradient(trace.back[t], du_next, trace.u[t], lif)
        slope = trace.passes[t].to(do.dtype) / lif.a  # eq. (14)
        du_next = do * slope + du_next * lif.k_tau * (1 - trace.o[t])  # eq. (13)
        du[t] = du_next
    return du


# On which side of the edge.
#
# The rectangle of eq. (14) ends at abs(u - V_th) = a / 2. Of millions of potentials some lie within
# rounding of that, and whether the gradient passes them is the contender's to say. Spikes do not
# show it, but the layer's own gradient does: what passing one such neuron adds to the gradients of
# its map's weights and bias is known, so what was passed is solved for, as numbers that must be 0
# or 1. A map usually has more equations than neurons that were turned: they explain no other fault.

# Of the near-tie's width: the nearest neurons are tried alone before those further away.
REACHES = (0.003, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0)
MOST_UNKNOWNS = 2048
MOST_TURNED = 32  # that are taken one by one
PARALLEL = 1e-9  # of the largest singular value: below it, columns are one
ROUNDS = 4  # of the solution: what two steps of one neuron add is not quite their sum
AT_ONCE = 256  # neurons whose inputs are gathered together
WORTH_SOLVING = 0.2  # of the bound: a neuron on the wrong side is felt in the layers below
NEAREST = 5  # reaches that are worth it where all is within the bound


@dataclass(frozen=True)
class Gradients:
    """A layer's gradients: of its currents, of its weights and of its biases."""

    du: Tensor  # (T, B, C, ...)
    weight: Tensor  # (C, ...)
    bias: Tensor  # (C,)
    residual: float = 0.0  # largest part of the claim that they leave unexplained, over its bound


@dataclass(frozen=True)
class ClaimedGradients:
    """A contender's gradients of a layer, their absolute bounds, and the layer's inputs."""

    weight: Tensor
    bias: Tensor
    allowed_weight: float
    allowed_bias: float
    inputs: Tensor  # (T or 1, B, C, H, W); (T or 1, B, ...) of a product

    @cached_property
    def windows(self) -> tuple[Tensor, int]:
        """The padded inputs and the kernel's size; a product is taken as a 1x1 convolution."""
        if self.weight.dim() == 2:
            return self.inputs.flatten(2)[..., None, None], 1
        kernel = self.weight.shape[-1]
        return functional.pad(self.inputs, [kernel // 2] * 4), kernel


@dataclass(frozen=True)
class _Unknowns:
    """Neurons near the edge; those that came of the same numbers are one unknown, however many.

    A pair is a neuron with the steps of one unknown.
    """

    neurons: Tensor  # (pairs,), each in P
    flips: Tensor  # (T, pairs) bool
    groups: Tensor  # (pairs,)
    count: int


def settle(
    trace: NeuronTrace, replayed: Gradients, claim: ClaimedGradients, lif: LIF, near_tie: float
) -> Gradients:
    """Return the replayed gradients, with neurons at the surrogate's edge passing as `claim` shows.

    Each map that differs from `claim` is solved alone, for neurons within `near_tie` of the edge.
    """
    du, weight, bias = replayed.du, replayed.weight.clone(), replayed.bias.clone()
    weights = (claim.weight - weight).flatten(1) / claim.allowed_weight
    # the rest of each map's gradients, (C, E + 1), as multiples of the bound
    off = torch.cat([weights, (claim.bias - bias)[:, None] / claim.allowed_bias], 1)
    for c in (off.abs().amax(1) > WORTH_SOLVING).nonzero()[:, 0].tolist():
        feature_map = _Map(trace.select(lambda values, c=c: values[:, :, c].flatten(1)), claim, lif)
        passes, residual = feature_map.settled(off[c], near_tie)
        if torch.equal(passes, feature_map.trace.passes):
            continue
        new = through_time(replace(feature_map.trace, passes=passes), lif)
        du[:, :, c] = new.view_as(du[:, :, c])
        weight[c] = claim.weight[c] - (residual[:-1] * claim.allowed_weight).view_as(weight[c])
        bias[c] = claim.bias[c] - residual[-1] * claim.allowed_bias
        off[c] = residual
    return Gradients(du, weight, bias, _most(off))


def _most(gradient: Tensor) -> float:
    return gradient.abs().max().item()


@dataclass(frozen=True)
class _Map:
    """One map, or one neuron of a product: its neurons in all samples over all steps, (T, P)."""

    trace: NeuronTrace
    claim: ClaimedGradients
    lif: LIF

    def settled(self, target: Tensor, near_tie: float) -> tuple[Tensor, Tensor]:
        """Return `passes` as the gradients show it, and what they leave of `target`."""
        best, least, seen = self.trace.passes, target, 0
        distance = ((self.trace.u - self.lif.v_th).abs() - self.lif.a / 2).abs()
        for reach in REACHES if _most(target) > 1 else REACHES[:NEAREST]:
            near = distance < reach * near_tie
            if int(near.sum()) == seen:
                continue
            seen = int(near.sum())
            for unknowns in self._unknowns(near):
                for passes, residual in self._solutions(target, unknowns):
                    if _most(residual) < _most(least):
                        best, least = passes, residual
                if _most(least) < WORTH_SOLVING:
                    return best, least
        return best, least

    def _unknowns(self, near: Tensor) -> Iterator[_Unknowns]:
        """Yield the potentials near the edge: those that are alike together, then each alone."""
        steps, neurons = near.nonzero(as_tuple=True)
        for group in (self._sources(steps, neurons), torch.arange(len(steps), device=near.device)):
            count = int(group.max()) + 1
            if count > MOST_UNKNOWNS:
                continue
            keys, pair = (neurons * count + group).unique(return_inverse=True)
            flips = torch.zeros(len(near), len(keys), dtype=torch.bool, device=near.device)
            flips[steps, pair] = True
            yield _Unknowns(keys // count, flips, keys % count, count)

    def _sources(self, steps: Tensor, neurons: Tensor) -> Tensor:
        """Return a group number for each potential: equal where they come of equal numbers.

        Most arithmetics round the potentials of a group alike: the pixels where nothing happens, a
        neuron that is reset under a current that stands still. Random weights make one number of
        all that a neuron reads at a step.
        """
        carried = torch.roll(self.trace.u * (1 - self.trace.o), 1, 0)
        carried[0] = 0
        chosen, place = neurons.unique(return_inverse=True)
        entries, generator = self.claim.weight[0].numel(), torch.Generator().manual_seed(0)
        weights = torch.rand(entries, generator=generator, dtype=torch.float64).to(steps.device)
        read = [self._inputs_of(part).double() @ weights for part in chosen.split(AT_ONCE)]
        marks = torch.cat(read, 1)  # (T or 1, chosen)
        columns = [values[steps, neurons].double() for values in (self.trace.u, carried)]
        columns.append(marks[steps.clamp(max=len(marks) - 1), place])
        return torch.stack(columns, 1).unique(dim=0, return_inverse=True)[1]

    def _solutions(self, target: Tensor, unknowns: _Unknowns) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, round by round, which potentials then pass the gradient, and what is left."""
        for solve in (_least_squares, _few):
            solved, residual = self, target
            for _ in range(ROUNDS):
                turned = solved._solved(residual, unknowns, solve)
                if not turned.any():
                    break
                flips = torch.zeros_like(solved.trace.passes)
                steps, pairs = (unknowns.flips & turned[unknowns.groups]).nonzero(as_tuple=True)
                flips[steps, unknowns.neurons[pairs]] = True
                neurons = flips.any(0).nonzero()[:, 0].split(AT_ONCE)
                effects = [solved._effects(n, flips[:, n]).sum(1) for n in neurons]
                residual = residual - torch.stack(effects).sum(0)
                passes = solved.trace.passes ^ flips
                solved = replace(solved, trace=replace(solved.trace, passes=passes))
                yield passes, residual

    def _solved(self, target: Tensor, unknowns: _Unknowns, solve: _Solve) -> Tensor:
        """Return which unknowns lie on the other side of the edge, (count,) bool."""
        columns = target.new_zeros(len(target), unknowns.count)
        for part in torch.arange(len(unknowns.neurons)).split(AT_ONCE):
            effects = self._effects(unknowns.neurons[part], unknowns.flips[:, part])
            columns.index_add_(1, unknowns.groups[part], effects)
        return solve(columns.double().cpu(), target.double().cpu()).to(target.device)

    def _effects(self, neurons: Tensor, flips: Tensor) -> Tensor:  # (E + 1, neurons)
        """Return what the flips of each neuron add to the gradients, as multiples of the bound."""
        trace = self.trace.select(lambda values: values[:, neurons])
        flipped = replace(trace, passes=trace.passes ^ flips)
        du = through_time(flipped, self.lif) - through_time(trace, self.lif)
        read = self._inputs_of(neurons)
        over = du if len(read) > 1 else du.sum(0, keepdim=True)
        weight = torch.einsum("tk,tke->ek", over, read) / self.claim.allowed_weight
        bias = du.sum(0, keepdim=True) / self.claim.allowed_bias
        return torch.cat([weight, bias])

    def _inputs_of(self, neurons: Tensor) -> Tensor:  # -> (T or 1, neurons, E)
        """Return the inputs that each neuron reads, (T or 1, neurons, E)."""
        inputs, kernel = self.claim.windows
        height, width = (size - kernel + 1 for size in inputs.shape[3:])
        sample, pixel = neurons // (height * width), neurons % (height * width)
        reach = torch.arange(kernel, device=neurons.device)
        rows = (pixel // width)[:, None, None] + reach[:, None]
        columns = (pixel % width)[:, None, None] + reach
        windows = inputs[:, sample[:, None, None], :, rows, columns]  # (neurons, k, k, T, C)
        return windows.permute(3, 0, 4, 1, 2).flatten(2)


_Solve = Callable[[Tensor, Tensor], Tensor]  # columns (E, count), target (E,) -> (count,) bool


def _least_squares(columns: Tensor, target: Tensor) -> Tensor:
    """Return the columns whose coefficient exceeds 0.5 where least squares fits them to `target`.

    They are a mask; it is all False where there are more columns than equations.
    """
    if columns.shape[1] > len(target):
        return torch.zeros(columns.shape[1], dtype=torch.bool)
    solution = torch.linalg.lstsq(columns, target[:, None], rcond=PARALLEL, driver="gelsd")
    return solution.solution[:, 0] > 0.5


def _few(columns: Tensor, target: Tensor) -> Tensor:
    """Return the few columns whose sum comes near the target, each time the one that helps most.

    It tells parallel columns apart: two steps of a neuron that reads the same at both.
    """
    chosen = torch.zeros(columns.shape[1], dtype=torch.bool)
    squares = columns.square().sum(0)
    for _ in range(MOST_TURNED):
        gain = 2 * (target @ columns) - squares
        gain[chosen] = 0
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        chosen[best] = True
        target = target - columns[:, best]
    return chosen
