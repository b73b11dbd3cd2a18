"""Cases and adapters in, records out: which cell has its next round when.

A machine's speed drifts over minutes, and what a framework takes above the floor is memory traffic
that drifts by itself. So a cell is not measured at one go: it stays ready, and its rounds are
spread over the rest of the run, between those of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import torch

from harness import datasets
from harness.records import Record, build
from harness.records.ledger import Ledger
from harness.spec import Allocator, Case
from harness.speed.cell import Bench
from harness.speed.journal import Journal
from harness.system import allocator, clock, footprint, machine, processes
from harness.system.facts import Machine

FEWEST_ROUNDS, MOST_ROUNDS = 2, 10  # ten as in the paper; two where the budget is spent
# What a cell takes whatever its size (proofs, processes), as work that takes about as long.
OVERHEAD_MACS = 2e10
# Parts of a cell's time where the budget is short; what is left are its rounds.
PREPARATION, MEMORY = 0.25, 0.35


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run may spend, and where its data is."""

    budget: float  # seconds, for all cells together; infinite: MOST_ROUNDS everywhere
    data_root: Path
    least: float = 0.0  # seconds of rounds that each cell gets even so
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    allocator: Allocator = "keep"
    fresh: bool = False  # measure anew what is done


@dataclass(frozen=True)
class Progress:
    """How far the run is, in [0, 1], and what is being done in which cell."""

    fraction: float
    cell: Case
    doing: str


@dataclass(frozen=True)
class Measured:
    """A cell with figures: what its cases share (of no framework), and all its rows so far.

    Each cell is said when it has its first rounds, and once more at the end, with its memory and
    the rounds that came later.
    """

    cell: Case
    rows: tuple[Record, ...]
    rounds: int
    before: bool = False  # an earlier run had measured it


Event = Progress | Measured


def cells(cases: tuple[Case, ...]) -> dict[Case, tuple[Case, ...]]:
    """Cases that are timed together, by what they share; of precisions that of the first."""
    grouped: dict[Case, list[Case]] = {}
    for case in cases:
        grouped.setdefault(replace(case, framework="", precision="fp32"), []).append(case)
    return {
        replace(cell, precision=group[0].precision): tuple(group) for cell, group in grouped.items()
    }


def suited(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Without the cases in bf16 whose device has no instructions for it.

    There bf16 takes many times what float32 does, and most of a run's budget with it: it is
    measured where it is asked for.
    """
    return tuple(
        case
        for case in cases
        if case.precision != "bf16" or machine.has_bf16(torch.device(case.device))
    )


def run(cases: tuple[Case, ...], ledger: Ledger, plan: Plan, run_id: str) -> Iterator[Event]:
    """Measures all cases, keeps each row as it comes, and says how far it is.

    A case that fails becomes a row with its reason; the others go on. What an earlier run has
    measured is not measured again. Raises UsageError where rows cannot be written, and Busy where
    another process measures the same.
    """
    kept = allocator.choose(plan.allocator)
    processes.preload_adapters({case.framework.partition(":")[0] for case in cases})
    machines = {device: here(device) for device in {case.device for case in cases}}
    benches = [
        Bench(
            build.of_cell(cell, run_id, machines[cell.device], kept),
            Journal(ledger),
            _request(cell, plan),
            cell,
            group,
            plan.budget,
        )
        for cell, group in cells(cases).items()
    ]
    yield from Schedule(plan, benches).events()


def here(device: str) -> Machine:
    """The machine as rows keep it."""
    return machine.describe(torch.device(device))


def _request(cell: Case, plan: Plan) -> datasets.Request:
    return datasets.Request(
        dataset=cell.dataset,
        T=cell.T,
        batch_size=cell.batch_size,
        seed=cell.seed,
        root=plan.data_root,
        download=cell.dataset in plan.download,
    )


def _weight(cell: Case) -> float:
    """A cell's share of the work, in multiply-accumulates of one forward pass."""
    return float(cell.network.macs * cell.T * cell.batch_size) + OVERHEAD_MACS


def _measured(bench: Bench) -> Measured:
    return Measured(bench.cell, tuple(bench.kept), bench.number, bench.before)


class Schedule:
    """Prepares the cells in order, and spreads each one's rounds over the rest of the run."""

    def __init__(self, plan: Plan, benches: list[Bench]) -> None:
        self.plan = plan
        self.benches = benches
        self.deadline = clock.Deadline.after(plan.budget)
        self.open: list[Bench] = []  # prepared, and may get more rounds
        self.prepared = [0.0] * len(benches)  # parts of each one's time

    def events(self) -> Iterator[Event]:
        """What happens, in order."""
        first = []
        for n, bench in enumerate(self.benches):
            yield from self._make_room(bench)
            for step in bench.prepare():
                self.prepared[n] = PREPARATION * step.fraction
                yield Progress(self.fraction, bench.cell, step.doing)
                yield from self._catch_up()
            yield from self._first_rounds(bench)
            first.append(len(bench.kept))
            yield _measured(bench)
            for step in bench.memory():
                self.prepared[n] = PREPARATION + MEMORY * step.fraction
                yield Progress(self.fraction, bench.cell, step.doing)
                yield from self._catch_up()
            self.prepared[n] = PREPARATION + MEMORY
        while any(map(self._due, self.open)):  # in turns, while the budget lasts
            yield from self._catch_up()
        for bench in list(self.open):
            self._close(bench)
        for said, bench in zip(first, self.benches, strict=True):
            if len(bench.kept) > said:
                yield _measured(bench)

    @property
    def work_done(self) -> float:
        """The part of the work that is done whatever the budget, in [0, 1]."""
        needed = MOST_ROUNDS if self.plan.budget == inf else FEWEST_ROUNDS
        done, total = 0.0, 0.0
        for n, bench in enumerate(self.benches):
            weight = _weight(bench.cell)
            ended = self.prepared[n] == PREPARATION + MEMORY and bench not in self.open
            rounds = 1.0 if ended else min(1.0, bench.number / needed)
            done += weight * (self.prepared[n] + (1 - PREPARATION - MEMORY) * rounds)
            total += weight
        return done / total

    @property
    def fraction(self) -> float:
        """How far the run is: of its work, or of its budget where that is longer."""
        return min(self.work_done, 1.0 if self.plan.budget == inf else self._budget_spent)

    @property
    def _budget_spent(self) -> float:
        return min(1.0, 1 - self.deadline.left / self.plan.budget)

    def _first_rounds(self, bench: Bench) -> Iterator[Progress]:
        """A first figure to show; all that the cell gets where memory for the others is short.

        Where a round takes long the second comes later, when the machine may be in another mood.
        """
        while bench.comparable and bench.number < FEWEST_ROUNDS:
            if bench.number and bench.number * bench.round_seconds >= self.plan.least:
                break
            yield self._round(bench)
        self.open.append(bench)

    def _make_room(self, bench: Bench) -> Iterator[Progress]:
        """Ends open cells, the largest first, until the next one fits into memory beside them.

        They get at once the rounds that they get whatever the budget.
        """
        while self.open and footprint.available_mib(bench.device.type) < self._needed_mib(bench):
            largest = max(self.open, key=lambda each: each.held_mib)
            while largest.comparable and self._short_of_least(largest, 1.0):
                yield self._round(largest)
            self._close(largest)

    def _needed_mib(self, bench: Bench) -> float:
        """What the next cell takes, with a process beside that measures one contender's memory."""
        if bench.device.type != "cpu":
            return 0.0
        reserved = max((each.iteration_mib for each in self.open), default=0.0)
        grows = max(0.0, bench.iteration_mib - reserved)
        beside = bench.weights_mib + bench.iteration_mib
        return bench.held_mib + grows + beside + footprint.spare_mib()

    def _catch_up(self) -> Iterator[Progress]:
        """A round of each open cell that is behind; those that get no more are closed."""
        for bench in list(self.open):
            if self._due(bench):
                yield self._round(bench)
            elif self._finished(bench):
                self._close(bench)

    def _round(self, bench: Bench) -> Progress:
        bench.round()
        return Progress(self.fraction, bench.cell, f"round {bench.number}")

    def _close(self, bench: Bench) -> None:
        self.open.remove(bench)
        bench.close()

    def _due(self, bench: Bench) -> bool:
        """Whether the cell's next round should be now."""
        if not bench.comparable or bench.number >= MOST_ROUNDS:
            return False
        if self._short_of_least(bench, self.work_done):
            return True
        if min(self.prepared) < PREPARATION + MEMORY or self.deadline.left < bench.round_seconds:
            return False
        return self.plan.budget == inf or not bench.known

    def _short_of_least(self, bench: Bench, fraction: float) -> bool:
        """Whether it got less than that fraction of the rounds it gets whatever the budget."""
        if self.plan.budget == inf:
            return bench.number < MOST_ROUNDS * fraction
        least = max(self.plan.least, FEWEST_ROUNDS * bench.round_seconds)
        return bench.number * bench.round_seconds < least * fraction

    def _finished(self, bench: Bench) -> bool:
        """Whether no round is left for the cell, as far as one can tell now."""
        if not bench.comparable or bench.number >= MOST_ROUNDS:
            return True
        spare = self.fraction < self.work_done  # the work will end before the budget
        return not spare and not self._short_of_least(bench, 1.0)
