"""A contender, which owns the process that its `Worker` runs in.

The system stops the process whenever it is not its turn: nothing that it does or leaves running
can take from the others' time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import psutil
from torch import Tensor

from adapters import Missing, facts
from harness.adapter import Unsupported
from harness.records import Record
from harness.records.row import Outcome
from harness.records.run import Failed
from harness.spec import FLOOR, Timed
from harness.speed.iteration import Part
from harness.speed.worker import Worker, begin, work
from harness.system import memory
from harness.system.child import SILENCE, START_SECONDS, Child, Died

Args = TypeVarTuple("Args")
R = TypeVar("R")
# What a contender raises that is no failure of the program.
STATUS: dict[type[Exception], Outcome] = {Unsupported: "unsupported", Missing: "missing"}


@dataclass(eq=False)
class Contender:
    """A contender, or the floor, and its process, which stands still but for its turns."""

    name: str  # in the rounds
    row: Record  # the fields that all its rows share
    part: Part | None = None  # of an iteration, where a whole one takes too long
    twin: bool = False  # the second instance of the floor
    child: Child | None = None
    lean: bool = False  # its process gives its memory back after each turn
    seconds: list[float] = field(default_factory=list)  # of each round
    left: list[float] = field(default_factory=list)  # of each round, as a share of it
    votes: Tensor | None = None  # of the last round, (B, classes)
    failed: bool = False
    settings_changed: set[str] = field(default_factory=set)  # what it changed in its process

    @property
    def case(self) -> Timed:  # as it is run, in part it may be
        case = Timed.of(self.row)
        return case if self.part is None else self.part.of(case)

    @property
    def is_floor(self) -> bool:
        return self.row.framework == FLOOR

    @property
    def claims_to_be_equal(self) -> bool:  # a variant does not
        return not self.is_floor and not self.row.deviations

    def start(
        self, compiled: Path | None = None, *, alone: bool = True, trains: bool = False
    ) -> None:
        """Start its process. Raises Failed.

        `compiled`: the folder of what torch compiles for it, its own: else another's code would be
        ready, and its first iteration shown without compiling. One that `trains` is not timed: its
        threads sleep sooner.
        """
        case = self.case
        try:
            self.child = Child(case.device, short_spin=trains)
        except Died as reason:
            raise Failed(str(reason)) from None
        self._call(START_SECONDS, begin, case, facts.known(), compiled, alone, trains)

    def call(self, method: Callable[[Worker, *Args], R], *given: *Args) -> R:
        """Let its process run, have the worker call a method, and stop it again. Raises Failed."""
        return self._call(SILENCE, work, method, *given)

    def _call(self, silence: float, function: Callable[..., R], *given: object) -> R:
        child = self.child
        assert child is not None, "it was not started"
        child.send(signal.SIGCONT)
        try:
            return child.call(function, *given, silence=silence)
        except Failed:
            raise
        except (Died, *STATUS) as reason:
            raise Failed(str(reason), STATUS.get(type(reason), "failed")) from None
        except Exception as reason:  # noqa: BLE001 a framework may raise anything: it becomes a row
            raise Failed(f"{type(reason).__name__}: {reason}") from None
        finally:  # whatever came of it: its turn is over
            child.send(signal.SIGSTOP)

    @property
    def held_mib(self) -> float:
        try:
            return memory.resident_mib(self.child.pid) if self.child else 0.0
        except psutil.Error:
            return 0.0

    def end(self) -> None:
        if self.child is not None:
            self.child.end()
        self.child, self.lean = None, False


@contextmanager
def failed_without_memory() -> Iterator[None]:
    """Raise Failed where the block runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        raise Failed(str(error)) from None
