"""Does one case that is no timing: a training, a count of operations, or another system.

It runs in a process of its own. A failure becomes one row with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import adapters
from harness.adapter import Unsupported
from harness.proof.subject import NOTHING_KNOWN
from harness.records import Record, Row
from harness.records.ledger import Ledger
from harness.records.run import Failed, Run, ended, of_case, stamped
from harness.spec import Access, Case, UsageError
from harness.system import memory

C = TypeVar("C", bound=Case)


@dataclass(frozen=True)
class End:
    """How a trial ended: its key, and whether an earlier command had done it."""

    key: str | None
    before: bool = False


@dataclass(eq=False)
class Trial(Generic[C]):
    """A case that is being done, and what its rows say so far."""

    case: C
    ledger: Ledger
    access: Access
    run: Run
    row: Record

    @property
    def out(self) -> Path:
        """The folder of its results."""
        return self.ledger.store.out

    def say(self, fraction: float, doing: str) -> None:
        """Says how far the case is, in [0, 1]."""
        self.ledger.say(fraction, doing)

    def keep(self, *rows: Row) -> None:
        """Keeps rows as of now."""
        self.ledger.keep(*map(stamped, rows))


def do(case: C, ledger: Ledger, access: Access, run: Run, work: Callable[[Trial[C]], bool]) -> End:
    """Has `work` do the case; `work` says whether an earlier command had done it.

    Raises Busy where another process has the case, and UsageError where results cannot be written.
    """
    trial = Trial(case, ledger, access, run, of_case(case, run, NOTHING_KNOWN))
    try:
        before = work(trial)
        return End(trial.row.key, before)
    except adapters.Missing as error:
        failure = Failed(str(error), "missing")
    except Unsupported as error:
        failure = Failed(str(error), "unsupported")
    except Failed as error:
        failure = error
    except RuntimeError as error:  # a framework's own
        if memory.is_exhausted(error):  # nothing that this process does now can be trusted
            raise
        failure = Failed(f"{type(error).__name__}: {error}")
    trial.keep(ended(trial.row, failure.status, str(failure)))
    return End(trial.row.key)


@contextmanager
def fails_alone() -> Iterator[None]:
    """What a case names and is not here, or damaged, does not cost the other cases.

    Raises Failed for a UsageError.
    """
    try:
        yield
    except UsageError as error:
        raise Failed(str(error)) from error
