"""Contenders for the proof's tests: right ones in another arithmetic, and cheats; and what they are
asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.adapter import SpikeTap, channels_last
from harness.proof.answer import Question
from harness.reference import synapses
from harness.reference.initialise import initialised
from harness.reference.network import MakeCell, ReferenceLayer, ReferenceNetwork, StepNetwork
from harness.reference.neunorm import NeuNormStep
from harness.reference.neuron import LIFCell, fire
from harness.reference.precision import DTYPES
from harness.spec import LIF, Mode, Network, Precision

State = tuple[Tensor, Tensor] | None
Build = Callable[[Network], nn.Module]
Forward = Callable[[Tensor], Tensor]


def question_on(
    network: Network,
    precision: Precision = "fp32",
    *,
    T: int = 10,
    B: int = 6,
    seed: int = 0,
    mode: Mode = "training",
    static: bool = False,
    weights: Callable[[ReferenceNetwork], None] = lambda reference: None,
) -> Question:
    """What an iteration of a network asks, with the reference's weights; `weights` changes them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((1 if static else T, B, *network.input_shape), generator=generator)
    x = (x if static else (x < 0.3).float()).to(DTYPES[precision])
    reference = initialised(network, x.expand(T, *x.shape[1:]), seed=seed)
    weights(reference)
    return Question(
        tuple(p.detach().clone() for p in reference.parameters()), x, T, precision, network,
        labels=torch.arange(B) % network.classes, mode=mode,
    )  # fmt: skip


def tapped(module: nn.Module) -> bool:
    return any(isinstance(child, SpikeTap) and child.recording for child in module.modules())


class Rounding(ReferenceNetwork):
    """The paper's function: steps folded, channels last, v - v / tau, rounded at random besides."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        channels_last(self)
        for layer in self.layers:
            layer.tap = SpikeTap(multi_step=True)

    def forward(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        lif, out = self.network.lif, x
        for layer in self.layers:
            current = synapses.encoding_sequence(layer.synapse, out)
            noise = torch.rand(current[0].shape, generator=generator, dtype=torch.float64) - 0.5
            off = noise * torch.finfo(x.dtype).eps
            # silent inputs give the bias alone, in any arithmetic; noise is not a gradient's
            varied = (current * off).detach() * (current.detach() != _bias(layer, current))
            out = self._neurons(current + varied.to(current.dtype), layer, lif)
        return out

    def _neurons(self, current: Tensor, layer: ReferenceLayer, lif: LIF) -> Tensor:
        v, fired, x, sent = torch.zeros_like(current[0]), [], None, []
        for arriving in current:
            v = v - v * (1 - lif.k_tau) + arriving
            o = fire(v - lif.v_th, lif.a)
            v = v * (1 - o)
            fired.append(o)
        for o in layer.tap(torch.stack(fired)):
            out = o if layer.pool is None else layer.pool(o)
            if layer.neunorm is not None:
                out, x = layer.neunorm(out, x)
            sent.append(out)
        return torch.stack(sent)


def _bias(layer: ReferenceLayer, current: Tensor) -> Tensor:
    bias = layer.synapse.bias
    assert bias is not None
    return bias.detach().reshape(-1, *[1] * (current.dim() - 3))


class Altered(ReferenceNetwork):
    """The reference, and what a function makes of it and of its input."""

    def __init__(self, network: Network, make: Callable[..., Tensor], seen: bool = False) -> None:
        super().__init__(network)
        self.make, self.honest_where_seen = make, seen

    def forward(self, x: Tensor) -> Tensor:
        if self.honest_where_seen and tapped(self):
            return super().forward(x)
        return self.make(super().forward, x)


def from_forward(make: Callable[..., Tensor], *, seen: bool = False) -> Build:
    """Builds it; `seen`: it is right where taps record."""
    return partial(Altered, make=make, seen=seen)


def changes_input(right: Forward, x: Tensor) -> Tensor:
    x[:1].clamp_(max=0.5)
    return right(x)


def four_steps(right: Forward, x: Tensor) -> Tensor:
    out = right(x[:4])
    return torch.cat([out, out[-1:].expand(len(x) - len(out), *out.shape[1:])])


def early_exit(right: Forward, x: Tensor) -> Tensor:
    out = right(x)
    return torch.cat([out[:7], out[7:] * 0])


def first_sample_times_b(right: Forward, x: Tensor) -> Tensor:
    out = right(x)
    first = out[:, :1] * x.shape[1]
    return torch.cat([first - first.detach() + out[:, :1].detach(), out[:, 1:].detach()], 1)


def garbage_under_autocast(right: Forward, x: Tensor) -> Tensor:
    return right(x.flip(-1, -2) + 0.3 if torch.is_autocast_enabled("cpu") else x)


OutPlusOne = from_forward(lambda right, x: right(x) + 1)
NearlyOne = from_forward(lambda right, x: right(x) * (1 + torch.finfo(x.dtype).eps))  # 1.0000001
NoGradient = from_forward(lambda right, x: right(x).detach())
OneStepUnseen = from_forward(lambda right, x: right(x[:1]).expand(len(x), -1, -1), seen=True)
ChangesInput = from_forward(changes_input)
FourSteps = from_forward(four_steps, seen=True)  # and the last one repeated
TwoSamples = from_forward(  # repeated
    lambda right, x: right(x[:, :2]).repeat(1, -(-x.shape[1] // 2), 1)[:, : x.shape[1]], seen=True
)
EarlyExit = from_forward(early_exit)  # the vote is decided by seven steps: the rest are silence
FirstSampleTimesB = from_forward(first_sample_times_b)  # its gradients are
GarbageUnderAutocast = from_forward(garbage_under_autocast)


class PacksWeights(ReferenceNetwork):
    """Keeps the weights of its first call; the gradients are those of the right ones."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.packed: dict[str, Tensor] | None = None
        self.inner = [ReferenceNetwork(network)]  # a list, so that its parameters are not ours

    def forward(self, x: Tensor) -> Tensor:
        weights = dict(self.named_parameters())
        if self.packed is None:
            self.packed = {name: value.detach().clone() for name, value in weights.items()}
        if tapped(self):
            return super().forward(x)
        used = {name: value - value.detach() + self.packed[name] for name, value in weights.items()}
        return torch.func.functional_call(self.inner[0].to(x.dtype), used, (x,))


class NoNumber(ReferenceNetwork):
    """One gradient is NaN in one place."""

    def __init__(self, network: Network, ends: str = "synapse.bias") -> None:
        super().__init__(network)
        for name, parameter in self.named_parameters():
            if name.endswith(ends):
                parameter.register_hook(_spoilt)


def _spoilt(gradient: Tensor) -> Tensor:
    spoilt = gradient.clone()
    spoilt.view(-1)[0] = float("nan")
    return spoilt


class MuteInEval(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.training


class FromMemory(ReferenceNetwork):
    """Answers what it answered first to that shape, with the gradients of what it is asked."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.kept: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        first = self.kept.setdefault(tuple(out.shape), out.detach().clone())
        return out - out.detach() + first


class ChangesParameters(ReferenceNetwork):
    """Clips its weights on the way."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.layers[0].synapse.weight.clamp_(max=0.01)
        return super().forward(x)


class StaleAtEval(ReferenceNetwork):
    """In eval mode it uses weights of its own, which are never those that it was trained to."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.own = [ReferenceNetwork(network)]

    def forward(self, x: Tensor) -> Tensor:
        if self.training or tapped(self):
            return super().forward(x)
        return self.own[0].to(x.dtype)(x)


class CountingCell(LIFCell):
    """Knows the step of a call, from 0, by being handed no state at the first."""

    step = 0

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        self.step = 0 if state is None else self.step + 1
        return self.stepped(current, state)

    def stepped(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return super().forward(current, state)


class ChangesState(CountingCell):
    """At some steps it makes something else of what it is handed."""

    def __init__(
        self, lif: LIF, when: Callable[[int], bool], make: Callable[[Tensor, Tensor], State]
    ) -> None:
        super().__init__(lif)
        self.when, self.make = when, make

    def stepped(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None and self.when(self.step):
            state = self.make(*state)
        return super().stepped(current, state)


def carries(when: Callable[[int], bool], make: Callable[[Tensor, Tensor], State]) -> MakeCell:
    return partial(ChangesState, when=when, make=make)


# Gradients go four steps back; the reset carries none, at all or after the fourth step; from the
# seventh step on it forgets a little faster.
TruncatedAtFour = carries(lambda step: step % 4 == 0, lambda u, o: (u.detach(), o.detach()))
DetachedReset = carries(lambda step: True, lambda u, o: (u, o.detach()))
LateDetachedReset = carries(lambda step: step > 4, lambda u, o: (u, o.detach()))
LateDecay = carries(lambda step: step > 5, lambda u, o: (u * 0.97, o))


class KeptAtFullLength(CountingCell):
    """What is left of a call of ten steps is where the next begins."""

    residue: Tensor | None = None

    def stepped(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None and self.residue is not None and self.residue.shape == current.shape:
            current = current + self.residue
        o, new = super().stepped(current, state)
        if self.step == 9:
            self.residue = (0.2 * new[0] * (1 - o)).detach()
        return o, new


class TurnsOneAtRest(LIFCell):
    """Rounds one spike to the other side: of the neuron at the threshold, at the first step.

    In layers of maps of that many pixels across, on batches of those sizes.
    """

    across, samples = 32, (2,)

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        o, (u, _) = super().forward(current, state)
        is_there = current.dim() == 4 and current.shape[-1] == self.across
        if state is None and is_there and len(current) in self.samples:
            turned = torch.zeros_like(o)
            turned[0, -1, 0, 0] = (u[0, -1, 0, 0] == self.lif.v_th).to(o.dtype)
            o = o - turned
        return o, (u, o)


class Saturates(LIFCell):
    """Its potential stops at 30 V_th, and at -30 V_th, which is what shows: above, it is reset."""

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        _, (u, _) = super().forward(current, state)
        u = u.clamp(-30 * self.lif.v_th, 30 * self.lif.v_th)
        o = fire(u - self.lif.v_th, self.lif.a)
        return o, (u, o)


class FiresAbove(LIFCell):
    """Not at the threshold itself; elsewhere its gradient is right."""

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        o, (u, _) = super().forward(current, state)
        o = o * (u != self.lif.v_th)
        return o, (u, o)


class WideEdge(LIFCell):
    """Its surrogate is not strict: it passes gradients at the edge of the window."""

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        o, (u, _) = super().forward(current, state)
        a = self.lif.a
        at_edge = ((u - self.lif.v_th).abs() == a / 2).to(u.dtype).detach() / a
        o = o + at_edge * (u - u.detach())
        return o, (u, o)


def off_by(**changes: float) -> Callable[[LIF], LIFCell]:
    return lambda lif: LIFCell(replace(lif, **changes))


def stepped(cell: MakeCell) -> Build:
    return lambda network: StepNetwork(network, cell)


# Known deviations, each written in another way than the proof replays it.


class Rectangle(torch.autograd.Function):
    """A spike at the threshold or only above it, and a surrogate of any width and height."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, at: bool, width: float, height: float) -> Tensor:
        ctx.slope = torch.where(v.abs() < width / 2, height, 0.0).to(v.dtype)
        return ((v >= 0) if at else (v > 0)).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] * ctx.slope, None, None, None


Charge = Callable[[Tensor, Tensor, LIF], Tensor]  # the potential carried on, the input -> v
Reset = Callable[[Tensor, Tensor, LIF], Tensor]  # v, the spikes -> the potential carried on


class FrameworkCell(nn.Module):
    """The paper's neuron as frameworks step it: what is carried on is reset already."""

    def __init__(
        self,
        lif: LIF,
        charge: Charge = lambda v, x, lif: v - v * (1 - lif.k_tau) + x,
        reset: Reset = lambda v, o, lif: v - v * o,
        at: bool = True,
        wide: float = 1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__()
        self.lif, self.charge, self.reset = lif, charge, reset
        self.rectangle = at, wide * lif.a, high / lif.a

    def forward(self, current: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        v = torch.zeros_like(current) if v is None else v
        v = self.charge(v, current, self.lif)
        o = Rectangle.apply(v - self.lif.v_th, *self.rectangle)
        return o, self.reset(v, o, self.lif)


def framework(**changes: Any) -> Build:
    return stepped(partial(FrameworkCell, **changes))


class StaleState(LIFCell):
    """Starts each call from where the last one ended."""

    last: tuple[Tensor, Tensor] | None = None

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None and self.last is not None and self.last[0].shape == current.shape:
            state = self.last
        o, new = super().forward(current, state)
        self.last = (new[0].detach(), o.detach())
        return o, new


class StaleNeuNorm(NeuNormStep):
    last: Tensor | None = None

    def forward(self, spikes: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, x = super().forward(spikes, self.last if state is None else state)
        self.last = x.detach()
        return out, x


def stale_throughout(network: Network) -> nn.Module:
    module = StepNetwork(network, StaleState)
    for layer, stage in zip(module.layers, network.stages, strict=True):
        if network.neunorm is not None and stage.neunorm_shape is not None:
            layer.neunorm = StaleNeuNorm(network.neunorm, stage.neunorm_shape)
    return module


class ThreeSteps(CountingCell):
    """No spikes after the third step, or again those of the third."""

    def __init__(self, lif: LIF, repeats: bool = False) -> None:
        super().__init__(lif)
        self.repeats = repeats

    def stepped(self, current: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if self.step < 3 or state is None:
            return super().stepped(current, state)
        return state[1] if self.repeats else torch.zeros_like(current), state


StepsReversed = from_forward(lambda right, x: right(x.flip(0)))


class RoundedSynapse(nn.Module):
    """A convolution or product whose weights are rounded to bf16."""

    def __init__(self, synapse: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = synapse.weight, synapse.bias

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        weight, bias = _bf16(self.weight), _bf16(self.bias)
        if weight.dim() == 2:
            return functional.linear(x.flatten(1), weight, bias)
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class WideInput(RoundedSynapse):
    """A right one in bf16, nearer to the exact numbers than most: its inputs are not rounded."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return _bf16(super().forward(x))


def _bf16(values: Tensor) -> Tensor:
    return values + (values.bfloat16().to(values.dtype) - values).detach()


def rounded_weights(network: Network) -> nn.Module:
    module = ReferenceNetwork(network)
    for layer in module.layers:
        layer.synapse = RoundedSynapse(layer.synapse)  # type: ignore[assignment]
    return module


def wide_inputs(network: Network) -> nn.Module:
    module = ReferenceNetwork(network)
    for layer in module.layers[1:]:
        layer.synapse = WideInput(layer.synapse)  # type: ignore[assignment]
    return module
