"""Commands that look at what is here: adapters, data, the machine."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.app import DataRoot, Datasets, Networks, app
from harness.cli.console import out


@app.command()
def check(
    frameworks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ADAPTER]...", help="Default: all, with variants."),
    ] = None,
    networks: Networks = None,
    datasets: Datasets = None,
    width: Annotated[
        str, typer.Option("--width", help="Scales channels and features.", metavar="1/8")
    ] = "1/8",
    data_root: DataRoot = None,
) -> None:
    """Prove adapters equal to the reference, layer by layer; exit 1 if one claiming it is not."""
    from harness.cli import terminal
    from harness.proof import check

    scope = check.Scope(
        options.names(networks), options.names(datasets), options.width(width), data_root
    )
    failed = False
    for result in check.examined(tuple(frameworks or ()), scope):
        out.print(terminal.examined(result))
        failed |= result.failed
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims")],
) -> None:
    """List what can be chosen."""
    from harness.cli import listing, terminal

    out.print(terminal.rows(*listing.listing(what)))


@app.command()
def doctor(data_root: DataRoot = None) -> None:
    """Say what is here: versions, threads, devices, data, and how to get what is missing."""
    from harness.cli import listing, terminal

    for title, columns, lines in listing.doctor(data_root):
        out.print(terminal.rows(columns, lines, title))
