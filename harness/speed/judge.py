"""Exams of contenders, audits of the timed object at full size, the training bf16 must pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from adapters import facts
from harness.datasets import Batch
from harness.formats.weights import initial_network
from harness.machine import host, memory
from harness.proof.answer import Question, question_of
from harness.proof.audit import Audit
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam
from harness.records import AuditResult, Bf16TrainingResult, Row, When
from harness.records.identity import EXAM
from harness.records.run import Failed, RowMaker, shortened
from harness.records.store import Ledger
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import SGD, Adam, Contender, Network, Precision, Timing
from harness.speed.contender import ContenderProcess, failed_without_memory
from harness.speed.iteration import NARROW, Part, of_round
from harness.speed.worker import Worker
from harness.training import descent, step
from harness.training.descent import Digits, LossEnds, why_bf16_fails

CALIBRATION_SAMPLES = 4
# Multiply-accumulates of a sample's step above which the exam is of a quarter of the width: Small
# is below it on all data sets, Middle above.
WIDE_MACS, QUARTER = 100_000_000, Fraction(1, 4)
LATE = 3.0  # times the first weights: rates and potentials as late in a training
AT_ONCE = 2  # exams, each with a thread
LOOK_SECONDS = 0.5  # between two reports of what runs
# How far an update by an optimiser of the contender's own may be from torch's: of the largest
# change of a parameter; and of the largest weight, which the sum is rounded to.
OF_CHANGE = {"fp64": 1e-9, "fp32": 1e-4}
OF_WEIGHT = {"fp64": 2.0**-51, "fp32": 2.0**-22}


@dataclass(eq=False)
class Judge:
    """Exams and audits of one cell's contenders; each reference answer is computed once for all."""

    cell: Timing
    batch: Batch
    other: Batch
    out: Path  # the result folder, which keeps weights that a case names
    parts: dict[str, Part | None] = field(default_factory=dict)  # that each framework will run
    _exams: dict[tuple[Network, Precision], Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)
    _failed: dict[str, Failed] = field(default_factory=dict)
    _doing: dict[ContenderProcess, str] = field(default_factory=dict)  # what each does, in words
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    _weights: dict[bool, tuple[ReferenceNetwork, Tensor]] = field(default_factory=dict)
    _audits: dict[tuple[Timing, When, int | None], Audit] = field(default_factory=dict)

    # Exams

    def examine(self, makers: Sequence[RowMaker]) -> Iterator[str]:
        """Examine each adapter, two at once; yield what runs, in words, as progress."""
        names: dict[str, tuple[RowMaker, set[Precision]]] = {}
        for maker in makers:
            contender = maker.case.contender
            precisions = names.setdefault(contender.name, (maker, set()))[1]
            precisions.update(required(contender.precision))
        # one in a runtime of its own may time parts of an iteration: nothing else runs meanwhile
        is_alone = any(facts.look_up(maker.case.contender.package).foreign for maker in makers)
        tasks = list[tuple[RowMaker, set[Precision]]]()
        for maker, precisions in names.values():
            # kernels of float64 and of the other precisions are compiled at the same time; a
            # runtime of its own takes long to start
            parts = [precisions] if is_alone else [precisions & {"fp64"}, precisions - {"fp64"}]
            tasks += [(maker, part) for part in parts if part]
        with ThreadPoolExecutor(1 if is_alone else AT_ONCE) as pool:
            try:
                pending = {pool.submit(self._examine, *task, is_alone) for task in tasks}
                while pending:
                    ended, pending = wait(pending, LOOK_SECONDS, FIRST_COMPLETED)
                    for exam in ended:
                        exam.result()
                    if doing := dict.fromkeys([*self._doing.values()]):
                        yield ", ".join(doing)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for contender in [*self._doing]:
                    contender.end()

    def certificates(self, case: Timing) -> list[Certificate]:
        """Return a case's certificates. Raises Failed if the adapter was not built, or died."""
        contender = case.contender
        try:
            precisions = required(contender.precision)
            return [self._proofs[contender.name, precision] for precision in precisions]
        except KeyError:  # it may be in bf16 alone: float32 stands
            raise self._failed[contender.name] from None

    def network_of(self, case: Timing) -> Network:
        """Return the network of exams, narrower if the case's is large or slow. Audits' is not."""
        network = case.workload.network
        if self.parts.get(case.contender.name) is not None:
            return network.scaled(NARROW)
        return network.scaled(QUARTER) if network.macs > WIDE_MACS else network

    def _examine(self, maker: RowMaker, precisions: set[Precision], is_alone: bool) -> None:
        """Run an adapter's exams in a process of its own; keep its certificates, or why it failed.

        With `is_alone` no other is examined meanwhile, and it may measure what is faster.
        """
        name = maker.case.contender.name
        contender, deviates = ContenderProcess(maker), maker.installation.deviations
        deviations = (deviates,) if deviates else ()
        self._doing[contender] = f"exam of {name}"
        try:
            with failed_without_memory():
                contender.start(is_alone=is_alone)
                if contender.call(Worker.compiles):
                    self._doing[contender] = f"compiling {name}'s kernels"
                self.parts[name] = contender.call(Worker.part)
                network = self.network_of(contender.case)
                take_exam = partial(contender.call, Worker.take_exam)
                for precision in sorted(precisions, reverse=True):  # float64 first
                    exam = self._exam(network, precision)
                    self._proofs[name, precision] = exam.judge(deviations, take_exam)
        except Failed as error:
            self._failed[name] = error
        finally:
            contender.end()
            del self._doing[contender]

    def _exam(self, network: Network, precision: Precision) -> Exam:
        """Return the exam of a network in a precision, made once for all adapters."""
        with self._one_at_a_time:
            if (exam := self._exams.get((network, precision))) is None:
                batch = self.batch.inputs.to(self.cell.device)
                exam = Exam(network, batch, precision, self.cell.workload.seed)
                exam.expected()  # once, however many are examined at once
                self._exams[network, precision] = exam
            return exam

    # Audits

    def weights(self, *, is_late: bool) -> tuple[ReferenceNetwork, Tensor]:
        """Return the first reference, and the x that calibrates it; `is_late`: of another seed."""
        if is_late not in self._weights:
            batch, cell = self.batch, self.cell
            if is_late:
                workload = replace(cell.workload, seed=cell.workload.seed + 1, weights_sha256=None)
                batch, cell = self.other, replace(cell, workload=workload)
            inputs = batch.inputs[:, :CALIBRATION_SAMPLES].to(DTYPES[cell.contender.precision])
            self._weights[is_late] = initial_network(cell.workload, inputs, self.out), inputs
        return self._weights[is_late]

    def question(self, case: Timing, *, is_late: bool = False) -> Question:
        """Return the question of a case, on the steps and samples that it runs.

        `is_late`: on another batch, with other weights, LATE times as large, as late in a training.
        """
        batch, scale = (self.other, LATE) if is_late else (self.batch, 1.0)
        reference, _ = self.weights(is_late=is_late)
        parameters = tuple(weights.detach() * scale for weights in reference.parameters())
        return question_of(case, parameters, batch.inputs, batch.labels)

    def audit(self, contender: ContenderProcess, when: When, number: int | None) -> AuditResult:
        """Compare a contender's last iteration with the reference's. Raises Failed.

        `number` is its round's. `when` "before": compare its own optimiser's update too.
        """
        answer, updated = contender.call(Worker.answer)
        # the same question for all contenders
        case, precision = contender.case.cell, contender.case.contender.precision
        case = replace(case, contender=Contender("", precision=precision))
        if (audit := self._audits.get((case, when, number))) is None:
            question = self.question(case, is_late=when == "late")
            question = question if number is None else of_round(question, number)
            audit = Audit(question, torch.device(self.cell.device), when, number)
            self._audits[case, when, number] = audit
        finding = audit.direct(answer)
        if finding is None:
            finding = audit.replay(answer, contender.call(Worker.tapped, audit.question))
        # elsewhere its optimiser has gathered something
        if updated is not None and when == "before" and finding.passed:
            gradients, settings = answer.gradients, self.cell.optimiser
            wrong = wrong_update(audit.question, settings, gradients, updated)
            finding = replace(finding, passed=wrong is None, reason=wrong)
        return finding

    def forget(self) -> None:
        """Free the memory of the reference's answers in audits."""
        self._audits.clear()
        memory.release()


def wrong_update(
    question: Question, settings: SGD | Adam, gradients: Sequence[Tensor], updated: Sequence[Tensor]
) -> str | None:
    """Return how a first update of the weights differs from torch's; None if within rounding."""
    shapes = [tuple(weights.shape) for weights in updated]
    if shapes != [tuple(weights.shape) for weights in question.parameters]:
        return f"its new weights have the shapes {shapes}"
    expected = [nn.Parameter(weights.clone()) for weights in question.parameters]
    for parameter, gradient in zip(expected, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    step.optimiser(expected, settings).step()
    precision = question.precision
    weights = zip(question.parameters, expected, updated, strict=True)
    for n, (old, right, new) in enumerate(weights, 1):
        change, error = ((right.detach() - other).abs().max() for other in (old, new))
        bound = OF_CHANGE[precision] * change + OF_WEIGHT[precision] * old.abs().max()
        if not error <= bound:
            return (
                f"its optimiser does not do what {settings} does: of its parameters the "
                f"{n}th is off by {float(error):.1e}, the largest change is {float(change):.1e}"
            )
    return None


def check_bf16_training(
    maker: RowMaker,
    rows: Iterable[Row[Bf16TrainingResult]],
    ledger: Ledger,
    say: Callable[[str], None],
    has_time: Callable[[], bool],
) -> list[Row[Bf16TrainingResult]]:
    """Train a contender in float32 and in bf16; keep and return the outcome as one row.

    An audit in bf16 proves no equality: it must also learn as in float32. Returns [] if `rows` have
    the outcome of this installation, or there is no time. One that was cut short is tried again,
    once a run.
    """
    for row in rows:
        same = (row.installed, row.result.exam) == (maker.installed, EXAM)
        if same and (row.result.finished or row.run.id == maker.run.id):
            return []
    contender = ContenderProcess(maker)
    case, terms = descent.case_of(contender.case), descent.CHECK_SETTINGS
    ends: dict[Precision, list[LossEnds]] = {"fp32": [], "bf16": []}
    what, finished = f"{maker.case.contender.name} trains, for bf16", False
    digits = Digits.read()
    try:
        say(what)
        contender.start(trains=True)
        for n, (precision, seed) in enumerate(terms.trainings, 1):
            if not has_time():
                return []
            say(f"{what}: {n} of {len(terms.trainings)}")
            one = replace(
                case,
                workload=replace(case.workload, seed=seed),
                contender=replace(case.contender, precision=precision),
            )
            losses = contender.call(Worker.bf16_losses, one, digits.weights(one), digits)
            ends[precision].append(LossEnds.from_losses(losses, terms.averaged))
        reason, finished = why_bf16_fails(ends["fp32"], ends["bf16"]), True
    except Failed as error:
        reason = str(error)
    finally:
        contender.end()
    firsts = [losses.first for losses in ends["fp32"] if isfinite(losses.first)]
    fp32, bf16 = (
        tuple(losses.last if isfinite(losses.last) else None for losses in trainings)
        for trainings in ends.values()
    )
    result = Bf16TrainingResult(
        exam=EXAM, setting=descent.in_words(case), steps=terms.steps,
        seeds=tuple(range(terms.fp32_seeds)), first_loss=fmean(firsts) if firsts else None,
        fp32_losses=fp32, bf16_losses=bf16, finished=finished, passed=finished and not reason,
        reason=shortened(reason) or None,
    )  # fmt: skip
    row = maker.row(result, host.moment())
    ledger.keep(row)
    return [row]
