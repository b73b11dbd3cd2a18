"""Records to tables: one function per table and figure, each a pure function of stored rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, assert_never

import pandas as pd

from harness.analysis.paper import paper_table
from harness.analysis.rounds import noise_of
from harness.analysis.speed import acceleration
from harness.analysis.trained import accuracy, neunorm, scale, timesteps
from harness.records import Row

__all__ = ["SUITE_OF", "TABLES", "Markup", "acceleration", "markup", "noise_of"]

TABLES: dict[str, Callable[[Iterable[Row]], pd.DataFrame]] = {
    "acceleration": acceleration,
    "timesteps": timesteps,
    "scale": scale,
    "neunorm": neunorm,
    "accuracy": accuracy,
    **{str(number): partial(paper_table, number) for number in (3, 4, 5, 6)},
}
# The suite whose rows a table is made of, where it has another name.
SUITE_OF = {str(number): "accuracy" for number in (3, 4, 5, 6)}

Markup = Literal["md", "csv", "html"]


def markup(table: pd.DataFrame, form: Markup) -> str:
    """The table as text for a file; every name in it stays text, markup is escaped."""
    match form:
        case "csv":
            return table.to_csv(index=False)
        case "md":
            escaped = table.map(
                lambda cell: cell.replace("|", "\\|") if isinstance(cell, str) else cell
            )
            return escaped.to_markdown(index=False, missingval="") + "\n"
        case "html":
            return table.to_html(index=False, na_rep="", escape=True) + "\n"
        case _:
            assert_never(form)
