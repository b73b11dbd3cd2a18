"""The paper's own and cited figures, transcribed: one CSV for Tables 3 to 6, in its order.

Its notes say what of a row is doubtful, and by what source.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One row of Tables 3 to 6. The fields from `dataset` on say what of ours measures it."""

    table: int
    model: str
    method: str
    accuracy: float  # in [0, 1]
    dataset: str
    network: str  # "" where the row is another's, cited
    neunorm: str  # "mean" stands for NeuNorm on
    framework: str  # "ann" for the network without spikes, else ""
    baselines: tuple[str, ...]  # the systems that it is of, as `harness list baselines` has them
    note: str  # what of it is doubtful; "" where nothing is known to be


def published(table: int) -> list[Published]:
    """The rows of a table, in the paper's order."""
    return [row for row in _rows() if row.table == table]


def systems() -> tuple[str, ...]:
    """The other systems of all tables, in their order, each once."""
    return tuple(dict.fromkeys(name for row in _rows() for name in row.baselines))


def _rows() -> list[Published]:
    text = resources.files(__name__).joinpath("tables.csv").read_text(encoding="utf-8")
    return [
        Published(
            table=int(row["table"]),
            model=row["model"],
            method=row["method"],
            accuracy=round(float(row["percent"]) / 100, 6),
            dataset=row["dataset"],
            network=row["network"],
            neunorm=row["neunorm"],
            framework=row["framework"],
            baselines=tuple(row["baselines"].split()),
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
