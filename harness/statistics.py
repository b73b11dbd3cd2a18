"""All statistics: intervals, tests, their corrections and power. Imports nothing of ours, no torch.

Student's t throughout: samples are few, and their variance is estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, fsum, inf, log, nan, sqrt
from statistics import fmean, stdev, variance
from typing import Any, Literal, NamedTuple

from numpy.typing import ArrayLike
from scipy import stats

ALPHA = 0.05  # two-sided: intervals are of 95 %
ROUNDING = 1e-12  # the least deviation, where all values are the same


# Intervals of means.


class Mean(NamedTuple):
    """A mean over seeds with its 95 % interval; NaN where there are too few to tell."""

    value: float
    low: float
    high: float
    n: int


def t_critical(freedom: float, alpha: float = ALPHA) -> float:
    """Return the value that |t| exceeds with probability `alpha` (two-sided)."""
    return float(stats.t.ppf(1 - alpha / 2, freedom))


def mean(values: Sequence[float]) -> Mean:
    """Return the mean with Student's 95 % interval: mean ± t(n - 1) s / sqrt(n)."""
    n = len(values)
    value = fmean(values) if n else nan
    reach = t_critical(n - 1) * stdev(values) / sqrt(n) if n > 1 else nan
    return Mean(value, value - reach, value + reach, n)


def mean_share(values: Sequence[float]) -> Mean:
    """Return the mean of accuracies or other shares, with an interval clipped to [0, 1]."""
    value, low, high, n = mean(values)
    return Mean(value, max(low, 0.0), min(high, 1.0), n)


def mean_prediction(values: Sequence[float], n: int) -> Mean:
    """Return the mean with the 95 % interval in which the mean of `n` further values lies.

    Student's prediction interval, mean ± t s sqrt(1 / len(values) + 1 / n).
    """
    value, size = fmean(values), len(values)
    reach = t_critical(size - 1) * stdev(values) * sqrt(1 / size + 1 / n)
    return Mean(value, value - reach, value + reach, size)


def welch_reach(first: Sequence[float], second: Sequence[float], alpha: float = ALPHA) -> float:
    """Return half the width of the interval of a difference of two means, of two values or more.

    Welch (1947); by hand, as SciPy's warns where all values of one side are the same.
    """
    parts = [
        (max(variance(sample), ROUNDING**2) / len(sample), len(sample) - 1)
        for sample in (first, second)
    ]
    return t_critical(_satterthwaite(*parts), alpha) * sqrt(fsum(part for part, _ in parts))


def _satterthwaite(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the degrees of freedom of a sum of two variances, each given with its own.

    Satterthwaite (1946): (a + b)**2 / (a**2 / freedom of a + b**2 / freedom of b).
    """
    (a, of_a), (b, of_b) = first, second
    return (a + b) ** 2 / (a**2 / of_a + b**2 / of_b)


class Deviation(NamedTuple):
    """An estimated standard deviation, with its degrees of freedom."""

    value: float
    freedom: int


def pooled_deviation(groups: Iterable[Sequence[float]]) -> Deviation | None:
    """Return the deviation around each group's own mean; None where no group has two values."""
    squares, _, sizes, total = _within(groups)
    freedom = total - len(sizes)
    return Deviation(sqrt(squares / freedom), freedom) if freedom else None


def log_error(low: float, high: float) -> float:
    """Return the standard error of a log ratio whose 95 % interval is low to high (normal)."""
    return log(high / low) / 2 / float(stats.norm.ppf(1 - ALPHA / 2))


# One-sided tests of a mean, their correction, and their power.


def t_test(values: Sequence[float], bound: float, tail: Literal["less", "greater"]) -> float:
    """Return p of a mean this small (`less`) or large if the true one were `bound` (Student)."""
    t = (fmean(values) - bound) / (_deviation(values) / sqrt(len(values)))
    return float((stats.t.cdf if tail == "less" else stats.t.sf)(t, len(values) - 1))


def _deviation(values: Sequence[float]) -> float:
    """Return the sample's standard deviation, ROUNDING at least; NaN of fewer than two values."""
    return max(stdev(values), ROUNDING) if len(values) > 1 else nan


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which of m hypotheses are rejected, with a chance of `alpha` at most of a wrong one.

    Holm (1979): the least p is held against alpha / m, the next against alpha / (m - 1), until one
    is larger.
    """
    rejected, m = [False] * len(p_values), len(p_values)
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        if p_values[index] > alpha / (m - rank):
            break
        rejected[index] = True
    return rejected


def power(values: Sequence[float], low: float, high: float, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that `n` values exclude a bound, if mean and deviation stay these.

    That the mean is shown to lie above `low` or below `high`, whichever is further: by the
    noncentral t, P(T(n - 1, distance sqrt(n) / s) > t).
    """
    middle = fmean(values)
    error, distance = _deviation(values) / n**0.5, max(middle - low, high - middle)
    return float(stats.nct.sf(t_critical(n - 1, alpha), n - 1, distance / error))


def page_trend_test(by_seed: ArrayLike) -> float:
    """Return p of Page's test (1963) that figures rise from the first column to the last."""
    return float(stats.page_trend_test(by_seed).pvalue)


def wilcoxon(values: ArrayLike) -> float:
    """Return p of Wilcoxon's signed-rank test (1945) that values lie around 0, two-sided."""
    ranks: Any = stats.wilcoxon(values)
    return float(ranks.pvalue)


# Ratios of seconds, from few and noisy rounds.
#
# Seconds are noisy by factors, not by amounts, so all is done in logs. In a round both contenders
# meet the same drift of the machine: what is left in the log of their ratio is the noise of these
# two alone. A process may be faster or slower as long as it lives, by where it lies in memory: so
# all of a cell's are started twice, and what differs between two starts is a part of every
# interval.

SHARED = 0.6  # of the freedom of starts that is left: all ratios of a cell move with its floor
FEWEST = 3  # rounds of an interval
Method = Literal["student", "none"]
Groups = Sequence[Sequence[float]]  # ratios of the rounds of each start


@dataclass(frozen=True)
class Ratio:
    """The ratio of two contenders' seconds in the same rounds, with its 95 % interval."""

    value: float  # the geometric mean over the rounds
    low: float
    high: float
    method: Method  # none: too few rounds, or a contender to itself
    rounds: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval over the value: 0.05 is "within 5 %"."""
        return (self.high - self.low) / (2 * self.value)

    def widened(self, factor: float) -> Ratio:
        """Return the ratio with its interval wider by a factor of 1 or more at either end."""
        return replace(self, low=self.low / factor, high=self.high * factor)


@dataclass(frozen=True)
class StartVariance:
    """Variance of log ratios between starts of the processes, beyond the rounds' own."""

    variance: float = 0.0  # of logs
    freedom: int = 0  # degrees of freedom of that estimate


def _within(groups: Iterable[Sequence[float]]) -> tuple[float, list[float], list[int], int]:
    """Return the sum of squares around groups' means, the means, the sizes and their sum."""
    filled = [group for group in groups if group]
    means, sizes = [*map(fmean, filled)], [*map(len, filled)]
    squares = ((x - m) ** 2 for group, m in zip(filled, means, strict=True) for x in group)
    return fsum(squares), means, sizes, sum(sizes)


def estimate_start_variance(cell: Iterable[Groups]) -> StartVariance:
    """Estimate the variance between starts, by an analysis of variance over a cell's contenders.

    `cell` has each contender's ratios. One alone, of two starts, says next to nothing. The method
    of moments for unequal groups: (mean square between - mean square within) / rounds of a start.
    """
    estimates = list[tuple[float, int]]()
    for groups in cell:
        within, means, sizes, total = _within([*map(log, group)] for group in groups)
        freedom, spare = len(sizes) - 1, total - len(sizes)
        if freedom < 1 or spare < 1:
            continue
        centre = fmean(means, sizes)
        between = fsum(n * (m - centre) ** 2 for m, n in zip(means, sizes, strict=True))
        rounds = (total - fsum(n * n for n in sizes) / total) / freedom  # of a start
        estimates.append(((between / freedom - within / spare) / rounds, freedom))
    if not estimates:
        return StartVariance()
    freedom = sum(n for _, n in estimates)
    return StartVariance(max(0.0, fsum(v * n for v, n in estimates) / freedom), freedom)


def mean_ratio(groups: Groups, starts: StartVariance | None = None) -> Ratio:
    """Return the geometric mean of the ratios of all rounds, with its 95 % interval.

    Student's interval of the mean of their logs; `starts`: the variance between starts to add. Of 3
    to 20 rounds of the noise that was recorded it covers 93 to 97 % of the time
    (tests/test_statistics.py); of fewer it is 0 to infinity, and is not shown. Raises ValueError
    without any round.
    """
    within, means, sizes, n = _within([*map(log, group)] for group in groups)
    if n == 0:
        raise ValueError("a ratio needs at least one round")
    centre, freedom = fmean(means, sizes), float(n - len(sizes))
    if freedom == 0 or n < FEWEST:
        return Ratio(exp(centre), 0.0, inf, "none", n)
    of_rounds, of_starts = within / freedom / n, 0.0
    if starts is not None and len(sizes) > 1:
        of_starts = starts.variance * fsum(size**2 for size in sizes) / n**2
        if of_starts:
            between = of_starts, SHARED * starts.freedom
            freedom = _satterthwaite((of_rounds, freedom), between)
    reach = t_critical(freedom) * sqrt(of_rounds + of_starts)
    return Ratio(exp(centre), exp(centre - reach), _exp(centre + reach), "student", n)


def _exp(value: float) -> float:
    """Return the exponential; infinity beyond floats, as for two rounds that differ wildly."""
    try:
        return exp(value)
    except OverflowError:
        return inf
