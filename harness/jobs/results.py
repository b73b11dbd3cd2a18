"""What comes back from where cases run, and what such a place is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.records import DescentRow, Row, Store
from harness.spec import Access, Budget, Case, Say


@dataclass(frozen=True)
class Result:
    """A training, another system or a count that came to an end; or a cell with figures so far."""

    case: Case  # of a cell what its cases share
    rows: tuple[Row, ...]
    rounds: int = 0  # of a cell
    before: bool = False  # an earlier command had done it
    left_seconds: float = 0.0  # of a cell that was not begun: what it takes, about
    # of all cells: how a contender trains in bf16 is measured once
    descents: tuple[DescentRow, ...] = ()


class Executor(Protocol):
    """One place to run cases.

    A case that fails becomes a row with its reason; the others go on. Both raise UsageError where
    rows cannot be written.
    """

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Result]:
        """Does what is not done, in any order: trainings, other systems, counts."""
        ...

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Result]:
        """Times what is not done, all of it on one machine that does nothing else."""
        ...
