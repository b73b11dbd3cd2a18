"""Who is timed in a cell: contenders proved equal, built and audited, and the floors below."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from harness.datasets import Batch
from harness.proof import certificate
from harness.proof.certificate import Certificate
from harness.records import MemoryRow, Record, UnmeasuredRow, WarmupRow, WarningRow
from harness.records.build import Failed, shortened
from harness.reference.initialise import dead_layers
from harness.spec import FLOOR, Case, Precision
from harness.speed import floor
from harness.speed.apart import Apart, Host
from harness.speed.attempt import Attempts
from harness.speed.contender import Contender, Doing, Entry, Expected
from harness.speed.examiner import Examiner
from harness.speed.judge import Judge, When
from harness.system import footprint

WARM_SECONDS = 1.0  # of iterations that are not timed, and one at least
LEAST_SECONDS = 0.1  # that an iteration counts for: a hundred tiny ones are not needed


@dataclass(frozen=True)
class Contenders:
    """The contenders of one cell on their way into its rounds."""

    cell: Case
    group: tuple[Case, ...]
    attempts: Attempts
    row_of: Callable[[Case], Record]  # what every row of a case says
    host: Host

    def prove(self, batch: Batch) -> Generator[Doing, None, list[Entry]]:
        """The contenders that may be timed: proved equal, or known not to be and marked."""
        examiner = Examiner(self.cell, batch.inputs, self.host)
        entries = []
        for n, case in enumerate(self.group):
            yield Doing(0.3 * n / len(self.group), f"certificate of {self.name(case)}")
            row = self.row_of(case)
            if self._certified(row, case, examiner):
                entries.append(Entry(row, case, examiner.part(case)))
        examiner.end()
        return entries

    def name(self, case: Case) -> str:
        """The case's name among the contenders; the cell's own precision is not said."""
        mixed = case.precision != self.cell.precision
        return case.framework + (f" ({case.precision})" if mixed else "")

    def _certified(self, row: Record, case: Case, examiner: Examiner) -> bool:
        """Examines the adapter and keeps the proof as rows; whether it may be timed."""
        proofs: list[Certificate] = []
        deviations = (row.deviations,) if row.deviations else ()
        for precision in certificate.required(case.precision):
            certify = partial(examiner.certify, case, deviations, precision)
            proof = self.attempts.attempt(row, certify)
            if proof is None:
                return False
            proofs.append(proof)
        network = str(examiner.network_of(case))
        narrow = None if network == row.network else network
        for proof in proofs:
            for each in certificate.rows_of(row, proof):
                self.attempts.keep(replace(each, examined_network=narrow))
        failures = [each for proof in proofs for each in proof.failures]
        if failures and not row.deviations:
            self.attempts.end(row, "not comparable", failures[0])
            return False
        return True

    def ready(self, entries: list[Entry], judge: Judge) -> Generator[Doing, None, list[Contender]]:
        """Those that are timed, each in its process, warmed up and audited; without who fails."""
        self._warn_of_dead_layers(self.row_of(self.group[0]), judge)
        ready: list[Contender] = []
        yield Doing(0.3, "the floor")
        for case in floor_cases(self.cell, (entry.case for entry in entries)):
            ready += self._floors(case, ready)
        for n, entry in enumerate(entries):
            yield Doing(0.35 + 0.65 * n / len(entries), f"audit of {self.name(entry.case)}")
            contender = self._contender(entry, judge, ready)
            if contender is not None:
                ready.append(contender)
        return ready

    def _warn_of_dead_layers(self, row: Record, judge: Judge) -> None:
        weights, few = judge.first_weights
        dead = dead_layers(weights, self.cell.network, few)
        if dead:
            reason = (
                f"dead layers under the {self.cell.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold"
            )
            self.attempts.keep(WarningRow(**vars(row), reason=reason))

    def _started(self, case: Case, beside: Iterable[Contender]) -> Apart:
        """A process for a case, which fits into memory beside those that are there."""
        self._make_room(case, beside)
        return Apart.start(case, self.host)

    def _make_room(self, case: Case, beside: Iterable[Contender]) -> None:
        """Has the largest of those give memory back until what an iteration takes is free."""
        if case.device != "cpu":
            return
        # what it takes to compile for it is in the spare; what is free beyond need not stay so
        needed = footprint.iteration_mib(case) + footprint.weights_mib(case)
        needed += footprint.spare_mib()
        full = sorted(beside, key=lambda each: each.apart.held_mib)
        while full and footprint.available_mib("cpu") < needed:
            largest = full.pop()
            if not largest.lean:
                self._try(largest, largest.apart.grow_lean)

    def _floors(self, case: Case, beside: list[Contender]) -> list[Contender]:
        """The floor of a precision; that of the cell's own is there twice."""
        row = self.row_of(case)
        layouts: list[floor.Layout] = []
        made = []
        for twin in (False, True) if case.precision == self.cell.precision else (False,):
            start = partial(self._started, case, [*beside, *made])
            apart = self.attempts.attempt(row, start)
            if apart is None:
                return []
            layouts = layouts or self.attempts.attempt(row, partial(apart.ask, "layouts")) or []
            seconds = self.attempts.attempt(row, partial(_warm_floor, apart, layouts))
            if seconds is None:
                apart.end()
                return []
            row = replace(row, layout=floor.said(tuple(layouts)))
            self.attempts.keep(WarmupRow(**vars(row), seconds=seconds, steps=case.T))
            name = self.name(case) + (" (again)" if twin else "")
            made.append(Contender(name, row, apart, twin=twin))
        return made

    def _contender(self, entry: Entry, judge: Judge, beside: list[Contender]) -> Contender | None:
        """The entry in its process: built with the cell's weights, warmed up and audited."""
        apart = self.attempts.attempt(entry.row, partial(self._started, entry.run, beside))
        if apart is None:
            return None
        audited = partial(self._audited, entry, apart, judge, beside)
        contender = self.attempts.attempt(entry.row, audited)
        if contender is None:
            apart.end()
        return contender

    def _audited(
        self, entry: Entry, apart: Apart, judge: Judge, beside: list[Contender]
    ) -> Contender:
        case, part = entry.run, entry.part
        layout = apart.ask("build", apart.give(judge.question("before", case)))
        apart.ask("ready", 0)
        seconds, peak, why, compiled = apart.ask("first")
        report = apart.report()
        how = apart.ask("computed")
        row = replace(entry.row, layout=layout, computed=how, contender_threads=report.threads)
        first = WarmupRow(**vars(row), seconds=seconds, steps=case.T, compile_seconds=compiled)
        self.attempts.keep(first)
        if part is not None:
            peak, why = None, f"{part.samples} samples at {part.steps} steps were run, not all"
        if peak is None:
            self.attempts.keep(UnmeasuredRow(**vars(row), figure="memory", reason=shortened(why)))
        else:
            self.attempts.keep(MemoryRow(**vars(row), peak_memory_mib=round(peak, 1)))
        contender = Contender(self.name(entry.case), row, apart, entry)
        # for the judge's replay; and for the turns of who gives memory back and takes it anew
        self._make_room(self.cell, beside)
        if entry.is_equal:
            contender.expected = Expected(*self._audit(contender, judge, "before"))
        return contender

    def _audit(self, contender: Contender, judge: Judge, when: When) -> tuple[Tensor, Tensor]:
        """Holds its last iteration against the reference: the votes it gave, and the labels.

        Raises Failed where it is not the paper's function.
        """
        audited = judge.audit(contender.apart, when, contender.case)
        self.attempts.keep(audited.row(contender.row, when))
        if not audited.finding.passed:
            raise Failed(str(audited.finding.reason), "not comparable")
        return audited.votes, judge.labels(when, contender.case)

    def warm(self, running: list[Contender]) -> None:
        """Has each run a little before a round that comes after a rest.

        Meanwhile others worked: their memory is in the caches, and the system may have let go of
        pages of a program's own code. Who gives memory back runs before each of its turns.
        """
        for each in running:
            if not each.lean:
                self._try(each, partial(_warm, each.apart))

    def ask_another(self, running: list[Contender], judge: Judge) -> None:
        """Writes other weights and another batch into the memory of all."""
        for each in running:
            if each.entry is not None:
                self._try(each, partial(self._ask, each, judge))

    def _ask(self, contender: Contender, judge: Judge) -> bool:
        question = judge.question("after", contender.case)
        contender.apart.ask("load", contender.apart.give(question))
        contender.expected = None  # the audit that follows says what it should have come to
        return True

    def audit_after(self, running: list[Contender], judge: Judge) -> None:
        """Audits the iteration that was timed last. Nobody runs again: each ends when it is done.

        An audit takes a contender's memory and more, and all of them at once may not fit.
        """
        audited = [each for each in running if each.entry is not None and each.entry.is_equal]
        for each in running:
            if each not in audited:
                each.apart.end()
        for each in audited:
            self._try(each, partial(self._audit, each, judge, "after"))
            each.apart.end()
        judge.forget()

    def _try(self, contender: Contender, work: Callable[[], object]) -> None:
        if self.attempts.attempt(contender.row, work) is None:
            contender.fail()


def floor_cases(cell: Case, cases: Iterable[Case]) -> list[Case]:
    """The floor in each precision of the cases, the cell's own first."""
    others: set[Precision] = {case.precision for case in cases}
    precisions: list[Precision] = [cell.precision, *sorted(others - {cell.precision})]
    return [replace(cell, framework=FLOOR, precision=precision) for precision in precisions]


def _warm_floor(apart: Apart, layouts: list[floor.Layout]) -> float:
    """Seconds of the floor's first iteration at full size."""
    apart.ask("build", *layouts)
    apart.ask("ready", 0)
    seconds = apart.seconds()
    apart.report()
    return seconds


def _warm(apart: Apart) -> bool:
    """Iterations that are not timed, one at least."""
    spent = 0.0
    while spent < WARM_SECONDS:
        apart.ask("ready", 0)
        spent += max(apart.seconds(), LEAST_SECONDS)
        apart.report()
    return True
