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
    from harness.cli import terminal
    from harness.proof import check as checking

    named = tuple(dict.fromkeys(frameworks or ()))  # twice the same is once
    scope = checking.Scope(networks, datasets, width, data_root)
    failed = False
    for result in checking.examined(named, scope):
        out.print(terminal.examined(result))
        failed |= result.failed
    if failed:
        raise typer.Exit(1)
