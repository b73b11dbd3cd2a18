"""Fig. 3 as a table: each contender's time against the floor, its proof and its rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf, isnan, nan, sqrt
from operator import attrgetter, itemgetter
from statistics import median
from typing import Any

import pandas as pd

from harness.analysis.frame import Frame, Frames, each_of, grouped, machines
from harness.analysis.words import counted
from harness.spec import ACCELERATION, FLOOR, REFERENCE, paper
from harness.speed import ratios
from harness.speed.ratios import Ratio

FEWEST_RANKED = 5  # rounds; a figure of fewer is preliminary
# A network is ranked where its A/A interval lies within these: else a difference that large comes
# from places in memory or from neighbours, and a rank would be a draw. The ends count: too few
# rounds to know the noise would else pass for quiet ones.
STEADY = (0.8, 1.25)

COLUMNS = (
    *("dataset", "scale", "framework", "variant", "mode", "precision", "device", "T"),
    "batch_size",
    "rank",  # among those of the cell and precision
    "seconds_per_iteration",  # median over the rounds
    "seconds_per_epoch",  # that times the iterations of an epoch
    *("ratio_to_floor", "ratio_low", "ratio_high"),  # to float32's floor; geometric mean
    "interval",  # how it was made: student or none (speed/ratios.py)
    *("speedup_vs_reference", "speedup_low", "speedup_high"),  # of the same precision
    *("peak_memory_mib", "memory_note"),  # why there is no such figure
    *("spike_rate", "certificate"),
    "exam",  # its number; 0: none was taken
    "exam_inputs",  # the largest number of inputs that an exam took
    "audit",  # of what was timed: direct, replay, or not at all
    "mismatch_rate",  # spikes that differ, of those compared, in this precision
    "gradient_cosine",  # to float32's, the lowest over the layers; of bf16 alone
    *("protocol", "rounds"),
    "part",  # of an iteration that was run, where not all: the seconds are scaled
    "first_over_second",  # seconds of the first round over those of the second
    # of a compiled form what its first iteration took; of a runtime of its own what came before
    *("warmup_seconds", "compile_seconds"),
    *("noise_low", "noise_high"),  # interval of the A/A ratio of the cell
    *("network", "neunorm", "width", "seed", "layout", "computed", "implementation", "allocator"),
    *("data_source", "threads", "cpu", "capability", "gpu", "torch", "framework_version", "run"),
    "reason",  # why it has no rank
)
# Columns that only the page needs.
PAGE_COLUMNS = (
    *("machine", "cell", "name"),  # "norse:compiled bf16"; float32 is left out
    "standing",  # equal, examined (by an exam alone), bf16 (never called equal), or none
    "lacks",  # what a rank would need, in sentences
    *("simulated", "substitute"),
    "in_figure_3",  # full width, T = 10, no NeuNorm
)
Seconds = dict[int, float]  # of each round
ContenderKey = tuple[str, str]  # contender and precision
THE_FLOOR: ContenderKey = (
    FLOOR,
    "fp32",
)  # that every ratio is to; the floor in bf16 is a line of its own


@dataclass(frozen=True)
class Rounds:
    """The rounds of one run in a cell: the seconds of each contender.

    Of the floor, which runs twice, the mean.
    """

    seconds: Mapping[ContenderKey, Seconds]
    again: Seconds  # A/A, round by round: the second instance of the floor over the first
    starts: Mapping[int, int]  # of the processes, by round

    def ratio(self, numerator: ContenderKey, denominator: ContenderKey) -> Ratio | None:
        """Return the ratio of two contenders' seconds in the rounds of both; None without any."""
        found = self._ratios(numerator, denominator)
        if found and numerator == denominator:
            return Ratio(1.0, 1.0, 1.0, "none", len(found))
        return ratios.mean(self.groups(found), self._moves) if found else None

    @property
    def noise(self) -> Ratio | None:
        """A/A; None where nothing ran twice."""
        return ratios.mean(self.groups(self.again), self._moves) if self.again else None

    def groups(self, of: Seconds) -> list[list[float]]:
        """Return the seconds grouped by start."""
        found = grouped(sorted(of), lambda n: self.starts.get(n, 1))
        return [[of[n] for n in rounds] for rounds in found.values()]

    @cached_property
    def _moves(self) -> ratios.Starts:
        of = [
            self._ratios(contender, THE_FLOOR)
            for contender in self.seconds
            if contender[0] != FLOOR
        ]
        return ratios.starts(self.groups(each) for each in (*of, self.again))

    def _ratios(self, numerator: ContenderKey, denominator: ContenderKey) -> Seconds:
        return _divided(self.seconds.get(numerator, {}), self.seconds.get(denominator, {}))


def _divided(above: Seconds, below: Seconds) -> Seconds:
    return {n: above[n] / below[n] for n in sorted(above.keys() & below.keys())}


@lru_cache(maxsize=4)
def rounds(frames: Frames) -> dict[tuple[int, str], Rounds]:
    """Return what was timed together, by cell and run."""
    rows = frames["iteration"]
    names = ("cell", "run", "contender", "precision", "twin", "round", "start", "seconds")
    timed = (each for each in zip(*map(rows.get, names), strict=True) if each[-1])
    return {key: _together(of) for key, of in grouped(timed, itemgetter(0, 1)).items()}


def _together(timed: Sequence[tuple[Any, ...]]) -> Rounds:
    """Return the rounds; of the floor, which ran twice, the mean, with less noise than either."""
    by_name = grouped(timed, itemgetter(2, 3, 4)).items()
    took = {name: {n: seconds for *_, n, _, seconds in of} for name, of in by_name}
    seconds: dict[ContenderKey, Seconds] = {
        (contender, p): of for (contender, p, twin), of in took.items() if not twin
    }
    again: Seconds = {}
    for (contender, precision, twin), second in took.items():
        if twin:
            first = seconds.get((contender, precision), {})
            again = _divided(second, first)
            both = {n: sqrt(each * second.get(n, each)) for n, each in first.items()}
            seconds[contender, precision] = both
    return Rounds(seconds, again, {n: int(start) for *_, n, start, _ in timed})


@lru_cache(maxsize=4)
def lines(frames: Frames) -> Frame:
    """Return Fig. 3 as a table: seconds per iteration and epoch, and ratios to the floor.

    With PAGE_COLUMNS, machine by machine, in the paper's order.
    A run's lines of a cell stand together: the floor, the ranked, then the others.
    """
    every = frames["all"]
    timings = every[(every["suite"] == ACCELERATION) & (every["kind"] != "descent")]
    place = {machine: n for n, machine in enumerate(machines(timings))}
    first = _last(timings[::-1], "cell", "precision")
    last = _last(frames["iteration"], *CLASS)  # a later run is written last
    classes = grouped(_entries(frames, timings[timings["counts"]]), itemgetter(*CLASS))

    def order(of: tuple[Any, ...]) -> tuple[object, ...]:
        line = classes[of][0]
        in_paper = paper.paper_order(line["dataset"], line["scale"])
        cell = (place[line["machine"]], in_paper, *(line[name] for name in (*CELL, "seed", "cell")))
        return *cell, first[of[:2]], last.get(of, 0)

    content = [line for of in sorted(classes, key=order) for line in _placed(classes[of])]
    table = pd.DataFrame(content, columns=[*COLUMNS, *PAGE_COLUMNS])
    return table.astype({"rank": "Int64", "in_figure_3": bool})


CLASS = ("cell", "precision", "run")  # whose contenders are ranked together
# What tells cells of one machine from each other, but for the seed and what tables do not show.
CELL = (*("dataset", "scale", "network", "neunorm", "width", "mode", "device", "T", "batch_size"),)


def latest(lines: Frame) -> Frame:
    """Return one line a contender: of each cell and precision the lines of one run.

    A run with rounds enough for ranks, of these the one with most contenders, of these the last.
    """
    enough = (lines["rounds"] >= FEWEST_RANKED) & (lines["framework"] != FLOOR)
    named = {"enough": ("enough", "any"), "n": ("name", "size")}
    runs = lines.assign(enough=enough).groupby([*CLASS], sort=False).agg(**named)
    best = runs.reset_index().sort_values([*named], kind="stable")
    best = best.drop_duplicates(["cell", "precision"], keep="last")
    return lines[lines.set_index([*CLASS]).index.isin(best.set_index([*CLASS]).index)]


def _last(rows: Frame, *names: str) -> dict[tuple[object, ...], int]:
    """Return the number of the last row of each group."""
    return dict(zip(zip(*(rows[name] for name in names), strict=True), rows.index, strict=True))


def _entries(frames: Frames, here: Frame) -> Iterator[dict[str, Any]]:
    """Yield the known facts of each contender in each cell, precision and run."""
    written = [name for name in (*COLUMNS, *PAGE_COLUMNS) if name in here]
    here = here.assign(entry=here.groupby([*CLASS, "contender"], sort=False).ngroup())
    rows = {kind: of.join(here["entry"], how="inner") for kind, of in frames.items()}

    def first(kind: str, name: str) -> dict[int, Any]:
        known = rows[kind][rows[kind][name].notna() & (rows[kind][name] != "")]
        known = known.drop_duplicates("entry")
        return dict(zip(known["entry"], known[name], strict=True))

    names = ("layout", "computed", "implementation", "data_source")
    known = {name: first("all", name) for name in names}
    memory, notes = first("memory", "peak_memory_mib"), first("unmeasured", "reason")
    warmup, compiled = first("warmup", "seconds"), first("warmup", "compile_seconds")
    rates, parts = first("certificate", "spike_rate"), first("iteration", "part")
    flags = here.groupby("entry")[["data_simulated", "data_substitute"]].any()
    exams, bf16_trainings = rows["certificate"], frames["descent"]
    proofs = (
        rows["case"],
        exams[exams["layer"] == ""],
        exams,  # and each layer of them
        rows["audit"],
    )
    proved = [grouped(each_of(of), attrgetter("entry")) for of in proofs]
    # a training holds for every cell in which its version is timed
    bf16_trained = grouped(each_of(bf16_trainings[bf16_trainings["counts"]]), _installation)
    together, nothing = rounds(frames), Rounds({}, {}, {})
    for row in each_of(here.drop_duplicates("entry", keep="last").sort_values("entry")):
        n, took = row.entry, warmup.get(row.entry, nan)
        yield {
            **{name: getattr(row, name) for name in written},
            **{name: of.get(n, "") for name, of in known.items()},
            "name": row.contender + ("" if row.precision == "fp32" else f" {row.precision}"),
            "peak_memory_mib": memory.get(n, nan),
            "memory_note": "" if n in memory else notes.get(n, ""),
            "spike_rate": rates.get(n, nan),
            "warmup_seconds": took,
            "compile_seconds": took if "compiled" in row.variant else compiled.get(n, nan),
            "part": parts.get(n, nan),
            "simulated": flags.at[n, "data_simulated"],
            "substitute": flags.at[n, "data_substitute"],
            "in_figure_3": (row.mode, row.T, row.width, row.neunorm) == ("training", 10, "1", ""),
            **_proved(
                row, [of.get(n, ()) for of in proved], bf16_trained.get(_installation(row), ())
            ),
            **_figures(row, together.get((row.cell, row.run), nothing)),
        }


def _figures(row: Any, together: Rounds) -> dict[str, object]:
    """Return the figures of the rounds; NaN, and an empty method, where there were none."""
    contender = (row.contender, row.precision)
    seconds = together.seconds.get(contender, {})
    to_floor = together.ratio(contender, THE_FLOOR)
    speedup = together.ratio((REFERENCE, row.precision), contender)
    per_iteration = median(seconds.values()) if seconds else nan
    return {
        "seconds_per_iteration": per_iteration,
        "seconds_per_epoch": per_iteration * (row.iterations_per_epoch or nan),
        **_interval(to_floor, "ratio_to_floor", "ratio_low", "ratio_high"),
        "interval": to_floor.method if to_floor else "",
        **_interval(speedup, "speedup_vs_reference", "speedup_low", "speedup_high"),
        **_interval(together.noise, "", "noise_low", "noise_high"),
        "rounds": len(seconds),
        "first_over_second": seconds[1] / seconds[2] if {1, 2} <= seconds.keys() else nan,
    }


def _interval(found: Ratio | None, *names: str) -> dict[str, float]:
    values = (found.value, found.low, found.high) if found else (nan, nan, nan)
    return dict(zip(names, values, strict=True))


def _placed(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines of one class: the floor, the ranked with their ranks, then the others."""
    for line in lines:
        if line["framework"] != FLOOR:
            line["lacks"] = (*line["lacks"], *_lacking_rounds(line))
        line["reason"] = "; ".join(line["lacks"])
    ranked = [line for line in lines if line["framework"] != FLOOR and not line["lacks"]]
    for line in ranked:  # one more than the contenders whose whole interval lies below
        line["rank"] = 1 + sum(other["ratio_high"] < line["ratio_low"] for other in ranked)

    def order(line: dict[str, Any]) -> tuple[bool, float, float]:
        ratio, is_floor = line["ratio_to_floor"], line["framework"] == FLOOR
        return not is_floor, line.get("rank", inf), inf if is_floor or isnan(ratio) else ratio

    return sorted(lines, key=order)


def _lacking_rounds(line: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the figure lacks, whatever was proved of the contender."""
    if isnan(line["ratio_to_floor"]):
        yield from () if line["lacks"] else ("it was not timed against the floor",)
        return
    if not line["threads"]:
        yield f"its run's record, runs/{line['run']}.json, is missing: the machine is not known"
    if not isnan(line["part"]):
        yield f"scaled: {line['part']:.2%} of an iteration was run, and its exam was narrower"
    if line["rounds"] < FEWEST_RANKED:
        count = counted(line["rounds"], "round")
        yield f"preliminary: {count}, ranked from {FEWEST_RANKED} on"
    elif isnan(line["noise_low"]):
        yield "no A/A: the floor did not run twice"
    elif not is_steady(line):
        a_a = f"{line['noise_low']:.2f} to {line['noise_high']:.2f}"
        yield f"the A/A interval, {a_a}, is not within {STEADY[0]} to {STEADY[1]}"


def is_steady(line: Mapping[str, Any]) -> bool:
    """Return whether the A/A interval of a line's network is known and narrow enough for ranks."""
    return STEADY[0] <= line["noise_low"] and line["noise_high"] <= STEADY[1]


# Those that a rank needs, in words.
AUDITS = {
    "before": "before its rounds",
    "round": "of a round",
    "late": "on weights as late in a training",
}
_installation = attrgetter(
    *("contender", "torch", "framework_version", "revision", "device", "machine")
)
NO_REASON = "no reason is recorded"
Rows = Sequence[Any]


def _proved(row: Any, proofs: Sequence[Rows], bf16_trainings: Rows) -> dict[str, object]:
    """Return the proof of a contender in a cell and run.

    `row` is its last one, `bf16_trainings` are its trainings in bf16.
    """
    ended, exams, layers, audits = proofs
    # an audit of inference has no gradients
    cosines = [e.gradient_cosine for e in audits or layers if not isnan(e.gradient_cosine)]
    own = (e for e in exams if e.certificate_precision == e.precision and e.spikes)
    return {
        "exam": min((each.exam for each in exams), default=0),
        "exam_inputs": max((each.attempts for each in exams), default=0),
        "audit": max((each.way for each in audits), default=""),  # a replay, where one was needed
        # in the precision that was timed: by its audits, else by its exam
        "mismatch_rate": sum(_shares(audits))
        if audits
        else next((e.mismatches / e.spikes for e in own), nan),
        "gradient_cosine": min(cosines, default=nan),
        "lacks": (),
        **_standing(row, ended, exams, audits, bf16_trainings),
    }


def _standing(
    row: Any, ended: Rows, exams: Rows, audits: Rows, bf16_trainings: Rows
) -> dict[str, object]:
    def refused(text: str, *lacks: str) -> dict[str, object]:
        return {"certificate": text, "standing": "none", "lacks": lacks}

    if row.framework == FLOOR:
        return refused("")
    if ended:
        status, reason = ended[-1].status, ended[-1].reason
        why = f"{status}: {reason}" if status == "not comparable" else reason
        return refused("not installed" if status == "missing" else status, why)
    if row.deviations:
        return refused("not the paper's function", row.deviations)
    if not exams:
        return refused("none", "no exam was taken")
    if failed := [each for each in exams if not each.certified]:
        return refused("none", f"its exam failed: {failed[0].reason or NO_REASON}")
    if failed := [each for each in audits if not each.passed]:
        why = failed[0].reason or NO_REASON
        return refused("audit failed", f"audit {AUDITS.get(failed[0].when, '')}: {why}")
    taken = {each.when for each in audits}
    untaken = [f"not audited {text}" for when, text in AUDITS.items() if when not in taken]
    lacks = untaken if taken else ["not audited"]
    if row.precision == "bf16":
        # the last training that was finished
        last = next(reversed([e for e in bf16_trainings if e.finished] or bf16_trainings), None)
        if last is None:
            makes = f"a run of {row.contender} in bf16 with five rounds and time left makes one"
            lacks += [f"no training in bf16 yet: {makes}"]
        elif not last.passed:
            lacks += [f"its training in bf16: {last.reason or NO_REASON}"]
        if lacks:
            return refused("not proved", *lacks)
        beyond, within = (f"{100 * share:.2g} %" for share in _shares(audits))
        text = f"bf16 ({beyond} of spikes differ beyond rounding, {within} within it)"
        return {"certificate": text, "standing": "bf16"}
    if "before" not in taken:
        text = "equal by its exam alone"
        return {"certificate": text, "standing": "examined", "lacks": tuple(lacks)}
    exact = (p for each in exams if (p := each.certificate_precision) != "bf16")
    text = f"equal ({'+'.join(exact)})"
    return {"certificate": text, "standing": "equal", "lacks": tuple(lacks)}


def _shares(audits: Sequence[Any]) -> tuple[float, float]:
    """Of the spikes compared, those that differ beyond rounding, and those that it decides."""
    compared = sum(row.spikes for row in audits)
    if not compared:
        return nan, nan
    rounding = sum(row.near_ties for row in audits)
    return (sum(row.mismatches for row in audits) - rounding) / compared, rounding / compared
