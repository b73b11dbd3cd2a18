"""Records to tables: one function per table and figure, each a pure function of stored rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pandas as pd

from harness.analysis import timings
from harness.analysis.energy import energy
from harness.analysis.frame import Frames, frames
from harness.analysis.paper_tables import baselines, paper_table
from harness.analysis.trainings import ablations, accuracy, neunorm, scale, timesteps
from harness.records import Row

# With what a page needs beside the columns of a table.
FULL: dict[str, Callable[[Frames], pd.DataFrame]] = {
    "acceleration": timings.lines,
    "timesteps": timesteps,
    "scale": scale,
    "neunorm": neunorm,
    "accuracy": accuracy,
    "ablations": ablations,
    "baselines": baselines,
    "energy": energy,
    **{str(number): partial(paper_table, number) for number in (3, 4, 5, 6)},
}


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table alone, without what a page needs beside them."""
    beside = timings.BESIDE if "ratio_to_floor" in table else ("machines",)
    return table.drop(columns=[*beside], errors="ignore")


def _table(name: str, rows: Frames | Iterable[Row]) -> pd.DataFrame:
    return plain(FULL[name](frames(rows)))


TABLES: dict[str, Callable[[Frames | Iterable[Row]], pd.DataFrame]] = {
    name: partial(_table, name) for name in FULL
}
# The suites whose rows a table is made of, where it has another name.
SUITES_OF = {str(number): ("accuracy", "baselines") for number in (3, 4, 5, 6)}


def suites_of(name: str) -> tuple[str, ...]:
    """The suites whose rows a table is made of."""
    return SUITES_OF.get(name, (name,))
