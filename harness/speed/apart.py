"""A contender in a process of its own, seen from the one that times.

It is stopped by the system whenever it is not its turn: nothing that it does or leaves running can
take from the others' time. What it changes in its process is its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor

from harness.records.build import Failed
from harness.spec import Case
from harness.speed import inside
from harness.speed.exchange import Exchange
from harness.speed.inside import Setting
from harness.speed.inside.network import Find
from harness.system import clock, footprint
from harness.system.former_child import Child, Died, text

BEAT = 10.0  # seconds after which its owner says that it still waits
# How far its clock may be from ours, of which a message takes part; beyond it ours counts.
SLACK_SECONDS, SLACK_SHARE = 1e-3, 0.01


@dataclass(frozen=True)
class Host:
    """Where and how contenders' processes are started."""

    find: Find  # adapters.load; it travels to the process
    setting: Setting
    silence: float  # seconds without an answer after which one hangs
    alive: Callable[[], None]  # told now and then, while one is waited for


class Report(NamedTuple):
    """What an iteration came to."""

    loss: float | None
    votes: list[list[float]] | None  # (B, classes)
    threads: int
    changed: tuple[str, ...]  # of the process's state, since before the contender's first turn


@dataclass(eq=False)
class Apart:
    """The process of one contender."""

    host: Host
    child: Child
    exchange: Exchange
    # What torch compiles for it lies there. A folder that others used before would hold it ready,
    # and its first iteration would be shown without the time that compiling takes.
    compiled: TemporaryDirectory[str]
    lean: bool = False  # gives its memory back after each turn
    ended: bool = False

    @classmethod
    def start(cls, case: Case, host: Host) -> Apart:
        """Starts it. Raises Failed."""
        exchange = Exchange.made()
        handed = exchange.handed()
        limit = footprint.available_mib("cpu") if case.device == "cpu" else None
        compiled = TemporaryDirectory(prefix="snn-harness-", ignore_cleanup_errors=True)
        given = (case, host.find, handed, host.setting, compiled.name)
        child = Child.start(inside.main, given, case.device, limit)
        handed.close()
        apart = cls(host, child, exchange, compiled)
        try:
            if apart._heard() != ["here"]:
                raise Failed("it broke the pipe to its owner")
        except Failed:
            apart.end()
            raise
        child.signal(signal.SIGSTOP)
        return apart

    def ask(self, order: str, *given: object) -> Any:
        """Has something done, and stops it again. Raises Failed."""
        self.child.signal(signal.SIGCONT)
        self.child.say([order, *given])
        try:
            heard = self._heard()
        finally:  # whatever came of it: its turn is over
            self.child.signal(signal.SIGSTOP)
        match heard:
            case ["done", answer]:
                return answer
            case [
                "unsupported" | "missing" | "failed" | "not comparable" as status,
                str() as reason,
            ]:
                raise Failed(text(reason), status)
            case _:
                raise Failed("it broke the pipe to its owner")

    def seconds(self) -> float:
        """One iteration, by its clock where ours agrees, else by ours. Raises Failed."""
        watch = clock.Stopwatch.started(torch.device("cpu"))
        own = self.ask("iterate")
        ours = watch.seconds
        if isinstance(own, float) and 0 <= ours - own <= SLACK_SECONDS + SLACK_SHARE * ours:
            return own
        return ours

    def report(self) -> Report:
        """What the last iteration came to. Raises Failed."""
        match self.ask("report"):
            case [loss, votes, int() as threads, list() as changed]:
                return Report(loss, votes, threads, tuple(map(str, changed)))
            case _:
                raise Failed("it broke the pipe to its owner")

    @property
    def held_mib(self) -> float:
        """What it holds in memory now; 0 where it is dead."""
        try:
            family = footprint.family(self.child.process.pid)
            return sum(each.memory_info().rss for each in family) / 2**20
        except psutil.Error:
            return 0.0

    def grow_lean(self) -> bool:
        """Has it give its memory back, now and after each turn. Raises Failed."""
        self.lean = True
        self.ask("release")
        return True

    def give(self, question: list[Tensor]) -> int:
        """Lays weights, inputs and labels where the process finds them; how many weights."""
        return self.exchange.put(question) - 2

    def end(self) -> None:
        """Ends it, if it has not been ended before."""
        if not self.ended:
            self.ended = True
            self.child.end()
            self.exchange.close()
            self.compiled.cleanup()

    def _heard(self) -> object:
        silence, left = self.host.silence, self.host.silence
        while not self.child.spoke(min(BEAT, left)):
            left -= BEAT
            if left <= 0:
                raise Failed(f"it said nothing for {silence:.0f} s and was ended as hung")
            self.host.alive()
        try:
            return self.child.hear(silence)
        except Died as reason:
            raise Failed(str(reason)) from None
