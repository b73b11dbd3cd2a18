"""`harness report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from harness.cli.console import option, out, rows_of, say, takes
from harness.spec import Options
from harness.spec.options import place

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.claims import Claim, Verdict
    from harness.report.table import Table


@takes("out")
def report(
    readme: Annotated[
        str | None, option("--readme", "Also renew the tables between its marks.", "FILE")
    ] = None,
    **given: Any,
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows. Show the verdicts."""
    folder = Options.of(**given).out
    page = None if readme is None else place(readme)
    from harness.analysis.claims import verdicts
    from harness.report import write

    rows = rows_of(folder)
    written = write(rows, folder, page)
    out.print(verdict_table(verdicts(rows)))
    for path in written:
        say(str(path))


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
