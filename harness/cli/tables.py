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
    from rich.console import RenderableType

    from harness.records import Row

Form = Literal["text", "md", "csv", "html"]


def tables_(
    name: Annotated[
        str,
        typer.Argument(metavar="3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy|baselines"),
    ],
    out_dir: options.Out = options.RESULTS,
    form: Annotated[Form, typer.Option("--format", metavar="text|md|csv|html")] = "text",
) -> None:
    """Build a table from the rows under OUT/records."""
    from harness.analysis import tables

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    suites = tables.suites_of(name)
    rows = rows_of(out_dir, suites[0])
    if not any(row.suite in suites for row in rows):
        raise without_rows(out_dir, suites[0])
    if form == "text":
        out.print(_shown(name, rows))
    else:
        sys.stdout.write(tables.markup(tables.TABLES[name](rows), form))


def _shown(name: str, rows: list[Row]) -> RenderableType:
    from harness.analysis import tables
    from harness.analysis.speed import acceleration_lines
    from harness.cli import terminal

    if name == "acceleration":
        return terminal.acceleration(acceleration_lines(rows))
    table = tables.TABLES[name](rows)
    if name == "baselines":
        return terminal.systems(table)
    return terminal.paper(table) if name in tables.SUITES_OF else terminal.plain(table)
