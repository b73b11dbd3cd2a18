"""A sample of recorded cases, measured again: which figures are confirmed.

The result of a training is the same number or another. A time is confirmed where the interval of
new over old lies within MARGIN of 1; it differs where the interval does not, and has no 1 in it;
else it is too noisy to tell, so no noise makes it surer.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, inf, isnan, log, log1p
from operator import attrgetter
from pathlib import Path
from typing import Literal

from harness.analysis import timings
from harness.analysis.compare import MARGIN
from harness.analysis.frame import frames, grouped
from harness.analysis.timings import TimedLine
from harness.analysis.words import case_in_words
from harness.jobs.local import Local
from harness.records import (
    EndedResult,
    EpochResult,
    FittedResult,
    IterationResult,
    Row,
    Store,
    TrainedResult,
    has,
    of_kind,
)
from harness.records.current import cell_of, contradictions, is_outdated
from harness.spec import FLOOR, Access, Budget, Case, ProgressCallback, Training

# The results of an epoch. On the same processor these are the same numbers, bit for bit.
FIGURES = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "gradient_norm")
DECIDING = (
    *("run.machine.cpu", "run.machine.threads", "run.machine.torch"),
    *("installation.framework_version", "installation.revision", "run.code", "run.machine.python"),
)
Verdict = Literal["confirmed", "differs", "too noisy to tell", "not tested"]


@dataclass(frozen=True)
class FigureCheck:
    """One recorded figure, the same one measured again, and the verdict."""

    case: str
    figure: str
    recorded: str
    now: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class VerifyContext:
    """What measuring recorded cases again needs: executor, data, weights, progress."""

    executor: Local
    access: Access
    lacks: Callable[[Case], str | None]  # why a case cannot run here; None where it can
    say: ProgressCallback
    weights: Path  # the folder of those that recorded cases name, if they do


def verify(
    records: Sequence[Row],
    context: VerifyContext,
    cases: int,
    seed: int,
    epochs: int,
    budget: float,
) -> Iterator[FigureCheck]:
    """Measure a sample of recorded cases again; yield a check of each figure.

    Draws up to `cases` trainings, as many baselines and as many cells. A training runs its
    first `epochs`, a cell for `budget` seconds, in a folder that is thrown away. Rows that
    contradict each other get the verdict "differs" without being measured.
    """
    for n, reason in contradictions(records).items():
        row = records[n]
        what = f"{row.workload.dataset} {case_in_words(row.case)}"
        yield FigureCheck(what, f"{row.result.kind} row", "", "", "differs", reason)
    drawn = random.Random(seed)
    # only what was timed under today's protocol can be tested
    timed = [row for row in of_kind(records, IterationResult) if not is_outdated(row)]
    cells = list(grouped(timed, cell_of).values())
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        store = Store(Path(folder))
        (store.out / "weights").symlink_to(context.weights.resolve())  # nothing is kept there
        for kind in (TrainedResult, FittedResult):
            ended = list({row.key: row for row in of_kind(records, kind)}.values())
            for row in drawn.sample(ended, min(cases, len(ended))):
                yield from _training(row, records, context, store, epochs)
        for group in drawn.sample(cells, min(cases, len(cells))):
            yield from _cell(group, records, context, store, budget)


def _training(
    row: Row[TrainedResult | FittedResult],
    records: Sequence[Row],
    context: VerifyContext,
    store: Store,
    epochs: int,
) -> Iterator[FigureCheck]:
    """Yield a training's first epochs, or a baseline's results, against a new measurement."""
    recorded = _figures(r for r in records if (r.suite, r.key) == (row.suite, row.key))
    case, figures = row.case, {"": ("test_accuracy",)}
    what = f"{row.workload.dataset} {case_in_words(case)}"
    if isinstance(case, Training):
        # a shorter training has the same figures as long as both have the first rate
        first = case.stages[0] if case.stages else case.least_epochs
        epochs = min(epochs, case.epochs, first or case.epochs)
        stages = (epochs,) if case.stages else ()
        case = replace(case, epochs=epochs, stages=stages, least_epochs=None)
        figures = {f"epoch {n + 1}": FIGURES for n in range(epochs)}
    measured, why = {}, context.lacks(case)
    if why is None:
        (ended,) = context.executor.train((case,), store, context.access, context.say)
        measured, why = _figures(ended.rows), _refusal(ended.rows, row)
    for place, names in figures.items():
        old, new = recorded.get(place), measured.get(place)
        if why or old is None or new is None:
            reason = why or ("it was not recorded" if old is None else "it did not end")
            yield FigureCheck(what, place or names[0], "", "", "not tested", reason)
            continue
        for name in names:
            one, other = getattr(old.result, name), getattr(new.result, name)
            reason = "" if one == other else _why(old, new)
            verdict: Verdict = "differs" if reason else "confirmed"
            figure = f"{place} {name}".strip()
            yield FigureCheck(what, figure, f"{one:.6g}", f"{other:.6g}", verdict, reason)


def _figures(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows that hold figures, by "epoch N", or by "" for a baseline's one result."""
    measured = dict[str, Row]()
    for row in rows:
        if has(row, EpochResult):
            measured[f"epoch {row.result.epoch}"] = row
        elif has(row, FittedResult):
            measured[""] = row
    return measured


def _refusal(rows: Sequence[Row], recorded: Row) -> str | None:
    """Return why figures cannot be compared; None where they can."""
    if ended := of_kind(rows, EndedResult):
        return ended[-1].result.reason
    data = {_hashes(row) for row in rows if row.data.source}
    return None if data == {_hashes(recorded)} else "the data here are others (--data-root)"


def _hashes(row: Row) -> tuple[str | None, ...]:
    return tuple(source and source.sha256 for source in (row.data.source, row.data.test))


def _why(old: Row, new: Row) -> str:
    """Return what was not the same, of what may decide a figure."""
    pairs = ((name, attrgetter(name)(old), attrgetter(name)(new)) for name in DECIDING)
    differing = [
        f"{name.rpartition('.')[2]} was {was}, is {is_}" for name, was, is_ in pairs if was != is_
    ]
    return "; ".join(differing) or "nothing that is recorded explains it"


def _cell(
    group: Sequence[Row[IterationResult]],
    records: Sequence[Row],
    context: VerifyContext,
    store: Store,
    budget: float,
) -> Iterator[FigureCheck]:
    """Yield the ratios to the floor of a cell's last run, against those of now."""
    last, run = cell_of(group[-1]), group[-1].run.id
    recorded = _lines(row for row in records if row.run.id == run and cell_of(row) == last)
    now = dict[str, TimedLine]()
    ran = (row.case for row in group if row.run.id == run and row.contender.framework != FLOOR)
    cases = tuple(case for case in dict.fromkeys(ran) if not context.lacks(case))
    if cases and recorded:
        spending = Budget(seconds=budget, first=True)
        list(context.executor.measure(cases, store, context.access, spending, context.say))
        now = _lines(row for row in store.read()[0] if cell_of(row)[1] == last[1])
    for name, old in recorded.items():
        yield ratio_check(name, old, now.get(name))


def _lines(records: Iterable[Row]) -> dict[str, TimedLine]:
    lines = timings.lines(frames(records))
    return {line.name: line for line in lines if line.framework != FLOOR and line.rounds}


def ratio_check(name: str, old: TimedLine, new: TimedLine | None) -> FigureCheck:
    """Return the verdict on a contender's recorded ratio to the floor, given a new one.

    The rule is the module's. `new` is None where it was not timed again.
    """
    what = f"{old.dataset} {old.scale} T={old.T} {name}", "ratio to the floor", _ratio(old)
    if new is None:
        return FigureCheck(*what, "", "not tested", "it was not timed here")
    if isnan(old.ratio_to_floor) or isnan(new.ratio_to_floor):
        return FigureCheck(*what, "", "not tested", "there was no floor to compare with")
    centre = log(new.ratio_to_floor / old.ratio_to_floor)
    # of two independent figures, whose intervals are even in logs
    reach = hypot(*(log(line.ratio_high / line.ratio_to_floor) for line in (old, new)))
    low, high = centre - reach, centre + reach
    if -log1p(MARGIN) <= low and high <= log1p(MARGIN):
        return FigureCheck(*what, _ratio(new), "confirmed")
    highest = exp(high) if high < 709 else inf  # more is no float
    reason = f"now over recorded {exp(centre):.2f} [{exp(low):.2f}, {highest:.2f}]"
    verdict: Verdict = "differs" if low > 0 or high < 0 else "too noisy to tell"
    if verdict != "differs":
        reason += f": 1 is in it, and so is a change of more than {100 * MARGIN:.0f} %"
    if old.machine != new.machine:
        reason += f"; it was another machine: {old.machine}, now {new.machine}"
    return FigureCheck(*what, _ratio(new), verdict, reason)


def _ratio(line: TimedLine) -> str:
    ends = "" if line.ratio_high == inf else f" [{line.ratio_low:.2f}, {line.ratio_high:.2f}]"
    return f"{line.ratio_to_floor:.2f}{ends}"
