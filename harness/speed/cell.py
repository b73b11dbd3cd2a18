"""One cell: its contenders proved equal, timed in rounds, and audited before and after them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf, isclose, isfinite

import torch

import adapters
from harness import datasets, records
from harness.proof import certificate
from harness.proof.audit import When, row_of
from harness.proof.subject import NOTHING_KNOWN, subject_of
from harness.records import Record, Row
from harness.records.identity import EXAM, PROTOCOL, timing_key
from harness.records.ledger import Ledger
from harness.records.run import Failed, Run, ended, of_case, shortened, stamped, with_data
from harness.reference import coding
from harness.reference.initialise import dead_layers
from harness.spec import FLOOR, Access, Precision, Source, Timed, UsageError
from harness.speed import floor, ratios
from harness.speed.contender import Host, Process, Subject, Turn
from harness.speed.iteration import Part
from harness.speed.judge import Examiner, Expected, Judge
from harness.system import clock, machine, memory

WARM_SECONDS = 1.0  # of iterations that are not timed, and one at least
LEAST_SECONDS = 0.1  # that an iteration counts for: a hundred tiny ones are not needed
REST_SECONDS = 5.0  # after which contenders run before they are timed: others were at work
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
# Of all votes so many may differ from those audited: the batch is rolled, and where a kernel sums
# in another order a near-tie flips a few spikes. An answer from memory differs in nearly all.
OTHER_VOTES = 0.05
SAME_LOSS = 1e-3  # relative, of the loss that its votes give


@dataclass(eq=False)
class Contender:
    """One that is timed in a cell, or the floor, on its way from its exam through the rounds."""

    name: str  # in the rounds
    row: Record  # what every row of it says
    part: Part | None = None  # of an iteration, where a whole one takes too long
    twin: bool = False  # the second instance of the floor
    process: Process | None = None
    expected: Expected | None = None  # of each turn; None for the floor and for variants
    seconds: list[float] = field(default_factory=list)  # of each round
    failed: bool = False
    said: set[str] = field(default_factory=set)  # what it changed in its process

    @property
    def case(self) -> Timed:  # as it is run
        case = Timed.of(self.row)
        return case if self.part is None else self.part.of(case)

    @property
    def is_floor(self) -> bool:
        return self.row.framework == FLOOR

    @property
    def claims_to_be_equal(self) -> bool:  # a variant does not
        return not self.is_floor and not self.row.deviations

    @property
    def share(self) -> float | None:
        """Of an iteration that is run, where that is not all of it."""
        return None if self.part is None else self.part.amount / (self.row.T * self.row.batch_size)

    @property
    def there(self) -> Process:
        assert self.process is not None
        return self.process

    def end(self) -> None:
        if self.process is not None:
            self.process.end()


@dataclass(eq=False)
class Cell:
    """One cell at work. First `prepare`, then `round` as often as wanted, then `close`."""

    case: Timed  # what the cases of the cell share; its precision is the first one's
    group: tuple[Timed, ...]
    run: Run
    ledger: Ledger
    access: Access
    host: Host
    budget: float = inf  # seconds, of the whole run
    number: int = 0  # of rounds
    before: tuple[str, ...] = ()  # keys, where an earlier run had measured all of it
    mixed: tuple[Record, ...] = ()  # what the rows say of each that was audited in bf16
    contenders: list[Contender] = field(default_factory=list)
    _judge: Judge | None = None
    _order: list[Contender] = field(default_factory=list)
    _random: random.Random | None = None
    _rest: clock.Stopwatch | None = None  # since its last round
    _source: Source | None = None

    # Before the rounds

    def prepare(self) -> Iterator[tuple[float, str]]:
        """Proves the contenders, builds them, and audits their first iteration.

        How far that is, in [0, 1], and what is done next.
        """
        yield 0.0, "data"
        cell, root, may = self.case, self.access.root, self.case.dataset in self.access.download
        given = cell.dataset, cell.T, cell.batch_size
        try:
            batch = datasets.load_batch(*given, cell.seed, root=root, download=may)
            other = datasets.load_batch(*given, cell.seed + 1, root=root, download=may)
            self._source = batch.source
            if self._is_done():
                return
            if too_large := memory.too_large(cell):
                raise UsageError(too_large)
            examiner, proved = Examiner(cell, batch.inputs, self.host), list[Contender]()
            for n, case in enumerate(self.group):
                contender = Contender(self._name(case), self._row(case))
                yield 0.3 * n / len(self.group), f"certificate of {contender.name}"
                if self._did(contender, self._prove, contender, examiner):
                    proved.append(contender)
            if not proved:
                return
            self._judge = judge = Judge(cell, batch, other, self.ledger.store.out)
            self._warn_of_dead_layers(judge)
        except UsageError as error:  # of data, or of weights that the case names
            for case in self.group:
                self._keep(ended(self._row(case), "failed", str(error)))
            return
        yield 0.3, "the floor"
        for case in floor_cases(cell, (Timed.of(each.row) for each in proved)):
            self._start_floors(case)
        for n, contender in enumerate(proved):
            yield 0.35 + 0.65 * n / len(proved), f"audit of {contender.name}"
            self.contenders.append(contender)
            self._did(contender, self._start, contender, judge)
        judge.forget()
        self.contenders = self._running
        audited = [each.row for each in self.contenders if each.claims_to_be_equal]
        self.mixed = tuple(row for row in audited if row.precision == "bf16")
        # each cell has orders of its own: the same ones in all would favour one that is lucky
        self._order, self._random = list(self.contenders), random.Random(repr(cell))

    def _name(self, case: Timed) -> str:
        """The case's name among the contenders; the cell's own precision is not said."""
        mixed = case.precision != self.case.precision
        return case.framework + (f" ({case.precision})" if mixed else "")

    def _row(self, case: Timed) -> Record:
        """What every row of a case says, with its key where its data are known."""
        try:
            subject = subject_of(case)
        except adapters.Missing:  # a row says so
            subject = NOTHING_KNOWN
        row = replace(of_case(case, self.run, subject), protocol=PROTOCOL)
        if self._source is None:
            return row
        at, sha256 = self.run, self._source.sha256
        key = timing_key(case, sha256, subject.software, at.machine, at.allocator)
        return replace(with_data(row, self._source), key=key)

    def _is_done(self) -> bool:
        """Whether an earlier run had measured all of the cell, at least as well as this one may."""
        rows = [self._row(case) for case in self.group]
        floors = [self._row(case) for case in floor_cases(self.case, self.group)]
        written = self.ledger.begin(*rows, *floors)
        settled = {each.key for each in written if self._is_settled(each)}
        if not settled >= {row.key for row in rows}:
            return False
        audits = [each for each in written if isinstance(each, records.AuditRow) and each.passed]
        audited = {each.key for each in audits if each.exam == EXAM}
        self.mixed = tuple(row for row in rows if row.precision == "bf16" and row.key in audited)
        self.before = tuple(dict.fromkeys(str(row.key) for row in (*rows, *floors)))
        return True

    def _is_settled(self, row: Row) -> bool:
        """Whether a row says that its contender needs no measurement."""
        if isinstance(row, records.EndedRow):
            return row.status in ("missing", "unsupported")
        timed = isinstance(row, records.TimedRow)
        return timed and (row.converged or (row.budget_seconds or inf) >= self.budget)

    def _prove(self, contender: Contender, examiner: Examiner) -> None:
        """Examines the adapter and keeps the proof as rows. Raises Failed where it is not equal,
        and claims to be.
        """
        row, case = contender.row, Timed.of(contender.row)
        proofs = examiner.certify(case, (row.deviations,) if row.deviations else ())
        network = str(examiner.network_of(case))
        narrow = None if network == row.network else network
        for proof in proofs:
            for each in certificate.rows_of(row, proof):
                self._keep(replace(each, examined_network=narrow))
        failures = [each for proof in proofs for each in proof.failures]
        if failures and not row.deviations:
            raise Failed(failures[0], "not comparable")
        contender.part = examiner.parts[case.framework]

    def _warn_of_dead_layers(self, judge: Judge) -> None:
        weights, few = judge.weights("before")
        dead = dead_layers(weights, self.case.network, few)
        if dead:
            reason = (
                f"dead layers under the {self.case.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold"
            )
            self._keep(records.WarningRow(**vars(self._row(self.group[0])), reason=reason))

    def _start_floors(self, case: Timed) -> None:
        """The floor of a precision; that of the cell's own is there twice."""
        layouts: tuple[floor.Layout, ...] = ()

        def start(contender: Contender) -> None:
            nonlocal layouts
            contender.process = process = self._process(contender)
            layouts = layouts or process.call(Subject.layouts)
            process.call(Subject.build_floor, layouts)
            turn = process.call(Subject.turn, 0)
            contender.row = row = replace(contender.row, layout=floor.said(layouts))
            self._keep(records.WarmupRow(**vars(row), seconds=turn.seconds, steps=row.T))

        for twin in (False, True) if case.precision == self.case.precision else (False,):
            name = self._name(case) + (" (again)" if twin else "")
            self.contenders.append(Contender(name, self._row(case), twin=twin))
            self._did(self.contenders[-1], start, self.contenders[-1])

    def _start(self, contender: Contender, judge: Judge) -> None:
        """Starts the process, and builds there what is timed: warmed up, and audited where it
        claims to be equal.
        """
        contender.process = process = self._process(contender)
        first = process.call(Subject.build, judge.question("before", contender.case))
        contender.row = row = replace(
            contender.row,
            layout=first.layout,
            computed=first.computed,
            contender_threads=first.threads,
        )
        steps, compiled = contender.case.T, first.compile_seconds
        self._keep(
            records.WarmupRow(
                **vars(row), seconds=first.seconds, steps=steps, compile_seconds=compiled
            )
        )
        peak, why, part = first.peak_mib, first.unmeasured, contender.part
        if part is not None:
            peak, why = None, f"{part.samples} samples at {part.steps} steps were run, not all"
        if peak is None:
            self._keep(records.UnmeasuredRow(**vars(row), figure="memory", reason=shortened(why)))
        else:
            self._keep(records.MemoryRow(**vars(row), peak_memory_mib=round(peak, 1)))
        # for the judge's replay; and for the turns of one that gives memory back and takes it anew
        self._make_room(self.case, contender)
        if contender.claims_to_be_equal:
            contender.expected = self._audit(contender, judge, "before")

    def _process(self, contender: Contender) -> Process:
        """A process that fits into memory beside those that are there."""
        self._make_room(contender.case, contender)
        return Process(contender.case, self.host)

    def _make_room(self, case: Timed, contender: Contender) -> None:
        """Has the largest of the others give memory back until what an iteration takes is free."""
        if case.device != "cpu":
            return
        # what it takes to compile for it is in the spare; what is free beyond need not stay so
        needed = memory.case_mib(case) + memory.spare_mib()
        others = [each for each in self._running if each is not contender]
        full = sorted(others, key=lambda each: each.there.held_mib)
        while full and memory.available_mib("cpu") < needed:
            largest = full.pop()
            if not largest.there.lean:
                self._did(largest, largest.there.grow_lean)

    def _audit(self, contender: Contender, judge: Judge, when: When) -> Expected:
        """Holds the last iteration against the reference. Raises Failed where it is not equal."""
        finding, expected = judge.audit(contender.there, when, contender.case)
        self._keep(row_of(contender.row, when, finding))
        if not finding.passed:
            raise Failed(str(finding.reason), "not comparable")
        return expected

    # The rounds

    @property
    def _running(self) -> list[Contender]:
        return [each for each in self.contenders if not each.failed]

    @property
    def _floor(self) -> Contender | None:
        """The first of the cell's own precision, which all ratios are to."""
        return next((each for each in self._running if each.name == FLOOR), None)

    @property
    def comparable(self) -> bool:
        """Whether a round would tell anything: the floor and another contender run."""
        return self._floor is not None and not all(each.is_floor for each in self._running)

    @property
    def round_seconds(self) -> float:
        return sum(each.seconds[-1] for each in self._running if each.seconds)

    @property
    def spent_seconds(self) -> float:
        return sum(sum(each.seconds) for each in self._running)

    @property
    def known(self) -> bool:
        """Whether all ratios are known within 5 %, as far as these rounds tell."""
        assert self._floor is not None
        bottom = self._floor.seconds
        found = (ratios.ratio(each.seconds, bottom) for each in self._running)
        return all(each.half_width <= WITHIN for each in found)

    def round(self) -> None:
        """Each contender once, warm, in a fresh random order; one that fails runs no more."""
        assert self._random is not None
        if self._rest is None or self._rest.seconds > REST_SECONDS:
            # meanwhile others worked: their memory is in the caches, and the system may have let go
            # of pages of a program's own code; one that gives memory back runs before each turn
            for each in self._running:
                if not each.there.lean:
                    self._did(each, _warm, each.there)
        self.number += 1
        self._random.shuffle(self._order)
        for each in self._order:
            if not each.failed:
                self._did(each, self._turn, each)
        self._rest = clock.Stopwatch()

    def _turn(self, contender: Contender) -> None:
        """One timed iteration. Raises Failed where it comes to something else than was audited."""
        process, row, expected = contender.there, contender.row, contender.expected
        roll = 0 if expected is None else self.number % max(1, len(expected.labels))
        if process.lean:  # its memory was given back: no page is to be taken in what is timed
            process.call(Subject.turn, roll)
        turn = process.call(Subject.turn, roll)
        if process.lean:
            process.call(Subject.release)
        check(turn, expected, roll)
        contender.seconds.append(turn.seconds)
        spikes = None
        if turn.votes is not None and turn.loss is None:
            count = contender.case.T * row.population  # a vote is the mean of so many
            spikes = tuple(round(count * each) for each in torch.tensor(turn.votes).sum(0).tolist())
        self._keep(
            records.IterationRow(
                **vars(row),
                round=self.number,
                seconds=turn.seconds / (contender.share or 1.0),
                part=contender.share,
                twin=contender.twin,
                loss=turn.loss,
                class_spikes=spikes,
            )
        )
        changed = [each for each in turn.changed if each not in contender.said]
        if changed:
            contender.said.update(changed)
            reason = f"{contender.name} changes its process: {', '.join(changed)}"
            self._keep(
                records.WarningRow(**vars(row), reason=f"{reason}; the others have their own")
            )

    # After them

    def close(self) -> None:
        """The last round, on other weights and another batch, and audited; then all of them end."""
        judge = self._judge
        assert judge is not None
        for each in self._running if self.comparable else ():
            if not each.is_floor:
                asked = judge.question("after", each.case)
                self._did(each, each.there.call, Subject.load, asked)
                each.expected = None  # the audit that follows says what it should have come to
        if self.comparable:
            self.round()
            for each in self._running:  # one by one: an audit takes a contender's memory and more
                if each.claims_to_be_equal:
                    self._did(each, self._audit, each, judge, "after")
                each.end()
            judge.forget()
            done = {
                "rounds": self.number,
                "converged": self.comparable and self.known,
                "budget_seconds": None if self.budget == inf else self.budget,
            }
            for each in self._running:
                if not each.twin:
                    self._keep(records.TimedRow(**vars(each.row), **done))
        self.abandon()
        memory.release()

    def abandon(self) -> None:
        """Ends the contenders' processes; what was measured is kept."""
        for each in self.contenders:
            each.end()
        self.contenders, self._judge = [], None

    # At any time

    @property
    def held_mib(self) -> float:
        return sum(each.there.held_mib for each in self._running)

    @property
    def needed_mib(self) -> float:
        """What its contenders will hold, about, and what stays free; 0 on another device."""
        if self.case.device != "cpu":
            return 0.0
        return (len(self.group) + 1) * memory.case_mib(self.case) + memory.spare_mib()

    def _did(self, contender: Contender, work: Callable[..., object], *given: object) -> bool:
        """Does something with a contender; a failure becomes one row with its reason."""
        try:
            work(*given)
            return True
        except (Failed, MemoryError, RuntimeError) as error:
            if not isinstance(error, Failed) and not memory.is_exhausted(error):
                raise
            status = error.status if isinstance(error, Failed) else "failed"
            contender.failed = True
            contender.end()
            self._keep(ended(contender.row, status, str(error)))
            return False

    def _keep(self, row: Row) -> None:
        """Stores a row, with the state of the machine beside it."""
        self.ledger.keep(stamped(row, machine.moment()))


def floor_cases(cell: Timed, cases: Iterable[Timed]) -> list[Timed]:
    """The floor in each precision of the cases, the cell's own first."""
    others: set[Precision] = {case.precision for case in cases}
    precisions: list[Precision] = [cell.precision, *sorted(others - {cell.precision})]
    return [replace(cell, framework=FLOOR, precision=precision) for precision in precisions]


def check(turn: Turn, expected: Expected | None, roll: int) -> None:
    """Raises Failed where a turn, on a batch rolled so far, is not what was audited."""
    if turn.votes is None:  # the floor votes for nothing
        return
    votes, reason = torch.tensor(turn.votes, dtype=torch.float64), ""
    if not votes.isfinite().all() or not isfinite(turn.loss or 0.0):
        reason = "came to what is not finite"
    elif expected is not None:  # a variant is marked, and nothing is expected of it
        wanted = expected.votes.double().roll(roll, 0)
        same = votes.shape == wanted.shape
        other = (votes - wanted).abs().sum() / wanted.abs().sum().clamp(min=1e-12) if same else 1.0
        if not same:
            reason = f"gave votes of shape {tuple(votes.shape)}, expected {tuple(wanted.shape)}"
        elif other > OTHER_VOTES:
            reason = f"is not what was audited: {100 * float(other):.1f} % of its votes are others"
            reason += ", on the same weights and samples"
        elif turn.loss is not None:
            loss = float(coding.loss(votes, expected.labels.roll(roll, 0)))
            if not isclose(loss, turn.loss, rel_tol=SAME_LOSS):
                reason = f"says that its loss is {turn.loss:.4g}; its votes give {loss:.4g}"
    if reason:
        raise Failed(f"a timed iteration {reason}", "not comparable")


def _warm(process: Process) -> None:
    """Iterations that are not timed, one at least."""
    spent = 0.0
    while spent < WARM_SECONDS:
        spent += max(process.call(Subject.turn, 0).seconds, LEAST_SECONDS)
