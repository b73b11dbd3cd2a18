"""`harness tables`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import options
from harness.cli.console import out
from harness.cli.stored import rows_of, without_rows
from harness.spec import UsageError

if TYPE_CHECKING:  # these imports take a moment
    from harness.cli.terminal import Blocks
    from harness.records import Row

Form = Literal["text", "md", "csv", "html"]


def tables_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy|baselines|energy"
        ),
    ],
    out_dir: options.Out = options.RESULTS,
    form: Annotated[Form, typer.Option("--format", metavar="text|md|csv|html")] = "text",
) -> None:
    """Build a table from the rows under OUT/records; csv and html have all columns."""
    from harness.analysis import tables

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    suites = tables.suites_of(name)
    rows = rows_of(out_dir, suites[0])
    if not any(row.suite in suites for row in rows):
        raise without_rows(out_dir, suites[0])
    if form in ("csv", "html"):
        sys.stdout.write(tables.markup(tables.TABLES[name](rows), form))
        return
    from harness.cli import terminal

    shown = _shown(name, rows)
    if form == "text":
        out.print(shown)
    else:
        sys.stdout.write(terminal.as_markdown(shown))


def _shown(name: str, rows: list[Row]) -> Blocks:
    from harness.analysis import named, tables
    from harness.analysis.speed import acceleration_lines
    from harness.cli import terminal

    if name == "acceleration":
        return terminal.acceleration(acceleration_lines(rows))
    table = tables.TABLES[name](rows)
    if name == "energy":
        return terminal.energy(table)
    lines = [{str(key): value for key, value in each.items()} for each in table.to_dict("records")]
    places = named.of_lines(name, rows, lines)
    if name == "baselines":
        return terminal.systems(table, places)
    show = terminal.paper if name in tables.SUITES_OF else terminal.plain
    return show(table, places)
