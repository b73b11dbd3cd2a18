"""Which cell has its next round when, within the budget and the memory.

A machine's speed drifts over minutes, and what a framework takes above the floor is memory traffic
that drifts by itself. So a cell is not measured at one go: it stays ready as long as memory lasts,
and its rounds are spread between those of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf
from typing import NamedTuple

import adapters
from adapters import facts
from harness.records.ledger import Ledger
from harness.records.run import Run
from harness.spec import Access, Budget, Timed, cells
from harness.speed.cell import Cell
from harness.speed.contender import Host
from harness.speed.judge import descend
from harness.system import clock, memory
from harness.system.child import preload, warm

PAPER_ROUNDS = 10  # where no budget is set
MOST_ROUNDS = 20  # of a cell whose ratios are not known
FIRST_ROUNDS = 2  # that a cell has before the next is prepared: a first figure to show
# In succession, later: before the first of them all contenders run untimed, which takes as long.
VISIT = 2
# What a cell takes whatever its size (proofs, processes), as work that takes about as long.
OVERHEAD_MACS = 2e10
LAST = 1.7  # rounds that the last one of a cell takes with its audit
PREPARATION = 0.4  # of a cell's time; what is left are its rounds


class Measured(NamedTuple):
    """A cell with figures: what its cases share, of no framework.

    Each cell is said when it has its first rounds, and once more when it has all.
    """

    cell: Timed
    rounds: int
    before: tuple[str, ...] = ()  # keys of its rows, where an earlier run had measured it


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
    measured is not measured again. Raises UsageError where rows cannot be written.
    """
    frameworks = {case.framework.partition(":")[0] for case in cases}
    preload(*(f"adapters.{each}" for each in facts.preloadable(frameworks & {*adapters.names()})))
    warm(cases[0].device)  # while the first batch is read
    ready = [
        Cell(cell, group, at, ledger, access, host or Host(), budget.seconds)
        for cell, group in cells(cases).items()
    ]
    try:
        for cell in Schedule(budget, ready).events():
            yield Measured(cell.case, cell.number, cell.before)
    finally:
        for each in ready:
            each.abandon()


class Schedule:
    """Prepares the cells in order, and spreads each one's rounds over the rest of the run."""

    def __init__(self, budget: Budget, cells: list[Cell]) -> None:
        self.budget, self.cells, self.watch = budget, cells, clock.Stopwatch()
        self.open: list[Cell] = []  # prepared, and may get more rounds
        self.prepared: dict[Cell, float] = {}  # parts of each one's preparation, in [0, 1]

    def events(self) -> Iterator[Cell]:
        for cell in self.cells:
            # the largest that are open end until the next one fits into memory beside them
            while self.open and memory.available_mib(cell.case.device) < cell.needed_mib:
                largest = max(self.open, key=lambda each: each.held_mib)
                self._close(largest)
                yield largest
            self._prepare(cell)
            while cell.comparable and cell.number < min(FIRST_ROUNDS, self.budget.rounds - 1):
                self._round(cell)
            yield cell
        for cell in self.cells:
            self._descend(cell)  # once for all: a first figure is there by now
        while any(self._wants(cell) for cell in self.open):
            self._catch_up()
        for cell in list(self.open):
            self._close(cell)
            yield cell

    def _prepare(self, cell: Cell) -> None:
        for fraction, what in cell.prepare():
            self.prepared[cell] = fraction
            self._say(cell, what)
            self._catch_up()
        if cell.comparable:
            self.open.append(cell)
        else:
            cell.abandon()
        self.prepared[cell] = 1.0

    def _descend(self, cell: Cell) -> None:
        """Has those train that were audited in bf16, where they have not yet."""
        for row in cell.mixed:
            descend(row, cell.ledger, cell.host, partial(self._say, cell))

    def _say(self, cell: Cell, what: str) -> None:
        cell.ledger.say(self.fraction, f"{cell.case.dataset} {cell.case.scale}: {what}")

    @property
    def fraction(self) -> float:
        """How far the run is, in [0, 1]."""
        done, total = 0.0, 0.0
        for cell in self.cells:
            # its share of the work, in multiply-accumulates of one forward pass
            weight = cell.case.network.macs * cell.case.T * cell.case.batch_size + OVERHEAD_MACS
            total += weight
            ready = self.prepared.get(cell, 0.0)
            ended = ready == 1.0 and cell not in self.open
            rounds = 1.0 if ended else min(1.0, cell.number / self._fewest)
            done += weight * (PREPARATION * ready + (1 - PREPARATION) * rounds)
        return done / total

    @property
    def _fewest(self) -> int:
        """Rounds that a cell gets whatever the budget, the last and audited one among them."""
        return PAPER_ROUNDS if self.budget.seconds == inf else self.budget.rounds

    def _catch_up(self) -> None:
        """Rounds of each open cell that is to have more."""
        for cell in list(self.open):
            if self._wants(cell):
                lacking = self._fewest - 1 - cell.number
                for _ in range(min(VISIT, lacking) if lacking > 0 else VISIT):
                    self._round(cell)

    def _round(self, cell: Cell) -> None:
        self._say(cell, f"round {cell.number + 1}")
        cell.round()

    def _close(self, cell: Cell) -> None:
        """The rounds that it still gets, the last and audited one among them."""
        while self._is_short(cell) or self._is_unsure(cell):
            self._round(cell)
        self._say(cell, "the last round, and its audit")
        self.open.remove(cell)
        cell.close()
        self._descend(cell)  # what is shown of it now is all

    def _is_short(self, cell: Cell) -> bool:
        """Whether it lacks rounds that it gets whatever the budget, but for the last."""
        return cell.comparable and cell.number < self._fewest - 1

    def _is_unsure(self, cell: Cell) -> bool:
        """Whether its ratios are not known yet, and its share of the budget has room for a round.

        What drifts within seconds is seen in few rounds of a small network as one of them: it gets
        more.
        """
        if not cell.comparable or cell.number >= MOST_ROUNDS - 1 or cell.known:
            return False
        share = (1 - PREPARATION) * self.budget.seconds / len(self.cells)
        return cell.spent_seconds + cell.round_seconds < share

    def _wants(self, cell: Cell) -> bool:
        """Whether the cell should have more rounds before its last, as things stand."""
        if not cell.comparable or cell.number + VISIT > MOST_ROUNDS - 1:
            return False
        if len(self.prepared) < len(self.cells) or min(self.prepared.values()) < 1.0:
            # as far as the whole run is: its rounds are spread over it
            return cell.number + VISIT <= min(self._fewest - 1, self._fewest * self.fraction)
        if self._is_short(cell):
            return True
        last = sum(each.round_seconds for each in self.open) * LAST
        left = self.budget.seconds - self.watch.seconds
        return left > last + VISIT * cell.round_seconds and not cell.known
