"""Trainings as tables: Figs. 4 and 5, NeuNorm, and what Tables 3 to 6 are measured by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import nan
from statistics import fmean
from typing import TypeVar

import pandas as pd

from harness.analysis.groups import grouped
from harness.analysis.statistics import share
from harness.records import (
    CertificateRow,
    EpochRow,
    Record,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
)
from harness.spec import Trained, Training, paper

R = TypeVar("R", bound=Record)

LEARNT = 2.0  # times chance: who reads less of what it was trained on has learnt nothing

# What must be said of data wherever a figure of them is shown.
FLAGS = ("partial", "lossy", "simulated", "substitute")


@dataclass(frozen=True)
class Condition:
    """What trainings share that differ in the seed alone."""

    case: Trained  # with seed 0, and without what was asked of the trained network
    train_samples: int
    test_samples: int
    data_source: str
    # of the training or the test data
    partial: bool
    lossy: bool
    simulated: bool
    substitute: bool

    @classmethod
    def of(cls, row: Record) -> Condition:
        """What the row's training shares with its other seeds."""
        case = Trained.of(row)
        return cls(
            case=replace(case, seed=0, training=_trained(case.training)),
            train_samples=row.train_samples or 0,
            test_samples=row.test_samples or 0,
            data_source=row.data_source or "",
            partial=bool(row.data_partial or row.data_test_partial),
            lossy=bool(row.data_lossy or row.data_test_lossy),
            simulated=bool(row.data_simulated or row.data_test_simulated),
            substitute=bool(row.data_substitute or row.data_test_substitute),
        )

    @property
    def reading(self) -> str:
        """NeuNorm's, as tables, figures and verdicts name it."""
        neunorm = self.case.network.neunorm
        return neunorm.reading if neunorm else "off"

    @property
    def flags(self) -> tuple[str, ...]:
        """What must be said of its data wherever a figure is shown."""
        return tuple(name for name in FLAGS if getattr(self, name))

    def columns(self) -> dict[str, object]:
        """Its fields as those of a table."""
        case = self.case
        static = paper.settings(case.dataset).static
        return {
            "dataset": case.dataset,
            "scale": case.scale,
            "framework": case.framework,
            "neunorm": self.reading,
            "T": case.T,
            "width": str(case.width),
            "epochs": case.training.epochs,
            "train_samples": self.train_samples,
            "test_samples": self.test_samples,
            "batch_size": case.batch_size,
            "dropout": case.network.dropout,
            "optimiser": str(case.optimiser),
            "precision": case.precision,
            "device": case.device,
            "initialisation": case.initialisation,
            "bin_ms": nan if static else case.training.bin_us / 1000,
            "v_th": case.network.lif.v_th,
            "a": case.network.lif.a,
            "loss_function": case.training.loss,
            "network": str(case.network),
            "data_source": self.data_source,
            "partial": self.partial,
            "lossy": self.lossy,
            "simulated": self.simulated,
            "substitute": self.substitute,
        }


def _trained(training: Training) -> Training:
    """How it was trained, without what was asked of the trained network; its data say the rest."""
    asked = {"samples": None, "test_samples": None, "embedded": False}
    return replace(training, tested_at=(), confusion=False, **asked)


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
    ended: tuple[TrainedRow, ...]  # the row that says it is done, one a seed
    rows: tuple[Row, ...]  # all rows of these trainings

    @property
    def figures(self) -> Figures:
        """The accuracies over the seeds, with the interval of the one after the last epoch."""
        last = share([row.test_accuracy for row in self.ended])
        return Figures(
            accuracy=last.value,
            low=last.low,
            high=last.high,
            best_accuracy=share([row.best_test_accuracy for row in self.ended]).value,
            chosen_accuracy=share([row.chosen_test_accuracy for row in self.ended]).value,
            n=last.n,
            seconds_per_epoch=fmean(row.seconds / (row.epochs or 1) for row in self.ended),
        )

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy after the last epoch, by seed."""
        return {row.seed: row.test_accuracy for row in self.ended}

    @property
    def last_epochs(self) -> list[EpochRow]:
        """The last epoch of each seed."""
        by_seed = grouped(self.of_kind(EpochRow), lambda row: row.seed)
        return [max(rows, key=lambda row: row.epoch) for rows in by_seed.values()]

    @property
    def at_chance(self) -> tuple[int, ...]:
        """The seeds that learnt nothing: on what they were trained on they end near chance."""
        least = LEARNT / self.condition.case.network.classes
        return tuple(row.seed for row in self.last_epochs if row.train_accuracy < least)

    def of_kind(self, kind: type[R]) -> list[R]:
        """The rows of that kind of all its trainings."""
        return [row for row in self.rows if isinstance(row, kind)]

    def tested_at(self, T: int) -> list[float]:
        """Test accuracies over that many steps, one a training."""
        return [row.test_accuracy for row in self.of_kind(TestedRow) if row.tested_T == T]


def trainings(records: Iterable[Row], suite: str) -> list[Trainings]:
    """The finished trainings of a suite by condition, in the paper's order.

    Of a training that was done anew, the later rows count.
    """
    by_key = grouped((r for r in records if r.suite == suite and r.key), lambda row: row.key)
    ended: list[TrainedRow] = []
    rows: dict[str | None, list[Row]] = {}
    for key, group in by_key.items():
        done = [row for row in group if isinstance(row, TrainedRow)]
        if done:
            ended.append(done[-1])
            rows[key] = _latest(group)
    groups = grouped(ended, Condition.of)
    return [
        Trainings(condition, tuple(seeds), tuple(row for end in seeds for row in rows[end.key]))
        for condition, seeds in sorted(groups.items(), key=_in_order)
    ]


def _in_order(item: tuple[Condition, list[TrainedRow]]) -> tuple[object, ...]:
    condition = item[0]
    case = condition.case
    reading = case.network.neunorm.reading if case.network.neunorm else ""
    columns = {**condition.columns(), "neunorm": reading}
    return paper.paper_order(case.dataset, case.scale), *columns.values()


def _latest(rows: list[Row]) -> list[Row]:
    """One row of each kind, epoch, tested T and layer: the last that was written."""
    return list({_nth(row): row for row in rows}.values())


def _nth(row: Row) -> tuple[object, ...]:
    match row:
        case EpochRow():
            return row.kind, row.epoch
        case TestedRow():
            return row.kind, row.tested_T
        case CertificateRow():
            return row.kind, row.certificate_precision, row.layer
        case _:
            return (row.kind,)


def table(
    found: list[Trainings], more: Sequence[Mapping[str, object]] | None = None
) -> pd.DataFrame:
    """One line a condition: its main fields, the figures, `more`, and the other fields.

    `at_chance`: how many of the n seeds learnt nothing. They are in the means.
    """
    front = ("dataset", "scale", "framework", "neunorm", "T")
    extra = more or [{} for _ in found]
    lines = []
    for each, added in zip(found, extra, strict=True):
        columns = each.condition.columns()
        first = {name: columns.pop(name) for name in front}
        figures = {**asdict(each.figures), "at_chance": len(each.at_chance)}
        lines.append({**first, **figures, **added, **columns})
    return pd.DataFrame(lines)


def scale(records: Iterable[Row]) -> pd.DataFrame:
    """Fig. 4: accuracy of the Small, Middle and Large networks."""
    return table(trainings(records, "scale"))


def accuracy(records: Iterable[Row]) -> pd.DataFrame:
    """What was trained for Tables 3 to 6.

    `recorded_accuracy`: of networks trained on simulated events, on `recorded_samples` real
    recordings, with its interval over seeds.
    """
    found = trainings(records, "accuracy")
    if not any(each.of_kind(TransferRow) for each in found):
        return table(found)
    return table(found, [_on_recordings(each) for each in found])


def _on_recordings(each: Trainings) -> dict[str, object]:
    rows = each.of_kind(TransferRow)
    found = share([row.test_accuracy for row in rows])
    samples = dict.fromkeys(row.recorded_samples for row in rows)
    return {
        "recorded_accuracy": found.value,
        "recorded_low": found.low,
        "recorded_high": found.high,
        "recorded_samples": ", ".join(map(str, samples)),
    }


def timesteps(records: Iterable[Row]) -> pd.DataFrame:
    """Fig. 5: accuracy against T. Column `tested_8`: the same networks tested over 8 steps."""
    found = trainings(records, "timesteps")
    steps = sorted({row.tested_T for each in found for row in each.of_kind(TestedRow)})
    more = [{f"tested_{T}": share(each.tested_at(T)).value for T in steps} for each in found]
    return table(found, more)
