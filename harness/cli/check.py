"""`harness check`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import out


def check(
    frameworks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ADAPTER]...", help="Default: all, with variants."),
    ] = None,
    networks: options.Networks = None,
    datasets: options.Datasets = None,
    width: Annotated[
        Fraction,
        typer.Option(
            "--width",
            help="Scales channels and features.",
            metavar="1/8",
            parser=options.fraction,
        ),
    ] = Fraction(1, 8),
    data_root: options.DataRoot = None,
) -> None:
    """Prove adapters equal to the reference, layer by layer; exit 1 if one claiming it is not."""
    from harness.system import processes

    processes.warm()
    from harness.cli import terminal
    from harness.jobs import examine
    from harness.proof.check import Scope

    named = tuple(dict.fromkeys(frameworks or ()))  # twice the same is once
    scope = Scope(networks, datasets, width, data_root)
    failed = False
    with terminal.progress(out) as say:
        for result in examine.examined(named, scope, say):
            out.print(terminal.examined(result))
            failed |= result.failed
    if failed:
        raise typer.Exit(1)
