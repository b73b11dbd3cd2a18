"""What the figures of trainings show: accuracies in per cent; None where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from harness.analysis.ablations import ablated
from harness.analysis.groups import grouped
from harness.analysis.learning import curves
from harness.analysis.named import data_in_full, steps_in_words
from harness.analysis.statistics import Mean, mean, share
from harness.analysis.systems import Live
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import ConfusionRow, EpochRow, Row, TestedRow
from harness.report.drawing import (
    Axis,
    Curve,
    Curves,
    Dots,
    Mark,
    Strip,
    Strips,
    ValueMap,
    linear,
    names,
    per_cent,
    spread,
    steps_of_time,
)
from harness.spec import ANN, paper
from harness.suites.ablations import AS_IT_IS

ACCURACY = "test accuracy after the last epoch, %"
CLASSES = paper.CIFAR10_CLASSES  # those of digits are their figures


def data_of(each: Trainings | Live) -> str:
    """What a training or another system was made on, as captions name it."""
    condition = each.condition
    return data_in_full(condition.case.dataset, condition.data_source, condition.substitute)


def of_accuracies(values: Sequence[float], colour: int) -> Mark:
    """The mean of accuracies over seeds with its interval, in per cent."""
    return in_per_cent(share(values), colour)


def in_per_cent(found: Mean, colour: int, note: str = "") -> Mark:
    """A mean of shares as a mark."""
    value, low, high = (100 * each for each in (found.value, found.low, found.high))
    return Mark(value, low, high, found.n, note, colour)


def _ended(each: Trainings, colour: int) -> Mark:
    """The mean of where trainings ended, with its interval."""
    return _doubted(of_accuracies(list(each.accuracies.values()), colour), each)


def _doubted(mark: Mark, each: Trainings) -> Mark:
    """A mark of trainings; it is hollow where seeds of them learnt nothing."""
    seeds = ", ".join(map(str, each.at_chance))
    return replace(mark, note=f"seed {seeds} learnt nothing", hollow=True) if seeds else mark


def axis_of_accuracies(drawn: Sequence[Curve], title: str = ACCURACY) -> Axis:
    """The axis on which all marks of curves and their intervals lie."""
    ends = [end for curve in drawn for _, mark in curve.marks for end in spread(mark)]
    return per_cent(title, ends)


def timesteps(rows: Sequence[Row]) -> Curves | None:
    """Fig. 5: test accuracy against T with intervals over seeds; dotted: tested over another T.

    What is dotted has the colour that its T has by epoch too.
    """
    found = trainings(rows, "timesteps")
    if not found:
        return None
    drawn = []
    all_steps = sorted({each.condition.case.T for each in found})
    groups = list(grouped(found, _without_steps).values())
    titles = told_apart([group[0] for group in groups], _network_name)
    for n, (name, group) in enumerate(zip(titles, groups, strict=True), len(all_steps)):
        steps = [float(each.condition.case.T) for each in group]
        marks = [_ended(each, n) for each in group]
        drawn.append(Curve(name, n, tuple(zip(steps, marks, strict=True))))
        for each in group:
            if over := _over_steps(each, all_steps.index(each.condition.case.T)):
                drawn.append(over)
    steps = [x for curve in drawn for x, _ in curve.marks]
    return Curves(steps_of_time(steps), axis_of_accuracies(drawn), tuple(drawn))


def _without_steps(each: Trainings) -> Condition:
    return replace(each.condition, case=replace(each.condition.case, T=1))


def _network_name(each: Trainings) -> str:
    case = each.condition.case
    neunorm = f" NeuNorm {each.condition.reading}" if case.network.neunorm else ""
    return f"{data_of(each)}: {case.scale}{neunorm}"


def told_apart(found: Sequence[Trainings], name_of: Callable[[Trainings], str]) -> list[str]:
    """Names of trainings; of those that share one, with the number of their samples."""
    names = [name_of(each) for each in found]
    return [
        f"{name}, {each.condition.train_samples:,} samples" if names.count(name) > 1 else name
        for name, each in zip(names, found, strict=True)
    ]


def _over_steps(each: Trainings, colour: int) -> Curve | None:
    """How a network that was trained over one T does over others."""
    steps = sorted({row.tested_T for row in each.of_kind(TestedRow)})
    marks = [(float(T), of_accuracies(each.tested_at(T), colour)) for T in steps]
    name = f"trained over T = {each.condition.case.T}, tested over others"
    return Curve(name, colour, tuple(marks), dotted=True) if marks else None


def scale(rows: Sequence[Row]) -> Curves | None:
    """Fig. 4: test accuracy of the three scales, with intervals over seeds."""
    found = trainings(rows, "scale")
    if not found:
        return None
    scales = list(dict.fromkeys(each.condition.case.scale for each in found))
    scales.sort(key=lambda scale: paper.paper_order("", scale))
    drawn = []
    groups = list(grouped(found, _without_scale).values())
    titles = told_apart([group[0] for group in groups], data_of)
    for n, (name, group) in enumerate(zip(titles, groups, strict=True)):
        marks = [
            (float(scales.index(each.condition.case.scale)), _ended(each, n)) for each in group
        ]
        drawn.append(Curve(name, n, tuple(marks)))
    return Curves(names("scale", scales), axis_of_accuracies(drawn), tuple(drawn))


def _without_scale(each: Trainings) -> tuple[object, ...]:
    """What the networks of a curve over scale share."""
    of, case = each.condition, each.condition.case
    return data_of(each), of.train_samples, of.reading, case.T, case.width, case.precision


def learning_curves(rows: Sequence[Row], suite: str) -> list[tuple[str, Curves, list[Row]]]:
    """By data: accuracy by epoch of each training, with intervals over seeds; dotted: training.

    Networks of the same data have a figure each, but where their scales are what is compared. With
    each figure the rows that it shows.
    """
    shown = []
    for data, group in grouped(trainings(rows, suite), data_of).items():
        by_network = grouped(group, lambda each: each.condition.case.scale)
        if suite == "scale" or len(by_network) == 1:
            by_network = {"": group}
        for network, found in by_network.items():
            drawn = _curves(found, suite)
            if drawn is not None:
                name = f"{data}: {network}" if network else data
                shown.append((name, drawn, [row for each in found for row in each.rows]))
    return shown


def _curves(found: Sequence[Trainings], suite: str) -> Curves | None:
    drawn: list[Curve] = []
    titles = told_apart(found, lambda each: _training_name(each, suite))
    for n, (name, each) in enumerate(zip(titles, found, strict=True)):
        by_seed = list(curves(each).values())
        epochs = sorted(set.intersection(*(set(curve) for curve in by_seed))) if by_seed else []
        tested = [of_accuracies([curve[epoch] for curve in by_seed], n) for epoch in epochs]
        learnt = [Mark(100 * fmean(_learnt(each, epoch)), colour=n) for epoch in epochs]
        at = [float(epoch) for epoch in epochs]
        drawn.append(Curve(name, n, tuple(zip(at, tested, strict=True)), band=True))
        trained = tuple(zip(at, learnt, strict=True))
        name = f"{name}, in training"
        drawn.append(Curve(name, n, trained, dotted=True, listed=False))
    last = max((x for curve in drawn for x, _ in curve.marks), default=0.0)
    if not last:
        return None
    x = linear("epoch", 0.0, last, "epoch {:g}")
    return Curves(x, axis_of_accuracies(drawn, "accuracy, %"), tuple(drawn))


def _learnt(each: Trainings, epoch: int) -> list[float]:
    return [row.train_accuracy for row in each.of_kind(EpochRow) if row.epoch == epoch]


def _training_name(each: Trainings, suite: str) -> str:
    """What tells a training from the others of its suite on its data."""
    case = each.condition.case
    name = "ANN" if case.framework == ANN else f"NeuNorm {each.condition.reading}"
    name = f"{case.scale} {name}"
    static = paper.settings(case.dataset).static
    return name if static and suite != "timesteps" else f"{name}, {steps_in_words(case)}"


def ablations(rows: Sequence[Row]) -> Dots | None:
    """What each change costs in accuracy, with intervals over seeds."""
    shown = [(each, mean(each.gains)) for each in ablated(rows) if each.change != AS_IT_IS]
    if not shown:
        return None
    groups = []
    for name, group in grouped(shown, lambda pair: data_of(pair[0].trainings)).items():
        marks = [
            (each.change, _doubted(in_per_cent(gain, 0), each.trainings)) for each, gain in group
        ]
        strips = [Strip(change, (mark,), f"{mark.value:+.1f}") for change, mark in marks]
        groups.append(Strips(name, tuple(strips)))
    every = [mark for group in groups for strip in group.strips for mark in strip.marks]
    ends = [0.0, *(end for mark in every for end in spread(mark))]
    axis = linear("points of test accuracy", min(ends), max(ends), "{:+.1f} points")
    return Dots(axis, tuple(groups), ((0.0, "without the change"),))


def confusion(rows: Sequence[Row]) -> list[tuple[str, ValueMap]]:
    """Fig. 6: mean votes (columns) of random test images of each class (rows), by data and
    reading; those of one data set in one scale of colours.
    """
    drawn = []
    for data, group in grouped(trainings(rows, "neunorm"), data_of).items():
        votes = [(each, row) for each in group if (row := _votes(each)) is not None]
        most = max((float(matrix.max()) for _, matrix in votes), default=1.0)
        for each, matrix in votes:
            labels = _labels(each, len(matrix))
            values = tuple(tuple(map(float, line)) for line in matrix)
            shown = ValueMap(labels, labels, values, most, "label", "mean vote for")
            drawn.append((f"{data}, NeuNorm {each.condition.reading}", shown))
    return drawn


def _votes(each: Trainings) -> np.ndarray | None:
    matrices = [row.votes for row in each.of_kind(ConfusionRow)]
    return np.mean(matrices, axis=0) if matrices else None


def _labels(each: Trainings, count: int) -> tuple[str, ...]:
    """The names of the classes; digits are 0 to 9, where they stand in for photographs too."""
    photographs = each.condition.case.dataset in ("cifar10", "dvs-cifar10")
    named = photographs and not each.condition.substitute and count == len(CLASSES)
    return CLASSES if named else tuple(map(str, range(count)))
