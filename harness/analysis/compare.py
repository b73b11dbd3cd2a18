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

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, nan, sqrt
from statistics import fmean, median, variance
from typing import Literal

from scipy import stats

from harness.analysis import timings, trainings
from harness.analysis.frame import Frames, Key, X, frames, grouped
from harness.analysis.timings import TimedLine
from harness.analysis.trainings import TrainingLine, same_but
from harness.analysis.words import counted, data_name
from harness.records import Row, TrainedRow
from harness.spec import FLOOR, paper

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
    """One figure of both folders. Relative for speed (0.1: 10 % slower), absolute for accuracy."""

    what: str  # "speed" or "accuracy"
    where: str  # the cell or condition; "all cells" where it is the contender's mean change
    contender: str
    old: float
    new: float
    change: float
    low: float  # interval of `change` at the level of all tests together
    high: float
    margin: float  # the least change that matters
    setting: str  # what of the cell or condition others share too, in words

    @property
    def call(self) -> Call:
        """What the interval says."""
        is_speed = self.what == "speed"
        if isnan(self.low):
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
    """What two folders have in common, and in what they were made differently."""

    differences: tuple[str, ...]  # of machine, versions and data: to know before reading on
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]  # cells that one folder alone has
    speed: float = MARGIN  # the least changes that matter, relative and absolute
    accuracy: float = ACCURACY

    def beyond(self, limit: float) -> list[Change]:
        """Return the changes for the worse beyond the noise and larger than `limit`."""
        worse = [each for each in self.changes if each.call in ("slower", "worse")]
        return [each for each in worse if abs(each.change) > limit]


def compare(
    old: Frames | Iterable[Row], new: Frames | Iterable[Row], limit: float | None = None
) -> Comparison:
    """Compare all cells and trainings that both have; `limit`: the least change that matters."""
    margins = (MARGIN, ACCURACY) if limit is None else (limit, limit)
    before, after = frames(old), frames(new)
    timed, alone_timed = _joined(_speeds(before), _speeds(after))
    learnt, alone_learnt = _joined(_learnt(before), _learnt(after))
    changes = [*_speed_changes([SpeedPair(*pair) for pair in timed], margins[0])]
    changes += [_accuracy_change(*pair, len(learnt), margins[1]) for pair in learnt]
    alone = [f"{_network(each)} {_setting(each)} {_label(each)}" for each in alone_timed]
    alone += [f"{each.case.suite}: {_trained(each)}, {_shared(each)}" for each in alone_learnt]
    differences = tuple(_differences(before.rows, after.rows))
    return Comparison(differences, tuple(changes), tuple(sorted(alone)), *margins)


def _joined(old: Mapping[Key, X], new: Mapping[Key, X]) -> tuple[list[tuple[X, X]], list[X]]:
    """Return the lines that both have, in pairs, and those that one alone has."""
    both = [(each, new[key]) for key, each in old.items() if key in new]
    return both, [each for key, each in {**old, **new}.items() if key not in old or key not in new]


FEW = 3  # values that are named
# Fields of rows in which folders may differ, and words for some.
MADE_WITH = ("cpu", "capability", "gpu", "cores", "memory_mib", "os", "threads", "torch", "python")
MADE_WITH += ("harness", "commit", "allocator", "environment")
WORDS = {"cpu": "CPU", "capability": "instructions", "gpu": "GPU"}


def _differences(old: Sequence[Row], new: Sequence[Row]) -> Iterator[str]:
    def there(rows: Iterable[Row], name: str) -> list[str]:
        return sorted({str(value) for row in rows if (value := getattr(row, name))})

    def in_words(found: list[str]) -> str:
        return "; ".join(found if len(found) <= FEW else [f"{len(found)} of them"]) or "none"

    pairs = [(WORDS.get(name, name), there(old, name), there(new, name)) for name in MADE_WITH]
    for name in sorted({row.framework for row in old} & {row.framework for row in new}):
        own = ([row for row in rows if row.framework == name] for rows in (old, new))
        a, b = (there(rows, "framework_version") for rows in own)
        pairs += [(name, a, b)] if a and b else []
    yield from (
        f"{name}: {in_words(a)} before, {in_words(b)} now" for name, a, b in pairs if a != b
    )
    known = ([row for row in rows if row.data_sha256] for rows in (old, new))
    one, two = (grouped(rows, lambda row: (row.suite, row.dataset)) for rows in known)
    for suite, dataset in sorted(one.keys() & two.keys()):
        of = (there(by_data[suite, dataset], "data_sha256") for by_data in (one, two))
        if len({*map(tuple, of)}) > 1:
            yield f"data of {dataset} in {suite}: not the same"


@dataclass(frozen=True)
class SpeedPair:
    """A contender in a cell that both folders have."""

    old: TimedLine
    new: TimedLine

    @property
    def log(self) -> float:
        """Of the change of its ratio to the floor."""
        return log(self.new.ratio_to_floor / self.old.ratio_to_floor)


def _label(each: TimedLine) -> str:
    return each.name if each.precision != "fp32" else f"{each.name} fp32"


def _speeds(of: Frames) -> dict[Hashable, TimedLine]:
    """Return the contenders that were timed against the floor, by cell and name.

    Of a machine those of the last run, of several machines those of the one with most rows.
    """
    last = dict[tuple[str, Hashable], TimedLine]()
    for each in timings.lines(of):
        if each.framework != FLOOR and not isnan(each.ratio_to_floor):
            key = each.machine, (timings.of_cell(each), _label(each))
            last.pop(key, None)
            last[key] = each
    found: dict[Hashable, TimedLine] = {}
    for (_, contender), each in last.items():  # the machine with most rows comes first
        found.setdefault(contender, each)
    return found


def _network(each: TimedLine) -> str:
    return f"{paper.settings(each.dataset).title} {each.scale}"


def _setting(each: TimedLine) -> str:
    """Return what several cells share."""
    special = (
        f"NeuNorm {each.neunorm}" if each.neunorm else "",
        f"width {each.width}" if each.width != "1" else "",
        each.mode if each.mode != "training" else "",
    )
    front = f"{each.device} T={each.T} batch {each.batch_size}"
    return " ".join(text for text in (front, *special) if text)


Noise = tuple[float, int]  # deviation of a log change where nothing changed, degrees of freedom


def _speed_changes(shared: Sequence[SpeedPair], margin: float) -> Iterator[Change]:
    """Yield, for each precision, all contenders together, each against the others, every cell.

    A floor that was fast or slow in one cell moves all ratios of that cell: with three contenders
    or more, each is compared with the median of its cell.
    """
    groups = grouped(shared, lambda pair: pair.old.precision)
    contenders = {(pair.old.precision, _label(pair.old)) for pair in shared}
    tests = len(groups) + len(contenders) + len(shared)  # they share the level

    def change(where: str, label: str, logs: Sequence[float], noise: Noise | None) -> Change:
        centre, reach = fmean(logs), nan
        if noise is not None:
            deviation, freedom = noise
            quantile = float(stats.t.ppf(1 - LEVEL / tests / 2, freedom))
            reach = quantile * deviation / sqrt(len(logs))
        value, low, high = (exp(centre + off) - 1 for off in (0.0, -reach, reach))
        return Change("speed", where, label, nan, nan, value, low, high, margin, "")

    for precision, of in groups.items():
        cells, where = grouped(of, lambda pair: timings.of_cell(pair.old)), "all cells"
        by_label = grouped(of, lambda pair: _label(pair.old))
        usual = dict.fromkeys(cells, 0.0)  # the change of a cell that is no contender's own
        if len(by_label) >= FEWEST_COMPARED:
            usual = {cell: median(pair.log for pair in its) for cell, its in cells.items()}
            medians = [*usual.values()]
            yield change(where, f"all {precision}", medians, _noise([medians]))
            where = "all cells, against the others"
        own = {
            label: [pair.log - usual[timings.of_cell(pair.old)] for pair in its]
            for label, its in by_label.items()
        }
        for label, logs in own.items():
            yield change(where, label, logs, _noise(own.values()))
        by_contender = [[pair.log for pair in its] for its in by_label.values()]
        noise = _noise(by_contender) or _noise_of_rounds(of)
        for pair in of:
            found = change(_network(pair.old), _label(pair.old), [pair.log], noise)
            ratios = pair.old.ratio_to_floor, pair.new.ratio_to_floor
            yield replace(found, old=ratios[0], new=ratios[1], setting=_setting(pair.old))


def _noise(groups: Collection[Sequence[float]]) -> Noise | None:
    """Return the scatter over cells around each group's mean; None if each has one cell."""
    freedom = sum(map(len, groups)) - len(groups)  # a group of one cell adds nothing to either
    rest = sum((value - fmean(of)) ** 2 for of in groups for value in of)
    return (sqrt(rest / freedom), freedom) if freedom > 0 else None


def _noise_of_rounds(of: Sequence[SpeedPair]) -> Noise | None:
    """Return what the rounds of the two runs say; None where they are too few."""
    lines = [line for pair in of for line in (pair.old, pair.new)]
    if not all(line.ratio_low > 0 and line.ratio_high < inf for line in lines):
        return None
    halves = [log(line.ratio_high / line.ratio_low) / 2 for line in lines]  # of the intervals
    quantile = stats.norm.ppf(0.975)
    return sqrt(2 * fmean((half / quantile) ** 2 for half in halves)), len(halves)


VERSIONS_MARGIN = 0.03  # relative: within a run a change of that much can be told from noise


def within_run(
    given: Frames | Iterable[Row], contender: str, against: str, limit: float | None = None
) -> list[Change]:
    """Compare two contenders in the rounds that they had together, a line each network.

    Of each network the last run that timed both. The interval is of the paired rounds, at 95 %.
    """
    of, margin = frames(given), VERSIONS_MARGIN if limit is None else limit
    together, lines = timings.rounds(of), timings.lines(of)
    found: dict[int, Change] = {}
    for each in (line for line in lines if line.name == contender):
        pair = [(name.partition(" ")[0], each.precision) for name in (contender, against)]
        rounds = together.get((each.cell, each.run))
        ratio = rounds.ratio(*pair) if rounds else timings.UNKNOWN
        if ratio.rounds:
            known = ratio.method != "none"
            low, high = (ratio.low - 1, ratio.high - 1) if known else (nan, nan)
            figures = nan, nan, ratio.value - 1, low, high, margin
            found[each.cell] = Change("speed", _network(each), contender, *figures, _setting(each))
    return [*found.values()]


def sentence(change: Change, against: str) -> str:
    """Return a change of `within_run` in words."""
    front = f"{change.contender} against {against} on {change.where}"
    if isnan(change.low):
        return f"{front}: {100 * change.change:+.1f} %, in too few rounds for an interval"
    interval = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    words = {"slower": f"slower by {100 * change.change:.1f} %"}
    words |= {"faster": f"faster by {-100 * change.change:.1f} %"}
    words |= {"no change": f"no difference beyond {100 * max(-change.low, change.high):.1f} %"}
    return f"{front}: {words.get(change.call, change.call)} {interval}"


def _learnt(of: Frames) -> dict[Hashable, TrainingLine]:
    """Return the trainings of a folder, by what is the same in both folders."""
    suites, same = dict.fromkeys(row.suite for row in of.counted(TrainedRow)), same_but()
    found = (each for suite in suites for each in trainings.lines(of, suite))
    return {(each.case, same(each)): each for each in found}


def _trained(each: TrainingLine) -> str:
    of_neunorm = "" if each.neunorm == "off" else f" NeuNorm {each.neunorm}"
    return f"{each.scale}{of_neunorm} T={each.T}"


def _shared(each: TrainingLine) -> str:
    """Return what several trainings share, in words."""
    data = data_name(each.dataset, substitute=each.substitute, simulated=each.simulated)
    samples = counted(each.train_samples, "sample").replace(",", "")
    return (
        f"{data}, width {each.width}, {counted(each.epochs, 'epoch')} of {samples}, "
        f"{each.framework} {each.precision}"
    )


def _accuracy_change(
    before: TrainingLine, after: TrainingLine, tests: int, margin: float
) -> Change:
    """Welch's interval of the difference of two means over seeds."""
    old, new = ([*each.accuracies.values()] for each in (before, after))
    change, reach = fmean(new) - fmean(old), nan
    if sorted(old) == sorted(new):
        change = reach = 0.0
    elif min(len(old), len(new)) > 1:
        # by hand: SciPy's warns where all seeds of one side have the same result
        a, b, confidence = variance(old) / len(old), variance(new) / len(new), 1 - LEVEL / tests
        reach = 0.0  # where no seed differs on either side
        if a + b:
            freedom = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
            reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * sqrt(a + b)
    front = ("accuracy", _trained(before), before.framework, fmean(old), fmean(new))
    setting = f"{before.case.suite}: {_shared(before)}"
    return Change(*front, change, change - reach, change + reach, margin, setting)
