"""Trainings as tables: Figs. 4 and 5, NeuNorm, and what Tables 3 to 6 are measured by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import nan
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from harness.analysis.groups import grouped
from harness.analysis.statistics import Mean, mean, share
from harness.records import Record
from harness.spec import paper


class Condition(NamedTuple):
    """What trainings share that differ in the seed alone."""

    dataset: str
    scale: str
    framework: str
    neunorm: str
    T: int
    width: str
    epochs: int
    train_samples: int
    test_samples: int
    batch_size: int
    dropout: float
    optimiser: str
    precision: str
    device: str
    initialisation: str
    network: str
    data_source: str
    partial: bool
    lossy: bool
    simulated: bool
    substitute: bool

    @property
    def reading(self) -> str:
        """NeuNorm's, as tables, figures and verdicts name it."""
        return self.neunorm or "off"

    def columns(self) -> dict[str, object]:
        """Its fields as those of a table."""
        return {**self._asdict(), "neunorm": self.reading}


@dataclass(frozen=True)
class Figures:
    """What trainings of one condition came to, over their seeds; accuracies are in [0, 1]."""

    accuracy: float  # test accuracy after the last epoch: the mean over the seeds
    low: float  # Student's 95 % interval of that mean; NaN for one seed
    high: float
    best_accuracy: float  # best epoch by test accuracy, as papers tell it: the mean
    chosen_accuracy: float  # test accuracy at the epoch that validates best: the mean
    n: int  # seeds
    seconds_per_epoch: float


FIGURES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True)
class Trainings:
    """The trainings of one condition, each with all its rows."""

    condition: Condition
    ended: tuple[Record, ...]  # the row that says it is done, one a seed
    rows: Mapping[str, Sequence[Record]]  # all rows of a training by its key

    @property
    def figures(self) -> Figures:
        last = self.mean([row.test_accuracy for row in self.ended])
        spent = [(row.seconds or nan) / (row.epochs or 1) for row in self.ended]
        return Figures(
            accuracy=last.value,
            low=last.low,
            high=last.high,
            best_accuracy=self.mean([row.best_test_accuracy for row in self.ended]).value,
            chosen_accuracy=self.mean([row.chosen_test_accuracy for row in self.ended]).value,
            n=last.n,
            seconds_per_epoch=fmean(spent),
        )

    @staticmethod
    def mean(values: Iterable[float | None]) -> Mean:
        """Of accuracies, over the seeds whose row has the value."""
        return share([value for value in values if value is not None])

    def of_kind(self, kind: str) -> list[Record]:
        """The rows of that kind of all its trainings."""
        return [row for rows in self.rows.values() for row in rows if row.kind == kind]


def trainings(records: Iterable[Record], suite: str) -> list[Trainings]:
    """The finished trainings of a suite by condition, in the paper's order.

    Of a training that was done anew, the later rows count.
    """
    by_key = grouped((r for r in records if r.suite == suite and r.key), lambda row: row.key or "")
    ended: list[Record] = []
    rows: dict[str, list[Record]] = {}
    for key, own in by_key.items():
        done = [row for row in own if row.kind == "trained"]
        if done:
            ended.append(done[-1])
            rows[key] = _latest(own)
    groups = grouped(ended, condition_of)
    return [
        Trainings(condition, tuple(own), {row.key or "": rows[row.key or ""] for row in own})
        for condition, own in sorted(groups.items(), key=lambda item: _in_order(item[0]))
    ]


def _in_order(condition: Condition) -> tuple[tuple[int, int], Condition]:
    return paper.paper_order(condition.dataset, condition.scale), condition


def _latest(rows: list[Record]) -> list[Record]:
    """One row of each kind, epoch, tested T and layer: the last that was written."""
    latest = {(row.kind, row.epoch, row.tested_T, row.layer): row for row in rows}
    return list(latest.values())


def condition_of(row: Record) -> Condition:
    """What the row's training shares with its other seeds."""
    return Condition(
        dataset=row.dataset,
        scale=row.scale,
        framework=row.framework + (f":{row.variant}" if row.variant else ""),
        neunorm=row.neunorm or "",
        T=row.T,
        width=row.width,
        epochs=row.epochs or 0,
        train_samples=row.train_samples or 0,
        test_samples=row.test_samples or 0,
        batch_size=row.batch_size,
        optimiser=row.optimiser or "",
        dropout=row.dropout or 0.0,
        precision=row.precision,
        device=row.device,
        initialisation=row.initialisation,
        network=row.network,
        data_source=row.data_source or "",
        partial=bool(row.data_partial),
        lossy=bool(row.data_lossy),
        simulated=bool(row.data_simulated),
        substitute=bool(row.data_substitute),
    )


def _table(
    found: list[Trainings], more: Sequence[Mapping[str, object]] | None = None
) -> pd.DataFrame:
    """One line a condition: its main fields, the figures, `more`, and the other fields."""
    front = ("dataset", "scale", "framework", "neunorm", "T")
    extra = more or [{} for _ in found]
    lines = []
    for each, added in zip(found, extra, strict=True):
        fields = each.condition.columns()
        first = {name: fields.pop(name) for name in front}
        lines.append({**first, **asdict(each.figures), **added, **fields})
    return pd.DataFrame(lines)


def scale(records: Iterable[Record]) -> pd.DataFrame:
    """Fig. 4: accuracy of the Small, Middle and Large networks."""
    return _table(trainings(records, "scale"))


def accuracy(records: Iterable[Record]) -> pd.DataFrame:
    """What was trained for Tables 3 to 6."""
    return _table(trainings(records, "accuracy"))


def timesteps(records: Iterable[Record]) -> pd.DataFrame:
    """Fig. 5: accuracy against T. Column `tested_8`: the same networks tested over 8 steps."""
    found = trainings(records, "timesteps")
    steps = sorted({row.tested_T or 0 for each in found for row in each.of_kind("tested")})
    return _table(found, [{f"tested_{T}": _tested(each, T) for T in steps} for each in found])


def _tested(each: Trainings, T: int) -> float:
    return each.mean(r.test_accuracy for r in each.of_kind("tested") if r.tested_T == T).value


def neunorm(records: Iterable[Record]) -> pd.DataFrame:
    """NeuNorm off and on: accuracy, convergence, and the contrast of Fig. 6.

    `target` is the accuracy that all readings reach with the same seed, `epochs_to_target` how soon
    each does; `contrast` is the mean vote for the right class less that for a wrong one.
    """
    found = trainings(records, "neunorm")
    fronts = [each.condition._replace(neunorm="") for each in found]
    more = []
    for each, front in zip(found, fronts, strict=True):
        rivals = [other for other, its in zip(found, fronts, strict=True) if its == front]
        reached = convergence(each, rivals).values()
        contrasts = [contrast(row) for row in each.of_kind("confusion")]
        more.append(
            {
                "target": mean([target for target, _ in reached]).value,
                "epochs_to_target": mean([float(epoch) for _, epoch in reached]).value,
                "contrast": mean(contrasts).value,
            }
        )
    return _table(found, more)


def curves(each: Trainings) -> dict[int, dict[int, float]]:
    """Test accuracy by seed and epoch."""
    found: dict[int, dict[int, float]] = {}
    for row in each.of_kind("epoch"):
        if row.epoch is not None and row.test_accuracy is not None:
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


def contrast(row: Record) -> float:
    """Mean vote for the right class less that for a wrong one, of a row of Fig. 6's matrix."""
    votes = row.votes or ()
    right = [line[n] for n, line in enumerate(votes)]
    wrong = [vote for n, line in enumerate(votes) for m, vote in enumerate(line) if m != n]
    return fmean(right) - fmean(wrong) if right and wrong else nan
