"""Which cell is measured when, within the budget, and how long each will take.

Cells come in order of worth. A cell is begun only if it fits into what is left of the budget, by
an estimate that the cells before it have corrected; the others are reported with their estimate,
and the same command goes on there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import ceil

from harness.machine import clock, kept
from harness.records import Bf16TrainingResult, Run, TimedResult, of_kind
from harness.records.identity import EXAM
from harness.records.run import CaseRows
from harness.records.store import Ledger
from harness.spec import Access, Budget, Timing, UsageError, cells, network_name, paper
from harness.spec.options import SURE
from harness.speed.cell import CLOSELY, WITHIN, Cell
from harness.speed.estimates import RANKED, TRAINING_IN_BF16_SECONDS, Estimates, Group
from harness.speed.judge import check_bf16_training

MOST_ROUNDS = 20  # of a cell whose ratios are not known
# A process is a little faster or slower as long as it lives: what starts differ by is most of what
# is not known of a ratio. More of them where two versions of a framework are compared.
STARTS, STARTS_OF_VERSIONS = 5, 10
RESTARTED = 4  # rounds from which on the processes are started anew half-way: else it is a look
AGAIN = 0.6  # of its first half a cell's second takes: nothing is compiled, chosen or metered
NEAR_THE_END = 0.99  # the most that is shown while anything runs: estimates are rough
# What most readers ask first: the table of a short run has these.
WORTH = ("cifar10", "Small"), ("cifar10", "Middle"), ("nmnist", "Small"), ("dvs-cifar10", "Small")


def worth(cell: Timing) -> tuple[object, ...]:
    """Return a cell's sort key: those in WORTH come in its order, then small ones first.

    No two have the same: two runs that wait for each other's locks would else wait for ever.
    """
    workload = cell.workload
    place = workload.dataset, workload.scale
    first = WORTH.index(place) if place in WORTH else len(WORTH)
    return first, workload.network.macs * workload.T, paper.paper_order(*place), repr(cell)


class Schedule:
    """The cells to time, in order: those not timed before, as many as fit into the budget."""

    def __init__(
        self, cases: Group, ledger: Ledger, access: Access, budget: Budget, run: Run
    ) -> None:
        self.waiting = [
            Cell(case, group, run, ledger, access, budget, partial(self._say, case))
            for case, group in sorted(cells(cases).items(), key=lambda pair: worth(pair[0]))
        ]
        if access.fresh:
            kept.forget_all()
        self.ledger, self.budget, self.watch = ledger, budget, clock.Stopwatch()
        self.bf16_trainings = ledger.of_kind(Bf16TrainingResult)
        ended = (r for r in self.bf16_trainings if r.result.finished and r.result.exam == EXAM)
        self.estimates = Estimates(budget.rounds, (row.contender.name for row in ended))
        self.until = 0.0  # when the cell at work will have ended, about; of the watch

    def results(self) -> Iterator[CaseRows]:
        """Yield each cell when it has its first round, and once more when it has all.

        Cells without time come last, with an estimate of their seconds. Each row is kept as it
        comes; a case that fails becomes a row with its reason. Raises UsageError where rows cannot
        be written, and where there is time for no cell.
        """
        postponed, any_done = dict[Timing, Group](), False
        while self.waiting:
            cell = self.waiting.pop(0)
            takes = self.estimates.seconds(cell.group)
            self.until = self.watch.seconds + takes
            try:
                if cell.read():
                    first = self.budget.first and not any_done
                    if not (first or self.budget.fits(takes, self.watch.seconds)):
                        postponed[cell.case] = cell.group
                        continue
                    self.until = self.watch.seconds + takes
                    yield from self._measured(cell)
                any_done = True
                result = self._result(cell)
                yield result
                self._train(cell, result)
            finally:
                cell.end_processes()
        needs = {case: self.estimates.seconds(group) for case, group in postponed.items()}
        if postponed and not any_done:
            case = min(postponed, key=needs.__getitem__)
            least = self.watch.seconds + SURE * needs[case]
            raise UsageError(
                f"no cell fits into a budget of {self.budget.seconds:g} s: {_named(case)} alone "
                f"takes about {needs[case]:.0f} s here, and is begun where {SURE:g} times that is "
                f"left: --budget {ceil(least / 60)}m"
            )
        yield from (CaseRows(case, (), left_seconds=takes) for case, takes in needs.items())

    def _measured(self, cell: Cell) -> Iterator[CaseRows]:
        """Time a cell in two starts; yield it after its first round and at its end."""
        cell.prove()
        began = self.watch.seconds
        cell.start()
        rounds, may_stop_early = self.budget.rounds, self.budget.may_stop_early
        half = ceil(rounds / 2) if rounds >= RESTARTED else rounds
        while cell.is_comparable and (cell.number < half or self._wants_more_rounds(cell, began)):
            cell.round()
            if cell.number == 1:
                yield replace(self._result(cell), more=True)
            if may_stop_early and self._is_over(cell):
                break
        total = rounds if cell.number <= half else 2 * cell.number
        second_half = AGAIN * (self.watch.seconds - began)
        ends_here = may_stop_early and self._is_over(cell, second_half)
        if cell.is_comparable and cell.number < total and not ends_here:
            self.until = self._ends(cell, began)
            cell.start()
            while cell.is_comparable and cell.number < total:
                cell.round()
                if self._is_over(cell):
                    break
        if cell.is_comparable:
            self.estimates.correct(cell.group, self.watch.seconds - began, cell.number)
        while cell.is_comparable and not may_stop_early and self._needs_a_start(cell, began):
            cell.start()
            for _ in range(half):
                if cell.is_comparable:
                    cell.round()
        cell.close()

    def _is_over(self, cell: Cell, takes: float = 0.0) -> bool:
        """Return whether a cell has its fewest rounds and no time for more, which takes so long."""
        enough = cell.number >= self.budget.fewest
        return enough and self.watch.seconds + takes > self.budget.seconds

    def _train(self, cell: Cell, result: CaseRows) -> None:
        """Run the training check of contenders that have a rank in bf16, if there is time."""
        ranked = {
            row.key
            for row in of_kind(result.rows, TimedResult)
            if row.result.rounds >= RANKED and not row.installation.deviations
        }
        for maker in map(cell.maker_of, cell.group):
            seconds, contender = self.watch.seconds, maker.case.contender
            counts = contender.precision == "bf16" and maker.key in ranked
            if counts and self.budget.fits(TRAINING_IN_BF16_SECONDS, seconds):
                self.until = seconds + TRAINING_IN_BF16_SECONDS
                self.bf16_trainings += check_bf16_training(
                    maker, self.bf16_trainings, self.ledger, cell.say, self._has_time
                )
                self.estimates.trained.add(contender.name)

    def _has_time(self) -> bool:
        return self.watch.seconds < self.budget.seconds

    def _result(self, cell: Cell) -> CaseRows:
        """Return a finished cell's rows, and the bf16 trainings that they rest on."""
        rows, trainings = tuple(cell.rows), tuple(self.bf16_trainings)
        return CaseRows(
            cell.case, rows, cell.number, was_done=cell.was_done, bf16_trainings=trainings
        )

    def _wants_more_rounds(self, cell: Cell, began: float) -> bool:
        """Return whether a ratio of the cell is not known yet, and there is time for more rounds.

        The time has to last for rounds now and after its second start, once the others had theirs.
        """
        few = self.budget.may_stop_early or self.budget.rounds < RESTARTED
        if few or cell.versions or 2 * cell.number >= MOST_ROUNDS or cell.is_known():
            return False
        rounds = 2 * self.estimates.round_seconds(cell.group)
        return self._may_last(self._ends(cell, began) + rounds)

    def _needs_a_start(self, cell: Cell, began: float) -> bool:
        """Return whether a ratio of the cell needs a further start of processes, and has time."""
        most, within = (STARTS_OF_VERSIONS, WITHIN) if cell.versions else (STARTS, CLOSELY)
        few = self.budget.rounds < RESTARTED
        if few or len(cell.starts) >= most or cell.is_known(within):
            return False
        seconds = self.watch.seconds
        return self._may_last(seconds + (seconds - began) / len(cell.starts))

    def _may_last(self, until: float) -> bool:
        """Return whether the others fit in after the present cell, if it ends then; it does so."""
        others = sum(self.estimates.seconds(other.group) for other in self.waiting)
        if until + others > self.budget.seconds:
            return False
        self.until = until
        return True

    def _ends(self, cell: Cell, began: float) -> float:
        """Return when the present cell will have ended: its second half compiles nothing."""
        compiled = self.estimates.compile_seconds(cell.group)
        return max(self.until, 2 * self.watch.seconds - began - compiled)

    def _say(self, case: Timing, what: str) -> None:
        """Say how far the run is: its time so far, of what it will have taken."""
        seconds = self.watch.seconds
        end = max(seconds, self.until)
        for cell in self.waiting:
            takes = self.estimates.seconds(cell.group)
            end += takes if self.budget.fits(takes, end) else 0.0
        fraction = min(seconds / max(end, 1e-9), NEAR_THE_END)
        self.ledger.say(fraction, f"{_named(case)}: {what}")


def _named(case: Timing) -> str:
    return f"{case.workload.dataset} {network_name(case.workload)}"
