"""What a case says while it is measured, and who listens: rows are kept by one process alone.

Cases run in processes of their own (isolation.py) or on other machines (executors). Whatever
happens there, rows are written here, one after the other, by whoever was asked to measure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from filelock import FileLock, Timeout

from harness.records import Record, Store
from harness.records.manifest import Manifest
from harness.spec import UsageError

DOWNLOAD = 6 * 3600.0  # seconds that a data set may take to arrive
Say = Callable[[float, str], None]  # how far a piece of work is, in [0, 1], and what it does


class Ledger(Protocol):
    """Whom a case talks to."""

    def begin(self, *rows: Record) -> list[Record]:
        """Takes the cases of the rows' keys, and says which rows of them are there.

        Raises Busy where another process has it.
        """
        ...

    def keep(self, *rows: Record) -> None:
        """Keeps rows; they are on the disk when this returns. Raises UsageError where it cannot."""
        ...

    def attempt(self, row: Record, patience: float = 0.0) -> None:
        """Says what comes next: where the process dies or hangs in it, that is whose failure.

        `patience`: seconds that it may take without a word, where that is more than usual.
        """
        ...

    def say(self, fraction: float, doing: str) -> None:
        """Says how far the work is; it is a sign of life too."""
        ...


class Busy(Exception):
    """Another process is at work on this case."""


@dataclass(eq=False)
class StoreLedger:
    """The ledger of a result folder, in the process that keeps it."""

    store: Store
    said: Say
    fresh: bool = False  # only what `runs` measured counts
    runs: list[str] = field(default_factory=list)  # of this command
    patient: bool = False  # waits for who is at the same case
    manifest: Manifest | None = None  # of the command, where it is kept
    kept: list[Record] = field(default_factory=list)  # all of them, until its owner empties it
    found: list[Record] = field(default_factory=list)  # rows that were there, of all that began
    attempted: Record | None = None
    _there: set[tuple[object, ...]] = field(default_factory=set)
    _claims: list[FileLock] = field(default_factory=list)

    def start(self, run_id: str) -> None:
        """A run of the command begins."""
        self.runs.append(run_id)
        if self.manifest is not None:
            self.manifest.write(self.store.out, run_id)

    def note(self, rows: Iterable[Record]) -> None:
        """Keeps with the run what data its rows are of."""
        if self.manifest is None:
            return
        manifest = self.manifest.with_data(rows)
        if manifest != self.manifest:
            self.manifest = manifest
            manifest.write(self.store.out, self.runs[-1])

    def begin(self, *rows: Record) -> list[Record]:
        keys = {str(row.key) for row in rows}
        self._take(hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:16], rows[0])
        there = self.store.of_keys(keys)
        if self.fresh:
            there = [row for row in there if row.run in self.runs]
        self._there |= {_place(row) for row in there}
        self.found += there
        return there

    def _take(self, name: str, row: Record) -> None:
        folder = self.store.out / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim = FileLock(folder / f"{name}.lock")
            claim.acquire(timeout=-1 if self.patient else 0)
        except Timeout:
            raise Busy(f"{row.dataset} {row.scale} seed {row.seed}") from None
        except OSError as error:
            raise UsageError(
                f"cannot write to {folder} ({error.strerror or error}): "
                "give a folder that can be written with --out"
            ) from error
        self._claims.append(claim)

    def keep(self, *rows: Record) -> None:
        # a run that goes on says again what it had said before it was killed
        new = [row for row in rows if row.kind not in _SAID_ONCE or _place(row) not in self._there]
        self._there |= {_place(row) for row in new if row.kind in _SAID_ONCE}
        self.store.append(*new)
        self.kept += new
        self.note(new)

    def attempt(self, row: Record, patience: float = 0.0) -> None:
        self.attempted = row

    def say(self, fraction: float, doing: str) -> None:
        self.said(fraction, doing)

    def release(self) -> None:
        """Lets others have the cases that were taken."""
        for claim in self._claims:
            claim.release()
        self._claims.clear()
        self._there.clear()


# Kinds of which a training has one row at each place: what it says twice is the same.
_SAID_ONCE = ("epoch", "tested", "confusion", "trained")


def _place(row: Record) -> tuple[object, ...]:
    return row.suite, row.key, row.kind, row.epoch, row.tested_T
