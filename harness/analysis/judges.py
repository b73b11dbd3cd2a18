"""The tests that decide the paper's claims: from rows to a verdict.

A verdict is a pure function of stored rows. What was run at a reduced scale can at most reproduce a
trend "at reduced scale"; it says nothing of an accuracy that the paper states for the full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np
from scipy import stats

from harness.analysis import published
from harness.analysis.paper import measures
from harness.analysis.speed import acceleration_lines
from harness.analysis.statistics import mean, share
from harness.analysis.trained import Trainings, contrast, convergence, trainings
from harness.records import ConfusionRow, Row
from harness.spec import ANN, FLOOR, paper

Status = Literal["reproduced", "reproduced at reduced scale", "not reproduced", "not tested"]

LEVEL = 0.05  # of every test, one-sided
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of what T = 8 is above chance
# Tables 3 to 6: a mean over seeds may stay so far below the published figure.
ACCURACY = 0.01
FEWEST_SEEDS = 3  # with fewer, nothing is said of a trend
ROUNDING = 1e-12  # relative: differences so close are the same number


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim."""

    status: Status
    figures: str  # what was measured, in one sentence; "" where nothing was
    reason: str  # why it is this verdict


def full_size(each: Trainings) -> bool:
    """Whether these trainings are the paper's size: all data, width, epochs and dropout."""
    case = each.condition.case
    settings = paper.settings(case.dataset)
    return (
        not each.condition.flags
        and case.width == 1
        and case.trained.epochs >= settings.epochs
        and case.network.dropout == settings.dropout
    )


def scale_of(groups: Sequence[Trainings]) -> str:
    """The scale that trainings were run at, in words."""
    steps: dict[str, set[int]] = {}
    for each in groups:
        steps.setdefault(_size(each), set()).add(each.condition.case.T)
    return "; ".join(f"{size}, T = {', '.join(map(str, sorted(t)))}" for size, t in steps.items())


def _size(each: Trainings) -> str:
    condition, case = each.condition, each.condition.case
    data = f" ({', '.join(condition.flags)})" if condition.flags else ""
    return (
        f"width {case.width}, {condition.train_samples:,} training samples of "
        f"{condition.data_source}{data}, {case.trained.epochs} epochs, "
        f"dropout {case.network.dropout:g}"
    )


def _untested(what: str, suite: str) -> Verdict:
    return Verdict("not tested", "", f"{what}: run `harness run --suite {suite}`")


def _trend(held: bool, groups: Sequence[Trainings], figures: str, reason: str) -> Verdict:
    """The verdict on a trend that was tested on these trainings."""
    reduced = [each for each in groups if not full_size(each)]
    if not held:
        at = f"; at reduced scale: {scale_of(reduced)}" if reduced else ""
        return Verdict("not reproduced", figures, reason + at)
    if reduced:
        return Verdict("reproduced at reduced scale", figures, f"{reason}; {scale_of(reduced)}")
    return Verdict("reproduced", figures, reason)


def _paired(groups: Sequence[dict[int, float]]) -> np.ndarray:
    """Values by seed (rows) and group (columns), of the seeds that all groups have."""
    seeds = sorted(set.intersection(*(set(group) for group in groups))) if groups else []
    return np.array([[group[seed] for group in groups] for seed in seeds])


def _on(dataset: str, found: Sequence[Trainings]) -> list[Trainings]:
    return [each for each in found if each.condition.case.dataset == dataset]


def _percent(values: Iterable[float]) -> str:
    found = share(list(values))
    spread = "" if isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f} %{spread}"


def _rises(table: np.ndarray) -> float:
    """The p-value of Page's trend test: columns rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table).pvalue)


def fig3(rows: Sequence[Row]) -> Verdict:
    """Not to be tested, since the Matlab it is against is not public; our ratios are said."""
    timed = [
        line.ratio_to_floor
        for line in acceleration_lines(rows)
        if line.framework != FLOOR and not isnan(line.ratio_to_floor)
    ]
    figures = ""
    if timed:
        low, high = min(timed), max(timed)
        figures = f"contenders take {low:.2f} to {high:.2f} times the floor"
    return Verdict(
        "not tested",
        figures,
        "the Matlab implementation that it compares with is not public; "
        "what PyTorch takes is measured, against the machine's floor",
    )


def fig4(rows: Sequence[Row]) -> Verdict:
    """Whether accuracy rises with the scale: Page's trend test over seeds, on each data set."""
    found = trainings(rows, "scale")
    said, ps, used = [], [], []
    for dataset in dict.fromkeys(each.condition.case.dataset for each in found):
        by_scale = {each.condition.case.scale: each for each in _on(dataset, found)}
        scales = [by_scale[name] for name in paper.SCALES if name in by_scale]
        table = _paired([each.accuracies for each in scales])
        if len(scales) < len(paper.SCALES) or len(table) < FEWEST_SEEDS:
            continue
        used += scales
        ps.append(_rises(table))
        means = ", ".join(_percent(column) for column in table.T)
        said.append(f"{paper.settings(dataset).title} {means} (p = {ps[-1]:.3f})")
    if not ps:
        return _untested(f"no three scales with {FEWEST_SEEDS} seeds", "scale")
    held = all(p < LEVEL for p in ps)
    verb = "rises" if held else "does not rise on every data set"
    return _trend(
        held, used, f"Small, Middle, Large: {'; '.join(said)}", f"Page's trend test: it {verb}"
    )


def fig5(rows: Sequence[Row]) -> Verdict:
    """Of CIFAR-10: whether accuracy rises with T, and what T = 4 and T = 1 lose to T = 8."""
    found = _on("cifar10", trainings(rows, "timesteps"))
    by_steps = {each.condition.case.T: each for each in found}
    if not {1, 4, 8} <= set(by_steps):
        return _untested("T = 1, 4 and 8 were not all run on CIFAR-10", "timesteps")
    steps = sorted(by_steps)
    table = _paired([by_steps[T].accuracies for T in steps])
    if len(table) < FEWEST_SEEDS:
        return _untested(f"fewer than {FEWEST_SEEDS} seeds", "timesteps")
    column = dict(zip(steps, table.mean(0), strict=True))
    chance = 0.1
    p = _rises(table)
    lost = column[8] - column[4]
    kept = (column[1] - chance) / (column[8] - chance) if column[8] > chance else 0.0
    parts = [
        (p < LEVEL, f"accuracy rises with T (Page's test, p = {p:.3f})"),
        (lost <= SUFFICES, f"T = 4 loses {100 * lost:.1f} points to T = 8"),
        (kept >= NOT_BAD, f"T = 1 keeps {100 * kept:.0f} % of what T = 8 is above chance"),
    ]
    reason = "; ".join(("yes: " if held else "no: ") + text for held, text in parts)
    figures = ", ".join(f"T = {T}: {_percent(table[:, n])}" for n, T in enumerate(steps))
    return _trend(all(held for held, _ in parts), [by_steps[T] for T in steps], figures, reason)


def _with_and_without(found: Sequence[Trainings]) -> tuple[Trainings, Trainings] | None:
    """Trainings without NeuNorm and with its default reading."""
    by_reading = {each.condition.reading: each for each in found}
    both = {"off", "mean"} <= set(by_reading)
    return (by_reading["off"], by_reading["mean"]) if both else None


def _greater(first: np.ndarray, second: np.ndarray) -> float:
    """The one-sided p-value of Student's paired test that `first` is greater."""
    gains = first - second
    if np.ptp(gains) <= ROUNDING * np.abs(gains).max():  # no spread: SciPy would warn
        return 0.0 if first[0] > second[0] else 1.0
    return float(stats.ttest_rel(first, second, alternative="greater").pvalue)


def fig6(rows: Sequence[Row]) -> Verdict:
    """Whether the votes on CIFAR-10 are clearer with NeuNorm: a paired t test over seeds."""
    pair = _with_and_without(_on("cifar10", trainings(rows, "neunorm")))
    if pair is None:
        return _untested("CIFAR-10 was not run without and with NeuNorm", "neunorm")
    off, on = ({r.seed: contrast(r) for r in each.of_kind(ConfusionRow)} for each in pair)
    table = _paired([off, on])
    if len(table) < FEWEST_SEEDS:
        return _untested(f"fewer than {FEWEST_SEEDS} seeds", "neunorm")
    p = _greater(table[:, 1], table[:, 0])
    means = table.mean(0)
    figures = (
        f"mean vote for the right class less a wrong one: {means[0]:.3f} off, {means[1]:.3f} on"
    )
    verb = "is clearer" if p < LEVEL else "is not clearer"
    return _trend(p < LEVEL, pair, figures, f"with NeuNorm it {verb} (paired t test, p = {p:.3f})")


def conv(rows: Sequence[Row]) -> Verdict:
    """Whether DVS-CIFAR10 is learnt in fewer epochs with NeuNorm: a paired t test over seeds."""
    pair = _with_and_without(_on("dvs-cifar10", trainings(rows, "accuracy")))
    if pair is None:
        return _untested("DVS-CIFAR10 was not run without and with NeuNorm", "accuracy")
    off, on = (convergence(each, list(pair)) for each in pair)
    table = _paired([{s: float(n) for s, (_, n) in each.items()} for each in (off, on)])
    if len(table) < FEWEST_SEEDS:
        return _untested(f"fewer than {FEWEST_SEEDS} seeds", "accuracy")
    p = _greater(table[:, 0], table[:, 1])
    means = table.mean(0)
    figures = f"epochs to what both reach: {means[0]:.1f} without, {means[1]:.1f} with NeuNorm"
    verb = "sooner" if p < LEVEL else "not sooner"
    return _trend(p < LEVEL, pair, figures, f"with it {verb} (paired t test, p = {p:.3f})")


def table(number: int) -> Callable[[Sequence[Row]], Verdict]:
    """The judge of our rows of Table 3, 4, 5 or 6: each within ACCURACY of what is published."""

    def judge(rows: Sequence[Row]) -> Verdict:
        found = trainings(rows, "accuracy")
        used: list[Trainings] = []
        said, held = [], []
        for row in published.published(number):
            for each in (each for each in found if measures(row, each.condition)):
                used.append(each)
                values = list(each.accuracies.values())
                ann = each.condition.case.framework == ANN
                name = "ANN" if ann else f"NeuNorm {each.condition.reading}"
                said.append(f"{name}: {_percent(values)} (published {100 * row.accuracy:.2f} %)")
                held.append(mean(values).value >= row.accuracy - ACCURACY)
        if not said:
            return _untested("its rows were not run", "accuracy")
        figures = "; ".join(said)
        reduced = [each for each in used if not full_size(each)]
        if reduced:
            reason = "an accuracy at full size is not answered by reduced runs"
            return Verdict("not tested", figures, f"{reason}: {scale_of(reduced)}")
        within = f"within {100 * ACCURACY:.0f} point of the published figures"
        if all(held):
            return Verdict("reproduced", figures, f"all {within}")
        return Verdict("not reproduced", figures, f"not all {within}")

    return judge
