"""`harness verify`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, get_args

import typer

from harness.cli import endings, options
from harness.cli.console import out
from harness.cli.stored import rows_of


def verify(
    records: Annotated[
        Path, typer.Argument(metavar="RECORDS", help="Folder of results.", parser=options.place)
    ],
    sample: Annotated[
        int,
        typer.Option(
            "--sample", help="Trainings, and cells, to measure again.", metavar="N", min=1
        ),
    ] = 2,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Of a training, the first ones.", metavar="N", min=1)
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Draws the sample.", metavar="N", min=0)] = 0,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            help="Time for each cell, about.",
            metavar="30s",
            show_default="30s",
            parser=options.seconds,
        ),
    ] = 30.0,
    data_root: options.DataRoot = None,
) -> None:
    """Measure a sample of recorded cases again. Exit 1 if a figure differs."""
    from harness import datasets
    from harness.cli import terminal
    from harness.cli.here import lacks
    from harness.jobs import verify as verifying
    from harness.jobs.local import Local
    from harness.records import Store
    from harness.report.table import Table
    from harness.spec import Access

    folder = Store.around(records).out
    rows = rows_of(folder, "acceleration")
    root = datasets.data_root(data_root)
    with endings.kept("nothing was confirmed"), terminal.progress(out) as say:
        here = verifying.Here(Local(), Access(root), lacks, say, folder / "weights")
        found = list(verifying.verify(rows, here, sample, seed, epochs, budget))
    lines = [
        {
            "case": each.case,
            "figure": each.figure,
            "recorded": each.recorded,
            "now": each.now,
            "": each.verdict,
        }
        for each in found
    ]
    reasons = dict.fromkeys(f"{each.case}: {each.reason}" for each in found if each.reason)
    out.print(Table(lines, notes=tuple(reasons)))
    counts = Counter(check.verdict for check in found)
    out.print(", ".join(f"{counts[each]} {each}" for each in get_args(verifying.Verdict)))
    if counts["differs"] or len(found) == counts["not tested"]:  # what tested nothing is no pass
        raise typer.Exit(1)
