"""The claims table of the README: a line each, short enough to be read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis.claims import verdicts
from harness.analysis.tables import markdown
from harness.records import Row

NOTE = (
    "Intervals are 95 % over seeds. Why each verdict is what it is, and what would change it, "
    "stands in the report."
)


def short_table(rows: Sequence[Row]) -> str:
    """The verdicts as Markdown: effect with interval, number of seeds."""
    lines = [
        {
            "claim": markdown(claim.claim),
            "published": markdown(claim.value),
            "verdict": f"**{verdict.text}**",
            "effect [95 % interval]": markdown(verdict.measured),
            "seeds": verdict.n,
        }
        for claim, verdict in verdicts(rows)
    ]
    shown = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{shown}\n\n{NOTE}\n"
