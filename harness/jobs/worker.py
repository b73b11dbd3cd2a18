"""Measuring in a process of its own: whatever it does to itself costs its own case and no more.

The process says what it does as lines of JSON over a pipe, and waits until each row is kept; what
it prints goes nowhere near them. It may crash, hang, eat memory or print garbage: its owner then
knows which case it was at. It ends with its owner, even where that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from harness.records import Record, build
from harness.records.ledger import Busy, Ledger, StoreLedger
from harness.spec import UsageError
from harness.system import footprint, processes

SILENCE = 900.0  # seconds without a word after which a case hangs; compiling one takes up to 300
LAST_WORDS = 300  # characters of what the process wrote on stderr before it died
PIECE = 2**26  # bytes of the longest message

# What the process does: it talks to the ledger, answers for the orders that come, and yields what
# else there is to say.
Work = Callable[[Ledger, Iterator[list[Any]]], Iterator[list[Any]]]


class Died(Exception):
    """The process died or was ended; the message says how, and what it said last."""


@dataclass(eq=False)
class Pipe:
    """The ledger as the process sees it: the owner's, at the other end of a pipe."""

    connection: Connection

    def send(self, *message: object) -> None:
        """Says something, without waiting."""
        self.connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> list[Any]:
        """What comes next. Raises EOFError when the owner is gone."""
        return json.loads(self.connection.recv_bytes(PIECE))

    def begin(self, *rows_: Record) -> list[Record]:
        self.send("begin", [row.to_json() for row in rows_])
        kind, told = self.receive()
        if kind == "busy":
            raise Busy(told)
        return [Record.of_json(line) for line in told]

    def keep(self, *rows_: Record) -> None:
        self.send("keep", [row.to_json() for row in rows_])
        self.receive()

    def attempt(self, row: Record, patience: float = 0.0) -> None:
        self.send("attempt", row.to_json(), patience)

    def say(self, fraction: float, doing: str) -> None:
        self.send("say", fraction, doing)

    def orders(self) -> Iterator[list[Any]]:
        """What the owner wants done, until it wants no more."""
        while True:
            order = self.receive()
            if order == ["stop"]:
                return
            yield order


@dataclass(eq=False)
class Worker:
    """Such a process, seen from its owner."""

    process: Any  # of multiprocessing; its classes have no common one that is public
    connection: Connection
    lifeline: Connection
    errors: Path  # what it wrote on stderr

    @classmethod
    def start(cls, work: Work, device: str) -> Worker:
        """Starts the process; `work` must be importable, and what it holds picklable."""
        context = processes.context(device)
        ours, theirs = context.Pipe()
        watched, lifeline = context.Pipe(duplex=False)
        handle, errors = tempfile.mkstemp(prefix="harness-", suffix=".log")
        os.close(handle)
        limit = footprint.available_mib("cpu") if device == "cpu" else None
        process = context.Process(
            target=_main, args=(work, theirs, watched, errors, torch.get_num_threads(), limit)
        )
        process.start()
        theirs.close()
        watched.close()
        return cls(process, ours, lifeline, Path(errors))

    def order(self, *what: object) -> None:
        """Asks for something."""
        with contextlib.suppress(OSError):  # it died: `messages` says so
            self.connection.send_bytes(json.dumps(what).encode())

    def messages(self, ledger: StoreLedger, silence: float) -> Iterator[list[Any]]:
        """What it says beside rows, which are kept. Raises Died, and what the ledger raises."""
        limit = silence
        while True:
            try:
                if not self.connection.poll(limit):
                    self.process.kill()
                    raise Died(f"it said nothing for {limit:.0f} s and was ended as hung")
                message = json.loads(self.connection.recv_bytes(PIECE))
            except (EOFError, OSError):
                raise Died(self._obituary()) from None
            except ValueError:
                self.process.kill()
                raise Died("it broke the pipe to its owner") from None
            limit = max(silence, message[2]) if message[0] == "attempt" else silence
            if not self._answered(message, ledger):
                yield message

    def _answered(self, message: list[Any], ledger: StoreLedger) -> bool:
        """Does what the process wants of the ledger; whether it was that."""
        kind, *told = message
        match kind:
            case "begin":
                try:
                    there = ledger.begin(*map(Record.of_json, told[0]))
                    self.order("rows", [row.to_json() for row in there])
                except Busy as who:
                    self.order("busy", str(who))
            case "keep":
                ledger.keep(*map(Record.of_json, told[0]))
                self.order("kept")
            case "attempt":
                ledger.attempt(Record.of_json(told[0]), told[1])
            case "say":
                ledger.say(*told)
            case _:
                return False
        return True

    def end(self) -> None:
        """Ends the process; what it has said is kept."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.lifeline.close()
        self.errors.unlink(missing_ok=True)

    def _obituary(self) -> str:
        self.process.join(10)
        code = self.process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"died of {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as a system does where memory runs out"
        with contextlib.suppress(OSError):
            said = self.errors.read_text(errors="replace").strip()
            if said:
                how += f"; its last words: {' '.join(said[-LAST_WORDS:].split())}"
        return f"the process that measured it {how}"


def failed(row: Record, reason: str) -> Record:
    """The row of a case that came to nothing."""
    return replace(row, kind="case", status="failed", reason=reason, time=build.now())


def _main(
    work: Work,
    connection: Connection,
    lifeline: Connection,
    errors: str,
    threads: int,
    limit_mib: float | None,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
    processes.end_with(lifeline)
    _redirect(errors)
    if limit_mib is not None:
        _limit_memory(limit_mib)
    torch.set_num_threads(threads)
    pipe = Pipe(connection)
    try:
        for message in work(pipe, pipe.orders()):
            pipe.send(*message)
    except UsageError as error:
        pipe.send("usage", str(error))
    except EOFError:  # the owner is gone
        os._exit(1)


def _redirect(errors: str) -> None:
    """What the process prints is no part of what it says."""
    sink = os.open(os.devnull, os.O_WRONLY)
    log = os.open(errors, os.O_WRONLY | os.O_TRUNC)
    os.dup2(sink, sys.stdout.fileno() if sys.stdout else 1)
    os.dup2(log, 2)


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
