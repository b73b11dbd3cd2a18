"""What `harness run` measures or trains, shown as it comes; the rows are kept by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import pandas as pd
import typer

from harness import datasets
from harness.analysis import status, tables, timings
from harness.analysis.frame import frames
from harness.analysis.timings import STEADY, is_steady
from harness.analysis.words import counted, data_name
from harness.cli import endings, terminal
from harness.cli.console import err, out
from harness.cli.options import LARGEST_DOWNLOAD_MIB, RESULTS
from harness.datasets import FAILED
from harness.jobs import CellResult, Executor
from harness.records import (
    EndedRow,
    FittedRow,
    OperationsRow,
    Row,
    Store,
    TrainedRow,
    WarningRow,
)
from harness.report import shown, table
from harness.spec import Access, Budget, Case, Timed, Trained, cells
from harness.speed import plan
from harness.system import machine


@dataclass(frozen=True)
class Where:
    """Where data are and may be fetched from, and where rows go."""

    data_root: Path | None
    download: bool | None  # None: what is not too large
    out: Path
    fresh: bool = False  # measure anew what is done
    keep_weights: bool = False  # of what is trained

    def access(self, cases: tuple[Case, ...]) -> Access:
        """The data root, and the data sets that may be fetched into it."""
        wanted = {case.dataset for case in cases}
        if self.download is None:
            sizes = datasets.DOWNLOAD_MIB
            wanted = {name for name in wanted if sizes[name] <= LARGEST_DOWNLOAD_MIB}
        elif not self.download:
            wanted = set()
        root = datasets.data_root(self.data_root)
        return Access(root, frozenset(wanted), self.fresh, self.keep_weights)

    def store(self) -> Store:
        """The rows' folder. Raises UsageError where it cannot be written."""
        store = Store(self.out.resolve())
        store.check_writable()
        return store


@dataclass(frozen=True)
class Asked:
    """What the command line named: what is missing of it is a failure, and none is left out."""

    framework: bool
    precision: bool


def train(cases: tuple[Case, ...], where: Where, executor: Executor) -> None:
    """Does the cases of a suite one by one. Exits with 1 where one failed."""
    access, store = where.access(cases), where.store()
    out.print(_listed(cases, store), markup=False, highlight=False)
    rows: list[Row] = []
    kept = f"what was trained is kept in {where.out / 'records'}; run the same command to resume"
    with endings.kept(kept, store.folder), terminal.progress(out) as say:
        for ended in executor.train(cases, store, access, say):
            out.print(terminal.trained(ended))
            rows += ended.rows
    suite = cases[0].suite
    if any(isinstance(row, TrainedRow | FittedRow | OperationsRow) for row in rows):
        out.print(shown.shown(suite, tables.FULL[suite](frames(rows))))
    _closing(rows, where.out, suite, named=True)


def _listed(cases: tuple[Case, ...], store: Store) -> str:
    """What will be trained, and how long that takes, about."""
    networks = ", ".join(dict.fromkeys(case.scale for case in cases))
    data = ", ".join(dict.fromkeys(map(_data_of, cases)))
    count = counted(len(cases), "case")
    # another suite's trainings tell too, and a folder of timings is long to read
    records = store.read(cases[0].suite)[0] or store.read()[0]
    seconds = status.seconds_of(cases, records)
    if isnan(seconds) and type(cases[0]) is Trained:
        seconds = plan.training_seconds(cases)
    long = "how long is not known yet" if isnan(seconds) else f"about {_in_words(seconds)}"
    return f"{cases[0].suite}: {count} ({networks} on {data}), {long}, less for what is done"


def _data_of(case: Case) -> str:
    embedded = isinstance(case, Trained) and case.training.embedded
    return data_name(case.dataset, substitute=embedded)


def _in_words(seconds: float) -> str:
    return table.seconds(seconds) if seconds >= 60 else "a minute"


def measure(
    cases: tuple[Timed, ...], where: Where, executor: Executor, budget: Budget, asked: Asked
) -> None:
    """Times the cases of a suite. Exits as `train` does."""
    access, store = where.access(cases), where.store()
    if not asked.precision:
        every, cases = cases, machine.suited(cases)
        if len(cases) < len(every):
            err.print("bf16 is left out: no instructions for it here; --precision bf16 measures it")
    measured: dict[Case, CellResult] = {}
    see = f"see it with `harness tables acceleration --out {where.out}`"
    kept = f"what was measured is kept in {where.out / 'records'}; {see}"
    with endings.kept(kept, store.folder), terminal.progress(out) as say:
        long = _in_words(plan.seconds(cases, budget))
        out.print(f"acceleration: {_counted(cases)}, about {long}", highlight=False)
        for event in executor.measure(cases, store, access, budget, say):
            new = event.cell not in measured
            measured[event.cell] = event
            if new and not event.before:  # its table comes once, when it has all its rounds
                lines = _lines(event, measured)
                out.print(
                    terminal.first_figures(lines, event.rounds), markup=False, highlight=False
                )
    for event in measured.values():
        if event.before:
            out.print("measured before (--fresh measures it anew):", style="dim")
        out.print(shown.shown("acceleration", _lines(event, measured)))
    events = measured.values()
    say_noise([row for event in events if not event.before for row in event.rows])
    rows = [row for event in events for row in event.rows]
    _closing(rows, where.out, "acceleration", named=asked.framework)


def _lines(event: CellResult, measured: Mapping[Case, CellResult]) -> pd.DataFrame:
    so_far = [row for each in measured.values() for row in each.rows]
    return timings.lines(frames([*event.rows, *event.descents]), timings.noise(frames(so_far)))


def _counted(cases: tuple[Case, ...]) -> str:
    return f"{counted(len(cells(cases)), 'cell')}, {counted(len(cases), 'contender')}"


def say_noise(rows: list[Row]) -> None:
    """The A/A of what this run timed, and whether it may rank anybody."""
    noise = next(iter(timings.noise(frames(rows)).values()), None)
    if noise is None:
        return
    out.print(
        f"A/A over the whole run: {noise.value:.3f} [{noise.low:.3f}, {noise.high:.3f}], "
        f"{counted(noise.rounds, 'round')}: a difference within this is noise.",
        markup=False,
    )
    if not is_steady(noise):
        low, high = STEADY
        out.print(
            f"That is not within {low} to {high}: this run ranks nobody. Measure again (--fresh) "
            "on a quieter machine, or with more rounds (--budget).",
            markup=False,
        )


def _closing(rows: list[Row], folder: Path, suite: str, *, named: bool) -> None:
    """What a run ends with: failures, where rows are, what to type next; exit 1 on a failure."""
    for row in rows:
        if isinstance(row, WarningRow):
            err.print(f"{row.dataset} {row.scale}: {row.reason}")
    for note in _of_data(rows):
        err.print(f"data: {note}")
    ended = [row for row in rows if isinstance(row, EndedRow)]
    for reason in dict.fromkeys(row.reason for row in ended if row.status == "missing"):
        err.print(f"left out: {reason}")
    where = f" --out {folder}" if folder != RESULTS else ""
    for line in (
        f"{counted(len(rows), 'row')}: {folder / 'records'}",
        f"this table again: harness tables {suite}{where}",
        f"report: harness report{where} writes {folder / 'report.html'}",
    ):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    failures = ("failed", "not comparable", *(("missing",) if named else ()))
    bad = [row for row in ended if row.status in failures]
    if bad:
        err.print(f"{counted(len(bad), 'case')} failed; the table says why")
        raise typer.Exit(1)


def _of_data(rows: list[Row]) -> list[str]:
    """Why data are not those that were asked for: a download that failed, what stands in."""
    noted = [row.data_note for row in rows if row.data_note and _is_poor(row)]
    return list(dict.fromkeys(noted))


def _is_poor(row: Row) -> bool:
    return bool(row.data_substitute or FAILED in (row.data_note or ""))
