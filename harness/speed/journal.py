"""What a cell's rows say as they come: measured, or why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch._dynamo.exc import TorchDynamoException

from harness.adapter import Unsupported
from harness.records import Record, build
from harness.records.ledger import Ledger
from harness.spec import UsageError
from harness.system import footprint, machine


@dataclass(eq=False)
class Journal:
    """The rows of one cell; each is kept by the ledger as it comes."""

    ledger: Ledger
    kept: list[Record] = field(default_factory=list)

    def keep(self, row: Record, **measured: object) -> None:
        """Stores a row with what was measured, and the state of the machine beside it."""
        state = asdict(machine.moment())
        full = replace(row, time=build.now(), **state, **measured)  # type: ignore[arg-type]
        self.ledger.keep(full)
        self.kept.append(full)

    def attempt(self, row: Record, work: Callable[[], Any]) -> Any:
        """What `work` returns; None where it failed, and then a row says why."""
        self.ledger.attempt(row)
        return self.tried(row, work)

    def tried(self, row: Record, work: Callable[[], Any]) -> Any:
        """The same, already announced.

        This is the one place where what a framework throws becomes a row.
        """
        try:
            return work()
        except Unsupported as reason:
            self.keep(row, kind="case", status="unsupported", reason=str(reason))
        except UsageError:  # the rows cannot be written
            raise
        except TorchDynamoException as error:
            reason = f"torch.compile: {type(error).__name__}: {error}"
            self.keep(row, kind="case", status="unsupported", reason=reason)
        except Exception as error:  # noqa: BLE001 a framework may throw anything
            if footprint.is_exhausted(error):  # the others would fail too: end with the process
                raise
            reason = f"{type(error).__name__}: {error}"
            self.keep(row, kind="case", status="failed", reason=reason)
        return None
