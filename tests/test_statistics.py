"""Intervals, tests and power; ratios of few and noisy rounds and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import exp, inf, isnan, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness import statistics
from harness.analysis import timings
from harness.analysis.frame import frames
from harness.records import Store
from harness.reports.table import interval
from harness.statistics import (
    SHARED,
    Ratio,
    StartVariance,
    estimate_start_variance,
    mean_ratio,
)

RESULTS = Path(__file__).parents[1] / "results"


def ratio_of(numerator: list[float], denominator: list[float]) -> Ratio:
    """Of the same rounds' seconds, in the same order, of one start."""
    return mean_ratio([[a / b for a, b in zip(numerator, denominator, strict=True)]])


def test_the_interval_by_hand() -> None:
    # logs of the ratios 0, d and 2 d: mean d, deviation d, two degrees of freedom
    d = log(1.1)
    ratio = ratio_of([1.0, 1.1, 1.21], [1.0, 1.0, 1.0])
    reach = 4.30265 * d / sqrt(3)  # Student's t
    assert (ratio.method, ratio.rounds, ratio.value) == ("student", 3, pytest.approx(1.1))
    assert (ratio.low, ratio.high) == pytest.approx((exp(d - reach), exp(d + reach)), rel=1e-5)
    assert ratio.half_width == pytest.approx((ratio.high - ratio.low) / 2.2)


def test_fewer_than_three_rounds_have_no_interval() -> None:
    for rounds in ([2.0], [2.0, 2.0]):
        ratio = mean_ratio([rounds])
        assert (ratio.low, ratio.high, ratio.method) == (0.0, inf, "none")
        assert ratio.value == pytest.approx(2) and ratio.half_width == inf
    assert interval(19.38, 0.0, inf, ".2f") == "19.38"
    with pytest.raises(ValueError, match="at least one round"):
        mean_ratio([[]])
    extreme = mean_ratio([[1e160, 1.0, 1e-160]])  # it ends at infinity and not in an error
    assert (extreme.low, extreme.high, extreme.method) == (0.0, inf, "student")


DRAWS = 9000
ROUNDS = (3, 5, 6, 10, 20)
LOGS = tuple[np.ndarray, np.ndarray]  # of seconds: of a contender, of the floor: (DRAWS, rounds)


def covered(logs: LOGS) -> float:
    """How often the interval of two contenders that are equal has 1 in it."""
    first, second = logs
    noise, rounds = first - second, first.shape[1]
    reach = stats.t.ppf(0.975, rounds - 1) * noise.std(1, ddof=1) / sqrt(rounds)
    low, high = noise.mean(1) - reach, noise.mean(1) + reach
    for n in range(10):  # the same as one by one, which would take seconds
        ratio = ratio_of(np.exp(first[n]).tolist(), np.exp(second[n]).tolist())
        assert (log(ratio.low), log(ratio.high)) == pytest.approx((low[n], high[n]), abs=1e-9)
    return float(np.mean((low <= 0) & (high >= 0)))


@dataclass(frozen=True)
class Noise:
    """What one cell's rounds had, in logs of seconds."""

    residual: np.ndarray  # what neither the contender nor the round explains
    steps: np.ndarray  # from one round to the next, all contenders alike


@cache
def recorded() -> tuple[Noise, ...]:
    """The noise of every shipped cell with five rounds or more of at least three contenders."""
    rows = Store(RESULTS).read("acceleration")[0]
    noises = []
    for together in timings.rounds(frames(rows)).values():
        columns = list(together.seconds.values())
        most = max(map(len, columns))
        table = np.log([list(seconds.values()) for seconds in columns if len(seconds) == most])
        contenders, rounds = table.shape
        if rounds < 5 or contenders < 3:
            continue
        residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        freedom = (contenders - 1) * (rounds - 1)  # the fit took the rest
        residual *= sqrt(residual.size / freedom)
        noises.append(Noise(residual.ravel(), np.diff(table.mean(0))))
    assert len(noises) >= 10
    return tuple(noises)


def resampled(rounds: int) -> LOGS:
    """Two equal contenders, of whom one runs twice, on machines that drift as the recorded ones.

    The drift goes on within a round too, whose order is drawn.
    """
    generator, cells = np.random.default_rng(rounds), recorded()
    parts = []
    for noise in cells:
        draws = DRAWS // len(cells)
        walk = generator.choice(noise.steps, (draws, 1, rounds + 1)).cumsum(-1)
        when = generator.permuted(np.tile([0, 1 / 3, 2 / 3], (draws, rounds, 1)), axis=-1)
        drift = walk[..., :-1] + when.swapaxes(1, 2) * np.diff(walk)
        parts.append(drift + generator.choice(noise.residual, (draws, 3, rounds)))
    first, floor, again = np.concatenate(parts).swapaxes(0, 1)
    return first, (floor + again) / 2


@pytest.mark.parametrize("rounds", ROUNDS)
def test_intervals_of_recorded_noise_cover_93_to_97_percent(rounds: int) -> None:
    assert 0.93 <= covered(resampled(rounds)) <= 0.97


def cells_of_processes(move: float) -> list[list[list[list[float]]]]:
    """Ratios of equal contenders in many cells: of each by start, five rounds in each of two.

    A process is faster or slower by as much as `move` as long as it lives; the floor runs twice.
    """
    generator, cells = np.random.default_rng(1), []
    for _ in range(300):
        logs = generator.normal(0, 0.02, (8, 2, 5)) + generator.normal(0, move, (8, 2, 1))
        off = [*(logs[2:] - logs[:2].mean(0)), logs[1] - logs[0]]
        cells.append([np.exp(ratios).tolist() for ratios in off])
    return cells


@pytest.mark.parametrize("move", [0.0, 0.01, 0.03])
def test_intervals_over_starts_cover_differences_between_processes(move: float) -> None:
    inside, blind = list[bool](), list[bool]()
    for cell in cells_of_processes(move):
        moves = estimate_start_variance(cell)
        means = [mean_ratio(groups, moves) for groups in cell[:-1]]
        inside += [ratio.low <= 1 <= ratio.high for ratio in means]
        means = [mean_ratio([sum(groups, [])]) for groups in cell[:-1]]
        blind += [ratio.low <= 1 <= ratio.high for ratio in means]
    assert 0.92 <= np.mean(inside) <= 0.98
    assert move < 0.03 or np.mean(blind) < 0.85  # what intervals over rounds alone would say


def test_the_variance_between_starts_by_hand() -> None:
    # means 0 and 2 d of two rounds each, which vary by nothing: between 2 d**2, within 0
    d = log(1.1)
    groups = [[1.0, 1.0], [1.21, 1.21]]
    moves = estimate_start_variance([groups])
    assert (moves.variance, moves.freedom) == (pytest.approx(2 * d**2), 1)
    ratio = mean_ratio(groups, moves)
    reach = stats.t.ppf(0.975, SHARED) * d  # of two starts' mean: the root of 2 d**2 / 2
    assert (ratio.value, ratio.low) == pytest.approx((1.1, exp(d - reach)))
    # one start tells nothing
    assert estimate_start_variance([[[1.0, 2.0]]]) == StartVariance()


def test_intervals_of_means_by_hand() -> None:
    # deviation 1, two degrees of freedom: t = 4.30265
    reach = 4.302653 / sqrt(3)
    assert statistics.mean([1, 2, 3]) == pytest.approx((2, 2 - reach, 2 + reach, 3))
    assert statistics.mean_share([0.0, 0.5, 1.0])[:3] == (0.5, 0.0, 1.0)
    further = statistics.mean_prediction([1, 2, 3], 2)  # sqrt(1 / 3 + 1 / 2)
    assert further.high == pytest.approx(2 + 4.302653 * sqrt(5 / 6))
    few = statistics.mean([1.0])
    assert (few.value, few.n) == (1.0, 1) and isnan(few.low) and isnan(few.high)


def test_the_interval_of_a_difference_by_hand() -> None:
    # variances 1 / 3 and 2 / 2 of the means: (4 / 3)**2 / (1 / 18 + 1) degrees of freedom
    reach = statistics.welch_reach([1, 2, 3], [0, 2])
    assert reach == pytest.approx(stats.t.ppf(0.975, 32 / 19) * sqrt(4 / 3))
    assert 0 < statistics.welch_reach([1, 1], [2, 2]) < 1e-10  # no spread is no error
    # 1 + 1 and 0 around the means 2 and 5, with 2 + 1 degrees of freedom
    assert statistics.pooled_deviation([[1, 2, 3], [5, 5], [9]]) == (pytest.approx(sqrt(2 / 3)), 3)
    assert statistics.pooled_deviation([[1], [2]]) is None
    assert statistics.log_error(exp(-1.959964), exp(1.959964)) == pytest.approx(1)


def test_holm_by_hand() -> None:
    # .01 <= .05 / 3; .03 > .05 / 2, which keeps .04 too, that alone would pass .05
    assert statistics.holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]
    assert statistics.holm([0.01, 0.04, 0.02], 0.05) == [True, True, True]
    assert statistics.holm([], 0.05) == []


def test_tests_of_a_mean_by_hand() -> None:
    # t = sqrt(3) with two degrees of freedom: 1 / 2 - t / (2 sqrt(2 + t**2))
    p = 0.5 - sqrt(3) / (2 * sqrt(5))
    assert statistics.t_test([1, 2, 3], 1, "greater") == pytest.approx(p)
    assert statistics.t_test([1, 2, 3], 1, "less") == pytest.approx(1 - p)
    assert statistics.t_test([1, 2, 3], 3, "less") == pytest.approx(p)
    assert statistics.wilcoxon([1.0, 2.0, 3.0]) == 0.25  # 2 of the 8 choices of signs
    rising = [[1, 2, 3], [1, 2, 3], [1, 2, 3]]
    assert statistics.page_trend_test(rising) == pytest.approx(1 / 6**3)  # of the orders


def test_power_is_how_often_the_t_test_finds_the_effect() -> None:
    values = [-1.0, 0.0, 1.0]
    assert statistics.power(values, 0, 0, 5) == pytest.approx(0.025)  # no effect: the level
    draws = np.random.default_rng(0).normal(1, 1, (20_000, 5))
    t = draws.mean(1) / (draws.std(1, ddof=1) / sqrt(5))
    often = float(np.mean(t > stats.t.ppf(0.975, 4)))
    assert statistics.power([0.0, 1.0, 2.0], 0, 0, 5) == pytest.approx(often, abs=0.01)
    assert statistics.power([0.0, 1.0, 2.0], 2, 2, 5) == pytest.approx(often, abs=0.01)  # below it
