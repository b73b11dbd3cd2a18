"""The audit: what the very object that is timed computed, against the reference, at its full size.

`direct` holds its output and gradients against a free-running reference's. Where they differ,
rounding may have turned a spike, and a spike takes hundreds with it: `replay` tells that from a
fault, layer by layer, from a second pass of the same object with its taps on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, isnan, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
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
    tapped_pass,
)
from harness.proof.certificate import RULES, beyond, typical
from harness.proof.gradients import (
    ClaimedGradients,
    Compared,
    Gradients,
    NeuronTrace,
    bias_gradient,
    compared,
    potentials,
    settle,
    through_time,
    weight_gradient,
    within,
)
from harness.records import AuditResult
from harness.records.identity import EXAM
from harness.records.row import When
from harness.records.run import shortened
from harness.reference import dropout, synapses
from harness.reference.initialise import as_drawn
from harness.reference.network import ReferenceLayer, ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Stage

# Where bf16 potentials within rounding of the surrogate's edge count: as replayed, or all inside or
# all outside it, which bounds what another rounding would have made of them.
Side = Literal["computed", "inside", "outside"]
TINY = 1e-30  # bound where the replayed gradient is 0: anything else is beyond it


@dataclass(frozen=True)
class ReplayedLayer:
    """A layer's replay: the spikes that its potentials contradict, and its gradients."""

    layer: str
    spikes: int  # neuron-steps
    turned: int  # mismatches within rounding of the threshold
    wrong: int  # mismatches further from it
    step: int = 0  # of the first wrong spike, from 0
    distance: float = 0.0  # the largest abs(u - V_th) there
    gradients: tuple[Tensor, ...] = ()  # of its parameters, replayed; () in inference
    residual: float = 0.0  # the largest, of the claimed gradients, over its bound


Sent = tuple[Tensor, Tensor | None]  # gradients passed down: of the spikes below, and of U


@dataclass(frozen=True)
class Audit:
    """One question, the reference's answer to it, and the verdict on each contender's answer.

    In a replay the reference computes each layer from the contender's own spikes below, and resets
    it by the contender's own spikes. So a spike that rounding turned counts once and turns no
    other. Gradients are replayed in the same way, from the loss down, through the reference's
    surrogate at the replayed potentials.
    """

    question: Question
    device: torch.device = torch.device("cpu")
    when: When = "before"
    round: int | None = None  # that is audited, if any

    def judge(self, module: nn.Module) -> AuditResult:
        """Judge a module by an untapped pass and, where a replay must decide, by a tapped one."""
        try:
            answer = plain_pass(module, self.question)
            return self.direct(answer) or self.replay(answer, tapped_pass(module, self.question))
        except Incomparable as reason:
            return self._result("direct", str(reason))

    def direct(self, answer: Answer) -> AuditResult | None:
        """Judge an untapped answer; None if a replay must decide: bf16, spikes or gradients off."""
        try:
            check(answer, self.question)
        except Incomparable as reason:
            return self._result("direct", str(reason))
        if self._bf16 or not torch.equal(answer.out, self.expected.out):
            return None
        pairs = zip(answer.gradients, self.expected.gradients, strict=True)
        errors = [compared(*pair).error for pair in pairs]
        if any(error > bound for error, bound in zip(errors, self._bounds, strict=False)):
            return None
        least = 0.0 if self.question.mode == "training" else None
        error = max((error for error in errors if not isnan(error)), default=least)
        return self._result("direct", None, answer.out.numel(), gradient_error=error)

    def replay(self, answer: Answer, tapped: Answer) -> AuditResult:
        """Judge `answer` layer by layer, by the spikes that `tapped`, a second pass, recorded.

        It fails where their outputs differ, a spike is wrong, a layer has too many near-ties turned
        or a gradient is beyond its bound.
        """
        try:
            check(answer, self.question)
            check_tapped(tapped, self.question)
            if differ := int((answer.out != tapped.out).sum()):
                spikes = f"{differ:,} of {answer.out.numel():,} output spikes"
                raise Incomparable(f"{spikes} are others with no tap recording")
        except Incomparable as reason:
            return self._result("replay", str(reason))
        layers, bf16 = self._replayed(answer, tapped, "computed"), self._bf16
        replayed = _gradients_of(layers)
        pairs = zip(answer.gradients, replayed, strict=True)
        gradients = [compared(one.to(other.device), other) for one, other in pairs]
        bounds = self._explained(gradients, replayed, answer, tapped) if bf16 else self._bounds
        # of the last parameter first, as gradients go: a fault is felt in all below
        named = list(zip(parameters_of(self.question.network), bounds, gradients, strict=False))
        reasons = [
            *_wrong_spikes(layers, RULES.bf16_turned if bf16 else RULES.turned),
            *filter(None, (_gradient_fault(*line, bf16=bf16) for line in reversed(named))),
        ]
        error = max((g.error for g in gradients if not isnan(g.error)), default=None)
        cosines = [g.cosine for g in gradients if not isnan(g.cosine)]
        turned = sum(layer.turned for layer in layers)
        return self._result(
            "replay", next(iter(reasons), None), sum(layer.spikes for layer in layers),
            turned + sum(layer.wrong for layer in layers), turned,
            gradient_error=error if error is not None and isfinite(error) and not bf16 else None,
            gradient_cosine=min(cosines, default=None) if bf16 else None,
        )  # fmt: skip

    def _result(
        self,
        way: Literal["direct", "replay"],
        reason: str | None,  # None: it passed
        spikes: int = 0,
        mismatches: int = 0,
        near_ties: int = 0,
        gradient_error: float | None = None,
        gradient_cosine: float | None = None,
    ) -> AuditResult:
        """Return the outcome of this audit; it passed if there is no reason against it."""
        return AuditResult(
            exam=EXAM, when=self.when, round=self.round, way=way, passed=reason is None,
            reason=reason and shortened(reason), spikes=spikes, mismatches=mismatches,
            near_ties=near_ties, gradient_error=gradient_error, gradient_cosine=gradient_cosine,
        )  # fmt: skip

    def _explained(
        self, gradients: list[Compared], replayed: list[Tensor], answer: Answer, tapped: Answer
    ) -> list[float]:
        """Return how far off each gradient may be in bf16, of its length."""
        least = sqrt(1 - RULES.bf16_cosine**2)
        bounds = [least] * len(gradients)
        if not any(gradient.distance > least for gradient in gradients):
            return bounds
        sides: tuple[Side, ...] = ("inside", "outside")
        for side in sides:
            others = _gradients_of(self._replayed(answer, tapped, side))
            distances = [compared(*pair).distance for pair in zip(others, replayed, strict=True)]
            pairs = zip(bounds, distances, strict=True)
            bounds = [a if isnan(b) else max(a, min(least + b, RULES.bf16_most)) for a, b in pairs]
        return bounds

    @property
    def _bf16(self) -> bool:
        return self.question.precision == "bf16"

    @cached_property
    def _bounds(self) -> list[float]:
        return gradient_bounds(self.question.network.stages, self.question)

    @cached_property
    def _reference(self) -> ReferenceNetwork:
        """Return the reference with the question's weights, in bf16 rounded as in synapses."""
        module = as_drawn(ReferenceNetwork, self.question.network)
        module.to(self.device, DTYPES[self.question.precision])
        self.question.load(module)
        if self._bf16:
            with torch.no_grad():
                for weights in (p for layer in module.layers for p in layer.synapse.parameters()):
                    weights.copy_(_rounded(weights))
        return module

    @cached_property
    def expected(self) -> Answer:
        """The reference's own answer, untapped."""
        return plain_pass(self._reference, self.question)

    @cached_property
    def _x(self) -> Tensor:  # (T or 1, B, C, H, W)
        x = self.question.x.to(self.device, DTYPES[self.question.precision])
        return _rounded(x) if self._bf16 else x

    @cached_property
    def _keys(self) -> list[Tensor | None]:
        """Return the keys of the dropout masks that the question's seed draws, a layer each."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.question.seed)
            whole = self._x.expand(self.question.steps, *self._x.shape[1:])
            training = self.question.mode == "training"
            return dropout.stage_keys(self.question.network, whole, training=training)

    def _replayed(self, answer: Answer, tapped: Answer, side: Side) -> list[ReplayedLayer]:
        """Return the layers' replays, the first layer first, on the spikes of `tapped`.

        `answer`'s gradients tell on which side of the surrogate's edge neurons lie; in bf16 `side`.
        """
        gradients, layers, sent = [*answer.gradients], list[ReplayedLayer](), None
        if self.question.mode == "training":
            out = tapped.out.to(self.device).detach().requires_grad_()
            sent = torch.autograd.grad(objective(out, self.question), [out])[0], None
        settles = not self._bf16
        for n in reversed(range(len(tapped.spikes))):
            count = len(list(self._reference.layers[n].parameters())) if sent else 0
            claimed = [gradients.pop().to(self.device) for _ in range(count)][::-1]
            layer, sent = self._layer(n, tapped.spikes, sent, claimed if settles else [], side)
            layers.append(layer)
            # a fault is felt in all layers below: their edges explain nothing
            settles &= layer.residual <= 1
        return layers[::-1]

    def _layer(
        self, n: int, spikes: Sequence[Tensor], sent: Sent | None, claimed: list[Tensor], side: Side
    ) -> tuple[ReplayedLayer, Sent | None]:
        """Replay layer n; return it, and the gradients that it sends on.

        `spikes`: all layers' (T, B, ...). `sent`: of the layer above. `claimed`: the contender's
        gradients of this layer, if they settle anything.
        """
        lif, source, inputs = self.question.network.lif, None, self._x
        with torch.set_grad_enabled(sent is not None):
            if n > 0:
                source = spikes[n - 1].bool().to(self.device, self._x.dtype)
                source.requires_grad_(torch.is_grad_enabled())
                inputs = passed_on(self._reference.layers[n - 1], source, self._keys[n - 1])
                if self._bf16:  # the gradient passes as if it were not rounded
                    inputs = inputs + (_rounded(inputs) - inputs).detach()
            drawn = synapses.over_steps(self._reference.layers[n].synapse, inputs)
            drawn = drawn.expand(self.question.steps, *drawn.shape[1:])
        current = _rounded(drawn.detach()) if self._bf16 else drawn.detach()
        fired = spikes[n].bool().to(self.device)
        o = fired.to(current.dtype)
        u = potentials(current, o, lif.k_tau)
        if self._bf16:
            ties = self._ties(n, source, drawn, u, o)
        else:
            exact = self.question.precision == "fp64"
            ties = typical(u, lif.v_th) * (RULES.replayed_fp64 if exact else RULES.near_tie)
        stage = self.question.network.stages[n]
        layer = _fired(stage.name, fired, u, lif.v_th, ties)
        if sent is None:
            return layer, None
        back, of_U = sent
        passes = within(u, lif)
        if side != "computed":
            edge = ((u - lif.v_th).abs() - lif.a / 2).abs() < ties
            passes = passes | edge if side == "inside" else passes & ~edge
        trace = NeuronTrace(u, o, back, passes)
        du = through_time(trace, lif)
        weight = weight_gradient(self._reference.layers[n].synapse, inputs.detach(), du)
        replayed = Gradients(du, weight, bias_gradient(du))
        if claimed and isinstance(ties, float):
            pairs = zip(
                (weight, replayed.bias), gradient_bounds([stage], self.question), strict=False
            )
            weight_bound, bias_bound = (max(b * g.abs().max().item(), TINY) for g, b in pairs)
            claim = ClaimedGradients(
                claimed[0], claimed[1], weight_bound, bias_bound, inputs.detach()
            )
            replayed = settle(trace, replayed, claim, lif, ties)
        gradients = (replayed.weight, replayed.bias, *([] if of_U is None else [of_U]))
        layer = replace(layer, gradients=gradients, residual=replayed.residual)
        if source is None:
            return layer, None
        neunorm = self._reference.layers[n - 1].neunorm
        sources = [source] if neunorm is None else [source, neunorm.U]
        below = torch.autograd.grad(drawn, sources, replayed.du)
        return layer, (below[0], below[1] if neunorm is not None else None)

    @torch.no_grad()
    def _ties(self, n: int, source: Tensor | None, current: Tensor, u: Tensor, o: Tensor) -> Tensor:
        """Return how near the threshold rounding decides in bf16, (T, B, ...)."""
        rounded = RULES.bf16_rounding * (current.detach().abs() + u.abs())
        below = self._reference.layers[n - 1]
        if source is not None and below.neunorm is not None:
            # a sum may read what NeuNorm sends unrounded: o - U x is no number of bf16
            sent = passed_on(below, source, self._keys[n - 1])
            unrounded = synapses.over_steps(self._reference.layers[n].synapse, sent)
            rounded = rounded + (unrounded - current).abs()
            # NeuNorm's own rounding is the same in all maps, and adds up
            taken = passed_on(below, source, None)
            plain = source if below.pool is None else synapses.over_steps(below.pool, source)
            taken = (taken - plain).abs().flatten(0, 1)
            grown = 1.0 if self._keys[n - 1] is None else 1 / (1 - below.p)
            taken *= 2 * RULES.bf16_rounding * grown
            weight = self._reference.layers[n].synapse.weight.abs()
            lost = functional.conv2d(taken, weight, padding=weight.shape[-1] // 2)
            rounded = rounded + lost.unflatten(0, source.shape[:2])
        return potentials(rounded, o, self.question.network.lif.k_tau)


def _gradients_of(layers: Iterable[ReplayedLayer]) -> list[Tensor]:
    return [gradient for layer in layers for gradient in layer.gradients]


def _gradient_fault(name: str, bound: float, gradient: Compared, *, bf16: bool) -> str:
    """Return how a gradient is beyond its bound, in a sentence; "" where it is not."""
    if not (gradient.distance if bf16 else gradient.error) > bound:
        return ""
    if bf16:
        return (
            f"the gradient of {name} is not the reference's within bf16's rounding: it is off by "
            f"{gradient.distance:.1%} of its length, rounding explains {bound:.1%} "
            f"(cosine {gradient.cosine:.4f})"
        )
    return f"the gradient of {name} differs by {beyond(gradient.error, bound)}"


def _wrong_spikes(layers: list[ReplayedLayer], most: float) -> Iterator[str]:
    """Yield the first wrong spike, in time then depth, and layers with too many turned ones."""
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


def gradient_bounds(stages: Iterable[Stage], question: Question) -> list[float]:
    """Return each parameter's bound on its gradient error, relative to the largest entry."""
    precision, images, bounds = question.precision, question.steps * question.x.shape[1], []
    for stage in stages:
        products = images * stage.macs // stage.weights  # one at each place where a weight is used
        bounds.append(RULES.gradient_bound(precision, products))
        bounds.append(RULES.replayed_fp64 if precision == "fp64" else RULES.bias_fp32)
        bounds += [RULES.gradient_bound(precision, images)] if stage.neunorm_shape else []
    return bounds


def passed_on(layer: ReferenceLayer, spikes: Tensor, keys: Tensor | None) -> Tensor:
    """Return the next layer's input from spikes (T, B, ...): pooled, after NeuNorm and dropout.

    `keys` are the dropout masks' (T, ...), None without dropout.
    """
    x, steps = None, []
    for t, step in enumerate(spikes):
        out, x = layer.pass_on(step, x, None if keys is None else keys[t])
        steps.append(out)
    return torch.stack(steps)


def _fired(
    name: str, spikes: Tensor, u: Tensor, v_th: float, ties: Tensor | float
) -> ReplayedLayer:
    """Compare spikes with what potentials u ask for; nearer V_th than `ties` is a near-tie."""
    distance = (u - v_th).abs()
    off = (u >= v_th) != spikes
    wrong = off & (distance >= ties)
    step = int(wrong.flatten(1).any(1).int().argmax())
    count = int(wrong.sum())
    furthest = distance[step][wrong[step]].max().item() if count else 0.0
    return ReplayedLayer(name, u.numel(), int(off.sum()) - count, count, step, furthest)


def _rounded(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).to(values.dtype)
