"""One cell at work: its contenders proved equal, timed in rounds, and their memory measured."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

import torch

import adapters
from harness import datasets
from harness.records import Record, build
from harness.records.ledger import DOWNLOAD
from harness.spec import FLOOR, Case, UsageError
from harness.speed import memory, protocol, ratios
from harness.speed.contenders import Contender, Entry, Lineup, Step, is_compiled, precisions
from harness.speed.iteration import Workload
from harness.speed.journal import Journal
from harness.system import allocator, footprint

WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
CONVERGED_ROUNDS = 3  # an interval of two rounds is not trusted


@dataclass(eq=False)
class Bench:
    """One cell at work. First `prepare`, then `round` as often as wanted, and `memory` once."""

    row: Record  # what every row of the cell says
    journal: Journal
    request: datasets.Request
    cell: Case
    group: tuple[Case, ...]
    budget: float = inf  # seconds, of the whole run
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of who still runs, by round
    number: int = 0  # of rounds
    before: bool = False  # all of it had been measured by an earlier run
    _rounds: Iterator[dict[str, float]] | None = None
    _contenders: tuple[Contender, ...] = ()
    _entries: tuple[Entry, ...] = ()  # proved, the floors apart
    _left: set[str] = field(default_factory=lambda: {"rounds", "memory"})  # until it is done
    _timed: tuple[Record, ...] = ()  # of who ran to the end

    @property
    def kept(self) -> list[Record]:
        """All rows so far."""
        return self.journal.kept

    @property
    def _lineup(self) -> Lineup:
        return Lineup(self.cell, self.group, self.journal)

    @property
    def device(self) -> torch.device:
        return torch.device(self.cell.device)

    def prepare(self) -> Iterator[Step]:
        """Proves the contenders, builds them and warms them up."""
        yield Step(0.0, "data")
        self.journal.ledger.attempt(self.row, DOWNLOAD if self.request.download else 0.0)
        try:
            batch = datasets.load_batch(self.request)
        except UsageError as error:
            self._all_failed(self.row, str(error))
            return
        row = build.of_data(self.row, batch.source)
        if self._is_done(row) or self._is_too_large(row):
            return
        work = Workload.of(self.cell, batch.inputs, batch.labels)
        entries = yield from self._lineup.prove(row, work)
        floors = self._lineup.floors(row, work, entries)
        if not floors:
            return
        self._entries = tuple(entries)
        yield Step(0.8, "warm-up")
        self._start(self._lineup.ready(row, work, [*entries, *floors]))

    @property
    def iteration_mib(self) -> float:
        """What an iteration takes beside the weights, about; contenders take it in turns."""
        return footprint.iteration_mib(self.cell)

    @property
    def weights_mib(self) -> float:
        """What one contender holds as long as it is ready, about."""
        return footprint.weights_mib(self.cell)

    @property
    def held_mib(self) -> float:
        """What all contenders hold; the floors keep less, and count as one."""
        return (len(self.group) + 1) * self.weights_mib

    @property
    def comparable(self) -> bool:
        """Whether a round would tell anything: the floor and somebody else run."""
        others = any(each.adapter and each.name in self.seconds for each in self._contenders)
        return FLOOR in self.seconds and others

    @property
    def round_seconds(self) -> float:
        """How long the last round took."""
        return sum(values[-1] for values in self.seconds.values() if values)

    @property
    def known(self) -> bool:
        """Whether all ratios are known within 5 %, as far as these rounds tell."""
        if self.number < CONVERGED_ROUNDS:
            return False
        noise = ratios.spread(list(self.seconds.values()))
        bottom = self.seconds[FLOOR]
        found = [ratios.ratio(each, bottom, noise) for each in self.seconds.values()]
        return all(each.half_width <= WITHIN for each in found)

    def round(self) -> None:
        """One round of all contenders; who fails in it runs no more."""
        assert self._rounds is not None
        measured = next(self._rounds)
        self.number += 1
        for each in self._contenders:
            if each.name in self.seconds:
                self.seconds[each.name].append(measured[each.name])
                spent = measured[each.name]
                self.journal.keep(each.row, kind="iteration", round=self.number, seconds=spent)

    def close(self) -> None:
        """Gives the contenders' memory back; there are no more rounds."""
        if self.comparable:
            told = {"rounds": self.number, "converged": self.known}
            ran = [e.row for e in self._contenders if e.name in self.seconds and not e.row.twin]
            self._timed = tuple(replace(row, kind="timed", **told) for row in ran)
        self._ended("rounds")
        self._rounds, self._contenders = None, ()
        self.seconds.clear()
        allocator.release()

    def _ended(self, part: str) -> None:
        """Says who is done, once the rounds and the memory are."""
        self._left.discard(part)
        if not self._left:
            budget = None if self.budget == inf else self.budget
            for row in self._timed:
                self.journal.keep(row, budget_seconds=budget)
            self._timed = ()

    def _is_done(self, row: Record) -> bool:
        """Whether an earlier run had measured all of the cell, at least as well as this one may."""
        own = [build.of_case(row, case) for case in self.group]
        bottom = replace(self.cell, framework=FLOOR)
        floors = [
            replace(bottom, precision=precision) for precision in precisions(self.cell, self.group)
        ]
        written = self.journal.ledger.begin(*own, *(build.of_case(row, each) for each in floors))
        settled = {each.key for each in written if self._is_settled(each)}
        if not settled >= {each.key for each in own}:
            return False
        self.before = True
        self.journal.kept += written
        return True

    def _is_settled(self, row: Record) -> bool:
        """Whether a row says that its contender needs no measurement."""
        if row.kind == "case":
            return row.status in ("missing", "unsupported")
        if row.kind != "timed":
            return False
        return bool(row.converged) or (row.budget_seconds or inf) >= self.budget

    def _is_too_large(self, row: Record) -> bool:
        reason = footprint.too_large(self.cell)
        if reason is not None:
            self._all_failed(row, reason)
        return reason is not None

    def _all_failed(self, row: Record, reason: str) -> None:
        for case in self.group:
            own = build.of_case(row, case)
            self.journal.keep(own, kind="case", status="failed", reason=reason)

    def _start(self, contenders: list[Contender]) -> None:
        twins = [_twin(each) for each in contenders if each.name == FLOOR]
        self._contenders = (*contenders, *twins)
        self.seconds.update({each.name: [] for each in self._contenders})
        running = {each.name: partial(self._once, each) for each in self._contenders}
        # each cell has orders of its own: the same ones in all would favour who is lucky in them
        named = {each.name: each.row for each in self._contenders}
        self._rounds = protocol.rounds(
            running,
            self.device,
            random.Random(repr(self.cell)),
            lambda name: self.journal.ledger.attempt(named[name]),
        )

    def _once(self, contender: Contender) -> None:
        """One iteration, unless it failed before."""
        if (
            contender.name in self.seconds
            and self.journal.tried(contender.row, lambda: (contender.run(),)) is None
        ):
            del self.seconds[contender.name]

    def memory(self) -> Iterator[Step]:
        """Measures the peak memory of all who were proved, each in a process of its own."""
        # a compiler works in the process it compiles for: its memory would be in the figure
        measured = [each for each in self._entries if not is_compiled(each)]
        for n, each in enumerate(measured):
            yield Step(n / len(measured), f"memory of {self._lineup.name(each.work.case)}")
            measure = partial(
                memory.peak_mib, each.work, adapters.load, threads=torch.get_num_threads()
            )
            peak = self.journal.attempt(each.row, measure)
            if peak is not None:
                self.journal.keep(each.row, kind="memory", peak_memory_mib=round(peak, 1))
        self._ended("memory")


def _twin(bottom: Contender) -> Contender:
    """The floor under a second name: their ratio is noise, and all ratios rest on both."""
    return replace(bottom, name=f"{FLOOR} (again)", row=replace(bottom.row, twin=True))
