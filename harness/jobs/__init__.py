"""Where cases run: on this machine, or on those of a cluster. Rows come back to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.records import DescentRow, Row, Store
from harness.spec import Access, Budget, Case, Say


@dataclass(frozen=True)
class Trained:
    """A training that came to an end, with its rows; `before`: an earlier command had done it."""

    case: Case
    rows: tuple[Row, ...]
    before: bool = False


@dataclass(frozen=True)
class Timed:
    """A cell with figures, and all its rows so far; `before`: an earlier command had timed it.

    `descents` are of all cells: how a contender trains in bf16 is measured once.
    """

    cell: Case
    rows: tuple[Row, ...]
    rounds: int
    before: bool = False
    descents: tuple[DescentRow, ...] = ()


class Executor(Protocol):
    """One place to run cases.

    A case that fails becomes a row with its reason; the others go on. Both raise UsageError where
    rows cannot be written.
    """

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Trained]:
        """Trains what is not done, in any order."""
        ...

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Timed]:
        """Times what is not done, all of it on one machine that does nothing else."""
        ...
