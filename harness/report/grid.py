"""Tables as HTML: every text in them is escaped, every number carries its full value."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup, escape

from harness.analysis.same import told_once, words


def html(table: pd.DataFrame) -> Markup:
    """A table as HTML."""
    head = "".join(f"<th>{escape(words(name))}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(map(_cell, line)) + "</tr>" for line in table.itertuples(index=False)
    )
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Markup(f'<div class="scroll">{grid}</div>')


def short(table: pd.DataFrame) -> Markup:
    """A table as HTML, below what all its lines share."""
    head, rest = told_once(table)
    return Markup('<p class="dim">{}</p>{}').format(
        f"All lines: {head}." if head else "", html(rest)
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        return f'<td class="n" data-value="{value!r}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"
