"""The paper's own and cited figures, transcribed: one CSV for Tables 3 to 6, in its order."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One row of Tables 3 to 6. The last four say which of our trainings measures it."""

    table: int
    model: str
    method: str
    accuracy: float  # in [0, 1]
    dataset: str
    network: str  # "" where the row is another's, cited
    neunorm: str  # "mean" stands for NeuNorm on
    framework: str  # "ann" for the network without spikes, else ""


def published(table: int) -> list[Published]:
    """The rows of a table, in the paper's order."""
    text = resources.files(__name__).joinpath("tables.csv").read_text(encoding="utf-8")
    rows = [
        Published(
            table=int(row["table"]),
            model=row["model"],
            method=row["method"],
            accuracy=round(float(row["percent"]) / 100, 6),
            dataset=row["dataset"],
            network=row["network"],
            neunorm=row["neunorm"],
            framework=row["framework"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
    return [row for row in rows if row.table == table]
