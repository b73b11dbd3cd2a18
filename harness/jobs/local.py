"""Cases one after the other on this machine, in a process that may die without harm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import adapters
from adapters import facts
from harness.jobs import Timed, Trained
from harness.jobs.trials import trial
from harness.jobs.worker import SILENCE, At, Died, Worker
from harness.proof.subject import NOTHING_KNOWN
from harness.records import Record, Row, Store
from harness.records.build import Run, ended, new_run, of_case, stamped
from harness.records.ledger import Busy, Ledger, Owner
from harness.records.manifest import Manifest
from harness.spec import Access, Budget, Case, Say, cells
from harness.speed import schedule
from harness.system import allocator, clock, machine
from harness.system.facts import Machine


@dataclass(frozen=True)
class Local:
    """This machine."""

    silence: float = SILENCE  # seconds without a word after which a case hangs

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Trained]:
        """Trains in a process that may die; see `Executor`."""
        yield from Trainings(Command.of(cases, store, say, self.silence), cases, access).run()

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Timed]:
        """Times in a process that may die; see `Executor`."""
        command = Command.of(cases, store, say, self.silence)
        yield from Timings(command, cases, access, budget).run()


@dataclass(eq=False)
class Command:
    """What all work of one command shares: where its rows go, and who is told how far it is."""

    store: Store
    say: Say
    silence: float
    machine: Machine
    manifest: Manifest
    runs: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, cases: tuple[Case, ...], store: Store, say: Say, silence: float) -> Command:
        """The command that this process was started with."""
        here = machine.describe(torch.device(cases[0].device))
        frameworks = dict.fromkeys(case.framework.partition(":")[0] for case in cases)
        facts.look(name for name in frameworks if name in adapters.names())
        return cls(store, say, silence, here, Manifest.of_command(here, frameworks))

    def start(self) -> str:
        """A run of the command begins: its name."""
        self.runs.append(new_run())
        self.manifest.write(self.store.out, self.runs[-1])
        return self.runs[-1]

    def note(self, rows: Iterable[Row]) -> None:
        """Keeps with the run what data its rows are of."""
        manifest = self.manifest.with_data(rows)
        if manifest != self.manifest:
            self.manifest = manifest
            manifest.write(self.store.out, self.runs[-1])

    def row(self, case: Case) -> Record:
        """What is known of a case whose process has died."""
        return of_case(case, Run(self.runs[-1], self.machine, "system"), NOTHING_KNOWN)


@dataclass(frozen=True)
class Train:
    """What the process does that trains: the cases that are ordered, by number.

    It is ordered no more once it has imported a framework.
    """

    cases: tuple[Case, ...]
    out: Path
    access: Access
    runs: tuple[str, ...]  # of the command; this one's is the last
    # on every machine as many: how sums are parted over threads decides how they are rounded
    threads: int = field(default_factory=torch.get_num_threads)

    def __call__(self, owner: Owner, orders: Iterator[list[Any]]) -> Iterator[list[Any]]:
        torch.set_num_threads(self.threads)
        device = torch.device(self.cases[0].device)
        at = Run(self.runs[-1], machine.describe(device), allocator.choose("keep"))
        for number, patient in orders:
            ledger = Ledger(Store(self.out), owner, self.access.fresh, self.runs, patient)
            try:
                end = trial(self.cases[number], ledger, self.access, at)
                yield ["ended", end.key, end.before]
            except Busy as who:
                yield ["busy", str(who)]
            finally:
                ledger.release()


@dataclass(frozen=True)
class Measure:
    """What the process does that times: all cases, in the order that the schedule chooses."""

    cases: tuple[Case, ...]
    out: Path
    access: Access
    budget: Budget
    runs: tuple[str, ...]
    silence: float

    def __call__(self, owner: Owner, orders: Iterator[list[Any]]) -> Iterator[list[Any]]:
        # as the user set it up, before the allocator's own variable
        here = machine.describe(torch.device(self.cases[0].device))
        at = Run(self.runs[-1], here, allocator.hand_on(self.budget.allocator))
        ledger = Ledger(Store(self.out), owner, self.access.fresh, self.runs, patient=True)
        numbers = {cell: n for n, cell in enumerate(cells(self.cases))}
        contest = schedule.Contest(silence=self.silence)
        for each in schedule.run(self.cases, ledger, self.access, self.budget, at, contest):
            yield ["measured", numbers[each.cell], each.rounds, list(each.before)]
        yield ["ended", None, False]


@dataclass(eq=False)
class Trainings:
    """Trainings of one command, each in a process of its own, and how far they are.

    What a framework sets for its process (threads, the default dtype, deterministic algorithms)
    would decide the next case's weights. A process that found a case done, or another process at
    it, has imported none, and goes on to the next.
    """

    command: Command
    cases: tuple[Case, ...]
    access: Access
    worker: Worker | None = None
    before: float = 0.0  # of the work, in [0, 1]

    def run(self) -> Iterator[Trained]:
        """All cases; those that another process is at come last, once it has ended them."""
        self.command.start()
        busy = []
        try:
            for number, case in enumerate(self.cases):
                trained = self._one(number, case, patient=False)
                if trained is None:
                    busy.append((number, case))
                else:
                    yield trained
            for number, case in busy:
                trained = self._one(number, case, patient=True)
                assert trained is not None
                yield trained
        finally:
            self._end()

    def _one(self, number: int, case: Case, *, patient: bool) -> Trained | None:
        """One case to its end; None where another process is at it."""
        share = case.pace / sum(each.pace for each in self.cases)
        store = self.command.store
        try:
            message = self._ordered(number, case, share, patient=patient)
        except Died as reason:
            self._end()
            dead = stamped(ended(self.command.row(case), "failed", str(reason)))
            store.append(dead)
            message = ["ended", None, False]
        if message[0] == "busy":
            return None
        self.before += share
        _, key, before = message
        if not before:
            self._end()
        if before:
            rows = [row for row in store.of_keys([key]) if row.suite == case.suite]
        else:
            rows = [row for row in store.of_runs(self.command.runs) if Case.of(row) == case]
            self.command.note(rows)
        return Trained(case, tuple(rows), before)

    def _ordered(self, number: int, case: Case, share: float, *, patient: bool) -> list[Any]:
        """What the process says of a case when it is over."""
        command = self.command
        if self.worker is None:
            work = Train(self.cases, command.store.out, self.access, tuple(command.runs))
            self.worker = Worker.start(work, self.cases, case.device)
        self.worker.order(number, patient)

        def say(fraction: float, doing: str) -> None:
            command.say(self.before + share * fraction, doing)

        for message in self.worker.messages(say, command.silence):
            return message
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

    command: Command
    cases: tuple[Case, ...]
    access: Access
    budget: Budget
    lost: dict[Case, str] = field(default_factory=dict)  # who died, and how

    def run(self) -> Iterator[Timed]:
        """All cells, each as soon as it has figures, and again at the end."""
        deadline = clock.Deadline.after(self.budget.seconds)
        cases, budget = self.cases, self.budget
        while cases:
            self.command.start()
            worker = self._started(cases, budget)
            try:
                yield from self._listened(worker, cases)
                break
            except Died as reason:
                left = self._without_the_dead(cases, worker.at, str(reason))
                yield from self._ended(cases, left)
                cases = left
                # the time is what the first process has left of it
                seconds = max(deadline.left, self.budget.seconds / 10)
                budget = replace(self.budget, seconds=seconds)
            finally:
                worker.end()
        self.command.store.append(*self._rows_of_the_lost())

    def _started(self, cases: tuple[Case, ...], budget: Budget) -> Worker:
        command = self.command
        runs = tuple(command.runs)
        work = Measure(cases, command.store.out, self.access, budget, runs, command.silence)
        return Worker.start(work, cases, cases[0].device)

    def _listened(self, worker: Worker, cases: tuple[Case, ...]) -> Iterator[Timed]:
        """The cells that a process measures, as they come."""
        listed = list(cells(cases))
        for message in worker.messages(self.command.say, self.command.silence):
            if message[0] == "ended":
                return
            _, number, rounds, before = message
            yield self._timed(listed[number], rounds, before)

    def _timed(self, cell: Case, rounds: int, before: list[str]) -> Timed:
        store = self.command.store
        descents = tuple(store.descents())
        if before:
            there = tuple(store.of_keys(before))
            return Timed(cell, there, rounds, before=True, descents=descents)
        written = [*store.of_runs(self.command.runs[-1:]), *self._rows_of_the_lost()]
        rows = tuple(row for row in written if Case.of(row).cell == cell.cell)
        self.command.note(rows)
        return Timed(cell, rows, rounds, descents=descents)

    def _rows_of_the_lost(self) -> list[Row]:
        # a table shows the rows of a cell's last run, so that is where those of the dead belong
        return [
            stamped(ended(self.command.row(case), "failed", reason))
            for case, reason in self.lost.items()
        ]

    def _without_the_dead(self, cases: tuple[Case, ...], at: At, reason: str) -> tuple[Case, ...]:
        """The cases that are left; those that died are remembered."""
        if at.case is not None:
            dead: tuple[Case, ...] = (cases[at.case],)
        elif at.cell is not None:  # in what all of the cell share: the data, the floor
            dead = list(cells(cases).values())[at.cell]
        else:
            dead = cases
        self.lost |= dict.fromkeys(dead, reason)
        return tuple(case for case in cases if case not in dead)

    def _ended(self, cases: tuple[Case, ...], left: tuple[Case, ...]) -> Iterator[Timed]:
        """The cells that have no contender left."""
        there = {case.cell for case in left}
        for cell in cells(cases):
            if cell.cell not in there:
                rows = [r for r in self._rows_of_the_lost() if Case.of(r).cell == cell.cell]
                yield Timed(cell, tuple(rows), 0)
