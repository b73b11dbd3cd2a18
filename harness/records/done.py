"""Whether a case needs no more work: `harness run` and `harness status` both ask here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from harness.records.row import EndedRow, Row, TestedRow, TimedRow
from harness.spec import Budget, Trained


def is_timed(keys: Iterable[str | None], rows: Iterable[Row], budget: Budget) -> bool:
    """Whether an earlier run has measured all contenders of a cell, by their keys, at least as well
    as this budget does: only seconds of the same rounds compare.
    """
    settled: dict[str, set[str | None]] = {}  # by run
    for row in rows:
        if _is_settled(row, budget):
            settled.setdefault(row.run, set()).add(row.key)
    wanted = {*keys}
    return any(wanted <= found for found in settled.values())


def _is_settled(row: Row, budget: Budget) -> bool:
    """Whether a row says that its contender needs no measurement."""
    if isinstance(row, EndedRow):
        return row.status in ("missing", "unsupported", "not comparable")
    if not isinstance(row, TimedRow) or row.rounds < budget.fewest:
        return False
    return row.converged or (row.budget_seconds or inf) >= budget.seconds


def trained_in(case: Trained, ended: set[str], rows: Sequence[Row]) -> str | None:
    """The suite whose training serves a case, its own first; None where it must be trained.

    `ended`: the suites under which it came to its end; `rows`: all rows of its key.
    """
    for suite in sorted(ended, key=lambda name: (name != case.suite, name)):
        of = [row for row in rows if row.suite == suite]
        deviates = case.suite != "ablations" and any(row.deviations for row in of)
        tested = {row.tested_T for row in of if isinstance(row, TestedRow)}
        if suite == case.suite or not deviates and tested >= set(case.training.tested_at):
            return suite
    return None
