"""Ratios and their intervals: what a table may claim from few and noisy rounds."""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np
import pytest

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


@pytest.mark.parametrize("rounds", [2, 3, 5, 8])
def test_intervals_of_equal_contenders_cover_one_as_often_as_they_say(rounds: int) -> None:
    generator = np.random.default_rng(rounds)
    covered = 0
    for _ in range(200):
        drift = generator.lognormal(0, 0.3, rounds)
        seconds = [list(drift * generator.lognormal(0, 0.1, rounds)) for _ in range(6)]
        ratio = ratios.ratio(seconds[0], seconds[1], ratios.spread(seconds))
        covered += ratio.low <= 1 <= ratio.high
    assert covered >= 180  # of 200, said to be 190


def test_pooled_noise_weighs_by_what_each_knows() -> None:
    pooled = ratios.pooled([ratios.Spread(0.1, 1), ratios.Spread(0.2, 3)])
    assert pooled.freedom == 4
    assert pooled.deviation == pytest.approx(sqrt((0.01 + 3 * 0.04) / 4))
    assert ratios.pooled([ratios.Spread(inf, 0)]).freedom == 0
