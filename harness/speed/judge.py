"""Holds contenders against the reference, in the owner's process: exams before one is built to be
timed, audits of what is timed, at its full size, and the trainings of what was audited in bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.datasets import Batch
from harness.formats.weights import first_weights
from harness.proof.answer import Incomparable, Question, question
from harness.proof.audit import Audit, Finding, When
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam, Questions, Sitting
from harness.records import DescentRow, Record
from harness.records.identity import EXAM
from harness.records.ledger import Ledger
from harness.records.run import Failed, shortened, stamped
from harness.reference import coding
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import SGD, Adam, Network, Precision, Timed, paper
from harness.speed.contender import Host, Process, Subject
from harness.speed.iteration import NARROW, Part, labels_of
from harness.system import machine, memory
from harness.training import descent, step
from harness.training.descent import Course, Digits, judged

CALIBRATION_SAMPLES = 4
# How far an update by an optimiser of the contender's own may be from torch's: of the largest
# change of a parameter; and of the largest weight, which the sum is rounded to.
OF_CHANGE = {"fp64": 1e-9, "fp32": 1e-4}
OF_WEIGHT = {"fp64": 2.0**-51, "fp32": 2.0**-22}


@dataclass(eq=False)
class Examiner:
    """The exams of one cell; each certificate is made once: a bf16 case asks for those of fp32."""

    cell: Timed
    batch: Tensor  # (T, B, C, H, W)
    host: Host
    parts: dict[str, Part | None] = field(default_factory=dict)  # that each framework will run
    _exams: dict[tuple[Network, Precision], Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)

    def certify(self, case: Timed, deviations: tuple[str, ...]) -> list[Certificate]:
        """The adapter's certificates, in a process for it. Raises Failed where it cannot be built,
        or dies.
        """
        name, wanted = case.framework, required(case.precision)
        lacking: list[Precision] = [each for each in wanted if (name, each) not in self._proofs]
        if lacking:
            process = Process(case, self.host)
            try:
                if name not in self.parts:
                    self.parts[name] = process.call(Subject.part)
                network = self.network_of(case)
                sit = partial(_sit, process, network)
                for precision in lacking:
                    exam = self._exam(network, precision)
                    self._proofs[name, precision] = exam.judge(name, deviations, sit)
            finally:
                process.end()
        return [self._proofs[name, each] for each in wanted]

    def network_of(self, case: Timed) -> Network:
        """That a contender is examined on."""
        return case.network if self.parts[case.framework] is None else case.network.scaled(NARROW)

    def _exam(self, network: Network, precision: Precision) -> Exam:
        if (network, precision) not in self._exams:
            batch = self.batch.to(self.cell.device)
            self._exams[network, precision] = Exam(network, batch, precision, self.cell.seed)
        return self._exams[network, precision]


def _sit(process: Process, network: Network, questions: Questions) -> Sitting:
    try:
        return process.call(Subject.sit, network, questions)
    except Failed as reason:
        if reason.status == "not comparable":
            raise Incomparable(str(reason)) from None
        raise


class Expected(NamedTuple):
    """What every turn must come to, but for the rolled batch; in the order of the batch."""

    votes: Tensor  # (B, classes)
    labels: Tensor  # (B,)


@dataclass(eq=False)
class Judge:
    """The judge of one cell. It keeps what the reference answers until it is told to forget."""

    cell: Timed
    batch: Batch
    other: Batch
    out: Path | None = None  # the result folder, which keeps weights that a case names
    _weights: dict[When, tuple[ReferenceNetwork, Tensor]] = field(default_factory=dict)
    _audits: dict[tuple[When, Timed], Audit] = field(default_factory=dict)

    def weights(self, when: When) -> tuple[ReferenceNetwork, Tensor]:
        """A question's weights, and the samples (T, B, C, H, W) that they were calibrated on."""
        if when not in self._weights:
            batch, cell = self.batch, self.cell
            if when == "after":
                batch, cell = self.other, replace(cell, seed=cell.seed + 1, weights_sha256=None)
            few = batch.inputs[:, :CALIBRATION_SAMPLES].to(DTYPES[cell.precision])
            self._weights[when] = first_weights(cell, few, self.out), few
        return self._weights[when]

    def question(self, when: When, case: Timed) -> Question:
        """What a case of the cell is asked, as it is run: of fewer steps and samples, the first."""
        batch = self.batch if when == "before" else self.other
        steps = 1 if paper.settings(case.dataset).static else case.T
        # laid out as a contender is given them: else sums end in other bits, and spikes turn
        inputs = batch.inputs[:steps, : case.batch_size].to(DTYPES[case.precision]).contiguous()
        parameters = tuple(each.detach() for each in self.weights(when)[0].parameters())
        return question(case, parameters, inputs, batch.labels[: case.batch_size])

    def audit(self, process: Process, when: When, case: Timed) -> tuple[Finding, Expected]:
        """Holds the last iteration of a contender against the reference. Raises Failed."""
        given, updated = process.call(Subject.answer)
        key = when, replace(case, framework="")  # whose it is does not matter
        if key not in self._audits:
            device = torch.device(self.cell.device)
            self._audits[key] = Audit(self.cell.network, self.question(when, case), device)
        audit = self._audits[key]
        finding = audit.direct(given)
        if finding is None:
            finding = audit.replay(given, process.call(Subject.tapped))
        if updated and when == "before" and finding.passed:  # its optimiser has gathered nothing
            asked, settings = audit.question, self.cell.optimiser
            wrong = wrong_update(asked, settings, given.gradients, updated)
            finding = replace(finding, passed=wrong is None, reason=wrong)
        votes = coding.vote(given.out.float(), self.cell.network.classes)
        return finding, Expected(votes, labels_of(audit.question))

    def forget(self) -> None:
        """Lets go of what the reference answered, and of its memory."""
        self._audits.clear()
        memory.release()


def wrong_update(
    asked: Question, settings: SGD | Adam, gradients: Sequence[Tensor], updated: Sequence[Tensor]
) -> str | None:
    """What is wrong with a contender's own first update of its weights; None where it is what
    torch's optimiser does with the same gradients.
    """
    shapes = [tuple(each.shape) for each in asked.parameters]
    if [tuple(each.shape) for each in updated] != shapes:
        return f"its new weights have the shapes {[tuple(each.shape) for each in updated]}"
    expected = [nn.Parameter(each.clone()) for each in asked.parameters]
    for parameter, gradient in zip(expected, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    step.optimiser(expected, settings).step()
    for n, (old, new, given) in enumerate(zip(asked.parameters, expected, updated, strict=True), 1):
        change = (new.detach() - old).abs().max()
        bound = OF_CHANGE[asked.precision] * change + OF_WEIGHT[asked.precision] * old.abs().max()
        off = (given - new.detach()).abs().max()
        if not bool(torch.isfinite(off)) or off > bound:
            return (
                f"its optimiser does not do what {settings} does: of its parameters the "
                f"{n}th is off by {float(off):.1e}, the largest change is {float(change):.1e}"
            )
    return None


# bf16 is no proof of equality: what was audited in it trains, once for each installation, in a
# process of its own, whose crash costs this row alone.


def descend(row: Record, ledger: Ledger, host: Host, say: Callable[[str], None]) -> None:
    """Has the contender of a row train in float32 and in bf16, and keeps what that comes to.

    Nothing happens where a row of its installation says so already; what was cut short is tried
    once a run.
    """
    for each in ledger.descents():
        same = (each.installation, each.exam) == (row.installation, EXAM)
        if same and (each.finished or each.run == row.run):
            return
    case, terms = descent.case_of(Timed.of(row)), descent.TERMS
    courses: dict[Precision, list[Course]] = {"fp32": [], "bf16": []}
    what, finished = f"{case.framework} trains, for bf16", False
    try:
        say(what)
        _train(case, courses, host, lambda n: say(f"{what}: {n} of {len(terms.trainings)}"))
        reason, finished = judged(courses["fp32"], courses["bf16"]), True
    except Failed as error:
        reason = str(error)
    firsts = [each.first for each in courses["fp32"] if isfinite(each.first)]
    ends = {
        precision: tuple(each.last if isfinite(each.last) else None for each in of)
        for precision, of in courses.items()
    }
    made = DescentRow(
        **vars(row),
        exam=EXAM,
        setting=descent.said(case),
        steps=terms.steps,
        seeds=tuple(range(terms.fp32_seeds)),
        first_loss=fmean(firsts) if firsts else None,
        fp32_losses=ends["fp32"],
        bf16_losses=ends["bf16"],
        finished=finished,
        passed=finished and not reason,
        reason=shortened(reason) or None,
    )
    ledger.keep(stamped(made, machine.moment()))


def _train(
    case: Timed,
    courses: dict[Precision, list[Course]],
    host: Host,
    say: Callable[[int], None],
) -> None:
    """All trainings, each added as it ends. Raises Failed."""
    digits, process = Digits.read(), Process(case, host)
    try:
        for n, (precision, seed) in enumerate(descent.TERMS.trainings, 1):
            say(n)
            one = replace(case, seed=seed, precision=precision)
            losses = process.call(Subject.descend, one, digits.weights(one), digits)
            courses[precision].append(Course.of(losses, descent.TERMS.averaged))
    finally:
        process.end()
