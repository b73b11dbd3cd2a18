"""Measuring in a process of its own: whatever it does to itself costs its own case and no more.

The process adds its rows to the folder itself; over the pipe it says what it does. It may crash,
hang, eat memory or print garbage: its owner then knows which case it was at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from adapters import facts
from adapters.facts import Facts
from harness.records.ledger import Owner
from harness.spec import Case, Say, UsageError, cells
from harness.system import footprint
from harness.system.former_child import Child, Died, Ends, text

__all__ = ["SILENCE", "At", "Died", "Pipe", "Worker"]

SILENCE = 900.0  # seconds without a word after which a case hangs; compiling one takes up to 300

# What the process does: it says how far it is, answers the orders that come, and yields what there
# is to say of each.
Work = Callable[[Owner, Iterator[list[Any]]], Iterator[list[Any]]]


@dataclass(eq=False)
class Pipe:
    """The owner as the process sees it, at the other end of a pipe."""

    ends: Ends
    cases: tuple[Case, ...]  # as the owner numbers them

    def __post_init__(self) -> None:
        self.numbers = {case: n for n, case in enumerate(self.cases)}
        self.cells = {cell.cell: n for n, cell in enumerate(cells(self.cases))}

    def send(self, *message: object) -> None:
        """Says something, without waiting."""
        self.ends.say(message)

    def attempt(self, case: Case, patience: float = 0.0) -> None:
        """Says what is begun, so that the owner knows whose fault an end is."""
        self.send("at", self.numbers.get(case), self.cells.get(case.cell), patience)

    def say(self, fraction: float, doing: str) -> None:
        """Says how far the work is, in [0, 1], and what it does."""
        self.send("say", fraction, doing)

    def orders(self) -> Iterator[list[Any]]:
        """What the owner wants done. Raises EOFError when the owner is gone."""
        while True:
            yield self.ends.hear()


@dataclass(frozen=True)
class At:
    """What the process is at: a case, or what all cases of a cell share; None: neither."""

    case: int | None = None
    cell: int | None = None


@dataclass(eq=False)
class Worker:
    """Such a process, seen from its owner. It has what is known of adapters from it."""

    child: Child
    cases: int  # how many there are, and cells
    cells: int
    at: At = field(default_factory=At)

    @classmethod
    def start(cls, work: Work, cases: tuple[Case, ...], device: str) -> Worker:
        """Starts the process; `work` must be importable, and what it holds picklable."""
        limit = footprint.available_mib("cpu") if device == "cpu" else None
        given = (work, cases, torch.get_num_threads(), facts.known())
        return cls(Child.start(_main, given, device, limit), len(cases), len(cells(cases)))

    def order(self, *what: object) -> None:
        """Asks for something."""
        self.child.say(what)

    def messages(self, say: Say, silence: float) -> Iterator[list[Any]]:
        """What it says beside how far it is, which `say` is told. Raises Died, and UsageError where
        it says that it cannot go on.
        """
        patience = silence
        while True:
            match self.child.hear(patience):
                case ["say", int() | float() as fraction, str() as doing]:
                    say(min(1.0, max(0.0, fraction)), text(doing))
                    patience = silence
                case [
                    "at",
                    int() | None as case,
                    int() | None as cell,
                    int() | float() as more,
                ] if self._is_there(case, cell):
                    self.at = At(case, cell)
                    patience = max(silence, more)
                case ["usage", str() as reason]:
                    raise UsageError(text(reason))
                case ["busy" | "examined" as kind, str() as said]:
                    yield [kind, text(said)]
                case ["ended", str() | None as key, bool() as before]:
                    patience = silence
                    yield ["ended", key, before]
                case ["measured", int() as cell, int() as rounds, list() as keys] if self._is_there(
                    None, cell
                ) and all(isinstance(key, str) for key in keys):
                    patience = silence
                    yield ["measured", cell, rounds, keys]
                case _:
                    self.child.process.kill()
                    raise Died("it broke the pipe to its owner")

    def _is_there(self, case: int | None, cell: int | None) -> bool:
        """Whether there is such a case, and such a cell."""
        return (case is None or 0 <= case < self.cases) and (cell is None or 0 <= cell < self.cells)

    def end(self) -> None:
        """Ends the process and what it started; the rows it has written stay."""
        self.child.end()


def _main(
    ends: Ends, work: Work, cases: tuple[Case, ...], threads: int, known: tuple[Facts, ...]
) -> None:
    ends.enter()
    torch.set_num_threads(threads)
    facts.remember(*known)
    pipe = Pipe(ends, cases)
    try:
        for message in work(pipe, pipe.orders()):
            pipe.send(*message)
    except UsageError as error:
        pipe.send("usage", str(error))
    except EOFError:  # the owner is gone
        os._exit(1)
