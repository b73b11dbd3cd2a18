"""What is tried in a cell, and the row of what fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from harness.records import Outcome, Record, Row
from harness.records.build import Failed, ended, stamped
from harness.records.ledger import Ledger
from harness.spec import Case
from harness.speed.exchange import Broken
from harness.system import machine

T = TypeVar("T")


@dataclass(eq=False)
class Attempts:
    """The rows of one cell; each is kept as it comes."""

    ledger: Ledger
    kept: int = 0

    def keep(self, row: Row) -> None:
        """Stores a row, with the state of the machine beside it."""
        self.ledger.keep(stamped(row, machine.moment()))
        self.kept += 1

    def end(self, row: Record, status: Outcome, reason: str) -> None:
        """Stores why a case comes to nothing."""
        self.keep(ended(row, status, reason))

    def attempt(self, row: Record, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where it failed, and then a row says why.

        What a framework throws has become Failed in its own process.
        """
        self.ledger.owner.attempt(Case.of(row))
        try:
            return work()
        except Failed as reason:
            self.end(row, reason.status, str(reason))
        except Broken as reason:
            self.end(row, "failed", str(reason))
        return None
