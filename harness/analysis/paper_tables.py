"""Tables 3 to 6: every row of the paper, beside it what was trained and run here.

`published` is the paper's own and cited figures, transcribed: one CSV in its order. Its notes say
what of a row is doubtful, and by what source.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from io import StringIO
from statistics import fmean
from typing import Any

import pandas as pd

from harness.analysis.frame import Frame, Frames, Line, each_of
from harness.analysis.statistics import Mean, share
from harness.analysis.trainings import CONDITION, FIGURES, FLAGS, FRONT, conditions, trainings
from harness.spec import ANN

WINDOWS = {"first": "first {T} bins", "whole": "whole recording", "": ""}
COLUMNS = (
    *("framework", "accuracy", "low", "high", "n", "random", "window", "sensor", "structure"),
    *("fidelity", "deviations", "chosen", "source_accuracy", "spikes", "seconds", "test_seconds"),
    *("effort", "epochs", "train_samples", "test_samples", "data_source", *FLAGS),
)
# What a page needs of a system beside its columns; `over_steps`: test accuracy by number of steps.
BESIDE = ("case", "source", "over_steps", "machines")
FRONT_OF_PAPER = ("model", "method", "published", "source", "note", "difference")


@cache
def published() -> Frame:
    """All rows of Tables 3 to 6. From `dataset` on the columns say what of ours measures a row:
    `network` "" is another's, cited; `baselines` are systems as `harness list baselines` has them.
    """
    text = resources.files("harness.analysis").joinpath("published/tables.csv").read_text("utf-8")
    rows = pd.read_csv(StringIO(text), keep_default_na=False, dtype={"percent": float})
    rows["accuracy"] = (rows["percent"] / 100).round(6)
    return rows.assign(baselines=[tuple(each.split()) for each in rows["baselines"]])


def systems(frames: Frames) -> Frame:
    """The other systems that were run: a line for each condition, in the order of the tables."""
    ended, tested = frames["fitted"], frames["tested"]
    ended = ended[ended["counts"] & (ended["suite"] == "baselines")]
    tested = tested[tested["counts"] & (tested["suite"] == "baselines")]
    known = list(dict.fromkeys(name for names in published()["baselines"] for name in names))
    datasets = ("nmnist", "dvs-cifar10", "cifar10")  # as the tables have them
    lines = [
        {
            **line,
            **_figures(rows),
            "over_steps": _over_steps(tested[tested["key"].isin(rows["key"])]),
        }
        for line, rows in conditions(ended)
    ]

    def order(line: dict[str, Any]) -> tuple[object, ...]:
        name = line["framework"]
        place = known.index(name) if name in known else len(known)
        return datasets.index(line["dataset"]), place, name, line["window"], line["T"]

    return pd.DataFrame(sorted(lines, key=order), columns=["dataset", *COLUMNS, *BESIDE])


def _figures(ended: Frame) -> dict[str, Any]:
    last: Line = next(each_of(ended.tail(1)))
    accuracy = share([*ended["test_accuracy"]])
    source, spikes = ended["source_accuracy"].dropna(), ended["spikes"].dropna()
    before = share([*source]) if len(source) else None
    return {
        **{"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        "n": accuracy.n,
        "random": last.random,
        "window": WINDOWS[last.window].format(T=last.T),
        "sensor": "x".join(map(str, last.sensor)) if last.sensor else "",
        "structure": last.structure,
        "fidelity": last.fidelity,
        "deviations": last.deviations or "none known",
        "chosen": "; ".join(each for each in ended["chosen"].unique() if each),
        "source": before,
        "source_accuracy": before.value if before else None,
        "spikes": fmean(spikes) if len(spikes) else None,
        "seconds": fmean(ended["seconds"]),
        "test_seconds": fmean(ended["test_seconds"]),
        "effort": last.effort,
    }


def _over_steps(tested: Frame) -> dict[int, Mean]:
    return {T: share([*of]) for T, of in tested.groupby("tested_T")["test_accuracy"]}


def baselines(frames: Frames) -> Frame:
    """Every other system that was run: accuracy over seeds, how, on what."""
    return systems(frames)[["dataset", *COLUMNS, "machines"]]


def paper_table(number: int, frames: Frames) -> Frame:
    """Table 3, 4, 5 or 6 in the paper's order; a line for each condition that a row was run under.

    `published` and the measured figures are in [0, 1]; `source` says whether the paper measured the
    row or cites it, `note` what of it is doubtful. Of another system `framework` is its name, and
    `fidelity` and `deviations` say how near it is to what was published. Table 6's row of ours does
    not say whether NeuNorm was on: both are listed.
    """
    found, others = trainings(frames, "accuracy"), systems(frames)
    parts = []
    for row in each_of(published()[published()["table"] == number]):
        ours = found.loc[[measures(row, each) for each in each_of(found)]]
        own = [*FIGURES, *FRONT, *CONDITION, "machines"]
        theirs = others.loc[[is_of(row, each) for each in each_of(others)]]
        lines = [*ours[own].to_dict("records"), *theirs[[*COLUMNS, "machines"]].to_dict("records")]
        front = {
            "model": row.model,
            "method": row.method,
            "published": row.accuracy,
            "source": "this paper" if row.network else "cited by the paper",
            "note": row.note,
        }
        measured = [
            {**front, "difference": each["accuracy"] - row.accuracy, **each} for each in lines
        ]
        parts += measured or [front]
    columns = list(dict.fromkeys(name for line in parts for name in line))
    return pd.DataFrame(parts, columns=columns)


def measures(row: Line, line: Line) -> bool:
    """Whether a line of trainings measures a published row; Table 6 leaves NeuNorm open."""
    spiking = line.framework != ANN
    return (
        (line.dataset, line.scale) == (row.dataset, row.network)
        and spiking == (row.framework != ANN)
        and (row.table == 6 or (line.neunorm != "off") == bool(row.neunorm))
    )


def is_of(row: Line, line: Line) -> bool:
    """Whether a system that was run is that of a published row."""
    return line.framework in row.baselines and line.dataset == row.dataset
