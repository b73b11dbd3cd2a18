"""`harness.results`: rows, and the tables that are made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.analysis import tables, timings
from harness.analysis.claims import table as verdict_table
from harness.analysis.claims import verdicts
from harness.analysis.frame import Frames, frames, machines
from harness.records import Row
from harness.report.provenance import failures
from harness.spec import UsageError


@dataclass(frozen=True, repr=False)
class Results:
    """Rows as they were written, and each table of `harness tables` as a DataFrame.

    A table has the columns of `harness tables NAME --format csv`. Rows of several machines are
    never mixed: a table shows them machine by machine, that with most rows first.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        counts = Counter(row.suite for row in self.rows)
        said = ", ".join(f"{suite} {n:,}" for suite, n in counts.items())
        return f"Results({len(self.rows):,} rows: {said})"

    @cached_property
    def frames(self) -> Frames:
        """The rows as DataFrames, one a kind, as all tables are made of them."""
        return frames(self.rows)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that the rows were measured on, that with most rows first."""
        return tuple(machines(self.frames["all"]))

    def table(self, name: int | str) -> pd.DataFrame:
        """A table by its name: 3 to 6 are the paper's, "scale" is the suite's.

        Raises UsageError for an unknown one, and where there are no rows for it.
        """
        known = str(name)
        if known not in tables.TABLES:
            raise UsageError(f"unknown table {known!r}, choose from {', '.join(tables.TABLES)}")
        suites = tables.suites_of(known)
        if not any(row.suite in suites for row in self.rows):
            raise UsageError(f"no rows of {suites[0]}: first harness.run(suite={suites[0]!r})")
        return tables.TABLES[known](self.frames)

    def acceleration(self, *, latest: bool = False) -> pd.DataFrame:
        """Fig. 3: who takes how long, in seconds and against the floor.

        `latest`: one line a contender, of each cell the last run that has most of them.
        """
        if not latest:
            return self.table("acceleration")
        return tables.plain(timings.latest(timings.lines(self.frames)))

    def timesteps(self) -> pd.DataFrame:
        """Fig. 5: accuracy against T."""
        return self.table("timesteps")

    def scale(self) -> pd.DataFrame:
        """Fig. 4: accuracy of the Small, Middle and Large networks."""
        return self.table("scale")

    def neunorm(self) -> pd.DataFrame:
        """Fig. 6: accuracy and votes without and with NeuNorm."""
        return self.table("neunorm")

    def accuracy(self) -> pd.DataFrame:
        """What was trained for Tables 3 to 6."""
        return self.table("accuracy")

    def ablations(self) -> pd.DataFrame:
        """Trainings that differ from one in a single thing."""
        return self.table("ablations")

    def baselines(self) -> pd.DataFrame:
        """The other systems of Tables 3 to 6."""
        return self.table("baselines")

    def energy(self) -> pd.DataFrame:
        """What an inference of one sample takes."""
        return self.table("energy")

    def verdicts(self) -> pd.DataFrame:
        """Each claim with its verdict and the effects that decide it, one line an effect."""
        return verdict_table(verdicts(self.frames))

    def failed(self) -> pd.DataFrame:
        """The cases that came to nothing and what was warned of, each with its reason."""
        return failures(self.frames)
