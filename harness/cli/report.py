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
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records; show the verdicts."""
    from harness import report as reporting
    from harness.analysis.claims import verdicts
    from harness.cli import terminal

    rows = rows_of(out_dir, "acceleration")
    written = reporting.write(rows, out_dir, readme)
    out.print(terminal.verdicts(verdicts(rows)))
    for path in written:
        out.print(str(path), markup=False, highlight=False)
