"""Figures of the systems that the paper compares with: published against live, and conversion."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from harness.analysis.paper import is_of, measures
from harness.analysis.published import Published, published
from harness.analysis.statistics import Mean, share
from harness.analysis.systems import Live, live
from harness.analysis.trained import trainings
from harness.records import Row
from harness.report.figures import COLOURS, finished
from harness.report.trained import band
from harness.spec import ANN

LINE = 34  # pixels of height for each row of a table


def table(number: int, rows: Sequence[Row]) -> go.Figure | None:
    """Every row of a table: the published accuracy, and what was measured here; None: nothing was.

    Bars are 95 % intervals over seeds; what has none draws nothing at random, or had one seed.
    """
    measured = [(row, *each) for row in published(number) for each in _measured(row, rows)]
    if not measured:
        return None
    figure = go.Figure()
    names = [_name(row) for row in published(number)]
    figure.add_scatter(
        name="published",
        x=[row.accuracy for row in published(number)],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": COLOURS[0]},
        hovertemplate="%{y}: %{x:.4f} published<extra></extra>",
    )
    figure.add_scatter(
        name="measured here",
        x=[found.value for _, _, found in measured],
        y=[_name(row) for row, _, _ in measured],
        error_x={
            "type": "data",
            "color": "#808080",
            "symmetric": False,
            "array": [found.high - found.value for _, _, found in measured],
            "arrayminus": [found.value - found.low for _, _, found in measured],
        },
        mode="markers",
        marker={"color": COLOURS[4]},
        customdata=[[how, found.n] for _, how, found in measured],
        hovertemplate="%{customdata[0]}: %{x:.4f}, n = %{customdata[1]}<extra></extra>",
    )
    figure.update_xaxes(title="test accuracy", range=[0, 1])
    done = finished(figure, "")
    done.update_yaxes(autorange="reversed", automargin=True)
    return done.update_layout(height=LINE * len(names) + 130)


def _name(row: Published) -> str:
    return f"{row.model}, {row.method}" if row.method else row.model


def _measured(row: Published, rows: Sequence[Row]) -> list[tuple[str, Mean]]:
    """What measures a row, in words, with its accuracy."""
    ours = [
        (f"{each.condition.case.scale} at width {each.condition.case.width}", found)
        for each in trainings(rows, "accuracy")
        if measures(row, each.condition)
        for found in [share(list(each.accuracies.values()))]
    ]
    others = [(_how(each), each.accuracy) for each in live(rows) if is_of(row, each)]
    return ours + others


def _how(each: Live) -> str:
    return f"{each.name}, {each.window}" if each.window else each.name


def conversion(rows: Sequence[Row]) -> go.Figure | None:
    """Accuracy on CIFAR-10 against T: networks converted from one without spikes, and the paper's,
    trained directly; dotted: what was converted. None where nothing was.
    """
    found = [
        each
        for each in live(rows)
        if each.condition.case.dataset == "cifar10" and len(each.over_steps) > 1
    ]
    if not found:
        return None
    figure = go.Figure()
    for n, each in enumerate(found):
        colour = COLOURS[(n + 1) % len(COLOURS)]
        steps = each.over_steps
        values = [[row.test_accuracy for row in each.tested if row.tested_T == T] for T in steps]
        band(figure, each.name, list(steps), values, colour)
        if each.source_accuracy is not None:
            figure.add_hline(
                y=each.source_accuracy.value, line_dash="dot", line_width=1, line_color=colour
            )
    direct = {
        each.condition.case.T: list(each.accuracies.values())
        for each in trainings(rows, "timesteps")
        if each.condition.case.dataset == "cifar10"
        and each.condition.case.scale == "CIFARNet"
        and each.condition.case.framework != ANN
        and each.condition.case.network.neunorm is None
    }
    if direct:
        steps = sorted(direct)
        name = "CIFARNet, trained directly over T"
        band(figure, name, steps, [direct[T] for T in steps], COLOURS[0])
    figure.update_xaxes(title="T, steps of time", type="log")
    return finished(figure, "test accuracy")
