"""Numbers as the terminal shows them; empty where there is none."""

from __future__ import annotations

import pandas as pd


def number(value: float, form: str) -> str:
    """In that format."""
    return "" if value is None or pd.isna(value) else format(value, form)


def times(value: float) -> str:
    """A ratio: of those in the hundreds nobody reads the hundredths."""
    return number(value, ".2f" if value < 100 else ",.0f")


def span(low: float, high: float) -> str:
    """From low to high, once where they read the same."""
    shown = times(low), times(high)
    return shown[0] if shown[0] == shown[1] else "-".join(shown)


def duration(seconds: float) -> str:
    """In the unit that suits."""
    if pd.isna(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
