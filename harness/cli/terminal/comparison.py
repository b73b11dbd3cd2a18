"""Two result folders against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from harness.cli.terminal.blocks import Block, Blocks, Head
from harness.cli.terminal.numbers import number

if TYPE_CHECKING:  # shown without torch
    from harness.analysis.compare import Change, Comparison

# What stands out of the noise.
_CALLS = ("slower", "worse", "faster", "better")
_SHORT = {"too noisy to tell": "noisy"}
_WHERE = {"all cells, against the others": "all, against others"}
_LISTED = 10  # of the cells that one folder alone has
# Whoever is known to a tenth or tenfold alone is not known.
_WIDEST = (-0.9, 10.0)


def comparison(found: Comparison) -> RenderableType:
    """What differs in how the folders were made, every figure, and how many changes stand out."""
    head = [Text(each, "yellow") for each in found.differences]
    head += [Text(f"in one folder alone: {each}", "dim") for each in found.unmatched[:_LISTED]]
    if len(found.unmatched) > _LISTED:
        head.append(Text(f"and {len(found.unmatched) - _LISTED} more", "dim"))
    groups: dict[tuple[str, str], list[Change]] = {}
    for each in found.changes:
        groups.setdefault((each.what, each.setting), []).append(each)
    blocks = [_block(what, setting, group) for (what, setting), group in groups.items()]
    return Group(*head, Blocks(tuple(blocks)), Text(_counted(found), "bold"))


def _block(what: str, setting: str, changes: Sequence[Change]) -> Block:
    speed = what == "speed"
    unit = "%" if speed else "points"
    title = "Seconds over the floor's" if speed else "Test accuracy"
    columns = (
        *((Head(""), Head("where")) if speed else (Head("network"),)),
        *(Head(name, right=True) for name in ("old", "new", f"change, {unit}", "95 %")),
        Head(""),
    )
    lines = tuple(_line(each) for each in changes)
    noisy = any(each.call == "too noisy to tell" for each in changes)
    notes = ("noisy: too noisy to tell a change from none",) if noisy else ()
    return Block(title, (setting,) if setting else (), columns, lines, notes)


def _line(each: Change) -> tuple[str, ...]:
    names = (each.contender.removesuffix(" fp32"), _WHERE.get(each.where, each.where))
    return (
        *(names if each.what == "speed" else (each.where,)),
        number(each.old, ".3f"),
        number(each.new, ".3f"),
        f"{100 * each.change:+.1f}",
        _interval(each),
        _SHORT.get(each.call, each.call),
    )


def _interval(each: Change) -> str:
    if pd.isna(each.low):
        return ""
    if each.low < _WIDEST[0] or each.high > _WIDEST[1]:
        return "not known"
    return f"{100 * each.low:+.1f} to {100 * each.high:+.1f}"


def _counted(found: Comparison) -> str:
    """How many changes stand out, and how many figures might hide one."""
    calls = sum(each.call in _CALLS for each in found.changes)
    noisy, margins = len(found.called("too noisy to tell")), found.margins
    return (
        f"{calls} changes stand out of the noise; {noisy} of {len(found.changes)} figures are too "
        f"noisy to tell a change of {100 * margins.speed:g} % (speed) or "
        f"{100 * margins.accuracy:g} points (accuracy)"
    )
