"""Ratios and their intervals: what a table may claim from few and noisy rounds."""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np
import pytest

from harness.analysis.statistics import mean
from harness.speed import ratios


def test_ratio_is_the_median_over_the_same_rounds() -> None:
    noise = ratios.Spread(0.1, 3)
    assert ratios.ratio([2.0, 9.0, 2.2], [1.0, 3.0, 1.0], noise).value == 2.2


def test_a_drift_that_slows_all_alike_is_no_noise() -> None:
    drift = np.linspace(1, 3, 5)
    spread = ratios.spread([list(drift), list(2 * drift), list(5 * drift)])
    assert spread.deviation == pytest.approx(0, abs=1e-12)
    assert spread.freedom == 8


def test_spread_of_two_contenders_in_two_rounds_by_hand() -> None:
    # log seconds 0, d and 0, 0: every residual is d / 4, four of them, one degree of freedom
    d = log(1.2)
    spread = ratios.spread([[1.0, 1.2], [1.0, 1.0]])
    assert spread.freedom == 1
    assert spread.deviation == pytest.approx(sqrt(4 * (d / 4) ** 2))


def test_few_rounds_get_the_interval_of_all_contenders_noise() -> None:
    ratio = ratios.ratio([2.0, 2.0], [1.0, 1.0], ratios.Spread(0.05, 5))
    reach = 2.5706 * 0.05 * sqrt(2 / 2)  # Student's t, 5 degrees of freedom
    assert ratio.method == "blocks"
    assert (ratio.low, ratio.high) == pytest.approx((2 * exp(-reach), 2 * exp(reach)), rel=1e-4)


def test_six_rounds_are_enough_to_resample() -> None:
    noise = ratios.Spread(inf, 0)
    seconds = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02]
    ratio = ratios.ratio(seconds, [1.0] * 6, noise)
    assert ratio.method == "bootstrap"
    assert min(seconds) <= ratio.low < ratio.value < ratio.high <= max(seconds)
    assert ratio == ratios.ratio(seconds, [1.0] * 6, noise)  # the same rows, the same table


def test_one_contender_in_one_round_has_no_interval() -> None:
    noise = ratios.spread([[1.0]])
    ratio = ratios.ratio([2.0], [1.0], noise)
    assert (ratio.low, ratio.high, ratio.method) == (0.0, inf, "none")


DRAWS = 4000
# of the share that covers, three standard errors of the simulation: 93 % is told from 90 %
WITHIN = 3 * sqrt(0.93 * 0.07 / DRAWS)


def equal_contenders(rounds: int) -> np.ndarray:
    """Seconds (DRAWS, 6, rounds) of six contenders that are equal, on a machine that drifts."""
    generator = np.random.default_rng(rounds)
    drift = generator.lognormal(0, 0.3, (DRAWS, 1, rounds))
    return drift * generator.lognormal(0, 0.1, (DRAWS, 6, rounds))


# What is said to cover 95 % covers less where the median is not the mean: from three rounds on.
# Its own noise is larger than that of a mean, which the blocks' interval is made of, and few rounds
# resampled have few medians. Each figure is of 20,000 draws.
@pytest.mark.parametrize(("rounds", "covers"), [(2, 0.950), (3, 0.923), (5, 0.906)])
def test_intervals_of_few_rounds_cover_as_often_as_is_stated(rounds: int, covers: float) -> None:
    covered = 0
    for seconds in equal_contenders(rounds):
        ratio = ratios.ratio(seconds[0], seconds[1], ratios.spread(seconds.tolist()))
        assert ratio.method == "blocks"
        covered += ratio.low <= 1 <= ratio.high
    assert covered / DRAWS == pytest.approx(covers, abs=WITHIN)


@pytest.mark.parametrize(
    ("rounds", "covers"), [(6, 0.935), (7, 0.877), (8, 0.912), (9, 0.925), (10, 0.933)]
)
def test_intervals_of_resampled_rounds_cover_as_often_as_is_stated(
    rounds: int, covers: float
) -> None:
    first, second = equal_contenders(rounds).swapaxes(0, 1)[:2]
    low, high = resampled(first / second)
    for n in range(5):  # the same as one by one, which would take seconds
        ratio = ratios.ratio(first[n], second[n], ratios.Spread(inf, 0))
        assert ratio.method == "bootstrap"
        assert (ratio.low, ratio.high) == pytest.approx((low[n], high[n]), rel=1e-12)
    assert np.mean((low <= 1) & (high >= 1)) == pytest.approx(covers, abs=WITHIN)


def resampled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the bootstrap's 95 % interval of each row's median."""
    rounds = values.shape[1]
    drawn = np.random.default_rng(0).integers(0, rounds, (999, rounds))
    parts = [np.median(part[:, drawn], axis=-1) for part in np.split(values, 20)]
    low, high = np.percentile(np.concatenate(parts), (2.5, 97.5), axis=-1)
    return low, high


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_means_over_seeds_cover_as_often_as_they_say(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(0.9, 0.02, (DRAWS, seeds))
    means = [mean(row) for row in draws.tolist()]
    covered = sum(each.low <= 0.9 <= each.high for each in means)
    assert covered / DRAWS == pytest.approx(0.95, abs=WITHIN)


def test_pooled_noise_weighs_by_what_each_knows() -> None:
    pooled = ratios.pooled([ratios.Spread(0.1, 1), ratios.Spread(0.2, 3)])
    assert pooled.freedom == 4
    assert pooled.deviation == pytest.approx(sqrt((0.01 + 3 * 0.04) / 4))
    assert ratios.pooled([ratios.Spread(inf, 0)]).freedom == 0
