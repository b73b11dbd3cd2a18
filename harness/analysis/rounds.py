"""What was measured together: cells, who ran in them, and the seconds of each round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import attrgetter
from typing import NamedTuple

from harness.analysis.groups import grouped
from harness.records import IterationRow, Record, Row
from harness.records.fields import Place
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
    def again(self) -> list[float]:
        """A/A, round by round: who ran twice, the second over the first."""
        first, second = self.twin
        return [second[n] / first[n] for n in sorted(first.keys() & second.keys())]

    def ratio(self, numerator: Seconds, denominator: Seconds) -> ratios.Ratio | None:
        """Of the rounds that both ran in; None where there are none."""
        shared = sorted(numerator.keys() & denominator.keys())
        if not shared:
            return None
        if numerator is denominator:
            return ratios.Ratio(1.0, 1.0, 1.0, "none", len(shared))
        return ratios.ratio([numerator[n] for n in shared], [denominator[n] for n in shared])


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


# Outside of this an instance of the floor is told from the other: a difference that large is then
# one of places in memory or of neighbours, and a rank would be a draw.
STEADY = (0.8, 1.25)


def noise_of(records: Iterable[Row]) -> ratios.Ratio | None:
    """The A/A ratio of a run: the floor's second instance over its first, in all cells and rounds.

    `records` are the rows of that run alone. Its interval is the noise floor: a difference inside
    it is none. None where nothing ran twice.
    """
    rows = [row for row in records if isinstance(row, IterationRow)]
    cells = grouped(rows, cell_of).values()
    found = [each for cell in cells for each in Rounds.of(cell).again]
    return ratios.mean(found) if found else None


def is_steady(noise: ratios.Ratio | None) -> bool:
    """Whether a run of this A/A ratio may rank anybody.

    The ends of its interval count, not its value: a run that is too short to know its noise would
    else pass for a quiet one. A run without any A/A says nothing of its noise.
    """
    return noise is not None and STEADY[0] <= noise.low and noise.high <= STEADY[1]


def noise_of_runs(records: Iterable[Row]) -> dict[str, ratios.Ratio | None]:
    """The A/A ratio of each run that timed anything, from its own rows alone."""
    timed = [row for row in records if isinstance(row, IterationRow)]
    return {run: noise_of(rows) for run, rows in grouped(timed, lambda row: row.run).items()}
