"""A process that may crash, hang or be killed without harm: how it starts, speaks and ends.

It says lines of JSON over a pipe, and what it prints goes nowhere near them: its stderr to a file
without a name, which nobody leaves behind. It ends with its owner, even where that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedRandom
from math import inf
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from harness.system.child import context_of, end_with

LAST_WORDS = 300  # characters of what the process wrote on stderr before it died
PIECE = 2**20  # bytes of the longest message


class Died(Exception):
    """The process died or was ended; the message says how, and what it said last."""


@dataclass(frozen=True)
class Ends:
    """What the process is given of its owner."""

    connection: Connection
    lifeline: Connection  # closed with the owner
    errors: Connection  # the file that its stderr goes to
    limit_mib: float | None  # of the memory that it takes beside what it begins with

    def enter(self) -> None:
        """Makes the process what it is: the first thing that is called in it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
        os.setpgid(0, 0)  # what it starts ends with it
        end_with(self.lifeline)
        _redirect(self.errors.fileno())
        if self.limit_mib is not None:
            _limit_memory(self.limit_mib)

    def say(self, message: object) -> None:
        """Says something, without waiting."""
        self.connection.send_bytes(json.dumps(message).encode())

    def hear(self) -> Any:
        """What the owner wants next. Raises EOFError when it is gone."""
        return json.loads(self.connection.recv_bytes(PIECE))


@dataclass(eq=False)
class Child:
    """Such a process, seen from its owner."""

    process: Any  # of multiprocessing; its classes have no common one that is public
    connection: Connection
    lifeline: Connection
    errors: BufferedRandom

    @classmethod
    def start(
        cls,
        main: Callable[..., None],
        given: tuple[Any, ...],
        device: str,
        limit_mib: float | None = None,
    ) -> Child:
        """Starts `main(ends, *given)`: it must be importable, and what it is given picklable."""
        context = context_of(device)
        ours, theirs = context.Pipe()
        watched, lifeline = context.Pipe(duplex=False)
        errors = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the process
        ends = Ends(theirs, watched, handed(errors), limit_mib)
        process = context.Process(target=main, args=(ends, *given))
        process.start()
        for each in (theirs, watched, ends.errors):
            each.close()
        return cls(process, ours, lifeline, errors)

    def say(self, message: object) -> None:
        """Asks for something."""
        with contextlib.suppress(OSError):  # it died: `hear` says so
            self.connection.send_bytes(json.dumps(message).encode())

    def hear(self, patience: float) -> object:
        """Its next message; None for what is no JSON. Raises Died."""
        if not self.spoke(patience):
            self.process.kill()
            raise Died(f"it said nothing for {patience:.0f} s and was ended as hung")
        try:
            if not self.connection.poll():
                raise EOFError
            return json.loads(self.connection.recv_bytes(PIECE))
        except (EOFError, OSError):
            raise Died(self._obituary()) from None
        except (ValueError, RecursionError):
            return None

    def spoke(self, patience: float) -> bool:
        """Waits until it says something or is dead; whether it was so in time."""
        # what it forked may hold the pipe open when it is dead: its own end is waited for too
        limit = None if patience == inf else patience
        return bool(wait([self.connection, self.process.sentinel], limit))

    def signal(self, number: int) -> None:
        """Sends a signal to the process and all that it started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Ends the process and what it started."""
        self.signal(signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.lifeline.close()
        self.errors.close()

    def _obituary(self) -> str:
        self.process.join(10)
        code = self.process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"died of {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as a system does where memory runs out"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last:  # of a traceback the exception's own line
            how += f"; its last words: {last[:LAST_WORDS]}"
        return f"the process that measured it {how}"


def handed(file: BufferedRandom) -> Connection:
    """An open file as what travels to a process: a file does not, a connection does."""
    return Connection(os.dup(file.fileno()), readable=False)


def text(received: str) -> str:
    """What a process said, as what can be shown and stored: without halves of characters."""
    return received.encode(errors="replace").decode()


def _redirect(errors: int) -> None:
    """What the process prints is no part of what it says."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno() if sys.stdout else 1)
    os.dup2(errors, 2)


def _limit_memory(mib: float) -> None:
    """Has an allocation fail that the machine could not serve, before the system kills anyone."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    # what it shares with the server of forks counts too, and none of that is taken from the machine
    limit = int(mib * 2**20) + psutil.Process().memory_info().data
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(OSError):  # and where the system must choose, it is us
        Path("/proc/self/oom_score_adj").write_text("1000")
