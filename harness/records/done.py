"""Whether a case needs no more work: the one place that decides it.

Timings, trainings, other systems, counts of operations and `harness status` all ask here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from math import inf

from harness.records.current import current
from harness.records.row import (
    EndedRow,
    FittedRow,
    OperationsRow,
    Row,
    TestedRow,
    TimedRow,
    TrainedRow,
)
from harness.spec import ACCELERATION, Budget, Case, System, Timed, Trained


def is_done(case: Case, keys: Collection[str | None], rows: Iterable[Row], wanted: Budget) -> bool:
    """Return whether a case needs no more work; for the arguments see `served_by`."""
    return served_by(case, keys, rows, wanted) is not None


def served_by(
    case: Case, keys: Collection[str | None], rows: Iterable[Row], wanted: Budget
) -> str | None:
    """Return the suite whose rows serve a case, its own first; None where the case must be run.

    Args:
        case: The case.
        keys: Its key; of a timing the keys of all contenders of its cell.
        rows: The rows that are there; those of other keys, and those that do not count, are passed
            over: what no table shows is not done.
        wanted: What timing may cost: an earlier run must have measured at least as well.
    """
    there = [row for row in rows if row.key is not None and row.key in keys]
    of_keys = [*compress(there, current(there).counts)]
    match case:
        case System():
            done = any(isinstance(row, FittedRow) for row in of_keys)
        case Trained():
            return _trained_in(case, of_keys)
        case Timed() if case.suite == ACCELERATION:
            settled = defaultdict[str, set[str | None]](set)  # only a single run's seconds compare
            for row in of_keys:
                if _is_settled(row, wanted):
                    settled[row.run].add(row.key)
            done = any({*keys} <= found for found in settled.values())
        case _:  # what a trained network takes is counted too, and has epochs
            counts = (row for row in of_keys if isinstance(row, OperationsRow))
            done = any(row.suite == case.suite and row.epochs is None for row in counts)
    return case.suite if done else None


def without_overcome(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without the failures of cases that were done afterwards."""
    results = TimedRow | TrainedRow | FittedRow | OperationsRow
    done = {row.key: n for n, row in enumerate(rows) if isinstance(row, results)}
    return [
        row
        for n, row in enumerate(rows)
        if not isinstance(row, EndedRow) or n > done.get(row.key, -1)
    ]


def _is_settled(row: Row, wanted: Budget) -> bool:
    """Return whether a row shows that its contender needs no measurement."""
    if isinstance(row, EndedRow):
        return row.status in ("missing", "unsupported", "not comparable")
    if not isinstance(row, TimedRow) or row.rounds < wanted.fewest:
        return False
    return row.converged or (row.budget_seconds or inf) >= wanted.seconds


def _trained_in(case: Trained, rows: Sequence[Row]) -> str | None:
    ended = {row.suite for row in rows if isinstance(row, TrainedRow)}
    for suite in sorted(ended, key=lambda suite: (suite != case.suite, suite)):
        of = [row for row in rows if row.suite == suite]
        elsewhere = suite != case.suite and case.suite != "ablations"
        tested = {row.tested_T for row in of if isinstance(row, TestedRow)}
        untested = {*case.training.tested_at} - tested
        if not untested and not (elsewhere and any(row.deviations for row in of)):
            return suite
    return None
