"""One cell at work: its contenders proved equal, their memory measured, then timed in rounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import adapters
from harness import (
    allocator,
    certificate,
    datasets,
    floor,
    intervals,
    machine,
    memory,
    rows,
    timing,
)
from harness.adapter import Adapter, Unsupported
from harness.certificate import Exam
from harness.records import Record, Store
from harness.reference.initialise import dead_layers, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Case, UsageError
from harness.workload import Workload, floor_iteration, training_iteration

FLOOR = "floor"
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
CONVERGED_ROUNDS = 3  # an interval of two rounds is not trusted
WARMUP_STEPS = 2
CALIBRATION_SAMPLES = 4
MEMORY_FROM = 0.25  # of a preparation: before it come the proofs


class Step(NamedTuple):
    """How far a preparation is, in [0, 1], and what it does."""

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


@dataclass(eq=False)
class Bench:
    """One cell at work. First `prepare`, then `round` as often as wanted."""

    row: Record  # what every row of the cell says
    store: Store
    request: datasets.Request
    cell: Case
    group: tuple[Case, ...]
    kept: list[Record] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of who still runs, by round
    number: int = 0  # of rounds
    _rounds: Iterator[dict[str, float]] | None = None
    _contenders: tuple[Contender, ...] = ()

    def keep(self, row: Record, **measured: object) -> None:
        """Stores a row with what was measured, and the state of the machine beside it."""
        state = asdict(machine.moment())
        full = replace(row, time=rows.now(), **state, **measured)  # type: ignore[arg-type]
        self.store.append(full)
        self.kept.append(full)

    @property
    def device(self) -> torch.device:
        return torch.device(self.cell.device)

    def prepare(self) -> Iterator[Step]:
        """Proves the contenders, measures their memory, builds them and warms them up."""
        yield Step(0.0, "data")
        try:
            batch = datasets.load_batch(self.request)
        except UsageError as error:
            for case in self.group:
                row = rows.of_case(self.row, case)
                self.keep(row, kind="case", status="failed", reason=str(error))
            return
        row = rows.of_data(self.row, batch.source)
        work = Workload.of(self.cell, batch.inputs, batch.labels)
        entries = yield from self._prove(row, work)
        bottom = self._floor(row, work) if entries else None
        if bottom is None:
            return
        yield from self._memory(entries)
        yield Step(0.9, "warm-up")
        few = work.first(self.cell.T, CALIBRATION_SAMPLES).batch()
        weights = initialised(
            self.cell.network, few, seed=self.cell.seed, scheme=self.cell.initialisation
        )
        self._warn_of_dead_layers(row, weights, few)
        if self.device.type == "cpu":
            peaks = [row.peak_memory_mib or 0.0 for row in self.kept]
            allocator.reserve(max(peaks, default=0.0))
        ready = [self._ready(entry, weights) for entry in [*entries, bottom]]
        self._start([each for each in ready if each is not None])

    @property
    def comparable(self) -> bool:
        """Whether a round would tell anything: the floor, its second name and somebody run."""
        return FLOOR in self.seconds and len(self.seconds) > 2

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
        self._rounds, self._contenders = None, ()
        self.seconds.clear()

    def _start(self, contenders: list[Contender]) -> None:
        if len(contenders) < 2:
            return
        self._contenders = (*contenders, _twin(contenders[-1]))
        self.seconds.update({each.name: [] for each in self._contenders})
        running = {each.name: partial(self._once, each) for each in self._contenders}
        self._rounds = timing.rounds(running, self.device, random.Random(self.cell.seed))

    def _once(self, contender: Contender) -> None:
        """One iteration, unless it failed before."""
        if (
            contender.name in self.seconds
            and self._attempt(contender.row, lambda: (contender.run(),)) is None
        ):
            del self.seconds[contender.name]

    def _prove(self, row: Record, work: Workload) -> Generator[Step, None, list[Entry]]:
        """The contenders that may be timed: proved equal, or known not to be and marked."""
        exams = [
            Exam(self.cell.network, work.batch(), precision, self.cell.seed)
            for precision in certificate.required(self.cell.precision)
        ]
        entries = []
        for n, case in enumerate(self.group):
            yield Step(MEMORY_FROM * n / len(self.group), f"certificate of {case.framework}")
            adapter = self._load(row, case)
            if adapter is not None:
                own = rows.of_case(row, case, adapter)
                if self._certified(own, exams, adapter):
                    entries.append(Entry(own, replace(work, case=case), adapter))
        return entries

    def _load(self, row: Record, case: Case) -> Adapter | None:
        try:
            return adapters.load(case.framework)
        except adapters.Missing as missing:
            row = rows.of_case(row, case)
            self.keep(row, kind="case", status="missing", reason=str(missing))
            return None

    def _certified(self, row: Record, exams: list[Exam], adapter: Adapter) -> bool:
        """Examines the adapter and keeps the proof as rows; whether it may be timed."""
        name = rows.full_name(row)
        certificates = [self._attempt(row, partial(exam.certify, name, adapter)) for exam in exams]
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
        """What `work` returns; None where it failed, and then a row says why.

        This is the one place where what a framework throws becomes a row.
        """
        try:
            return work()
        except Unsupported as reason:
            self.keep(row, kind="case", status="unsupported", reason=str(reason))
        except UsageError:  # the rows cannot be written
            raise
        except Exception as error:  # noqa: BLE001 a framework may throw anything
            reason = f"{type(error).__name__}: {error}"
            self.keep(row, kind="case", status="failed", reason=reason)
        return None

    def _floor(self, row: Record, work: Workload) -> Entry | None:
        """The floor in the layout that is faster here, each timed once warm on the first step."""
        row = rows.of_case(row, replace(self.cell, framework=FLOOR))
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
        case = replace(self.cell, framework=FLOOR)
        return Entry(replace(row, layout=best), replace(work, case=case, layout=best), None)

    def _warn_of_dead_layers(self, row: Record, weights: ReferenceNetwork, few: Tensor) -> None:
        dead = dead_layers(weights, self.cell.network, few)
        if dead:
            reason = (
                f"dead layers under the {self.cell.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold"
            )
            self.keep(row, kind="warning", reason=reason)

    def _memory(self, entries: list[Entry]) -> Iterator[Step]:
        for n, each in enumerate(entries):
            done = MEMORY_FROM + (0.9 - MEMORY_FROM) * n / len(entries)
            yield Step(done, f"memory of {rows.full_name(each.row)}")
            measure = partial(
                memory.peak_mib, each.work, adapters.load, threads=torch.get_num_threads()
            )
            peak = self._attempt(each.row, measure)
            if peak is not None:
                self.keep(each.row, kind="memory", peak_memory_mib=round(peak, 1))

    def _ready(self, entry: Entry, weights: ReferenceNetwork) -> Contender | None:
        """The entry built with the cell's weights, and warmed up over the first steps."""
        if entry.adapter is None:
            return Contender(FLOOR, entry.row, floor_iteration(entry.work))
        on = self._attempt(
            entry.row, partial(training_iteration, entry.adapter, entry.work, weights)
        )
        if on is None:
            return None
        start = entry.work.first(WARMUP_STEPS)
        spent = self._attempt(entry.row, partial(timing.seconds, on(start), entry.work.device))
        if spent is None:
            return None
        self.keep(entry.row, kind="warmup", seconds=spent, steps=start.case.T)
        return Contender(rows.full_name(entry.row), entry.row, on(entry.work))


def _twin(bottom: Contender) -> Contender:
    """The floor under a second name: their ratio is noise, and all ratios rest on both."""
    return replace(bottom, name=f"{FLOOR} (again)", row=replace(bottom.row, twin=True))


def _second_run(work: Workload) -> float:
    """Seconds of the floor's second iteration; the first pays for what is set up once."""
    iteration = floor_iteration(work)
    iteration()
    return timing.seconds(iteration, work.device)
