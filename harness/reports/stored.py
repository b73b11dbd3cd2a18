"""`harness.results`: rows of result folders, their tables, and their machines, data and proofs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partialmethod
from operator import attrgetter, itemgetter
from pathlib import Path

import pandas as pd

from harness.analysis import claims, tables, timings
from harness.analysis import frame as frame_
from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.words import counted, span
from harness.records import (
    AuditResult,
    CertificateResult,
    EndedResult,
    Row,
    Store,
    WarningResult,
    has,
    of_kind,
)
from harness.records.current import current
from harness.records.identity import columns
from harness.spec import NOT_DECLARED, Case, UsageError, Workload, network_name, paper


def read(folder: Path, *suites: str) -> tuple[list[Row], list[str]]:
    """Return all rows of a result folder, and a sentence for each line that is no row.

    The folder may hold one result folder a machine.
    Raises UsageError where there are none, or none of the suites (the first is what to run), and
    where no line can be read.
    """
    store = Store.at(folder)
    there = (Store(path.parent) for path in sorted(folder.glob("*/records")))
    parts = [part.read() for part in ([store] if store.files else there)]
    rows = [row for part, _ in parts for row in part]
    damaged = [sentence for _, part in parts for sentence in part]
    if damaged and not rows:
        count = counted(len(damaged), "line")
        raise UsageError(f"no row under {folder} can be read: {count}, the first is {damaged[0]}")
    if not any(row.suite in suites or not suites for row in rows):
        what = f"rows of {suites[0]}" if suites else "rows"
        lack = "" if folder.is_dir() else ", which is no folder"
        suite = suites[0] if suites else "acceleration"
        run = f"harness run --suite {suite} --out {folder}"
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
        of_folder, damaged = read(folder)
        rows += of_folder
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
        lines = ((row.suite, row.workload.dataset, machine) for row, machine in rows)
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
        name = str(name)
        if name not in tables.TABLES:
            raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
        suites = tables.suites_of(name)
        if not any(row.suite in suites for row in self.rows):
            raise UsageError(f"no rows of {suites[0]}: first harness.run(suite={suites[0]!r})")
        return tables.TABLES[name](self.frames)

    def acceleration(self, *, latest: bool = True) -> pd.DataFrame:
        """Return Fig. 3: the time of each contender, in seconds and against the floor.

        With `latest`, one line a contender: each cell's most complete run. Else all runs.
        """
        every = self.table("acceleration")  # raises where there are none
        lines = tables.timed("acceleration", self.frames)
        return tables.csv_columns(timings.table(timings.most_complete(lines))) if latest else every

    layer = partialmethod(table, "layer")  # the same of one fully connected layer
    timesteps = partialmethod(table, "timesteps")  # Fig. 5: accuracy against T
    scale = partialmethod(table, "scale")  # Fig. 4: of the Small, Middle and Large networks
    neunorm = partialmethod(table, "neunorm")  # Fig. 6: accuracy and votes without and with it
    accuracy = partialmethod(table, "accuracy")  # what was trained for Tables 3 to 6
    ablations = partialmethod(table, "ablations")  # trainings that differ in a single thing
    baselines = partialmethod(table, "baselines")  # the baselines of Tables 3 to 6
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


def machines(frames: Frames) -> Frame:
    """Return the machines and versions that rows were measured with, and of how many rows each."""
    fields = [f"machine.{name}" for name in ("cores", "memory_mib", "os", "python", "torch")]
    fields += ["machine.commit", "allocator", "machine.environment"]
    rows = zip(frames.rows, frames.machines, strict=True)
    lines = ((row.suite, machine, *attrgetter(*fields)(row.run)) for row, machine in rows)
    names = (field.removeprefix("machine.") for field in fields)
    return _counted(("suite", "machine", *names), lines)


def places(frames: Frames) -> Frame:
    """Return suites, days, torch versions and number of rows, a line a machine."""

    def distinct(values: pd.Series) -> str:
        return ", ".join(values.dropna().unique())

    rows = zip(frames.machines, frames.rows, strict=True)
    lines = ((machine, row.suite, row.time[:10], row.run.machine.torch) for machine, row in rows)
    by_machine = _counted(("machine", "suite", "day", "torch"), lines).groupby(
        "machine", sort=False
    )
    columns = {"what": ("suite", distinct), "days": ("day", span), "torch": ("torch", distinct)}
    return by_machine.agg(**columns, rows=("rows", "sum")).reset_index()


def data(frames: Frames) -> Frame:
    """Count the rows by what was read as each data set: its source, hash, and shortcomings."""
    parts = ("samples", "partial", "lossy", "simulated", "substitute", "sha256")
    ends = ("test_source", "test_sha256", "note")
    names = ("suite", "dataset", *(f"data_{name}" for name in ("source", *parts, *ends)))

    def lines() -> Iterator[tuple[object, ...]]:
        """Yield what each row read as its data."""
        for row in frames.rows:
            if source := row.data.source:
                test, of_source = row.data.test, attrgetter("description", *parts)(source)
                of_test = (test.description, test.sha256) if test else (None, None)
                yield row.suite, row.workload.dataset, *of_source, *of_test, row.data.note or None

    return _counted(names, lines())


def failures(frames: Frames) -> Frame:
    """Return cases that failed and what was warned of, each reason once, with how often."""
    names = ("suite", "dataset", "scale", "framework", "precision", "status", "reason")
    ended = of_kind(frames.rows, EndedResult)
    reasons = [(row.case, row.result.status, row.result.reason) for row in ended]
    warned = of_kind(frames.rows, WarningResult)
    reasons += [(row.case, "warning", row.result.reason) for row in warned]
    return _counted(names, ((*_named(case), *reason) for case, *reason in reasons))


def _named(case: Case) -> tuple[str, ...]:
    """Return what names a case in a title: suite, data set, network, contender, precision."""
    workload, contender = case.workload, case.contender
    network = workload.dataset, network_name(workload)
    return case.suite, *network, contender.name, contender.precision


def _network(workload: Workload) -> str:
    """Return a network in words, with its data set, NeuNorm, and a width that is not 1."""
    norm = workload.network.neunorm
    neunorm = f", NeuNorm {norm.reading}" if norm else ""
    width = f", width {workload.width}" if workload.width != 1 else ""
    title = paper.settings(workload.dataset).title
    return f"{title} {network_name(workload)}{neunorm}{width}"


def proofs(frames: Frames) -> Frame:
    """Count exams (the latest of each) and audits that count, over networks and machines."""
    latest = dict[tuple[object, ...], Row[CertificateResult]]()
    for machine, row, counts in zip(frames.machines, frames.rows, frames.counts, strict=True):
        if counts and has(row, CertificateResult) and row.result.layer is None:
            of_case = row.workload.T, columns(row.case)["mode"], row.result.certificate_precision
            latest[row.contender.full_name, machine, _network(row.workload), *of_case] = row
    audits = grouped(frames.current_rows(AuditResult), lambda row: row.contender.full_name)
    lines = []
    for name, keys in sorted(grouped(latest, itemgetter(0)).items()):
        rows = [latest[key] for key in keys]
        exams = [row.result for row in rows]
        audited = [row.result for row in audits.get(name, [])]
        line: dict[str, object] = {
            "contender": name,
            "neuron": rows[-1].installation.neuron or NOT_DECLARED,
            "networks": len({network for _, _, network, *_ in keys}),
            "machines": len({machine for _, machine, *_ in keys}),
            "exams": len(exams),
            "passed": sum(exam.certified for exam in exams),
            "spikes": sum(proof.spikes or 0 for proof in (*exams, *audited)),
            "that_differ": sum(proof.mismatches or 0 for proof in (*exams, *audited)),
            "audits": len(audited),
            "audits_passed": sum(audit.passed for audit in audited),
        }
        for precision in ("fp64", "fp32", "bf16"):
            errors = (e.gradient_error for e in exams if e.certificate_precision == precision)
            measured = (error for error in errors if error is not None)
            line[f"gradient_error_{precision}"] = max(measured, default=None)
        lines.append(line)
    return pd.DataFrame(lines)


def refused(frames: Frames) -> Frame:
    """Return failed exams and audits, each reason once a contender and network, with counts."""
    exams = of_kind(frames.rows, CertificateResult)
    whole = [row for row in exams if row.result.layer is None]
    failed = [(row.case, "exam", row.result.reason) for row in whole if not row.result.certified]
    audits = of_kind(frames.rows, AuditResult)
    failed += [(row.case, "audit", row.result.reason) for row in audits if not row.result.passed]
    lines = (
        (case.contender.full_name, _network(case.workload), at, reason or "")
        for case, at, reason in failed
    )
    return _counted(("contender", "network", "at", "reason"), lines)


TABLES = {"machines": machines, "data": data, "failures": failures, "proofs": proofs}
