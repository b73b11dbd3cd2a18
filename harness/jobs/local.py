"""Cases one after the other on this machine, in a process that may die without harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from harness.analysis.speed import Cell, cell_of
from harness.jobs import Trained, worker
from harness.jobs.worker import Died, Worker
from harness.records import Record, Store, build
from harness.records.ledger import Busy, Ledger, Say, StoreLedger
from harness.records.manifest import Manifest
from harness.spec import Case, UsageError
from harness.speed import schedule
from harness.speed.schedule import Measured, Progress
from harness.system import allocator, clock
from harness.training import trial


@dataclass(frozen=True)
class Local:
    """This machine."""

    silence: float = worker.SILENCE  # seconds without a word after which a case hangs

    def train(
        self, cases: tuple[Case, ...], store: Store, plan: trial.Plan, say: Say
    ) -> Iterator[Trained]:
        manifest = Manifest.now(cases[0].device, build.now())
        ledger = StoreLedger(store, say, plan.fresh, manifest=manifest)
        yield from Trainings(cases, plan, ledger, self.silence).run()

    def measure(
        self, cases: tuple[Case, ...], store: Store, plan: schedule.Plan, say: Say
    ) -> Iterator[Measured]:
        manifest = Manifest.now(cases[0].device, build.now())
        ledger = StoreLedger(store, say, plan.fresh, patient=True, manifest=manifest)
        yield from Timings(cases, plan, ledger, self.silence).run()


@dataclass(frozen=True)
class Train:
    """What the process does that trains: the cases that are ordered, by number."""

    cases: tuple[Case, ...]
    plan: trial.Plan
    run_id: str
    # on every machine as many: how sums are parted over threads decides how they are rounded
    threads: int = field(default_factory=torch.get_num_threads)

    def __call__(self, ledger: Ledger, orders: Iterator[list[Any]]) -> Iterator[list[Any]]:
        torch.set_num_threads(self.threads)
        at_work = trial.Trials(self.plan, self.run_id, allocator.choose("keep"))
        for (number,) in orders:
            try:
                at_work.trial(self.cases[number], ledger)
                yield ["ended"]
            except Busy as who:
                yield ["busy", str(who)]


@dataclass(frozen=True)
class Measure:
    """What the process does that times: all cases, in the order that the runner chooses."""

    cases: tuple[Case, ...]
    plan: schedule.Plan
    run_id: str

    def __call__(self, ledger: Ledger, orders: Iterator[list[Any]]) -> Iterator[list[Any]]:
        numbers = {cell: n for n, cell in enumerate(schedule.cells(self.cases))}
        for event in schedule.run(self.cases, ledger, self.plan, self.run_id):
            match event:
                case Progress(fraction, cell, doing):
                    ledger.say(fraction, f"{cell.dataset} {cell.scale}: {doing}")
                case Measured(cell, _, rounds, before):
                    yield ["measured", numbers[cell], rounds, before]
        yield ["ended"]


def outcome(message: list[Any]) -> str:
    """What a process's message is about. Raises UsageError where that is what it tells."""
    if message[0] == "usage":
        raise UsageError(message[1])
    return message[0]


@dataclass(eq=False)
class Trainings:
    """Trainings of one command: their process, and how far they are."""

    cases: tuple[Case, ...]
    plan: trial.Plan
    ledger: StoreLedger
    silence: float
    run_id: str = field(default_factory=build.new_run)
    worker: Worker | None = None
    before: float = 0.0  # of the work, in [0, 1]

    def run(self) -> Iterator[Trained]:
        """All cases; those that another process is at come last, once it has ended them."""
        self.ledger.start(self.run_id)
        told = self.ledger.said
        busy = []
        try:
            for number, case in enumerate(self.cases):
                ended = self._one(number, case, told)
                if ended is None:
                    busy.append((number, case))
                else:
                    yield ended
            self.ledger.patient = True
            for number, case in busy:
                told(self.before, f"{case.dataset} {case.scale}: another process is at it; waiting")
                ended = self._one(number, case, told)
                assert ended is not None
                yield ended
        finally:
            self._end()

    def _one(self, number: int, case: Case, told: Say) -> Trained | None:
        """One case to its end; None where another process is at it."""
        share = trial.weight(case) / sum(map(trial.weight, self.cases))
        ledger = self.ledger
        ledger.said = lambda fraction, doing: told(self.before + share * fraction, doing)
        ledger.kept, ledger.found = [], []
        try:
            if self._said(number, case) == "busy":
                return None
        except Died as reason:
            self._end()
            assert ledger.attempted is not None
            ledger.keep(worker.failed(ledger.attempted, str(reason)))
        finally:
            ledger.release()
        self.before += share
        if ledger.kept:
            return Trained(case, tuple(ledger.kept))
        own = [row for row in ledger.found if row.suite == case.suite]
        return Trained(case, tuple(own), before=True)

    def _said(self, number: int, case: Case) -> str:
        if self.worker is None:
            work = Train(self.cases, self.plan, self.run_id)
            self.worker = Worker.start(work, case.device)
        self.worker.order(number)
        for message in self.worker.messages(self.ledger, self.silence):
            return outcome(message)
        raise AssertionError("a process that says nothing more has died")

    def _end(self) -> None:
        if self.worker is not None:
            self.worker.end()
            self.worker = None


@dataclass(eq=False)
class Timings:
    """Timings of one command. Where a contender takes the process with it, all cells that are not
    done are measured anew without it.
    """

    cases: tuple[Case, ...]
    plan: schedule.Plan
    ledger: StoreLedger
    silence: float
    lost: list[Record] = field(default_factory=list)  # rows of who died

    def run(self) -> Iterator[Measured]:
        """All cells, each as soon as it has figures, and again at the end."""
        deadline = clock.Deadline.after(self.plan.budget)
        cases = self.cases
        while cases:
            run_id = build.new_run()
            self.ledger.start(run_id)
            # a table shows the rows of a cell's last run, so that is where those of the dead belong
            self.lost = [replace(row, run=run_id) for row in self.lost]
            plan = self.plan
            if self.lost:  # the time is what the first process has left of it
                plan = replace(plan, budget=max(deadline.left, plan.budget / 10))
            try:
                yield from self._process(cases, plan, run_id)
                break
            except Died as reason:
                left = self._without_the_dead(cases, str(reason))
                yield from self._ended(cases, left)
                cases = left
            finally:
                self.ledger.release()
        self.ledger.keep(*self.lost)

    def _process(
        self, cases: tuple[Case, ...], plan: schedule.Plan, run_id: str
    ) -> Iterator[Measured]:
        cells = list(schedule.cells(cases))
        worker = Worker.start(Measure(cases, plan, run_id), cells[0].device)
        try:
            for message in worker.messages(self.ledger, self.silence):
                if outcome(message) == "ended":
                    return
                yield self._measured(cells, message, run_id)
        finally:
            worker.end()

    def _measured(self, cells: list[Case], message: list[Any], run_id: str) -> Measured:
        """What a process says that it has measured, with its rows."""
        _, number, rounds, before = message
        there = self.ledger.found if before else self.ledger.kept
        own = there if before else [r for r in (*there, *self.lost) if r.run == run_id]
        own = [row for row in own if _is_of(row, cells[number])]
        return Measured(cells[number], tuple(own), rounds, before)

    def _without_the_dead(self, cases: tuple[Case, ...], reason: str) -> tuple[Case, ...]:
        """The cases that are left; those that died become rows."""
        last = self.ledger.attempted
        cell = [case for case in cases if last is None or _is_of(last, case)]
        own = [case for case in cell if last is not None and _name(last) == _name_of(case)]
        dead = own or cell  # it died in what all of its cell share: the data, the floor
        for case in dead:
            row = last if last is not None else self._row(case)
            self.lost.append(worker.failed(build.of_case(row, case), reason))
        return tuple(case for case in cases if case not in dead)

    def _row(self, case: Case) -> Record:
        here = schedule.here(case.device)
        return build.of_cell(case, self.ledger.runs[-1], here, self.plan.allocator)

    def _ended(self, cases: tuple[Case, ...], left: tuple[Case, ...]) -> Iterator[Measured]:
        """The cells that have no contender left."""
        for cell in schedule.cells(cases).keys() - schedule.cells(left).keys():
            own = tuple(row for row in self.lost if _is_of(row, cell))
            yield Measured(cell, own, 0)


def _is_of(row: Record, case: Case) -> bool:
    """Whether a row is of the cell that a case is in."""
    return cell_of(row) == Cell(
        case.dataset,
        case.scale,
        str(case.network),
        case.network.neunorm.reading if case.network.neunorm else "",
        str(case.width),
        case.mode,
        case.device,
        case.T,
        case.batch_size,
        case.seed,
    )


def _name(row: Record) -> tuple[str, str]:
    return row.framework + (f":{row.variant}" if row.variant else ""), row.precision


def _name_of(case: Case) -> tuple[str, str]:
    return case.framework, case.precision
