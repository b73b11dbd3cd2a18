"""The verdicts as a table: one line an effect, which is what decides a claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from harness.analysis.claims import Claim
from harness.analysis.verdict import Verdict

# Effects are in points and shares as fractions of 1, accuracies in [0, 1], votes as they are.
COLUMNS = (
    "id",
    "claim",
    "published",
    "verdict",
    "effect",
    "unit",
    "value",
    "low",
    "high",
    "n",
    "reason",
    "would_change",
)


def table(judged: Iterable[tuple[Claim, Verdict]]) -> pd.DataFrame:
    """Each claim with each effect that decides it: one line an effect.

    `value` is the mean over `n` seeds, `low` and `high` its 95 % interval; `reason` says why the
    verdict is this one. A claim without such effects has one line, whose `effect` is what was
    measured, in words.
    """
    lines = [line for claim, verdict in judged for line in _lines(claim, verdict)]
    table = pd.DataFrame(lines, columns=list(COLUMNS))
    figures = {"value": float, "low": float, "high": float, "n": "Int64"}
    return table.astype(figures)


def _lines(claim: Claim, verdict: Verdict) -> Iterator[tuple[object, ...]]:
    front = (claim.id, claim.claim, claim.value, verdict.text)
    back = (verdict.reason, verdict.would_change)
    for each in verdict.effects:
        found = each.found
        figures = (found.value, found.low, found.high, found.n)
        yield *front, each.name, each.unit, *figures, *back
    if not verdict.effects:
        yield *front, verdict.figures, "", None, None, None, None, *back
