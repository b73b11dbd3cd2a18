"""A table without the columns that say the same in every line: those are said once, in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analysis.trained import FIGURES


def told_once(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What all lines share, as "T 4, width 1/8, ...", and the table of the rest.

    Figures stay in the table, and so does what is empty in every line.
    """
    texts = {str(name): [text(value) for value in table[name]] for name in table.columns}
    same = [name for name in texts if name not in FIGURES and len(set(texts[name])) == 1]
    head = ", ".join(f"{words(name)} {texts[name][0]}" for name in same if texts[name][0])
    return head, table.drop(columns=same)


def words(name: object) -> str:
    """A column's name as one reads it."""
    return str(name).replace("_", " ")


def text(value: Any) -> str:
    """A cell in a few characters; empty where there is nothing."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
