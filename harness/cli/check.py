"""`harness check`."""

from __future__ import annotations

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
    width: options.Width = None,
    data_root: options.DataRoot = None,
) -> None:
    """Prove adapters equal to the reference, layer by layer; exit 1 if one claiming it is not.

    Networks are at 1/8 of their width unless --width says else.
    """
    from harness.system import child

    child.warm()
    from harness.cli import files, terminal
    from harness.proof.check import Scope, examined
    from harness.spec import Selection

    named = tuple(dict.fromkeys(frameworks or ()))  # twice the same is once
    read = tuple(each.file for each in files.named(networks, "check"))
    selection = Selection(named, datasets=datasets, networks=networks, files=read, width=width)
    scope = Scope(selection, data_root)
    failed = False
    with terminal.progress(out) as say:
        for result in examined(named, scope, say):
            out.print(terminal.examined(result))
            failed |= result.failed
    if failed:
        raise typer.Exit(1)
