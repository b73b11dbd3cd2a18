"""What comes back from where cases run, and what such a place is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.records import DescentRow, Row, Store
from harness.spec import Access, Budget, Case, Say


@dataclass(frozen=True)
class TrialResult:
    """A training, another system or a count that came to an end, with its rows."""

    case: Case
    rows: tuple[Row, ...]
    before: bool = False  # an earlier command had done it


@dataclass(frozen=True)
class CellResult:
    """A cell with figures, and all its rows so far."""

    cell: Case
    rows: tuple[Row, ...]
    rounds: int
    before: bool = False  # an earlier command had timed it
    # of all cells: how a contender trains in bf16 is measured once
    descents: tuple[DescentRow, ...] = ()


class Executor(Protocol):
    """One place to run cases.

    A case that fails becomes a row with its reason; the others go on. Both raise UsageError where
    rows cannot be written.
    """

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[TrialResult]:
        """Does what is not done, in any order: trainings, other systems, counts."""
        ...

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[CellResult]:
        """Times what is not done, all of it on one machine that does nothing else."""
        ...
