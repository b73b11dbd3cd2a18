"""One contender of a cell, and what is known of it on its way into the rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from harness.records import Record
from harness.spec import Case
from harness.speed.apart import Apart
from harness.speed.part import Part


class Doing(NamedTuple):
    """How far the preparation of a cell is, in [0, 1], and what is done."""

    fraction: float
    what: str


@dataclass(frozen=True)
class Entry:
    """One that may be timed: proved equal, or marked as a variant."""

    row: Record  # what every row of it says
    case: Case
    part: Part | None = None  # of an iteration, where a whole one takes too long

    @property
    def run(self) -> Case:
        """As it is run."""
        return self.case if self.part is None else self.part.of(self.case)

    @property
    def is_equal(self) -> bool:
        """Whether it claims to be the paper's function."""
        return not self.row.deviations


@dataclass(frozen=True)
class Expected:
    """What every turn must come to, but for the rolled batch; in the order of the batch."""

    votes: Tensor  # (B, classes)
    labels: Tensor  # (B,)


@dataclass(eq=False)
class Contender:
    """One that is timed."""

    name: str  # in the rounds
    row: Record
    apart: Apart
    entry: Entry | None = None  # None for the floor
    twin: bool = False  # the second instance of the floor
    expected: Expected | None = None  # None for the floor and for variants
    failed: bool = False
    said: set[str] = field(default_factory=set)  # what it changed in its process

    @property
    def case(self) -> Case:
        """As it is run."""
        return Case.of(self.row) if self.entry is None else self.entry.run

    @property
    def share(self) -> float | None:
        """Of an iteration that is run, where that is not all of it."""
        if self.entry is None or self.entry.part is None:
            return None
        return self.entry.part.amount / (self.row.T * self.row.batch_size)

    @property
    def lean(self) -> bool:
        """Whether it gives its memory back after each turn."""
        return self.apart.lean

    def fail(self) -> None:
        """It runs no more, and holds nothing."""
        self.failed = True
        self.apart.end()
