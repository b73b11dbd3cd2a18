"""Fig. 3 as a table: who takes how long, against the floor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import inf, isnan, nan
from statistics import median

import pandas as pd

from harness.analysis.groups import grouped, machines
from harness.analysis.rounds import Entrant, MachineCell, Rounds, cell_of, entrant_of, last_run
from harness.records import CertificateRow, EndedRow, MemoryRow, Row, WarmupRow
from harness.records.identity import EXAM
from harness.records.record import Place
from harness.spec import FLOOR, REFERENCE, contender, paper


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """A line of the acceleration table: a contender in a cell. Its fields are the columns.

    A figure of the rounds is NaN, and an interval's method empty, where there were none.
    """

    dataset: str
    scale: str
    framework: str
    variant: str
    mode: str
    precision: str
    device: str
    T: int
    batch_size: int
    rank: int | None = None  # by ratio to the floor, among the certified of the cell and precision
    seconds_per_iteration: float = nan  # median over the rounds
    seconds_per_epoch: float = nan  # that times the iterations of an epoch
    ratio_to_floor: float = nan  # of the same precision; median over the rounds
    ratio_low: float = nan
    ratio_high: float = nan
    interval: str = ""  # how it was made: bootstrap, blocks or none (speed/ratios.py)
    ratio_to_fp32_floor: float = nan
    speedup_vs_reference: float = nan  # of the same precision
    peak_memory_mib: float
    spike_rate: float
    certificate: str
    proved: tuple[str, ...]  # the precisions it was proved equal in; no column
    mismatch_rate: float  # spikes that differ, of those compared, in this precision
    gradient_cosine: float  # to float32's, the lowest over the layers; of bf16 alone
    rounds: int = 0
    warmup_seconds: float
    noise_low: float = nan  # interval of the A/A ratio of the cell
    noise_high: float = nan
    network: str
    neunorm: str
    width: str
    seed: int
    layout: str
    implementation: str
    data_source: str
    threads: int
    cpu: str
    capability: str  # the instructions that torch used
    gpu: str
    torch: str
    framework_version: str
    run: str
    reason: str

    @property
    def place(self) -> Place:
        """The machine it was timed on."""
        return Place(self.cpu, self.capability, self.gpu, self.threads)

    @property
    def cell(self) -> tuple[object, ...]:
        """What it was timed in, with whom it may be compared."""
        size = (self.dataset, self.scale, self.network, self.neunorm, self.width, self.seed)
        return self.place, *size, self.mode, self.device, self.T, self.batch_size

    @property
    def of_figure_3(self) -> bool:
        """Whether it is of the cells of Fig. 3: full width, T = 10, no NeuNorm, no variant."""
        usual = (self.mode, self.T, self.width) == ("training", 10, "1")
        return usual and not self.neunorm and not self.variant

    @property
    def name(self) -> str:
        """The contender in a word: "norse:compiled bf16"; float32 is not said."""
        form = contender(self.framework, self.variant)
        return form if self.precision == "fp32" else f"{form} {self.precision}"


COLUMNS = tuple(field.name for field in fields(Acceleration) if field.name != "proved")


def acceleration(records: Iterable[Row]) -> pd.DataFrame:
    """Fig. 3 as a table: seconds per iteration and epoch, and their ratios to the floor."""
    return table_of(acceleration_lines(records))


def table_of(lines: Iterable[Acceleration]) -> pd.DataFrame:
    """Lines of the acceleration table as one."""
    content = [{name: getattr(line, name) for name in COLUMNS} for line in lines]
    return pd.DataFrame(content, columns=list(COLUMNS)).astype({"rank": "Int64"})


def acceleration_lines(records: Iterable[Row]) -> list[Acceleration]:
    """The lines of the acceleration table: machine by machine in the paper's order of cells.

    A cell's figures in one precision come from the last run that timed it, since only seconds of
    the same round compare. Who is not certified is listed last and has no rank.
    """
    rows = (record for record in records if record.suite == "acceleration")
    return [
        line
        for here in machines(rows).values()
        for cell, group in sorted(grouped(here, cell_of).items(), key=_in_order)
        for line in _cell_lines(group)
    ]


def _in_order(item: tuple[MachineCell, list[Row]]) -> tuple[object, ...]:
    row = item[1][0]
    size = (row.network, row.neunorm or "", row.width, row.mode, row.device, row.T, row.batch_size)
    return paper.paper_order(row.dataset, row.scale), row.dataset, row.scale, *size, row.seed


def _cell_lines(group: list[Row]) -> list[Acceleration]:
    runs = grouped(group, lambda row: row.run)
    lines: list[Acceleration] = []
    for precision, rows in grouped(group, lambda row: row.precision).items():
        last = last_run(rows)
        lines += _class_lines(last, Rounds.of(runs[last[0].run]), precision)
    return lines


def _class_lines(rows: list[Row], rounds: Rounds, precision: str) -> list[Acceleration]:
    """A cell's lines in one precision, the floor first, then the ranked, then the others."""
    rows = [row for row in rows if row.precision == precision]
    lines = [_line(key, group, rounds) for key, group in grouped(rows, entrant_of).items()]
    ranked = sorted(
        (line for line in lines if _is_ranked(line)), key=lambda line: line.ratio_to_floor
    )
    floor = [line for line in lines if line.framework == FLOOR]
    others = [line for line in lines if not _is_ranked(line) and line.framework != FLOOR]
    others.sort(key=lambda line: inf if isnan(line.ratio_to_floor) else line.ratio_to_floor)
    placed = [replace(line, rank=rank) for rank, line in enumerate(ranked, 1)]
    return [*floor, *placed, *others]


def _is_ranked(line: Acceleration) -> bool:
    return bool(line.proved) and not isnan(line.ratio_to_floor)


def _line(key: Entrant, rows: list[Row], rounds: Rounds) -> Acceleration:
    seconds, line = rounds.seconds[key], _described(key, rows)
    ratio = rounds.ratio(seconds, rounds.floor(key.precision))
    exact = rounds.ratio(seconds, rounds.floor("fp32"))
    reference = rounds.seconds.get(Entrant(REFERENCE, "", key.precision), {})
    speedup = rounds.ratio(reference, seconds)
    noise = rounds.ratio(rounds.twin[1], rounds.twin[0])
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
        speedup_vs_reference=speedup.value if speedup else nan,
        rounds=len(seconds),
        noise_low=noise.low if noise else nan,
        noise_high=noise.high if noise else nan,
    )


def _described(key: Entrant, rows: list[Row]) -> Acceleration:
    """All but what comes of the rounds: who it is, where it ran, and what was proved of it."""
    last, proof = rows[-1], _proof(rows)
    proofs = [row for row in rows if isinstance(row, CertificateRow)]
    cosines = [row.gradient_cosine for row in proofs if row.gradient_cosine is not None]
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
        peak_memory_mib=_first(row.peak_memory_mib for row in rows if isinstance(row, MemoryRow)),
        spike_rate=_first(row.spike_rate for row in proofs),
        certificate=proof.text,
        proved=proof.precisions,
        mismatch_rate=_mismatch_rate(proofs),
        gradient_cosine=min(cosines, default=nan),
        warmup_seconds=_first(row.seconds for row in rows if isinstance(row, WarmupRow)),
        network=last.network,
        neunorm=last.neunorm or "",
        width=last.width,
        seed=last.seed,
        layout=last.layout or "",
        implementation=last.implementation or "",
        data_source=_first_text(row.data_source for row in rows),
        threads=last.threads or 0,
        cpu=last.cpu or "",
        capability=last.capability or "",
        gpu=last.gpu or "",
        torch=last.torch or "",
        framework_version=last.framework_version or "",
        run=last.run,
        reason=proof.reason,
    )


def _first(values: Iterable[float | None]) -> float:
    return next((value for value in values if value is not None), nan)


def _first_text(values: Iterable[str | None]) -> str:
    return next((value for value in values if value), "")


def _mismatch_rate(proofs: list[CertificateRow]) -> float:
    """Spikes that differ in the precision that was timed, of all compared."""
    for row in proofs:
        if row.certificate_precision == row.precision and row.layer is None and row.spikes:
            return (row.mismatches or 0) / row.spikes
    return nan


@dataclass(frozen=True)
class Proof:
    """What a contender's proof came to."""

    text: str
    precisions: tuple[str, ...] = ()  # in which it was proved equal
    reason: str = ""  # where it is not equal


def _proof(rows: list[Row]) -> Proof:
    if rows[0].framework == FLOOR:
        return Proof("")
    ends = [row for row in rows if isinstance(row, EndedRow)]
    if ends:
        status, reason = ends[-1].status, ends[-1].reason
        if status == "not comparable":
            reason = f"{status}: {reason}"
        return Proof("not installed" if status == "missing" else status, reason=reason)
    if rows[-1].deviations:
        return Proof("not the paper's function", reason=rows[-1].deviations)
    proofs = [row for row in rows if isinstance(row, CertificateRow) and row.layer is None]
    if any(row.exam != EXAM for row in proofs):
        return Proof("none", reason="it was proved by an older exam: harness run --fresh")
    if not proofs or not all(row.certified for row in proofs):
        return Proof("none")
    exact = tuple(p for row in proofs if (p := row.certificate_precision) != "bf16")
    return Proof(f"equal ({'+'.join(exact)})", exact)
