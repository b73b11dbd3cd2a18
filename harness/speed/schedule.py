"""Which cell is measured when, within the budget.

Cells come in order of worth. A cell is begun only if it fits into what is left of the budget, by
an estimate that the cells before it have corrected; what was not begun is said with its estimate,
and the same command goes on there. A machine's speed drifts over minutes, so rounds are paired; and
a process may be faster or slower as long as it lives, so half-way all of a cell's are started anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import ceil, inf
from typing import NamedTuple

import adapters
from adapters import facts
from harness.records.ledger import Ledger
from harness.records.run import Run
from harness.spec import Access, Budget, Timed, UsageError, cells, paper
from harness.speed.cell import Cell
from harness.speed.contender import Host
from harness.speed.judge import descend
from harness.speed.plan import Plan
from harness.system import clock
from harness.system.child import preload, warm

PAPER_ROUNDS = 10  # where no budget is set
MOST_ROUNDS = 20  # of a cell whose ratios are not known
RESTARTED = 4  # rounds from which on the processes are started anew half-way: else it is a look
SURE = 1.2  # times its estimate must fit into what is left for a cell to be begun
# What most readers ask first: the table of a short run has these.
WORTH = (
    *(("cifar10", "Small"), ("cifar10", "Middle"), ("nmnist", "Small"), ("dvs-cifar10", "Small")),
)


class Measured(NamedTuple):
    """A cell with figures: what its cases share, of no framework.

    Each cell is said when it has its first round, and once more when it has all.
    """

    cell: Timed
    rounds: int
    before: tuple[str, ...] = ()  # keys of its rows, where an earlier run had measured it
    left_seconds: float = 0.0  # it was not begun: what it takes, about


def run(
    cases: tuple[Timed, ...],
    ledger: Ledger,
    access: Access,
    budget: Budget,
    at: Run,
    host: Host | None = None,
) -> Iterator[Measured]:
    """Measures all cases, keeps each row as it comes, and says how far it is.

    A case that fails becomes a row with its reason; the others go on. What an earlier run has
    measured is not measured again. Raises UsageError where rows cannot be written, and where the
    budget is too small for any cell.
    """
    frameworks = {case.framework.partition(":")[0] for case in cases}
    preload(*(f"adapters.{each}" for each in facts.preloadable(frameworks & {*adapters.names()})))
    warm(cases[0].device)  # while the first batch is read
    ready = [
        Cell(cell, group, at, ledger, access, host or Host(), budget.seconds)
        for cell, group in sorted(cells(cases).items(), key=lambda each: worth(each[0]))
    ]
    try:
        for cell, left in Schedule(budget, ready).events():
            yield Measured(cell.case, cell.number, cell.before, left)
    finally:
        for each in ready:
            each.abandon()


def worth(cell: Timed) -> tuple[object, ...]:
    """Orders cells: those in WORTH as they stand there, then small ones first."""
    place = cell.dataset, cell.scale
    first = WORTH.index(place) if place in WORTH else len(WORTH)
    return first, cell.network.macs * cell.T, paper.paper_order(*place)


class Schedule:
    """Measures the cells one after the other, as many as the budget has room for."""

    def __init__(self, budget: Budget, cells: list[Cell]) -> None:
        self.budget, self.waiting, self.watch = budget, list(cells), clock.Stopwatch()
        self.fewest = PAPER_ROUNDS if budget.seconds == inf else budget.rounds
        self.plan = Plan(self.fewest)
        self.until = 0.0  # when the cell at work will have ended, about; of the watch

    def events(self) -> Iterator[tuple[Cell, float]]:
        """Each cell when it has figures, and in the end those for which there was no time, with
        what each takes, about. Raises UsageError where there is time for none.
        """
        left, any_done = list[Cell](), False
        while self.waiting:
            cell = self.waiting.pop(0)
            self._say(cell, "data")
            if not cell.read():
                self._descend(cell)
                any_done = True
                yield cell, 0.0
                continue
            takes = self.plan.seconds(cell.group)
            first = self.budget.first and not any_done
            if not (first or self._fits(self.watch.seconds, takes)):
                left.append(cell)
                continue
            any_done, self.until = True, self.watch.seconds + takes
            for _ in self._measured(cell):
                yield cell, 0.0
            yield cell, 0.0
        needs = {cell: self.plan.seconds(cell.group) for cell in left}
        if left and not any_done:
            cell = min(left, key=needs.__getitem__)
            raise UsageError(
                f"no cell fits into a budget of {self.budget.seconds:.0f} s: {_named(cell)} alone "
                f"takes about {needs[cell]:.0f} s here (--budget {ceil(needs[cell] / 60)}m)"
            )
        yield from needs.items()

    def _measured(self, cell: Cell) -> Iterator[Cell]:
        """Measures a cell, and says it when it has its first round."""
        for what in cell.prove(self.fewest):
            self._say(cell, what)
        began = self.watch.seconds
        self._start(cell)
        half = ceil(self.fewest / 2) if self.fewest >= RESTARTED else self.fewest
        while cell.comparable and (cell.number < half or self._is_unsure(cell)):
            self._round(cell)
            if cell.number == 1:
                yield cell
        total = self.fewest if cell.number == half else 2 * cell.number
        if cell.comparable and cell.number < total:
            self._start(cell)
        while cell.comparable and cell.number < total:
            if cell.number >= self.fewest and self.watch.seconds > self.budget.seconds:
                break
            self._round(cell)
        if cell.comparable:
            self.plan.correct(cell.group, self.watch.seconds - began, cell.number)
        cell.close()
        self._descend(cell)

    def _descend(self, cell: Cell) -> None:
        """Has those train that were audited in bf16, where they have not yet."""
        for row in cell.mixed:
            descend(row, cell.ledger, cell.host, partial(self._say, cell))

    def _start(self, cell: Cell) -> None:
        for what in cell.start() if cell.contenders else ():
            self._say(cell, what)

    def _round(self, cell: Cell) -> None:
        self._say(cell, f"round {cell.number + 1}")
        cell.round()

    def _is_unsure(self, cell: Cell) -> bool:
        """Whether its ratios are not known yet, and there is time for more rounds than it must
        have, here and after its second start, once all the others have theirs.
        """
        if self.fewest < RESTARTED or 2 * cell.number >= MOST_ROUNDS or cell.known:
            return False
        others = sum(self.plan.seconds(each.group) for each in self.waiting)
        more = 2 * self.plan.round_seconds(cell.group)
        if self.until + more + others > self.budget.seconds:
            return False
        self.until += more
        return True

    def _fits(self, start: float, takes: float) -> bool:
        return start + SURE * takes <= self.budget.seconds

    def _say(self, cell: Cell, what: str) -> None:
        """Says how far the run is: as its own time so far, of what it will have taken."""
        now = self.watch.seconds
        end = max(now, self.until)
        for each in self.waiting:
            takes = self.plan.seconds(each.group)
            end += takes if self._fits(end, takes) else 0.0
        cell.ledger.say(now / max(end, 1e-9), f"{_named(cell)}: {what}")


def _named(cell: Cell) -> str:
    return f"{cell.case.dataset} {cell.case.scale}"
