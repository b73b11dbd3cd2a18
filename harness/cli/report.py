"""`harness report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.console import out
from harness.cli.stored import rows_of

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.claims import Claim
    from harness.analysis.verdict import Verdict
    from harness.report.table import Table


def report(
    out_dir: options.Out = options.RESULTS,
    readme: Annotated[
        Path | None,
        typer.Option(
            "--readme",
            help="Also renew the tables between its marks.",
            metavar="FILE",
            parser=options.place,
        ),
    ] = None,
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows. Show the verdicts."""
    from harness.analysis.claims import verdicts
    from harness.report import write

    rows = rows_of(out_dir, "acceleration")
    written = write(rows, out_dir, readme)
    out.print(verdict_table(verdicts(rows)))
    for path in written:
        out.print(str(path), markup=False, highlight=False)


def verdict_table(judged: Sequence[tuple[Claim, Verdict]]) -> Table:
    """Each verdict with its effects, intervals and seeds; below what would change it."""
    from harness.report.table import Table

    lines = [
        {
            "claim": claim.id,
            "verdict": verdict.text,
            "effect [95 % interval]": verdict.measured,
            "seeds": verdict.n,
        }
        for claim, verdict in judged
    ]
    changes = (f"{claim.id}: would change with {each.would_change}" for claim, each in judged)
    return Table(lines, notes=tuple(changes))
