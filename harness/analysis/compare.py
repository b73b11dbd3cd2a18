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

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import fmean, variance

from scipy import stats

from harness.analysis.named import data_name
from harness.analysis.protocols import MARGIN
from harness.analysis.speed_changes import (
    LEVEL,
    Call,
    Change,
    Tests,
    called,
    cell_text,
    speed_changes,
    speeds,
)
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import Row, TrainedRow

__all__ = ["Change", "Comparison", "Margins", "compare"]

ACCURACY = 0.01  # the least change that matters, as in the verdicts; of speed MARGIN


@dataclass(frozen=True)
class Margins:
    """The least changes that matter."""

    speed: float = MARGIN  # relative
    accuracy: float = ACCURACY  # absolute


@dataclass(frozen=True)
class Comparison:
    """What two folders have in common, and in what they were made differently."""

    differences: tuple[str, ...]  # of machine, versions and data: to know before reading on
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]  # cells that one folder alone has
    margins: Margins

    def beyond(self, limit: float) -> list[Change]:
        """The changes for the worse that stand out of the noise and are larger than `limit`."""
        worse = [each for each in self.changes if each.call in ("slower", "worse")]
        return [each for each in worse if abs(each.change) > limit]

    def called(self, call: Call) -> list[Change]:
        """The changes that are called so."""
        return [each for each in self.changes if each.call == call]


def compare(old: Sequence[Row], new: Sequence[Row], limit: float | None = None) -> Comparison:
    """Compares all cells and trainings that both have; `limit`: the least change that matters."""
    margins = Margins() if limit is None else Margins(limit, limit)
    before, after = speeds(old), speeds(new)
    learnt = _learnt(old), _learnt(new)
    both_timed = [key for key in before if key in after]
    shared = [key for key in both_timed if before[key].protocol == after[key].protocol]
    both = [key for key in learnt[0] if key in learnt[1]]
    changes = [
        *speed_changes(before, after, shared, margins.speed),
        *(
            _accuracy_change(
                key, learnt[0][key], learnt[1][key], Tests(len(both), margins.accuracy)
            )
            for key in both
        ),
    ]
    alone = [
        *(f"{cell_text(key)} {key[1]}" for key in before.keys() ^ after.keys()),
        *(_condition_text(key) for key in learnt[0].keys() ^ learnt[1].keys()),
    ]
    unlike = [
        (before[key].protocol, after[key].protocol) for key in both_timed if key not in shared
    ]
    differences = (*_unlike(unlike), *_differences(old, new))
    return Comparison(differences, tuple(changes), tuple(sorted(alone)), margins)


def _unlike(protocols: Sequence[tuple[int, int]]) -> Iterable[str]:
    for old, new in dict.fromkeys(protocols):
        count = protocols.count((old, new))
        yield f"protocol: {old} before, {new} now: {count} figures of speed are not compared"


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


def _learnt(rows: Sequence[Row]) -> dict[tuple[str, Condition], Trainings]:
    suites = dict.fromkeys(row.suite for row in rows if isinstance(row, TrainedRow))
    return {(suite, each.condition): each for suite in suites for each in trainings(rows, suite)}


def _condition_text(key: tuple[str, Condition]) -> str:
    return f"{key[0]}: {_network_text(key[1])}, {_setting_text(key[1])}"


def _network_text(condition: Condition) -> str:
    """The network of a training, and its steps."""
    case = condition.case
    reading = f" NeuNorm {condition.reading}" if case.network.neunorm else ""
    return f"{case.scale}{reading} T={case.T}"


def _setting_text(condition: Condition) -> str:
    """What several trainings share."""
    case = condition.case
    flags = {"substitute": condition.substitute, "simulated": condition.simulated}
    return (
        f"{data_name(case.dataset, **flags)}, width {case.width}, {case.trained.epochs} epochs of "
        f"{condition.train_samples} samples, {case.framework} {case.precision}"
    )


def _accuracy_change(
    key: tuple[str, Condition], before: Trainings, after: Trainings, tests: Tests
) -> Change:
    """Welch's interval of the difference of two means over seeds."""
    old, new = (list(each.accuracies.values()) for each in (before, after))
    change = fmean(new) - fmean(old)
    suite, condition = key
    front = ("accuracy", _network_text(condition), condition.case.framework, fmean(old), fmean(new))
    setting = f"{suite}: {_setting_text(condition)}"
    if sorted(old) == sorted(new):
        return Change(*front, 0.0, 0.0, 0.0, "no change", setting)
    if min(len(old), len(new)) < 2:
        return Change(*front, change, nan, nan, "not judged", setting)
    reach = _welch(old, new, 1 - LEVEL / tests.count)
    low, high = change - reach, change + reach
    call = called(low, high, ("worse", "better"), (-tests.margin, tests.margin))
    return Change(*front, change, low, high, call, setting)


def _welch(old: Sequence[float], new: Sequence[float], confidence: float) -> float:
    """Half of Welch's interval of the difference of two means; 0 where no seed differs.

    Not SciPy's: that warns where all seeds of one side came to the same.
    """
    a, b = variance(old) / len(old), variance(new) / len(new)
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(old) - 1) + b**2 / (len(new) - 1))
    return float(stats.t.ppf((1 + confidence) / 2, freedom)) * sqrt(a + b)
