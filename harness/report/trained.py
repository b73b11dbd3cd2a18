"""The report's figures of trainings (Plotly); None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import plotly.graph_objects as go

from harness.analysis.ablations import ablated
from harness.analysis.learning import curves
from harness.analysis.statistics import mean, share
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import ConfusionRow, EpochRow, Row, TestedRow
from harness.report.figures import COLOURS, finished
from harness.spec import ANN, paper
from harness.suites.ablations import AS_IT_IS


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
    """Test accuracy by epoch of each training, with intervals over seeds; dotted: training."""
    found = [each for each in trainings(rows, suite) if each.condition.case.dataset == dataset]
    if not found:
        return None
    figure = go.Figure()
    for n, each in enumerate(found):
        by_seed = list(curves(each).values())
        epochs = sorted(set.intersection(*(set(curve) for curve in by_seed))) if by_seed else []
        values = [[curve[epoch] for curve in by_seed] for epoch in epochs]
        colour, name = COLOURS[n % len(COLOURS)], _training_name(each, suite)
        band(figure, name, epochs, values, colour)
        figure.add_scatter(
            name=f"{name}, training",
            x=epochs,
            y=[fmean(row.train_accuracy for row in _at(each, epoch)) for epoch in epochs],
            mode="lines",
            line={"color": colour, "dash": "dot", "width": 1},
            showlegend=False,
            hovertemplate="training, epoch %{x}: %{y:.4f}<extra></extra>",
        )
    figure.update_xaxes(title="epoch")
    return finished(figure, "accuracy")


def _at(each: Trainings, epoch: int) -> list[EpochRow]:
    return [row for row in each.of_kind(EpochRow) if row.epoch == epoch]


def _training_name(each: Trainings, suite: str) -> str:
    """What tells a training from the others of its suite on its data."""
    case = each.condition.case
    name = "ANN" if case.framework == ANN else f"NeuNorm {each.condition.reading}"
    name = f"{case.scale} {name}"
    static = paper.settings(case.dataset).static
    if not static:
        return f"{name}, {case.T} x {case.trained.bin_us / 1000:g} ms"
    return f"{name}, T = {case.T}" if suite == "timesteps" else name


def ablations(rows: Sequence[Row]) -> go.Figure | None:
    """What each change costs in accuracy, with intervals over seeds."""
    shown = [(each, mean(each.gains)) for each in ablated(rows) if each.change != AS_IT_IS]
    if not shown:
        return None
    figure = go.Figure()
    figure.add_scatter(
        x=[100 * gain.value for _, gain in shown],
        y=[each.change for each, _ in shown],
        error_x={
            "type": "data",
            "color": "#808080",
            "symmetric": False,
            "array": [100 * (gain.high - gain.value) for _, gain in shown],
            "arrayminus": [100 * (gain.value - gain.low) for _, gain in shown],
        },
        mode="markers",
        marker={"color": COLOURS[0], "size": 9},
        hovertemplate="%{y}: %{x:+.1f} points<extra></extra>",
    )
    figure.add_vline(x=0, line_dash="dot")
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="points of test accuracy, less the training without the change")
    return finished(figure, "")


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
