"""`harness status`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import out
from harness.cli.stored import name_damage
from harness.spec import Selection


def status(
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="Default: all.", metavar="acceleration|timesteps|..."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Of the cases of --quick.")] = False,
    long: Annotated[bool, typer.Option("--long", help="Of the trainings of --long.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="Of the cases of --paper.")] = False,
    device: Annotated[options.Device, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    out_dir: options.Out = options.RESULTS,
) -> None:
    """Say which cases of the suites are done, failed or missing, and how long the rest takes."""
    from harness import suites
    from harness.analysis import status as standing
    from harness.cli import terminal
    from harness.cli.here import key_now
    from harness.records import Store
    from harness.system import machine

    options.one_preset(quick=quick, long=long, paper=paper)
    place = options.device(device)
    cases = []
    for name in suites.SUITES if suite is None else [suite]:
        of = suites.suite(name)
        if paper and of.trains and place == "cpu":
            continue  # they are not for a CPU
        if long and not of.long:
            continue
        frameworks = options.frameworks_named(None, of, quick=quick)
        wanted = Selection(frameworks, device=place, quick=quick, long=long, paper=paper)
        cases += of.cases(wanted)
    records, damaged = Store(out_dir).read()
    name_damage(damaged)
    found = standing.standings(machine.suited(cases), records, key_now(place))
    out.print(terminal.standing(found))
