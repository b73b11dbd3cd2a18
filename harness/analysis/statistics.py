"""Means over few seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95
MOST = 200  # seeds that anybody would train


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % interval; NaN where there are too few to tell."""

    value: float
    low: float
    high: float
    n: int


def share(values: Sequence[float]) -> Mean:
    """The mean of shares, such as accuracies: its interval ends at 0 and at 1."""
    found = mean(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """The mean with Student's interval."""
    n = len(values)
    if n == 0:
        return Mean(nan, nan, nan, 0)
    value = fmean(values)
    if n == 1:
        return Mean(value, nan, nan, 1)
    reach = _reach(stdev(values), n, confidence)
    return Mean(value, value - reach, value + reach, n)


def values_to_reach(values: Sequence[float], reach: float) -> int | None:
    """How many values of this spread have an interval of at most this reach; None above MOST."""
    spread = stdev(values)
    counts = range(len(values), MOST + 1)
    return next((n for n in counts if _reach(spread, n, CONFIDENCE) <= reach), None)


def _reach(spread: float, n: int, confidence: float) -> float:
    """Half of Student's interval of a mean."""
    return float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread / sqrt(n)
