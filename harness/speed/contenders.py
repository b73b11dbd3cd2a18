"""Who is timed in a cell: contenders proved equal, built and warmed up, and the floors below."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

import adapters
from harness.adapter import Adapter, Variant
from harness.proof import certificate
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam
from harness.records import Record, WarmupRow, WarningRow
from harness.reference.initialise import dead_layers, initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import FLOOR, Case, Network, Precision
from harness.speed import floor
from harness.speed.attempt import Attempts
from harness.speed.iteration import Workload, floor_iteration, iteration
from harness.system import allocator, clock, footprint

WARMUP_STEPS = 2
CALIBRATION_SAMPLES = 4


class Doing(NamedTuple):
    """How far the preparation of a cell is, in [0, 1], and what is done."""

    fraction: float
    what: str


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
    twin: bool = False  # the second name of the floor


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


@dataclass(frozen=True)
class Contenders:
    """The contenders of one cell on their way into its rounds."""

    cell: Case
    group: tuple[Case, ...]
    attempts: Attempts
    row_of: Callable[[Case], Record]  # what every row of a case says

    def prove(self, work: Workload) -> Generator[Doing, None, list[Entry]]:
        """The contenders that may be timed: proved equal, or known not to be and marked."""
        exams = Exams(self.cell.network, work.batch(), self.cell.seed)
        entries = []
        for n, case in enumerate(self.group):
            yield Doing(0.7 * n / len(self.group), f"certificate of {self.name(case)}")
            row = self.row_of(case)
            adapter = self._load(row, case)
            if adapter is not None and self._certified(row, case, adapter, exams):
                entries.append(Entry(row, replace(work, case=case), adapter))
        return entries

    def name(self, case: Case) -> str:
        """The case's name among the contenders; the cell's own precision is not said."""
        mixed = case.precision != self.cell.precision
        return case.framework + (f" ({case.precision})" if mixed else "")

    def _load(self, row: Record, case: Case) -> Adapter | None:
        try:
            return adapters.load(case.framework)
        except adapters.Missing as missing:
            self.attempts.end(row, "missing", str(missing))
            return None

    def _certified(self, row: Record, case: Case, adapter: Adapter, exams: Exams) -> bool:
        """Examines the adapter and keeps the proof as rows; whether it may be timed."""
        failures: list[str] = []
        proofs = []
        for precision in certificate.required(case.precision):
            examine = partial(exams.certify, case.framework, adapter, precision)
            proof = self.attempts.attempt(row, examine)
            if proof is None:
                return False
            proofs.append(proof)
            failures += proof.failures
        for proof in proofs:
            for each in certificate.rows_of(row, proof):
                self.attempts.keep(each)
        if failures and not adapter.DEVIATIONS:
            self.attempts.end(row, "not comparable", failures[0])
            return False
        return True

    def floors(self, work: Workload, entries: list[Entry]) -> list[Entry]:
        """A floor for each precision that is timed, the cell's own first."""
        if not entries:
            return []
        floors = [
            self._floor(work, case)
            for case in floor_cases(self.cell, (entry.work.case for entry in entries))
        ]
        return [each for each in floors if each is not None]

    def _floor(self, work: Workload, case: Case) -> Entry | None:
        """The floor in the layout that is faster here, each timed once warm on the first step."""
        row = self.row_of(case)
        work = replace(work, case=case)
        spent: dict[floor.Layout, float] = {}
        for layout in floor.LAYOUTS:
            start = replace(work.first(1), layout=layout)
            seconds = self.attempts.attempt(row, partial(_second_run, start))
            if seconds is None:
                return None
            spent[layout] = seconds
            self._warmed(replace(row, layout=layout), seconds, start)
        best = min(spent, key=lambda layout: spent[layout])
        return Entry(replace(row, layout=best), replace(work, layout=best), None)

    def ready(self, work: Workload, entries: list[Entry]) -> list[Contender]:
        """The entries built with the cell's weights and warmed up; without those that fail."""
        few = work.first(self.cell.T, CALIBRATION_SAMPLES).batch()
        weights = initialised(
            self.cell.network, few, seed=self.cell.seed, scheme=self.cell.initialisation
        )
        self._warn_of_dead_layers(self.row_of(self.group[0]), weights, few)
        if self.cell.device == "cpu":
            allocator.reserve(footprint.iteration_mib(self.cell))
        built = [self._ready(entry, weights) for entry in entries]
        return [each for each in built if each is not None]

    def _warn_of_dead_layers(self, row: Record, weights: ReferenceNetwork, few: Tensor) -> None:
        dead = dead_layers(weights, self.cell.network, few)
        if dead:
            reason = (
                f"dead layers under the {self.cell.initialisation} initialisation: "
                f"{', '.join(dead)}; they cannot learn: use --init calibrated or a lower threshold"
            )
            self.attempts.keep(WarningRow(**vars(row), reason=reason))

    def _ready(self, entry: Entry, weights: ReferenceNetwork) -> Contender | None:
        """The entry built with the cell's weights, and warmed up over the first steps."""
        name = self.name(entry.work.case)
        if entry.adapter is None:
            return Contender(name, entry.row, floor_iteration(entry.work), None)
        build = partial(iteration, entry.adapter, entry.work, weights)
        on = self.attempts.attempt(entry.row, build)
        if on is None:
            return None
        # what is compiled is compiled for one shape
        start = entry.work if is_compiled(entry) else entry.work.first(WARMUP_STEPS)
        once = partial(clock.seconds, on(start), entry.work.device)
        spent = self.attempts.attempt(entry.row, once)
        if spent is None:
            return None
        self._warmed(entry.row, spent, start)
        return Contender(name, entry.row, on(entry.work), entry.adapter)

    def _warmed(self, row: Record, seconds: float, start: Workload) -> None:
        self.attempts.keep(WarmupRow(**vars(row), seconds=seconds, steps=start.case.T))


def floor_cases(cell: Case, cases: Iterable[Case]) -> list[Case]:
    """The floor in each precision of the cases, the cell's own first."""
    others: set[Precision] = {case.precision for case in cases}
    precisions: list[Precision] = [cell.precision, *sorted(others - {cell.precision})]
    return [replace(cell, framework=FLOOR, precision=precision) for precision in precisions]


def is_compiled(entry: Entry) -> bool:
    """Whether the entry's adapter compiles what it runs."""
    return isinstance(entry.adapter, Variant) and entry.adapter.compiled


def _second_run(work: Workload) -> float:
    """Seconds of the floor's second iteration; the first pays for what is set up once."""
    run = floor_iteration(work)
    run()
    return clock.seconds(run, work.device)
