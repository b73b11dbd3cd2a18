"""Rows to tables: one function per table and figure, each a pure function of stored rows.

Tables 3 to 6 have every row of the paper, with what was trained and run here. `published` is
the paper's own and cited figures, transcribed: one CSV in its order.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Annotated

import pandas as pd
from pydantic import BeforeValidator, TypeAdapter

from harness.analysis import timings, trainings
from harness.analysis.ablations import ablations
from harness.analysis.energy import energy
from harness.analysis.frame import Frame, Frames, frames
from harness.analysis.timings import TimedLine
from harness.analysis.trainings import ALIKE, CONDITION, FIGURES, FRONT, TrainingLine
from harness.analysis.words import FLAGS, WINDOWS
from harness.records import FittedResult, Row
from harness.spec import ANN, Fit
from harness.statistics import mean_share

PUBLISHED = Path(__file__).with_name("published")


@dataclass(frozen=True)
class PublishedRow:
    """A row of Tables 3 to 6; `dataset` to `baselines` say which of our measurements match it."""

    table: int
    model: str
    method: str
    percent: float
    dataset: str
    network: str  # "": it is another's, cited
    neunorm: str
    framework: str
    baselines: Annotated[tuple[str, ...], BeforeValidator(str.split)]  # of `harness list baselines`
    note: str  # what of it is doubtful, and by what source

    @property
    def accuracy(self) -> float:
        """The published accuracy, in [0, 1]."""
        return round(self.percent / 100, 6)


@cache
def published() -> tuple[PublishedRow, ...]:
    """Return all rows of Tables 3 to 6, in their order."""
    rows = csv.DictReader((PUBLISHED / "tables.csv").read_text("utf-8").splitlines())
    return TypeAdapter(tuple[PublishedRow, ...]).validate_python(tuple(rows))


@lru_cache(maxsize=4)
def baselines(frames: Frames) -> Frame:
    """Return the results of the baselines, a line for each condition, in the tables' order."""
    rows = frames.current_rows(FittedResult)
    ended = [(case, row) for row in rows if isinstance(case := row.case, Fit)]
    names = list(dict.fromkeys(name for row in published() for name in row.baselines))
    datasets = ("nmnist", "dvs-cifar10", "cifar10")  # as the tables have them
    lines = [_figures(*condition) for condition in trainings.conditions(ended, "baselines")]

    def order(line: dict[str, object]) -> tuple[object, ...]:
        """Return the place of a line: data set, paper's order of systems, name, window, T."""
        name = str(line["framework"])
        place = names.index(name) if name in names else len(names)
        return datasets.index(str(line["dataset"])), place, name, line["window"], line["T"]

    return pd.DataFrame(sorted(lines, key=order), columns=COLUMNS)


# Of baselines.
COLUMNS = (
    *("dataset", "framework", "accuracy", "low", "high", "n", "random", "window", "sensor"),
    *("structure", "fidelity", "deviations", "chosen", "source_accuracy", "spikes", "seconds"),
    *("test_seconds", "effort", "epochs", "train_samples", "test_samples", "data_source", *FLAGS),
    "machines",
)


def _figures(
    case: Fit, data: trainings.DataUsed, ended: Sequence[Row[FittedResult]]
) -> dict[str, object]:
    """Return the columns of a baseline's line: how it was fitted, and its results over seeds."""
    results, T = [row.result for row in ended], case.workload.T
    last, accuracy = results[-1], mean_share([result.test_accuracy for result in results])
    source = [a for result in results if (a := result.source_accuracy) is not None]
    spikes = [result.spikes for result in results if result.spikes is not None]
    return {
        **{"dataset": case.workload.dataset, "framework": case.contender.name, "T": T},
        **accuracy._asdict() | {"accuracy": accuracy.value, "epochs": case.epochs},
        **data._asdict(),
        **{"random": last.random, "structure": last.structure, "fidelity": last.fidelity},
        "effort": case.effort,
        "window": WINDOWS[case.window].format(T=T),
        "sensor": "x".join(map(str, last.sensor)) if last.sensor else "",
        "deviations": ended[-1].installation.deviations or "none known",
        "chosen": "; ".join(dict.fromkeys(result.chosen for result in results if result.chosen)),
        "source_accuracy": mean_share(source).value if source else None,
        "spikes": fmean(spikes) if spikes else None,
        "seconds": fmean(result.seconds for result in results),
        "test_seconds": fmean(result.test_seconds for result in results),
        "machines": trainings.machines_text(ended),
    }


def paper_table(number: int, frames: Frames) -> Frame:
    """Return Table 3, 4, 5 or 6 in its order: a line for each condition a row was run under.

    Of trainings those on the fixed schedule, as for the claims, where a row has any; of these the
    conditions that suite `accuracy` has a seed of, else those of other suites. A row that was not
    run has one line too. `published` and the measured figures are in [0, 1]; `source` is whether
    the paper measured the row or cites it, `note` what of it is doubtful. Of a baseline
    `framework` is its name, and `fidelity` and `deviations` say how near it is to what was
    published.
    """
    trained, others = trainings.lines(frames, "accuracy", *ALIKE), baselines(frames)
    columns = [*FIGURES, *FRONT, *CONDITION, "machines"]
    lines = []
    for row in published():
        if row.table != number:
            continue
        alike = trainings.as_fixed([line for line in trained if measures(row, line)])
        ours = trainings.table([line for line in alike if line.is_of_suite] or alike)
        # a system that was run belongs to a published row
        is_its = others["framework"].isin(row.baselines) & (others["dataset"] == row.dataset)
        front = {
            "model": row.model,
            "method": row.method,
            "published": row.accuracy,
            "dataset": row.dataset,
            "source": "this paper" if row.network else "cited by the paper",
            "note": row.note,
        }
        lines += [
            {**front, "difference": line["accuracy"] - row.accuracy, **line}
            for line in (*ours[columns].to_dict("records"), *others.loc[is_its].to_dict("records"))
        ] or [front]
    return pd.DataFrame(lines, columns=list(dict.fromkeys(name for line in lines for name in line)))


def measures(row: PublishedRow, line: TrainingLine) -> bool:
    """Return whether trainings match a published row: data, network, ANN or not, NeuNorm or not."""
    return (
        (line.dataset, line.scale) == (row.dataset, row.network)
        and line.is_ann == (row.framework == ANN)
        and (line.neunorm != "off") == bool(row.neunorm)
    )


TIMED = "acceleration", "layer"  # suites, by which timings are told apart


def timed(suite: str, frames: Frames) -> list[TimedLine]:
    """Return the timings of a suite, in the order of `timings.lines`."""
    return [line for line in timings.lines(frames) if line.suite == suite]


def _timings_table(suite: str, frames: Frames) -> Frame:
    return timings.table(timed(suite, frames))


# Tables by name, with the names of machines, which a csv leaves out.
FULL: dict[str, Callable[[Frames], pd.DataFrame]] = {
    **{name: partial(_timings_table, name) for name in TIMED},
    "timesteps": trainings.timesteps,
    "scale": trainings.scale,
    "neunorm": trainings.neunorm,
    "accuracy": trainings.accuracy,
    "ablations": ablations,
    "baselines": baselines,
    "energy": energy,
    **{str(number): partial(paper_table, number) for number in (3, 4, 5, 6)},
}


def csv_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without its column `machines` (of timings `machine`), as a csv has it."""
    of_page = "machine" if "ratio_to_floor" in table else "machines"
    return table.drop(columns=of_page, errors="ignore")


def _table(name: str, rows: Frames | Iterable[Row]) -> pd.DataFrame:
    return csv_columns(FULL[name](frames(rows)))


TABLES: dict[str, Callable[[Frames | Iterable[Row]], pd.DataFrame]] = {
    name: partial(_table, name) for name in FULL
}


def suites_of(name: str) -> tuple[str, ...]:
    """Return the suites whose rows a table is made of."""
    return (*ALIKE, "baselines") if name.isdigit() else (name,)
