"""Which cell has its next round when.

A machine's speed drifts over minutes, and what a framework takes above the floor is memory traffic
that drifts by itself. So a cell is not measured at one go: it stays ready, and its rounds are
spread over the rest of the run, between those of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import adapters
from adapters import facts
from harness import datasets
from harness.records.build import Run
from harness.records.ledger import Ledger
from harness.spec import Access, Budget, Case, cells
from harness.speed.cell import Cell
from harness.system import clock, footprint, processes

FEWEST_ROUNDS, MOST_ROUNDS = 2, 10  # ten as in the paper; two where the budget is spent
# What a cell takes whatever its size (proofs, processes), as work that takes about as long.
OVERHEAD_MACS = 2e10
# Parts of a cell's time where the budget is short; what is left are its rounds.
PREPARATION, MEMORY = 0.25, 0.35


@dataclass(frozen=True)
class Measured:
    """A cell with figures: what its cases share, of no framework.

    Each cell is said when it has its first rounds, and once more at the end, with its memory and
    the rounds that came later.
    """

    cell: Case
    rounds: int
    before: tuple[str, ...] = ()  # keys of its rows, where an earlier run had measured it


def run(
    cases: tuple[Case, ...], ledger: Ledger, access: Access, budget: Budget, at: Run
) -> Iterator[Measured]:
    """Measures all cases, keeps each row as it comes, and says how far it is.

    A case that fails becomes a row with its reason; the others go on. What an earlier run has
    measured is not measured again. Raises UsageError where rows cannot be written, and Busy where
    another process measures the same.
    """
    frameworks = {case.framework.partition(":")[0] for case in cases}
    processes.preload_adapters(facts.preloadable(frameworks & {*adapters.names()}))
    open_cells = [
        Cell(cell, group, at, ledger, _request(cell, access), budget.seconds)
        for cell, group in cells(cases).items()
    ]
    yield from Schedule(budget, open_cells).events()


def _request(cell: Case, access: Access) -> datasets.Request:
    return datasets.Request(
        dataset=cell.dataset,
        T=cell.T,
        batch_size=cell.batch_size,
        seed=cell.seed,
        root=access.root,
        download=cell.dataset in access.download,
    )


def _weight(cell: Case) -> float:
    """A cell's share of the work, in multiply-accumulates of one forward pass."""
    return float(cell.network.macs * cell.T * cell.batch_size) + OVERHEAD_MACS


def _measured(cell: Cell) -> Measured:
    return Measured(cell.case, cell.number, cell.before)


class Schedule:
    """Prepares the cells in order, and spreads each one's rounds over the rest of the run."""

    def __init__(self, budget: Budget, cells_: list[Cell]) -> None:
        self.budget = budget
        self.cells = cells_
        self.deadline = clock.Deadline.after(budget.seconds)
        self.open: list[Cell] = []  # prepared, and may get more rounds
        self.prepared = [0.0] * len(cells_)  # parts of each one's time

    def events(self) -> Iterator[Measured]:
        """What is measured, in order."""
        first = []
        for n, cell in enumerate(self.cells):
            self._make_room(cell)
            for step in cell.prepare():
                self.prepared[n] = PREPARATION * step.fraction
                self._say(cell, step.what)
                self._catch_up()
            self._first_rounds(cell)
            first.append(cell.kept)
            yield _measured(cell)
            for step in cell.memory():
                self.prepared[n] = PREPARATION + MEMORY * step.fraction
                self._say(cell, step.what)
                self._catch_up()
            self.prepared[n] = PREPARATION + MEMORY
        while any(map(self._due, self.open)):  # in turns, while the budget lasts
            self._catch_up()
        for cell in list(self.open):
            self._close(cell)
        for kept, cell in zip(first, self.cells, strict=True):
            if cell.kept > kept:
                yield _measured(cell)

    def _say(self, cell: Cell, what: str) -> None:
        cell.ledger.owner.say(self.fraction, f"{cell.case.dataset} {cell.case.scale}: {what}")

    @property
    def work_done(self) -> float:
        """The part of the work that is done whatever the budget, in [0, 1]."""
        needed = MOST_ROUNDS if self.budget.seconds == inf else FEWEST_ROUNDS
        done, total = 0.0, 0.0
        for n, cell in enumerate(self.cells):
            weight = _weight(cell.case)
            ended = self.prepared[n] == PREPARATION + MEMORY and cell not in self.open
            rounds = 1.0 if ended else min(1.0, cell.number / needed)
            done += weight * (self.prepared[n] + (1 - PREPARATION - MEMORY) * rounds)
            total += weight
        return done / total

    @property
    def fraction(self) -> float:
        """How far the run is: of its work, or of its budget where that is longer."""
        return min(self.work_done, 1.0 if self.budget.seconds == inf else self._budget_spent)

    @property
    def _budget_spent(self) -> float:
        return min(1.0, 1 - self.deadline.left / self.budget.seconds)

    def _first_rounds(self, cell: Cell) -> None:
        """A first figure to show; all that the cell gets where memory for the others is short.

        Where a round takes long the second comes later, when the machine may be in another mood.
        """
        while cell.comparable and cell.number < FEWEST_ROUNDS:
            if cell.number and cell.number * cell.round_seconds >= self.budget.least:
                break
            self._round(cell)
        self.open.append(cell)

    def _make_room(self, cell: Cell) -> None:
        """Ends open cells, the largest first, until the next one fits into memory beside them.

        They get at once the rounds that they get whatever the budget.
        """
        while self.open and footprint.available_mib(cell.device.type) < self._needed_mib(cell):
            largest = max(self.open, key=lambda each: each.held_mib)
            while largest.comparable and self._short_of_least(largest, 1.0):
                self._round(largest)
            self._close(largest)

    def _needed_mib(self, cell: Cell) -> float:
        """What the next cell takes, with a process beside that measures one contender's memory."""
        if cell.device.type != "cpu":
            return 0.0
        reserved = max((each.iteration_mib for each in self.open), default=0.0)
        grows = max(0.0, cell.iteration_mib - reserved)
        beside = cell.weights_mib + cell.iteration_mib
        return cell.held_mib + grows + beside + footprint.spare_mib()

    def _catch_up(self) -> None:
        """A round of each open cell that is behind; those that get no more are closed."""
        for cell in list(self.open):
            if self._due(cell):
                self._round(cell)
            elif self._finished(cell):
                self._close(cell)

    def _round(self, cell: Cell) -> None:
        cell.round()
        self._say(cell, f"round {cell.number}")

    def _close(self, cell: Cell) -> None:
        self.open.remove(cell)
        cell.close()

    def _due(self, cell: Cell) -> bool:
        """Whether the cell's next round should be now."""
        if not cell.comparable or cell.number >= MOST_ROUNDS:
            return False
        if self._short_of_least(cell, self.work_done):
            return True
        if min(self.prepared) < PREPARATION + MEMORY or self.deadline.left < cell.round_seconds:
            return False
        return self.budget.seconds == inf or not cell.known

    def _short_of_least(self, cell: Cell, fraction: float) -> bool:
        """Whether it got less than that fraction of the rounds it gets whatever the budget."""
        if self.budget.seconds == inf:
            return cell.number < MOST_ROUNDS * fraction
        least = max(self.budget.least, FEWEST_ROUNDS * cell.round_seconds)
        return cell.number * cell.round_seconds < least * fraction

    def _finished(self, cell: Cell) -> bool:
        """Whether no round is left for the cell, as far as one can tell now."""
        if not cell.comparable or cell.number >= MOST_ROUNDS:
            return True
        spare = self.fraction < self.work_done  # the work will end before the budget
        return not spare and not self._short_of_least(cell, 1.0)
