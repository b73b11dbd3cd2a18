"""The proof that an adapter computes the reference's function and gradient, layer by layer.

With the same weights and input, the output, every layer's spikes at every step and every gradient
are compared: with taps recording and without, and in eval mode. What makes it hard to pass by
accident, or with less than the work:
- In every layer the last neuron (of a convolution: the last feature map) has zero weights and V_th
  as its bias, so its potential is exactly the threshold: an adapter that only fires above it is
  found. The neuron before it lies exactly at the edge of the surrogate's window: an adapter that
  passes a gradient there is found.
- The adapter is called on another input with other weights first: one that keeps state between
  calls, or the weights of its first call, is found.
- On weights a hundred times as large potentials go to 100 V_th and to -100 V_th: one that clips
  them, or holds them in too few bits, is found.
- All that is answered is finite, and spikes are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, isnan

import torch
from torch import Tensor

from harness.adapter import Adapter, exam_builder
from harness.proof.answer import (
    Answer,
    ExamAnswers,
    Incomparable,
    Question,
    check,
    check_tapped,
    exam_answers,
    exam_questions,
    parameters_of,
    take_exam,
    tapped_pass,
)
from harness.proof.audit import Audit
from harness.proof.certificate import (
    RULES,
    Certificate,
    Divergence,
    LayerProof,
    beyond,
    failures,
    typical,
    void,
)
from harness.proof.diagnosis import computed_instead
from harness.proof.gradients import compared, keep_potentials
from harness.reference import synapses
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import LIF, Network, Precision


def count_planted(neurons: int) -> int:
    """Return how many of a layer's last neurons (of a convolution: maps) `plant` overwrites."""
    return min(2, neurons - 1)  # a single neuron is the layer's whole signal


@torch.no_grad()
def plant(reference: ReferenceNetwork, *, edge: bool) -> None:
    """Fix each layer's last neuron at V_th, with `edge` the one before at the surrogate's edge."""
    lif = reference.network.lif
    for layer in reference.layers:
        weight, bias = layer.synapse.weight, layer.synapse.bias
        assert bias is not None
        count = count_planted(len(bias))
        if count > 0:
            weight[-1], bias[-1] = 0, lif.v_th
        at_edge = edge_potential(lif, bias.dtype)
        if edge and count > 1 and at_edge is not None:
            weight[-2], bias[-2] = 0, at_edge


def edge_potential(lif: LIF, dtype: torch.dtype) -> float | None:
    """Return a potential exactly a / 2 from V_th in that type; None if there is none.

    Above V_th where possible: the neuron fires, is reset, and is there again at every step.
    """
    for side in (1, -1):
        about = torch.tensor(lif.v_th + side * lif.a / 2, dtype=dtype)
        for u in (about, *(torch.nextafter(about, about.new_tensor(to)) for to in (inf, -inf))):
            if (u - lif.v_th).abs() == lif.a / 2:
                return u.item()
    return None


@dataclass(frozen=True)
class _Expected:
    question: Question
    answer: Answer  # the reference's
    potentials: list[Tensor]  # (T, B, ...) of each layer
    audits: tuple[Audit, ...]  # of each question that counts


@dataclass(frozen=True)
class Exam:
    """An exam on one network in one precision, with the reference's answers."""

    network: Network
    batch: Tensor  # (T, B, C, H, W), real data; its first steps and samples are used
    precision: Precision
    seed: int = 0
    steps: int = RULES.steps
    _expected: dict[int, _Expected] = field(default_factory=dict)

    def certify(self, adapter: Adapter) -> Certificate:
        """Compare the adapter with the reference. Raises what its `build` raises: Unsupported."""
        module = exam_builder(adapter)(self.network).to(self.batch.device)
        return self.judge(adapter.DEVIATIONS, partial(take_exam, module))

    def judge(
        self, deviations: tuple[str, ...], ask: Callable[[Question], ExamAnswers]
    ) -> Certificate:
        """Compare the module that `ask` asks, as `take_exam` does, with the reference.

        `ask` is called once an attempt; where it raises Incomparable, the certificate fails.
        """
        certificate = blank = Certificate(self.precision, deviations, (), None, (), 0)
        for attempt in range(RULES.attempts):
            blank = replace(blank, attempts=attempt + 1)
            certificate, certain = self._attempt(blank, ask, self.expected(attempt))
            if certain:
                break
        return certificate

    def _attempt(
        self, blank: Certificate, ask: Callable[[Question], ExamAnswers], expected: _Expected
    ) -> tuple[Certificate, bool]:
        """Return the outcome of an attempt, and whether it is certain; else another decides."""
        audits = expected.audits
        try:
            answers = ask(expected.question)
            for audit, (tapped, untapped) in zip(audits[:2], answers, strict=False):
                check(untapped, audit.question)
                check_tapped(tapped, audit.question)
        except Incomparable as reason:
            return replace(blank, failures=(str(reason),)), True
        usual, evaluated, _ = answers

        def refused(*numbers: int) -> list[str]:  # by replays
            replays = (audits[n].replay(answers[n][1], answers[n][0]) for n in numbers)
            return [finding.reason for finding in replays if finding.reason is not None]

        layers = tuple(self._proofs(expected.answer, usual[0]))
        first = _first_divergence(self.network, expected, usual[0])
        faults, certain = failures(layers, first, self.precision), True
        if self.precision == "bf16":
            faults += refused(0, 1)
        else:
            faults += self._other_passes(*usual, evaluated[1], audits[1].expected)
            far = refused(2)
            faults += [f"at {RULES.driven:.0f} times the threshold {reason}" for reason in far]
            # A near-tie in float32 can part two equal networks. A replay does not mind; what it
            # refuses is a fault. Else another input decides, on which the free-running ones may
            # stay together.
            if self.precision == "fp32" and faults and not (first and first.is_far):
                sure = far + refused(0, 1)
                faults, certain = faults + sure, bool(sure)
            if faults and certain and not blank.deviations:
                passes = [answer for pair in answers for answer in pair]
                if names := self._computed_instead(passes, expected.question):
                    names = f"it is what the paper's network computes with {names}"
                    faults = [f"{faults[0]}: {names}"]
        return replace(blank, layers=layers, divergence=first, failures=tuple(faults)), certain

    def _computed_instead(self, answers: Sequence[Answer], question: Question) -> str:
        """Return in words which altered functions of the network give these answers, or ''."""
        ask, device = partial(exam_answers, question=question), self.batch.device
        bound = RULES.allowed(self.precision).gradient_error
        return " or ".join(computed_instead(self.network, answers, ask, bound, device))

    def _other_passes(
        self, tapped: Answer, untapped: Answer, evaluated: Answer, reference: Answer
    ) -> Iterator[str]:
        """Yield how a pass without taps or in eval mode differs from the one that it must equal."""
        unseen = "with no tap recording"
        pairs = (untapped, tapped, unseen), (evaluated, reference, "in eval mode")
        for answer, expected, when in pairs:
            if differ := int((answer.out != expected.out).sum()):
                yield f"{differ:,} of {answer.out.numel():,} output spikes differ {when}"
        bound = RULES.allowed(self.precision).gradient_error
        gradients = zip(untapped.gradients, tapped.gradients, strict=True)
        for name, pair in zip(parameters_of(self.network), gradients, strict=True):
            if (error := compared(*pair).error) > bound:
                yield f"{unseen} the gradient of {name} differs by {beyond(error, bound)}"

    def expected(self, attempt: int = 0) -> _Expected:
        """Return what an attempt asks, and the reference's answers, made at its first call.

        Weights are drawn again while the test is void, at most `RULES.attempts` times in all.
        """
        if attempt not in self._expected:
            expected = self._drawn(attempt, self.seed)
            for seed in range(self.seed + 1, self.seed + RULES.attempts):
                if not any(void(self._proofs(expected.answer, expected.answer))):
                    break
                expected = self._drawn(attempt, seed)
            self._expected[attempt] = expected
        return self._expected[attempt]

    def _drawn(self, attempt: int, seed: int) -> _Expected:
        """Draw an attempt's weights; return its question and the reference's answers."""
        x = exam_input(self.batch, attempt, self.steps).to(DTYPES[self.precision])
        moment = x[:1] if synapses.is_static(self.batch) else x
        reference = exam_reference(self.network, moment.expand_as(x), seed, self.precision)
        parameters = tuple(parameter.detach().cpu() for parameter in reference.parameters())
        moment = moment.cpu().contiguous()
        question = Question(parameters, moment, len(x), self.precision, self.network)
        # bf16 is compared with float32: its loss is what is reported
        exact = replace(question, precision="fp32") if self.precision == "bf16" else question
        recorded = keep_potentials(reference)
        answer = tapped_pass(reference, exact)
        potentials = [torch.stack(steps).cpu() for steps in recorded]
        audits = tuple(Audit(one, self.batch.device) for one in exam_questions(question))
        return _Expected(question, answer, potentials, audits)

    def _proofs(self, expected: Answer, answer: Answer) -> Iterator[LayerProof]:
        """Yield how each layer's spikes and gradients compare with the reference's."""
        gradients = iter(zip(answer.gradients, expected.gradients, strict=True))
        for n, stage in enumerate(self.network.stages):
            pairs = [next(gradients) for _ in range(3 if stage.neunorm_shape else 2)]
            errors = [compared(*pair).error for pair in pairs]
            unplanted = stage.output_shape[0] - count_planted(stage.output_shape[0])
            whole = (torch.cat([g.flatten() for g in side]) for side in zip(*pairs, strict=True))
            spikes = expected.spikes[n]
            yield LayerProof(
                layer=stage.name,
                rate=spikes[:, :, :unplanted].double().mean().item(),
                spikes=spikes.numel(),
                mismatches=int((spikes != answer.spikes[n]).sum()),
                gradient_error=max(errors, key=lambda error: (isnan(error), error)),
                gradient_cosine=compared(*whole).cosine if self.precision == "bf16" else None,
            )


def exam_input(
    batch: Tensor, attempt: int = 0, count: int = RULES.steps
) -> Tensor:  # (T, B, C, H, W) -> (count, 2 or 1, C, H, W)
    """Return the part of the batch that an attempt runs on: `count` steps, spread over it.

    The first takes `RULES.samples` samples, each later one the next sample; when all are used up,
    they come again, shifted by a pixel.
    """
    T, B = batch.shape[:2]
    size = RULES.samples if attempt == 0 else 1
    steps = torch.linspace(0, T - 1, count).round().long()
    first = attempt + RULES.samples - 1 if attempt else 0
    samples = torch.arange(first, first + min(size, B)) % B
    return batch[steps.to(batch.device)][:, samples.to(batch.device)].roll(first // B, -1)


def exam_reference(
    network: Network, x: Tensor, seed: int, precision: Precision = "fp64"
) -> ReferenceNetwork:
    """Return the reference with weights drawn and calibrated on `x`, then changed by `plant`."""
    reference = initialised(network, x, seed=seed)
    plant(reference, edge=precision != "bf16")  # which has no exact edge
    return reference


def _first_divergence(network: Network, expected: _Expected, answer: Answer) -> Divergence | None:
    """Return the first step and layer with a wrong spike, and how far it was from V_th."""
    for step in range(len(answer.out)):
        for n, stage in enumerate(network.stages):
            differ = expected.answer.spikes[n][step] != answer.spikes[n][step]
            if differ.any():
                u = expected.potentials[n]
                distance = (u[step][differ] - network.lif.v_th).abs().max().item()
                near = RULES.near_tie * typical(u, network.lif.v_th)
                return Divergence(step, stage.name, distance, is_far=not distance < near)
    return None
