"""Fig. 3 as a table: who takes how long, against the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import inf, isnan, nan, sqrt
from statistics import median
from typing import NamedTuple

import pandas as pd

from harness.analysis.groups import grouped
from harness.records import Record
from harness.spec import FLOOR, REFERENCE, paper
from harness.speed import ratios


class Cell(NamedTuple):
    """What is measured together and may be compared."""

    dataset: str
    scale: str
    network: str
    neunorm: str
    width: str
    mode: str
    device: str
    T: int
    batch_size: int
    seed: int


class Contender(NamedTuple):
    """Who is compared in a cell; ranks are among those of one precision."""

    framework: str
    variant: str
    precision: str


@dataclass(frozen=True)
class Acceleration:
    """A line of the acceleration table: a contender in a cell. Its fields are the columns."""

    dataset: str
    scale: str
    framework: str
    variant: str
    mode: str
    precision: str
    device: str
    T: int
    batch_size: int
    rank: int | None  # by ratio to the floor, among the certified of the cell and precision
    seconds_per_iteration: float  # median over the rounds
    seconds_per_epoch: float  # that times the iterations of an epoch
    ratio_to_floor: float  # of the same precision; median over the rounds
    ratio_low: float
    ratio_high: float
    interval: str  # how it was made: bootstrap, blocks or none (ratios.py)
    ratio_to_fp32_floor: float
    speedup_vs_reference: float  # of the same precision
    peak_memory_mib: float
    spike_rate: float
    certificate: str
    mismatch_rate: float  # spikes that differ, of those compared, in this precision
    gradient_cosine: float  # to float32's, the lowest over the layers; of bf16 alone
    rounds: int
    warmup_seconds: float
    noise_low: float  # interval of the A/A ratio of the cell
    noise_high: float
    network: str
    neunorm: str
    width: str
    seed: int
    layout: str
    implementation: str
    data_source: str
    threads: int
    cpu: str
    gpu: str
    torch: str
    framework_version: str
    run: str
    reason: str

    @property
    def of_figure_3(self) -> bool:
        """Whether it is of the cells of Fig. 3: full width, T = 10, no NeuNorm, no variant."""
        own = (self.mode, self.T, self.width) == ("training", 10, "1")
        return own and not self.neunorm and not self.variant

    @property
    def name(self) -> str:
        """The contender in a word: "norse:compiled bf16"; float32 is not said."""
        variant = f":{self.variant}" if self.variant else ""
        return self.framework + variant + ("" if self.precision == "fp32" else f" {self.precision}")


def cell_of(row: Record) -> Cell:
    """The cell that a row belongs to."""
    return Cell(
        row.dataset,
        row.scale,
        row.network,
        row.neunorm or "",
        row.width,
        row.mode,
        row.device,
        row.T,
        row.batch_size,
        row.seed,
    )


def contender_of(row: Record) -> Contender:
    """The contender that a row is of."""
    return Contender(row.framework, row.variant or "", row.precision)


def acceleration(records: Iterable[Record]) -> pd.DataFrame:
    """Fig. 3 as a table: seconds per iteration and epoch, and their ratios to the floor."""
    columns = [field.name for field in fields(Acceleration)]
    table = pd.DataFrame(acceleration_lines(records), columns=columns)
    return table.astype({"rank": "Int64"})


def acceleration_lines(records: Iterable[Record]) -> list[Acceleration]:
    """The lines of the acceleration table, in the paper's order of cells.

    A cell's figures in one precision come from the last run that timed it, since only seconds of
    the same round compare. Who is not certified is listed last and has no rank.
    """
    rows = (record for record in records if record.suite == "acceleration")
    lines: list[Acceleration] = []
    cells = grouped(rows, cell_of)
    in_order = sorted(cells, key=lambda c: (paper.paper_order(c.dataset, c.scale), c))
    for cell in in_order:
        runs = grouped(cells[cell], lambda row: row.run)
        for precision, own in grouped(cells[cell], lambda row: row.precision).items():
            last = _last_run(own)
            lines += _class_lines(last, Rounds.of(runs[last[0].run]), precision)
    return lines


def _last_run(rows: list[Record]) -> list[Record]:
    timed = [row.run for row in rows if row.kind == "iteration"]
    last = max(timed or (row.run for row in rows))
    return [row for row in rows if row.run == last]


Seconds = dict[int, float]  # of each round


def _seconds(rows: Iterable[Record], *, twin: bool = False) -> Seconds:
    return {
        row.round: row.seconds
        for row in rows
        if row.kind == "iteration" and row.twin == twin and row.round and row.seconds
    }


def _mean(first: Seconds, second: Seconds) -> Seconds:
    """Of one contender's two names, round by round: less noise than either."""
    return {n: sqrt(value * second.get(n, value)) for n, value in first.items()}


@dataclass(frozen=True)
class Rounds:
    """What was timed together: the seconds of each contender, of who ran twice the mean."""

    seconds: dict[Contender, Seconds]
    twin: tuple[Seconds, Seconds]  # A/A: first and second name; empty where there was none

    @classmethod
    def of(cls, rows: Sequence[Record]) -> Rounds:
        contenders = grouped(rows, contender_of)
        seconds = {key: _seconds(own) for key, own in contenders.items()}
        twin: tuple[Seconds, Seconds] = ({}, {})
        for key, own in contenders.items():
            again = _seconds(own, twin=True)
            if again:
                twin = (seconds[key], again)
                seconds[key] = _mean(*twin)
        return cls(seconds, twin)

    def floor(self, precision: str) -> Seconds:
        """The floor's seconds in a precision; empty where it did not run."""
        return self.seconds.get(Contender(FLOOR, "", precision), {})

    @property
    def noise(self) -> ratios.Spread:
        """The spread of one measurement, from all who ran in every round."""
        columns = list(self.seconds.values())
        most = max((len(column) for column in columns), default=0)
        return ratios.spread([list(c.values()) for c in columns if most and len(c) == most])

    def ratio(self, numerator: Seconds, denominator: Seconds) -> ratios.Ratio | None:
        """Of the rounds that both ran in; None where there are none."""
        shared = sorted(numerator.keys() & denominator.keys())
        if not shared:
            return None
        if numerator is denominator:
            return ratios.Ratio(1.0, 1.0, 1.0, "none", len(shared))
        return ratios.ratio(
            [numerator[n] for n in shared], [denominator[n] for n in shared], self.noise
        )


def _class_lines(rows: list[Record], rounds: Rounds, precision: str) -> list[Acceleration]:
    """A cell's lines in one precision, the floor first, then the ranked, then the others."""
    rows = [row for row in rows if row.precision == precision]
    lines = [_line(key, own, rounds) for key, own in grouped(rows, contender_of).items()]
    ranked = sorted(
        (line for line in lines if _is_ranked(line)), key=lambda line: line.ratio_to_floor
    )
    floor = [line for line in lines if line.framework == FLOOR]
    others = [line for line in lines if not _is_ranked(line) and line.framework != FLOOR]
    others.sort(key=lambda line: inf if isnan(line.ratio_to_floor) else line.ratio_to_floor)
    placed = [replace(line, rank=rank) for rank, line in enumerate(ranked, 1)]
    return [*floor, *placed, *others]


def _is_ranked(line: Acceleration) -> bool:
    return line.certificate.startswith(EQUAL) and not isnan(line.ratio_to_floor)


def _line(key: Contender, rows: list[Record], rounds: Rounds) -> Acceleration:
    last, own = rows[-1], rounds.seconds[key]
    ratio = rounds.ratio(own, rounds.floor(key.precision))
    exact = rounds.ratio(own, rounds.floor("fp32"))
    reference = rounds.seconds.get(Contender(REFERENCE, "", key.precision), {})
    speedup = rounds.ratio(reference, own)
    noise = rounds.ratio(rounds.twin[1], rounds.twin[0])
    per_iteration = median(own.values()) if own else nan
    certificate, reason = _certificate(rows)
    cosines = [row.gradient_cosine for row in rows if row.gradient_cosine is not None]
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
        rank=None,
        seconds_per_iteration=per_iteration,
        seconds_per_epoch=per_iteration * (last.iterations_per_epoch or nan),
        ratio_to_floor=ratio.value if ratio else nan,
        ratio_low=ratio.low if ratio else nan,
        ratio_high=ratio.high if ratio else nan,
        interval=ratio.method if ratio else "",
        ratio_to_fp32_floor=exact.value if exact else nan,
        speedup_vs_reference=speedup.value if speedup else nan,
        peak_memory_mib=_first(row.peak_memory_mib for row in rows),
        spike_rate=_first(row.spike_rate for row in rows if row.kind == "certificate"),
        certificate=certificate,
        mismatch_rate=_mismatch_rate(rows),
        gradient_cosine=min(cosines, default=nan),
        rounds=len(own),
        warmup_seconds=_first(row.seconds for row in rows if row.kind == "warmup"),
        noise_low=noise.low if noise else nan,
        noise_high=noise.high if noise else nan,
        network=last.network,
        neunorm=last.neunorm or "",
        width=last.width,
        seed=last.seed,
        layout=last.layout or "",
        implementation=last.implementation or "",
        data_source=last.data_source or "",
        threads=last.threads or 0,
        cpu=last.cpu or "",
        gpu=last.gpu or "",
        torch=last.torch or "",
        framework_version=last.framework_version or "",
        run=last.run,
        reason=reason,
    )


def _first(values: Iterable[float | None]) -> float:
    return next((value for value in values if value is not None), nan)


def _mismatch_rate(rows: list[Record]) -> float:
    """Spikes that differ in the precision that was timed, of all compared."""
    for row in rows:
        if row.certificate_precision == row.precision and row.layer is None and row.spikes:
            return (row.mismatches or 0) / row.spikes
    return nan


EQUAL = "equal"
_STATUS = {"missing": "not installed", "unsupported": "unsupported", "failed": "failed"}


def _certificate(rows: list[Record]) -> tuple[str, str]:
    """What the contender's proof came to, in words, and the reason where it is not equal."""
    if rows[0].framework == FLOOR:
        return "", ""
    for row in reversed(rows):
        if row.kind == "case" and row.status != "ok":
            reason = row.reason or ""
            return ("not comparable" if "not comparable" in reason else _STATUS[row.status]), reason
    outcomes = [row for row in rows if row.kind == "certificate" and row.layer is None]
    if rows[-1].deviations:
        return "not the paper's function", rows[-1].deviations
    if not outcomes or not all(row.certified for row in outcomes):
        return "none", ""
    exact = [row.certificate_precision or "" for row in outcomes]
    return f"{EQUAL} ({'+'.join(name for name in exact if name != 'bf16')})", ""


def noise_of(records: Iterable[Record]) -> ratios.Ratio | None:
    """The A/A ratio over all cells of a run: a contender's second name against its first.

    Its interval is the noise floor: a difference inside it is none.
    """
    cells = [Rounds.of(rows) for rows in grouped(records, cell_of).values()]
    first, second = [], []
    for cell in cells:
        shared = sorted(cell.twin[0].keys() & cell.twin[1].keys())
        first += [cell.twin[0][n] for n in shared]
        second += [cell.twin[1][n] for n in shared]
    if not first:
        return None
    return ratios.ratio(second, first, ratios.pooled([cell.noise for cell in cells]))
