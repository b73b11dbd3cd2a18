"""The desk of a command whose cases run elsewhere: the one place that writes its result folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.jobs import worker
from harness.records import Record, Store
from harness.records.ledger import Busy, StoreLedger
from harness.spec import UsageError
from harness.system import clock
from harness.system.files import write_whole

KEPT = ("checkpoints", "splits")  # folders whose files come back


@dataclass(eq=False)
class Desk:
    """An actor on the machine that was asked to measure; rows travel as lines, cases as numbers."""

    store: Store
    fresh: bool
    runs: list[str]  # of this command
    patient: bool = False
    ledgers: dict[int, StoreLedger] = field(default_factory=dict)
    progress: dict[int, tuple[float, str]] = field(default_factory=dict)
    patience: dict[int, float] = field(default_factory=dict)  # beyond the usual, for what it is at
    silent: dict[int, clock.Stopwatch] = field(default_factory=dict)  # since its last word

    def begin(self, case: int, lines: list[str]) -> list[str] | str:
        """The ledger's `begin`; a text names the case that is another process's."""
        ledger = self._ledger(case)
        ledger.release()  # an attempt that was lost had it
        try:
            return [row.to_json() for row in ledger.begin(*map(Record.of_json, lines))]
        except Busy as who:
            return str(who)

    def keep(self, case: int, lines: list[str]) -> str | None:
        """The ledger's `keep`; a text says why rows cannot be written."""
        try:
            self._ledger(case).keep(*map(Record.of_json, lines))
        except UsageError as error:
            return str(error)
        return None

    def attempt(self, case: int, line: str, patience: float) -> None:
        self._ledger(case).attempt(Record.of_json(line))
        self.patience[case] = patience

    def say(self, case: int, fraction: float, doing: str) -> None:
        self._ledger(case)
        self.progress[case] = fraction, doing

    def put(self, name: str, content: bytes) -> None:
        """Keeps a file of a case under the result folder."""
        folder, _, file = name.partition("/")
        if folder in KEPT and Path(file).name == file:
            write_whole(self.store.out / folder / file, lambda part: part.write_bytes(content))

    def get(self, name: str) -> bytes | None:
        """A checkpoint, where there is one."""
        path = self.store.out / "checkpoints" / Path(name).name
        return path.read_bytes() if path.exists() else None

    def news(self) -> dict[int, tuple[float, str, float]]:
        """How far each case is, what it does, and for how many seconds it says too little."""
        return {
            n: (*told, self.silent[n].seconds - self.patience.get(n, 0.0))
            for n, told in self.progress.items()
        }

    def last(self, case: int) -> str | None:
        """The row of what a case was at."""
        row = self._ledger(case).attempted
        return None if row is None else row.to_json()

    def end(self, case: int) -> tuple[list[str], list[str]]:
        """Rows that a case kept and those that were there; it is over."""
        ledger = self._ledger(case)
        ledger.release()
        self.progress.pop(case, None)
        kept, found = ledger.kept, ledger.found
        ledger.kept, ledger.found = [], []
        return [row.to_json() for row in kept], [row.to_json() for row in found]

    def fail(self, case: int, line: str, reason: str) -> None:
        """Makes a case that was lost a row; `line` is its row where it never said one."""
        row = self._ledger(case).attempted or Record.of_json(line)
        self._ledger(case).keep(worker.failed(row, reason))

    def _ledger(self, case: int) -> StoreLedger:
        self.silent[case] = clock.Stopwatch.started(torch.device("cpu"))
        self.patience[case] = 0.0
        if case not in self.ledgers:
            self.ledgers[case] = StoreLedger(
                self.store, lambda fraction, doing: None, self.fresh, self.runs, self.patient
            )
        return self.ledgers[case]
