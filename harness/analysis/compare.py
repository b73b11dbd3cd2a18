"""Two result folders against each other: what changed, and what stands out of the noise.

Speed is compared by the ratio to the floor: what slows all alike is not in it, and it moves with
the machine all the same. Two runs of the same code differ by more than the rounds of one run say,
because neighbours and memory change over minutes. So the yardstick is the scatter over cells: a
contender that changed did so in all its cells, noise is another in each. Accuracy is compared over
seeds. The level of every test is divided by their number (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, nan, sqrt
from statistics import fmean, median, variance
from typing import Literal

from scipy import stats

from harness.analysis.speed import acceleration_lines
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import Row, TrainedRow
from harness.spec import FLOOR, contender

LEVEL = 0.05
FEWEST_TO_SET_APART = 3
Call = Literal["slower", "faster", "worse", "better", "no change", "not judged"]


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
    call: Call


@dataclass(frozen=True)
class Comparison:
    """What two folders have in common, and in what they were made differently."""

    differences: tuple[str, ...]  # of machine, versions and data: to know before reading on
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]  # cells that one folder alone has

    def beyond(self, limit: float) -> list[Change]:
        """The changes for the worse that stand out of the noise and are larger than `limit`."""
        worse = [each for each in self.changes if each.call in ("slower", "worse")]
        return [each for each in worse if abs(each.change) > limit]


def compare(old: Sequence[Row], new: Sequence[Row]) -> Comparison:
    """Compares all cells and trainings that both have."""
    before, after = _speeds(old), _speeds(new)
    learnt = _learnt(old), _learnt(new)
    shared = [key for key in before if key in after]
    both = [key for key in learnt[0] if key in learnt[1]]
    changes = [*_speed_changes(before, after, shared), *_accuracy_changes(*learnt, both)]
    alone = [
        *(f"{_cell_text(key)} {key[1]}" for key in before.keys() ^ after.keys()),
        *(_condition_text(key) for key in learnt[0].keys() ^ learnt[1].keys()),
    ]
    return Comparison(tuple(_differences(old, new)), tuple(changes), tuple(sorted(alone)))


SPOKEN: dict[str, Callable[[Row], Hashable]] = {
    "CPU": lambda row: row.cpu,
    "GPU": lambda row: row.gpu,
    "threads": lambda row: row.threads,
    "torch": lambda row: row.torch,
    "python": lambda row: row.python,
    "harness": lambda row: row.harness,
    "commit": lambda row: row.commit,
    "allocator": lambda row: row.allocator,
    "environment": lambda row: row.environment,
}


def _differences(old: Sequence[Row], new: Sequence[Row]) -> Iterable[str]:
    for name, of in SPOKEN.items():
        a, b = _all(old, of), _all(new, of)
        if a != b:
            yield f"{name}: {a} before, {b} now"
    frameworks = {row.framework for row in (*old, *new) if row.framework_version}
    for framework in sorted(frameworks):
        a, b = (
            _all((r for r in rows if r.framework == framework), lambda row: row.framework_version)
            for rows in (old, new)
        )
        if a and b and a != b:
            yield f"{framework}: {a} before, {b} now"
    a, b = _data(old), _data(new)
    for suite, dataset in sorted(a.keys() & b.keys()):
        if a[suite, dataset] != b[suite, dataset]:
            yield f"data of {dataset} in {suite}: not the same"


def _data(rows: Sequence[Row]) -> dict[tuple[str, str], set[str]]:
    """The hashes of the data of each suite and data set."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.data_sha256:
            found.setdefault((row.suite, row.dataset), set()).add(row.data_sha256)
    return found


def _all(rows: Iterable[Row], of: Callable[[Row], Hashable]) -> str:
    return ", ".join(sorted({str(of(row)) for row in rows if of(row) is not None}))


Key = tuple[tuple[Hashable, ...], str]  # cell, contender
Speed = tuple[float, float, int]  # ratio to the floor, its half interval in logs, rounds


def _speeds(rows: Sequence[Row]) -> dict[Key, Speed]:
    found: dict[Key, Speed] = {}
    for line in acceleration_lines(rows):
        if line.framework == FLOOR or isnan(line.ratio_to_floor):
            continue
        cell = (line.dataset, line.scale, line.network, line.neunorm, line.width, line.mode)
        cell = (*cell, line.device, line.T, line.batch_size)
        name = f"{contender(line.framework, line.variant)} {line.precision}"
        known = line.ratio_low > 0 and line.ratio_high < inf
        half = log(line.ratio_high / line.ratio_low) / 2 if known else nan
        # of several machines the one with most rows, which comes first
        found.setdefault((cell, name), (line.ratio_to_floor, half, line.rounds))
    return found


def _cell_text(key: Key) -> str:
    dataset, scale, _, neunorm, width, mode, device, T, batch_size = key[0]
    more = [f"NeuNorm {neunorm}" if neunorm else "", f"width {width}" if width != "1" else ""]
    more += [str(mode) if mode != "training" else ""]
    special = " ".join(text for text in more if text)
    return f"{dataset} {scale} {device} T={T} batch {batch_size} {special}".strip()


def _speed_changes(
    before: dict[Key, Speed], after: dict[Key, Speed], shared: list[Key]
) -> list[Change]:
    """Of each precision: all contenders together, each against the others, then every cell."""
    logs: dict[str, dict[Key, float]] = {}
    for key in shared:
        logs.setdefault(_precision(key), {})[key] = log(after[key][0] / before[key][0])
    groups = sum(1 + len({key[1] for key in changed}) for changed in logs.values())
    tests = groups + len(shared)
    changes: list[Change] = []
    for precision, changed in logs.items():
        changes += _of_contenders(precision, changed, tests)
    for changed in logs.values():
        noise = _noise(changed, lambda key: key[1]) or _noise_of_rounds(changed, before, after)
        for key, value in changed.items():
            each = _change(_cell_text(key), key[1], [value], noise, tests)
            changes.append(replace(each, old=before[key][0], new=after[key][0]))
    return changes


def _precision(key: Key) -> str:
    return key[1].rpartition(" ")[2]


def _of_contenders(precision: str, logs: dict[Key, float], tests: int) -> list[Change]:
    """What all of one precision have in common, and what sets each apart from it.

    A floor that was fast or slow in one cell moves all ratios of that cell: with three contenders
    or more, each is compared with the median of its cell.
    """
    cells = dict.fromkeys(key[0] for key in logs)
    medians = {cell: median(v for key, v in logs.items() if key[0] == cell) for cell in cells}
    names = list(dict.fromkeys(key[1] for key in logs))
    changes: list[Change] = []
    if len(names) >= FEWEST_TO_SET_APART:
        common = _noise({(cell, ""): value for cell, value in medians.items()}, lambda key: key[1])
        values = list(medians.values())
        changes.append(_change("all cells", f"all {precision}", values, common, tests))
        logs = {key: value - medians[key[0]] for key, value in logs.items()}
    noise = _noise(logs, lambda key: key[1])
    where = "all cells, against the others" if changes else "all cells"
    for name in names:
        values = [value for key, value in logs.items() if key[1] == name]
        changes.append(_change(where, name, values, noise, tests))
    return changes


@dataclass(frozen=True)
class Noise:
    """Deviation of one log change where nothing changed, and its degrees of freedom."""

    deviation: float
    freedom: int


def _noise(logs: dict[Key, float], group: Callable[[Key], str]) -> Noise | None:
    """The scatter over cells around each group's mean; None where each has one cell alone."""
    groups: dict[str, list[float]] = {}
    for key, value in logs.items():
        groups.setdefault(group(key), []).append(value)
    several = [values for values in groups.values() if len(values) > 1]
    rest = [value - fmean(values) for values in several for value in values]
    freedom = len(rest) - len(several)
    return Noise(sqrt(sum(v**2 for v in rest) / freedom), freedom) if freedom > 0 else None


def _noise_of_rounds(
    logs: dict[Key, float], before: dict[Key, Speed], after: dict[Key, Speed]
) -> Noise | None:
    """What the rounds of the two runs say; None where they are too few."""
    halves = [each[key][1] for key in logs for each in (before, after)]
    if not halves or any(map(isnan, halves)):
        return None
    deviations = [half / stats.norm.ppf(0.975) for half in halves]
    return Noise(sqrt(2 * fmean(each**2 for each in deviations)), len(halves))


def _change(where: str, name: str, values: list[float], noise: Noise | None, tests: int) -> Change:
    centre = fmean(values)
    if noise is None:
        return Change("speed", where, name, nan, nan, exp(centre) - 1, nan, nan, "not judged")
    quantile = float(stats.t.ppf(1 - LEVEL / tests / 2, noise.freedom))
    reach = quantile * noise.deviation / sqrt(len(values))
    low, high = exp(centre - reach) - 1, exp(centre + reach) - 1
    call: Call = "slower" if low > 0 else "faster" if high < 0 else "no change"
    return Change("speed", where, name, nan, nan, exp(centre) - 1, low, high, call)


def _learnt(rows: Sequence[Row]) -> dict[tuple[str, Condition], Trainings]:
    suites = dict.fromkeys(row.suite for row in rows if isinstance(row, TrainedRow))
    return {(suite, each.condition): each for suite in suites for each in trainings(rows, suite)}


def _condition_text(key: tuple[str, Condition]) -> str:
    suite, condition = key
    case = condition.case
    reading = f" NeuNorm {condition.reading}" if case.network.neunorm else ""
    return (
        f"{suite}: {case.dataset} {case.scale}{reading} {case.framework} T={case.T} "
        f"width {case.width}, {case.trained.epochs} epochs of {condition.train_samples} samples"
    )


def _accuracy_changes(
    before: dict[tuple[str, Condition], Trainings],
    after: dict[tuple[str, Condition], Trainings],
    shared: Sequence[tuple[str, Condition]],
) -> list[Change]:
    return [_accuracy_change(key, before[key], after[key], len(shared)) for key in shared]


def _accuracy_change(
    key: tuple[str, Condition], before: Trainings, after: Trainings, tests: int
) -> Change:
    """Welch's interval of the difference of two means over seeds."""
    old, new = (list(each.accuracies.values()) for each in (before, after))
    change = fmean(new) - fmean(old)
    front = ("accuracy", _condition_text(key), key[1].case.framework, fmean(old), fmean(new))
    if sorted(old) == sorted(new):
        return Change(*front, 0.0, 0.0, 0.0, "no change")
    if min(len(old), len(new)) < 2:
        return Change(*front, change, nan, nan, "not judged")
    reach = _welch(old, new, 1 - LEVEL / tests)
    low, high = change - reach, change + reach
    call: Call = "better" if low > 0 else "worse" if high < 0 else "no change"
    return Change(*front, change, low, high, call)


def _welch(old: Sequence[float], new: Sequence[float], confidence: float) -> float:
    """Half of Welch's interval of the difference of two means; 0 where no seed differs.

    Not SciPy's: that warns where all seeds of one side came to the same.
    """
    a, b = variance(old) / len(old), variance(new) / len(new)
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
    return float(stats.t.ppf((1 + confidence) / 2, freedom)) * sqrt(a + b)
