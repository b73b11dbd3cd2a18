"""The README's picture: the first of the report, as a file of its own, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Row
from harness.report import chart, timings
from harness.report.provenance import measured

COLUMNS = {"picture.svg": 3, "picture-narrow.svg": 1}  # panels side by side
TITLE = "Time of a training step over that of its convolutions and products alone (the floor)"


def svgs(rows: Sequence[Row]) -> dict[str, str]:
    """Ratio to the float32 floor with intervals, by contender and scale, a panel for each data
    set, by the file's name; {} where nothing was timed. Same rows, same bytes.
    """
    panels = timings.panels(rows)
    if not panels:
        return {}
    shown = [(each.caption, each.drawing) for each in panels]
    notes = timings.KEY, measured(panels[0].rows)
    return {name: chart.picture(shown, TITLE, many, notes) for name, many in COLUMNS.items()}
