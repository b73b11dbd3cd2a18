"""`harness compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import err, out
from harness.cli.stored import rows_of
from harness.spec import UsageError


def compare(
    old: Annotated[
        Path, typer.Argument(metavar="OLD", help="Folder of results.", parser=options.place)
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Folder of results.", parser=options.place)
    ],
    fail_above: Annotated[
        float | None,
        typer.Option(
            "--fail-above",
            help="Exit 1 on a larger change for the worse; less does not matter.",
            metavar="5%",
            parser=options.percent,
        ),
    ] = None,
) -> None:
    """Compare two result folders: what changed, what did not, and what is too noisy to tell."""
    from harness.analysis import compare as comparing
    from harness.cli import terminal

    found = comparing.compare(
        rows_of(old, "acceleration"), rows_of(new, "acceleration"), fail_above
    )
    if not found.changes:
        unlike = [each for each in found.differences if each.startswith("protocol")]
        why = "; ".join(unlike) or "they have no cell in common"
        raise UsageError(f"nothing of {old} and {new} can be compared: {why}")
    out.print(terminal.comparison(found))
    worse = found.beyond(fail_above) if fail_above is not None else []
    if worse:
        err.print(f"{len(worse)} changes for the worse are above {100 * (fail_above or 0):g}%")
        raise typer.Exit(1)
