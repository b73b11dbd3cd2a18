"""How suites stand: what is done, failed or missing, and about how long the rest takes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from math import inf, nan
from operator import eq
from statistics import fmean, median
from typing import Literal, get_args

from harness.analysis.frame import grouped
from harness.analysis.trainings import ALIKE, RATE_SEED
from harness.records import (
    EndedResult,
    FittedResult,
    IterationResult,
    OperationsResult,
    Row,
    TimedResult,
    TrainedResult,
    has,
    of_kind,
)
from harness.records.current import cell_of, without_contender
from harness.records.done import is_done
from harness.records.identity import columns_that_train
from harness.spec import (
    Budget,
    Case,
    Count,
    Fit,
    Options,
    Timing,
    Training,
    network_name,
    schedule,
)
from harness.spec.schedule import SETUP_SECONDS

State = Literal["done", "dated", "failed", "left out", "missing"]
TESTING = 1.25  # seconds of a training a second of its training passes, about: the rest is tests
LONGEST_STEP = 900.0  # seconds between two rows of a run; beyond, its clock was set or it stood
# The key that a case would have here and now, on the data of a row; None where its adapter is gone.
KeyNow = Callable[[Case, Row], str | None]


@dataclass(frozen=True)
class Standing:
    """How many cases of a suite on one data set are in each state, and the time left."""

    suite: str
    dataset: str
    done: int
    dated: int  # there are rows of other code, versions or, of timings, another machine
    failed: int
    left_out: int  # the framework is not here, or cannot express the network
    missing: int
    seconds_left: float  # about; nan where nothing tells


@dataclass(frozen=True)
class Plan:
    """Networks and seeds of a suite that were trained on the fixed schedule, as claims want it."""

    dataset: str
    network: str
    rate: float | None  # where it is not the schedule's
    seeds: tuple[int, ...]
    frameworks: tuple[str, ...] = ()  # at such a rate: each side has its own; else the suite's

    def options(self, options: Options) -> Options:
        """Return the options that train these."""
        places = {"networks": (self.network,), "datasets": (self.dataset,)}
        frameworks = self.frameworks or options.frameworks
        return replace(
            options, long=True, rate=self.rate, seeds=self.seeds, frameworks=frameworks, **places
        )

    def __str__(self) -> str:
        rate = "" if self.rate is None else f" --rate {self.rate:g}"
        seeds = ",".join(map(str, self.seeds))
        frameworks = f" --frameworks {','.join(self.frameworks)}" if self.frameworks else ""
        place = f"--datasets {self.dataset} --networks {self.network}"
        return f"--long {place}{frameworks}{rate} --seeds {seeds}"


def plans(suite: str, rows: Iterable[Row]) -> list[Plan]:
    """Return what a suite was to train by its rows; [] where none was on the fixed schedule.

    Seeds that suites ALIKE it have trained count, as on the page, and RATE_SEED does not.
    """
    seeds = defaultdict[tuple[str, str, float | None], set[int]](set)
    frameworks = defaultdict[tuple[str, str, float | None], set[str]](set)
    alike = ALIKE if suite in ALIKE else (suite,)
    for row in of_kind(rows, TrainedResult):
        case, workload = row.training, row.workload
        if workload.weights_sha256 or workload.seed == RATE_SEED or case.suite not in alike:
            continue
        if case.stages == schedule.STAGES[workload.dataset]:
            rate = case.optimiser.lr
            unusual = None if rate == schedule.optimiser(workload.dataset).lr else rate
            place = workload.dataset, network_name(workload), unusual
            seeds[place].add(workload.seed)
            if case.suite == suite:
                frameworks[place].add(case.contender.name)
    return [
        Plan(*place, tuple(sorted(seeds[place])), tuple(sorted(names)) if place[2] else ())
        for place, names in sorted(frameworks.items(), key=lambda item: str(item[0]))
    ]


def condition(case: Case) -> str:
    """Return what tells a training from those of other settings: its columns but the seed."""
    columns = {**columns_that_train(case), "seed": None}
    return json.dumps(columns, sort_keys=True)


def standings(
    cases: Iterable[Case], rows: Sequence[Row], key_now: KeyNow, budget: Budget
) -> list[Standing]:
    """Count cases by state, for each suite and data set; `budget` says when a timing is done."""
    rows_at = grouped(rows, lambda row: _network_of(row.case))
    by_data = grouped(cases, lambda case: (case.suite, case.workload.dataset))
    standings = []
    for (suite, dataset), of_data in by_data.items():
        states = {
            case: state(case, rows_at.get(network, []), key_now, budget, together)
            for network, together in grouped(of_data, _network_of).items()
            for case in together
        }
        open_cases = [case for case in states if states[case] not in ("done", "left out")]
        counts = map([*states.values()].count, get_args(State))
        seconds_left = seconds_of(open_cases, rows)
        standings.append(Standing(suite, dataset, *counts, seconds_left=seconds_left))
    return standings


def state(
    case: Case, rows: Sequence[Row], key_now: KeyNow, budget: Budget, together: Sequence[Case] = ()
) -> State:
    """Return the state of a case, by the rows of its network: done where a run would do nothing.

    `together`: the cases that are timed with it.
    """
    rows = [row for row in rows if _had_samples_of(case, row)]
    of_case = [row for row in rows if (row.suite, row.contender) == (case.suite, case.contender)]
    ends = [row for row in rows if _is_result(row) and row.key and row.key == key_now(case, row)]
    group = together if isinstance(case, Timing) and together else [case]
    if any(is_done(case, {key_now(e, end) for e in group} - {None}, rows, budget) for end in ends):
        return "done"
    last = next((r for r in reversed(of_case) if _is_result(r) or has(r, EndedResult)), None)
    if last and has(last, EndedResult):
        return "failed" if last.result.status in ("failed", "not comparable") else "left out"
    if ends:
        return "missing"  # of too few rounds or steps, or of other runs than the rest of its cell
    # rounds of today's key are of a run that was cut off
    rounds = of_kind(of_case, IterationResult)
    return "dated" if last or any(row.key != key_now(case, row) for row in rounds) else "missing"


def _is_result(row: Row) -> bool:
    """Whether the row is the result of its case; the operations of a trained network are not."""
    counted = isinstance(row.case, Count) and has(row, OperationsResult)
    return counted or isinstance(row.result, TrainedResult | TimedResult | FittedResult)


def _had_samples_of(case: Case, row: Row) -> bool:
    """Whether a training would be given as many samples as the row's was: its key is of these."""
    if not isinstance(row.result, TrainedResult | FittedResult):
        return True
    if not (isinstance(case, Training | Fit) and isinstance(row.case, Training | Fit)):
        return True
    limits, limits_of_row = case.sampling, row.case.sampling
    has_train = _takes_as_many(limits.train, limits_of_row.train, _samples(row))
    return has_train and _takes_as_many(limits.test, limits_of_row.test, row.data.test_samples or 0)


def _samples(row: Row) -> int:
    return (row.data.train_samples or 0) + (row.data.validation_samples or 0)


def _takes_as_many(limit: int | None, other: int | None, samples: int) -> bool:
    """Whether two limits (None: all) are equal, or both above all samples that there are."""
    return limit == other or min(limit or inf, other or inf) > samples


def _network_of(case: Case) -> Hashable:
    """Return the fields that decide a training, except the number of samples; else the cell."""
    if isinstance(case, Training | Fit):
        return json.dumps(columns_that_train(case), sort_keys=True)
    return without_contender(case)


def seconds_of(cases: Sequence[Case], rows: Sequence[Row]) -> float:
    """Estimate the seconds that cases of one suite take, by earlier rows; nan where none tells."""
    if not cases:
        return 0.0
    of_suite = [row for row in rows if row.suite == cases[0].suite]
    match cases[0]:
        case Timing() | Count():
            return _timing_seconds(cases, of_suite)
        case Fit():
            fits = (row.result for row in of_kind(of_suite, FittedResult))
            seconds = [fit.seconds + fit.test_seconds for fit in fits]
            return len(cases) * (SETUP_SECONDS + fmean(seconds)) if seconds else nan
        case Training():
            return _training_seconds(cases, of_kind(rows, TrainedResult))


def _training_seconds(cases: Sequence[Case], rows: Iterable[Row[TrainedResult]]) -> float:
    """Estimate the seconds of trainings by the pace of the earlier ones that are most like them."""
    trained = [row for row in rows if row.result.seconds]
    paces = [
        (_pace_traits(row.case), row.result.seconds / work)
        for row in trained
        if (work := _work(row))
    ]

    def pace_like(case: Case) -> float:
        """Return the median pace of the trainings measured that share most traits with a case."""
        # a small network takes several times as long for each unit of work as a large one
        traits = _pace_traits(case)
        alike = [sum(map(eq, traits, other)) for other, _ in paces]
        return median(pace for (_, pace), n in zip(paces, alike, strict=True) if n == max(alike))

    if not paces:
        return nan
    passes = sum(case.forward_macs * pace_like(case) for case in cases)
    return SETUP_SECONDS * len(cases) + TESTING * passes


def _pace_traits(case: Case) -> tuple[object, ...]:
    """Return the fields on which the seconds of a unit of work depend."""
    work, contender = case.workload, case.contender
    network = work.dataset, work.scale, work.width, work.network, work.T
    return *network, contender.name, contender.precision


def _work(row: Row[TrainedResult]) -> float:
    """Return a row's forward multiply-accumulates, by the samples and epochs that there were."""
    case = row.training
    sampling = replace(case.sampling, train=_samples(row) or None)
    work = replace(case, sampling=sampling).forward_macs
    return work * (row.result.trained_epochs or case.epochs) / case.epochs


def _timing_seconds(cases: Sequence[Case], rows: Sequence[Row]) -> float:
    """Return a share of the longest run, by its cells; nan where no run tells."""
    spans = []
    for run in grouped(rows, lambda row: row.run.id).values():
        times = sorted(datetime.fromisoformat(row.time) for row in run)
        steps = ((later - time).total_seconds() for time, later in pairwise(times))
        spans.append((sum(min(step, LONGEST_STEP) for step in steps), len({*map(cell_of, run)})))
    seconds, count = max(spans, default=(0.0, 1))
    return seconds * len({*map(without_contender, cases)}) / count or nan
