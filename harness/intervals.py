"""Medians and ratios with intervals, from few and noisy rounds. No torch: tables are built with it."""

from __future__ import annotations

import warnings
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
Method = Literal["bootstrap", "t", "none"]


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


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """The ratio of the same round's seconds. The two must be of the same rounds, in the same order.

    From six rounds on a bootstrap interval of the median (SciPy, bias-corrected); below, Student's t
    on the logarithms, which is wide but covers; for one round no interval (0 to infinity).
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    n = len(ratios)
    if n == 0:
        raise ValueError("a ratio needs at least one round")
    value = median(ratios)
    if n == 1:
        return Ratio(value, 0.0, inf, "none", 1)
    if all(isclose(each, ratios[0], rel_tol=1e-12) for each in ratios):
        return Ratio(value, value, value, "t" if n < FEWEST_FOR_BOOTSTRAP else "bootstrap", n)
    if n < FEWEST_FOR_BOOTSTRAP:
        return _student(ratios, value)
    return _bootstrap(ratios, value)


def _student(ratios: list[float], value: float) -> Ratio:
    logs = np.log(ratios)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / sqrt(len(logs))
    centre = log(value)
    return Ratio(value, exp(centre - reach), exp(centre + reach), "t", len(ratios))


def _bootstrap(ratios: list[float], value: float) -> Ratio:
    with warnings.catch_warnings():
        # degenerate when most rounds are equal; the percentile interval is then what it returns
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
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
