"""`harness report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import out
from harness.cli.stored import rows_of


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
    site: Annotated[
        Path | None,
        typer.Option(
            "--site",
            help="Also write a folder for a static host: report, leaderboard, tables, docs.",
            metavar="DIR",
            parser=options.place,
        ),
    ] = None,
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records; show the verdicts."""
    from harness.analysis.claims import verdicts
    from harness.cli import terminal
    from harness.report import write

    rows = rows_of(out_dir, "acceleration")
    written = write(rows, out_dir, readme, site)
    out.print(terminal.verdicts(verdicts(rows)))
    for path in written:
        if site is None or site not in path.parents or path == site / "index.html":
            out.print(str(path), markup=False, highlight=False)
