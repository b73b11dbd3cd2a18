"""`harness.results`: rows of result folders, their tables, and their machines, data and proofs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partialmethod
from pathlib import Path

import pandas as pd

from harness.analysis import claims, tables, timings
from harness.analysis import frame as frame_
from harness.analysis.frame import Frame, Frames
from harness.analysis.words import counted
from harness.records import Row, Store
from harness.records.current import current
from harness.spec import UsageError, paper

SHIPPED = Path("results/published")


def read(folder: Path, *suites: str) -> tuple[list[Row], list[str]]:
    """Return all rows of a result folder, and a sentence for each line that is no row.

    The folder may hold one result folder a machine.
    Raises UsageError where there are none, or none of the suites (the first is what to run), and
    where no line can be read.
    """
    store = Store.at(folder)
    there = (Store(path.parent) for path in sorted(folder.glob("*/records")))
    parts = [each.read() for each in ([store] if store.files else there)]
    rows = [row for part, _ in parts for row in part]
    damaged = [each for _, part in parts for each in part]
    if damaged and not rows:
        count = counted(len(damaged), "line")
        raise UsageError(f"no row under {folder} can be read: {count}, the first is {damaged[0]}")
    if not any(row.suite in suites or not suites for row in rows):
        what, first = (
            ("rows", "acceleration") if not suites else (f"rows of {suites[0]}", suites[0])
        )
        lack = "" if folder.is_dir() else ", which is no folder"
        run = f"first run `harness run --suite {first} --out {folder}`"
        other = f"--out {SHIPPED}, which is shipped" if SHIPPED.is_dir() else "another folder"
        raise UsageError(f"no {what} under {folder}{lack}: {run}, or name {other}")
    return rows, damaged


def read_all(folders: Sequence[Path]) -> list[Row]:
    """Return all rows of result folders, in the order given.

    Warns of lines that are no rows, and of rows that do not count or are mixed.
    """
    rows: list[Row] = []
    for folder in folders:
        found, damaged = read(folder)
        rows += found
        if damaged:
            message = f"{len(damaged)} lines were no rows and were skipped, the first: {damaged[0]}"
            warnings.warn(message, stacklevel=3)
    for note in current(rows).notes:
        warnings.warn(note, stacklevel=3)
    return rows


@dataclass(frozen=True, repr=False)
class Results:
    """Rows as they were written, and each table of `harness tables` as a DataFrame.

    A table has the columns of `harness tables NAME --format csv`. Rows of several machines are
    never mixed: a table shows them machine by machine, that with most rows first.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        counts = Counter(row.suite for row in self.rows)
        text = ", ".join(f"{suite} {n:,}" for suite, n in counts.items())
        return f"Results({len(self.rows):,} rows: {text})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: of which suites, data sets and machines there are rows."""
        return _counted(self.frames["all"], "suite", "dataset", "machine").to_html(index=False)

    @cached_property
    def frames(self) -> Frames:
        """The rows as DataFrames, one a kind, as all tables are made of them."""
        return frame_.frames(self.rows)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that the rows were measured on, that with most rows first."""
        return tuple(frame_.machines(self.frames.machines))

    def table(self, name: int | str) -> pd.DataFrame:
        """Return a table by its name: 3 to 6 are the paper's, "scale" is the suite's.

        Raises UsageError for an unknown one, and where there are no rows for it.
        """
        known = str(name)
        if known not in tables.TABLES:
            raise UsageError(f"unknown table {known!r}, choose from {', '.join(tables.TABLES)}")
        suites = tables.suites_of(known)
        if not any(row.suite in suites for row in self.rows):
            raise UsageError(f"no rows of {suites[0]}: first harness.run(suite={suites[0]!r})")
        return tables.TABLES[known](self.frames)

    def acceleration(self, *, latest: bool = True) -> pd.DataFrame:
        """Fig. 3: the time of each contender, in seconds and against the floor.

        One line a contender: per network, most complete run. Without `latest` all
        runs, as in a csv.
        """
        found = self.table("acceleration")  # raises where there are none
        lines = timings.lines(self.frames)
        return tables.plain(timings.table(timings.latest(lines))) if latest else found

    timesteps = partialmethod(table, "timesteps")  # Fig. 5: accuracy against T
    scale = partialmethod(table, "scale")  # Fig. 4: of the Small, Middle and Large networks
    neunorm = partialmethod(table, "neunorm")  # Fig. 6: accuracy and votes without and with it
    accuracy = partialmethod(table, "accuracy")  # what was trained for Tables 3 to 6
    ablations = partialmethod(table, "ablations")  # trainings that differ in a single thing
    baselines = partialmethod(table, "baselines")  # the other systems of Tables 3 to 6
    energy = partialmethod(table, "energy")  # what an inference of one sample takes

    def verdicts(self) -> pd.DataFrame:
        """Return the parts of each claim with their answers and figures, one line a part."""
        return claims.table(claims.findings(self.frames))

    def failed(self) -> pd.DataFrame:
        """Return the cases that failed and what was warned of, each with its reason."""
        return failures(self.frames)


def _counted(rows: Frame, *names: str) -> Frame:
    """Return the distinct values of columns, in their order, and how many rows have each."""
    of = rows.groupby([*names], sort=False, dropna=False)
    return of.size().reset_index(name="rows")


def machines(frames: Frames) -> pd.DataFrame:
    """Return the machines and versions that rows were measured with, and of how many rows each."""
    names = ("suite", "machine", "cores", "memory_mib", "os", "python", "torch", "commit")
    return _counted(frames["all"], *names, "allocator", "environment")


def places(frames: Frames) -> pd.DataFrame:
    """Return the same in short: a line a machine."""

    def joined(of: pd.Series) -> str:
        return ", ".join(filter(None, of.unique()))

    def ends(of: pd.Series) -> str:
        return " to ".join(sorted({of.min()[:10], of.max()[:10]}))

    of = frames["all"].groupby("machine", sort=False)
    named = {"what": ("suite", joined), "days": ("time", ends), "torch": ("torch", joined)}
    return of.agg(**named, rows=("suite", "size")).reset_index()


def data(frames: Frames) -> pd.DataFrame:
    """Count the rows by what was read as each data set: its source, hash, and shortcomings."""
    rows, ends = frames["all"], ("substitute", "sha256", "test_source", "test_sha256", "note")
    names = ("source", "samples", "partial", "lossy", "simulated", *ends)
    read = rows.loc[rows["data_source"] != ""]
    return _counted(read, "suite", "dataset", *(f"data_{name}" for name in names))


def failures(frames: Frames) -> pd.DataFrame:
    """Return cases that failed and what was warned of, each reason once, with how often."""
    found = pd.concat([frames["case"], frames["warning"].assign(status="warning")])
    names = ("suite", "dataset", "scale", "framework", "precision", "status", "reason")
    return _counted(found.assign(framework=found["contender"]), *names)


def _proved(frames: Frames) -> tuple[Frame, Frame]:
    """Exams and audits with the names of network and contender, float32 unsaid."""

    def named(rows: Frame) -> Frame:
        names = "dataset", "scale", "neunorm", "width"
        networks = [
            f"{paper.settings(dataset).title} {scale}"
            + (f", NeuNorm {neunorm}" if neunorm else "")
            + (f", width {width}" if width != "1" else "")
            for dataset, scale, neunorm, width in zip(*(rows[n] for n in names), strict=True)
        ]
        precisions = (" " + rows["precision"]).where(rows["precision"] != "fp32", "")
        return rows.assign(network=networks, contender=rows["contender"] + precisions)

    exams = frames["certificate"]
    return named(exams.loc[exams["layer"] == ""]), named(frames["audit"])


def proofs(frames: Frames) -> pd.DataFrame:
    """Return the exams and audits of each contender, over all networks and machines."""
    same = ["machine", "network", "contender", "T", "mode", "certificate_precision"]
    exams, audits = _proved(frames)
    exams, counts = exams.drop_duplicates(same, keep="last"), {"spikes": ("spikes", "sum")}
    counts["that_differ"] = ("mismatches", "sum")
    named = {name: (name[:-1], "nunique") for name in ("networks", "machines")}
    named |= {"exams": ("certified", "size"), "passed": ("certified", "sum")}
    found = exams.groupby("contender").agg(**named, **counts)
    audited = {"audits": ("passed", "size"), "audits_passed": ("passed", "sum")}
    own = audits.groupby("contender").agg(**counts, **audited).reindex(found.index, fill_value=0)
    found[[*counts]] += own[[*counts]]
    errors = exams.groupby(["contender", "certificate_precision"])["gradient_error"].max()
    errors = errors.unstack().reindex(columns=["fp64", "fp32", "bf16"])
    parts = (found, own[[*audited]], errors.add_prefix("gradient_error_"))
    return pd.concat(parts, axis=1).reset_index()


def refused(frames: Frames) -> pd.DataFrame:
    """Exams and audits that failed: each reason once, with the contender and the networks."""
    exams, audits = _proved(frames)
    failed = (
        exams.loc[~exams["certified"]].assign(at="exam"),
        audits.loc[~audits["passed"]].assign(at="audit"),
    )
    return _counted(pd.concat(failed), "contender", "network", "at", "reason")
