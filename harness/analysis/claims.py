"""The paper's nine claims as data, each with the test that decides it, fixed before the runs.

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
from harness.records import Record
from harness.spec import ANN, FLOOR, paper

Status = Literal["reproduced", "reproduced at reduced scale", "not reproduced", "not tested"]

LEVEL = 0.05  # of every test, one-sided
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of what T = 8 is above chance
# Tables 3 to 6: a mean over seeds may stay so far below the published figure.
ACCURACY = 0.01
FEWEST_SEEDS = 3  # with fewer, nothing is said of a trend


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim."""

    status: Status
    figures: str  # what was measured, in one sentence; "" where nothing was
    reason: str  # why it is this verdict


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    claim: str  # in our words
    value: str  # as published
    test: str  # what decides it, in words
    suite: str  # whose rows answer it
    judge: Callable[[Sequence[Record]], Verdict]


def verdicts(records: Iterable[Record]) -> list[tuple[Claim, Verdict]]:
    """Each claim with its verdict, in the paper's order."""
    rows = list(records)
    return [(claim, claim.judge(rows)) for claim in CLAIMS]


def full_size(each: Trainings) -> bool:
    """Whether these trainings are the paper's size: all data, width, epochs and dropout."""
    told, settings = each.condition, paper.settings(each.condition.dataset)
    reduced = told.partial or told.lossy or told.simulated or told.substitute
    return (
        not reduced
        and told.width == "1"
        and told.epochs >= settings.epochs
        and told.dropout == settings.dropout
    )


def scale_of(groups: Sequence[Trainings]) -> str:
    """The scale that trainings were run at, in words."""
    steps: dict[str, set[int]] = {}
    for each in groups:
        steps.setdefault(_size(each), set()).add(each.condition.T)
    return "; ".join(f"{size}, T = {', '.join(map(str, sorted(t)))}" for size, t in steps.items())


def _size(each: Trainings) -> str:
    told = each.condition
    flags = [
        name for name in ("partial", "lossy", "simulated", "substitute") if getattr(told, name)
    ]
    data = f" ({', '.join(flags)})" if flags else ""
    return (
        f"width {told.width}, {told.train_samples:,} training samples of {told.data_source}{data}, "
        f"{told.epochs} epochs, dropout {told.dropout:g}"
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


def _accuracies(each: Trainings) -> dict[int, float]:
    return {row.seed: row.test_accuracy or 0.0 for row in each.ended}


def _percent(values: Iterable[float]) -> str:
    found = share(list(values))
    spread = "" if isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f} %{spread}"


def _rises(table: np.ndarray) -> float:
    """The p-value of Page's trend test: columns rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table).pvalue)


def _fig3(rows: Sequence[Record]) -> Verdict:
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


def _fig4(rows: Sequence[Record]) -> Verdict:
    found = trainings(rows, "scale")
    told, ps, used = [], [], []
    for dataset in dict.fromkeys(each.condition.dataset for each in found):
        own = {each.condition.scale: each for each in found if each.condition.dataset == dataset}
        scales = [own[name] for name in paper.SCALES if name in own]
        table = _paired([_accuracies(each) for each in scales])
        if len(scales) < len(paper.SCALES) or len(table) < FEWEST_SEEDS:
            continue
        used += scales
        ps.append(_rises(table))
        means = ", ".join(_percent(column) for column in table.T)
        told.append(f"{paper.settings(dataset).title} {means} (p = {ps[-1]:.3f})")
    if not ps:
        return _untested(f"no three scales with {FEWEST_SEEDS} seeds", "scale")
    held = all(p < LEVEL for p in ps)
    verb = "rises" if held else "does not rise on every data set"
    return _trend(
        held, used, f"Small, Middle, Large: {'; '.join(told)}", f"Page's trend test: it {verb}"
    )


def _fig5(rows: Sequence[Record]) -> Verdict:
    found = [each for each in trainings(rows, "timesteps") if each.condition.dataset == "cifar10"]
    by_steps = {each.condition.T: each for each in found}
    if not {1, 4, 8} <= set(by_steps):
        return _untested("T = 1, 4 and 8 were not all run on CIFAR-10", "timesteps")
    steps = sorted(by_steps)
    table = _paired([_accuracies(by_steps[T]) for T in steps])
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
    own = {each.condition.neunorm: each for each in found}
    return (own[""], own["mean"]) if {"", "mean"} <= set(own) else None


def _greater(first: np.ndarray, second: np.ndarray) -> float:
    """The one-sided p-value of Student's paired test that `first` is greater."""
    if len(set(first - second)) == 1:  # no spread: SciPy would warn and give NaN
        return 0.0 if first[0] > second[0] else 1.0
    return float(stats.ttest_rel(first, second, alternative="greater").pvalue)


def _fig6(rows: Sequence[Record]) -> Verdict:
    pair = _with_and_without(
        [each for each in trainings(rows, "neunorm") if each.condition.dataset == "cifar10"]
    )
    if pair is None:
        return _untested("CIFAR-10 was not run without and with NeuNorm", "neunorm")
    off, on = ({r.seed: contrast(r) for r in each.of_kind("confusion")} for each in pair)
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


def _conv(rows: Sequence[Record]) -> Verdict:
    pair = _with_and_without(
        [each for each in trainings(rows, "accuracy") if each.condition.dataset == "dvs-cifar10"]
    )
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


def _table(number: int) -> Callable[[Sequence[Record]], Verdict]:
    """The judge of our rows of Table 3, 4, 5 or 6: each within ACCURACY of what is published."""

    def judge(rows: Sequence[Record]) -> Verdict:
        found = trainings(rows, "accuracy")
        used: list[Trainings] = []
        told, held = [], []
        for row in published.published(number):
            for each in (each for each in found if measures(row, each.condition)):
                used.append(each)
                values = list(_accuracies(each).values())
                told_ = each.condition
                name = "ANN" if told_.framework == ANN else f"NeuNorm {told_.reading}"
                told.append(f"{name}: {_percent(values)} (published {100 * row.accuracy:.2f} %)")
                held.append(mean(values).value >= row.accuracy - ACCURACY)
        if not told:
            return _untested("its rows were not run", "accuracy")
        figures = "; ".join(told)
        reduced = [each for each in used if not full_size(each)]
        if reduced:
            reason = "an accuracy at full size is not answered by reduced runs"
            return Verdict("not tested", figures, f"{reason}: {scale_of(reduced)}")
        within = f"within {100 * ACCURACY:.0f} point of the published figures"
        if all(held):
            return Verdict("reproduced", figures, f"all {within}")
        return Verdict("not reproduced", figures, f"not all {within}")

    return judge


_TABLE_TEST = f"mean over seeds at most {100 * ACCURACY:.0f} point below, at the paper's size"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig3",
        "The iterative LIF in PyTorch trains tens of times faster than in Matlab",
        "tens of times (bars without figures)",
        "needs the Matlab implementation",
        "acceleration",
        _fig3,
    ),
    Claim(
        "fig4",
        "Accuracy rises from Small to Middle to Large",
        "trend",
        f"Page's trend test over seeds, p < {LEVEL}, on every data set that was run",
        "scale",
        _fig4,
    ),
    Claim(
        "fig5",
        "On CIFAR-10 longer T is better, 4 to 8 steps suffice, one step is not bad",
        "trend",
        f"Page's trend test, p < {LEVEL}; T = 4 within {100 * SUFFICES:.0f} points of T = 8; T = 1 "
        f"keeps {100 * NOT_BAD:.0f} % of what T = 8 is above chance",
        "timesteps",
        _fig5,
    ),
    Claim(
        "fig6",
        "The confusion matrix over 500 random test images is clearer with NeuNorm",
        "comparison",
        f"contrast of the votes, paired t test over seeds, p < {LEVEL}",
        "neunorm",
        _fig6,
    ),
    Claim(
        "conv",
        "NeuNorm converges sooner on DVS-CIFAR10",
        "best accuracy at epoch 157 without, 103 with",
        f"epochs to the accuracy that both reach, paired t test over seeds, p < {LEVEL}",
        "accuracy",
        _conv,
    ),
    Claim(
        "tab3",
        "N-MNIST without and with NeuNorm",
        "99.44 %, 99.53 %",
        _TABLE_TEST,
        "accuracy",
        _table(3),
    ),
    Claim(
        "tab4",
        "DVS-CIFAR10 without and with NeuNorm",
        "58.1 %, 60.5 %",
        _TABLE_TEST,
        "accuracy",
        _table(4),
    ),
    Claim(
        "tab5",
        "CIFAR-10 by CIFARNet without and with NeuNorm, and by the ANN of the same structure",
        "89.83 %, 90.53 %, 90.49 %",
        _TABLE_TEST,
        "accuracy",
        _table(5),
    ),
    Claim("tab6", "CIFAR-10 by AlexNet", "85.24 %", _TABLE_TEST, "accuracy", _table(6)),
)
