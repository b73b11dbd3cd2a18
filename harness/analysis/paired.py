"""Trainings that differ in one thing, paired by their seeds: what effects are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from math import log
from operator import attrgetter
from typing import TypeVar

import pandas as pd

from harness import statistics
from harness.analysis import trainings
from harness.analysis.effect import FEWEST_SEEDS, Judgement, Unit, is_on_schedule
from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.trainings import Column, TrainingLine, same_but
from harness.analysis.words import FLAGS
from harness.spec import paper

Value = TypeVar("Value", str, int)  # of a column

BY_ERRORS = ("nmnist",)  # all is above 98 %: a gain is the share of the errors that it takes away
# The seeds that answer `conv` and Table 4 by the second plan.
NEW_SEEDS = range(8, 16)


class Untested(Exception):
    """A claim's measurements are missing; the text says which."""


def is_full_size(line: TrainingLine) -> bool:
    """Return whether these trainings have the paper's data, width, epochs, dropout and float32."""
    case, settings = line.case, paper.settings(line.dataset)
    return (
        not any(getattr(line, flag) for flag in FLAGS)
        and case.workload.width == 1
        and min(line.trained_epochs) >= settings.epochs
        and case.workload.network.dropout == settings.dropout
        and case.contender.precision == "fp32"  # mixed precision trains another network
    )


def comparable(frames: Frames, suite: str, dataset: str | None = None) -> list[TrainingLine]:
    """Return trainings on the paper's data, by the paper's function: those of `suite` first."""
    lines = [
        line
        for line in trainings.lines(frames, suite, *trainings.ALIKE)
        if dataset in (None, line.dataset) and not line.substitute and not line.deviations
    ]
    return sorted(lines, key=lambda line: not line.is_of_suite)


def match(
    lines: Sequence[TrainingLine], values: Collection[Value], column: Column, *others: Column
) -> dict[Value, TrainingLine]:
    """Return trainings with a common seed that differ only in these columns, by the first of them.

    Of several choices with all `values` the best one (`preference`): `others` may differ among
    trainings of one value too. Raises Untested for none.
    """
    ordered, choices = sorted(values), list[dict[Value, TrainingLine]]()
    for alike in grouped(lines, same_but(column, *others)).values():
        by_value: dict[Value, list[TrainingLine]] = grouped(alike, attrgetter(column))
        first = {value: group[0] for value, group in by_value.items()}
        for chosen in product(*(by_value.get(value, ()) for value in ordered)):
            if len(by_seed(chosen)):
                choices.append(first | dict(zip(ordered, chosen, strict=True)))
    if not choices:
        names = ", ".join(map(str, ordered))
        raise Untested(f"no trainings alike, with a common seed, have {column} = {names}")
    return min(choices, key=lambda choice: preference([choice[value] for value in ordered]))


def neunorm_pair(lines: Sequence[TrainingLine]) -> tuple[TrainingLine, TrainingLine]:
    """Return trainings without NeuNorm and with it. Raises Untested for none."""
    pair = match(lines, {"off", "mean"}, "neunorm", "neunorm_u")
    return pair["off"], pair["mean"]


def preference(groups: Collection[TrainingLine]) -> tuple[bool, bool, bool, float, int]:
    """Return the sort key of trainings to compare: first those that say most."""
    n = len(by_seed(groups))
    work = sum(line.case.workload.width * line.train_samples * line.epochs for line in groups)
    is_reduced = not all(map(is_full_size, groups))
    return not is_on_schedule(groups), n < FEWEST_SEEDS, is_reduced, -float(work), -n


def by_seed(groups: Iterable[TrainingLine]) -> Frame:
    """Return accuracies by seed (a line) and training (a column), of the seeds that all have."""
    return common_seeds(line.accuracies for line in groups)


def common_seeds(groups: Iterable[Mapping[int, float]]) -> Frame:
    """Return figures by seed (a line) and training (a column), of the seeds that all have."""
    return pd.DataFrame(dict(enumerate(groups))).dropna().sort_index()


def trend(accuracies: Frame) -> float | None:
    """Return p of Page's trend test: accuracy rises from the first column to the last."""
    return statistics.page_trend_test(accuracies) if len(accuracies) >= FEWEST_SEEDS else None


def gain(old: pd.Series, new: pd.Series, line: TrainingLine) -> tuple[pd.Series, Unit]:
    """Return the gain of accuracy by seed: in points, or BY_ERRORS the log of a share of errors."""
    if line.dataset not in BY_ERRORS:
        return new - old, "points"
    half = 0.5 / line.test_samples  # of an image: there is a logarithm of no errors too
    return ((1 - old + half) / (1 - new + half)).map(log), "share"


def u_in_words(line: TrainingLine) -> str:
    """Return the first value of NeuNorm's U in words."""
    return "U uniform at first" if line.neunorm_u == "uniform" else f"U = {line.neunorm_u}"


def waits_for_new_seeds() -> Judgement:
    """Return the answer of a part that NEW_SEEDS alone decide, where none of them is there."""
    seeds = f"seeds {NEW_SEEDS[0]} to {NEW_SEEDS[-1]}"
    return Judgement("open", f"{seeds} alone decide, and are not trained", seeds)
