"""Which protocol took a time, and what change of speed matters: only like compares with like."""

from __future__ import annotations

from collections.abc import Iterable

from harness.records import IterationRow, Row

FIRST = 1  # of rows from before they named it
# Relative. Two runs of the same code differ by 3 to 5 % (median of their ratios to the floor), so
# less than this says nothing of the code.
MARGIN = 0.1


def protocol_of(row: Row) -> int:
    """The number of the protocol that a row was taken under."""
    return FIRST if row.protocol is None else row.protocol


def protocols(rows: Iterable[Row]) -> dict[str, int]:
    """By run, the protocol of its times."""
    return {row.run: protocol_of(row) for row in rows if isinstance(row, IterationRow)}
