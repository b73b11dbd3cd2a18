"""The audit: what the very object that is timed computed, against the reference, at its full size.

`direct` holds its output and gradients against a free-running reference's. Where they differ,
rounding may have turned a spike, and a spike takes hundreds with it: `replay` tells that from a
fault, layer by layer, from a second pass of the same object with its taps on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, isnan, sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.proof.answer import (
    Answer,
    Incomparable,
    Question,
    check,
    check_tapped,
    objective,
    parameters_of,
    plain_pass,
)
from harness.proof.edges import Given, Gradients, Reads, settle
from harness.proof.gradients import (
    Compared,
    Course,
    bias_gradient,
    compared,
    potentials,
    through_time,
    weight_gradient,
    within,
)
from harness.proof.rules import RULES, beyond
from harness.reference import dropout, synapses
from harness.reference.initialise import copy_parameters
from harness.reference.network import Layer, ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Conv, Network, Precision, Stage


@dataclass(frozen=True)
class Finding:
    """What an audit came to."""

    way: Literal["direct", "replay"]
    passed: bool
    reason: str | None  # where it did not pass, in a sentence
    spikes: int = 0  # neuron-steps compared: of the output, in a replay of every layer
    mismatches: int = 0  # that are not the reference's
    near_ties: int = 0  # of these, those that rounding decides
    gradient_error: float | None = None  # relative to the largest entry; of training alone
    gradient_cosine: float | None = None  # the lowest over the parameters; of bf16 alone
    edges: int = 0  # potentials at the surrogate's edge whose side rounding decided


@dataclass(frozen=True)
class Audit:
    """The judge of all contenders that are asked one question."""

    network: Network
    question: Question
    device: torch.device = torch.device("cpu")

    def direct(self, given: Answer) -> Finding | None:
        """What the untapped answer alone tells; None: it differs, and a replay must decide."""
        try:
            check(given, self.network, self.question)
        except Incomparable as reason:
            return Finding("direct", False, str(reason))
        mine = self._reference
        if self.question.precision == "bf16" or not torch.equal(given.out, mine.out):
            return None
        pairs = zip(given.gradients, mine.gradients, strict=True)
        errors = [compared(*pair).error for pair in pairs]
        bounds = allowed(self.network, self.question)
        if any(each > of for each, of in zip(errors, bounds, strict=False)):
            return None
        worst = max((each for each in errors if not isnan(each)), default=0.0)
        error = worst if self.question.mode == "training" else None
        return Finding("direct", True, None, given.out.numel(), gradient_error=error)

    def replay(self, given: Answer, tapped: Answer) -> Finding:
        """What the untapped answer is worth, by the spikes of the same object's tapped one."""
        try:
            check(given, self.network, self.question)
            check_tapped(tapped, self.network, self.question)
            differ = int((given.out != tapped.out).sum())
            if differ:
                raise Incomparable(
                    f"{differ:,} of {given.out.numel():,} output spikes are others with no tap "
                    "recording"
                )
        except Incomparable as reason:
            return Finding("replay", False, str(reason))
        bf16 = self.question.precision == "bf16"
        layers = self._replayed(given, tapped, "computed")
        mine = [each for layer in layers for each in layer.gradients]
        pairs = zip(given.gradients, mine, strict=True)
        gradients = [compared(each.to(own.device), own) for each, own in pairs]
        bounds = (
            self._explained(gradients, mine, given, tapped)
            if bf16
            else allowed(self.network, self.question)
        )
        reasons = [*_wrong_spikes(layers), *_turned(layers, bf16=bf16)]
        # of the last parameter first, as gradients go: a fault is felt in all below
        named = list(zip(parameters_of(self.network), bounds, gradients, strict=False))
        reasons += [_off(*each, bf16=bf16) for each in reversed(named) if _is_off(*each[1:], bf16)]
        errors = [] if bf16 else [each.error for each in gradients if not isnan(each.error)]
        cosines = [each.cosine for each in gradients if not isnan(each.cosine)]
        turned = sum(layer.turned for layer in layers)
        return Finding(
            "replay",
            not reasons,
            reasons[0] if reasons else None,
            spikes=sum(layer.spikes for layer in layers),
            mismatches=turned + sum(layer.wrong for layer in layers),
            near_ties=turned,
            gradient_error=max(errors) if errors and isfinite(max(errors)) else None,
            gradient_cosine=min(cosines, default=None) if bf16 else None,
            edges=sum(layer.edges for layer in layers),
        )

    def _replayed(self, given: Answer, tapped: Answer, side: Side) -> list[ReplayedLayer]:
        return replayed(self.network, self.question, given, tapped, self.device, side)

    @cached_property
    def _reference(self) -> Answer:
        """The reference's own answer, made once for all contenders."""
        return reference_answer(self.network, self.question, self.device)

    def _explained(
        self, gradients: list[Compared], mine: list[Tensor], given: Answer, tapped: Answer
    ) -> list[float]:
        """How far off each gradient may be in bf16, of its length."""
        least = sqrt(1 - RULES.bf16_cosine**2)
        bounds = [least] * len(gradients)
        if all(each.distance <= least for each in gradients if not isnan(each.distance)):
            return bounds
        sides: tuple[Side, ...] = ("inside", "outside")
        for side in sides:
            layers = self._replayed(given, tapped, side)
            theirs = [each for layer in layers for each in layer.gradients]
            apart = [compared(*pair).distance for pair in zip(theirs, mine, strict=True)]
            pairs = zip(bounds, apart, strict=True)
            bounds = [a if isnan(b) else max(a, min(least + b, RULES.bf16_most)) for a, b in pairs]
        return bounds


def reference_answer(network: Network, question: Question, device: torch.device) -> Answer:
    """What the reference answers, free-running and untapped; in float32 where bf16 is asked for."""
    with torch.random.fork_rng(devices=[]):
        module = ReferenceNetwork(network).to(device=device, dtype=DTYPES[question.precision])
    exact: Precision = "fp32" if question.precision == "bf16" else question.precision
    return plain_pass(module, replace(question, precision=exact))


def _is_off(bound: float, found: Compared, bf16: bool) -> bool:
    return (found.distance if bf16 else found.error) > bound


def _off(name: str, bound: float, found: Compared, *, bf16: bool) -> str:
    if bf16:
        return (
            f"the gradient of {name} is not the reference's within bf16's rounding: it is off by "
            f"{found.distance:.1%} of its length, rounding explains {bound:.1%} "
            f"(cosine {found.cosine:.4f})"
        )
    return f"the gradient of {name} differs by {beyond(found.error, bound)}"


def _wrong_spikes(layers: list[ReplayedLayer]) -> Iterator[str]:
    """The first, in time and then in depth."""
    broken = [layer for layer in layers if layer.wrong]
    if broken:
        first = min(broken, key=lambda layer: layer.step)
        yield (
            f"{first.wrong:,} of {first.spikes:,} spikes of layer {first.layer} are not what its "
            f"inputs make them, first at step {first.step + 1}, abs(u - V_th) = "
            f"{first.distance:.1e}"
        )


def _turned(layers: list[ReplayedLayer], *, bf16: bool) -> Iterator[str]:
    """Layers of which rounding is to have turned more spikes than it can."""
    most = RULES.bf16_turned if bf16 else RULES.turned
    for layer in layers:
        if layer.turned > 1 + most * layer.spikes:  # one can be in the smallest layer
            yield (
                f"{layer.turned:,} of {layer.spikes:,} spikes of layer {layer.layer} are turned "
                f"near the threshold: rounding turns {most:.1%} at most"
            )


def allowed(network: Network, question: Question) -> tuple[float, ...]:
    """Of each parameter, how far its gradient may be at full size, of its largest entry."""
    return tuple(bound for stage in network.stages for bound in allowed_of(stage, question))


# The replay: the reference layer by layer, given the contender's own spikes. Free-running, two
# right networks part at the first potential that rounds to either side of the threshold. Here each
# layer is the reference's on the spikes that the contender had below it, and its reset is by the
# contender's own: a spike that rounding turned is seen once, and takes no other with it. The
# gradients are replayed in the same way, from the loss down, through the reference's surrogate at
# the replayed potentials.

# Of the surrogate's edge, where bf16's potentials are within rounding of it: as they are replayed,
# or all inside or all outside, which bounds what another rounding would have made of them.
Side = Literal["computed", "inside", "outside"]
TINY = 1e-30  # allowed where there is no gradient: whatever is given is too much


@dataclass(frozen=True)
class ReplayedLayer:
    """What a layer's replay came to: its spikes against what the replayed potentials say."""

    layer: str
    spikes: int  # neuron-steps
    turned: int  # that differ where rounding decides
    wrong: int  # that differ elsewhere
    step: int = 0  # of the first that is wrong, from 0
    distance: float = 0.0  # the largest abs(u - V_th) there
    gradients: tuple[Tensor, ...] = ()  # of its parameters; () in inference
    edges: int = 0  # potentials at the surrogate's edge whose side the gradients told
    left: float = 0.0  # of the given gradients: the most, as a multiple of what is allowed


@dataclass(frozen=True)
class _Read:
    """What a layer reads, and the current it makes of it, with their graph."""

    source: Tensor | None  # the spikes below, (T, B, ...); None: it is the encoding layer
    inputs: Tensor  # (T or 1, B, ...)
    current: Tensor  # (T, B, ...)
    lost: Tensor | float = 0.0  # of the current, what bf16 may have lost before the synapse


@dataclass(frozen=True)
class _Sent:
    """What goes down from a layer: to the spikes below, and to U on the way."""

    spikes: Tensor
    U: Tensor | None


def replayed(
    network: Network,
    question: Question,
    given: Answer,
    tapped: Answer,
    device: torch.device,
    side: Side = "computed",
) -> list[ReplayedLayer]:
    """The layers' replays, the first layer first. Spikes are of `tapped`.

    Gradients are of `given` as far as they tell on which side of the surrogate's edge neurons lie,
    in bf16 on `side`. Both answers are sound (`answer.check`), and their outputs are the same.
    """
    replay = _Replay.of(network, question, tapped, device, side)
    layers = []
    gradients = [each.to(device) for each in given.gradients]
    sent = None
    if question.mode == "training":
        sent = _Sent(replay.loss_gradient(tapped.out.to(device)), None)
    for n in reversed(range(len(network.stages))):
        count = len(list(replay.reference.layers[n].parameters()))
        own = [gradients.pop() for _ in range(count)][::-1] if sent is not None else []
        layer, sent = replay.layer(n, sent, own)
        layers.append(layer)
        if layer.left > 1:  # a fault, felt in all layers below: their edges explain nothing
            replay = replace(replay, settles=False)
    return layers[::-1]


def allowed_of(stage: Stage, question: Question) -> tuple[float, ...]:
    """How far a layer's gradients may be, of weights, biases and U, of their largest entry."""
    precision, images = question.precision, question.steps * question.batch_size
    products = images * stage.macs // stage.weights  # one at each place where a weight is used
    of_U = (RULES.replayed(precision, images),) if stage.neunorm_shape else ()
    return RULES.replayed(precision, products), RULES.replayed_bias(precision), *of_U


@dataclass(frozen=True)
class _Replay:
    """What all layers of a replay share."""

    reference: ReferenceNetwork
    question: Question
    x: Tensor  # (T or 1, B, C, H, W)
    spikes: tuple[Tensor, ...]  # bool, (T, B, ...) of each layer
    keys: list[Tensor | None]  # of dropout's masks behind each layer
    near_tie: float  # abs(u - V_th) within which rounding decides
    side: Side
    settles: bool  # whether the given gradients are asked for what is at the edge

    @classmethod
    def of(
        cls,
        network: Network,
        question: Question,
        tapped: Answer,
        device: torch.device,
        side: Side,
    ) -> _Replay:
        """The reference with the question's weights, in bf16 as rounded as synapses have them."""
        dtype = DTYPES[question.precision]
        with torch.random.fork_rng(devices=[]):
            reference = ReferenceNetwork(network).to(device=device, dtype=dtype)
        copy_parameters(torch.nn.ParameterList(question.parameters), reference)
        x = question.x.to(device=device, dtype=dtype)
        if question.precision == "bf16":
            x = _rounded(x)
            with torch.no_grad():
                for each in (p for layer in reference.layers for p in layer.synapse.parameters()):
                    each.copy_(_rounded(each))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(question.seed)
            whole = x.expand(question.steps, *x.shape[1:])
            keys = dropout.stage_keys(network, whole, training=question.mode == "training")
        near_tie = RULES.replayed_fp64 if question.precision == "fp64" else RULES.near_tie
        settles = question.precision != "bf16"
        spikes = tuple(each.bool() for each in tapped.spikes)
        return cls(reference, question, x, spikes, keys, near_tie, side, settles)

    def loss_gradient(self, out: Tensor) -> Tensor:
        """dL/do of the voting layer."""
        out = out.detach().requires_grad_()
        objective(out, self.question).backward()
        assert out.grad is not None
        return out.grad

    def layer(
        self, n: int, sent: _Sent | None, given: list[Tensor]
    ) -> tuple[ReplayedLayer, _Sent | None]:
        """Layer n, given its own gradients and what the layer above sends; what it sends on."""
        stage, lif = self.reference.network.stages[n], self.reference.network.lif
        with torch.set_grad_enabled(sent is not None):
            read = self._read(n)
        current = read.current.detach()
        current = _rounded(current) if self.question.precision == "bf16" else current
        spikes = self.spikes[n].to(current.device)
        o = spikes.to(current.dtype)
        u = potentials(current, o, lif.k_tau)
        fired = _fired(stage.name, spikes, u, lif.v_th, self._ties(read, u, o))
        if sent is None:
            return fired, None
        passes = self._sided(read, u, o)
        course = Course(u, o, sent.spikes, passes)
        found = self._gradients(n, read, course, given)
        own = (found.weight, found.bias, *([] if sent.U is None else [sent.U]))
        layer = replace(fired, gradients=own, edges=found.edges, left=found.left)
        return layer, self._below(n, read, found.du)

    def _gradients(self, n: int, read: _Read, course: Course, given: list[Tensor]) -> Gradients:
        """The layer's own, with what rounding decides at the surrogate's edge as it was decided."""
        stage, lif = self.reference.network.stages[n], self.reference.network.lif
        du = through_time(course, lif)
        d_weight = weight_gradient(self.reference.layers[n].synapse, read.inputs.detach(), du)
        found = Gradients(du, d_weight, bias_gradient(du))
        if not self.settles:
            return found
        kernel = stage.synapse.kernel if isinstance(stage.synapse, Conv) else 0
        bounds = allowed_of(stage, self.question)[:2]
        pairs = zip((found.weight, found.bias), bounds, strict=True)
        told = Given(
            given[0], given[1], *(max(of * each.abs().max().item(), TINY) for each, of in pairs)
        )
        reads = Reads(read.inputs.detach(), kernel, stage.output_shape[-1])
        return settle(course, reads, found, told, lif, self.near_tie)

    def _below(self, n: int, read: _Read, du: Tensor) -> _Sent | None:
        """What the layer sends to the one below; None where there is none."""
        if read.source is None:
            return None
        neunorm = self.reference.layers[n - 1].neunorm
        wanted = [read.source] if neunorm is None else [read.source, neunorm.U]
        found = torch.autograd.grad(read.current, wanted, du)
        return _Sent(found[0], found[1] if neunorm is not None else None)

    def _read(self, n: int) -> _Read:
        layer = self.reference.layers[n]
        source = None
        inputs = self.x
        if n > 0:
            source = self.spikes[n - 1].to(device=self.x.device, dtype=self.x.dtype)
            source.requires_grad_(torch.is_grad_enabled())
            inputs = passed_on(self.reference.layers[n - 1], source, self.keys[n - 1])
            if self.question.precision == "bf16":  # the gradient passes as if it were not rounded
                inputs = inputs + (_rounded(inputs) - inputs).detach()
        current = synapses.over_steps(layer.synapse, inputs)
        current = current.expand(self.question.steps, *current.shape[1:])
        return _Read(source, inputs, current, self._lost(n, source, inputs))

    @torch.no_grad()
    def _lost(self, n: int, source: Tensor | None, inputs: Tensor) -> Tensor | float:
        """What NeuNorm's own rounding may come to: it is the same in all maps, and adds up."""
        below = self.reference.layers[n - 1]
        if self.question.precision != "bf16" or source is None or below.neunorm is None:
            return 0.0
        plain = source if below.pool is None else synapses.over_steps(below.pool, source)
        taken = (passed_on(below, source, None) - plain).abs().flatten(0, 1)
        grown = 1.0 if self.keys[n - 1] is None else 1 / (1 - below.p)
        taken *= 2 * RULES.bf16_rounding * grown
        weight = self.reference.layers[n].synapse.weight.abs()
        lost = functional.conv2d(taken, weight, padding=weight.shape[-1] // 2)
        return lost.unflatten(0, inputs.shape[:2])

    def _sided(self, read: _Read, u: Tensor, o: Tensor) -> Tensor:
        """Where the surrogate passes a gradient."""
        lif = self.reference.network.lif
        passes = within(u, lif)
        if self.side == "computed":
            return passes
        edge = ((u - lif.v_th).abs() - lif.a / 2).abs() < self._ties(read, u, o)
        return passes | edge if self.side == "inside" else passes & ~edge

    def _ties(self, read: _Read, u: Tensor, o: Tensor) -> Tensor:
        """How near the threshold rounding decides: (), or (T, B, ...) in bf16."""
        if self.question.precision != "bf16":
            return u.new_tensor(self.near_tie)
        k_tau = self.reference.network.lif.k_tau
        rounded = RULES.bf16_rounding * (read.current.detach().abs() + u.abs())
        return potentials(rounded + read.lost, o, k_tau)


def passed_on(layer: Layer, spikes: Tensor, keys: Tensor | None) -> Tensor:
    """What a layer's spikes (T, B, ...) are to the next layer: pooled, normalised, dropped."""
    out = spikes if layer.pool is None else synapses.over_steps(layer.pool, spikes)
    if layer.neunorm is not None:
        x, steps = None, []
        for step in out:
            normalised, x = layer.neunorm(step, x)
            steps.append(normalised)
        out = torch.stack(steps)
    if keys is not None:
        dropped = dropout.drop(out.flatten(0, 1), keys.flatten(0, 1), layer.p)
        out = dropped.unflatten(0, out.shape[:2])
    return out


def _fired(name: str, spikes: Tensor, u: Tensor, v_th: float, ties: Tensor) -> ReplayedLayer:
    distance = (u - v_th).abs()
    off = (u >= v_th) != spikes
    wrong = off & (distance >= ties)
    count = int(wrong.sum())
    turned = int(off.sum()) - count
    if count == 0:
        return ReplayedLayer(name, u.numel(), turned, 0)
    step = int(wrong.flatten(1).any(1).int().argmax())
    furthest = distance[step][wrong[step]].max().item()
    return ReplayedLayer(name, u.numel(), turned, count, step, furthest)


def _rounded(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).to(values.dtype)
