"""How suites stand: what is done, failed or missing, and about how long the rest takes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf, nan
from statistics import fmean, median
from typing import Literal, get_args

from harness import records
from harness.analysis.frame import grouped
from harness.records import Row
from harness.records.current import cell_of
from harness.records.done import is_done
from harness.records.identity import fields_that_train
from harness.spec import (
    ACCELERATION,
    Budget,
    Case,
    Options,
    System,
    Timed,
    Trained,
    cells,
    network_name,
    schedule,
)

State = Literal["done", "dated", "failed", "left out", "missing"]
# The fields of a case that say how long a unit of its work takes.
PACE_GOES_WITH = ("dataset", "scale", "width", "network", "T", "framework", "precision")
TESTING = 1.25  # seconds of a training a second of its training passes, about: the rest is tests
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

    def options(self, options: Options) -> Options:
        """Return the options that train these."""
        places = {"networks": (self.network,), "datasets": (self.dataset,)}
        return replace(options, long=True, rate=self.rate, seeds=self.seeds, **places)

    def __str__(self) -> str:
        rate = "" if self.rate is None else f" --rate {self.rate:g}"
        seeds = ",".join(map(str, self.seeds))
        return f"--long --datasets {self.dataset} --networks {self.network}{rate} --seeds {seeds}"


def plans(suite: str, rows: Iterable[Row]) -> list[Plan]:
    """Return what a suite was to train by its rows; [] where none was on the fixed schedule."""
    seeds = defaultdict[tuple[str, str, float | None], set[int]](set)
    for row in rows:
        if not isinstance(row, records.TrainedRow) or row.suite != suite or row.weights_sha256:
            continue
        if row.stages == schedule.STAGES[row.dataset]:
            is_usual = row.optimiser_lr == schedule.optimiser(row.dataset).lr
            seeds[row.dataset, network_name(row), None if is_usual else row.optimiser_lr].add(
                row.seed
            )
    return [Plan(*place, tuple(sorted(of))) for place, of in sorted(seeds.items(), key=str)]


def standings(
    cases: Iterable[Case], rows: Sequence[Row], key_now: KeyNow, budget: Budget
) -> list[Standing]:
    """Count cases by state, for each suite and data set; `budget` says when a timing is done."""
    rows_at = grouped(rows, lambda row: _network_of(Case.of(row)))
    found = []
    for (suite, dataset), wanted in grouped(cases, lambda c: (c.suite, c.dataset)).items():
        states = {
            case: state(case, rows_at.get(network, []), key_now, budget, together)
            for network, together in grouped(wanted, _network_of).items()
            for case in together
        }
        left = [case for case, of in states.items() if of not in ("done", "left out")]
        numbers = map([*states.values()].count, get_args(State))
        found.append(Standing(suite, dataset, *numbers, seconds_left=seconds_of(left, rows)))
    return found


def state(
    case: Case, rows: Sequence[Row], key_now: KeyNow, budget: Budget, together: Sequence[Case] = ()
) -> State:
    """Return the state of a case, by the rows of its network: done where a run would do nothing.

    `together`: the cases that are timed with it.
    """
    rows = [row for row in rows if _had_samples_of(case, row)]
    named = case.suite, case.framework, case.precision
    own = [row for row in rows if (row.suite, row.contender, row.precision) == named]
    ends = [row for row in rows if _is_result(row) and row.key and row.key == key_now(case, row)]
    group = together if case.suite == ACCELERATION and together else [case]
    if any(is_done(case, {key_now(e, end) for e in group} - {None}, rows, budget) for end in ends):
        return "done"
    last = next(
        (r for r in reversed(own) if _is_result(r) or isinstance(r, records.EndedRow)), None
    )
    if isinstance(last, records.EndedRow):
        return "failed" if last.status in ("failed", "not comparable") else "left out"
    if ends:
        return "missing"  # of too few rounds or steps, or of other runs than the rest of its cell
    # rounds of today's key are of a run that was cut off
    rounds = (row for row in own if isinstance(row, records.IterationRow))
    return "dated" if last or any(row.key != key_now(case, row) for row in rounds) else "missing"


def _is_result(row: Row) -> bool:
    """Whether the row is the result of its case; the operations of a trained network are not."""
    counted = isinstance(row, records.OperationsRow) and row.epochs is None
    return counted or isinstance(row, records.TrainedRow | records.TimedRow | records.FittedRow)


def _had_samples_of(case: Case, row: Row) -> bool:
    """Whether a training would be given as many samples as the row's was: its key is of these."""
    if not (isinstance(case, Trained) and isinstance(row, records.TrainedRow | records.FittedRow)):
        return True
    asked, wanted = Trained.of(row).training, case.training
    had = (row.train_samples or 0) + (row.validation_samples or 0)
    train = _takes_as_many(asked.samples, wanted.samples, had)
    return train and _takes_as_many(asked.test_samples, wanted.test_samples, row.test_samples or 0)


def _takes_as_many(asked: int | None, wanted: int | None, had: int) -> bool:
    """Whether two limits (None: all) are equal, or both above all samples that there are."""
    return asked == wanted or min(asked or inf, wanted or inf) > had


def _network_of(case: Case) -> Hashable:
    """Return the fields that decide a training, except the number of samples; else the cell."""
    if isinstance(case, Trained):
        return json.dumps(fields_that_train(case), sort_keys=True)
    return case.cell


def seconds_of(left: Sequence[Case], rows: Sequence[Row]) -> float:
    """Estimate the seconds that cases of one suite take, by earlier rows; nan where none tells."""
    if not left:
        return 0.0
    own = [row for row in rows if row.suite == left[0].suite]
    if isinstance(left[0], Timed):
        return _timing_seconds(left, own)
    if isinstance(left[0], System):
        fits = [r.seconds + r.test_seconds for r in own if isinstance(r, records.FittedRow)]
        return len(left) * fmean(fits) if fits else nan
    trained = [row for row in rows if isinstance(row, records.TrainedRow) and row.seconds]
    paces = [(Case.of(row), row.seconds / work) for row in trained if (work := _work(row))]

    def pace_like(case: Case) -> float:
        # a small network takes several times as long for each unit of work as a large one
        alike = [sum(getattr(case, n) == getattr(of, n) for n in PACE_GOES_WITH) for of, _ in paces]
        return median(pace for (_, pace), n in zip(paces, alike, strict=True) if n == max(alike))

    return TESTING * sum(case.forward_macs * pace_like(case) for case in left) if paces else nan


def _work(row: records.TrainedRow) -> float:
    """Return a row's forward multiply-accumulates, by the samples and epochs that there were."""
    case = Trained.of(row)
    samples = (row.train_samples or 0) + (row.validation_samples or 0)
    work = replace(case, training=replace(case.training, samples=samples or None)).forward_macs
    return work * (row.trained_epochs or case.training.epochs) / case.training.epochs


def _timing_seconds(left: Sequence[Case], rows: Sequence[Row]) -> float:
    """Return a share of the longest run, by its cells."""
    spans = []
    for run in grouped(rows, lambda row: row.run).values():
        times = [datetime.fromisoformat(row.time) for row in run]
        spans.append(((max(times) - min(times)).total_seconds(), len({*map(cell_of, run)})))
    seconds, count = max(spans, default=(nan, 1))
    return seconds * len(cells(left)) / count
