"""Fig. 3 as a table: each contender's time against the floor, its proof and its rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import product
from math import isnan, nan
from operator import attrgetter, itemgetter
from statistics import median

import pandas as pd

from harness.analysis.frame import Frame, Frames, X, grouped, machines
from harness.analysis.rounds import THE_FLOOR, UNKNOWN, Rounds, notes_on, rounds
from harness.analysis.words import contender_title, counted, data_name, few
from harness.records import (
    AuditResult,
    Bf16TrainingResult,
    CertificateResult,
    EndedResult,
    IterationResult,
    K,
    MemoryResult,
    Row,
    UnmeasuredResult,
    WarmupResult,
    has,
    of_kind,
)
from harness.spec import (
    FLOOR,
    NOT_DECLARED,
    REFERENCE,
    Budget,
    Contender,
    Timing,
    network_name,
    paper,
)
from harness.statistics import Ratio

FEWEST_RANKED = Budget.rounds  # a figure of fewer is preliminary
# A network is ranked where its A/A interval lies within these: else a difference that large comes
# from places in memory or from neighbours, and a rank would be a draw. The ends count: too few
# rounds to know the noise would else pass for quiet ones.
STEADY = (0.8, 1.25)


@dataclass(frozen=True, kw_only=True)
class TimedLine:
    """A contender in a cell, precision and run: a line of Fig. 3's table."""

    dataset: str
    scale: str
    framework: str
    variant: str = ""
    mode: str
    precision: str
    device: str
    T: int
    batch_size: int
    rank: int | None = None  # in the cell and precision: 1 + how many are proved faster
    rank_high: int | None = None  # how many there are, less those proved slower
    seconds_per_iteration: float = nan  # median over the rounds
    seconds_per_epoch: float = nan  # that times the iterations of an epoch
    ratio_to_floor: float = nan  # to float32's floor; geometric mean
    ratio_low: float = nan
    ratio_high: float = nan
    speedup_vs_reference: float = nan  # of the same precision
    speedup_low: float = nan
    speedup_high: float = nan
    peak_memory_mib: float = nan
    memory_note: str = ""  # why there is no such figure
    spike_rate: float = nan
    certificate: str = ""
    exam: int = 0  # version of the exam; 0: none was taken
    exam_inputs: int = 0  # the largest number of inputs that an exam took
    audit: str = ""  # of what was timed: direct, replay, or not at all
    mismatch_rate: float = nan  # spikes that differ, of those compared, in this precision
    gradient_cosine: float = nan  # to float32's, the lowest over the layers; of bf16 alone
    protocol: int = 0
    rounds: int = 0
    part: float = nan  # of an iteration that was run, where not all: the seconds are scaled
    warmup_seconds: float = nan  # of the first iteration
    compile_seconds: float = nan  # compiled variants: warmup_seconds; trainers: compiling before it
    noise_low: float = nan  # interval of the A/A ratio of the cell
    noise_high: float = nan
    network: str
    neunorm: str = ""
    width: str
    seed: int
    layout: str = ""
    computed: str = ""
    neuron: str = ""  # whose code it is; of the floor ""
    implementation: str = ""
    allocator: str = ""
    data_source: str = ""
    threads: int = 0
    cpu: str = ""
    capability: str = ""
    gpu: str = ""
    torch: str = ""
    framework_version: str = ""
    run: str
    reason: str = ""  # why it has no rank; the table's last column
    machine: str
    suite: str
    cell: int
    contender: Contender
    name: str  # "norse:compiled bf16"; float32 is left out
    day: str  # of its last row
    is_proved: bool  # by its exam at least; in bf16 by its audits and training
    lacks: tuple[str, ...]  # what a rank would need, in sentences
    notes: tuple[str, ...] = ()  # what else to know of its figures, in sentences
    simulated: bool
    substitute: bool
    in_figure_3: bool  # full width, T = 10, no NeuNorm
    together: Rounds = field(repr=False, compare=False)  # of all contenders of its cell and run

    @property
    def ranks(self) -> str:
        """The rank as text, a range where rounds leave it open: "3", "2-9", "" without one."""
        ends = dict.fromkeys((self.rank, self.rank_high))
        return "-".join(str(end) for end in ends if end is not None)

    @property
    def data_title(self) -> str:
        """The data in a few words."""
        return data_name(self.dataset, substitute=self.substitute, simulated=self.simulated)

    def ratio_to(self, other: TimedLine) -> Ratio:
        """Return the mean ratio of this contender's time to another's, over the rounds of both.

        Its interval is wider by what A/A is off (`Rounds.offset`), since two processes of one
        contender differ by that too. UNKNOWN where they are of two cells or runs. Every statement
        that one contender is faster than another is made of this.
        """
        if (self.cell, self.run) != (other.cell, other.run):
            return UNKNOWN
        ratio = self.together.ratio(self.contender, other.contender)
        is_itself = self.contender == other.contender
        return ratio if is_itself else ratio.widened(self.together.offset)

    @property
    def can_be_compared(self) -> bool:
        """Whether it is the floor or a contender that is proved."""
        return self.is_proved or self.framework == FLOOR

    def is_faster(self, other: TimedLine) -> bool:
        """Whether the 95 % interval of `ratio_to` lies below 1, of two that can be compared."""
        both = self.can_be_compared and other.can_be_compared
        return both and self.ratio_to(other).high < 1


_FIELDS = tuple(column.name for column in fields(TimedLine))
COLUMNS = _FIELDS[: _FIELDS.index("machine")]


of_class = attrgetter("cell", "precision", "run")  # whose contenders are ranked together
# What tells cells of one machine from each other, but for the seed and what tables do not show.
of_cell = attrgetter(
    *("dataset", "scale", "network", "neunorm", "width", "mode", "device", "T", "batch_size")
)


@lru_cache(maxsize=4)
def lines(frames: Frames) -> tuple[TimedLine, ...]:
    """Return Fig. 3's lines: seconds per iteration and epoch, and ratios to the floor.

    Machine by machine, in the paper's order.
    A run's lines of a cell stand together: the floor, the ranked, then the others.
    """
    every = [*zip(frames.rows, frames.cells, frames.machines, frames.counts, strict=True)]
    entries = grouped(
        (
            (machine, cell, case, row)
            for row, cell, machine, counts in every
            if counts and isinstance(case := row.case, Timing) and not has(row, Bf16TrainingResult)
        ),
        lambda entry: (*entry[:2], entry[2].contender, entry[3].run.id),
    )
    # holds for every cell in which its version is timed
    bf16_trainings = grouped(frames.current_rows(Bf16TrainingResult), lambda row: row.installed)
    together, nothing = rounds(frames), Rounds({}, {}, {}, frozenset())
    timed = []
    for (machine, cell, _, run), of_contender in entries.items():
        case, rows = of_contender[-1][2], [row for *_, row in of_contender]
        in_bf16 = [row.result for row in bf16_trainings.get(rows[-1].installed, ())]
        line = _line(machine, cell, case, rows, together.get((cell, run), nothing), in_bf16)
        timed.append(replace(line, notes=(*notes_on(frames, cell, line.contender, run),)))
    # a later run is written last
    last = {
        (cell, row.contender.precision, row.run.id): n
        for n, (row, cell, *_) in enumerate(every)
        if has(row, IterationResult)
    }
    place = {machine: n for n, machine in enumerate(machines(frames.machines))}

    def order(ranked_together: Sequence[TimedLine]) -> tuple[object, ...]:
        """Return the sort key of a cell's lines: machine, network, seed, precision, last row."""
        line = ranked_together[0]
        in_paper = paper.paper_order(line.dataset, line.scale)
        cell = place[line.machine], in_paper, of_cell(line), line.seed, line.cell
        return *cell, line.precision != "fp32", line.precision, last.get(of_class(line), 0)

    classes = sorted(grouped(timed, of_class).values(), key=order)
    return tuple(line for ranked_together in classes for line in _placed(ranked_together))


def notes(lines: Iterable[TimedLine]) -> Iterator[str]:
    """Yield what to know of lines' figures, each once, after the networks and contenders."""
    entries = ((note, line) for line in lines for note in line.notes)
    for note, noted in grouped(entries, itemgetter(0)).items():
        networks = dict.fromkeys(f"{line.data_title} {line.scale}" for _, line in noted)
        contenders = dict.fromkeys(contender_title(line.name) for _, line in noted)
        names = f"{few([*networks], 'networks')}, {few([*contenders], 'contenders')}"
        yield f"{names}: {note}."


def table(lines: Iterable[TimedLine]) -> Frame:
    """Return lines as a DataFrame: COLUMNS and the machine's name."""
    frame = pd.DataFrame([vars(line) for line in lines], columns=[*COLUMNS, "machine"])
    return frame.astype({"rank": "Int64", "rank_high": "Int64"})


def completeness(run: Sequence[TimedLine]) -> tuple[bool, int, int]:
    """Return the sort key of a run: whether its rounds are enough for ranks, and its lines.

    Lines with a time count first: contenders that are not installed make no run more complete.
    """
    ranked = (line.rounds >= FEWEST_RANKED and line.framework != FLOOR for line in run)
    return any(ranked), sum(line.rounds > 0 for line in run), len(run)


def by_completeness(runs: Iterable[list[TimedLine]]) -> list[list[TimedLine]]:
    """Return runs of a cell in all precisions, in the order of what they have in float32."""
    return sorted(runs, key=lambda run: completeness([e for e in run if e.precision == "fp32"]))


def most_complete(lines: Sequence[TimedLine]) -> list[TimedLine]:
    """Return, for each cell and precision, the lines of its last most complete run."""
    runs = sorted(grouped(lines, of_class).values(), key=completeness)
    best = {(run[0].cell, run[0].precision): run[0].run for run in runs}
    return [line for line in lines if best[line.cell, line.precision] == line.run]


def _first(values: Iterable[X | None], otherwise: X) -> X:
    return next((value for value in values if value is not None and value != ""), otherwise)


def _line(
    machine: str,
    cell: int,
    case: Timing,
    rows: Sequence[Row],
    together: Rounds,
    bf16_trainings: Sequence[Bf16TrainingResult],
) -> TimedLine:
    """Return a contender's line in a cell: times and ratios, memory, and what was proved."""

    def results(kind: type[K]) -> list[K]:
        return [row.result for row in of_kind(rows, kind)]

    last, workload, contender = rows[-1], case.workload, case.contender
    run, installation, norm = last.run, last.installation, workload.network.neunorm
    sources = [row.data.source for row in rows if row.data.source]
    # figures of the rounds
    seconds = together.seconds.get(contender, {})
    per_iteration = median(seconds.values()) if seconds else nan
    ratio, noise = together.ratio(contender, THE_FLOOR), together.noise
    speedup = together.ratio(Contender(REFERENCE, precision=contender.precision), contender)
    memory, warmups = results(MemoryResult), results(WarmupResult)
    unmeasured = () if memory else results(UnmeasuredResult)
    warmup_seconds = _first((warmup.seconds for warmup in warmups), nan)
    compile_seconds = _first((warmup.compile_seconds for warmup in warmups), nan)
    # its proof
    proofs, audits = results(CertificateResult), results(AuditResult)  # of each layer too
    exams = [proof for proof in proofs if proof.layer is None]
    rates = (
        (exam.mismatches or 0) / exam.spikes
        for exam in exams
        if exam.certificate_precision == contender.precision and exam.spikes
    )
    # an audit of inference has no gradients
    cosines = [e.gradient_cosine for e in audits or proofs if e.gradient_cosine is not None]
    certificate, is_proved, lacks = _proved(
        last, results(EndedResult), exams, audits, bf16_trainings
    )
    line = TimedLine(
        dataset=workload.dataset,
        scale=network_name(workload),
        framework=contender.package,
        variant=contender.suffix or "",
        mode=case.mode,
        precision=contender.precision,
        device=case.device,
        T=workload.T,
        batch_size=workload.batch_size,
        network=str(workload.network),
        neunorm=norm.reading if norm else "",
        width=str(workload.width),
        seed=workload.seed,
        protocol=run.protocol or 0,
        layout=_first((row.build.layout for row in rows), ""),
        computed=_first((row.build.computed for row in rows), ""),
        neuron="" if contender.framework == FLOOR else installation.neuron or NOT_DECLARED,
        implementation=_first((row.installation.implementation for row in rows), ""),
        allocator=run.allocator or "",
        data_source=_first((source.description for source in sources), ""),
        threads=run.machine.threads or 0,
        cpu=run.machine.cpu or "",
        capability=run.machine.capability or "",
        gpu=run.machine.gpu or "",
        torch=run.machine.torch or "",
        framework_version=installation.framework_version or "",
        run=run.id,
        seconds_per_iteration=per_iteration,
        seconds_per_epoch=per_iteration * (last.data.iterations_per_epoch or nan),
        ratio_to_floor=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        speedup_vs_reference=speedup.value,
        speedup_low=speedup.low,
        speedup_high=speedup.high,
        peak_memory_mib=_first((peak.peak_memory_mib for peak in memory), nan),
        memory_note=_first((failure.reason for failure in unmeasured), ""),
        spike_rate=_first((proof.spike_rate for proof in proofs), nan),
        certificate=certificate,
        exam=min((exam.exam for exam in exams), default=0),
        exam_inputs=max((exam.attempts or 0 for exam in exams), default=0),
        audit=max((audit.way for audit in audits), default=""),  # a replay, where one was needed
        # in the precision that was timed: by its audits, else by its exam
        mismatch_rate=sum(_shares(audits)) if audits else next(rates, nan),
        gradient_cosine=min(cosines, default=nan),
        rounds=len(seconds),
        part=_first((iteration.part for iteration in results(IterationResult)), nan),
        warmup_seconds=warmup_seconds,
        compile_seconds=warmup_seconds if contender.form == "compiled" else compile_seconds,
        noise_low=noise.low,
        noise_high=noise.high,
        machine=machine,
        suite=case.suite,
        cell=cell,
        contender=contender,
        name=contender.full_name,
        day=last.time[:10],
        is_proved=is_proved,
        lacks=lacks,
        simulated=any(source.simulated for source in sources),
        substitute=any(source.substitute for source in sources),
        in_figure_3=(case.mode, workload.T, workload.width, norm) == ("training", 10, 1, None),
        together=together,
    )
    if contender.framework == FLOOR:
        return line
    lacks = (*lacks, *_lacking_rounds(line))
    return replace(line, lacks=lacks, reason="; ".join(lacks))


def _placed(lines: Sequence[TimedLine]) -> list[TimedLine]:
    """Return lines of one class: the floor, the ranked by their ratios, then the others.

    A contender is proved faster than another by their paired rounds (`is_faster`), or by those of a
    third between them: so none is ranked above one that beats it.
    """
    floors = [line for line in lines if line.framework == FLOOR]
    others = [line for line in lines if line.framework != FLOOR]
    others.sort(key=lambda line: (isnan(line.ratio_to_floor), line.ratio_to_floor))
    able = [line for line in others if not line.lacks]
    lack = "no other contender that can be ranked ran in its rounds"
    for line in able if len(able) > 1 else ():
        if not any(line.ratio_to(other).rounds for other in able if other is not line):
            others[others.index(line)] = replace(line, lacks=(lack,), reason=lack)
    able = [line for line in others if not line.lacks]
    ahead = [{m for m, other in enumerate(able) if other.is_faster(line)} for line in able]
    for middle, faster in product(range(len(able)), ahead):  # faster than one that is faster
        faster |= ahead[middle] if middle in faster else set()
    ranked = []
    for n, line in enumerate(able):
        behind = {m for m, faster in enumerate(ahead) if n in faster}
        faster, slower = ahead[n] - behind - {n}, behind - ahead[n] - {n}
        ranked.append(replace(line, rank=1 + len(faster), rank_high=len(able) - len(slower)))
    return [*floors, *ranked, *(line for line in others if line.lacks)]


def _lacking_rounds(line: TimedLine) -> Iterator[str]:
    """Yield what the figure lacks, whatever was proved of the contender."""
    if isnan(line.ratio_to_floor):
        yield from () if line.lacks else ("it was not timed against the floor",)
        return
    if not line.threads:
        yield f"its run's record, runs/{line.run}.json, is missing: the machine is not known"
    if not isnan(line.part):
        yield f"scaled: {line.part:.2%} of an iteration was run, and its exam was narrower"
    if line.rounds < FEWEST_RANKED:
        count = counted(line.rounds, "round")
        yield f"preliminary: {count}, ranked from {FEWEST_RANKED} on"
    elif isnan(line.noise_low):
        yield "no A/A: the floor did not run twice"
    elif line.noise_low < STEADY[0] or line.noise_high > STEADY[1]:
        a_a = f"{line.noise_low:.2f} to {line.noise_high:.2f}"
        yield (
            f"the A/A interval, {a_a}, is not within {STEADY[0]} to {STEADY[1]}, so there are no "
            "ranks: measure again (--fresh) on a quieter machine, or for longer (--budget)"
        )


# Those that a rank needs, in words.
AUDITS = {
    "before": "before its rounds",
    "round": "of a round",
    "late": "on weights as late in a training",
}
NO_REASON = "no reason is recorded"
Proved = tuple[str, bool, tuple[str, ...]]  # certificate, whether it is proved, what a rank lacks


def _proved(
    row: Row,
    ended: Sequence[EndedResult],
    exams: Sequence[CertificateResult],
    audits: Sequence[AuditResult],
    bf16_trainings: Sequence[Bf16TrainingResult],
) -> Proved:
    """Return what was proved of a contender in a cell and run; `row` is its last one."""

    def refused(text: str, *lacks: str) -> Proved:
        return text, False, lacks

    if row.contender.framework == FLOOR:
        return refused("")
    if ended:
        status, reason = ended[-1].status, ended[-1].reason
        why = f"{status}: {reason}" if status == "not comparable" else reason
        return refused("not installed" if status == "missing" else status, why)
    if row.installation.deviations:
        return refused("not the paper's function", row.installation.deviations)
    if not exams:
        return refused("none", "no exam was taken")
    if failed := [exam for exam in exams if not exam.certified]:
        return refused("none", f"its exam failed: {failed[0].reason or NO_REASON}")
    if failed := [audit for audit in audits if not audit.passed]:
        why = failed[0].reason or NO_REASON
        return refused("audit failed", f"audit {AUDITS.get(failed[0].when, '')}: {why}")
    moments = {audit.when for audit in audits}
    missing = [f"not audited {text}" for when, text in AUDITS.items() if when not in moments]
    lacks = missing if moments else ["not audited"]
    if row.contender.precision == "bf16":
        # the last training that was finished
        last = next(reversed([e for e in bf16_trainings if e.finished] or bf16_trainings), None)
        if last is None:
            lacks += ["no training in bf16 yet: a run with five rounds and time left makes one"]
        elif not last.passed:
            lacks += [f"its training in bf16: {last.reason or NO_REASON}"]
        if lacks:
            return refused("not proved", *lacks)
        beyond, within = (f"{100 * share:.2g} %" for share in _shares(audits))
        text = f"bf16 ({beyond} of spikes differ beyond rounding, {within} within it)"
        return text, True, ()
    if "before" not in moments:
        return "equal by its exam alone", True, tuple(lacks)
    exact = (p for exam in exams if (p := exam.certificate_precision) != "bf16")
    return f"equal ({'+'.join(exact)})", True, tuple(lacks)


def _shares(audits: Sequence[AuditResult]) -> tuple[float, float]:
    """Of the spikes compared, those that differ beyond rounding, and those that it decides."""
    compared = sum(audit.spikes for audit in audits)
    if not compared:
        return nan, nan
    rounding = sum(audit.near_ties for audit in audits)
    return (sum(audit.mismatches for audit in audits) - rounding) / compared, rounding / compared
