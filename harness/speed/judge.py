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
from harness.proof.answer import Question, question_of
from harness.proof.audit import Audit, Finding
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam
from harness.records import Bf16TrainingRow, Record, When
from harness.records.identity import EXAM
from harness.records.run import Failed, shortened, stamped
from harness.records.store import Ledger
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import SGD, Adam, Network, Precision, Timed
from harness.speed.contender import Contender, Worker, failed_without_memory
from harness.speed.iteration import NARROW, Part, of_round
from harness.system import machine, memory
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

    cell: Timed
    batch: Batch
    other: Batch
    out: Path  # the result folder, which keeps weights that a case names
    parts: dict[str, Part | None] = field(default_factory=dict)  # that each framework will run
    _exams: dict[tuple[Network, Precision], Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)
    _failed: dict[str, Failed] = field(default_factory=dict)
    _doing: dict[Contender, str] = field(default_factory=dict)  # what each does, in words
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    _weights: dict[bool, tuple[ReferenceNetwork, Tensor]] = field(default_factory=dict)
    _audits: dict[tuple[Timed, When, int | None], Audit] = field(default_factory=dict)

    # Exams

    def examine(self, rows: Sequence[Record]) -> Iterator[str]:
        """Examine the adapter of each row, two at once; yield what runs, in words, as progress."""
        wanted: dict[str, tuple[Record, set[Precision]]] = {}
        for row in rows:
            needed = required(Timed.of(row).precision)
            wanted.setdefault(row.contender, (row, set()))[1].update(needed)
        # one in a runtime of its own may time parts of an iteration: nothing else runs meanwhile
        alone = any(facts.of(row.framework).foreign for row in rows)
        tasks = list[tuple[Record, set[Precision]]]()
        for row, needed in wanted.values():
            # kernels of float64 and of the other precisions are compiled at the same time; a
            # runtime of its own takes long to start
            parts = [needed] if alone else [needed & {"fp64"}, needed - {"fp64"}]
            tasks += [(row, part) for part in parts if part]
        with ThreadPoolExecutor(1 if alone else AT_ONCE) as pool:
            try:
                pending = {pool.submit(self._examine, *each, alone) for each in tasks}
                while pending:
                    ended, pending = wait(pending, LOOK_SECONDS, FIRST_COMPLETED)
                    for each in ended:
                        each.result()
                    if doing := dict.fromkeys([*self._doing.values()]):
                        yield ", ".join(doing)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for each in [*self._doing]:
                    each.end()

    def certificates(self, case: Timed) -> list[Certificate]:
        """Return a case's certificates. Raises Failed if the adapter was not built, or died."""
        try:
            return [self._proofs[case.framework, each] for each in required(case.precision)]
        except KeyError:  # it may be in bf16 alone: float32 stands
            raise self._failed[case.framework] from None

    def network_of(self, case: Timed) -> Network:
        """Return the network of exams, narrower if the case's is large or slow. Audits' is not."""
        if self.parts.get(case.framework) is not None:
            return case.network.scaled(NARROW)
        return case.network.scaled(QUARTER) if case.network.macs > WIDE_MACS else case.network

    def _examine(self, row: Record, precisions: set[Precision], alone: bool) -> None:
        name, contender = row.contender, Contender(row.contender, row)
        deviations = (row.deviations,) if row.deviations else ()
        self._doing[contender] = f"exam of {name}"
        try:
            with failed_without_memory():
                contender.start(alone=alone)
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
        with self._one_at_a_time:
            if (exam := self._exams.get((network, precision))) is None:
                batch = self.batch.inputs.to(self.cell.device)
                exam = Exam(network, batch, precision, self.cell.seed)
                exam.expected()  # once, however many are examined at once
                self._exams[network, precision] = exam
            return exam

    # Audits

    def weights(self, *, late: bool) -> tuple[ReferenceNetwork, Tensor]:
        """Return the initial reference, and the x that calibrates it; `late`: of another seed."""
        if late not in self._weights:
            batch, cell = self.batch, self.cell
            if late:
                batch, cell = self.other, replace(cell, seed=cell.seed + 1, weights_sha256=None)
            few = batch.inputs[:, :CALIBRATION_SAMPLES].to(DTYPES[cell.precision])
            self._weights[late] = initial_network(cell, few, self.out), few
        return self._weights[late]

    def question(self, case: Timed, *, late: bool = False) -> Question:
        """Return the question of a case, on the steps and samples that it runs.

        `late`: on another batch, with other weights, LATE times as large, as after much training.
        """
        batch, scale = (self.other, LATE) if late else (self.batch, 1.0)
        parameters = (each.detach() * scale for each in self.weights(late=late)[0].parameters())
        return question_of(case, tuple(parameters), batch.inputs, batch.labels)

    def audit(self, contender: Contender, when: When, number: int | None) -> Finding:
        """Compare a contender's last iteration with the reference's. Raises Failed.

        `number` is its round's. `when` "before": compare its own optimiser's update too.
        """
        given, updated = contender.call(Worker.answer)
        case = replace(contender.case, framework="")  # the same question for all contenders
        if (audit := self._audits.get((case, when, number))) is None:
            asked = self.question(case, late=when == "late")
            asked = asked if number is None else of_round(asked, number)
            audit = Audit(asked, torch.device(self.cell.device))
            self._audits[case, when, number] = audit
        asked, finding = audit.question, audit.direct(given)
        if finding is None:
            finding = audit.replay(given, contender.call(Worker.tapped, asked))
        # elsewhere its optimiser has gathered something
        if updated is not None and when == "before" and finding.passed:
            wrong = wrong_update(asked, self.cell.optimiser, given.gradients, updated)
            finding = replace(finding, passed=wrong is None, reason=wrong)
        return finding

    def forget(self) -> None:
        """Free the memory of the reference's answers in audits."""
        self._audits.clear()
        memory.release()


def wrong_update(
    asked: Question, settings: SGD | Adam, gradients: Sequence[Tensor], updated: Sequence[Tensor]
) -> str | None:
    """Return how a first update of the weights differs from torch's; None if within rounding."""
    shapes = [tuple(each.shape) for each in asked.parameters]
    if [tuple(each.shape) for each in updated] != shapes:
        return f"its new weights have the shapes {[tuple(each.shape) for each in updated]}"
    expected = [nn.Parameter(each.clone()) for each in asked.parameters]
    for parameter, gradient in zip(expected, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    step.optimiser(expected, settings).step()
    for n, (old, new, given) in enumerate(zip(asked.parameters, expected, updated, strict=True), 1):
        change, off = ((new.detach() - each).abs().max() for each in (old, given))
        bound = OF_CHANGE[asked.precision] * change + OF_WEIGHT[asked.precision] * old.abs().max()
        if not off <= bound:
            return (
                f"its optimiser does not do what {settings} does: of its parameters the "
                f"{n}th is off by {float(off):.1e}, the largest change is {float(change):.1e}"
            )
    return None


def check_bf16_training(
    row: Record,
    known: Iterable[Bf16TrainingRow],
    ledger: Ledger,
    say: Callable[[str], None],
    has_time: Callable[[], bool],
) -> list[Bf16TrainingRow]:
    """Train a row's contender in float32 and in bf16; keep and return the outcome as one row.

    An audit in bf16 proves no equality: it must also learn as in float32. Returns [] if `known` has
    the outcome of this installation, or there is no time. One that was cut short is tried again,
    once a run.
    """
    for each in known:
        same = (each.installation, each.exam) == (row.installation, EXAM)
        if same and (each.finished or each.run == row.run):
            return []
    case, terms = descent.case_of(Timed.of(row)), descent.CHECK_SETTINGS
    ends: dict[Precision, list[LossEnds]] = {"fp32": [], "bf16": []}
    what, finished = f"{case.framework} trains, for bf16", False
    digits, contender = Digits.read(), Contender(row.contender, row)
    try:
        say(what)
        contender.start(trains=True)
        for n, (precision, seed) in enumerate(terms.trainings, 1):
            if not has_time():
                return []
            say(f"{what}: {n} of {len(terms.trainings)}")
            one = replace(case, seed=seed, precision=precision)
            losses = contender.call(Worker.bf16_losses, one, digits.weights(one), digits)
            ends[precision].append(LossEnds.of(losses, terms.averaged))
        reason, finished = why_bf16_fails(ends["fp32"], ends["bf16"]), True
    except Failed as error:
        reason = str(error)
    finally:
        contender.end()
    firsts = [each.first for each in ends["fp32"] if isfinite(each.first)]
    fp32, bf16 = (
        tuple(each.last if isfinite(each.last) else None for each in of) for of in ends.values()
    )
    made = Bf16TrainingRow(
        **vars(row), exam=EXAM, setting=descent.in_words(case), steps=terms.steps,
        seeds=tuple(range(terms.fp32_seeds)), first_loss=fmean(firsts) if firsts else None,
        fp32_losses=fp32, bf16_losses=bf16, finished=finished, passed=finished and not reason,
        reason=shortened(reason) or None,
    )  # fmt: skip
    kept = stamped(made, machine.moment())
    ledger.keep(kept)
    return [kept]
