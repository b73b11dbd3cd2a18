"""What `harness run` measures or trains, shown as it comes; the rows are kept by then."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import pandas as pd
import typer

from harness.analysis import status, tables, timings
from harness.analysis.frame import frames
from harness.analysis.timings import STEADY, is_steady
from harness.analysis.words import counted, data_name
from harness.api import RESULTS, Work
from harness.cli import endings, terminal
from harness.cli.console import err, out
from harness.datasets import FAILED
from harness.jobs import CellResult
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
from harness.spec import Case, Timed, Trained, cells
from harness.speed import plan
from harness.system import machine


def run(work: Work) -> None:
    """Does what a run was asked for. Exits with 1 where a case failed."""
    if work.options.experiment.trains:
        train(work)
    else:
        measure(work)


def train(work: Work) -> None:
    """Does the cases of a suite one by one."""
    store, folder, suite = work.store, work.options.out, work.options.suite
    out.print(_listed(work.cases, store), markup=False, highlight=False)
    rows: list[Row] = []
    kept = f"what was trained is kept in {folder / 'records'}; run the same command to resume"
    with endings.kept(kept, store.folder), terminal.progress(out) as say:
        for ended in work.executor.train(work.cases, store, work.access, say):
            out.print(terminal.trained(ended))
            rows += ended.rows
    if any(isinstance(row, TrainedRow | FittedRow | OperationsRow) for row in rows):
        out.print(shown.shown(suite, tables.FULL[suite](frames(rows))))
    _closing(rows, work)


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


def measure(work: Work) -> None:
    """Times the cases of a suite."""
    store, options, budget = work.store, work.options, work.options.spending
    every = tuple(case for case in work.cases if isinstance(case, Timed))
    cases = every if options.precision else machine.suited(every)
    if len(cases) < len(every):
        err.print("bf16 is left out: no instructions for it here; --precision bf16 measures it")
    measured: dict[Case, CellResult] = {}
    see = f"see it with `harness tables acceleration --out {options.out}`"
    kept = f"what was measured is kept in {options.out / 'records'}; {see}"
    with endings.kept(kept, store.folder), terminal.progress(out) as say:
        long = _in_words(plan.seconds(cases, budget))
        out.print(f"acceleration: {_counted(cases)}, about {long}", highlight=False)
        for event in work.executor.measure(cases, store, work.access, budget, say):
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
    _closing(rows, work)


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


def _closing(rows: list[Row], work: Work) -> None:
    """What a run ends with: failures, where rows are, what to type next; exit 1 on a failure."""
    folder, suite = work.options.out, work.options.suite
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
    bad = work.failed(rows)
    if bad:
        err.print(f"{counted(len(bad), 'case')} failed; the table says why")
        raise typer.Exit(1)


def _of_data(rows: list[Row]) -> list[str]:
    """Why data are not those that were asked for: a download that failed, what stands in."""
    noted = [row.data_note for row in rows if row.data_note and _is_poor(row)]
    return list(dict.fromkeys(noted))


def _is_poor(row: Row) -> bool:
    return bool(row.data_substitute or FAILED in (row.data_note or ""))
