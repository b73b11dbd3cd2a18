"""Commands that read recorded rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.app import DataRoot, Out, app, frameworks_named, name_damage, rows_of, without_rows
from harness.cli.console import err, out
from harness.spec import Selection, UsageError


@app.command("tables")
def tables_(
    name: Annotated[
        str, typer.Argument(metavar="3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy")
    ],
    out_dir: Out = Path("results"),
    form: Annotated[str, typer.Option("--format", metavar="text|md|csv|html")] = "text",
) -> None:
    """Build a table from the rows under OUT/records."""
    from harness.analysis import tables
    from harness.cli import terminal

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    if form not in ("text", "md", "csv", "html"):
        raise UsageError(f"unknown format {form!r}, choose from text, md, csv, html")
    suite = tables.SUITE_OF.get(name, name)
    rows = rows_of(out_dir, suite)
    if not any(row.suite == suite for row in rows):
        raise without_rows(out_dir, suite)
    table = tables.TABLES[name](rows)
    if form == "text":
        named = {"acceleration": terminal.acceleration}
        show = terminal.paper if name in tables.SUITE_OF else named.get(name, terminal.plain)
        out.print(show(table))
    else:
        sys.stdout.write(tables.markup(table, form))


@app.command()
def report(
    out_dir: Out = Path("results"),
    readme: Annotated[
        Path | None,
        typer.Option("--readme", help="Also renew the tables between its marks.", metavar="FILE"),
    ] = None,
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records."""
    from harness import report as reporting

    for path in reporting.write(rows_of(out_dir, "acceleration"), out_dir, readme):
        out.print(str(path), markup=False, highlight=False)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Folder of results.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of results.")],
    fail_above: Annotated[
        str | None,
        typer.Option("--fail-above", help="Exit 1 on a larger change for the worse.", metavar="5%"),
    ] = None,
) -> None:
    """Compare two result folders; a change is called only where it stands out of the noise."""
    from harness.analysis import compare as comparing
    from harness.cli import terminal

    limit = None if fail_above is None else options.percent("--fail-above", fail_above)
    found = comparing.compare(*(rows_of(folder, "acceleration") for folder in (old, new)))
    if not found.changes:
        raise UsageError(f"{old} and {new} have no cell in common: nothing can be compared")
    out.print(terminal.comparison(found))
    worse = found.beyond(limit) if limit is not None else []
    if worse:
        err.print(f"{len(worse)} changes for the worse are above {fail_above}", markup=False)
        raise typer.Exit(1)


@app.command()
def status(
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="Default: all.", metavar="acceleration|timesteps|..."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Of the cases of --quick.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="Of the cases of --paper.")] = False,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    out_dir: Out = Path("results"),
) -> None:
    """Say which cases of the suites are done, failed or missing, and how long the rest takes."""
    from harness import suites
    from harness.analysis import status as standing
    from harness.cli import terminal
    from harness.records import Store
    from harness.speed import schedule

    options.one_preset(quick=quick, paper=paper)
    place = options.device(device)
    cases = []
    for name in [suite] if suite else suites.SUITES:
        of = suites.suite(name)
        if paper and of.trains and place == "cpu":
            continue  # they are not for a CPU
        frameworks = frameworks_named(None, of.frameworks)
        cases += of.cases(Selection(frameworks, device=place, quick=quick, paper=paper))
    records, damaged = Store(out_dir).read()
    name_damage(damaged)
    found = standing.standings(schedule.suited(cases), records, schedule.here(place))
    out.print(terminal.standing(found))


@app.command()
def verify(
    records: Annotated[Path, typer.Argument(metavar="RECORDS", help="Folder of results.")],
    sample: Annotated[
        int, typer.Option("--sample", help="Trainings, and cells, to measure again.", metavar="N")
    ] = 2,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Of a training, the first ones.", metavar="N")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Draws the sample.", metavar="N")] = 0,
    budget: Annotated[
        str, typer.Option("--budget", help="Time for each cell, about.", metavar="30s")
    ] = "30s",
    data_root: DataRoot = None,
) -> None:
    """Measure a sample of recorded cases again, and say which figures are confirmed."""
    from harness.analysis import verify
    from harness.cli import work
    from harness.records import Store

    rows = rows_of(Store.around(records).out, "acceleration")
    wanted = verify.Sample(
        cases=options.at_least(1, "--sample", sample) or 1,
        seed=options.at_least(0, "--seed", seed) or 0,
        epochs=options.at_least(1, "--epochs", epochs) or 1,
        budget=options.seconds("--budget", budget),
    )
    work.verify(rows, wanted, data_root)
