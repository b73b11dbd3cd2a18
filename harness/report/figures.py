"""The report's figures (Plotly), each from rows or tables; None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan, log10
from statistics import fmean

import numpy as np
import plotly.graph_objects as go

from harness.analysis.learning import curves
from harness.analysis.matlab import FORMS, TENS, against
from harness.analysis.speed import Acceleration
from harness.analysis.statistics import share
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import ConfusionRow, Row, TestedRow
from harness.spec import ANN, paper

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
HEIGHT = 380


def speed(lines: Sequence[Acceleration], dataset: str) -> go.Figure | None:
    """Ratio to the floor of each contender, a group of bars each scale, with 95 % intervals.

    Who passed no exam, or failed an audit, is in the tables alone.
    """
    shown = [line for line in lines if line.of_figure_3 and line.dataset == dataset]
    shown = [line for line in shown if line.standing != "none" and not isnan(line.ratio_to_floor)]
    if not shown:
        return None
    figure = go.Figure()
    for scale, bars in _by_scale(shown):
        known = [bar if bar.ratio_high < inf else None for bar in bars]
        figure.add_bar(
            name=scale,
            x=[bar.name for bar in bars],
            y=[bar.ratio_to_floor for bar in bars],
            error_y={
                "type": "data",
                "color": "#808080",
                "symmetric": False,
                "array": [bar and bar.ratio_high - bar.ratio_to_floor for bar in known],
                "arrayminus": [bar and bar.ratio_to_floor - bar.ratio_low for bar in known],
            },
            marker={"pattern": {"shape": ["/" if bar.preliminary else "" for bar in bars]}},
            customdata=[[bar.ratio_low, bar.ratio_high, bar.rounds] for bar in bars],
            hovertemplate="%{x}: %{y:.2f} x floor "
            "[%{customdata[0]:.2f}, %{customdata[1]:.2f}], n = %{customdata[2]}<extra></extra>",
        )
    figure.add_hline(y=1, line_dash="dot", annotation_text="floor")
    return finished(figure, "time of a training step / floor")


def matlab(lines: Sequence[Acceleration]) -> go.Figure | None:
    """Time of each form of the Matlab code over plain PyTorch's, on a logarithmic axis."""
    shown = against(lines)
    if not shown:
        return None
    figure = go.Figure()
    for variant in dict.fromkeys(line.variant for line in shown):
        bars = [line for line in shown if line.variant == variant]
        times = [1 / bar.speedup_vs_reference for bar in bars]
        ends = [(1 / bar.speedup_high, 1 / bar.speedup_low) for bar in bars]
        figure.add_bar(
            name=FORMS[variant],
            x=[f"{paper.settings(bar.dataset).title} {bar.scale}" for bar in bars],
            y=times,
            error_y={
                "type": "data",
                "color": "#808080",
                "symmetric": False,
                "array": [high - time for time, (_, high) in zip(times, ends, strict=True)],
                "arrayminus": [time - low for time, (low, _) in zip(times, ends, strict=True)],
            },
            text=["scaled" if not isnan(bar.part) else "" for bar in bars],
            marker={"pattern": {"shape": ["x" if not isnan(bar.part) else "" for bar in bars]}},
            customdata=[[*end, bar.rounds] for end, bar in zip(ends, bars, strict=True)],
            hovertemplate="%{x}: %{y:.3g} times [%{customdata[0]:.3g}, %{customdata[1]:.3g}], "
            "n = %{customdata[2]} %{text}<extra></extra>",
        )
    figure.add_hrect(TENS, 10 * TENS, opacity=0.15, fillcolor="#808080", line_width=0)
    # on the paper: on a logarithmic axis an annotation's place is a logarithm, a shape's is not
    figure.add_annotation(
        text="shaded: tens of times",
        showarrow=False,
        **{"xref": "paper", "yref": "paper", "x": 1, "y": 1},
        **{"xanchor": "right", "yanchor": "bottom"},
    )
    most = max(1 / bar.speedup_low for bar in shown)
    figure.update_yaxes(type="log", dtick=1, range=[log10(0.5), log10(3 * max(most, 10 * TENS))])
    return finished(figure, "time over plain PyTorch's")


def memory(lines: Sequence[Acceleration], dataset: str) -> go.Figure | None:
    """Peak memory of each contender, of those whose speed is shown."""
    shown = [line for line in lines if line.of_figure_3 and line.dataset == dataset]
    shown = [line for line in shown if line.standing != "none"]
    shown = [line for line in shown if not isnan(line.peak_memory_mib)]
    if not shown:
        return None
    figure = go.Figure()
    for scale, bars in _by_scale(shown):
        figure.add_bar(
            name=scale,
            x=[bar.name for bar in bars],
            y=[bar.peak_memory_mib for bar in bars],
            hovertemplate="%{x}: %{y:,.0f} MiB<extra></extra>",
        )
    return finished(figure, "peak memory of a step, MiB over the base")


def _by_scale(lines: Sequence[Acceleration]) -> list[tuple[str, list[Acceleration]]]:
    scales = dict.fromkeys((*paper.SCALES, *(line.scale for line in lines)))
    groups = [(scale, [line for line in lines if line.scale == scale]) for scale in scales]
    return [(scale, bars) for scale, bars in groups if bars]


def timesteps(rows: Sequence[Row]) -> go.Figure | None:
    """Fig. 5: test accuracy against T with intervals over seeds; dotted: tested over another T."""
    found = trainings(rows, "timesteps")
    groups: dict[Condition, list[Trainings]] = {}
    for each in found:
        case = replace(each.condition.case, T=1)
        groups.setdefault(replace(each.condition, case=case), []).append(each)
    if not found:
        return None
    figure = go.Figure()
    for n, (condition, group) in enumerate(groups.items()):
        colour = COLOURS[n % len(COLOURS)]
        name = f"{condition.case.dataset} {condition.case.scale}"
        name += f" NeuNorm {condition.reading}" if condition.case.network.neunorm else ""
        steps = [each.condition.case.T for each in group]
        band(figure, name, steps, [_accuracies(each) for each in group], colour)
        for each in group:
            xs = sorted({row.tested_T for row in each.of_kind(TestedRow)})
            ys = [fmean(each.tested_at(T)) for T in xs]
            figure.add_scatter(
                x=xs,
                y=ys,
                mode="lines+markers",
                line={"dash": "dot", "width": 1},
                opacity=0.6,
                name=f"trained over T = {each.condition.case.T}, tested over others",
            )
    figure.update_xaxes(title="T", type="log", tickvals=[1, 2, 4, 8, 16], dtick=None)
    return finished(figure, "test accuracy after the last epoch")


def scale(rows: Sequence[Row]) -> go.Figure | None:
    """Fig. 4: test accuracy of the three scales, with intervals over seeds."""
    found = trainings(rows, "scale")
    if not found:
        return None
    figure = go.Figure()
    for n, dataset in enumerate(dict.fromkeys(each.condition.case.dataset for each in found)):
        measured = [each for each in found if each.condition.case.dataset == dataset]
        title = paper.settings(dataset).title
        values = [_accuracies(each) for each in measured]
        band(figure, title, [each.condition.case.scale for each in measured], values, COLOURS[n])
    return finished(figure, "test accuracy after the last epoch")


def learning_curves(rows: Sequence[Row], suite: str, dataset: str) -> go.Figure | None:
    """Test accuracy by epoch of each reading of NeuNorm: mean and range over seeds."""
    found = [each for each in trainings(rows, suite) if each.condition.case.dataset == dataset]
    if not found:
        return None
    figure = go.Figure()
    for n, each in enumerate(found):
        by_seed = list(curves(each).values())
        epochs = sorted(set.intersection(*(set(curve) for curve in by_seed))) if by_seed else []
        values = [[curve[epoch] for curve in by_seed] for epoch in epochs]
        case = each.condition.case
        name = "ANN" if case.framework == ANN else f"NeuNorm {each.condition.reading}"
        band(figure, f"{case.scale} {name}", epochs, values, COLOURS[n % len(COLOURS)])
    figure.update_xaxes(title="epoch")
    return finished(figure, "test accuracy")


def _accuracies(each: Trainings) -> list[float]:
    return list(each.accuracies.values())


def band(
    figure: go.Figure,
    name: str,
    xs: Sequence[object],
    values: Sequence[Sequence[float]],
    colour: str,
) -> None:
    """The mean accuracy of each x as a line with Student's 95 % interval as bars."""
    means = [share(each) for each in values]
    figure.add_scatter(
        name=name,
        x=list(xs),
        y=[each.value for each in means],
        error_y={
            "type": "data",
            "color": "#808080",
            "symmetric": False,
            "array": [each.high - each.value for each in means],
            "arrayminus": [each.value - each.low for each in means],
        },
        mode="lines+markers",
        line={"color": colour},
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )


def confusion(rows: Sequence[Row], dataset: str) -> list[tuple[str, go.Figure]]:
    """Fig. 6: mean votes (columns) of random test images of each class (rows), each reading; all
    in one scale of colours.
    """
    votes = []
    for each in trainings(rows, "neunorm"):
        matrices = [row.votes for row in each.of_kind(ConfusionRow)]
        if each.condition.case.dataset == dataset and matrices:
            votes.append((f"NeuNorm {each.condition.reading}", np.mean(matrices, axis=0)))
    most = max((matrix.max() for _, matrix in votes), default=1.0)
    figures = []
    for name, matrix in votes:
        figure = go.Figure(
            go.Heatmap(
                z=matrix.tolist(),
                zmin=0,
                zmax=most,
                colorscale="Viridis",
                hovertemplate="label %{y}, vote for %{x}: %{z:.3f}<extra></extra>",
            )
        )
        figure.update_yaxes(title="label", autorange="reversed", dtick=1)
        figure.update_xaxes(title="vote for", dtick=1)
        figures.append((name, finished(figure, "label")))
    return figures


def finished(figure: go.Figure, y_title: str) -> go.Figure:
    """The figure in the report's size and colours."""
    figure.update_yaxes(title=y_title, gridcolor="rgba(128,128,128,0.25)")
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", automargin=True)
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 60, "r": 15, "t": 20, "b": 50},
        colorway=COLOURS,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
        legend={"orientation": "h", "y": -0.25},
        barmode="group",
    )
    return figure
