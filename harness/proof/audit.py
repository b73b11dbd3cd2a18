"""The audit: what the very object that is timed computed, against the reference, at its full size.

`direct` holds its output and gradients against a free-running reference's. Where they differ,
rounding may have turned a spike, and a spike takes hundreds with it: `replay` tells that from a
fault, layer by layer, from a second pass of the same object with its taps on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from harness.proof.certificate import RULES, beyond, typical
from harness.proof.gradients import (
    Compared,
    Course,
    Given,
    Gradients,
    bias_gradient,
    compared,
    potentials,
    settle,
    through_time,
    weight_gradient,
    within,
)
from harness.records import AuditRow, Record
from harness.records.identity import EXAM
from harness.records.row import When
from harness.records.run import shortened
from harness.reference import dropout, synapses
from harness.reference.initialise import copy_parameters
from harness.reference.network import Layer, ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Conv, Network, Stage


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


def row_of(row: Record, when: When, finding: Finding, number: int | None = None) -> AuditRow:
    """An audit as a row of its case; `number`: of the round."""
    found = {name: value for name, value in vars(finding).items() if name != "edges"}
    found["reason"] = shortened(finding.reason) if finding.reason else None
    return AuditRow(**vars(row), exam=EXAM, when=when, round=number, **found)


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
        if self.question.precision == "bf16" or not torch.equal(given.out, self._reference.out):
            return None
        pairs = zip(given.gradients, self._reference.gradients, strict=True)
        errors = [compared(*pair).error for pair in pairs]
        bounds = allowed(self.network.stages, self.question)
        if any(each > of for each, of in zip(errors, bounds, strict=False)):
            return None
        least = 0.0 if self.question.mode == "training" else None
        error = max((each for each in errors if not isnan(each)), default=least)
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
        bounds = allowed(self.network.stages, self.question)
        if bf16:
            bounds = self._explained(gradients, mine, given, tapped)
        # of the last parameter first, as gradients go: a fault is felt in all below
        named = list(zip(parameters_of(self.network), bounds, gradients, strict=False))
        reasons = [
            *_wrong_spikes(layers, RULES.bf16_turned if bf16 else RULES.turned),
            *filter(None, (_off(*each, bf16=bf16) for each in reversed(named))),
        ]
        error = max((each.error for each in gradients if not isnan(each.error)), default=None)
        cosines = [each.cosine for each in gradients if not isnan(each.cosine)]
        turned = sum(layer.turned for layer in layers)
        return Finding(
            "replay", not reasons, reasons[0] if reasons else None,
            spikes=sum(layer.spikes for layer in layers),
            mismatches=turned + sum(layer.wrong for layer in layers), near_ties=turned,
            gradient_error=error if error is not None and isfinite(error) and not bf16 else None,
            gradient_cosine=min(cosines, default=None) if bf16 else None,
            edges=sum(layer.edges for layer in layers),
        )  # fmt: skip

    def _replayed(self, given: Answer, tapped: Answer, side: Side) -> list[ReplayedLayer]:
        return _Replay(self.network, self.question, tapped, self.device, side).layers(given, tapped)

    @cached_property
    def _reference(self) -> Answer:
        """What the reference answers itself, untapped: made once for all contenders."""
        with torch.random.fork_rng(devices=[]):
            module = ReferenceNetwork(self.network)
        return plain_pass(module.to(self.device, DTYPES[self.question.precision]), self.question)

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


def _off(name: str, bound: float, found: Compared, *, bf16: bool) -> str:
    """A sentence, where a gradient is beyond its bound."""
    if not (found.distance if bf16 else found.error) > bound:
        return ""
    if bf16:
        return (
            f"the gradient of {name} is not the reference's within bf16's rounding: it is off by "
            f"{found.distance:.1%} of its length, rounding explains {bound:.1%} "
            f"(cosine {found.cosine:.4f})"
        )
    return f"the gradient of {name} differs by {beyond(found.error, bound)}"


def _wrong_spikes(layers: list[ReplayedLayer], most: float) -> Iterator[str]:
    """The first, in time and then in depth; and where more are turned than rounding can turn."""
    broken = [layer for layer in layers if layer.wrong]
    if broken:
        first = min(broken, key=lambda layer: layer.step)
        yield (
            f"{first.wrong:,} of {first.spikes:,} spikes of layer {first.layer} are not what its "
            f"inputs make them, first at step {first.step + 1}, abs(u - V_th) = "
            f"{first.distance:.1e}"
        )
    for layer in layers:
        if layer.turned > 1 + most * layer.spikes:  # one can be in the smallest layer
            yield (
                f"{layer.turned:,} of {layer.spikes:,} spikes of layer {layer.layer} are turned "
                f"near the threshold: rounding turns {most:.1%} at most"
            )


def allowed(stages: Iterable[Stage], question: Question) -> list[float]:
    """Of layers' weights, biases and U, how far each gradient may be, of its largest entry."""
    precision, images, bounds = question.precision, question.steps * question.x.shape[1], []
    for stage in stages:
        products = images * stage.macs // stage.weights  # one at each place where a weight is used
        bounds.append(RULES.replayed(precision, products))
        bounds.append(RULES.replayed_fp64 if precision == "fp64" else RULES.bias_fp32)
        bounds += [RULES.replayed(precision, images)] if stage.neunorm_shape else []
    return bounds


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


# What a layer reads: the spikes below (T, B, ...), None of the encoding layer; its inputs of them
# (T or 1, B, ...); and the current (T, B, ...) that it makes of these. With their graph.
_Read = tuple[Tensor | None, Tensor, Tensor]
Sent = tuple[Tensor, Tensor | None]  # from a layer down: to the spikes below, and to U on the way


class _Replay:
    """The reference layer by layer, given the contender's own spikes.

    Free-running, two right networks part at the first potential that rounds to either side of the
    threshold. Here each layer is the reference's on the spikes that the contender had below it, and
    its reset is by the contender's own: a spike that rounding turned is seen once, and takes no
    other with it. The gradients are replayed in the same way, from the loss down, through the
    reference's surrogate at the replayed potentials.
    """

    def __init__(
        self, network: Network, question: Question, tapped: Answer, device: torch.device, side: Side
    ) -> None:
        self.question, self.side, self.lif = question, side, network.lif
        self.training = question.mode == "training"
        self.bf16 = question.precision == "bf16"
        # of a layer's typical potential, abs(u - V_th) within which rounding decides
        self.near_tie = RULES.replayed_fp64 if question.precision == "fp64" else RULES.near_tie
        # whether the given gradients are asked for what is at the surrogate's edge
        self.settles = not self.bf16
        dtype = DTYPES[question.precision]
        with torch.random.fork_rng(devices=[]):
            self.reference = ReferenceNetwork(network).to(device=device, dtype=dtype)
        copy_parameters(torch.nn.ParameterList(question.parameters), self.reference)
        self.x = question.x.to(device=device, dtype=dtype)  # (T or 1, B, C, H, W)
        if self.bf16:  # as rounded as synapses have them
            self.x = _rounded(self.x)
            with torch.no_grad():
                for layer in self.reference.layers:
                    for each in layer.synapse.parameters():
                        each.copy_(_rounded(each))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(question.seed)
            whole = self.x.expand(question.steps, *self.x.shape[1:])
            self.keys = dropout.stage_keys(network, whole, training=self.training)
        self.spikes = tuple(each.bool() for each in tapped.spikes)  # (T, B, ...) of each layer

    def layers(self, given: Answer, tapped: Answer) -> list[ReplayedLayer]:
        """The layers' replays, the first layer first. Spikes are of `tapped`.

        Gradients are of `given` as far as they tell on which side of the surrogate's edge neurons
        lie, in bf16 on `side`. Both answers are sound (`answer.check`), and their outputs the same.
        """
        gradients = [each.to(self.x.device) for each in given.gradients]
        layers, sent = list[ReplayedLayer](), None
        if self.training:
            out = tapped.out.to(self.x.device).detach().requires_grad_()
            sent = torch.autograd.grad(objective(out, self.question), [out])[0], None
        for n in reversed(range(len(self.spikes))):
            count = len(list(self.reference.layers[n].parameters()))
            own = [gradients.pop() for _ in range(count)][::-1] if sent is not None else []
            layer, sent = self._layer(n, sent, own)
            layers.append(layer)
            # a fault is felt in all layers below: their edges explain nothing
            self.settles &= layer.left <= 1
        return layers[::-1]

    def _layer(
        self, n: int, sent: Sent | None, given: list[Tensor]
    ) -> tuple[ReplayedLayer, Sent | None]:
        """Layer n, given its own gradients and what the layer above sends; what it sends on."""
        with torch.set_grad_enabled(sent is not None):
            read = source, inputs, drawn = self._read(n)
        current = _rounded(drawn.detach()) if self.bf16 else drawn.detach()
        spikes = self.spikes[n].to(current.device)
        o = spikes.to(current.dtype)
        u = potentials(current, o, self.lif.k_tau)
        ties = self._ties(n, read, u, o)
        fired = _fired(self.reference.network.stages[n].name, spikes, u, self.lif.v_th, ties)
        if sent is None:
            return fired, None
        passes = within(u, self.lif)
        if self.side != "computed":
            edge = ((u - self.lif.v_th).abs() - self.lif.a / 2).abs() < ties
            passes = passes | edge if self.side == "inside" else passes & ~edge
        back, of_U = sent
        found = self._gradients(n, inputs.detach(), Course(u, o, back, passes), given)
        own = (found.weight, found.bias, *([] if of_U is None else [of_U]))
        layer = replace(fired, gradients=own, edges=found.edges, left=found.left)
        if source is None:
            return layer, None
        neunorm = self.reference.layers[n - 1].neunorm
        wanted = [source] if neunorm is None else [source, neunorm.U]
        below = torch.autograd.grad(drawn, wanted, found.du)
        return layer, (below[0], below[1] if neunorm is not None else None)

    def _gradients(self, n: int, inputs: Tensor, course: Course, given: list[Tensor]) -> Gradients:
        """The layer's own, with what rounding decides at the surrogate's edge as it was decided."""
        stage, du = self.reference.network.stages[n], through_time(course, self.lif)
        d_weight = weight_gradient(self.reference.layers[n].synapse, inputs, du)
        found = Gradients(du, d_weight, bias_gradient(du))
        if not self.settles:
            return found
        pairs = zip((found.weight, found.bias), allowed([stage], self.question), strict=False)
        of_weight, of_bias = (max(of * each.abs().max().item(), TINY) for each, of in pairs)
        kernel = stage.synapse.kernel if isinstance(stage.synapse, Conv) else 0
        width = stage.output_shape[-1]
        told = Given(given[0], given[1], of_weight, of_bias, inputs, kernel, width)
        near_tie = self.near_tie * typical(course.u, self.lif.v_th)
        return settle(course, found, told, self.lif, near_tie)

    def _read(self, n: int) -> _Read:
        source, inputs = None, self.x
        if n > 0:
            source = self.spikes[n - 1].to(device=self.x.device, dtype=self.x.dtype)
            source.requires_grad_(torch.is_grad_enabled())
            inputs = passed_on(self.reference.layers[n - 1], source, self.keys[n - 1])
            if self.bf16:  # the gradient passes as if it were not rounded
                inputs = inputs + (_rounded(inputs) - inputs).detach()
        current = synapses.over_steps(self.reference.layers[n].synapse, inputs)
        return source, inputs, current.expand(self.question.steps, *current.shape[1:])

    @torch.no_grad()
    def _ties(self, n: int, read: _Read, u: Tensor, o: Tensor) -> Tensor:
        """How near the threshold rounding decides: (), or (T, B, ...) in bf16."""
        if not self.bf16:
            return u.new_tensor(self.near_tie * typical(u, self.lif.v_th))
        plain, inputs, current = read
        rounded = RULES.bf16_rounding * (current.detach().abs() + u.abs())
        below = self.reference.layers[n - 1]
        if plain is not None and below.neunorm is not None:
            # NeuNorm's own rounding is the same in all maps, and adds up
            taken = passed_on(below, plain, None)
            plain = plain if below.pool is None else synapses.over_steps(below.pool, plain)
            taken = (taken - plain).abs().flatten(0, 1)
            grown = 1.0 if self.keys[n - 1] is None else 1 / (1 - below.p)
            taken *= 2 * RULES.bf16_rounding * grown
            weight = self.reference.layers[n].synapse.weight.abs()
            lost = functional.conv2d(taken, weight, padding=weight.shape[-1] // 2)
            rounded = rounded + lost.unflatten(0, inputs.shape[:2])
        return potentials(rounded, o, self.lif.k_tau)


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
