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

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp, inf, isnan, nan, sqrt
from statistics import fmean, variance
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import timings
from harness.analysis.frame import Frame, Frames, Key, Line, X, each_of, frames
from harness.analysis.trainings import TrainingLine, same_but, trainings
from harness.analysis.words import counted, data_name
from harness.records import Row, TrainedRow
from harness.spec import FLOOR, paper

LEVEL = 0.05  # of all tests of one kind together
ACCURACY = 0.01  # the least change that matters, as in the verdicts; absolute
# Relative. Two runs of the same code differ by 3 to 5 % (median of their ratios to the floor), so
# less than this may be noise and not the code.
MARGIN = 0.1
FEWEST_TO_SET_APART = 3
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
    call: Call = "not judged"
    setting: str = ""  # what of the cell or condition others share too, in words


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
    speeds = _speeds(before), _speeds(after)
    timed = speeds[0].merge(speeds[1], on=CONTENDER, suffixes=("_old", "_new"))
    alone_timed = pd.concat(speeds).drop_duplicates(CONTENDER, keep=False)
    learnt, alone_learnt = _joined(_learnt(before), _learnt(after))
    changes = [*_speed_changes(timed, margins[0])]
    changes += [_accuracy_change(*pair, len(learnt), margins[1]) for pair in learnt]
    alone = [f"{_network(each)} {_setting(each)} {each.label}" for each in each_of(alone_timed)]
    alone += [f"{each.case.suite}: {_trained(each)}, {_shared(each)}" for each in alone_learnt]
    differences = tuple(_differences(before["all"], after["all"]))
    return Comparison(differences, tuple(changes), tuple(sorted(alone)), *margins)


def _joined(old: Mapping[Key, X], new: Mapping[Key, X]) -> tuple[list[tuple[X, X]], list[X]]:
    """Return the lines that both have, in pairs, and those that one alone has."""
    both = [(each, new[key]) for key, each in old.items() if key in new]
    return both, [each for key, each in {**old, **new}.items() if key not in old or key not in new]


FEW = 3  # values that are named
# Fields of rows, by the words of the comparison.
SPOKEN = {"CPU": "cpu", "instructions": "capability", "GPU": "gpu"} | {
    name: name
    for name in (
        *("cores", "memory_mib", "os", "threads", "torch", "python", "harness", "commit"),
        *("allocator", "environment"),
    )
}


def _differences(old: Frame, new: Frame) -> Iterator[str]:
    def there(rows: Frame, name: str) -> list[str]:
        return sorted({str(each) for each in rows[name] if each})

    def in_words(found: list[str]) -> str:
        return "; ".join(found if len(found) <= FEW else [f"{len(found)} of them"]) or "none"

    pairs = [(name, there(old, column), there(new, column)) for name, column in SPOKEN.items()]
    for name in sorted({*old["framework"]} & {*new["framework"]}):
        own = (rows[rows["framework"] == name] for rows in (old, new))
        a, b = (there(rows, "framework_version") for rows in own)
        pairs += [(name, a, b)] if a and b else []
    yield from (
        f"{name}: {in_words(a)} before, {in_words(b)} now" for name, a, b in pairs if a != b
    )
    known = (rows[rows["data_sha256"] != ""] for rows in (old, new))
    one, two = (dict(of.groupby(["suite", "dataset"])["data_sha256"].agg(set)) for of in known)
    for suite, dataset in sorted(one.keys() & two.keys()):
        if one[suite, dataset] != two[suite, dataset]:
            yield f"data of {dataset} in {suite}: not the same"


CELL = [*timings.CELL, "precision"]
CONTENDER = [*CELL, "label"]


def _speeds(of: Frames) -> Frame:
    """Return the ratios to the floor of a folder.

    Of a machine those of the last run, of several machines those of the one with most rows.
    `half`: of the interval, in logs; NaN where the rounds do not tell.
    """
    found = timings.lines(of)
    found = found[(found["framework"] != FLOOR) & found["ratio_to_floor"].notna()]
    known = (found["ratio_low"] > 0) & (found["ratio_high"] < inf)
    half = np.log((found["ratio_high"] / found["ratio_low"]).where(known)) / 2
    label = found["name"].where(found["precision"] != "fp32", found["name"] + " fp32")
    found = found.assign(ratio=found["ratio_to_floor"], half=half, label=label)
    found = found.drop_duplicates(["machine", *CONTENDER], keep="last")
    found = found.drop_duplicates(CONTENDER)  # the machine with most rows comes first
    return found[[*CONTENDER, "ratio", "half"]]


def _network(each: Line) -> str:
    return f"{paper.settings(each.dataset).title} {each.scale}"


def _setting(each: Line) -> str:
    """Return what several cells share."""
    special = (
        f"NeuNorm {each.neunorm}" if each.neunorm else "",
        f"width {each.width}" if each.width != "1" else "",
        each.mode if each.mode != "training" else "",
    )
    front = f"{each.device} T={each.T} batch {each.batch_size}"
    return " ".join(text for text in (front, *special) if text)


Noise = tuple[float, int]  # deviation of a log change where nothing changed, degrees of freedom


def _speed_changes(shared: Frame, margin: float) -> Iterator[Change]:
    """Yield, for each precision, all contenders together, each against the others, every cell.

    A floor that was fast or slow in one cell moves all ratios of that cell: with three contenders
    or more, each is compared with the median of its cell.
    """
    shared = shared.assign(log=np.log(shared["ratio_new"] / shared["ratio_old"]))
    groups = list(shared.groupby("precision", sort=False))
    tests = sum(1 + of["label"].nunique() for _, of in groups) + len(shared)  # they share the level

    def change(where: str, label: str, logs: Frame, noise: Noise | None) -> Change:
        centre, reach = fmean(logs), nan
        if noise is not None:
            deviation, freedom = noise
            quantile = float(stats.t.ppf(1 - LEVEL / tests / 2, freedom))
            reach = quantile * deviation / sqrt(len(logs))
        value, low, high = (exp(centre + off) - 1 for off in (0.0, -reach, reach))
        found, matters = (nan, nan, value, low, high), (1 / (1 + margin) - 1, margin)
        return _called(Change("speed", where, label, *found), ("faster", "slower"), matters)

    for precision, of in groups:
        logs, where = of["log"], "all cells"
        if of["label"].nunique() >= FEWEST_TO_SET_APART:
            cells = of.groupby(CELL, sort=False)["log"]
            medians = cells.median()
            noise = _noise(medians, pd.Series("", medians.index))
            yield change(where, f"all {precision}", medians, noise)
            logs, where = logs - cells.transform("median"), "all cells, against the others"
        noise = _noise(logs, of["label"])
        for name, values in logs.groupby(of["label"], sort=False):
            yield change(where, str(name), values, noise)
    for _, of in groups:
        noise = _noise(of["log"], of["label"]) or _noise_of_rounds(of)
        for each in each_of(of):
            found = change(_network(each), each.label, [each.log], noise)
            yield replace(found, old=each.ratio_old, new=each.ratio_new, setting=_setting(each))


def _noise(logs: Frame, group: Frame) -> Noise | None:
    """Return the scatter over cells around each group's mean; None if each has one cell."""
    groups = logs.groupby(group)
    freedom = len(logs) - groups.ngroups  # a group of one cell adds nothing to either
    rest = logs - groups.transform("mean")
    return (sqrt((rest**2).sum() / freedom), freedom) if freedom > 0 else None


def _noise_of_rounds(of: Frame) -> Noise | None:
    """Return what the rounds of the two runs say; None where they are too few."""
    halves = of[["half_old", "half_new"]].to_numpy().ravel()
    if not len(halves) or np.isnan(halves).any():
        return None
    deviations = halves / stats.norm.ppf(0.975)
    return sqrt(2 * fmean(deviations**2)), len(halves)


def _called(of: Change, words: tuple[Call, Call], matters: tuple[float, float]) -> Change:
    """Return the change with the call of its interval.

    `words` are for an interval below 0 and one above; `matters` are the least fall and the least
    rise that do.
    """
    if isnan(of.low):
        return of
    within = matters[0] <= of.low and of.high <= matters[1]
    call: Call = "no change" if within else "too noisy to tell"
    return replace(of, call=words[0] if of.high < 0 else words[1] if of.low > 0 else call)


VERSIONS_MARGIN = 0.03  # relative: within a run a change of that much can be told from noise


def within_run(
    given: Frames | Iterable[Row], contender: str, against: str, limit: float | None = None
) -> list[Change]:
    """Compare two contenders in the rounds that they had together, a line each network.

    Of each network the last run that timed both. The interval is of the paired rounds, at 95 %.
    """
    of, margin = frames(given), VERSIONS_MARGIN if limit is None else limit
    together, lines = timings.rounds(of), timings.lines(of)
    matters = (1 / (1 + margin) - 1, margin)
    found: dict[int, Change] = {}
    for each in each_of(lines[lines["name"] == contender]):
        pair = [(name.partition(" ")[0], each.precision) for name in (contender, against)]
        rounds = together.get((each.cell, each.run))
        ratio = rounds and rounds.ratio(*pair)
        if ratio:
            known = ratio.method != "none"
            low, high = (ratio.low - 1, ratio.high - 1) if known else (nan, nan)
            figures = nan, nan, ratio.value - 1, low, high
            change = Change("speed", _network(each), contender, *figures, setting=_setting(each))
            found[each.cell] = _called(change, ("faster", "slower"), matters)
    return [*found.values()]


def sentence(change: Change, against: str) -> str:
    """Return a change of `within_run` in words."""
    front = f"{change.contender} against {against} on {change.where}"
    if isnan(change.low):
        return f"{front}: {100 * change.change:+.1f} %, in too few rounds for an interval"
    interval = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    words = {"slower": f"slower by {100 * change.change:.1f} %"}
    words |= {"faster": f"faster by {-100 * change.change:.1f} %", "no change": "no difference"}
    return f"{front}: {words.get(change.call, change.call)} {interval}"


def _learnt(of: Frames) -> dict[Hashable, TrainingLine]:
    """Return the trainings of a folder, by what is the same in both folders."""
    suites, same = dict.fromkeys(row.suite for row in of.counted(TrainedRow)), same_but()
    return {(each.case, same(each)): each for suite in suites for each in trainings(of, suite)}


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
    found = Change(*front, change, change - reach, change + reach)
    found = replace(found, setting=f"{before.case.suite}: {_shared(before)}")
    return _called(found, ("worse", "better"), (-margin, margin))
