"""`harness compare`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from harness.cli import options
from harness.cli.console import err, out
from harness.cli.stored import rows_of
from harness.spec import UsageError

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.compare import Change, Comparison
    from harness.report.table import Table

CHANGED = ("slower", "worse", "faster", "better")  # what stands out of the noise
LISTED = 10  # of the cells that one folder alone has
WIDEST = (-0.9, 10.0)  # a change known to a tenth or tenfold alone is not known


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
            help="Exit 1 on a larger change for the worse; smaller ones do not matter.",
            metavar="5%",
            parser=options.percent,
        ),
    ] = None,
) -> None:
    """Compare two result folders. What changed, what did not, and what is too noisy to tell."""
    from harness.analysis import compare as comparing

    found = comparing.compare(
        rows_of(old, "acceleration"), rows_of(new, "acceleration"), fail_above
    )
    if not found.changes:
        unlike = [each for each in found.differences if each.startswith("protocol")]
        why = "; ".join(unlike) or "they have no cell in common"
        raise UsageError(f"nothing of {old} and {new} can be compared: {why}")
    out.print(comparison(found))
    worse = found.beyond(fail_above) if fail_above is not None else []
    if worse:
        err.print(f"{len(worse)} changes for the worse are above {100 * (fail_above or 0):g}%")
        raise typer.Exit(1)


def comparison(found: Comparison) -> RenderableType:
    """What differs in how the folders were made, every figure, and how many changes stand out."""
    head = [Text(each, "yellow") for each in found.differences]
    head += [Text(f"in one folder alone: {each}", "dim") for each in found.unmatched[:LISTED]]
    if len(found.unmatched) > LISTED:
        head.append(Text(f"and {len(found.unmatched) - LISTED} more", "dim"))
    groups: dict[tuple[str, str], list[Change]] = {}
    for each in found.changes:
        groups.setdefault((each.what, each.setting), []).append(each)
    calls = sum(each.call in CHANGED for each in found.changes)
    noisy, margins = len(found.called("too noisy to tell")), found.margins
    counted = (
        f"{calls} of {len(found.changes)} figures changed by more than noise; {noisy} are too "
        f"noisy to tell a change of {100 * margins.speed:g} % (speed) or "
        f"{100 * margins.accuracy:g} % of the samples (accuracy)"
    )
    return Group(*head, *(_group(*key, of) for key, of in groups.items()), Text(counted, "bold"))


def _group(what: str, setting: str, changes: Sequence[Change]) -> Table:
    from harness.report.table import Table, interval

    lines = []
    for each in changes:
        known = WIDEST[0] <= each.low and each.high <= WIDEST[1]
        change = interval(each.change, each.low if known else nan, each.high, "+.1f", 100)
        front = {"": each.contender.removesuffix(" fp32")} if what == "speed" else {}
        lines.append(
            {
                **front,
                "where": each.where.replace("against the others", "against others"),
                "old": "" if isnan(each.old) else f"{each.old:.3f}",
                "new": "" if isnan(each.new) else f"{each.new:.3f}",
                f"change, {'%' if what == 'speed' else 'points'}": change,
                " ": "noisy" if each.call == "too noisy to tell" else each.call,
            }
        )
    title = "Seconds divided by the floor's" if what == "speed" else "Test accuracy"
    return Table(lines, title, setting)
