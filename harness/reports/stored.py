"""`harness.results`: rows of result folders, their tables, and their machines, data and proofs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partialmethod
from operator import attrgetter, itemgetter
from pathlib import Path

import pandas as pd

from harness.analysis import claims, tables, timings
from harness.analysis import frame as frame_
from harness.analysis.frame import Frame, Frames, R, grouped
from harness.analysis.words import counted, span
from harness.records import AuditRow, CertificateRow, EndedRow, Row, Store, WarningRow
from harness.records.current import current
from harness.spec import ACCELERATION, NOT_DECLARED, UsageError, network_name, paper


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
        what = f"rows of {suites[0]}" if suites else "rows"
        lack = "" if folder.is_dir() else ", which is no folder"
        run = f"harness run --suite {suites[0] if suites else ACCELERATION} --out {folder}"
        other = "name another: results/published is shipped"
        raise UsageError(f"no {what} under {folder}{lack}: first run `{run}`, or {other}")
    return rows, damaged


def read_all(folders: Sequence[Path]) -> list[Row]:
    """Return all rows of result folders in the order given, also those that do not count.

    Warns of lines that are no rows, of rows that do not count, and of seeds whose data or torch
    differ. Raises UsageError where a folder has no rows.
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

    A table has the columns of `harness tables NAME --format csv`, machine by machine, that with
    most rows first.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        counts = Counter(row.suite for row in self.rows)
        text = ", ".join(f"{suite} {n:,}" for suite, n in counts.items())
        return f"Results({len(self.rows):,} rows: {text})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: of which suites, data sets and machines there are rows."""
        rows = zip(self.rows, self.frames.machines, strict=True)
        lines = ((row.suite, row.dataset, machine) for row, machine in rows)
        return _counted(("suite", "dataset", "machine"), lines).to_html(index=False)

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
        """Return Fig. 3: the time of each contender, in seconds and against the floor.

        With `latest`, one line a contender: each cell's most complete run. Else all runs.
        """
        found = self.table("acceleration")  # raises where there are none
        lines = timings.lines(self.frames)
        return tables.csv_columns(timings.table(timings.most_complete(lines))) if latest else found

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


def _counted(names: Sequence[str], lines: Iterable[tuple[object, ...]]) -> Frame:
    """Return the distinct lines in their order, and how many rows have each."""
    counts = Counter(lines).items()
    return pd.DataFrame([(*line, n) for line, n in counts], columns=[*names, "rows"])


def _of_kind(frames: Frames, kind: type[R]) -> list[R]:
    return [row for row in frames.rows if isinstance(row, kind)]


def machines(frames: Frames) -> Frame:
    """Return the machines and versions that rows were measured with, and of how many rows each."""
    names = ("cores", "memory_mib", "os", "python", "torch", "commit", "allocator", "environment")
    rows = zip(frames.rows, frames.machines, strict=True)
    lines = ((row.suite, machine, *attrgetter(*names)(row)) for row, machine in rows)
    return _counted(("suite", "machine", *names), lines)


def places(frames: Frames) -> Frame:
    """Return suites, days, torch versions and number of rows, a line a machine."""

    def distinct(values: pd.Series) -> str:
        return ", ".join(values.dropna().unique())

    rows = zip(frames.machines, frames.rows, strict=True)
    lines = ((machine, row.suite, row.time[:10], row.torch) for machine, row in rows)
    found = _counted(("machine", "suite", "day", "torch"), lines).groupby("machine", sort=False)
    shown = {"what": ("suite", distinct), "days": ("day", span), "torch": ("torch", distinct)}
    return found.agg(**shown, rows=("rows", "sum")).reset_index()


def data(frames: Frames) -> Frame:
    """Count the rows by what was read as each data set: its source, hash, and shortcomings."""
    ends = ("substitute", "sha256", "test_source", "test_sha256", "note")
    parts = ("source", "samples", "partial", "lossy", "simulated", *ends)
    names = ("suite", "dataset", *(f"data_{name}" for name in parts))
    return _counted(names, (attrgetter(*names)(row) for row in frames.rows if row.data_source))


def failures(frames: Frames) -> Frame:
    """Return cases that failed and what was warned of, each reason once, with how often."""
    names = ("suite", "dataset", "scale", "framework", "precision", "status", "reason")
    found = [(row.status, row) for row in _of_kind(frames, EndedRow)]
    found += [("warning", row) for row in _of_kind(frames, WarningRow)]
    lines = (
        (r.suite, r.dataset, network_name(r), r.contender, r.precision, status, r.reason)
        for status, r in found
    )
    return _counted(names, lines)


def _network(row: CertificateRow | AuditRow) -> str:
    neunorm = f", NeuNorm {row.neunorm}" if row.neunorm else ""
    width = f", width {row.width}" if row.width != "1" else ""
    return f"{paper.settings(row.dataset).title} {network_name(row)}{neunorm}{width}"


def proofs(frames: Frames) -> Frame:
    """Count exams (the latest of each) and audits that count, over networks and machines."""
    latest = {
        (row.full_name, machine, _network(row), row.T, row.mode, row.certificate_precision): row
        for machine, row, counts in zip(frames.machines, frames.rows, frames.counts, strict=True)
        if counts and isinstance(row, CertificateRow) and row.layer is None
    }
    audits = grouped(frames.current_rows(AuditRow), lambda row: row.full_name)
    lines = []
    for name, keys in sorted(grouped(latest, itemgetter(0)).items()):
        exams, own = [latest[key] for key in keys], audits.get(name, [])
        line: dict[str, object] = {
            "contender": name,
            "neuron": exams[-1].neuron or NOT_DECLARED,
            "networks": len({network for _, _, network, *_ in keys}),
            "machines": len({machine for _, machine, *_ in keys}),
            "exams": len(exams),
            "passed": sum(row.certified for row in exams),
            "spikes": sum(row.spikes or 0 for row in (*exams, *own)),
            "that_differ": sum(row.mismatches or 0 for row in (*exams, *own)),
            "audits": len(own),
            "audits_passed": sum(row.passed for row in own),
        }
        for precision in ("fp64", "fp32", "bf16"):
            of = (row.gradient_error for row in exams if row.certificate_precision == precision)
            known = [error for error in of if error is not None]
            line[f"gradient_error_{precision}"] = max(known, default=None)
        lines.append(line)
    return pd.DataFrame(lines)


def refused(frames: Frames) -> Frame:
    """Return failed exams and audits, each reason once a contender and network, with counts."""
    exams = [row for row in _of_kind(frames, CertificateRow) if row.layer is None]
    failed = [("exam", row) for row in exams if not row.certified]
    failed += [("audit", row) for row in _of_kind(frames, AuditRow) if not row.passed]
    lines = ((row.full_name, _network(row), at, row.reason or "") for at, row in failed)
    return _counted(("contender", "network", "at", "reason"), lines)


TABLES = {"machines": machines, "data": data, "failures": failures, "proofs": proofs}
