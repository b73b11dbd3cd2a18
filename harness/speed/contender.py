"""A contender, or the floor, and its process.

The system stops the process whenever it is not its turn: nothing that it does or leaves running
can take from the others' time. What runs in it is `worker.py`.
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
from harness.machine import memory
from harness.machine.child import SILENCE, START_SECONDS, Child, Died
from harness.records.run import Failed, RowMaker
from harness.spec import FLOOR, Precision, Timing
from harness.speed.iteration import Part
from harness.speed.worker import Worker, make_worker, work

Args = TypeVarTuple("Args")
R = TypeVar("R")


@dataclass(eq=False)
class ContenderProcess:
    """A contender, or the floor, and its process, which is stopped except during its turns."""

    maker: RowMaker  # of all its rows
    part: Part | None = None  # of an iteration, where a whole one takes too long
    twin: bool = False  # the second instance of the floor
    child: Child | None = None
    is_lean: bool = False  # its process gives its memory back after each turn
    seconds: list[float] = field(default_factory=list)  # of each round
    deferred: list[float] = field(default_factory=list)  # of each round, as a share of it
    votes: Tensor | None = None  # of the last round, (B, classes)
    failed: bool = False
    settings_changed: set[str] = field(default_factory=set)  # what it changed in its process

    @property
    def name(self) -> str:  # in messages
        return self.maker.case.contender.full_name + (" (again)" if self.twin else "")

    @property
    def case(self) -> Timing:
        """Return the case as this process runs it: whole, or a part of its batch."""
        case = self.maker.case
        assert isinstance(case, Timing), "only timings have processes of their own"
        return case if self.part is None else self.part.of_case(case)

    @property
    def precision(self) -> Precision:
        return self.maker.case.contender.precision

    @property
    def is_floor(self) -> bool:
        return self.maker.case.contender.framework == FLOOR

    @property
    def claims_to_be_equal(self) -> bool:  # a variant does not
        return not self.is_floor and not self.maker.installation.deviations

    def start(
        self, compiled: Path | None = None, *, is_alone: bool = True, trains: bool = False
    ) -> None:
        """Start its process. Raises Failed.

        `compiled`: its own cache folder of torch.compile; from a shared one its first iteration
        would be timed without compiling. `is_alone`: see `make_worker`. `trains`: it is not timed,
        and its waiting threads sleep sooner.
        """
        case = self.case
        try:
            self.child = Child(case.device, short_spin=trains)
        except Died as reason:
            raise Failed(str(reason)) from None
        self._call(START_SECONDS, make_worker, case, facts.snapshot(), compiled, is_alone, trains)

    def call(self, method: Callable[[Worker, *Args], R], *args: *Args) -> R:
        """Resume its process, call a method of its worker, stop it again. Raises Failed."""
        return self._call(SILENCE, work, method, *args)

    def _call(self, silence: float, function: Callable[..., R], *args: object) -> R:
        """Resume the process, call a function in it, and stop the process again.

        Raises Failed for whatever the call raises, and where nothing is heard for `silence` s.
        """
        child = self.child
        assert child is not None, "it was not started"
        child.send(signal.SIGCONT)
        try:
            return child.call(function, *args, silence=silence)
        except (Failed, Unsupported, Missing) as reason:
            raise Failed(str(reason), reason.status) from None
        except Died as reason:
            raise Failed(str(reason)) from None
        except Exception as reason:  # noqa: BLE001 a framework may raise anything: it becomes a row
            raise Failed(f"{type(reason).__name__}: {reason}") from None
        finally:  # whatever came of it: its turn is over
            child.send(signal.SIGSTOP)

    @property
    def held_mib(self) -> float:
        """Return the process's resident memory in MiB, 0 where it has ended."""
        try:
            return memory.resident_mib(self.child.pid) if self.child else 0.0
        except psutil.Error:
            return 0.0

    def end(self) -> None:
        """End the process, if there is one."""
        if self.child is not None:
            self.child.end()
        self.child, self.is_lean = None, False


@contextmanager
def failed_without_memory() -> Iterator[None]:
    """Raise Failed if the block runs out of memory, the CPU's or the GPU's."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        raise Failed(str(error)) from None
