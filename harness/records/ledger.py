"""What a process that measures says: rows to the folder, the rest to the command that waits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

from filelock import FileLock, Timeout

from harness.records.row import CertificateRow, DescentRow, Record, Row
from harness.records.store import Store
from harness.spec import Say
from harness.system.files import unwritable

R = TypeVar("R", bound=Record)
LOOK = 1.0  # seconds between two looks whether a case is free
DOWNLOAD = 6 * 3600.0  # seconds that a data set may take to arrive
# What tells rows of a kind from one another, of which a training or another system has one each;
# its end is said again where its weights are kept afterwards.
_ONCE = {
    "epoch": ("epoch",),
    "tested": ("tested_T",),
    "trained": ("kept_weights_sha256",),
    "warning": ("reason",),
    **dict.fromkeys(("audit", "confusion", "transfer", "fitted", "operations"), ()),
}


class Busy(Exception):
    """Another process is at work on this case."""


@dataclass(eq=False)
class Ledger:
    """The rows of a result folder, for a process that measures: what is there, and what is new."""

    store: Store
    say: Say  # how far the work is: a sign of life too
    fresh: bool = False  # only what `runs` measured counts
    runs: tuple[str, ...] = ()  # of this command
    patient: bool = False  # waits where another process is at the same case
    _there: set[tuple[object, ...]] = field(default_factory=set)
    _claims: list[FileLock] = field(default_factory=list)

    def begin(self, *rows: Record) -> list[Row]:
        """Takes the cases of the rows' keys, and says which rows of them are there.

        Raises Busy where another process has it.
        """
        keys = {str(row.key) for row in rows}
        name = hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:16]
        what = f"{rows[0].dataset} {rows[0].scale} seed {rows[0].seed}"
        folder = self.store.out / ".locks"
        claim = FileLock(folder / f"{name}.lock", timeout=LOOK if self.patient else 0.0)
        while not claim.is_locked:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                claim.acquire()
            except Timeout as error:
                if not self.patient:
                    raise Busy(what) from error
                self.say(0.0, f"{what}: another process is at it; waiting")
            except OSError as error:
                raise unwritable(folder, error) from error
        self._claims.append(claim)
        there = self._counting(self.store.where("key", keys))
        self._there |= set(map(_said_once, there)) - {()}
        return there

    def proofs_of(self, framework: str) -> list[CertificateRow]:
        """The outcomes that count of all certificates of a framework and its forms."""
        proofs = self._counting(self.store.of_kind(CertificateRow))
        return [row for row in proofs if row.framework == framework and row.layer is None]

    def descents(self) -> list[DescentRow]:
        """The trainings in bf16 that count."""
        return self._counting(self.store.of_kind(DescentRow))

    def _counting(self, there: list[R]) -> list[R]:
        return [row for row in there if row.run in self.runs] if self.fresh else there

    def keep(self, *rows: Row) -> None:
        """Keeps rows; they are on the disk when this returns. Raises UsageError where it cannot.

        A run that goes on says again what it had said before it was killed: that is kept once.
        """
        new = [row for row in rows if _said_once(row) not in self._there]
        self._there |= set(map(_said_once, new)) - {()}
        self.store.append(*new)

    def release(self) -> None:
        """Lets others have the cases that were taken."""
        for claim in self._claims:
            claim.release()
        self._claims.clear()
        self._there.clear()


def _said_once(row: Row) -> tuple[object, ...]:
    """The place of a row of which a training has one there; () for others, timings' among them."""
    if row.kind not in _ONCE or row.epochs is None:
        return ()
    return row.suite, row.key, row.kind, *(getattr(row, name) for name in _ONCE[row.kind])
