"""The README's first screen: speed and verdicts as Markdown, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.analysis.claims import Verdict, verdicts
from harness.analysis.tables import markdown
from harness.records import Row
from harness.report import headline
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
    return f"{headline.block(rows)}\n{_verdicts(rows)}"


def _why(verdict: Verdict) -> str:
    """The reason of a verdict that would be misread without the scale it was run at."""
    judged = verdict.status not in ("reproduced", "not tested")
    return f" ({verdict.reason})" if judged else ""


def _verdicts(rows: Sequence[Row]) -> str:
    lines = [
        {
            "claim": markdown(claim.claim),
            "published": markdown(claim.value),
            "verdict": f"**{verdict.status}**",
            "measured": markdown(verdict.figures + _why(verdict)),
        }
        for claim, verdict in verdicts(rows)
    ]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True) + "\n"
