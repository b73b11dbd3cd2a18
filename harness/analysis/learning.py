"""How soon networks learn and how clearly they vote: NeuNorm's table, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

import pandas as pd

from harness.analysis.statistics import mean
from harness.analysis.trained import Condition, Trainings, table, trainings
from harness.records import ConfusionRow, EpochRow, Row


def neunorm(records: Iterable[Row]) -> pd.DataFrame:
    """NeuNorm off and on: accuracy, convergence, and the contrast of Fig. 6.

    `target` is the accuracy that all readings reach with the same seed, `epochs_to_target` how soon
    each does; `contrast` is the mean vote for the right class less that for a wrong one.
    """
    found = trainings(records, "neunorm")
    fronts = [_without_neunorm(each.condition) for each in found]
    more = []
    for each, front in zip(found, fronts, strict=True):
        rivals = [other for other, its in zip(found, fronts, strict=True) if its == front]
        reached = convergence(each, rivals).values()
        contrasts = [contrast(row) for row in each.of_kind(ConfusionRow)]
        more.append(
            {
                "target": mean([target for target, _ in reached]).value,
                "epochs_to_target": mean([float(epoch) for _, epoch in reached]).value,
                "contrast": mean(contrasts).value,
            }
        )
    return table(found, more)


def _without_neunorm(condition: Condition) -> Condition:
    network = replace(condition.case.network, neunorm=None)
    return replace(condition, case=replace(condition.case, network=network))


def curves(each: Trainings) -> dict[int, dict[int, float]]:
    """Test accuracy by seed and epoch."""
    found: dict[int, dict[int, float]] = {}
    for row in each.of_kind(EpochRow):
        found.setdefault(row.seed, {})[row.epoch] = row.test_accuracy
    return found


def convergence(each: Trainings, rivals: Sequence[Trainings]) -> dict[int, tuple[float, int]]:
    """By seed that all rivals have: the accuracy that all reach, and the epoch `each` does."""
    others = [curves(rival) for rival in rivals]
    found = {}
    for seed, curve in curves(each).items():
        if all(seed in other for other in others):
            target = min(max(other[seed].values()) for other in others)
            found[seed] = target, min(n for n, reached in curve.items() if reached >= target)
    return found


def contrast(row: ConfusionRow) -> float:
    """Mean vote for the right class less that for a wrong one, of a row of Fig. 6's matrix."""
    right = [line[n] for n, line in enumerate(row.votes)]
    wrong = [vote for n, line in enumerate(row.votes) for m, vote in enumerate(line) if m != n]
    return fmean(right) - fmean(wrong) if right and wrong else nan
