"""What changed in speed between two folders, and what stands out of the noise (compare.py)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, nan, sqrt
from statistics import fmean, median
from typing import Literal

from scipy import stats

from harness.analysis.protocols import protocols
from harness.analysis.speed import acceleration_lines
from harness.records import Row
from harness.spec import FLOOR, contender, paper

LEVEL = 0.05  # of all tests of one kind together
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
    call: Call
    setting: str = ""  # what of the cell or condition others share too, in words


def called(low: float, high: float, words: tuple[Call, Call], margin: tuple[float, float]) -> Call:
    """What an interval of a change says; `words` are for one below 0 and for one above.

    `margin` is from the least fall to the least rise that matter.
    """
    if high < 0:
        return words[0]
    if low > 0:
        return words[1]
    return "no change" if margin[0] <= low and high <= margin[1] else "too noisy to tell"


Key = tuple[tuple[Hashable, ...], str]  # cell, contender


@dataclass(frozen=True)
class Speed:
    """What a folder says of a contender in a cell."""

    ratio: float  # to the floor
    half: float  # of its interval, in logs; NaN where the rounds do not tell
    protocol: int


def speeds(rows: Sequence[Row]) -> dict[Key, Speed]:
    """The ratios to the floor of a folder; of several machines those of the one with most rows."""
    found: dict[Key, Speed] = {}
    taken_by = protocols(rows)
    for line in acceleration_lines(rows):
        if line.framework == FLOOR or isnan(line.ratio_to_floor):
            continue
        cell = (line.dataset, line.scale, line.network, line.neunorm, line.width, line.mode)
        cell = (*cell, line.device, line.T, line.batch_size)
        name = f"{contender(line.framework, line.variant)} {line.precision}"
        known = line.ratio_low > 0 and line.ratio_high < inf
        half = log(line.ratio_high / line.ratio_low) / 2 if known else nan
        measured = Speed(line.ratio_to_floor, half, taken_by[line.run])
        found.setdefault((cell, name), measured)  # the machine with most rows comes first
    return found


def cell_text(key: Key) -> str:
    """A cell as it is shown."""
    return f"{network_text(key)} {setting_text(key)}"


def network_text(key: Key) -> str:
    """A cell's data set and network."""
    dataset, scale, *_ = key[0]
    return f"{paper.settings(str(dataset)).title} {scale}"


def setting_text(key: Key) -> str:
    """What several cells share."""
    _, _, _, neunorm, width, mode, device, T, batch_size = key[0]
    more = [f"NeuNorm {neunorm}" if neunorm else "", f"width {width}" if width != "1" else ""]
    more += [str(mode) if mode != "training" else ""]
    special = " ".join(text for text in more if text)
    return f"{device} T={T} batch {batch_size} {special}".strip()


def speed_changes(
    before: dict[Key, Speed], after: dict[Key, Speed], shared: list[Key], margin: float
) -> list[Change]:
    """Of each precision: all contenders together, each against the others, then every cell."""
    logs: dict[str, dict[Key, float]] = {}
    for key in shared:
        logs.setdefault(_precision(key), {})[key] = log(after[key].ratio / before[key].ratio)
    groups = sum(1 + len({key[1] for key in changed}) for changed in logs.values())
    tests = Tests(groups + len(shared), margin)
    changes: list[Change] = []
    for precision, changed in logs.items():
        changes += _of_contenders(precision, changed, tests)
    for changed in logs.values():
        noise = _noise(changed, lambda key: key[1]) or _noise_of_rounds(changed, before, after)
        for key, value in changed.items():
            each = _change(network_text(key), key[1], [value], noise, tests)
            figures = {"old": before[key].ratio, "new": after[key].ratio}
            changes.append(replace(each, **figures, setting=setting_text(key)))
    return changes


def _precision(key: Key) -> str:
    return key[1].rpartition(" ")[2]


def _of_contenders(precision: str, logs: dict[Key, float], tests: Tests) -> list[Change]:
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
class Tests:
    """How many share the level, and the least change that matters."""

    __test__ = False  # it is no test, whatever pytest thinks of its name
    count: int
    margin: float


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
    halves = [each[key].half for key in logs for each in (before, after)]
    if not halves or any(map(isnan, halves)):
        return None
    deviations = [half / stats.norm.ppf(0.975) for half in halves]
    return Noise(sqrt(2 * fmean(each**2 for each in deviations)), len(halves))


def _change(
    where: str, name: str, values: list[float], noise: Noise | None, tests: Tests
) -> Change:
    centre = fmean(values)
    if noise is None:
        return Change("speed", where, name, nan, nan, exp(centre) - 1, nan, nan, "not judged")
    quantile = float(stats.t.ppf(1 - LEVEL / tests.count / 2, noise.freedom))
    reach = quantile * noise.deviation / sqrt(len(values))
    low, high = exp(centre - reach) - 1, exp(centre + reach) - 1
    call = called(low, high, ("faster", "slower"), (1 / (1 + tests.margin) - 1, tests.margin))
    return Change("speed", where, name, nan, nan, exp(centre) - 1, low, high, call)
