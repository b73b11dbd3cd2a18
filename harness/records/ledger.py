"""What a process that measures says, and to whom: rows to the folder, the rest to its owner."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from filelock import FileLock, Timeout

from harness.records.row import (
    CertificateRow,
    ConfusionRow,
    DescentRow,
    EpochRow,
    FittedRow,
    OperationsRow,
    Record,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
)
from harness.records.store import Store
from harness.spec import Say
from harness.system.files import unwritable

LOOK = 1.0  # seconds between two looks whether a case is free
DOWNLOAD = 6 * 3600.0  # seconds that a data set may take to arrive


class Busy(Exception):
    """Another process is at work on this case."""


@dataclass(eq=False)
class Ledger:
    """The rows of a result folder, for a process that measures: what is there, and what is new."""

    store: Store
    say: Say  # how far the work is, which is a sign of life too
    fresh: bool = False  # only what `runs` measured counts
    runs: tuple[str, ...] = ()  # of this command
    patient: bool = False  # waits for who is at the same case
    _there: set[tuple[object, ...]] = field(default_factory=set)
    _claims: list[FileLock] = field(default_factory=list)

    def begin(self, *rows: Record) -> list[Row]:
        """Takes the cases of the rows' keys, and says which rows of them are there.

        Raises Busy where another process has it.
        """
        keys = {str(row.key) for row in rows}
        self._take(hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:16], rows[0])
        there = self.store.of_keys(keys)
        if self.fresh:
            there = [row for row in there if row.run in self.runs]
        self._there |= {place for row in there if (place := _said_once(row))}
        return there

    def _take(self, name: str, row: Record) -> None:
        folder = self.store.out / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim = FileLock(folder / f"{name}.lock")
            while not _taken(claim, LOOK if self.patient else 0.0):
                what = f"{row.dataset} {row.scale} seed {row.seed}"
                if not self.patient:
                    raise Busy(what)
                self.say(0.0, f"{what}: another process is at it; waiting")
        except OSError as error:
            raise unwritable(folder, error) from error
        self._claims.append(claim)

    def proofs_of(self, framework: str) -> list[CertificateRow]:
        """The outcomes of a framework's certificates that count."""
        there = self.store.proofs_of(framework)
        return [row for row in there if row.run in self.runs] if self.fresh else there

    def descents(self) -> list[DescentRow]:
        """The trainings in bf16 that count."""
        there = self.store.descents()
        return [row for row in there if row.run in self.runs] if self.fresh else there

    def keep(self, *rows: Row) -> None:
        """Keeps rows; they are on the disk when this returns. Raises UsageError where it cannot.

        A run that goes on says again what it had said before it was killed: that is kept once.
        """
        new = [row for row in rows if _said_once(row) not in self._there]
        self._there |= {place for row in new if (place := _said_once(row))}
        self.store.append(*new)

    def release(self) -> None:
        """Lets others have the cases that were taken."""
        for claim in self._claims:
            claim.release()
        self._claims.clear()
        self._there.clear()


def _taken(claim: FileLock, seconds: float) -> bool:
    try:
        claim.acquire(timeout=seconds)
    except Timeout:
        return False
    return True


def _said_once(row: Row) -> tuple[object, ...]:
    """The place of a row of which a training has one there; () for other kinds."""
    match row:
        case EpochRow():
            return row.suite, row.key, row.kind, row.epoch
        case TestedRow():
            return row.suite, row.key, row.kind, row.tested_T
        case TrainedRow():  # said again where its weights are kept afterwards
            return row.suite, row.key, row.kind, row.kept_weights_sha256
        case ConfusionRow() | TransferRow() | FittedRow():
            return row.suite, row.key, row.kind
        case OperationsRow() if row.epochs is not None:
            return row.suite, row.key, row.kind
        case _:
            return ()
