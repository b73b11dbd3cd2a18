"""The paper's claims with their verdicts, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.analysis.claims import Claim
    from harness.analysis.verdict import Verdict

_STYLES = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow"}


def verdicts(judged: Sequence[tuple[Claim, Verdict]]) -> RenderableType:
    """Each verdict with its effect, interval and number of seeds; then what would change it."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("claim", "verdict", "effect [95 % interval]", "seeds"):
        grid.add_column(escape(name), overflow="fold")
    for claim, verdict in judged:
        status = Text(verdict.text, _STYLES.get(verdict.status, ""))
        grid.add_row(escape(claim.id), status, escape(verdict.measured), verdict.n)
    changes = [f"{claim.id}: would change with {each.would_change}" for claim, each in judged]
    return Group(grid, *(Text(each, "dim") for each in changes))
