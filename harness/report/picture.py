"""The README's picture: the first of the report, as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Row
from harness.report import chart, timings
from harness.report.provenance import measured

TITLE = "Time of a training step over that of its convolutions and products alone (the floor)"


def svg(rows: Sequence[Row], columns: int = 3) -> str:
    """Ratio to the float32 floor with intervals, by contender and scale, a panel for each data
    set, so many side by side; "" where nothing was timed. Same rows, same bytes.
    """
    panels = timings.panels(rows)
    if not panels:
        return ""
    shown = [(each.caption, each.drawing) for each in panels]
    return chart.picture(shown, TITLE, columns, (timings.KEY, measured(panels[0].rows)))
