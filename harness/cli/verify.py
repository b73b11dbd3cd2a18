"""`harness verify`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, get_args

import typer

from harness.cli import endings
from harness.cli.console import option, out, progress, rows_of, takes
from harness.spec import Access, Options
from harness.spec.options import place

BUDGET = 30.0  # seconds


@takes("budget", "data_root")
def verify(
    records: Annotated[str, typer.Argument(metavar="RECORDS", help="Folder of results.")],
    sample: Annotated[
        int, option("--sample", "Trainings, and cells, to measure again.", "N", min=1)
    ] = 2,
    epochs: Annotated[int, option("--epochs", "Of a training, the first ones.", "N", min=1)] = 1,
    seed: Annotated[int, option("--seed", "Draws the sample.", "N", min=0)] = 0,
    **given: Any,
) -> None:
    """Measure a sample of recorded cases again. Exit 1 if a figure differs.

    The budget is of each cell: 30 s unless it is given.
    """
    options, path = Options.of(**given), place(records)
    from harness import datasets
    from harness.cli.status import lacks
    from harness.jobs import verify as verifying
    from harness.jobs.local import Local
    from harness.records import Store
    from harness.report.table import Table

    folder = Store.around(path).out
    rows, budget = rows_of(folder), options.budget or BUDGET
    access = Access(datasets.data_root(options.data_root))
    with endings.kept("nothing was confirmed"), progress() as say:
        here = verifying.Here(Local(), access, lacks, say, folder / "weights")
        found = list(verifying.verify(rows, here, sample, seed, epochs, budget))
    columns = {"case": "case", "figure": "figure", "recorded": "recorded", "now": "now"}
    columns[""] = "verdict"
    lines = [{head: getattr(each, name) for head, name in columns.items()} for each in found]
    reasons = dict.fromkeys(f"{each.case}: {each.reason}" for each in found if each.reason)
    out.print(Table(lines, notes=tuple(reasons)))
    counts = Counter(check.verdict for check in found)
    out.print(", ".join(f"{counts[each]} {each}" for each in get_args(verifying.Verdict)))
    if counts["differs"] or len(found) == counts["not tested"]:  # what tested nothing is no pass
        raise typer.Exit(1)
