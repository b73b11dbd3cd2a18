"""Verdicts: each claim's test, and that no data can contradict what they could not have shown."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from fractions import Fraction
from html import unescape
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rows import VOTES, timed, training

from harness.analysis.claims import CLAIMS, STEP, verdicts
from harness.analysis.verdict import Effect, Verdict
from harness.cli import terminal
from harness.records import ConfusionRow, EpochRow, Row, TrainedRow
from harness.report.claims import short_lines
from harness.report.page import page
from harness.spec import Reading, paper

EPOCHS = 12  # a quarter of them has a slope
ANY = pytest.mark.parametrize


def judged(claim: str, rows: list[Row]) -> Verdict:
    return {each.id: verdict for each, verdict in verdicts(rows)}[claim]


def full(rows: list[Row]) -> list[Row]:
    """The same rows as if they were of the paper's size."""
    return [
        replace(
            row,
            width="1",
            dropout=paper.settings(row.dataset).dropout,
            epochs=paper.settings(row.dataset).epochs,
            key=f"full {row.key}",
        )
        for row in rows
    ]


def learnt(seed: int, accuracy: float, neunorm: Reading | None = None, **case: Any) -> list[Row]:
    """A training that had converged there."""
    return training(seed, (accuracy,) * EPOCHS, neunorm, **case)


def scales(*by_seed: tuple[float, float, float], **case: Any) -> list[Row]:
    return [
        row
        for seed, values in enumerate(by_seed)
        for name, value in zip(paper.SCALES, values, strict=True)
        for row in learnt(seed, value, suite="scale", scale=name, **case)
    ]


RISING = scales((0.3, 0.4, 0.5), (0.31, 0.42, 0.5), (0.3, 0.38, 0.49))
FALLING = scales((0.5, 0.4, 0.3), (0.5, 0.4, 0.31), (0.5, 0.41, 0.3))


def along(rows: list[Row], *curve: float) -> list[Row]:
    """The rows with that training accuracy, epoch by epoch."""
    return [
        replace(row, train_accuracy=curve[row.epoch - 1]) if isinstance(row, EpochRow) else row
        for row in rows
    ]


def test_there_are_nine_and_one_of_ours_and_without_rows_none_is_tested() -> None:
    found = verdicts([])
    assert [claim.id for claim, _ in found] == [
        *("fig3", "fig4", "fig5", "fig6", "conv", "tab3", "tab4", "tab5", "tab6", "bf16")
    ]
    for claim, verdict in found:
        assert verdict.text == "not tested" and verdict.figures == verdict.n == ""
        remedy = f"harness run --suite {claim.suite}"
        assert remedy in verdict.reason and remedy in verdict.would_change


def test_a_rise_over_scales_in_every_seed_is_reproduced_at_the_scale_it_was_run_at() -> None:
    verdict = judged("fig4", RISING)
    assert verdict.text == "reproduced at reduced scale"
    assert "width 1/8" in verdict.reason and "30.3 %" in verdict.figures
    assert "--paper --precision fp32" in verdict.would_change
    (effect,) = verdict.effects
    assert effect.values == pytest.approx((0.1, 0.095, 0.095)) and verdict.n == "3"
    assert "+9.7 points [+8.9, +10.4]" in verdict.measured and "p = 0.0" in verdict.reason
    assert judged("fig4", full(RISING)).text == "reproduced"


def test_a_training_in_mixed_precision_is_not_of_full_size() -> None:
    mixed = [replace(row, precision="bf16") for row in full(RISING)]
    verdict = judged("fig4", mixed)
    assert verdict.text == "reproduced at reduced scale"
    assert "bf16 (the paper's is float32)" in verdict.reason


def test_a_fall_that_excludes_what_would_matter_contradicts() -> None:
    assert judged("fig4", FALLING).text == "contradicted at reduced scale"
    verdict = judged("fig4", full(FALLING))
    assert verdict.text == "contradicted" and "no: CIFAR-10" in verdict.reason
    assert "-9.8 points" in verdict.measured and "seeds" in verdict.would_change


def test_the_same_fall_in_noise_contradicts_nothing_and_says_how_many_seeds_would() -> None:
    noisy = scales((0.5, 0.4, 0.3), (0.4, 0.4, 0.31), (0.3, 0.41, 0.4))
    verdict = judged("fig4", full(noisy))
    assert verdict.text == "inconclusive" and "room for both" in verdict.reason
    assert "about 16 seeds" in verdict.would_change


def test_a_rise_that_is_there_but_would_not_matter_is_neither() -> None:
    rows = scales(*[(0.5 + n, 0.501 + n, 0.504 + n) for n in (0.0, 0.0001, 0.0002)])
    verdict = judged("fig4", full(rows))
    assert verdict.status == "inconclusive" and "less than would matter" in verdict.reason


def test_a_rise_that_the_trend_test_does_not_see_is_not_reproduced() -> None:
    rows = scales((0.3, 0.6, 0.5), (0.3, 0.6, 0.5), (0.3, 0.6, 0.5))
    assert judged("fig4", rows).effects[0].found.low > 0
    assert judged("fig4", rows).status == "inconclusive"


@ANY("seeds", [1, 2])
def test_fewer_than_three_seeds_say_nothing_of_anything(seeds: int) -> None:
    few = [row for row in [*RISING, *FALLING] if row.seed < seeds]
    for rows in (few[: len(few) // 2], few[len(few) // 2 :]):
        verdict = judged("fig4", rows)
        assert verdict.text == "inconclusive at reduced scale" and verdict.n == str(seeds)
        assert "at least 3 seeds" in verdict.would_change


RISEN = tuple(0.4 + 0.01 * n for n in range(EPOCHS))  # 3 points in the last quarter


@ANY(
    ("change", "why", "needs"),
    [
        (lambda rows: along(rows, *RISEN), "still rose, 3.0 points a quarter", "--epochs"),
        (lambda rows: along(rows, *(0.1,) * EPOCHS), "near chance", "learns with every seed"),
        (lambda rows: along(rows, *(0.5, 0.2) * 6), None, ""),  # up and down is no rise
        (
            lambda rows: [r for r in rows if not isinstance(r, EpochRow) or r.epoch < 8],
            "too few epochs",
            "--epochs",
        ),
    ],
)
def test_networks_that_had_not_converged_say_nothing(
    change: Any, why: str | None, needs: str
) -> None:
    for rows in (RISING, FALLING, full(FALLING)):
        verdict = judged("fig4", change(rows))
        assert (verdict.status == "inconclusive") == (why is not None)
        assert why is None or why in verdict.reason
        assert needs in verdict.would_change


@ANY("rows", [RISING, FALLING])
def test_one_seed_that_learnt_nothing_leaves_a_claim_open_and_is_named(rows: list[Row]) -> None:
    lost = [r for r in along(rows, *(0.19,) * EPOCHS) if r.seed == 2 and r.scale == "Large"]
    kept = [r for r in rows if r.seed != 2 or r.scale != "Large"]
    verdict = judged("fig4", [*kept, *lost])
    assert verdict.status == "inconclusive"
    assert "near chance with seed 2 (CIFAR-10 Large" in verdict.reason
    found = [r for r in along(rows, *(0.21,) * EPOCHS) if r.seed == 2 and r.scale == "Large"]
    assert judged("fig4", [*kept, *found]).status != "inconclusive"


def test_a_claim_on_several_data_sets_needs_all_and_falls_by_one() -> None:
    other: dict[str, Any] = {"dataset": "nmnist"}
    up = ((0.3, 0.4, 0.5), (0.31, 0.42, 0.5), (0.3, 0.38, 0.49))
    assert judged("fig4", [*RISING, *scales(*up, **other)]).status == "reproduced"
    assert judged("fig4", [*FALLING, *scales(*up, **other)]).status == "contradicted"
    assert judged("fig4", [*RISING, *scales(*up[:2], **other)]).status == "inconclusive"


def test_trainings_of_unlike_sizes_are_never_compared() -> None:
    """A Large network at an eighth of the width is no larger than a Small one of the paper's."""
    whole = full([row for row in RISING if row.scale == "Small"])
    wide = [replace(r, test_accuracy=0.9) if isinstance(r, TrainedRow) else r for r in whole]
    assert judged("fig4", [*wide, *RISING]).text == "reproduced at reduced scale"
    assert judged("fig4", [*RISING, *wide]).text == "reproduced at reduced scale"
    assert judged("fig4", [*full(RISING), *FALLING]).text == "reproduced"
    small = scales((0.3, 0.4, 0.5), width=Fraction(1, 4))
    some = [*wide, *(row for row in small if row.scale != "Small")]
    assert judged("fig4", some).status == "not tested"


@ANY("parts", [1, 2, 3])
def test_a_claim_that_holds_by_just_what_matters_falls_to_no_noise(parts: int) -> None:
    """Whatever the noise and the number of parts: at most as often as the level allows."""
    drawn, draws = random.Random(0), 600

    def effect(noise: float) -> Effect:
        values = tuple(drawn.gauss(STEP, noise) for _ in range(3))
        return Effect("", "points", values, 0.0, STEP)

    for noise in (0.001, 0.02, 0.2):
        fallen = sum(
            any(effect(noise).call(parts) in ("fails", "too small") for _ in range(parts))
            for _ in range(draws)
        )
        assert fallen <= 0.05 * draws


@ANY(
    ("matters", "shown"),
    [
        (0.00045, "gain: +0.11 points [-0.02, +0.23] (the least that matters: +0.045 points)"),
        (0.012, "gain: +0.1 points [+0.0, +0.2] (the least that matters: +1.2 points)"),
    ],
)
def test_points_have_the_digits_that_what_matters_needs(matters: float, shown: str) -> None:
    effect = Effect("gain", "points", (0.0005, 0.0012, 0.0015), 0.0, matters)
    assert effect.decided_by == shown


def steps(curve: dict[int, float], spread: float = 0.001) -> list[Row]:
    return [
        row
        for seed in range(3)
        for n, (T, value) in enumerate(curve.items())
        for row in learnt(seed, value + spread * ((seed + n) % 3), suite="timesteps", T=T)
    ]


@ANY(
    ("curve", "spread", "status", "why"),
    [
        ({1: 0.45, 2: 0.5, 4: 0.535, 8: 0.54}, 0.001, "reproduced", "yes: T = 4 less"),
        ({1: 0.45, 2: 0.5, 4: 0.51, 8: 0.54}, 0.001, "contradicted", "no: T = 4 less T = 8: -3.0"),
        ({1: 0.2, 2: 0.5, 4: 0.53, 8: 0.54}, 0.001, "contradicted", "no: T = 1 less 75 % of"),
        ({1: 0.54, 2: 0.53, 4: 0.52, 8: 0.51}, 0.001, "contradicted", "no: T = 8 less T = 1"),
        ({1: 0.45, 2: 0.5, 4: 0.51, 8: 0.54}, 0.03, "inconclusive", "room for both"),
    ],
)
def test_fig5_has_three_parts_that_all_must_hold(
    curve: dict[int, float], spread: float, status: str, why: str
) -> None:
    verdict = judged("fig5", steps(curve, spread))
    assert verdict.text == f"{status} at reduced scale" and why in verdict.reason
    assert len(verdict.effects) == 3


def votes(more: float) -> tuple[tuple[float, ...], ...]:
    """Those of rows.py, with so much more for the right class."""
    return tuple(
        tuple(vote + more * (a == b) for a, vote in enumerate(line)) for b, line in enumerate(VOTES)
    )


def clearer(*gains: float) -> list[Row]:
    """A seed for each gain of NeuNorm."""
    return [
        replace(row, votes=votes(0.01 * seed + more)) if isinstance(row, ConfusionRow) else row
        for seed, gain in enumerate(gains)
        for reading, more in (("off", 0.0), ("mean", gain))
        for row in learnt(seed, 0.5, None if reading == "off" else "mean", suite="neunorm")
    ]


def test_fig6_is_a_paired_test_of_the_contrast() -> None:
    verdict = judged("fig6", clearer(0.1, 0.11, 0.09))
    assert verdict.text == "reproduced at reduced scale"
    assert "0.410 off, 0.510 on" in verdict.figures  # 0.5 - 0.1, and a mean of 0.01 a seed
    assert "+0.100 [+0.075, +0.125]" in verdict.measured
    for gains, status in (
        ((-0.1, -0.11, -0.1), "contradicted"),
        ((0.0, 0.001, 0.002), "contradicted"),  # the interval ends below 0.01
        ((-0.1, 0.11, 0.0), "inconclusive"),
        ((-0.1, -0.11), "inconclusive"),
    ):
        assert judged("fig6", clearer(*gains)).status == status


def convergences(*epochs: tuple[int, int]) -> list[Row]:
    """By seed: the epochs to 50 % without and with NeuNorm."""
    return [
        row
        for seed, pair in enumerate(epochs)
        for reading, n in zip((None, "mean"), pair, strict=True)
        for row in training(
            *(seed, (0.2,) * (n - 1) + (0.5,) * (EPOCHS + 1 - n)),
            neunorm="mean" if reading else None,
            suite="accuracy",
            dataset="dvs-cifar10",
            scale="OurModel",
        )
    ]


def test_convergence_is_epochs_to_what_both_reach() -> None:
    verdict = judged("conv", convergences((8, 4), (8, 4), (8, 4)))
    assert verdict.figures == "epochs to what both reach: 8.0 without, 4.0 with NeuNorm"
    assert verdict.text == "reproduced at reduced scale" and "+50 %" in verdict.measured
    assert judged("conv", convergences((4, 8), (4, 8), (4, 7))).status == "contradicted"
    assert judged("conv", convergences((4, 8), (8, 4), (8, 4))).status == "inconclusive"


def of_table_5(*accuracies: tuple[float, float, float]) -> list[Row]:
    """By seed: without and with NeuNorm, and the ANN."""
    return [
        row
        for seed, (off, on, ann) in enumerate(accuracies)
        for row in (
            *learnt(seed, off, suite="accuracy"),
            *learnt(seed, on, "mean", suite="accuracy"),
            *learnt(seed, ann, suite="accuracy", framework="ann"),
        )
    ]


GOOD = of_table_5((0.895, 0.906, 0.9), (0.896, 0.907, 0.901), (0.894, 0.906, 0.9))


def raced(**seconds: float) -> list[Row]:
    """Two rounds of each contender, the second slower."""
    return [each for name, value in seconds.items() for each in timed(name, value, 2 * value)]


@pytest.mark.parametrize(
    ("rows", "figures"),
    [
        (raced(floor=1.0, reference=2.0, fused=1.25), "1.25 to 2.00 times the floor"),
        (raced(floor=1.0, reference=3.0, fused=1.25), "1.25 to 3.00 times the floor"),
        (raced(floor=2.0, reference=3.0, fused=1.25), "0.62 to 1.50 times the floor"),
        (raced(floor=1.0, reference=2.0), "2.00 to 2.00 times the floor"),
        (
            raced(floor=1.0, reference=2.0)
            + [replace(row, scale="Large") for row in raced(floor=1.0, reference=1.5)],
            "1.50 to 2.00 times the floor",
        ),
        (raced(floor=1.0), ""),  # of the floor alone nothing is said
        (raced(reference=2.0, fused=1.25), ""),  # nor of seconds without a floor
    ],
)
def test_fig3_names_the_rows_figures_where_no_matlab_was_timed(
    rows: list[Row], figures: str
) -> None:
    verdict = judged("fig3", rows)
    assert verdict.figures == (f"contenders take {figures}" if figures else "")
    assert verdict.status == "not tested" and "octave:conv2" in verdict.would_change


def test_every_claim_says_what_decides_it() -> None:
    assert all(each.claim and each.value and each.test for each in CLAIMS)
    for claim, matters in (("fig4", "1 point"), ("fig5", "1 point"), ("fig6", "0.01")):
        (test,) = (each.test for each in CLAIMS if each.id == claim)
        assert f"contradicted where it lies below {matters}" in test and "3 seeds" in test
    (conv,) = (each.test for each in CLAIMS if each.id == "conv")
    assert "below 10 %" in conv and "converged" in conv


def test_every_verdict_says_what_would_change_it() -> None:
    rows = [*FALLING, *steps({1: 0.4, 4: 0.5, 8: 0.54}), *clearer(0.1, 0.1, 0.1), *GOOD]
    assert all(verdict.would_change for _, verdict in verdicts([*rows, *full(GOOD)]))


def test_the_readmes_lines_have_at_most_twelve_words_and_lead_into_the_report() -> None:
    text = short_lines([*FALLING, *steps({1: 0.4, 4: 0.5, 8: 0.54}), *clearer(0.1, 0.1), *GOOD])
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(lines) == len(CLAIMS)
    whole = page(FALLING)
    for line, claim in zip(lines, CLAIMS, strict=True):
        name, target, verdict = re.findall(r"\[(.*)\]\((.*)\): \*\*(.*)\*\*", line)[0]
        assert name.replace("\\", "") == claim.short
        assert len(f"{name} {verdict}".split()) <= 12
        assert f'id="{target.partition("#")[2]}"' in whole
    assert "**contradicted at reduced scale**" in lines[1]


def test_report_and_terminal_show_verdict_effect_seeds_and_what_would_change_it() -> None:
    shown = Console(width=300, file=StringIO())
    shown.print(terminal.verdicts(verdicts(FALLING)))
    assert isinstance(shown.file, StringIO)
    fig4 = judged("fig4", FALLING)
    read = unescape(page(FALLING)).replace("<code>", "`").replace("</code>", "`")
    for text in (shown.file.getvalue(), read):
        for said in (fig4.text, fig4.measured, fig4.would_change):
            assert said in text
