"""Ratios of few and noisy rounds, with intervals. Imports nothing of ours.

Seconds are noisy by factors, not by amounts, so all is done in logs. In a round both contenders
meet the same drift of the machine: what is left in the log of their ratio is the noise of these two
alone, and nobody else's is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, inf, log, sqrt
from typing import Literal

from scipy import stats

CONFIDENCE = 0.95
Method = Literal["student", "none"]


@dataclass(frozen=True)
class Ratio:
    """The ratio of two contenders in the same rounds, with its 95 % interval."""

    value: float  # the geometric mean over the rounds
    low: float
    high: float
    method: Method  # none: one round, or a contender to itself
    rounds: int

    @property
    def half_width(self) -> float:
        """Half the interval, relative to the value: 0.05 is "within 5 %"."""
        return (self.high - self.low) / (2 * self.value)


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """The ratio of the same rounds' seconds, in the same order. Raises ValueError without any."""
    return mean([a / b for a, b in zip(numerator, denominator, strict=True)])


def mean(ratios: Sequence[float]) -> Ratio:
    """The geometric mean of ratios, with Student's interval of the mean of their logs.

    One ratio says nothing of its noise: its interval is 0 to infinity. Of 3 to 20 rounds of the
    noise that was recorded, which drifts and has heavy tails, the interval covers 93 to 97 % of
    the time: tests/test_ratios.py simulates it.
    """
    logs = [log(each) for each in ratios]
    n = len(logs)
    if n == 0:
        raise ValueError("a ratio needs at least one round")
    centre = fsum(logs) / n
    if n == 1:
        return Ratio(exp(centre), 0.0, inf, "none", n)
    deviation = sqrt(fsum((each - centre) ** 2 for each in logs) / (n - 1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / sqrt(n)
    return Ratio(exp(centre), exp(centre - reach), _exp(centre + reach), "student", n)


def _exp(value: float) -> float:
    """Of two rounds that have little to do with each other the interval ends at infinity."""
    try:
        return exp(value)
    except OverflowError:
        return inf
