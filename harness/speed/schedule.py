"""Which cell is measured when, within the budget, and how long each will take.

Cells come in order of worth. A cell is begun only if it fits into what is left of the budget, by
an estimate that the cells before it have corrected; the others are reported with their estimate,
and the same command goes on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from math import ceil

import torch

from adapters import facts
from harness.records import Bf16TrainingResult, Run, TimedResult, of_kind
from harness.records.identity import EXAM
from harness.records.run import CaseRows
from harness.records.store import Ledger
from harness.spec import Access, Budget, Case, Timing, UsageError, cells, network_name, paper
from harness.spec.options import SURE
from harness.speed.cell import Cell
from harness.speed.judge import check_bf16_training
from harness.system import clock, machine

MOST_ROUNDS = 20  # of a cell whose ratios are not known
MOST_STARTS = 10  # of a cell with two versions of a framework: starts move their ratio most
RESTARTED = 4  # rounds from which on the processes are started anew half-way: else it is a look
AGAIN = 0.6  # of its first half a cell's second takes: nothing is compiled, chosen or metered
RANKED = Budget.rounds  # from which on a figure may have a rank
NEAR_THE_END = 0.99  # the most that is shown while anything runs: estimates are rough
# What most readers ask first: the table of a short run has these.
WORTH = ("cifar10", "Small"), ("cifar10", "Middle"), ("nmnist", "Small"), ("dvs-cifar10", "Small")
Group = tuple[Timing, ...]  # the cases of a cell


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
            for case, group in sorted(cells(cases).items(), key=lambda each: worth(each[0]))
        ]
        self.ledger, self.budget, self.watch = ledger, budget, clock.Stopwatch()
        self.bf16_trainings = ledger.of_kind(Bf16TrainingResult)
        known = [r for r in self.bf16_trainings if r.result.finished and r.result.exam == EXAM]
        self.plan = Plan(budget.rounds, (row.contender.name for row in known))
        self.until = 0.0  # when the cell at work will have ended, about; of the watch

    def results(self) -> Iterator[CaseRows]:
        """Yield each cell when it has its first round, and once more when it has all.

        Cells without time come last, with an estimate of their seconds. Each row is kept as it
        comes; a case that fails becomes a row with its reason. Raises UsageError where rows cannot
        be written, and where there is time for no cell.
        """
        left, any_done = dict[Timing, Group](), False
        while self.waiting:
            cell = self.waiting.pop(0)
            takes = self.plan.seconds(cell.group)
            self.until = self.watch.seconds + takes
            try:
                if cell.read():
                    first = self.budget.first and not any_done
                    if not (first or self.budget.fits(takes, self.watch.seconds)):
                        left[cell.case] = cell.group
                        continue
                    self.until = self.watch.seconds + takes
                    yield from self._measured(cell)
                any_done = True
                result = self._result(cell)
                yield result
                self._train(cell, result)
            finally:
                cell.end_processes()
        needs = {case: self.plan.seconds(group) for case, group in left.items()}
        if left and not any_done:
            case = min(left, key=needs.__getitem__)
            least = self.watch.seconds + SURE * needs[case]
            raise UsageError(
                f"no cell fits into a budget of {self.budget.seconds:g} s: {_named(case)} alone "
                f"takes about {needs[case]:.0f} s here, and is begun where {SURE:g} times that is "
                f"left: --budget {ceil(least / 60)}m"
            )
        yield from (CaseRows(case, (), left_seconds=takes) for case, takes in needs.items())

    def _measured(self, cell: Cell) -> Iterator[CaseRows]:
        cell.prove()
        began = self.watch.seconds
        cell.start()
        rounds, may_stop_early = self.budget.rounds, self.budget.may_stop_early
        half = ceil(rounds / 2) if rounds >= RESTARTED else rounds
        while cell.comparable and (cell.number < half or self._is_unsure(cell, began)):
            cell.round()
            if cell.number == 1:
                yield replace(self._result(cell), more=True)
            if may_stop_early and self._is_over(cell):
                break
        total = rounds if cell.number <= half else 2 * cell.number
        again = AGAIN * (self.watch.seconds - began)
        ends_here = may_stop_early and self._is_over(cell, again)
        if cell.comparable and cell.number < total and not ends_here:
            self.until = self._ends(cell, began)
            cell.start()
            while cell.comparable and cell.number < total:
                cell.round()
                if self._is_over(cell):
                    break
        if cell.comparable:
            self.plan.correct(cell.group, self.watch.seconds - began, cell.number)
        while cell.comparable and not may_stop_early and self._needs_a_start(cell, began):
            cell.start()
            for _ in range(half):
                if cell.comparable:
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
            now, contender = self.watch.seconds, maker.case.contender
            wanted = contender.precision == "bf16" and maker.key in ranked
            if wanted and self.budget.fits(TRAINING_IN_BF16_SECONDS, now):
                self.until = now + TRAINING_IN_BF16_SECONDS
                made = check_bf16_training(
                    maker, self.bf16_trainings, self.ledger, cell.say, self._has_time
                )
                self.bf16_trainings += made
                self.plan.trained.add(contender.name)

    def _has_time(self) -> bool:
        return self.watch.seconds < self.budget.seconds

    def _result(self, cell: Cell) -> CaseRows:
        rows, trainings = tuple(cell.rows), tuple(self.bf16_trainings)
        return CaseRows(cell.case, rows, cell.number, before=cell.before, bf16_trainings=trainings)

    def _is_unsure(self, cell: Cell, began: float) -> bool:
        """Return whether its ratios are not known yet, and there is time for more rounds.

        Here and after its second start, once all the others have theirs.
        """
        few = self.budget.may_stop_early or self.budget.rounds < RESTARTED
        if few or cell.versions or 2 * cell.number >= MOST_ROUNDS or cell.known:
            return False
        return self._may_last(self._ends(cell, began) + 2 * self.plan.round_seconds(cell.group))

    def _needs_a_start(self, cell: Cell, began: float) -> bool:
        if not cell.versions or len(cell.starts) >= MOST_STARTS or cell.known:
            return False
        now = self.watch.seconds
        return self._may_last(now + (now - began) / len(cell.starts))

    def _may_last(self, until: float) -> bool:
        """Return whether the others fit in after the present cell, if it ends then; it does so."""
        others = sum(self.plan.seconds(each.group) for each in self.waiting)
        if until + others > self.budget.seconds:
            return False
        self.until = until
        return True

    def _ends(self, cell: Cell, began: float) -> float:
        """Return when the present cell will have ended: its second half compiles nothing."""
        compiled = self.plan.compile_seconds(cell.group)
        return max(self.until, 2 * self.watch.seconds - began - compiled)

    def _say(self, case: Timing, what: str) -> None:
        """Say how far the run is: its time so far, of what it will have taken."""
        now = self.watch.seconds
        end = max(now, self.until)
        for each in self.waiting:
            takes = self.plan.seconds(each.group)
            end += takes if self.budget.fits(takes, end) else 0.0
        fraction = min(now / max(end, 1e-9), NEAR_THE_END)
        self.ledger.say(fraction, f"{_named(case)}: {what}")


def _named(case: Timing) -> str:
    return f"{case.workload.dataset} {network_name(case.workload)}"


# How long it will take, about: first by earlier runs, then as this one went. An iteration as a
# multiple of the float32 floor's, over all frameworks; in bf16 without instructions for it, with
# them, and with a matrix unit, for a contender and for the floor.
OF_FLOOR = 1.7
BF16 = ((1.1, 1.6), (0.5, 0.5), (0.4, 0.2))
LAYOUTS = 12.0  # iterations of the floor in which layouts are chosen
# Iterations of each contender outside its rounds: its first of each start, and before each half.
UNTIMED = 4
AUDITED = 9.0  # in iterations of the floor: three audits of a contender, some of which replay
EXAM_SECONDS = 3.0  # of one contender: two are examined at a time
START_SECONDS = 4.0  # of one contender: its processes start, and small things are done
FOREIGN_SECONDS = 120.0  # of one in a runtime of its own: it is slow, and may be run in part
# Of torch.compile, once: 35 to 310 for three frameworks; twice that in bf16.
COMPILE_SECONDS = 110.0
# Of the small training that bf16 must pass, once a contender: our own engine took 16.
TRAINING_IN_BF16_SECONDS = 20.0
PASSES = 3  # forward, and two gradients
RATE_SECONDS = 0.5  # of tries, of which the fastest counts: memory and clock settle
# The time of a training, divided by that of its dense convolutions in float32: 0.3 to 0.5 on two
# processors for our own engine, which trains where no other is named.
OF_TRAINING, TRAINING_SECONDS = 0.4, 8.0


def training_seconds(cases: tuple[Case, ...]) -> float:
    """Estimate the seconds of training all these cases on this machine, within a factor of two."""
    passes = PASSES * sum(case.forward_macs for case in cases)
    return OF_TRAINING * passes / _rate(cases[0].device) + TRAINING_SECONDS * len(cases)


class Plan:
    """Estimates of how long cells take, corrected by the cells measured so far."""

    def __init__(self, rounds: int, trained: Iterable[str] = ()) -> None:
        self.rounds = rounds
        self.trained = set(trained)  # the contenders that have trained in bf16
        self._spent, self._foreseen = 0.0, 0.0

    def seconds(self, group: Group) -> float:
        """Estimate the seconds of a cell: exams, compiling, rounds, the bf16 check's trainings."""
        timed = self._corrected * self._model(group, self.rounds)
        mixed = {case.contender.name for case in group if case.contender.precision == "bf16"}
        trainings = len(mixed - self.trained) if self.rounds >= RANKED else 0
        untimed = EXAM_SECONDS * len(group) + TRAINING_IN_BF16_SECONDS * trainings
        return untimed + timed + self._without_floor(group)

    def _without_floor(self, group: Group) -> float:  # of compilers, and runtimes of their own
        names = (case.contender.package for case in group)
        foreign = FOREIGN_SECONDS * sum(facts.of(name).foreign for name in names)
        return foreign + self.compile_seconds(group)

    def compile_seconds(self, group: Group) -> float:
        compiled = (case.contender for case in group if case.contender.form == "compiled")
        return sum(COMPILE_SECONDS * (2 if by.precision == "bf16" else 1) for by in compiled)

    def round_seconds(self, group: Group) -> float:
        return self._corrected * self._floor(group) * self._times(group)

    def correct(self, group: Group, spent: float, rounds: int) -> None:
        """Correct later estimates by a cell that took `spent` seconds, without its exams."""
        self._spent += spent
        self._foreseen += self._model(group, rounds) + self._without_floor(group)

    @property
    def _corrected(self) -> float:
        return self._spent / self._foreseen if self._foreseen else 1.0

    def _model(self, group: Group, rounds: int) -> float:
        of_floor = LAYOUTS + (rounds + UNTIMED) * self._times(group) + AUDITED * len(group)
        return START_SECONDS * len(group) + self._floor(group) * of_floor

    def _times(self, group: Group) -> float:  # a round, in iterations of the floor
        bf16 = sum(case.contender.precision == "bf16" for case in group)
        instructions = machine.has_bf16(torch.device(group[0].device)) + machine.has_amx()
        of_bf16, floor_bf16 = BF16[instructions]
        contenders = OF_FLOOR * (len(group) - bf16) + of_bf16 * bf16
        return contenders + 2 + (floor_bf16 if bf16 else 0)

    def _floor(self, group: Group) -> float:  # seconds of its iteration
        case = group[0]
        passes = PASSES if case.mode == "training" else 1
        seconds = passes * case.forward_macs / _rate(case.device)
        return seconds * (2 if case.contender.precision == "fp64" else 1)


@cache
def _rate(device: str) -> float:
    """Multiply-accumulates a second that a convolution gets here, forward and backward."""
    maps, size, images = 128, 16, 40
    convolution = torch.nn.Conv2d(maps, maps, 3, padding=1, device=device)
    x = torch.rand(images, maps, size, size, device=device, requires_grad=True)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        convolution(x).sum().backward()

    once()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < RATE_SECONDS:
        taken.append(clock.seconds(once, torch.device(device)))
    return PASSES * images * size**2 * maps**2 * 9 / min(taken)
