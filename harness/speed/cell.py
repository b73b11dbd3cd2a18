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
from harness.proof.subject import NOTHING_KNOWN, subject_of
from harness.records import EndedRow, IterationRow, MemoryRow, Record, Row, TimedRow
from harness.records.build import Run, of_case, with_source
from harness.records.identity import timing_key
from harness.records.ledger import DOWNLOAD, Ledger
from harness.spec import FLOOR, Case, Source, UsageError
from harness.speed import memory, protocol, ratios
from harness.speed.attempt import Attempts
from harness.speed.contenders import Contender, Contenders, Doing, Entry, floor_cases, is_compiled
from harness.speed.iteration import Workload
from harness.system import allocator, footprint

WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
CONVERGED_ROUNDS = 3  # an interval of two rounds is not trusted


@dataclass(eq=False)
class Cell:
    """One cell at work. First `prepare`, then `round` as often as wanted, and `memory` once."""

    case: Case  # what the cases of the cell share; its precision is the first one's
    group: tuple[Case, ...]
    run: Run
    ledger: Ledger
    request: datasets.Request
    budget: float = inf  # seconds, of the whole run
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of who still runs, by round
    number: int = 0  # of rounds
    before: tuple[str, ...] = ()  # keys, where an earlier run had measured all of it
    _rounds: Iterator[dict[str, float]] | None = None
    _contenders: tuple[Contender, ...] = ()
    _entries: tuple[Entry, ...] = ()  # proved, the floors apart
    _left: set[str] = field(default_factory=lambda: {"rounds", "memory"})  # until it is done
    _timed: tuple[TimedRow, ...] = ()  # of who ran to the end
    _source: Source | None = None

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.ledger)
        self.contenders = Contenders(self.case, self.group, self.attempts, self._row)

    @property
    def kept(self) -> int:
        """How many rows there are so far."""
        return self.attempts.kept

    @property
    def device(self) -> torch.device:
        """Where the cell runs."""
        return torch.device(self.case.device)

    def _row(self, case: Case) -> Record:
        """What every row of a case says, with its key where its data are known."""
        try:
            subject = subject_of(case)
        except adapters.Missing:  # a row says so
            subject = NOTHING_KNOWN
        row = of_case(case, self.run, subject)
        if self._source is None:
            return row
        sha256, at = self._source.sha256, self.run
        key = timing_key(case, sha256, subject.software, at.machine, at.allocator)
        return replace(with_source(row, self._source), key=key)

    def prepare(self) -> Iterator[Doing]:
        """Proves the contenders, builds them and warms them up."""
        yield Doing(0.0, "data")
        self.ledger.owner.attempt(self.case, DOWNLOAD if self.request.download else 0.0)
        try:
            batch = datasets.load_batch(self.request)
        except UsageError as error:
            self._all_failed(str(error))
            return
        self._source = batch.source
        if self._is_done() or self._is_too_large():
            return
        work = Workload.of(self.case, batch.inputs, batch.labels)
        entries = yield from self.contenders.prove(work)
        floors = self.contenders.floors(work, entries)
        if not floors:
            return
        self._entries = tuple(entries)
        yield Doing(0.8, "warm-up")
        self._start(self.contenders.ready(work, [*entries, *floors]))

    @property
    def iteration_mib(self) -> float:
        """What an iteration takes beside the weights, about; contenders take it in turns."""
        return footprint.iteration_mib(self.case)

    @property
    def weights_mib(self) -> float:
        """What one contender holds as long as it is ready, about."""
        return footprint.weights_mib(self.case)

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
        bottom = self.seconds[FLOOR]
        found = [ratios.ratio(each, bottom) for each in self.seconds.values()]
        return all(each.half_width <= WITHIN for each in found)

    def round(self) -> None:
        """One round of all contenders; who fails in it runs no more."""
        assert self._rounds is not None
        measured = next(self._rounds)
        self.number += 1
        for each in self._contenders:
            if each.name in self.seconds:
                spent = measured[each.name]
                self.seconds[each.name].append(spent)
                self.attempts.keep(
                    IterationRow(**vars(each.row), round=self.number, seconds=spent, twin=each.twin)
                )

    def close(self) -> None:
        """Gives the contenders' memory back; there are no more rounds."""
        if self.comparable:
            ran = [e.row for e in self._contenders if e.name in self.seconds and not e.twin]
            budget = None if self.budget == inf else self.budget
            self._timed = tuple(
                TimedRow(
                    **vars(row), rounds=self.number, converged=self.known, budget_seconds=budget
                )
                for row in ran
            )
        self._ended("rounds")
        self._rounds, self._contenders = None, ()
        self.seconds.clear()
        allocator.release()

    def _ended(self, part: str) -> None:
        """Says who is done, once the rounds and the memory are."""
        self._left.discard(part)
        if not self._left:
            for row in self._timed:
                self.attempts.keep(row)
            self._timed = ()

    def _is_done(self) -> bool:
        """Whether an earlier run had measured all of the cell, at least as well as this one may."""
        rows = [self._row(case) for case in self.group]
        floors = [self._row(case) for case in floor_cases(self.case, self.group)]
        written = self.ledger.begin(*rows, *floors)
        settled = {each.key for each in written if self._is_settled(each)}
        if not settled >= {row.key for row in rows}:
            return False
        self.before = tuple(dict.fromkeys(str(row.key) for row in (*rows, *floors)))
        return True

    def _is_settled(self, row: Row) -> bool:
        """Whether a row says that its contender needs no measurement."""
        match row:
            case EndedRow():
                return row.status in ("missing", "unsupported")
            case TimedRow():
                return row.converged or (row.budget_seconds or inf) >= self.budget
            case _:
                return False

    def _is_too_large(self) -> bool:
        reason = footprint.too_large(self.case)
        if reason is not None:
            self._all_failed(reason)
        return reason is not None

    def _all_failed(self, reason: str) -> None:
        for case in self.group:
            self.attempts.end(self._row(case), "failed", reason)

    def _start(self, contenders: list[Contender]) -> None:
        # the floor under a second name: their ratio is noise, and all ratios rest on both
        twins = [
            replace(each, name=f"{FLOOR} (again)", twin=True)
            for each in contenders
            if each.name == FLOOR
        ]
        self._contenders = (*contenders, *twins)
        self.seconds.update({each.name: [] for each in self._contenders})
        running = {each.name: partial(self._once, each) for each in self._contenders}
        cases = {each.name: Case.of(each.row) for each in self._contenders}
        # each cell has orders of its own: the same ones in all would favour who is lucky in them
        self._rounds = protocol.rounds(
            running,
            self.device,
            random.Random(repr(self.case)),
            lambda name: self.ledger.owner.attempt(cases[name]),
        )

    def _once(self, contender: Contender) -> None:
        """One iteration, unless it failed before."""
        if (
            contender.name in self.seconds
            and self.attempts.tried(contender.row, lambda: (contender.run(),)) is None
        ):
            del self.seconds[contender.name]

    def memory(self) -> Iterator[Doing]:
        """Measures the peak memory of all who were proved, each in a process of its own."""
        # a compiler works in the process it compiles for: its memory would be in the figure
        measured = [each for each in self._entries if not is_compiled(each)]
        for n, each in enumerate(measured):
            yield Doing(n / len(measured), f"memory of {self.contenders.name(each.work.case)}")
            measure = partial(
                memory.peak_mib, each.work, adapters.load, threads=torch.get_num_threads()
            )
            peak = self.attempts.attempt(each.row, measure)
            if peak is not None:
                self.attempts.keep(MemoryRow(**vars(each.row), peak_memory_mib=round(peak, 1)))
        self._ended("memory")
