"""Two result folders against each other: what changed, and what stands out of the noise.

Speed is compared by the ratio to the floor, which leaves out what changed for all. Two runs of the
same code differ by more than the rounds of one run say, because neighbours and memory change over
minutes. So the yardstick is the scatter over cells: a contender that changed did so in all its
cells, noise is another in each. Accuracy is compared over seeds. The level of every test is divided
by their number (Bonferroni).

A change is called where its interval leaves out 0. There is "no change" only where the interval
lies within what would matter: one that has 0 in it and more than that is too noisy to tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, nan, sqrt
from operator import attrgetter
from statistics import fmean, median
from typing import Literal

from harness import statistics
from harness.analysis import timings, trainings
from harness.analysis.frame import Frames, Key, X, fields_of, frames, grouped
from harness.analysis.timings import TimedLine
from harness.analysis.trainings import TrainingLine, same_but
from harness.analysis.words import counted, few
from harness.records import Row, TrainedResult
from harness.spec import paper
from harness.statistics import Deviation, pooled_deviation, t_critical

LEVEL = 0.05  # of all tests of one kind together
ACCURACY = 0.01  # the least change that matters, as in the verdicts; absolute
# Relative. Two runs of the same code differ by 3 to 5 % (median of their ratios to the floor), so
# less than this may be noise and not the code.
MARGIN = 0.1
FEWEST_COMPARED = 3  # contenders of a cell, each with the others
Call = Literal[
    "slower", "faster", "worse", "better", "no change", "too noisy to tell", "not judged"
]


@dataclass(frozen=True)
class Change:
    """The change of a figure between two folders, or of a contender against another."""

    what: str  # "speed" or "accuracy"
    where: str  # the cell or condition; "all cells" where it is the contender's mean change
    contender: str
    old: float  # NaN where no single figure: over all cells, and of `within_run`
    new: float
    change: float  # relative for speed (0.1: 10 % slower); for accuracy new - old, in [-1, 1]
    low: float  # interval of `change` at the level of all tests together
    high: float
    margin: float  # the least change that matters
    setting: str  # what of the cell or condition others share too, in words
    machine: str = ""  # of `within_run`
    refused: str = ""  # why it is not judged: a contender is not proved
    note: str = ""  # what else to know of it, in a sentence

    @property
    def call(self) -> Call:
        """The verdict by the interval and `margin`."""
        is_speed = self.what == "speed"
        if isnan(self.low) or self.refused:
            return "not judged"
        if self.high < 0:
            return "faster" if is_speed else "worse"
        if self.low > 0:
            return "slower" if is_speed else "better"
        least_fall = 1 - 1 / (1 + self.margin) if is_speed else self.margin
        within = -least_fall <= self.low and self.high <= self.margin
        return "no change" if within else "too noisy to tell"


@dataclass(frozen=True)
class Comparison:
    """The changes between two folders, what one alone has, and in what their origins differ."""

    differences: tuple[str, ...]  # of machine, versions and data: to know before reading on
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]  # timings and trainings that one folder alone has
    speed: float = MARGIN  # the least changes that matter, relative and absolute
    accuracy: float = ACCURACY

    def beyond(self, limit: float) -> list[Change]:
        """Return changes called slower or worse that exceed `limit`, in the unit of `change`."""
        worse = [change for change in self.changes if change.call in ("slower", "worse")]
        return [change for change in worse if abs(change.change) > limit]


def compare(
    old: Frames | Iterable[Row], new: Frames | Iterable[Row], limit: float | None = None
) -> Comparison:
    """Compare the timings and trainings that both have; `limit`: the least change that matters."""
    margins = (MARGIN, ACCURACY) if limit is None else (limit, limit)
    a, b = frames(old), frames(new)
    timings_of_both, timings_of_one = _joined(_speeds(a), _speeds(b))
    trainings_of_both, trainings_of_one = _joined(_accuracies(a), _accuracies(b))
    changes = [*_speed_changes(timings_of_both, margins[0])]
    tests = len(trainings_of_both)
    changes += [_accuracy_change(*pair, tests, margins[1]) for pair in trainings_of_both]
    unmatched = [f"{network(line)} {_setting(line)} {_label(line)}" for line in timings_of_one]
    unmatched += [f"{e.case.suite}: {_trained(e)}, {_shared(e)}" for e in trainings_of_one]
    differences = tuple(_differences(a.rows, b.rows))
    return Comparison(differences, tuple(changes), tuple(sorted(unmatched)), *margins)


def _joined(old: Mapping[Key, X], new: Mapping[Key, X]) -> tuple[list[tuple[X, X]], list[X]]:
    """Return the lines that both have, in pairs, and those that one alone has."""
    both = [(line, new[key]) for key, line in old.items() if key in new]
    return both, [{**old, **new}[key] for key in old.keys() ^ new.keys()]


# Fields of rows in which folders may differ, and words for some.
ORIGIN = ("cpu", "capability", "gpu", "cores", "memory_mib", "os", "threads", "torch", "python")
ORIGIN += ("harness", "commit", "allocator", "environment")
WORDS = {"cpu": "CPU", "capability": "instructions", "gpu": "GPU"}


def _origin(rows: Iterable[Row]) -> dict[str, set[str]]:
    """Return the machines, versions and data that rows were made with: by name their values."""
    origin = defaultdict[str, set[str]](set)
    for row in rows:
        fields: dict[str, object] = fields_of(row.run.machine) | {"allocator": row.run.allocator}
        fields[row.contender.package] = row.installation.framework_version
        data = f"data of {row.workload.dataset} in {row.suite}"
        for name, source in ((data, row.data.source), (f"test {data}", row.data.test)):
            fields[name] = source and source.sha256[:12]
        for name, value in fields.items():
            if value:
                origin[name].add(str(value))
    return origin


def _differences(old: Iterable[Row], new: Iterable[Row]) -> Iterator[str]:
    """Yield how machines, versions and data of two folders differ, a sentence each."""
    origins = _origin(old), _origin(new)
    # a framework or data of one folder alone is no difference
    both = origins[0].keys() & origins[1].keys()
    for name in (*ORIGIN, *sorted(both - {*ORIGIN})):
        a, b = (few(sorted(origin.get(name, {"none"})), "of them", "; ") for origin in origins)
        if origins[0].get(name) != origins[1].get(name):
            yield f"{WORDS.get(name, name)}: {a} in A, {b} in B"


SpeedPair = tuple[TimedLine, TimedLine]  # a contender in a cell that both folders have


def _log(pair: SpeedPair) -> float:
    old, new = pair
    return log(new.ratio_to_floor / old.ratio_to_floor)


def _label(line: TimedLine) -> str:
    return line.name if line.precision != "fp32" else f"{line.name} fp32"


def _speeds(frames: Frames) -> dict[Hashable, TimedLine]:
    """Return the contenders that are proved and were timed against the floor, by cell and name.

    Of a machine those of the last run, of several machines those of the one with most rows.
    """
    speeds: dict[Hashable, TimedLine] = {}
    for line in timings.lines(frames):  # the machine with most rows comes first
        if line.is_proved and not isnan(line.ratio_to_floor):
            key = timings.of_cell(line), _label(line)
            if key not in speeds or speeds[key].machine == line.machine:
                speeds.pop(key, None)  # in the order of the last run
                speeds[key] = line
    return speeds


def network(line: TimedLine) -> str:
    """Return the paper's names of the data set and the network of a line."""
    return f"{paper.settings(line.dataset).title} {line.scale}"


def _setting(line: TimedLine) -> str:
    """Return in words the device, T and batch of a timing, and what is unusual about it."""
    special = (
        f"NeuNorm {line.neunorm}" if line.neunorm else "",
        f"width {line.width}" if line.width != "1" else "",
        line.mode if line.mode != "training" else "",
    )
    front = f"{line.device} T={line.T} batch {line.batch_size}"
    return " ".join(filter(None, (front, *special)))


def _speed_changes(shared: Sequence[SpeedPair], margin: float) -> Iterator[Change]:
    """Yield the changes of each precision: of all contenders, of each against others, by cell.

    A floor that was fast or slow in one cell moves all ratios of that cell: with three contenders
    or more, each is compared with the median of its cell.
    """
    groups = grouped(shared, lambda pair: pair[0].precision)
    contenders = {_label(old) for old, _ in shared}
    tests = len(groups) + len(contenders) + len(shared)  # they share the level

    def change(where: str, label: str, logs: Sequence[float], noise: Deviation | None) -> Change:
        """Return the mean change of some contenders' times, with the interval that noise gives."""
        centre, reach = fmean(logs), nan
        if noise is not None:
            reach = t_critical(noise.freedom, LEVEL / tests) * noise.value / sqrt(len(logs))
        value, low, high = (exp(centre + off) - 1 for off in (0.0, -reach, reach))
        return Change("speed", where, label, nan, nan, value, low, high, margin, "")

    for precision, pairs in groups.items():
        by_label, where = grouped(pairs, lambda pair: _label(pair[0])), "all cells"
        by_cell = grouped(pairs, lambda pair: timings.of_cell(pair[0]))
        usual = dict.fromkeys(by_cell, 0.0)  # the change of a cell that is no contender's own
        if len(by_label) >= FEWEST_COMPARED:
            usual = {cell: median(map(_log, in_cell)) for cell, in_cell in by_cell.items()}
            medians = [*usual.values()]
            yield change(where, f"all {precision}", medians, pooled_deviation([medians]))
            where = "all cells, against the others"
        against_others = {
            label: [_log(pair) - usual[timings.of_cell(pair[0])] for pair in of_label]
            for label, of_label in by_label.items()
        }
        for label, logs in against_others.items():
            yield change(where, label, logs, pooled_deviation(against_others.values()))
        changes = [[*map(_log, of_label)] for of_label in by_label.values()]
        noise = pooled_deviation(changes) or _noise_of_rounds(pairs)
        for old, new in pairs:
            in_cell = change(network(old), _label(old), [_log((old, new))], noise)
            ratios = {"old": old.ratio_to_floor, "new": new.ratio_to_floor}
            yield replace(in_cell, **ratios, setting=_setting(old))


def _noise_of_rounds(pairs: Sequence[SpeedPair]) -> Deviation | None:
    """Return what the rounds of the two runs say; None where they are too few."""
    lines = [line for pair in pairs for line in pair]
    if not all(line.ratio_low > 0 and line.ratio_high < inf for line in lines):
        return None
    errors = (statistics.log_error(line.ratio_low, line.ratio_high) for line in lines)
    return Deviation(sqrt(2 * fmean(error**2 for error in errors)), len(lines))


VERSIONS_MARGIN = 0.03  # relative: within a run a change of that much can be told from noise


def within_run(
    rows: Frames | Iterable[Row], contender: str, against: str, limit: float | None = None
) -> list[Change]:
    """Return the change in time from `against` to `contender` in each cell, over common rounds.

    Both may name a precision, "fused bf16"; without one it is float32. Of each cell the last most
    complete run that timed both. The interval is of the paired rounds, at 95 %
    (`TimedLine.ratio_to`). Of contenders that are not proved, the change says why it is not judged.
    """
    margin = VERSIONS_MARGIN if limit is None else limit
    every = timings.lines(frames(rows))
    runs = timings.by_completeness(grouped(every, attrgetter("cell", "run")).values())
    changes: dict[int, Change | None] = {line.cell: None for line in every}  # in their order
    for run in runs:
        lines = {line.name: line for line in run}
        if not {contender, against} <= lines.keys():
            continue
        one, other = lines[contender], lines[against]
        ratio = one.ratio_to(other)
        why = "; ".join(f"{e.name}: {e.reason}" for e in (one, other) if not e.can_be_compared)
        if ratio.rounds or why:
            low, high = (ratio.low, ratio.high) if ratio.method != "none" else (nan, nan)
            figures = nan, nan, ratio.value - 1, low - 1, high - 1, margin
            where = network(one), contender, *figures, _setting(one), one.machine
            doubt = one.together.doubt
            changes[one.cell] = Change("speed", *where, refused=why, note=doubt)
    return [change for change in changes.values() if change]


def sentences(changes: Sequence[Change], against: str) -> list[str]:
    """Return changes of `within_run` as sentences, with machine and setting where these differ."""
    names = [n for n in ("setting", "machine") if len({getattr(e, n) for e in changes}) > 1]
    return [_sentence(e, against, [getattr(e, name) for name in names]) for e in changes]


def _sentence(change: Change, against: str, place: Sequence[str]) -> str:
    """Return a contender's change against another one in words, with its interval."""
    where = ", ".join((change.where, *place))
    front = f"{change.contender} against {against} on {where}"
    if change.refused:
        return f"{front}: not judged, since not both are proved ({change.refused})"
    if isnan(change.low):
        return f"{front}: {100 * change.change:+.1f} %, in too few rounds for an interval"
    interval = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    words = {"slower": f"slower by {100 * change.change:.1f} %"}
    words |= {"faster": f"faster by {-100 * change.change:.1f} %"}
    words |= {"no change": f"no difference beyond {100 * max(-change.low, change.high):.1f} %"}
    note = f"; {change.note}" if change.note else ""
    return f"{front}: {words.get(change.call, change.call)} {interval}{note}"


def _accuracies(frames: Frames) -> dict[Hashable, TrainingLine]:
    """Return the trainings of a folder by their condition."""
    suites = dict.fromkeys(row.suite for row in frames.current_rows(TrainedResult))
    lines = (line for suite in suites for line in trainings.lines(frames, suite))
    return {(line.case, same_but()(line)): line for line in lines}


def _trained(line: TrainingLine) -> str:
    of_neunorm = "" if line.neunorm == "off" else f" NeuNorm {line.neunorm}"
    return f"{line.scale}{of_neunorm} T={line.T}"


def _shared(line: TrainingLine) -> str:
    """Return in words what trainings that are compared have in common."""
    samples = counted(line.train_samples, "sample").replace(",", "")
    return (
        f"{line.data_title}, width {line.width}, {counted(line.epochs, 'epoch')} of {samples}, "
        f"{line.framework} {line.precision}"
    )


def _accuracy_change(a: TrainingLine, b: TrainingLine, tests: int, margin: float) -> Change:
    """Return the difference of two means over seeds, with Welch's interval."""
    old, new = ([*line.accuracies.values()] for line in (a, b))
    change, reach = fmean(new) - fmean(old), nan
    if sorted(old) == sorted(new):
        change = reach = 0.0
    elif min(len(old), len(new)) > 1:
        reach = statistics.welch_reach(old, new, LEVEL / tests)
    front = "accuracy", _trained(a), a.framework, fmean(old), fmean(new)
    setting = f"{a.case.suite}: {_shared(a)}"
    return Change(*front, change, change - reach, change + reach, margin, setting)
