"""Measuring in a process of its own: whatever it does to itself costs its own case and no more.

The process adds its rows to the folder itself; over a pipe it says what it does, as lines of JSON.
What it prints goes nowhere near them. It may crash, hang, eat memory or print garbage: its owner
then knows which case it was at. It ends with its owner, even where that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedRandom
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from adapters import facts
from adapters.facts import Facts
from harness.records.ledger import Owner
from harness.spec import Case, Say, UsageError, cells
from harness.system import footprint, processes

SILENCE = 900.0  # seconds without a word after which a case hangs; compiling one takes up to 300
LAST_WORDS = 300  # characters of what the process wrote on stderr before it died
PIECE = 2**20  # bytes of the longest message

# What the process does: it says how far it is, answers the orders that come, and yields what there
# is to say of each.
Work = Callable[[Owner, Iterator[list[Any]]], Iterator[list[Any]]]


class Died(Exception):
    """The process died or was ended; the message says how, and what it said last."""


@dataclass(eq=False)
class Pipe:
    """The owner as the process sees it, at the other end of a pipe."""

    connection: Connection
    cases: tuple[Case, ...]  # as the owner numbers them

    def __post_init__(self) -> None:
        self.numbers = {case: n for n, case in enumerate(self.cases)}
        self.cells = {cell.cell: n for n, cell in enumerate(cells(self.cases))}

    def send(self, *message: object) -> None:
        """Says something, without waiting."""
        self.connection.send_bytes(json.dumps(message).encode())

    def attempt(self, case: Case, patience: float = 0.0) -> None:
        """Says what is begun, so that the owner knows whose fault an end is."""
        self.send("at", self.numbers.get(case), self.cells.get(case.cell), patience)

    def say(self, fraction: float, doing: str) -> None:
        """Says how far the work is, in [0, 1], and what it does."""
        self.send("say", fraction, doing)

    def orders(self) -> Iterator[list[Any]]:
        """What the owner wants done. Raises EOFError when the owner is gone."""
        while True:
            yield json.loads(self.connection.recv_bytes(PIECE))


@dataclass(frozen=True)
class Ends:
    """What the process is given of its owner."""

    connection: Connection
    lifeline: Connection  # closed with the owner
    errors: Connection  # the file that its stderr goes to


@dataclass(frozen=True)
class At:
    """What the process is at: a case, or what all cases of a cell share; None: neither."""

    case: int | None = None
    cell: int | None = None


@dataclass(eq=False)
class Worker:
    """Such a process, seen from its owner. It has what is known of adapters from it."""

    process: Any  # of multiprocessing; its classes have no common one that is public
    connection: Connection
    lifeline: Connection
    errors: BufferedRandom  # what it wrote on stderr: a file without a name, which nobody leaves
    at: At = field(default_factory=At)

    @classmethod
    def start(cls, work: Work, cases: tuple[Case, ...], device: str) -> Worker:
        """Starts the process; `work` must be importable, and what it holds picklable."""
        context = processes.context(device)
        ours, theirs = context.Pipe()
        watched, lifeline = context.Pipe(duplex=False)
        errors = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the worker
        # a file does not travel to the process, a connection does
        handed = Connection(os.dup(errors.fileno()), readable=False)
        limit = footprint.available_mib("cpu") if device == "cpu" else None
        threads = torch.get_num_threads()
        process = context.Process(
            target=_main,
            args=(work, cases, Ends(theirs, watched, handed), threads, limit, facts.known()),
        )
        process.start()
        for each in (theirs, watched, handed):
            each.close()
        return cls(process, ours, lifeline, errors)

    def order(self, *what: object) -> None:
        """Asks for something."""
        with contextlib.suppress(OSError):  # it died: `messages` says so
            self.connection.send_bytes(json.dumps(what).encode())

    def messages(self, say: Say, silence: float) -> Iterator[list[Any]]:
        """What it says beside how far it is, which `say` is told. Raises Died, and UsageError where
        it says that it cannot go on.
        """
        patience = silence
        while True:
            match self._next(patience):
                case ["say", int() | float() as fraction, str() as doing]:
                    say(min(1.0, max(0.0, fraction)), _text(doing))
                    patience = silence
                case ["at", int() | None as case, int() | None as cell, int() | float() as more]:
                    self.at = At(case, cell)
                    patience = max(silence, more)
                case ["usage", str() as reason]:
                    raise UsageError(_text(reason))
                case ["busy" | "examined" as kind, str() as text]:
                    yield [kind, _text(text)]
                case ["ended", str() | None as key, bool() as before]:
                    patience = silence
                    yield ["ended", key, before]
                case ["measured", int() as cell, int() as rounds, list() as keys]:
                    patience = silence
                    yield ["measured", cell, rounds, keys]
                case _:
                    self.process.kill()
                    raise Died("it broke the pipe to its owner")

    def _next(self, patience: float) -> object:
        """Its next message; None for what is none of ours."""
        # what it forked may hold the pipe open when it is dead: its own end is waited for too
        ready = wait([self.connection, self.process.sentinel], patience)
        if not ready:
            self.process.kill()
            raise Died(f"it said nothing for {patience:.0f} s and was ended as hung")
        try:
            if self.connection not in ready and not self.connection.poll():
                raise EOFError
            return json.loads(self.connection.recv_bytes(PIECE))
        except (EOFError, OSError):
            raise Died(self._obituary()) from None
        except (ValueError, RecursionError):
            return None

    def end(self) -> None:
        """Ends the process and what it started; the rows it has written stay."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
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


def _text(received: str) -> str:
    """What can be shown and stored: without halves of characters."""
    return received.encode(errors="replace").decode()


def _main(
    work: Work,
    cases: tuple[Case, ...],
    ends: Ends,
    threads: int,
    limit_mib: float | None,
    known: tuple[Facts, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
    os.setpgid(0, 0)  # what it starts ends with it
    processes.end_with(ends.lifeline)
    _redirect(ends.errors.fileno())
    if limit_mib is not None:
        _limit_memory(limit_mib)
    torch.set_num_threads(threads)
    facts.remember(*known)
    pipe = Pipe(ends.connection, cases)
    try:
        for message in work(pipe, pipe.orders()):
            pipe.send(*message)
    except UsageError as error:
        pipe.send("usage", str(error))
    except EOFError:  # the owner is gone
        os._exit(1)


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

    limit = int(mib * 2**20)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(OSError):  # and where the system must choose, it is us
        Path("/proc/self/oom_score_adj").write_text("1000")
