"""One cell at work: its contenders proved equal, timed in rounds, and audited at both ends."""

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
from harness.records import AuditRow, EndedRow, IterationRow, Record, Row, TimedRow, WarningRow
from harness.records.build import Run, of_case, with_source
from harness.records.identity import EXAM, PROTOCOL, timing_key
from harness.records.ledger import DOWNLOAD, Ledger
from harness.spec import FLOOR, Case, Source, UsageError
from harness.speed import protocol, ratios
from harness.speed.apart import Host
from harness.speed.attempt import Attempts
from harness.speed.contender import Contender, Doing
from harness.speed.contenders import Contenders, floor_cases
from harness.speed.judge import Judge
from harness.speed.turn import turn
from harness.system import allocator, clock, footprint

REST_SECONDS = 5.0  # after which contenders run before they are timed: others were at work
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough


@dataclass(eq=False)
class Cell:
    """One cell at work. First `prepare`, then `round` as often as wanted, then `close`."""

    case: Case  # what the cases of the cell share; its precision is the first one's
    group: tuple[Case, ...]
    run: Run
    ledger: Ledger
    request: datasets.Request
    host: Host
    budget: float = inf  # seconds, of the whole run
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of who still runs, by round
    number: int = 0  # of rounds
    before: tuple[str, ...] = ()  # keys, where an earlier run had measured all of it
    mixed: tuple[Record, ...] = ()  # what the rows say of each that was audited in bf16
    _rounds: Iterator[dict[str, float]] | None = None
    _contenders: tuple[Contender, ...] = ()
    _judge: Judge | None = None
    _rest: clock.Stopwatch | None = None  # since its last round
    _source: Source | None = None

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.ledger)
        self.contenders = Contenders(self.case, self.group, self.attempts, self._row, self.host)

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
        row = replace(of_case(case, self.run, subject), protocol=PROTOCOL)
        if self._source is None:
            return row
        sha256, at = self._source.sha256, self.run
        key = timing_key(case, sha256, subject.software, at.machine, at.allocator)
        return replace(with_source(row, self._source), key=key)

    def prepare(self) -> Iterator[Doing]:
        """Proves the contenders, builds them, and audits their first iteration."""
        yield Doing(0.0, "data")
        self.ledger.owner.attempt(self.case, DOWNLOAD if self.request.download else 0.0)
        try:
            batch = datasets.load_batch(self.request)
            other = datasets.load_batch(replace(self.request, seed=self.request.seed + 1))
        except UsageError as error:
            self._all_failed(str(error))
            return
        self._source = batch.source
        if self._is_done() or self._is_too_large():
            return
        entries = yield from self.contenders.prove(batch)
        if not entries:
            return
        self._judge = Judge(self.case, batch, other, self.ledger.store.out)
        try:
            _ = self._judge.first_weights
        except UsageError as error:  # those that the case names are not here
            self._all_failed(str(error))
            return
        contenders = yield from self.contenders.ready(entries, self._judge)
        self._judge.forget()
        self._start(contenders)

    @property
    def held_mib(self) -> float:
        """What its contenders hold in memory now."""
        return sum(each.apart.held_mib for each in self._contenders)

    @property
    def needed_mib(self) -> float:
        """What its contenders will hold, about, and what stays free; 0 on another device."""
        if self.device.type != "cpu":
            return 0.0
        each = footprint.iteration_mib(self.case) + footprint.weights_mib(self.case)
        return (len(self.group) + 1) * each + footprint.spare_mib()

    @property
    def comparable(self) -> bool:
        """Whether a round would tell anything: the floor and somebody else run."""
        others = any(each.entry for each in self._contenders if each.name in self.seconds)
        return FLOOR in self.seconds and others

    @property
    def round_seconds(self) -> float:
        """How long the last round took."""
        return sum(values[-1] for values in self.seconds.values() if values)

    @property
    def spent_seconds(self) -> float:
        """How long its rounds took so far."""
        return sum(map(sum, self.seconds.values()))

    @property
    def known(self) -> bool:
        """Whether all ratios are known within 5 %, as far as these rounds tell."""
        bottom = self.seconds[FLOOR]
        found = [ratios.ratio(each, bottom) for each in self.seconds.values()]
        return all(each.half_width <= WITHIN for each in found)

    def round(self) -> None:
        """One round of all contenders, warm; who fails in it runs no more."""
        assert self._rounds is not None
        if self._rest is None or self._rest.seconds > REST_SECONDS:
            self.contenders.warm(self._running)
            self._drop_the_failed()
        self.number += 1
        next(self._rounds)
        self._rest = clock.Stopwatch.started(torch.device("cpu"))

    def close(self) -> None:
        """The last round, on other weights and another batch, and audited; then all of them end."""
        if self.comparable:
            assert self._judge is not None
            self.contenders.ask_another(self._running, self._judge)
            self._drop_the_failed()
        if self.comparable:
            assert self._judge is not None
            self.round()
            self.contenders.audit_after(self._running, self._judge)
            self._drop_the_failed()
            self._said_timed()
        self.abandon()
        allocator.release()

    def abandon(self) -> None:
        """Ends the contenders' processes; what was measured is kept."""
        for each in self._contenders:
            each.apart.end()
        self._rounds, self._contenders, self._judge = None, (), None
        self.seconds.clear()

    @property
    def _running(self) -> list[Contender]:
        return [each for each in self._contenders if each.name in self.seconds]

    def _drop_the_failed(self) -> None:
        for each in self._running:
            if each.failed:
                del self.seconds[each.name]

    def _said_timed(self) -> None:
        budget = None if self.budget == inf else self.budget
        for each in self._running:
            if not each.twin:
                self.attempts.keep(
                    TimedRow(
                        **vars(each.row),
                        rounds=self.number,
                        converged=self.comparable and self.known,
                        budget_seconds=budget,
                    )
                )

    def _is_done(self) -> bool:
        """Whether an earlier run had measured all of the cell, at least as well as this one may."""
        rows = [self._row(case) for case in self.group]
        floors = [self._row(case) for case in floor_cases(self.case, self.group)]
        written = self.ledger.begin(*rows, *floors)
        settled = {each.key for each in written if self._is_settled(each)}
        if not settled >= {row.key for row in rows}:
            return False
        audited = {each.key for each in written if _is_audited(each)}
        self.mixed = tuple(row for row in rows if _is_mixed(row) and row.key in audited)
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
        self._contenders = tuple(contenders)
        audited = [each.row for each in contenders if each.entry and each.entry.is_equal]
        self.mixed = tuple(row for row in audited if _is_mixed(row))
        self.seconds.update({each.name: [] for each in contenders if not each.failed})
        running = {each.name: partial(self._once, each) for each in contenders}
        # each cell has orders of its own: the same ones in all would favour who is lucky in them
        self._rounds = protocol.rounds(running, random.Random(repr(self.case)))

    def _once(self, contender: Contender) -> float:
        """One turn, unless it failed before; not a number where it failed."""
        if contender.name not in self.seconds:
            return float("nan")
        row = contender.row
        came = self.attempts.attempt(row, partial(turn, contender, self.number))
        if came is None:
            contender.fail()
            del self.seconds[contender.name]
            return float("nan")
        self.seconds[contender.name].append(came.seconds)
        self.attempts.keep(
            IterationRow(
                **vars(row),
                round=self.number,
                seconds=came.seconds / (contender.share or 1.0),
                part=contender.share,
                twin=contender.twin,
                loss=came.loss,
                class_spikes=came.class_spikes,
            )
        )
        if came.changed:
            self.attempts.keep(WarningRow(**vars(row), reason=came.changed))
        return came.seconds


def _is_mixed(row: Record) -> bool:
    return Case.of(row).precision == "bf16"


def _is_audited(row: Row) -> bool:
    return isinstance(row, AuditRow) and row.exam == EXAM and row.passed
