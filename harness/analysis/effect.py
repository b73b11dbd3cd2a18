"""An effect measured over seeds, the bounds that were fixed for it, and the answer they give.

Two bounds are fixed before any run: `bound`, and `least_effect`, the least that would matter. An
effect is reproduced where a t-test finds it above `bound`, and contradicted where one excludes
`least_effect` or more; both are corrected by Holm over all effects. Where the 95 % interval of one
that is there ends below `least_effect`, it has the claim's direction and is smaller. Else it is
open, or cannot be decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from math import exp
from operator import attrgetter
from typing import Literal, NamedTuple

import pandas as pd

from harness import statistics
from harness.analysis.trainings import TrainingLine
from harness.spec import schedule
from harness.statistics import Mean, mean

Answer = Literal[
    "reproduced",
    "contradicted",
    "same direction, smaller",  # than what would matter
    "open",
    "cannot be decided here",
    "not tested",
]
Unit = Literal["points", "share", "votes"]

LEVEL = 0.05  # of a trend test over seeds, one-sided
AGAINST = 0.025  # one-sided, either way, shared by all parts of the paper's claims (Holm)
FEWEST_SEEDS = 3  # fewer say nothing of a spread
POWER, TOO_WEAK = 0.8, 0.5  # chances of a decision: enough; too few at AT_SEEDS to go on
AT_SEEDS, MOST_SEEDS = 6, 200


class Judgement(NamedTuple):
    """The answer to a part of a claim, with its reason."""

    answer: Answer
    why: str  # in a sentence
    brief: str = ""  # in a few words, where the answer alone is too short


def as_shown(value: float, unit: Unit) -> float:
    """Return a value as tables have it: 1 - exp(-value) with unit "share", else as it is."""
    return 1 - exp(-value) if unit == "share" else value


def signed(value: float, unit: Unit) -> str:
    """Return a value as signed text: in votes, in % of a share, or in points of 1/100."""
    if unit == "votes":
        return f"{value:+.3f}"
    if unit == "share":
        return f"{100 * as_shown(value, unit):+.0f} %"
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # no -0.0


def interval_text(values: Iterable[float], unit: Unit = "points") -> str:
    """Return a mean over seeds as text, of several with its interval: "+0.5 [-0.3, +1.3]"."""
    value, low, high, n = mean([*values])
    ends = (signed(end, unit).removesuffix(" %") for end in (low, high))
    return signed(value, unit) + (f" [{', '.join(ends)}]" if n > 1 else "")


@dataclass(frozen=True)
class Effect:
    """A quantity measured for each seed that answers a part of a claim, and its bounds."""

    title: str  # of the part of a claim, in ten words or fewer
    published: str  # the paper's figure
    bound: float  # it is reproduced where its interval lies above this
    least_effect: float  # it is contradicted where its interval lies below this
    seeds: int  # fixed beforehand; fewer are no answer
    by_seed: pd.Series  # with unit "share" log(old / new), and so are the bounds
    groups: Sequence[TrainingLine] = ()  # the trainings it is computed from
    unit: Unit = "points"
    trend: float | None = None  # p of Page's trend test, one-sided
    obstacle: str = ""  # why it cannot be decided here where the interval leaves it open
    preset: Judgement | None = None  # the answer whatever the interval says, if there is one
    needs_schedule: bool = True  # whether only trainings on the fixed schedule decide
    may_grow: bool = False  # whether seeds may still be added to those that were fixed
    is_ours: bool = False  # no part of a claim of the paper
    choice: str = ""  # a choice of ours that the answer rests on: "U = 1"
    doubts: str = ""  # what speaks against it, in sentences

    @property
    def mean(self) -> Mean:
        """The mean over the seeds, with its 95 % interval."""
        return mean([*self.by_seed])

    @property
    def p_below(self) -> float:
        """One-sided p of an effect this small if the true one were `least_effect` (t-test)."""
        return statistics.t_test([*self.by_seed], self.least_effect, "less")

    @property
    def p_above(self) -> float:
        """One-sided p of an effect this large if the true one were `bound` (t-test)."""
        return statistics.t_test([*self.by_seed], self.bound, "greater")

    def power(self, seeds: int) -> float:
        """Return the chance that so many seeds pass a bound, if mean and spread stay as they are.

        Before Holm's correction, which depends on the other claims.
        """
        return statistics.power([*self.by_seed], self.bound, self.least_effect, seeds)

    @property
    def seeds_needed(self) -> int | None:
        """The fewest seeds, more than there are, with a `power` of POWER; None over MOST_SEEDS."""
        counts = range(max(FEWEST_SEEDS, len(self.by_seed) + 1), MOST_SEEDS + 1)
        return next((n for n in counts if self.power(n) >= POWER), None)

    @property
    def early_answer(self) -> Judgement | None:
        """The answer that needs no interval: another schedule, too few seeds, `preset`; or None."""
        n = len(self.by_seed)
        if self.needs_schedule and not is_on_schedule(self.groups):
            if self.obstacle:
                return Judgement("cannot be decided here", self.obstacle)
            why = "trained on another schedule than the one that was fixed: --long"
            return Judgement("open", why, "schedule")
        if self.preset is None and n < self.seeds:
            brief = f"{n} of {self.seeds} seeds"
            return Judgement("open", f"{brief}, which were fixed beforehand", brief)
        return self.preset

    def judgement(self, *, is_confirmed: bool, is_excluded: bool) -> Judgement:
        """Return the answer, given whether Holm's tests confirm `bound`, exclude `least_effect`."""
        if early := self.early_answer:
            return early
        exclusion = f"an effect of {signed(self.least_effect, self.unit)} is excluded"
        if is_confirmed:
            if self.trend is not None and self.trend >= LEVEL:
                why = f"the interval lies above the bound, and the trend's p is not below {LEVEL}"
                return Judgement("open", why, "no trend by rank")
            if self.mean.high < self.least_effect:
                return Judgement("same direction, smaller", exclusion)
            why = f"the interval lies above {signed(self.bound, self.unit)}"
            return Judgement("reproduced", why)
        if self.mean.low > self.bound:
            why = "the interval lies above the bound, but not once all parts are corrected (Holm)"
            return Judgement("open", why, "not after correction")
        return Judgement("contradicted", exclusion) if is_excluded else self._undecided()

    def _undecided(self) -> Judgement:
        """Return the answer of one that passes no bound: whether more seeds would decide it."""
        if self.obstacle:
            return Judgement("cannot be decided here", self.obstacle)
        chance, needed = self.power(AT_SEEDS), self.seeds_needed
        count = f"about {needed} seeds" if needed else f"more than {MOST_SEEDS} seeds"
        if chance < TOO_WEAK:
            why = f"{AT_SEEDS} seeds of this spread decide it in {chance:.0%} of cases"
            why += f", {count} in four of five" if self.may_grow else ""
            return Judgement("cannot be decided here", why)
        if not self.may_grow:
            brief = f"{len(self.by_seed)} seeds were fixed"
            return Judgement("open", f"{brief}, leave it open, and none will be added", brief)
        return Judgement("open", f"{count} of this spread decide it in four of five cases", count)

    @property
    def figure(self) -> str:
        """The mean as text, with its interval: "+2.4 [+1.1, +3.6], n=4".

        Where a seed learnt nothing, the mean of the others without an interval.
        """
        n, lost = len(self.by_seed), {seed for line in self.groups for seed in line.seeds_at_chance}
        learnt = self.by_seed[~self.by_seed.index.isin(lost)]
        if 0 < len(learnt) < n:
            lacking = f"{n - len(learnt)} of {n} learnt nothing"
            return f"{signed(learnt.mean(), self.unit)}; {lacking}"
        return f"{interval_text(self.by_seed, self.unit)}, n={n}"

    @property
    def bound_text(self) -> str:
        """The bound `least_effect`, and p of the trend, as text: "allowed: -1.0"."""
        p = self.trend
        trend = "" if p is None else "; p < 0.001" if p < 0.001 else f"; p = {p:.3f}"
        kind = "allowed" if self.bound == self.least_effect else "the least that matters"
        return f"{kind}: {signed(self.least_effect, self.unit)}{trend}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """The mean, the ends of its interval, n and `least_effect`; all but n by `as_shown`."""
        *ends, n = self.mean
        value, low, high, least = (as_shown(end, self.unit) for end in (*ends, self.least_effect))
        return value, low, high, n, least

    @property
    def seed_numbers(self) -> tuple[float, ...]:
        """The seeds' values, by `as_shown`."""
        return tuple(as_shown(value, self.unit) for value in self.by_seed)


def is_on_schedule(groups: Iterable[TrainingLine]) -> bool:
    """Return whether all these trainings are on the schedule that was fixed."""
    return all(schedule.is_on_schedule(line.case) for line in groups)


def judgements(effects: Sequence[Effect]) -> list[Judgement]:
    """Return the answer to each effect, with Holm's correction over all of them, either way."""
    tests = zip(effects, confirmed(effects), excluded(effects), strict=True)
    return [effect.judgement(is_confirmed=yes, is_excluded=no) for effect, yes, no in tests]


def confirmed(effects: Sequence[Effect]) -> list[bool]:
    """Return which effects lie above `bound`, by Holm over all of them."""
    return _holm(effects, attrgetter("p_above"))


def excluded(effects: Sequence[Effect]) -> list[bool]:
    """Return which effects exclude `least_effect` or more, by Holm over all of them."""
    return _holm(effects, attrgetter("p_below"))


def _holm(effects: Sequence[Effect], p_of: Callable[[Effect], float]) -> list[bool]:
    """Return which effects pass a test; those that are answered early take no part in it."""
    numbers = [n for n, effect in enumerate(effects) if not effect.early_answer]
    passed = {*compress(numbers, statistics.holm([p_of(effects[n]) for n in numbers], AGAINST))}
    return [n in passed for n in range(len(effects))]
