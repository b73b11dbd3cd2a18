"""The README's first screen: speed and verdicts as Markdown, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.records import Row
from harness.report import claims, headline
from harness.spec import UsageError

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"


def updated(text: str, rows: Sequence[Row], path: Path) -> str:
    """The README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{before}{BEGIN}\n{block(rows)}{END}{after}"


def block(rows: Sequence[Row]) -> str:
    """Time of a training step over the floor, and the verdicts."""
    return f"{headline.block(rows)}\n{claims.short_lines(rows)}"
