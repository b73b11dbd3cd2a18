"""The other systems of Tables 3 to 6, run here: their figures over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from harness.analysis import published
from harness.analysis.groups import grouped
from harness.analysis.statistics import Mean, share
from harness.analysis.trained import Condition
from harness.records import FittedRow, Row, TestedRow
from harness.spec import System

WINDOWS = {"first": "first {T} bins", "whole": "whole recording", None: ""}


@dataclass(frozen=True)
class Live:
    """A system under one condition, over its seeds."""

    condition: Condition
    ended: tuple[FittedRow, ...]  # one a seed
    tested: tuple[TestedRow, ...]  # after numbers of steps

    @property
    def name(self) -> str:
        """The system's, as `harness list baselines` has it."""
        return self.condition.case.framework

    @property
    def window(self) -> str:
        """How much of a recording it was given, in words; "" of images."""
        case = self.condition.case
        return WINDOWS[case.window if isinstance(case, System) else None].format(T=case.T)

    @property
    def accuracy(self) -> Mean:
        """Test accuracy over the seeds."""
        return share([row.test_accuracy for row in self.ended])

    @property
    def source_accuracy(self) -> Mean | None:
        """That of the networks without spikes that it was converted from; None: of none."""
        found = [row.source_accuracy for row in self.ended if row.source_accuracy is not None]
        return share(found) if found else None

    @property
    def over_steps(self) -> dict[int, Mean]:
        """Test accuracy after each number of steps."""
        found: dict[int, list[float]] = {}
        for row in sorted(self.tested, key=lambda row: row.tested_T):
            found.setdefault(row.tested_T, []).append(row.test_accuracy)
        return {steps: share(values) for steps, values in found.items()}

    def columns(self) -> dict[str, object]:
        """Its figures and how it was run, as those of a table."""
        condition, last = self.condition, self.ended[-1]
        accuracy, source = self.accuracy, self.source_accuracy
        spikes = [row.spikes for row in self.ended if row.spikes is not None]
        return {
            "framework": self.name,
            "accuracy": accuracy.value,
            "low": accuracy.low,
            "high": accuracy.high,
            "n": accuracy.n,
            "random": last.random,
            "window": self.window,
            "sensor": "x".join(map(str, last.sensor)) if last.sensor else "",
            "structure": last.structure,
            "fidelity": last.fidelity,
            "deviations": last.deviations or "none known",
            "chosen": "; ".join(dict.fromkeys(row.chosen for row in self.ended if row.chosen)),
            "source_accuracy": None if source is None else source.value,
            "spikes": fmean(spikes) if spikes else None,
            "seconds": fmean(row.seconds for row in self.ended),
            "test_seconds": fmean(row.test_seconds for row in self.ended),
            "effort": last.effort,
            "epochs": condition.case.training.epochs,
            "train_samples": condition.train_samples,
            "test_samples": condition.test_samples,
            "data_source": condition.data_source,
            "partial": condition.partial,
            "lossy": condition.lossy,
            "simulated": condition.simulated,
            "substitute": condition.substitute,
        }


def live(records: Iterable[Row]) -> list[Live]:
    """The systems that were run, in the order of the paper's tables; of one that was fitted anew
    the later rows count.
    """
    rows = [row for row in records if row.suite == "baselines" and row.key]
    ended = {row.key: row for row in rows if isinstance(row, FittedRow)}
    tested: dict[tuple[str | None, int], TestedRow] = {
        (row.key, row.tested_T): row for row in rows if isinstance(row, TestedRow)
    }
    found = [
        Live(
            condition,
            tuple(seeds),
            tuple(row for row in tested.values() if row.key in {end.key for end in seeds}),
        )
        for condition, seeds in grouped(ended.values(), Condition.of).items()
    ]
    order = published.systems()
    return sorted(found, key=lambda each: _place(each, order))


def _place(each: Live, order: tuple[str, ...]) -> tuple[object, ...]:
    known = order.index(each.name) if each.name in order else len(order)
    case = each.condition.case
    datasets = ("nmnist", "dvs-cifar10", "cifar10")  # as the tables have them
    return datasets.index(case.dataset), known, each.name, each.window, case.T


def baselines(records: Iterable[Row]) -> pd.DataFrame:
    """Every other system that was run: accuracy over seeds, how, on what."""
    found = live(records)
    lines = [{"dataset": each.condition.case.dataset, **each.columns()} for each in found]
    return pd.DataFrame(lines)
