"""Ratios of few and noisy rounds, with intervals. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isclose, log, sqrt
from statistics import median
from typing import Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
# Resampling fewer values than this covers far less than it says (two values: half the time).
FEWEST_FOR_BOOTSTRAP = 6
Method = Literal["bootstrap", "blocks", "none"]


@dataclass(frozen=True)
class Ratio:
    """The median ratio of two contenders in the same rounds, with its 95 % interval."""

    value: float
    low: float
    high: float
    method: Method
    rounds: int

    @property
    def half_width(self) -> float:
        """Half the interval, relative to the value: 0.05 is "within 5 %"."""
        return (self.high - self.low) / (2 * self.value)


@dataclass(frozen=True)
class Spread:
    """The noise of one measurement: the standard deviation of log seconds within rounds."""

    deviation: float
    freedom: int  # degrees of freedom; 0: unknown


def spread(seconds: Sequence[Sequence[float]]) -> Spread:
    """The noise that all contenders share, from the seconds of each in the same rounds.

    Rounds are the blocks of a randomised block design, contenders its treatments: what neither
    explains of the log seconds is noise, with (rounds - 1) (contenders - 1) degrees of freedom.
    """
    table = np.log(np.asarray(seconds, dtype=float))  # (contenders, rounds)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    if freedom <= 0:
        return Spread(inf, 0)
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return Spread(sqrt(float((rest**2).sum()) / freedom), freedom)


def ratio(numerator: Sequence[float], denominator: Sequence[float], noise: Spread) -> Ratio:
    """The ratio of the same rounds' seconds, in the same order.

    From six rounds on with a bootstrap interval of the median (SciPy, percentiles). Fewer rounds
    say too little of their own spread: then the interval is Student's with the `noise` of all
    contenders of these rounds. Where that is unknown too it is 0 to infinity.
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    n = len(ratios)
    if n == 0:
        raise ValueError("a ratio needs at least one round")
    value = median(ratios)
    if n >= FEWEST_FOR_BOOTSTRAP:
        return _bootstrap(ratios, value)
    if noise.freedom == 0:
        return Ratio(value, 0.0, inf, "none", n)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, noise.freedom)
    reach = float(quantile) * noise.deviation * sqrt(2 / n)
    centre = log(value)
    return Ratio(value, exp(centre - reach), exp(centre + reach), "blocks", n)


def pooled(spreads: Sequence[Spread]) -> Spread:
    """The noise of several groups of rounds taken as one."""
    known = [each for each in spreads if each.freedom > 0]
    freedom = sum(each.freedom for each in known)
    if freedom == 0:
        return Spread(inf, 0)
    return Spread(sqrt(sum(e.freedom * e.deviation**2 for e in known) / freedom), freedom)


def _bootstrap(ratios: list[float], value: float) -> Ratio:
    if all(isclose(each, value, rel_tol=1e-12) for each in ratios):
        return Ratio(value, value, value, "bootstrap", len(ratios))
    found = stats.bootstrap(
        (np.asarray(ratios),),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=999,
        method="percentile",
        rng=np.random.default_rng(0),  # the same rows always give the same table
    )
    low, high = (float(end) for end in found.confidence_interval)
    return Ratio(value, low, high, "bootstrap", len(ratios))
