"""Fig. 3 as a table: who takes how long, against the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from statistics import median

import pandas as pd

from harness.analysis.groups import grouped, machines
from harness.analysis.lines import COLUMNS, FEWEST_RANKED, Acceleration
from harness.analysis.proved import audits_of, exams_of, proof_of, shares_that_differ
from harness.analysis.ranks import placed
from harness.analysis.rounds import (
    Entrant,
    MachineCell,
    Rounds,
    cell_of,
    entrant_of,
    noise_of_runs,
)
from harness.records import (
    CertificateRow,
    DescentRow,
    IterationRow,
    MemoryRow,
    Row,
    UnmeasuredRow,
    WarmupRow,
)
from harness.spec import FLOOR, REFERENCE, paper
from harness.speed.ratios import Ratio, mean

__all__ = [
    "COLUMNS",
    "FEWEST_RANKED",
    "Acceleration",
    "acceleration",
    "acceleration_lines",
    "first_round",
    "table_of",
]


@dataclass(frozen=True)
class Beside:
    """What the lines of one machine's cells need beside the rows of their own."""

    noise: dict[str, Ratio | None]  # the A/A ratio of each run
    descents: tuple[DescentRow, ...]  # one says something of every cell


def acceleration(records: Iterable[Row]) -> pd.DataFrame:
    """Fig. 3 as a table: seconds per iteration and epoch, and their ratios to the floor."""
    return table_of(acceleration_lines(records))


def table_of(lines: Iterable[Acceleration]) -> pd.DataFrame:
    """Lines of the acceleration table as one."""
    content = [{name: getattr(line, name) for name in COLUMNS} for line in lines]
    return pd.DataFrame(content, columns=list(COLUMNS)).astype({"rank": "Int64"})


def acceleration_lines(
    records: Iterable[Row], among: Iterable[Row] | None = None
) -> list[Acceleration]:
    """The lines of the acceleration table: machine by machine in the paper's order of cells.

    Only seconds of the same round compare, so each run's lines of a cell stand together; they go
    where a later run has timed the same contenders, or more. Who lacks anything that a rank needs
    is listed last and has none.
    `among` are all rows of the runs where `records` are of some cells: a run's A/A is of all.
    """
    rows = [record for record in records if record.suite == "acceleration"]
    noise = noise_of_runs(rows if among is None else among)
    return [line for here in machines(rows).values() for line in _machine_lines(here, noise)]


def _machine_lines(here: list[Row], noise: dict[str, Ratio | None]) -> list[Acceleration]:
    descents = tuple(row for row in here if isinstance(row, DescentRow))
    beside = Beside(noise, descents)
    rows: list[Row] = [row for row in here if not isinstance(row, DescentRow)]
    cells = sorted(grouped(rows, cell_of).items(), key=_in_order)
    return [line for _, group in cells for line in _cell_lines(group, beside)]


def _in_order(item: tuple[MachineCell, list[Row]]) -> tuple[object, ...]:
    row = item[1][0]
    size = (row.network, row.neunorm or "", row.width, row.mode, row.device, row.T, row.batch_size)
    return paper.paper_order(row.dataset, row.scale), row.dataset, row.scale, *size, row.seed


def _cell_lines(group: list[Row], beside: Beside) -> list[Acceleration]:
    runs = grouped(group, lambda row: row.run)
    lines: list[Acceleration] = []
    for precision, rows in grouped(group, lambda row: row.precision).items():
        for run in _shown(rows):
            lines += _class_lines(runs[run], precision, beside)
    return lines


def _shown(rows: list[Row]) -> list[str]:
    """The runs of a cell and precision whose contenders no later run has all timed.

    The last is whose row was written last: a clock that ran ahead does not make a run the newest.
    """
    timed: dict[str, set[Entrant]] = {}  # the last written last
    for row in rows:
        if isinstance(row, IterationRow):
            timed[row.run] = {*timed.pop(row.run, ()), entrant_of(row)}
    if not timed:
        return [rows[-1].run]
    order = [run for run, who in timed.items() if any(each.framework != FLOOR for each in who)]
    order = order or [*timed][-1:]  # of floors alone the last
    return [
        run
        for n, run in enumerate(order)
        if not any(timed[run] <= timed[later] for later in order[n + 1 :])
    ]


def _class_lines(run: list[Row], precision: str, beside: Beside) -> list[Acceleration]:
    """A cell's lines in one precision of one run: the floor, the ranked, then the others."""
    rounds = Rounds.of(run)
    rows = [row for row in run if row.precision == precision]
    lines = [
        _line(key, group, rounds, beside.descents)
        for key, group in grouped(rows, entrant_of).items()
    ]
    return placed(lines, beside.noise.get(run[0].run))


def _line(
    key: Entrant, rows: list[Row], rounds: Rounds, descents: Sequence[DescentRow]
) -> Acceleration:
    line, seconds = _certified(_described(key, rows), rows, descents), rounds.seconds[key]
    ratio = rounds.ratio(seconds, rounds.floor(key.precision))
    exact = rounds.ratio(seconds, rounds.floor("fp32"))
    reference = rounds.seconds.get(Entrant(REFERENCE, "", key.precision), {})
    speedup = rounds.ratio(reference, seconds)
    noise = mean(rounds.again) if rounds.again else None
    per_iteration = median(seconds.values()) if seconds else nan
    return replace(
        line,
        seconds_per_iteration=per_iteration,
        seconds_per_epoch=per_iteration * (rows[-1].iterations_per_epoch or nan),
        ratio_to_floor=ratio.value if ratio else nan,
        ratio_low=ratio.low if ratio else nan,
        ratio_high=ratio.high if ratio else nan,
        interval=ratio.method if ratio else "",
        ratio_to_fp32_floor=exact.value if exact else nan,
        ratio_to_fp32_floor_low=exact.low if exact else nan,
        ratio_to_fp32_floor_high=exact.high if exact else nan,
        speedup_vs_reference=speedup.value if speedup else nan,
        speedup_low=speedup.low if speedup else nan,
        speedup_high=speedup.high if speedup else nan,
        rounds=len(seconds),
        part=_first(row.part for row in rows if isinstance(row, IterationRow)),
        first_over_second=seconds[1] / seconds[2] if {1, 2} <= seconds.keys() else nan,
        noise_low=noise.low if noise else nan,
        noise_high=noise.high if noise else nan,
    )


def _described(key: Entrant, rows: list[Row]) -> Acceleration:
    """Who it is, where it ran, and what was measured apart from the rounds."""
    last = rows[-1]
    warmups = [row for row in rows if isinstance(row, WarmupRow)]
    warmup = _first(row.seconds for row in warmups)
    compiled = _first(row.compile_seconds for row in warmups)
    peak = _first(row.peak_memory_mib for row in rows if isinstance(row, MemoryRow))
    return Acceleration(
        dataset=last.dataset,
        scale=last.scale,
        framework=key.framework,
        variant=key.variant,
        mode=last.mode,
        precision=last.precision,
        device=last.device,
        T=last.T,
        batch_size=last.batch_size,
        peak_memory_mib=peak,
        memory_note=_without_memory(rows) if isnan(peak) else "",
        protocol=_protocol(rows),
        warmup_seconds=warmup,
        compile_seconds=warmup if "compiled" in key.variant else compiled,
        network=last.network,
        neunorm=last.neunorm or "",
        width=last.width,
        seed=last.seed,
        layout=_first_text(row.layout for row in rows),
        computed=_first_text(row.computed for row in rows),
        implementation=_first_text(row.implementation for row in rows),
        allocator=last.allocator or "",
        data_source=_first_text(row.data_source for row in rows),
        simulated=any(row.data_simulated for row in rows),
        substitute=any(row.data_substitute for row in rows),
        threads=last.threads or 0,
        cpu=last.cpu or "",
        capability=last.capability or "",
        gpu=last.gpu or "",
        torch=last.torch or "",
        framework_version=last.framework_version or "",
        run=last.run,
    )


def _certified(line: Acceleration, rows: list[Row], descents: Sequence[DescentRow]) -> Acceleration:
    """The line with what was proved of it."""
    proof, exams, audits = proof_of(rows, descents), exams_of(rows), audits_of(rows)
    return replace(
        line,
        spike_rate=_first(row.spike_rate for row in rows if isinstance(row, CertificateRow)),
        certificate=proof.text,
        standing=proof.standing,
        proved=proof.precisions,
        lacks=proof.lacks,
        exam=min((row.exam for row in exams), default=0),
        exam_inputs=max((row.attempts or 0 for row in exams), default=0),
        audit=max((row.way for row in audits), default=""),  # a replay, where one was needed
        mismatch_rate=_mismatch_rate(rows),
        gradient_cosine=_gradient_cosine(rows),
    )


def _first(values: Iterable[float | None]) -> float:
    return next((value for value in values if value is not None), nan)


def _first_text(values: Iterable[str | None]) -> str:
    return next((value for value in values if value), "")


def _without_memory(rows: Iterable[Row]) -> str:
    found = (row for row in rows if isinstance(row, UnmeasuredRow) and row.figure == "memory")
    return _first_text(row.reason for row in found)


def _protocol(rows: Sequence[Row]) -> int:
    """The number its rounds were timed by; rows of before there was a second one do not say."""
    timed = [row for row in rows if isinstance(row, IterationRow)] or rows
    return timed[-1].protocol or 1


def _mismatch_rate(rows: Sequence[Row]) -> float:
    """Spikes that differ in the precision that was timed: by its audits, else by its exam."""
    audits = audits_of(rows)
    if audits:
        return sum(shares_that_differ(audits))
    for row in exams_of(rows):
        if row.certificate_precision == row.precision and row.spikes:
            return (row.mismatches or 0) / row.spikes
    return nan


def _gradient_cosine(rows: Sequence[Row]) -> float:
    """The lowest over the layers: by its audits, else by its exam, where spikes run freely.

    An audit of inference has none.
    """
    exams = [row for row in rows if isinstance(row, CertificateRow)]
    found = [row.gradient_cosine for row in audits_of(rows) or exams]
    return min((each for each in found if each is not None), default=nan)


def first_round(records: Iterable[Row]) -> pd.DataFrame:
    """Of each contender the seconds of the first round over the second: the geometric mean over
    cells with its interval, and their number. Far from 1, its warm-up is in its figures.
    """
    lines = [line for line in acceleration_lines(records) if not isnan(line.first_over_second)]
    groups: dict[tuple[str, int, str], list[float]] = {}
    for line in lines:
        key = (str(line.place), line.protocol, line.name)
        groups.setdefault(key, []).append(line.first_over_second)
    means = {key: mean(values) for key, values in groups.items()}
    content = [(*key, each.value, each.low, each.high, each.rounds) for key, each in means.items()]
    names = ("machine", "protocol", "contender", "first_over_second", "low", "high", "n")
    return pd.DataFrame(content, columns=list(names))
