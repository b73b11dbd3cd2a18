"""What is tried in a cell, and the row of what fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch._dynamo.exc import TorchDynamoException

from harness.adapter import Unsupported
from harness.records import Outcome, Record, Row
from harness.records.build import ended, stamped
from harness.records.ledger import Ledger
from harness.spec import Case, UsageError
from harness.system import footprint, machine

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
        """What `work` returns; None where it failed, and then a row says why."""
        self.ledger.owner.attempt(Case.of(row))
        return self.tried(row, work)

    def tried(self, row: Record, work: Callable[[], T]) -> T | None:
        """The same, already announced.

        This is the one place where what a framework throws becomes a row.
        """
        try:
            return work()
        except Unsupported as reason:
            self.end(row, "unsupported", str(reason))
        except UsageError:  # the rows cannot be written
            raise
        except TorchDynamoException as error:
            self.end(row, "unsupported", f"torch.compile: {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 a framework may throw anything
            if footprint.is_exhausted(error):  # the others would fail too: end with the process
                raise
            self.end(row, "failed", f"{type(error).__name__}: {error}")
        return None
