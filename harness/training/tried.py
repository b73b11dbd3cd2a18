"""What trials of all kinds share: a case is tried; what it fails of becomes a row of it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import adapters
from harness.adapter import Unsupported
from harness.records import Outcome, Record
from harness.records.build import Failed, ended, stamped
from harness.records.ledger import DOWNLOAD, Ledger
from harness.spec import Access, Case, UsageError
from harness.system import footprint


@dataclass(frozen=True)
class End:
    """How a trial ended: its key, and whether an earlier command had done it."""

    key: str | None
    before: bool = False


@dataclass(eq=False)
class Tried:
    """A case that is tried, and what its rows say so far."""

    case: Case
    ledger: Ledger
    row: Record


def trial(tried: Tried, access: Access, work: Callable[[Tried], bool]) -> End:
    """Does the work of a case, which says whether an earlier command had done it.

    Where it fails, a row says why, with what is known by then. Raises Busy where another process
    has the case, and UsageError where rows cannot be written.
    """
    case, ledger = tried.case, tried.ledger
    ledger.owner.attempt(case, DOWNLOAD if case.dataset in access.download else 0.0)
    before = False
    try:
        before = work(tried)
    except (Failed, adapters.Missing, Unsupported, RuntimeError) as error:
        if footprint.is_exhausted(error):  # the next case would fail too: end with the process
            raise
        ledger.keep(stamped(ended(tried.row, *_outcome(error))))
    return End(tried.row.key, before)


@contextmanager
def fails_alone() -> Iterator[None]:
    """What a case names and is not here, or damaged, does not cost the other cases.

    Raises Failed for a UsageError.
    """
    try:
        yield
    except UsageError as error:
        raise Failed(str(error)) from error


def _outcome(error: Exception) -> tuple[Outcome, str]:
    """What a case came to that an error ended, and why."""
    match error:
        case Failed():
            return error.status, str(error)
        case adapters.Missing():
            return "missing", str(error)
        case Unsupported():
            return "unsupported", str(error)
        case _:  # a framework's own
            return "failed", f"{type(error).__name__}: {error}"
