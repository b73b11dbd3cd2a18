"""Rows to tables: one function per table and figure, each a pure function of stored rows.

Tables 3 to 6 have every row of the paper, with what was trained and run here. `published` is
the paper's own and cited figures, transcribed: one CSV in its order. Its notes say what of a row is
doubtful, and by what source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from harness.analysis import timings, trainings
from harness.analysis.energy import energy
from harness.analysis.frame import Frame, Frames, Line, each_of, frames
from harness.analysis.trainings import CONDITION, FIGURES, FRONT, conditions, share
from harness.analysis.words import FLAGS
from harness.records import Row
from harness.spec import ANN

PUBLISHED = Path(__file__).with_name("published")
WINDOWS = {"first": "first {T} bins", "whole": "whole recording", "": ""}
COLUMNS = (
    *("framework", "accuracy", "low", "high", "n", "random", "window", "sensor", "structure"),
    *("fidelity", "deviations", "chosen", "source_accuracy", "spikes", "seconds", "test_seconds"),
    *("effort", "epochs", "train_samples", "test_samples", "data_source", *FLAGS),
)


@cache
def published() -> Frame:
    """Return all rows of Tables 3 to 6.

    From `dataset` on, the columns name our measurement of a row: `network` "" is another's, cited;
    `baselines` are systems of `harness list baselines`.
    """
    path = PUBLISHED / "tables.csv"
    rows = pd.read_csv(path, keep_default_na=False, dtype={"percent": float})
    rows["accuracy"] = (rows["percent"] / 100).round(6)
    return rows.assign(baselines=[tuple(each.split()) for each in rows["baselines"]])


@lru_cache(maxsize=4)
def baselines(frames: Frames) -> Frame:
    """Return every other system that was run, a line for each condition, in the tables' order.

    Accuracy over seeds, how it was run, and on what.
    """
    ended = frames["fitted"]
    ended = ended[ended["counts"] & (ended["suite"] == "baselines")]
    known = list(dict.fromkeys(name for names in published()["baselines"] for name in names))
    datasets = ("nmnist", "dvs-cifar10", "cifar10")  # as the tables have them
    lines = [{**line, **_figures(rows)} for line, rows in conditions(ended, "baselines")]

    def order(line: dict[str, Any]) -> tuple[object, ...]:
        name = line["framework"]
        place = known.index(name) if name in known else len(known)
        return datasets.index(line["dataset"]), place, name, line["window"], line["T"]

    return pd.DataFrame(sorted(lines, key=order), columns=["dataset", *COLUMNS, "machines"])


def _figures(ended: Frame) -> dict[str, Any]:
    last: Line = next(each_of(ended.tail(1)))
    source, spikes = ended["source_accuracy"].dropna(), ended["spikes"].dropna()
    same = ("random", "structure", "fidelity", "effort")
    return {
        **dict(
            zip(("accuracy", "low", "high", "n"), share([*ended["test_accuracy"]]), strict=True)
        ),
        **{name: getattr(last, name) for name in same},
        "window": WINDOWS[last.window].format(T=last.T),
        "sensor": "x".join(map(str, last.sensor)) if last.sensor else "",
        "deviations": last.deviations or "none known",
        "chosen": "; ".join(each for each in ended["chosen"].unique() if each),
        "source_accuracy": share([*source]).value if len(source) else None,
        "spikes": fmean(spikes) if len(spikes) else None,
        **{name: fmean(ended[name]) for name in ("seconds", "test_seconds")},
    }


def paper_table(number: int, frames: Frames) -> Frame:
    """Table 3, 4, 5 or 6 in the paper's order; a line for each condition that a row was run under.

    `published` and the measured figures are in [0, 1]; `source` is whether the paper measured the
    row or cites it, `note` what of it is doubtful. Of another system `framework` is its name, and
    `fidelity` and `deviations` say how near it is to what was published.
    """
    found = trainings.table(trainings.trainings(frames, "accuracy"))
    others = baselines(frames)
    own, lines = [*FIGURES, *FRONT, *CONDITION, "machines"], []
    for row in each_of(published()[published()["table"] == number]):
        ours = found.loc[[measures(row, each) for each in each_of(found)], own]
        # a system that was run belongs to a published row
        is_its = others["framework"].isin(row.baselines) & (others["dataset"] == row.dataset)
        theirs = others.loc[is_its, [*COLUMNS, "machines"]]
        front = {
            "model": row.model,
            "method": row.method,
            "published": row.accuracy,
            "dataset": row.dataset,
            "source": "this paper" if row.network else "cited by the paper",
            "note": row.note,
        }
        lines += [
            {**front, "difference": each["accuracy"] - row.accuracy, **each}
            for each in (*ours.to_dict("records"), *theirs.to_dict("records"))
        ] or [front]
    return pd.DataFrame(lines, columns=list(dict.fromkeys(name for line in lines for name in line)))


def measures(row: Line, line: Line) -> bool:
    """Return whether a line of trainings measures a published row."""
    return (
        (line.dataset, line.scale) == (row.dataset, row.network)
        and (line.framework == ANN) == (row.framework == ANN)
        and (line.neunorm != "off") == bool(row.neunorm)
    )


# With columns that only the page needs.
FULL: dict[str, Callable[[Frames], pd.DataFrame]] = {
    "acceleration": timings.lines,
    "timesteps": trainings.timesteps,
    "scale": trainings.scale,
    "neunorm": trainings.neunorm,
    "accuracy": trainings.accuracy,
    "ablations": trainings.ablations,
    "baselines": baselines,
    "energy": energy,
    **{str(number): partial(paper_table, number) for number in (3, 4, 5, 6)},
}


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a table alone, without those that only the page needs."""
    of_page = timings.PAGE_COLUMNS if "ratio_to_floor" in table else ("machines",)
    return table.drop(columns=[*of_page], errors="ignore")


def _table(name: str, rows: Frames | Iterable[Row]) -> pd.DataFrame:
    return plain(FULL[name](frames(rows)))


TABLES: dict[str, Callable[[Frames | Iterable[Row]], pd.DataFrame]] = {
    name: partial(_table, name) for name in FULL
}


def suites_of(name: str) -> tuple[str, ...]:
    """Return the suites whose rows a table is made of."""
    return ("accuracy", "baselines") if name.isdigit() else (name,)
