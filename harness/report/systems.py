"""What the figures of the systems that the paper compares with show: published against live, and
conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.analysis.named import steps_in_words
from harness.analysis.paper import is_of, measures
from harness.analysis.published import Published, published
from harness.analysis.statistics import Mean, share
from harness.analysis.systems import Live, live
from harness.analysis.trained import Condition, trainings
from harness.records import Row
from harness.report.drawing import Curve, Curves, Dots, Mark, Strip, Strips, linear, steps_of_time
from harness.report.trained import axis_of_accuracies, data_of, in_per_cent, of_accuracies
from harness.spec import ANN, paper

PUBLISHED = Mark(0.0, colour=0, form="bar")
MEASURED = Mark(0.0, colour=1)


def table(number: int, rows: Sequence[Row]) -> Dots | None:
    """Every row of a table: the published accuracy, and a line for each system that was measured
    here as this row; None: nothing was.

    Intervals are 95 % over seeds; what has none draws nothing at random, or had one seed.
    """
    groups = []
    measured = False
    for row in published(number):
        says = Mark(100 * row.accuracy, note="published", form="bar")
        found = [(how, in_per_cent(each, 1, how)) for how, each in _measured(row, rows)]
        strips = [Strip(how, (says, mark), f"{mark.value:.1f}") for how, mark in found]
        groups.append(Strips(_name(row), tuple(strips) or (Strip("not measured here", (says,)),)))
        measured |= bool(found)
    if not measured:
        return None
    axis = linear("test accuracy, %", 0.0, 100.0, "{:.1f} %")
    title = paper.settings(dataset(number)).title
    key = ((f"published, on {title}", PUBLISHED), ("measured here", MEASURED))
    return Dots(axis, tuple(groups), key=key)


def dataset(number: int) -> str:
    """The data set of a table."""
    return published(number)[0].dataset


def data_of_table(number: int, rows: Sequence[Row]) -> str:
    """What the rows of a table were measured on here, as its caption says it."""
    names: dict[str, None] = {}
    for row in published(number):
        for each in trainings(rows, "accuracy"):
            if measures(row, each.condition):
                names[data_of(each)] = None
        for system in live(rows):
            if is_of(row, system):
                names[data_of(system)] = None
    # "recordings" beside "recordings, 5 ms bins" are the same ones
    return "; ".join(a for a in names if not any(b.startswith(f"{a},") for b in names))


def _name(row: Published) -> str:
    return f"{row.model}, {row.method}" if row.method else row.model


def _measured(row: Published, rows: Sequence[Row]) -> list[tuple[str, Mean]]:
    """What measures a row, in words, with its accuracy."""
    trained = [each for each in trainings(rows, "accuracy") if measures(row, each.condition)]
    conditions = [each.condition for each in trained]
    ours = [
        (_size(each.condition, conditions), share(list(each.accuracies.values())))
        for each in trained
    ]
    others = [(_how(each), each.accuracy) for each in live(rows) if is_of(row, each)]
    return ours + others


def _size(of: Condition, beside: Sequence[Condition]) -> str:
    """How large a training is; reading of NeuNorm, steps and data where those beside it differ."""
    parts = [f"width {of.case.width}", f"{of.train_samples:,} samples"]
    told: tuple[Callable[[Condition], str], ...] = (
        lambda each: each.reading,
        lambda each: steps_in_words(each.case),
        lambda each: "simulated" if each.simulated else "recordings",
    )
    parts += [say(of) for say in told if len({say(each) for each in beside}) > 1]
    return ", ".join(parts)


def _how(each: Live) -> str:
    return f"{each.name}, {each.window}" if each.window else each.name


def conversion(rows: Sequence[Row]) -> Curves | None:
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
    drawn, levels = [], []
    for n, each in enumerate(found, 1):
        marks = [(float(T), in_per_cent(made, n)) for T, made in each.over_steps.items()]
        drawn.append(Curve(each.name, n, tuple(marks)))
        if each.source_accuracy is not None:
            name = f"{each.name}, before its conversion"
            levels.append((100 * each.source_accuracy.value, name, n))
    direct = _direct(rows, {_samples(each.condition) for each in found})
    if direct:
        drawn.append(Curve("CIFARNet, trained directly over T", 0, direct))
    x = steps_of_time([T for curve in drawn for T, _ in curve.marks])
    return Curves(x, axis_of_accuracies(drawn, "test accuracy, %"), tuple(drawn), tuple(levels))


def _samples(condition: Condition) -> tuple[int, int, str]:
    """How many samples a network was made from and tested on, and which."""
    return condition.train_samples, condition.test_samples, condition.data_source


def _direct(
    rows: Sequence[Row], samples: set[tuple[int, int, str]]
) -> tuple[tuple[float, Mark], ...]:
    """The paper's network on CIFAR-10 by the T it was trained over, on those samples."""
    found = {
        each.condition.case.T: list(each.accuracies.values())
        for each in trainings(rows, "timesteps")
        if each.condition.case.dataset == "cifar10"
        and _samples(each.condition) in samples
        and each.condition.case.scale == "CIFARNet"
        and each.condition.case.framework != ANN
        and each.condition.case.network.neunorm is None
    }
    return tuple((float(T), of_accuracies(found[T], 0)) for T in sorted(found))
