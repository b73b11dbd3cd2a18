"""Who is ranked in a cell, and who is not, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf, isnan

from harness.analysis.lines import FEWEST_RANKED, Acceleration
from harness.analysis.rounds import STEADY, is_steady
from harness.records import identity
from harness.spec import FLOOR
from harness.speed.ratios import Ratio


def placed(lines: Iterable[Acceleration], noise: Ratio | None) -> list[Acceleration]:
    """A cell's lines of one precision: the floor, the ranked with their ranks, then the others.

    `noise` is the A/A ratio of their run. Each line gets what a rank would need and it lacks.
    """
    judged = [_judged(line, noise) for line in lines]
    floor = [line for line in judged if line.framework == FLOOR]
    others = [line for line in judged if line.framework != FLOOR]
    ranked = [line for line in others if not line.lacks]
    ranked = [replace(line, rank=_rank(line, ranked)) for line in ranked]
    ranked.sort(key=lambda line: (line.rank or 0, line.ratio_to_floor))
    rest = [line for line in others if line.lacks]
    rest.sort(key=lambda line: inf if isnan(line.ratio_to_floor) else line.ratio_to_floor)
    return [*floor, *ranked, *rest]


def _rank(line: Acceleration, ranked: Sequence[Acceleration]) -> int:
    """One more than those who are faster beyond doubt: whose intervals overlap share a rank."""
    return 1 + sum(other.ratio_high < line.ratio_low for other in ranked)


def _judged(line: Acceleration, noise: Ratio | None) -> Acceleration:
    """The line with all that a rank lacks; the floor is what all are measured by and has none."""
    if line.framework == FLOOR:
        return line
    lacks = (*line.lacks, *_lacking_rounds(line, noise))
    return replace(line, lacks=lacks, reason="; ".join(lacks))


def _lacking_rounds(line: Acceleration, noise: Ratio | None) -> Iterable[str]:
    """What the figure lacks, whatever was proved of the contender."""
    if isnan(line.ratio_to_floor):
        if not line.lacks:
            yield "it was not timed against the floor"
        return
    if line.protocol != identity.PROTOCOL:
        yield f"measured under protocol {line.protocol}"
    if not isnan(line.part):
        yield f"scaled: {line.part:.2%} of an iteration was run, and its exam was narrower"
    if line.rounds < FEWEST_RANKED:
        yield f"preliminary: {line.rounds} rounds, ranked from {FEWEST_RANKED} on"
    if noise is None:
        yield "its run has no A/A"
    elif not is_steady(noise):
        yield unsteady(noise)


def unsteady(noise: Ratio) -> str:
    """Why a run ranks nobody."""
    return (
        f"the A/A interval of its run, {noise.low:.2f} to {noise.high:.2f}, is not within "
        f"{STEADY[0]} to {STEADY[1]}"
    )
