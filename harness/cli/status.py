"""`harness status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.console import out
from harness.cli.stored import check_folder, name_damage
from harness.spec import Selection

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.status import Standing
    from harness.report.table import Table


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
    """Say which cases are done, failed or missing. And about how long the rest takes."""
    options.one_preset(quick=quick, long=long, paper=paper)
    if out_dir != options.RESULTS:  # where nothing was run yet, all of it is missing
        check_folder(out_dir)
    from harness import suites
    from harness.analysis import status as standing
    from harness.cli.here import key_now
    from harness.records import Store
    from harness.system import machine

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
    out.print(standings(found))


def standings(found: Sequence[Standing]) -> Table:
    """How the suites stand, and about how long the rest takes."""
    from harness.report.table import Table, seconds

    lines = [
        {
            "suite": each.suite,
            "data set": each.dataset,
            "done": str(each.done),
            "out of date": str(each.dated),
            "failed": str(each.failed),
            "not run": str(each.left_out),
            "missing": str(each.missing),
            "left": seconds(each.seconds_left),
        }
        for each in found
    ]
    notes = [
        (any(each.dated for each in found), "out of date: of other code, versions or machine"),
        (any(each.left_out for each in found), "not run: its framework is not here, or cannot"),
    ]
    return Table(lines, notes=tuple(note for is_there, note in notes if is_there))
