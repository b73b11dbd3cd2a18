"""One cell at work: its contenders proved equal, timed in rounds, and their memory measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

import adapters
from harness import (
    allocator,
    certificate,
    datasets,
    floor,
    footprint,
    intervals,
    machine,
    memory,
    rows,
    timing,
)
from harness.adapter import Adapter, Unsupported, Variant
from harness.certificate import Certificate, Exam
from harness.ledger import DOWNLOAD, Ledger
from harness.records import Record
from harness.reference.initialise import dead_layers, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Case, Network, Precision, UsageError
from harness.workload import Workload, floor_iteration, iteration

FLOOR = "floor"
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
CONVERGED_ROUNDS = 3  # an interval of two rounds is not trusted
WARMUP_STEPS = 2
CALIBRATION_SAMPLES = 4


class Step(NamedTuple):
    """How far a piece of work is, in [0, 1], and what it does."""

    fraction: float
    doing: str


@dataclass(frozen=True)
class Entry:
    """One that may be timed: proved equal, marked as a variant, or the floor."""

    row: Record  # what every row of it says
    work: Workload
    adapter: Adapter | None  # None for the floor


@dataclass(frozen=True)
class Contender:
    """One that is timed."""

    name: str  # in the rounds
    row: Record
    run: Callable[[], object]  # one iteration
    adapter: Adapter | None  # None for the floor


@dataclass(frozen=True)
class Exams:
    """The certificates of one cell, each made once: a bf16 case asks for those of fp32 too."""

    network: Network
    batch: Tensor  # (T, B, C, H, W)
    seed: int
    _exams: dict[Precision, Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)

    def certify(self, name: str, adapter: Adapter, precision: Precision) -> Certificate:
        """The adapter's certificate. Raises what its `build` raises."""
        if precision not in self._exams:
            self._exams[precision] = Exam(self.network, self.batch, precision, self.seed)
        key = name, precision
        if key not in self._proofs:
            self._proofs[key] = self._exams[precision].certify(name, adapter)
        return self._proofs[key]


@dataclass(eq=False)
class Bench:
    """One cell at work. First `prepare`, then `round` as often as wanted, and `memory` once."""

    row: Record  # what every row of the cell says
    ledger: Ledger
    request: datasets.Request
    cell: Case
    group: tuple[Case, ...]
    budget: float = inf  # seconds, of the whole run
    kept: list[Record] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of who still runs, by round
    number: int = 0  # of rounds
    before: bool = False  # all of it had been measured by an earlier run
    _rounds: Iterator[dict[str, float]] | None = None
    _contenders: tuple[Contender, ...] = ()
    _entries: tuple[Entry, ...] = ()  # proved, the floors apart
    _left: set[str] = field(default_factory=lambda: {"rounds", "memory"})  # until it is done
    _timed: tuple[Record, ...] = ()  # of who ran to the end

    def keep(self, row: Record, **measured: object) -> None:
        """Stores a row with what was measured, and the state of the machine beside it."""
        state = asdict(machine.moment())
        full = replace(row, time=rows.now(), **state, **measured)  # type: ignore[arg-type]
        self.ledger.keep(full)
        self.kept.append(full)

    @property
    def device(self) -> torch.device:
        return torch.device(self.cell.device)

    def prepare(self) -> Iterator[Step]:
        """Proves the contenders, builds them and warms them up."""
        yield Step(0.0, "data")
        self.ledger.attempt(self.row, DOWNLOAD if self.request.download else 0.0)
        try:
            batch = datasets.load_batch(self.request)
        except UsageError as error:
            for case in self.group:
                row = rows.of_case(self.row, case)
                self.keep(row, kind="case", status="failed", reason=str(error))
            return
        row = rows.of_data(self.row, batch.source)
        if self._is_done(row) or self._is_too_large(row):
            return
        work = Workload.of(self.cell, batch.inputs, batch.labels)
        entries = yield from self._prove(row, work)
        floors = self._floors(row, work, entries)
        if not floors:
            return
        self._entries = tuple(entries)
        yield Step(0.8, "warm-up")
        few = work.first(self.cell.T, CALIBRATION_SAMPLES).batch()
        weights = initialised(
            self.cell.network, few, seed=self.cell.seed, scheme=self.cell.initialisation
        )
        self._warn_of_dead_layers(row, weights, few)
        if self.device.type == "cpu":
            allocator.reserve(self.iteration_mib)
        ready = [self._ready(entry, weights) for entry in [*entries, *floors]]
        self._start([each for each in ready if each is not None])

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
        noise = intervals.spread(list(self.seconds.values()))
        bottom = self.seconds[FLOOR]
        ratios = [intervals.ratio(each, bottom, noise) for each in self.seconds.values()]
        return all(ratio.half_width <= WITHIN for ratio in ratios)

    def round(self) -> None:
        """One round of all contenders; who fails in it runs no more."""
        assert self._rounds is not None
        measured = next(self._rounds)
        self.number += 1
        for each in self._contenders:
            if each.name in self.seconds:
                self.seconds[each.name].append(measured[each.name])
                spent = measured[each.name]
                self.keep(each.row, kind="iteration", round=self.number, seconds=spent)

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
                self.keep(row, budget_seconds=budget)
            self._timed = ()

    def _is_done(self, row: Record) -> bool:
        """Whether an earlier run had measured all of the cell, at least as well as this one may."""
        own = [rows.of_case(row, case) for case in self.group]
        bottom = replace(self.cell, framework=FLOOR)
        floors = [
            replace(bottom, precision=precision) for precision in self._precisions(self.group)
        ]
        written = self.ledger.begin(*own, *(rows.of_case(row, each) for each in floors))
        settled = {each.key for each in written if self._is_settled(each)}
        if not settled >= {each.key for each in own}:
            return False
        self.before = True
        self.kept += written
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
            for case in self.group:
                self.keep(rows.of_case(row, case), kind="case", status="failed", reason=reason)
        return reason is not None

    def _start(self, contenders: list[Contender]) -> None:
        twins = [_twin(each) for each in contenders if each.name == FLOOR]
        self._contenders = (*contenders, *twins)
        self.seconds.update({each.name: [] for each in self._contenders})
        running = {each.name: partial(self._once, each) for each in self._contenders}
        # each cell has orders of its own: the same ones in all would favour who is lucky in them
        named = {each.name: each.row for each in self._contenders}
        self._rounds = timing.rounds(
            running,
            self.device,
            random.Random(repr(self.cell)),
            lambda name: self.ledger.attempt(named[name]),
        )

    def _once(self, contender: Contender) -> None:
        """One iteration, unless it failed before."""
        if (
            contender.name in self.seconds
            and self._tried(contender.row, lambda: (contender.run(),)) is None
        ):
            del self.seconds[contender.name]

    def _prove(self, row: Record, work: Workload) -> Generator[Step, None, list[Entry]]:
        """The contenders that may be timed: proved equal, or known not to be and marked."""
        exams = Exams(self.cell.network, work.batch(), self.cell.seed)
        entries = []
        for n, case in enumerate(self.group):
            yield Step(0.7 * n / len(self.group), f"certificate of {self._name(case)}")
            adapter = self._load(row, case)
            if adapter is not None:
                own = rows.of_case(row, case, adapter)
                if self._certified(own, case, adapter, exams):
                    entries.append(Entry(own, replace(work, case=case), adapter))
        return entries

    def _name(self, case: Case) -> str:
        """The case's name among the contenders; the cell's own precision is not said."""
        mixed = case.precision != self.cell.precision
        return case.framework + (f" ({case.precision})" if mixed else "")

    def _load(self, row: Record, case: Case) -> Adapter | None:
        try:
            return adapters.load(case.framework)
        except adapters.Missing as missing:
            row = rows.of_case(row, case)
            self.keep(row, kind="case", status="missing", reason=str(missing))
            return None

    def _certified(self, row: Record, case: Case, adapter: Adapter, exams: Exams) -> bool:
        """Examines the adapter and keeps the proof as rows; whether it may be timed."""
        certificates = [
            self._attempt(row, partial(exams.certify, case.framework, adapter, precision))
            for precision in certificate.required(case.precision)
        ]
        if None in certificates:
            return False
        held = [proof for proof in certificates if proof is not None]
        for proof in held:
            for each in rows.of_certificate(row, proof):
                self.keep(each)
        reasons = [failure for proof in held for failure in proof.failures]
        if reasons and not adapter.DEVIATIONS:
            self.keep(row, kind="case", status="failed", reason=f"not comparable: {reasons[0]}")
            return False
        return True

    def _attempt(self, row: Record, work: Callable[[], Any]) -> Any:
        """What `work` returns; None where it failed, and then a row says why."""
        self.ledger.attempt(row)
        return self._tried(row, work)

    def _tried(self, row: Record, work: Callable[[], Any]) -> Any:
        """The same, already announced.

        This is the one place where what a framework throws becomes a row.
        """
        try:
            return work()
        except Unsupported as reason:
            self.keep(row, kind="case", status="unsupported", reason=str(reason))
        except UsageError:  # the rows cannot be written
            raise
        except TorchDynamoException as error:
            reason = f"torch.compile: {type(error).__name__}: {error}"
            self.keep(row, kind="case", status="unsupported", reason=reason)
        except Exception as error:  # noqa: BLE001 a framework may throw anything
            if footprint.is_exhausted(error):  # the others would fail too: end with the process
                raise
            reason = f"{type(error).__name__}: {error}"
            self.keep(row, kind="case", status="failed", reason=reason)
        return None

    def _floors(self, row: Record, work: Workload, entries: list[Entry]) -> list[Entry]:
        """A floor for each precision that is timed, the cell's own first."""
        if not entries:
            return []
        floors = [
            self._floor(row, work, replace(self.cell, framework=FLOOR, precision=precision))
            for precision in self._precisions(entry.work.case for entry in entries)
        ]
        return [each for each in floors if each is not None]

    def _precisions(self, cases: Iterable[Case]) -> list[Precision]:
        """Those of the cases, the cell's own first: each has its floor."""
        others: set[Precision] = {case.precision for case in cases}
        return [self.cell.precision, *sorted(others - {self.cell.precision})]

    def _floor(self, row: Record, work: Workload, case: Case) -> Entry | None:
        """The floor in the layout that is faster here, each timed once warm on the first step."""
        row = rows.of_case(row, case)
        work = replace(work, case=case)
        spent: dict[floor.Layout, float] = {}
        for layout in floor.LAYOUTS:
            start = replace(work.first(1), layout=layout)
            seconds = self._attempt(row, partial(_second_run, start))
            if seconds is None:
                return None
            spent[layout] = seconds
            marked = replace(row, layout=layout)
            self.keep(marked, kind="warmup", seconds=seconds, steps=start.case.T)
        best = min(spent, key=lambda layout: spent[layout])
        return Entry(replace(row, layout=best), replace(work, layout=best), None)

    def _warn_of_dead_layers(self, row: Record, weights: ReferenceNetwork, few: Tensor) -> None:
        dead = dead_layers(weights, self.cell.network, few)
        if dead:
            reason = (
                f"dead layers under the {self.cell.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold"
            )
            self.keep(row, kind="warning", reason=reason)

    def memory(self) -> Iterator[Step]:
        """Measures the peak memory of all who were proved, each in a process of its own."""
        # a compiler works in the process it compiles for: its memory would be in the figure
        measured = [each for each in self._entries if not _is_compiled(each)]
        for n, each in enumerate(measured):
            yield Step(n / len(measured), f"memory of {self._name(each.work.case)}")
            measure = partial(
                memory.peak_mib, each.work, adapters.load, threads=torch.get_num_threads()
            )
            peak = self._attempt(each.row, measure)
            if peak is not None:
                self.keep(each.row, kind="memory", peak_memory_mib=round(peak, 1))
        self._ended("memory")

    def _ready(self, entry: Entry, weights: ReferenceNetwork) -> Contender | None:
        """The entry built with the cell's weights, and warmed up over the first steps."""
        name = self._name(entry.work.case)
        if entry.adapter is None:
            return Contender(name, entry.row, floor_iteration(entry.work), None)
        on = self._attempt(entry.row, partial(iteration, entry.adapter, entry.work, weights))
        if on is None:
            return None
        # what is compiled is compiled for one shape
        start = entry.work if _is_compiled(entry) else entry.work.first(WARMUP_STEPS)
        spent = self._attempt(entry.row, partial(timing.seconds, on(start), entry.work.device))
        if spent is None:
            return None
        self.keep(entry.row, kind="warmup", seconds=spent, steps=start.case.T)
        return Contender(name, entry.row, on(entry.work), entry.adapter)


def _is_compiled(entry: Entry) -> bool:
    return isinstance(entry.adapter, Variant) and entry.adapter.compiled


def _twin(bottom: Contender) -> Contender:
    """The floor under a second name: their ratio is noise, and all ratios rest on both."""
    return replace(bottom, name=f"{FLOOR} (again)", row=replace(bottom.row, twin=True))


def _second_run(work: Workload) -> float:
    """Seconds of the floor's second iteration; the first pays for what is set up once."""
    run = floor_iteration(work)
    run()
    return timing.seconds(run, work.device)
