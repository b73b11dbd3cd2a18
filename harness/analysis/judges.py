"""The tests that decide the paper's claims on trends: from rows to a verdict.

A verdict is a pure function of stored rows. What was run at a reduced scale can at most reproduce
or contradict a trend "at reduced scale"; it says nothing of an accuracy that the paper states for
the full size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isnan

import numpy as np
from scipy import stats

from harness.analysis.extent import alike, unconverged
from harness.analysis.learning import contrast, convergence
from harness.analysis.statistics import share
from harness.analysis.trained import Trainings, trainings
from harness.analysis.verdict import (
    FEWEST_SEEDS,
    Effect,
    Unit,
    Verdict,
    decided,
    untested,
)
from harness.records import ConfusionRow, Row
from harness.spec import paper

# The least that would matter of each effect, fixed before the runs; of a trend that is there the
# interval must lie above 0, of one that is not there below this.
STEP = 0.01  # Fig. 4: accuracy a step of scale; less is what another seed or library gives
RISE = 0.01  # Fig. 5: accuracy from T = 1 to T = 8; as above
CLEARER = 0.01  # Fig. 6: votes; a fiftieth of the figure's colours, which nobody would see
SOONER = 0.1  # of the epochs without NeuNorm; the paper's 103 of 157 are 0.34
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of what T = 8 is above chance
ROUNDING = 1e-12  # relative: differences so close are the same number


def paired(groups: Sequence[dict[int, float]]) -> np.ndarray:
    """Values by seed (rows) and group (columns), of the seeds that all groups have."""
    seeds = sorted(set.intersection(*(set(group) for group in groups))) if groups else []
    values = [[group[seed] for group in groups] for seed in seeds]
    return np.array(values).reshape(len(seeds), len(groups))


def of_dataset(dataset: str, found: Sequence[Trainings]) -> list[Trainings]:
    return [each for each in found if each.condition.case.dataset == dataset]


def _percent(values: Iterable[float]) -> str:
    found = share(list(values))
    spread = "" if isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f} %{spread}"


def _rises(table: np.ndarray) -> float | None:
    """The p-value of Page's trend test: columns rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table).pvalue) if len(table) >= FEWEST_SEEDS else None


def _is_positive(gains: np.ndarray) -> float | None:
    """The one-sided p-value of Student's paired test, of its differences; None of too few."""
    if len(gains) < FEWEST_SEEDS:
        return None
    if np.ptp(gains) <= ROUNDING * np.abs(gains).max():  # no spread: SciPy would warn
        return 0.0 if gains[0] > 0 else 1.0
    return float(stats.ttest_rel(gains, np.zeros(len(gains)), alternative="greater").pvalue)


def fig4(rows: Sequence[Row]) -> Verdict:
    """Whether accuracy rises with the scale, on each data set: its slope, and Page's trend test."""
    found = trainings(rows, "scale")
    said, effects, used = [], [], []
    for dataset in dict.fromkeys(each.condition.case.dataset for each in found):
        sets = alike(
            of_dataset(dataset, found), lambda each: each.condition.case.scale, "scale", "network"
        )
        by_scale = next((each for each in sets if set(paper.SCALES) <= set(each)), None)
        if by_scale is None:
            continue
        scales = [by_scale[name] for name in paper.SCALES]
        table, title = paired([each.accuracies for each in scales]), paper.settings(dataset).title
        slopes = (table[:, -1] - table[:, 0]) / (len(paper.SCALES) - 1)  # least squares of three
        effects.append(
            Effect(
                *(f"{title}, a step of scale", "points", tuple(slopes.tolist()), 0.0, STEP),
                p=_rises(table),
                doubt=unconverged(scales),
            )
        )
        used += scales
        said.append(f"{title} {', '.join(_percent(column) for column in table.T)}")
    if not effects:
        return untested("no data set has all three scales", "scale")
    return decided(effects, used, f"Small, Middle, Large: {'; '.join(said)}", "scale")


def fig5(rows: Sequence[Row]) -> Verdict:
    """Of CIFAR-10: whether accuracy rises with T, and what T = 4 and T = 1 lose to T = 8."""
    found = of_dataset("cifar10", trainings(rows, "timesteps"))
    sets = alike(found, lambda each: each.condition.case.T, "T")
    by_steps = next((each for each in sets if {1, 4, 8} <= set(each)), None)
    if by_steps is None:
        return untested("T = 1, 4 and 8 were not all run on CIFAR-10", "timesteps")
    steps = sorted(by_steps)
    groups = [by_steps[T] for T in steps]
    table, doubt = paired([each.accuracies for each in groups]), unconverged(groups)
    column = {T: table[:, n] for n, T in enumerate(steps)}
    chance = 1 / by_steps[8].condition.case.network.classes

    def effect(name: str, values: np.ndarray, bounds: tuple[float, float]) -> Effect:
        return Effect(name, "points", tuple(values.tolist()), *bounds, doubt=doubt)

    rise = effect("T = 8 less T = 1", column[8] - column[1], (0.0, RISE))
    kept = (column[1] - chance) - NOT_BAD * (column[8] - chance)
    effects = [
        replace(rise, p=_rises(table)),
        effect("T = 4 less T = 8", column[4] - column[8], (-SUFFICES, -SUFFICES)),
        effect(f"T = 1 less {100 * NOT_BAD:.0f} % of T = 8, above chance", kept, (0.0, 0.0)),
    ]
    figures = ", ".join(f"T = {T}: {_percent(column[T])}" for T in steps)
    return decided(effects, groups, figures, "timesteps")


def with_and_without(found: Sequence[Trainings]) -> tuple[Trainings, Trainings] | None:
    """Trainings without NeuNorm and with its default reading."""
    sets = alike(found, lambda each: each.condition.reading, "neunorm")
    return next(
        ((each["off"], each["mean"]) for each in sets if {"off", "mean"} <= set(each)), None
    )


def gain(
    pair: tuple[Trainings, Trainings], gains: np.ndarray, name: str, unit: Unit, matters: float
) -> Effect:
    """What NeuNorm gains, by a paired t test over seeds."""
    values, doubt = tuple(gains.tolist()), unconverged(pair)
    return Effect(name, unit, values, 0.0, matters, p=_is_positive(gains), doubt=doubt)


def fig6(rows: Sequence[Row]) -> Verdict:
    """Whether the votes on CIFAR-10 are clearer with NeuNorm: a paired t test over seeds."""
    pair = with_and_without(of_dataset("cifar10", trainings(rows, "neunorm")))
    if pair is None:
        return untested("CIFAR-10 was not run without and with NeuNorm", "neunorm")
    off, on = ({r.seed: contrast(r) for r in each.of_kind(ConfusionRow)} for each in pair)
    table = paired([off, on])
    if not len(table):
        return untested("no seed was run both without and with NeuNorm", "neunorm")
    means = table.mean(0)
    figures = (
        f"mean vote for the right class less a wrong one: {means[0]:.3f} off, {means[1]:.3f} on"
    )
    effect = gain(pair, table[:, 1] - table[:, 0], "contrast of the votes", "votes", CLEARER)
    return decided([effect], pair, figures, "neunorm")


def conv(rows: Sequence[Row]) -> Verdict:
    """Whether DVS-CIFAR10 is learnt in fewer epochs with NeuNorm: a paired t test over seeds."""
    pair = with_and_without(of_dataset("dvs-cifar10", trainings(rows, "accuracy")))
    if pair is None:
        return untested("DVS-CIFAR10 was not run without and with NeuNorm", "accuracy")
    off, on = (convergence(each, list(pair)) for each in pair)
    table = paired([{s: float(n) for s, (_, n) in each.items()} for each in (off, on)])
    if not len(table):
        return untested("no seed was run both without and with NeuNorm", "accuracy")
    means = table.mean(0)
    figures = f"epochs to what both reach: {means[0]:.1f} without, {means[1]:.1f} with NeuNorm"
    effect = gain(pair, 1 - table[:, 1] / table[:, 0], "epochs saved", "share", SOONER)
    return decided([effect], pair, figures, "accuracy")
