"""How far trainings went: whether they are the paper's size, and whether they had converged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy as np

from harness.analysis.groups import grouped
from harness.analysis.trained import Trainings
from harness.records import EpochRow
from harness.spec import paper

K = TypeVar("K", bound=Hashable)

PRECISION = "fp32"  # of the paper's trainings; mixed precision trains another network
# A training has converged where, at the slope of the last quarter of its epochs, as many epochs
# more would add less than a point to its training accuracy: a point is the least that matters in
# the verdicts, so what is left to learn turns none of them.
LEFT = 0.01
FEWEST_EPOCHS = 8  # a quarter of fewer has no two epochs, and no slope


def full_size(each: Trainings) -> bool:
    """Whether these trainings are the paper's: all data, width, epochs, dropout and precision."""
    case = each.condition.case
    settings = paper.settings(case.dataset)
    return (
        not each.condition.flags
        and case.width == 1
        and case.trained.epochs >= settings.epochs
        and case.network.dropout == settings.dropout
        and case.precision == PRECISION
    )


def alike(
    found: Sequence[Trainings], key: Callable[[Trainings], K], *apart: str
) -> list[dict[K, Trainings]]:
    """Trainings by key, in sets that differ in the columns `apart` alone.

    Only these compare with each other. The paper's size comes first, then what learnt from more.
    """
    sets: dict[tuple[object, ...], dict[K, Trainings]] = {}
    for each in found:
        columns = each.condition.columns().items()
        same = tuple(value for name, value in columns if name not in apart)
        sets.setdefault(same, {})[key(each)] = each
    return sorted(sets.values(), key=lambda same: largest_first(same.values()))


def largest_first(groups: Collection[Trainings]) -> tuple[bool, float]:
    """Sorts sets of trainings: the paper's size comes first, then what learnt from more."""
    conditions = [each.condition for each in groups]
    seen = sum(each.train_samples * each.case.trained.epochs for each in conditions)
    return not all(map(full_size, groups)), -float(seen)


def scale_of(groups: Sequence[Trainings]) -> str:
    """The scale that trainings were run at, in words."""
    steps: dict[str, set[int]] = {}
    for each in groups:
        steps.setdefault(_size(each), set()).add(each.condition.case.T)
    return "; ".join(f"{size}, T = {', '.join(map(str, sorted(t)))}" for size, t in steps.items())


def _size(each: Trainings) -> str:
    condition, case = each.condition, each.condition.case
    data = f" ({', '.join(condition.flags)})" if condition.flags else ""
    exact = case.precision == PRECISION
    precision = "" if exact else f", {case.precision} (the paper's is float32)"
    return (
        f"width {case.width}, {condition.train_samples:,} training samples of "
        f"{condition.data_source}{data}, {case.trained.epochs} epochs, "
        f"dropout {case.network.dropout:g}{precision}"
    )


@dataclass(frozen=True)
class Doubt:
    """Why trainings can tell nothing, and what would have them tell."""

    why: str
    needs: str


def unconverged(groups: Sequence[Trainings]) -> Doubt | None:
    """Why trainings cannot be told by where they ended; None where all of them had converged."""
    longer = "trainings that converge: more epochs (`--epochs`)"
    for each in groups:
        case = each.condition.case
        name = f"{paper.settings(case.dataset).title} {case.scale}, NeuNorm "
        name += f"{each.condition.reading}, T = {case.T}"
        curve = _training_curve(each)
        if len(curve) < FEWEST_EPOCHS:
            few = f"too few epochs to tell whether training had converged: {len(curve)} ({name})"
            return Doubt(few, longer)
        if each.at_chance:
            seeds = ", ".join(map(str, each.at_chance))
            near = f"training accuracy ended near chance with seed {seeds} ({name})"
            return Doubt(near, f"a network that learns with every seed ({name})")
        left = _left(curve)
        if left > LEFT:
            rose = f"training accuracy still rose, {100 * left:.1f} points a quarter ({name})"
            return Doubt(rose, longer)
    return None


def _training_curve(each: Trainings) -> list[float]:
    """Training accuracy by epoch, the mean over the seeds."""
    by_epoch = grouped(each.of_kind(EpochRow), lambda row: row.epoch)
    return [fmean(row.train_accuracy for row in by_epoch[n]) for n in sorted(by_epoch)]


def _left(curve: Sequence[float]) -> float:
    """What a quarter of the epochs more would add at the slope of the last quarter."""
    last = curve[len(curve) * 3 // 4 :]
    return float(np.polyfit(range(len(last)), last, 1)[0]) * len(last)
