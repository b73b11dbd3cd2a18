"""The verdicts of the README: a line each, with a link to what is behind it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.claims import verdicts
from harness.analysis.tables import markdown
from harness.records import Row

REPORT = "results/report.html"  # as the README links it


def short_lines(rows: Sequence[Row]) -> str:
    """What the paper claims and what the rows say of it, at most twelve words a line."""
    lines = [
        f"- [{markdown(claim.short)}]({REPORT}#claim-{claim.id}): **{verdict.text}**"
        for claim, verdict in verdicts(rows)
    ]
    return "What the paper claims, and what our rows say of it:\n\n" + "\n".join(lines) + "\n"
