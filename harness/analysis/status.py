"""What of the suites is done, what failed, what is missing, and about how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import nan
from statistics import median
from typing import Literal

from harness.analysis.groups import grouped
from harness.analysis.speed import cell_of
from harness.analysis.verify import network_of
from harness.records import Record, build
from harness.spec import Case
from harness.speed import schedule
from harness.system.facts import Machine
from harness.training import trial

State = Literal["done", "dated", "failed", "left out", "missing"]
TESTING = 1.25  # what a training takes for each second of its passes, about: the rest tests


@dataclass(frozen=True)
class Standing:
    """How a suite stands on one data set: numbers of cases."""

    suite: str
    dataset: str
    done: int
    dated: int  # there are rows of other code, versions or, of timings, another machine
    failed: int
    left_out: int  # the framework is not here, or cannot express the network
    missing: int
    seconds_left: float  # about; nan where nothing tells


def standings(cases: Iterable[Case], records: Sequence[Record], here: Machine) -> list[Standing]:
    """How cases stand, by suite and data set, in their order."""
    at = grouped(records, _spot)
    by: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        by.setdefault((case.suite, case.dataset), []).append(case)
    found = []
    for (suite, dataset), own in by.items():
        states = [state(case, at.get(spot_of(case), []), here) for case in own]
        left = [
            case
            for case, each in zip(own, states, strict=True)
            if each in ("dated", "failed", "missing")
        ]
        told = [row for row in records if row.suite == suite]
        found.append(
            Standing(
                suite,
                dataset,
                states.count("done"),
                states.count("dated"),
                states.count("failed"),
                states.count("left out"),
                states.count("missing"),
                _seconds(left, told, records),
            )
        )
    return found


def state(case: Case, own: Sequence[Record], here: Machine) -> State:
    """How one case stands, from the rows of its spot."""
    results = [row for row in own if row.kind in ("trained", "timed")]
    if any(_is_current(row, case, here) for row in results):
        return "done"
    ended = [row for row in own if row.kind == "case"]
    last = max((*results, *ended), key=lambda row: row.time, default=None)
    if last is None:
        timed_once = any(row.kind == "iteration" for row in own)
        return "dated" if timed_once else "missing"
    if last.kind == "case":
        return "failed" if last.status == "failed" else "left out"
    return "dated"


def _is_current(row: Record, case: Case, here: Machine) -> bool:
    now = build.of_case(row, case)
    same = (row.code, row.framework_version, row.torch) == (
        now.code,
        now.framework_version,
        here.torch,
    )
    if case.training is not None:
        return same
    place = (row.cpu, row.cores, row.threads, row.gpu)
    return same and place == (here.cpu, here.cores, here.threads, here.gpu)


Spot = tuple[object, ...]


def spot_of(case: Case) -> Spot:
    """What tells a case from the others, as far as its rows say it."""
    training = case.training
    framework, _, variant = case.framework.partition(":")
    return (
        *(case.suite, case.dataset, str(case.network), str(case.width), framework, variant or None),
        case.network.neunorm.reading if case.network.neunorm else None,
        *(case.T, case.batch_size, case.precision, case.device, case.seed, case.initialisation),
        *(case.mode, training.epochs if training else None),
        case.network.dropout if training else None,
    )


def _spot(row: Record) -> Spot:
    return (
        *(row.suite, row.dataset, row.network, row.width, row.framework, row.variant),
        row.neunorm,
        *(row.T, row.batch_size, row.precision, row.device, row.seed, row.initialisation),
        *(row.mode, row.epochs, row.dropout),
    )


def _seconds(left: Sequence[Case], told: Sequence[Record], records: Sequence[Record]) -> float:
    """What the cases that are left take, about, by what others took."""
    if not left:
        return 0.0
    if left[0].training is None:
        return _timing_seconds(left, told)
    trained = [row for row in told or records if row.kind == "trained"]
    paces = [row.seconds / _work(row) for row in trained if row.seconds]
    if not paces:
        return nan
    return TESTING * median(paces) * sum(map(trial.weight, left))


def _work(row: Record) -> float:
    """`trial.weight` of the case a row is of."""
    samples = (row.train_samples or 0) + (row.validation_samples or 0)
    return float(network_of(row).macs * row.T * (row.epochs or 1) * samples)


def _timing_seconds(left: Sequence[Case], told: Sequence[Record]) -> float:
    """A share of the longest run, by its cells."""
    spans = [
        (_span(own), len(grouped(own, cell_of)))
        for own in grouped(told, lambda row: row.run).values()
    ]
    if not spans:
        return nan
    seconds, cells = max(spans)
    return seconds * len(schedule.cells(tuple(left))) / max(1, cells)


def _span(own: Sequence[Record]) -> float:
    times = [datetime.fromisoformat(row.time) for row in own]
    return (max(times) - min(times)).total_seconds()
