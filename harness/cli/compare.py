"""`harness compare`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isnan, nan
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from harness.cli.console import err, option, out, rows_of
from harness.spec import UsageError
from harness.spec.options import place

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.compare import Change, Comparison
    from harness.report.table import Table

CHANGED = ("slower", "worse", "faster", "better")  # what stands out of the noise
LISTED = 10  # of the cells that one folder alone has
WIDEST = (-0.9, 10.0)  # a change known to a tenth or tenfold alone is not known
Folder = typer.Argument(help="Folder of results.")


def compare(
    old: Annotated[str, Folder],
    new: Annotated[str, Folder],
    fail_above: Annotated[
        str | None,
        option(
            "--fail-above",
            "Exit 1 on a larger change for the worse; smaller ones do not matter.",
            "5%",
        ),
    ] = None,
) -> None:
    """Compare two result folders. What changed, what did not, and what is too noisy to tell."""
    margin = None if fail_above is None else _share(fail_above)
    first, second = place(old), place(new)
    from harness.analysis import compare as comparing

    found = comparing.compare(rows_of(first), rows_of(second), margin)
    if not found.changes:
        unlike = [each for each in found.differences if each.startswith("protocol")]
        why = "; ".join(unlike) or "they have no cell in common"
        raise UsageError(f"nothing of {old} and {new} can be compared: {why}")
    out.print(comparison(found))
    if margin is not None and (worse := found.beyond(margin)):
        err.print(f"{len(worse)} changes for the worse are above {100 * margin:g}%")
        raise typer.Exit(1)


def _share(percent: str) -> float:
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?) ?%?", percent.strip())
    if match is None:
        raise UsageError(f"--fail-above: {percent!r}, expected a percentage such as 5%")
    return float(match[1]) / 100


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
    noisy = sum(each.call == "too noisy to tell" for each in found.changes)
    counted = (
        f"{calls} of {len(found.changes)} figures changed by more than noise; {noisy} are too "
        f"noisy to tell a change of {100 * found.speed:g} % (speed) or "
        f"{100 * found.accuracy:g} % of the samples (accuracy)"
    )
    return Group(*head, *(_group(*key, of) for key, of in groups.items()), Text(counted, "bold"))


def _group(what: str, setting: str, changes: Sequence[Change]) -> Table:
    from harness.report.table import Table, interval

    lines, is_speed = [], what == "speed"
    for each in changes:
        known = WIDEST[0] <= each.low and each.high <= WIDEST[1]
        line = {"": each.contender.removesuffix(" fp32")} if is_speed else {}
        line["where"] = each.where.replace("against the others", "against others")
        line["old"] = "" if isnan(each.old) else f"{each.old:.3f}"
        line["new"] = "" if isnan(each.new) else f"{each.new:.3f}"
        change = interval(each.change, each.low if known else nan, each.high, "+.1f", 100)
        line[f"change, {'%' if is_speed else 'points'}"] = change
        line[" "] = "noisy" if each.call == "too noisy to tell" else each.call
        lines.append(line)
    return Table(lines, "Seconds divided by the floor's" if is_speed else "Test accuracy", setting)
