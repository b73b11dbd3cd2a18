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
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records."""
    from harness import report as reporting

    for path in reporting.write(rows_of(out_dir, "acceleration"), out_dir, readme):
        out.print(str(path), markup=False, highlight=False)
