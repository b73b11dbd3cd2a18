"""`harness versions`: a framework's releases, which of them pass here, and how fast they are."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from harness.cli.check import outcome
from harness.cli.console import say, takes
from harness.spec import Options
from harness.spec.options import parse_count

_Framework = typer.Argument(metavar="FRAMEWORK")
_Newest = typer.Option(help="How many releases; default: 5.", metavar="N")
_Time = typer.Option("--time", help="Time those that pass and the installed one, in one run.")


@takes("budget", "data_root", "out")
def versions(
    framework: Annotated[str, _Framework],
    newest: Annotated[str, _Newest] = "5",
    timed: Annotated[bool, _Time] = False,
    **given: Any,
) -> None:
    """Check the newest releases of a framework's package on CIFAR-10 Small.

    Each is installed once, into the cache folder. Exit 1 where none passes.
    """
    one = {"networks": "Small", "datasets": "cifar10", "quick": given["budget"] is None}
    options, number = Options.of(suite="acceleration", **given, **one), parse_count(newest)
    import adapters
    from adapters import facts
    from harness.proof import check as proving

    passed: list[str] = []
    for release in facts.releases(framework)[:number]:
        name = f"{framework}@{release}"
        (result,) = proving.prove_adapters((name,), options, lambda *_: None)
        say(f"{name}: {outcome(result).plain.strip()}")
        passed += [name] if result.proofs and not result.failed else []
    if not passed:
        raise typer.Exit(1)
    if not timed:
        return
    first, *others = passed if adapters.missing(framework) else (framework, *passed)
    from harness.analysis import compare
    from harness.api import Work
    from harness.cli import measuring

    command = ("harness", *sys.argv[1:])
    rows = measuring.run(Work.of(replace(options, frameworks=(first, *others)), command))
    for name in others:
        for change in compare.within_run(rows, name, first):
            say(compare.sentence(change, first))
