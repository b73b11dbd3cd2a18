"""What a verdict is: effects over seeds, what of each would matter, and the word that follows.

Of each effect two bounds are fixed before any run. The claim holds where the 95 % interval over
seeds lies above the one; it is contradicted only where the interval lies below the other, so that
what would matter is excluded. Data too few, too noisy, or of networks that had not converged can do
neither: they are inconclusive, and no noise makes a verdict surer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.analysis.frame import Line
from harness.analysis.statistics import CONFIDENCE, Mean, mean, share, values_to_reach
from harness.analysis.trainings import CONDITION, FLAGS, FRONT
from harness.analysis.words import counted
from harness.spec import paper

Status = Literal["reproduced", "contradicted", "inconclusive", "not tested"]
Call = Literal["holds", "fails", "too small", "cannot tell"]
Unit = Literal["points", "accuracy", "share", "votes"]

LEVEL = 0.05  # of every trend test, one-sided
TENTH = 0.001  # of a point of accuracy
FEWEST_SEEDS = 3  # the same everywhere; fewer say nothing of a spread


PRECISION = "fp32"  # of the paper's trainings; mixed precision trains another network
# A training has converged where, at the slope of the last quarter of its epochs, as many epochs
# more would add less than a point to its training accuracy: a point is the least that matters in
# the verdicts, so what is left to learn turns none of them.
LEFT = 0.01
FEWEST_EPOCHS = 8  # a quarter of fewer has no two epochs, and no slope


def full_size(each: Line) -> bool:
    """Whether these trainings are the paper's: all data, width, epochs, dropout and precision."""
    case = each.case
    settings = paper.settings(case.dataset)
    return (
        not any(getattr(each, name) for name in FLAGS)
        and case.width == 1
        and case.training.epochs >= settings.epochs
        and case.network.dropout == settings.dropout
        and case.precision == PRECISION
    )


def alike(found: Sequence[Line], by: str, *apart: str) -> list[dict[Any, Line]]:
    """Trainings by a column, in sets that differ in it and the columns `apart` alone.

    Only these compare with each other. The paper's size comes first, then what learnt from more.
    """
    sets: dict[tuple[object, ...], dict[Any, Line]] = {}
    for each in found:
        same = (str(getattr(each, n)) for n in (*FRONT, *CONDITION) if n not in (by, *apart))
        sets.setdefault(tuple(same), {})[getattr(each, by)] = each
    return sorted(sets.values(), key=lambda same: largest_first(same.values()))


def largest_first(groups: Collection[Line]) -> tuple[bool, float]:
    """Sorts sets of trainings: the paper's size comes first, then what learnt from more."""
    seen = sum(each.train_samples * each.epochs for each in groups)
    return not all(map(full_size, groups)), -float(seen)


def scale_of(groups: Sequence[Line]) -> str:
    """The scale that trainings were run at, in words."""
    steps: dict[str, set[int]] = {}
    for each in groups:
        steps.setdefault(_size(each), set()).add(each.T)
    return "; ".join(f"{size}, T = {', '.join(map(str, sorted(t)))}" for size, t in steps.items())


def _size(each: Line) -> str:
    flags = [name for name in FLAGS if getattr(each, name) and name not in each.data_source]
    data = f"{each.data_source} ({', '.join(flags)})" if flags else each.data_source
    mixed = "" if each.precision == PRECISION else f", {each.precision} (the paper's is float32)"
    return (
        f"width {each.width}, {counted(each.train_samples, 'training sample')} of {data}, "
        f"{counted(each.epochs, 'epoch')}, dropout {each.dropout:g}{mixed}"
    )


@dataclass(frozen=True)
class Doubt:
    """Why trainings can tell nothing, and what would have them tell."""

    why: str
    needs: str


def unconverged(groups: Sequence[Line]) -> Doubt | None:
    """Why trainings cannot be told by where they ended; None where all of them had converged."""
    longer = "trainings that converge: more epochs (`--epochs`)"
    for each in groups:
        title = paper.settings(each.dataset).title
        name = f"{title} {each.scale}, NeuNorm {each.neunorm}, T = {each.T}"
        curve = each.learnt
        if len(curve) < FEWEST_EPOCHS:
            few = f"too few epochs to tell whether training had converged: {len(curve)} ({name})"
            return Doubt(few, longer)
        if each.lost:
            seeds = ", ".join(map(str, each.lost))
            near = f"training accuracy ended near chance with seed {seeds} ({name})"
            return Doubt(near, f"a network that learns with every seed ({name})")
        left = _left(curve)
        if left > LEFT:
            rose = f"training accuracy still rose, {100 * left:.1f} points a quarter ({name})"
            return Doubt(rose, longer)
    return None


def _left(curve: Sequence[float]) -> float:
    """What a quarter of the epochs more would add at the slope of the last quarter."""
    last = curve[len(curve) * 3 // 4 :]
    return float(np.polyfit(range(len(last)), last, 1)[0]) * len(last)


@dataclass(frozen=True)
class Effect:
    """A figure over seeds that decides a claim, and what was fixed of it beforehand."""

    name: str
    unit: Unit
    values: tuple[float, ...]  # one a seed
    above: float  # it holds where its interval lies above this
    matters: float  # it fails where its interval lies below this, the least that would matter
    p: float | None = None  # one-sided, where a trend is tested
    doubt: Doubt | None = None  # whether its trainings can tell nothing, whatever the interval

    @property
    def found(self) -> Mean:
        """The mean over the seeds, with its 95 % interval."""
        return (share if self.unit == "accuracy" else mean)(self.values)

    @property
    def too_few(self) -> str:
        """Whether there are too few seeds, in words."""
        n = len(self.values)
        return f"{n} of at least {FEWEST_SEEDS} seeds" if n < FEWEST_SEEDS else ""

    def call(self, parts: int) -> Call:
        """What it says of a claim that has so many parts.

        All parts must hold for a claim, one that fails is enough against it: so the interval that
        speaks against is wider, by Bonferroni, that no claim falls by the number of its parts.
        """
        if self.too_few or self.doubt:
            return "cannot tell"
        high = mean(self.values, 1 - (1 - CONFIDENCE) / parts).high
        if high < self.matters:
            return "too small" if self._is_above else "fails"
        return "holds" if self._is_above and not self._no_trend else "cannot tell"

    @property
    def _is_bound(self) -> bool:
        """Whether it is judged by one figure that it reaches or does not."""
        return self.above == self.matters

    @property
    def _is_above(self) -> bool:
        low = self.found.low
        return low >= self.above if self._is_bound else low > self.above

    @property
    def _no_trend(self) -> bool:
        return self.p is not None and self.p >= LEVEL

    @property
    def why_not(self) -> str:
        """Why it cannot tell, where it cannot."""
        trend = f"the trend test's p is not below {LEVEL}"
        open_ = trend if self._is_above and self._no_trend else "the data fit an effect and none"
        return self.too_few or (self.doubt.why if self.doubt else open_)

    @property
    def needs(self) -> str:
        """What would have it tell, where it cannot."""
        if self.too_few:
            return f"at least {FEWEST_SEEDS} seeds of each training (`--seeds`)"
        if self.doubt:
            return self.doubt.needs
        if self._is_above:
            return f"more seeds, if the trend test came to tell ({self.name})"
        room = max(self.found.value - self.above, self.matters - self.found.value)
        seeds = values_to_reach(self.values, room)
        count = "more seeds than are practical" if seeds is None else f"about {seeds} seeds"
        return f"{count} of the same spread ({self.name})"

    @property
    def is_far(self) -> bool:
        """Whether it lies so far below what matters that no number of seeds would bring it there:
        by more than its interval is wide.
        """
        found = self.found
        return self.matters - found.high > found.high - found.low

    @property
    def text(self) -> str:
        """Its mean and interval: "CIFAR-10, a step of scale: +0.4 points [-1.2, +2.0]"."""
        return f"{self.name}: {_shown(self.found, self.unit, 2 if self._is_fine else 1)}"

    @property
    def decided_by(self) -> str:
        """What it was held against, for the reason of a verdict."""
        p = "" if self.p is None else ", p < 0.001" if self.p < 0.001 else f", p = {self.p:.3f}"
        what = "allowed:" if self._is_bound else "the least that matters:"
        matters = _value(self.matters, self.unit, 3 if self._is_fine else 1)
        return f"{self.text} ({what} {matters}{p})"

    @property
    def _is_fine(self) -> bool:
        """Whether less than a tenth of a point matters: a tenth would show nothing of it."""
        return 0 < abs(self.matters) < TENTH


@dataclass(frozen=True)
class Range:
    """A figure over cells that decides a claim: its geometric mean, the least and the largest."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    n: int  # cells


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim."""

    status: Status
    figures: str  # what was measured, in one sentence; "" where nothing was
    why: tuple[str, ...]  # it is this verdict
    would_change: str  # what would change it, in one sentence
    reduced: bool = False  # whether any of the trainings was not the paper's size
    effects: tuple[Effect, ...] = ()
    scope: str = ""  # what of the claim was judged, where that is not all of it
    ranges: tuple[Range, ...] = ()  # where no effects over seeds decide it

    @property
    def text(self) -> str:
        """The verdict as it is shown."""
        judged = self.reduced and self.status != "not tested"
        word = f"{self.scope} {self.status}" if self.scope else self.status
        return f"{word} at reduced scale" if judged else word

    @property
    def reason(self) -> str:
        """Why it is this verdict, in one sentence."""
        return "; ".join(self.why)

    @property
    def measured(self) -> str:
        """Its effects with their intervals, else what was measured, in a few words."""
        return "; ".join(each.text for each in self.effects) or self.figures

    @property
    def n(self) -> str:
        """How many seeds each effect has; once where all have as many."""
        return ", ".join(map(str, dict.fromkeys(len(each.values) for each in self.effects)))


def untested(what: str, suite: str) -> Verdict:
    """The verdict where the rows that a claim needs are not there."""
    command = f"`harness run --suite {suite}`"
    return Verdict("not tested", "", (f"{what}: run {command}",), f"rows of {command}")


def decided(effects: Sequence[Effect], groups: Sequence[Line], figures: str, suite: str) -> Verdict:
    """The verdict of a claim all of whose effects must hold, on these trainings."""
    calls: list[Call] = [each.call(len(effects)) for each in effects]
    status: Status = "inconclusive"
    if "fails" in calls:
        status = "contradicted"
    elif all(call == "holds" for call in calls):
        status = "reproduced"
    reduced = [each for each in groups if not full_size(each)]
    called = list(zip(effects, calls, strict=True))
    size = (f"at reduced scale: {scale_of(reduced)}",) if reduced else ()
    change = _would_change(status, called, suite, reduced=bool(reduced))
    return Verdict(status, figures, _why(called) + size, change, bool(reduced), tuple(effects))


_SAID: dict[Call, str] = {
    "holds": "yes",
    "fails": "no",
    "too small": "it is there, but less than would matter",
    "cannot tell": "cannot tell",
}


def _why(called: Sequence[tuple[Effect, Call]]) -> tuple[str, ...]:
    """What each effect says, then why those cannot tell that cannot."""
    said = [f"{_SAID[call]}: {effect.decided_by}" for effect, call in called]
    why = dict.fromkeys(effect.why_not for effect, call in called if call == "cannot tell")
    return (*said, *why)


def at_full_size(suite: str) -> str:
    """The run that is of the paper's size."""
    return f"the paper's size: `harness run --suite {suite} --paper --precision fp32`"


def _would_change(
    status: Status, called: Sequence[tuple[Effect, Call]], suite: str, *, reduced: bool
) -> str:
    match status:
        case "inconclusive":
            unstated = "a size that the paper states: it states none"
            needs = (unstated if c == "too small" else e.needs for e, c in called if c != "holds")
            return "; ".join(dict.fromkeys(needs))
        case "reproduced":
            low = "more seeds, if an interval came to reach below its bound"
            return at_full_size(suite) if reduced else low
        case _:
            high = "more seeds, if every interval came to reach what matters"
            if any(effect.is_far for effect, call in called if call == "fails"):
                high = "no number of seeds: one of its intervals lies far below what matters"
                high += "; a wider network (`--width`) or more epochs (`--epochs`) might"
            return f"{high}; or {at_full_size(suite)}" if reduced else high


def _shown(found: Mean, unit: Unit, digits: int) -> str:
    value = _value(found.value, unit, digits)
    if found.n < 2:
        return value
    low, high = (_value(each, unit, digits).split(" ")[0] for each in (found.low, found.high))
    return f"{value} [{low}, {high}]"


def _value(value: float, unit: Unit, digits: int) -> str:
    match unit:
        case "points":
            return f"{round(100 * value, digits) + 0.0:+.{digits}f} points"  # no -0.0
        case "accuracy":
            return f"{100 * value:.1f} %"
        case "share":
            return f"{100 * value:+.0f} %"
        case "votes":
            return f"{value:+.3f}"
