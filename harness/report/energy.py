"""What an inference costs, for the report: a figure, and a table for each of the three ways."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from harness.analysis import energy
from harness.analysis.energy import accuracy_against_energy
from harness.analysis.frame import Line, each_of, frames
from harness.analysis.groups import grouped
from harness.analysis.statistics import Mean
from harness.records import Row
from harness.report import grid
from harness.report.drawing import Curve, Curves, logarithmic
from harness.report.trained import axis_of_accuracies, in_per_cent

OVER = {"timesteps": "T", "scale": "scale"}  # what a suite's points differ in


def ways(rows: Sequence[Row]) -> tuple[tuple[str, Markup], ...]:
    """Each way's title and table below its caveat; () where nothing was counted."""
    table = energy.energy(frames(rows))
    if table.empty:
        return ()
    shown = []
    for way in energy.WAYS:
        caveat = Markup('<p class="dim">{}</p>').format(way.caveat)
        name = f"Energy, {way.name}"
        shown.append((name, caveat + grid.short(energy.part(table, way), name)))
    return tuple(shown)


def figure(rows: Sequence[Row]) -> Curves | None:
    """Accuracy against counted energy over T and over scale; None where nothing was trained."""
    found = accuracy_against_energy(frames(rows))
    points = [*each_of(found[found["microjoules"] > 0])]
    if not points:
        return None
    drawn = []
    groups = grouped(points, lambda point: (point.suite, _data(point), _rest(point)))
    for n, ((suite, data, rest), found) in enumerate(groups.items()):
        title = f"{data}, over {OVER[suite]}, {rest}"
        marks = [(each.microjoules, in_per_cent(_mean(each), n, _at(each))) for each in found]
        drawn.append(Curve(title, n, tuple(marks)))
    x = logarithmic(
        "uJ a sample, counted by value, float32",
        [point.microjoules for point in points],
        "{:.3g} uJ",
        base=10,
    )
    return Curves(x, axis_of_accuracies(drawn, "test accuracy, %"), tuple(drawn))


def _mean(point: Line) -> Mean:
    return Mean(point.accuracy, point.low, point.high, point.n)


def _at(point: Line) -> str:
    return f"T = {point.T}" if point.suite == "timesteps" else point.scale


def _data(point: Line) -> str:
    """What it was trained on: networks of other samples are no points of its curve."""
    return f"{point.data}, {point.samples:,} samples"


def _rest(point: Line) -> str:
    """What the points of a line share beside their data."""
    shared = point.scale if point.suite == "timesteps" else f"T = {point.T}"
    return f"{shared}, NeuNorm {point.neunorm}"
