"""Whether a case needs no more work: the one place that decides it.

Timings, trainings, baselines, counts of operations and `harness status` all ask this module.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from math import inf

from harness.records.current import current
from harness.records.row import (
    EndedResult,
    FittedResult,
    OperationsResult,
    Row,
    TestedResult,
    TimedResult,
    TrainedResult,
    has,
    of_kind,
)
from harness.spec import Budget, Case, Count, Fit, Timing, Training


def is_done(case: Case, keys: Collection[str | None], rows: Iterable[Row], budget: Budget) -> bool:
    """Return whether a case needs no more work; for the arguments see `served_by`."""
    return served_by(case, keys, rows, budget) is not None


def served_by(
    case: Case, keys: Collection[str | None], rows: Iterable[Row], budget: Budget
) -> str | None:
    """Return the suite whose rows serve a case, its own first; None where the case must be run.

    Args:
        case: The case.
        keys: Its key; of a timing the keys of all contenders of its cell.
        rows: The rows that are there; those of other keys, and those that do not count, are passed
            over: what no table shows is not done.
        budget: What timing may cost: an earlier run must have measured at least as well.
    """
    stored = [row for row in rows if row.key is not None and row.key in keys]
    of_keys = [*compress(stored, current(stored).counts)]
    match case:
        case Training():
            return _trained_in(case, of_keys)
        case Fit():
            done = bool(of_kind(of_keys, FittedResult))
        case Timing():
            settled = defaultdict[str, set[str | None]](set)  # only a single run's seconds compare
            for row in of_keys:
                if _is_settled(row, budget):
                    settled[row.run.id].add(row.key)
            done = any({*keys} <= keys_of_run for keys_of_run in settled.values())
        case Count():
            done = bool(of_kind(of_keys, OperationsResult))
    return case.suite if done else None


def without_overcome(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without the failures of cases that were done afterwards."""
    results = TimedResult | TrainedResult | FittedResult | OperationsResult
    done = {row.key: n for n, row in enumerate(rows) if isinstance(row.result, results)}
    return [
        row for n, row in enumerate(rows) if not has(row, EndedResult) or n > done.get(row.key, -1)
    ]


def _is_settled(row: Row, budget: Budget) -> bool:
    """Return whether a row shows that its contender needs no measurement."""
    match result := row.result:
        case EndedResult():
            return result.status in ("missing", "unsupported", "not comparable")
        case TimedResult() if result.rounds >= budget.fewest:
            return result.converged or (result.budget_seconds or inf) >= budget.seconds
        case _:
            return False


def _trained_in(case: Training, rows: Sequence[Row]) -> str | None:
    """Return the suite in which these rows train and test all that the case asks for, or None."""
    ended = {row.suite for row in of_kind(rows, TrainedResult)}
    for suite in sorted(ended, key=lambda suite: (suite != case.suite, suite)):
        group = [row for row in rows if row.suite == suite]
        elsewhere = suite != case.suite and not case.may_deviate
        tested = {row.result.tested_T for row in of_kind(group, TestedResult)}
        deviates = any(row.installation.deviations for row in group)
        if {*case.tested_at} <= tested and not (elsewhere and deviates):
            return suite
    return None
