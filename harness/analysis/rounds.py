"""What was measured together: cells, who ran in them, and the seconds of each round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import attrgetter
from typing import NamedTuple

from harness.analysis.groups import grouped
from harness.records import IterationRow, Record, Row
from harness.records.record import Place
from harness.spec import FLOOR, CaseFields
from harness.speed import ratios

Seconds = dict[int, float]  # of each round


class MachineCell(NamedTuple):
    """What was measured together and may be compared: a cell of cases on one machine."""

    place: Place
    fields: tuple[object, ...]  # of its cases, those that are the same in all of them


# as `Case.cell` leaves them out, and faster than to make a case of each of 100,000 rows
_APART = ("framework", "variant", "precision")
_shared = attrgetter(*(name for name in CaseFields.__dataclass_fields__ if name not in _APART))


class Entrant(NamedTuple):
    """Who is compared in a cell; ranks are among those of one precision."""

    framework: str
    variant: str
    precision: str


def cell_of(row: Record) -> MachineCell:
    """The cell that a row belongs to."""
    return MachineCell(row.place, _shared(row))


def entrant_of(row: Record) -> Entrant:
    """Who a row is of."""
    return Entrant(row.framework, row.variant or "", row.precision)


@dataclass(frozen=True)
class Rounds:
    """What was timed together: the seconds of each entrant, of who ran twice the mean."""

    seconds: dict[Entrant, Seconds]
    twin: tuple[Seconds, Seconds]  # A/A: first and second name; empty where there was none

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rounds:
        """The rounds of rows of one run and cell; who ran twice counts with the mean of both."""
        entrants = grouped(rows, entrant_of)
        seconds = {key: _seconds(group) for key, group in entrants.items()}
        twin: tuple[Seconds, Seconds] = ({}, {})
        for key, group in entrants.items():
            second = _seconds(group, twin=True)
            if second:
                twin = (seconds[key], second)
                seconds[key] = _mean(*twin)
        return cls(seconds, twin)

    def floor(self, precision: str) -> Seconds:
        """The floor's seconds in a precision; empty where it did not run."""
        return self.seconds.get(Entrant(FLOOR, "", precision), {})

    @property
    def noise(self) -> ratios.Spread:
        """The spread of one measurement, from all who ran in every round."""
        columns = list(self.seconds.values())
        most = max((len(column) for column in columns), default=0)
        return ratios.spread([list(c.values()) for c in columns if most and len(c) == most])

    def ratio(self, numerator: Seconds, denominator: Seconds) -> ratios.Ratio | None:
        """Of the rounds that both ran in; None where there are none."""
        shared = sorted(numerator.keys() & denominator.keys())
        if not shared:
            return None
        if numerator is denominator:
            return ratios.Ratio(1.0, 1.0, 1.0, "none", len(shared))
        return ratios.ratio(
            [numerator[n] for n in shared], [denominator[n] for n in shared], self.noise
        )


def _seconds(rows: Iterable[Row], *, twin: bool = False) -> Seconds:
    return {
        row.round: row.seconds
        for row in rows
        if isinstance(row, IterationRow) and row.twin == twin and row.seconds
    }


def _mean(first: Seconds, second: Seconds) -> Seconds:
    """Of one contender's two names, round by round: less noise than either."""
    return {n: sqrt(value * second.get(n, value)) for n, value in first.items()}


def last_run(rows: Sequence[Row]) -> list[Row]:
    """The rows of the last run that timed anything, else of the last.

    The last is whose row was written last: a clock that ran ahead does not make a run the newest.
    """
    timed = [row.run for row in rows if isinstance(row, IterationRow)]
    last = timed[-1] if timed else rows[-1].run
    return [row for row in rows if row.run == last]


def noise_of(records: Iterable[Row]) -> ratios.Ratio | None:
    """The A/A ratio over all cells: a contender's second name against its first.

    Its interval is the noise floor: a difference inside it is none.
    """
    rows = [row for row in records if isinstance(row, IterationRow)]
    cells = [Rounds.of(group) for group in grouped(rows, cell_of).values()]
    first, second = [], []
    for cell in cells:
        shared = sorted(cell.twin[0].keys() & cell.twin[1].keys())
        first += [cell.twin[0][n] for n in shared]
        second += [cell.twin[1][n] for n in shared]
    if not first:
        return None
    return ratios.ratio(second, first, ratios.pooled([cell.noise for cell in cells]))
