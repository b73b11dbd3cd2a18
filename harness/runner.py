"""Cases and adapters in, records out: proves every contender, then times them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from secrets import token_hex
from typing import Any

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
    networks,
    timing,
)
from harness.adapter import Adapter, Unsupported
from harness.certificate import Certificate, Exam
from harness.records import Record, Store
from harness.reference.initialise import dead_layers, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import Allocator, Case, Source, UsageError
from harness.workload import Workload, floor_iteration, training_iteration

FLOOR = "floor"
WITHIN = 0.05  # half the interval, relative, at which a ratio is known well enough
FEWEST_ROUNDS, MOST_ROUNDS = 2, 10  # ten as in the paper; two where the budget is spent
CONVERGED_ROUNDS = 3  # an interval of two rounds is not trusted to stop on
WARMUP_STEPS = 2
CALIBRATION_SAMPLES = 4
# What a cell takes whatever its size (proofs, processes), as work that takes about as long.
OVERHEAD_MACS = 2e10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run may spend, and where its data is."""

    budget: float  # seconds, for all cells together; infinite: MOST_ROUNDS everywhere
    data_root: Path
    least: float = 0.0  # seconds of rounds that each cell gets even so
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    allocator: Allocator = "keep"


@dataclass(frozen=True)
class Progress:
    """How far a cell is: `fraction` of its work, and what is being done."""

    cell: Case
    fraction: float
    doing: str


@dataclass(frozen=True)
class Measured:
    """A cell that is done: what its cases share (of no framework), and all its rows."""

    cell: Case
    rows: tuple[Record, ...]


Event = Progress | Measured


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


def cells(cases: tuple[Case, ...]) -> dict[Case, tuple[Case, ...]]:
    """Cases that are timed together, by what they share."""
    grouped: dict[Case, list[Case]] = {}
    for case in cases:
        grouped.setdefault(replace(case, framework=""), []).append(case)
    return {cell: tuple(group) for cell, group in grouped.items()}


def weight(cell: Case) -> float:
    """A cell's share of the work, in multiply-accumulates of one forward pass."""
    return float(cell.network.macs * cell.T * cell.batch_size) + OVERHEAD_MACS


def run(cases: tuple[Case, ...], store: Store, plan: Plan) -> Iterator[Event]:
    """Measures all cases, keeps each row as it comes, and says how far it is.

    A case that fails becomes a row with its reason; the others go on. Raises UsageError where rows
    cannot be written.
    """
    kept = allocator.choose(plan.allocator)
    memory.PRELOAD[:] = [
        f"adapters.{name}" for name in {c.framework.partition(":")[0] for c in cases}
    ]
    grouped = cells(cases)
    deadline = timing.Deadline.after(plan.budget)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"
    left = sum(map(weight, grouped))
    for cell, group in grouped.items():
        # what an easy cell leaves of its share goes to those after it
        share = deadline.left * weight(cell) / left
        left -= weight(cell)
        bench = Bench(
            _base_row(cell, run_id, kept), store, plan, timing.Deadline.after(share), cell
        )
        yield from bench.measure(group)
        yield Measured(cell, tuple(bench.rows))


@dataclass
class Bench:
    """One cell at work: where its rows go, and what it may still spend."""

    row: Record  # what every row of the cell says
    store: Store
    plan: Plan
    deadline: timing.Deadline
    cell: Case
    rows: list[Record] = field(default_factory=list)

    def keep(self, row: Record, **measured: object) -> None:
        """Stores a row with what was measured, and the state of the machine beside it."""
        state = asdict(machine.moment())
        full = replace(row, time=_now(), **state, **measured)  # type: ignore[arg-type]
        self.store.append(full)
        self.rows.append(full)

    def measure(self, group: tuple[Case, ...]) -> Iterator[Progress]:
        """Proves the cell's contenders, times them in rounds, and measures their memory."""
        yield Progress(self.cell, 0.0, "data")
        row = self.row
        try:
            batch = datasets.load_batch(
                datasets.Request(
                    dataset=self.cell.dataset,
                    T=self.cell.T,
                    batch_size=self.cell.batch_size,
                    seed=self.cell.seed,
                    root=self.plan.data_root,
                    download=self.cell.dataset in self.plan.download,
                )
            )
        except UsageError as error:
            for case in group:
                self.keep(_row_of(row, case), kind="case", status="failed", reason=str(error))
            return
        row = replace(row, **_data_fields(batch.source))
        work = Workload.of(self.cell, batch.inputs, batch.labels)
        entries = yield from self._prove(row, work, group)
        bottom = self._floor(row, work) if entries else None
        if bottom is None:
            return
        yield from self._memory(entries)
        few = work.first(self.cell.T, CALIBRATION_SAMPLES).batch()
        weights = initialised(
            self.cell.network, few, seed=self.cell.seed, scheme=self.cell.initialisation
        )
        self._warn_of_dead_layers(row, weights, few)
        if self.device.type == "cpu":
            peaks = [row.peak_memory_mib or 0.0 for row in self.rows]
            allocator.reserve(max(peaks, default=0.0))
        ready = [self._ready(entry, weights) for entry in [*entries, bottom]]
        contenders = [each for each in ready if each is not None]
        if len(contenders) > 1:
            yield from self._time([*contenders, _twin(contenders[-1])])

    def _prove(
        self, row: Record, work: Workload, group: tuple[Case, ...]
    ) -> Generator[Progress, None, list[Entry]]:
        """The contenders that may be timed: proved equal, or known not to be and marked."""
        exams = [
            Exam(self.cell.network, work.batch(), precision, self.cell.seed)
            for precision in certificate.required(self.cell.precision)
        ]
        entries = []
        for n, case in enumerate(group):
            yield Progress(self.cell, 0.1 * n / len(group), f"certificate of {case.framework}")
            adapter = self._load(row, case)
            if adapter is not None:
                entry = Entry(_row_of(row, case, adapter), replace(work, case=case), adapter)
                if self._certified(entry.row, exams, adapter):
                    entries.append(entry)
        return entries

    def _load(self, row: Record, case: Case) -> Adapter | None:
        try:
            return adapters.load(case.framework)
        except adapters.Missing as missing:
            self.keep(_row_of(row, case), kind="case", status="missing", reason=str(missing))
            return None

    def _certified(self, row: Record, exams: list[Exam], adapter: Adapter) -> bool:
        """Examines the adapter and keeps the proof as rows; whether it may be timed."""
        name = full_name(row)
        certificates = [self._attempt(row, partial(exam.certify, name, adapter)) for exam in exams]
        if None in certificates:
            return False
        held = [proof for proof in certificates if proof is not None]
        for proof in held:
            for fields in certificate_fields(proof):
                self.keep(row, kind="certificate", **fields)
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
        row = _row_of(row, replace(self.cell, framework=FLOOR))
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

    def _memory(self, entries: list[Entry]) -> Iterator[Progress]:
        for n, each in enumerate(entries):
            done = 0.1 + 0.3 * n / len(entries)
            yield Progress(self.cell, done, f"memory of {full_name(each.row)}")
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
        start = _start(entry.work)
        spent = self._attempt(entry.row, partial(timing.seconds, on(start), entry.work.device))
        if spent is None:
            return None
        self.keep(entry.row, kind="warmup", seconds=spent, steps=start.case.T)
        return Contender(full_name(entry.row), entry.row, on(entry.work))

    def _time(self, contenders: list[Contender]) -> Iterator[Progress]:
        """Rounds of all contenders until the ratios are known well enough or the share is spent."""
        order = random.Random(self.cell.seed)
        seconds: dict[str, list[float]] = {each.name: [] for each in contenders}
        running = {each.name: partial(self._once, each, seconds) for each in contenders}
        for number, measured in enumerate(timing.rounds(running, self.device, order), 1):
            for each in contenders:
                if each.name in seconds:
                    seconds[each.name].append(measured[each.name])
                    self.keep(each.row, kind="iteration", round=number, seconds=measured[each.name])
            done = min(1.0, number / MOST_ROUNDS)
            yield Progress(self.cell, 0.4 + 0.6 * done, f"round {number}")
            if self._enough(seconds, number):
                return

    def _once(self, contender: Contender, running: dict[str, list[float]]) -> None:
        """One iteration; who fails in it runs no more."""
        if (
            contender.name in running
            and self._attempt(contender.row, lambda: (contender.run(),)) is None
        ):
            del running[contender.name]

    @property
    def device(self) -> torch.device:
        return torch.device(self.cell.device)

    def _enough(self, seconds: dict[str, list[float]], number: int) -> bool:
        if FLOOR not in seconds or len(seconds) < 3:  # nothing to compare is left
            return True
        if number < FEWEST_ROUNDS:
            return False
        if number >= MOST_ROUNDS:
            return True
        last = sum(values[-1] for values in seconds.values())
        if self.deadline.left < last and number * last > self.plan.least:
            return True
        noise = intervals.spread(list(seconds.values()))
        ratios = [intervals.ratio(each, seconds[FLOOR], noise) for each in seconds.values()]
        known = all(ratio.half_width <= WITHIN for ratio in ratios)
        return known and number >= CONVERGED_ROUNDS and isfinite(self.plan.budget)


def _twin(bottom: Contender) -> Contender:
    """The floor under a second name: their ratio is noise, and all ratios rest on both."""
    return replace(bottom, name=f"{FLOOR} (again)", row=replace(bottom.row, twin=True))


def _second_run(work: Workload) -> float:
    """Seconds of the floor's second iteration; the first pays for what is set up once."""
    iteration = floor_iteration(work)
    iteration()
    return timing.seconds(iteration, work.device)


def full_name(row: Record) -> str:
    """A row's framework with its variant, as `adapters.load` takes it."""
    return row.framework + (f":{row.variant}" if row.variant else "")


def certificate_fields(proof: Certificate) -> Iterator[dict[str, object]]:
    """A certificate as the fields of its rows: the outcome, then one of each layer."""
    first = proof.divergence
    shared = {"certificate_precision": proof.precision, "certified": proof.passed}
    yield {
        **shared,
        "reason": "; ".join(proof.failures) or None,
        "spike_rate": proof.spike_rate,
        "spikes": proof.spikes,
        "mismatches": proof.mismatches,
        "gradient_error": _finite(proof.gradient_error),
        "first_step": first.step if first else None,
        "first_layer": first.layer if first else None,
        "threshold_distance": first.distance if first else None,
        "attempts": proof.attempts,
    }
    for layer in proof.layers:
        yield {
            **shared,
            "layer": layer.layer,
            "spike_rate": layer.rate,
            "spikes": layer.spikes,
            "mismatches": layer.mismatches,
            "gradient_error": _finite(layer.gradient_error),
            "gradient_cosine": _finite(layer.gradient_cosine),
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None  # JSON has no NaN


def _start(work: Workload) -> Workload:
    return work.first(WARMUP_STEPS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _base_row(cell: Case, run_id: str, kept: str) -> Record:
    """What every row of a cell says, before its framework and data are known."""
    settings = networks.settings(cell.dataset)
    return Record(
        run=run_id,
        time=_now(),
        kind="case",
        suite=cell.suite,
        dataset=cell.dataset,
        scale=cell.scale,
        network=str(cell.network),
        neunorm=cell.network.neunorm.reading if cell.network.neunorm else None,
        width=str(cell.width),
        framework=cell.framework,
        T=cell.T,
        batch_size=cell.batch_size,
        precision=cell.precision,
        device=cell.device,
        seed=cell.seed,
        initialisation=cell.initialisation,
        allocator=kept,
        iterations_per_epoch=settings.iterations_per_epoch(cell.batch_size),
        **asdict(machine.describe(torch.device(cell.device))),
    )


def _row_of(row: Record, case: Case, adapter: Adapter | None = None) -> Record:
    framework, _, variant = case.framework.partition(":")
    return replace(
        row,
        framework=framework,
        variant=variant or None,
        deviations="; ".join(adapter.DEVIATIONS) or None if adapter else None,
        framework_version=adapters.version(framework),
    )


def _data_fields(source: Source) -> dict[str, Any]:
    return {
        "data_source": source.description,
        "data_sha256": source.sha256,
        "data_samples": source.samples,
        "data_partial": source.partial,
        "data_lossy": source.lossy,
        "data_simulated": source.simulated,
        "data_substitute": source.substitute,
        "data_note": source.note or None,
    }
