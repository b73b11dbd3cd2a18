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

from harness.proof.answer import Answer, Incomparable, Question, plain_pass
from harness.proof.measures import Compared, compared
from harness.proof.replay import ReplayedLayer, Side, allowed_of, replayed
from harness.proof.rules import RULES
from harness.proof.sound import check, check_tapped, parameters_of
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Network, Precision


@dataclass(frozen=True)
class Finding:
    """What an audit came to."""

    way: Literal["direct", "replay"]
    passed: bool
    reason: str | None  # where it did not pass, in a sentence
    spikes: int  # neuron-steps compared: of the output, in a replay of every layer
    mismatches: int  # that are not the reference's
    near_ties: int  # of these, those that rounding decides
    gradient_error: float | None  # relative to the largest entry; of training alone
    gradient_cosine: float | None  # the lowest over the parameters; of bf16 alone
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
            return self._broken("direct", str(reason))
        mine = self._reference
        if self.question.precision == "bf16" or not torch.equal(given.out, mine.out):
            return None
        pairs = zip(given.gradients, mine.gradients, strict=True)
        errors = [compared(*pair).error for pair in pairs]
        if any(each > of for each, of in zip(errors, self._allowed(), strict=False)):
            return None
        worst = max((each for each in errors if not isnan(each)), default=0.0)
        error = worst if self.question.mode == "training" else None
        return Finding("direct", True, None, given.out.numel(), 0, 0, error, None)

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
            return self._broken("replay", str(reason))
        layers = self._replayed(given, tapped, "computed")
        return self._found(layers, given, tapped)

    def _replayed(self, given: Answer, tapped: Answer, side: Side) -> list[ReplayedLayer]:
        return replayed(self.network, self.question, given, tapped, self.device, side)

    @cached_property
    def _reference(self) -> Answer:
        """The reference's own answer, made once for all contenders."""
        return reference_answer(self.network, self.question, self.device)

    def _found(self, layers: list[ReplayedLayer], given: Answer, tapped: Answer) -> Finding:
        """What the layers' replays come to."""
        precision = self.question.precision
        mine = [each for layer in layers for each in layer.gradients]
        pairs = zip(given.gradients, mine, strict=True)
        gradients = [compared(each.to(own.device), own) for each, own in pairs]
        reasons = [*_wrong_spikes(layers), *_turned(layers, precision)]
        if precision == "bf16":
            bounds = self._explained(gradients, mine, given, tapped)
            reasons += self._off_in_bf16(gradients, bounds)
        else:
            reasons += self._off(gradients)
        exact = [] if precision == "bf16" else gradients
        errors = [each.error for each in exact if not isnan(each.error)]
        cosines = [each.cosine for each in gradients if not isnan(each.cosine)]
        turned = sum(layer.fired.turned for layer in layers)
        return Finding(
            "replay",
            not reasons,
            reasons[0] if reasons else None,
            spikes=sum(layer.fired.spikes for layer in layers),
            mismatches=turned + sum(layer.fired.wrong for layer in layers),
            near_ties=turned,
            gradient_error=max(errors) if errors and isfinite(max(errors)) else None,
            gradient_cosine=min(cosines, default=None) if precision == "bf16" else None,
            edges=sum(layer.edges for layer in layers),
        )

    # Sentences are of the last parameter first, as gradients go: a fault is felt in all below.
    def _off(self, gradients: list[Compared]) -> Iterator[str]:
        names = parameters_of(self.network)
        for name, bound, each in reversed(
            list(zip(names, self._allowed(), gradients, strict=False))
        ):
            if each.error > bound:
                yield (
                    f"the gradient of {name} differs by {each.error:.1e} of the largest entry, "
                    f"allowed is {bound:.2g}"
                )

    def _off_in_bf16(self, gradients: list[Compared], bounds: list[float]) -> Iterator[str]:
        names = parameters_of(self.network)
        for name, bound, each in reversed(list(zip(names, bounds, gradients, strict=False))):
            if each.distance > bound:
                yield (
                    f"the gradient of {name} is not the reference's within bf16's rounding: it is "
                    f"off by {each.distance:.1%} of its length, rounding explains {bound:.1%} "
                    f"(cosine {each.cosine:.4f})"
                )

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

    def _allowed(self) -> tuple[float, ...]:
        return allowed(self.network, self.question)

    def _broken(self, way: Literal["direct", "replay"], reason: str) -> Finding:
        return Finding(way, False, reason, 0, 0, 0, None, None)


def reference_answer(network: Network, question: Question, device: torch.device) -> Answer:
    """What the reference answers, free-running and untapped; in float32 where bf16 is asked for."""
    with torch.random.fork_rng(devices=[]):
        module = ReferenceNetwork(network).to(device=device, dtype=DTYPES[question.precision])
    exact: Precision = "fp32" if question.precision == "bf16" else question.precision
    return plain_pass(module, replace(question, precision=exact))


def _wrong_spikes(layers: list[ReplayedLayer]) -> Iterator[str]:
    """The first, in time and then in depth."""
    broken = [layer for layer in layers if layer.fired.wrong]
    if not broken:
        return
    first = min(broken, key=lambda layer: layer.fired.step)
    yield (
        f"{first.fired.wrong:,} of {first.fired.spikes:,} spikes of layer {first.layer} are not "
        f"what its inputs make them, first at step {first.fired.step + 1}, abs(u - V_th) = "
        f"{first.fired.distance:.1e}"
    )


def _turned(layers: list[ReplayedLayer], precision: Precision) -> Iterator[str]:
    """Layers of which rounding is to have turned more spikes than it can."""
    most = RULES.bf16_turned if precision == "bf16" else RULES.turned
    for layer in layers:
        turned, spikes = layer.fired.turned, layer.fired.spikes
        if turned > 1 + most * spikes:  # one can be in the smallest layer
            yield (
                f"{turned:,} of {spikes:,} spikes of layer {layer.layer} are turned near the "
                f"threshold: rounding turns {most:.1%} at most"
            )


def allowed(network: Network, question: Question) -> tuple[float, ...]:
    """Of each parameter, how far its gradient may be at full size, of its largest entry."""
    return tuple(bound for stage in network.stages for bound in allowed_of(stage, question))
