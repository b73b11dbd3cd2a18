"""Tables as HTML: every text in them is escaped, every number carries ten digits, shares are in
per cent.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from markupsafe import Markup, escape

from harness.analysis.same import told_once, words

# Columns that are shares of 1 in the rows, and per cent in the report.
_SHARES = frozenset(
    (
        *("accuracy", "best_accuracy", "chosen_accuracy", "train_accuracy", "source_accuracy"),
        *("published", "target", "recorded_accuracy", "recorded_low", "recorded_high"),
        *("spike_rate", "mismatch_rate", "break_even", "break_even_skipping"),
    )
)
# What tells one line from another stands first, before a narrow screen cuts the figures off.
_FRONT = (
    *("dataset", "scale", "network", "change", "framework", "neunorm", "T", "bin_ms", "width"),
    *("epochs", "train_samples", "precision"),
)
_POINTS = frozenset(("difference", "difference_low", "difference_high"))


def unit(name: str, columns: Iterable[str]) -> str:
    """The unit of a column that is shown a hundredfold; empty of the others."""
    if name in _POINTS:
        return "points"
    # of an accuracy, where there is one; else of a ratio
    of_accuracy = name in ("low", "high") and "accuracy" in columns
    return "%" if name in _SHARES or of_accuracy or name.startswith("tested_") else ""


def html(table: pd.DataFrame, name: str) -> Markup:
    """A table as HTML, in a region that scrolls; `name` is that of both.

    A column that is empty in every line is left out.
    """
    kept = [each for each in table.columns if any(map(_is_said, table[each]))]
    shown = table.loc[:, kept] if len(table) else table
    units = [unit(str(each), shown.columns) for each in shown.columns]
    head = "".join(
        f'<th scope="col">{escape(words(each))}{", " if of else ""}{of}</th>'
        for each, of in zip(shown.columns, units, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(*each) for each in zip(line, units, strict=True)) + "</tr>"
        for line in shown.itertuples(index=False, name=None)
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table class="data">'
        "<caption>{0}</caption><thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>"
    ).format(name, Markup(head), Markup(body))


def short(table: pd.DataFrame, name: str) -> Markup:
    """A table as HTML, below what all its lines share."""
    shares = [each for each in table.columns if unit(str(each), table.columns)]
    head, rest = told_once(table.drop(columns=shares))
    kept = [each for each in table.columns if each in shares or each in rest.columns]
    kept.sort(key=lambda each: _FRONT.index(each) if each in _FRONT else len(_FRONT))
    return Markup('<p class="note">{}</p>{}').format(
        f"All lines: {head}." if head else "", html(table.loc[:, kept], name)
    )


def _is_said(value: object) -> bool:
    return not (value is None or value is pd.NA or value == "" or value != value)


def _cell(value: object, of: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        full = 100 * value if of else value
        shown = f"{full:,}" if isinstance(full, int) else f"{full:.4g}"
        exact = str(full) if isinstance(full, int) else f"{full:.10g}"
        kept = "" if exact == shown else f' data-value="{exact}"'  # what is sorted and copied
        return f'<td class="n"{kept}>{shown}</td>'
    return f"<td>{escape(value if isinstance(value, Markup) else str(value))}</td>"
