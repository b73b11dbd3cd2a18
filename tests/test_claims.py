"""Verdicts: each claim's test, and that a scaled run never passes for one of full size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rows import VOTES, timed, training

from harness.analysis.claims import CLAIMS, Verdict, verdicts
from harness.records import ConfusionRow, Row, TrainedRow
from harness.spec import Reading, paper


def judged(claim: str, rows: list[Row]) -> Verdict:
    return {each.id: verdict for each, verdict in verdicts(rows)}[claim]


def full(rows: list[Row]) -> list[Row]:
    """The same rows as if they were of the paper's size."""
    settings = paper.settings("cifar10")
    return [replace(row, width="1", dropout=0.5, epochs=settings.epochs) for row in rows]


def scales(*by_seed: tuple[float, float, float]) -> list[Row]:
    return [
        row
        for seed, values in enumerate(by_seed)
        for name, value in zip(paper.SCALES, values, strict=True)
        for row in training(seed, (value,), suite="scale", scale=name)
    ]


def test_there_are_nine_and_without_rows_none_is_tested() -> None:
    found = verdicts([])
    assert [claim.id for claim, _ in found] == [
        *("fig3", "fig4", "fig5", "fig6", "conv", "tab3", "tab4", "tab5", "tab6")
    ]
    for claim, verdict in found:
        assert verdict.status == "not tested" and verdict.figures == ""
        remedy = "Matlab" if claim.id == "fig3" else f"harness run --suite {claim.suite}"
        assert remedy in verdict.reason


def test_a_rise_over_scales_in_every_seed_is_reproduced_at_the_scale_it_was_run_at() -> None:
    rows = scales((0.3, 0.4, 0.5), (0.31, 0.42, 0.5), (0.3, 0.38, 0.49))
    verdict = judged("fig4", rows)
    assert verdict.status == "reproduced at reduced scale"
    assert "width 1/8" in verdict.reason and "30.3 %" in verdict.figures
    assert judged("fig4", full(rows)).status == "reproduced"


def test_no_rise_is_not_reproduced_and_two_seeds_say_nothing() -> None:
    falling = scales((0.5, 0.4, 0.3), (0.5, 0.4, 0.31), (0.5, 0.41, 0.3))
    assert judged("fig4", falling).status == "not reproduced"
    assert "at reduced scale" in judged("fig4", falling).reason
    assert judged("fig4", scales((0.3, 0.4, 0.5), (0.3, 0.4, 0.5))).status == "not tested"


def steps(curve: dict[int, float]) -> list[Row]:
    return [
        row
        for seed in range(3)
        for T, value in curve.items()
        for row in training(seed, (value + 0.001 * seed,), suite="timesteps", T=T)
    ]


@pytest.mark.parametrize(
    ("curve", "status", "why"),
    [
        ({1: 0.45, 2: 0.5, 4: 0.53, 8: 0.54}, "reproduced at reduced scale", "yes: T = 4 loses"),
        ({1: 0.45, 2: 0.5, 4: 0.51, 8: 0.54}, "not reproduced", "no: T = 4 loses 3.0 points"),
        ({1: 0.2, 2: 0.5, 4: 0.53, 8: 0.54}, "not reproduced", "no: T = 1 keeps 23 %"),
        ({1: 0.54, 2: 0.53, 4: 0.52, 8: 0.51}, "not reproduced", "no: accuracy rises"),
    ],
)
def test_fig5_has_three_parts_that_all_must_hold(
    curve: dict[int, float], status: str, why: str
) -> None:
    verdict = judged("fig5", steps(curve))
    assert verdict.status == status and why in verdict.reason


def test_fig6_is_a_paired_test_of_the_contrast() -> None:
    def votes(more: float) -> tuple[tuple[float, ...], ...]:
        """Those of rows.py, with so much more for the right class."""
        return tuple(
            tuple(vote + more * (a == b) for a, vote in enumerate(line))
            for b, line in enumerate(VOTES)
        )

    def rows(gain: float) -> list[Row]:
        readings: tuple[tuple[Reading | None, float], ...] = ((None, 0.0), ("mean", gain))
        return [
            replace(row, votes=votes(0.01 * seed + more)) if isinstance(row, ConfusionRow) else row
            for seed in range(3)
            for reading, more in readings
            for row in training(seed, (0.5,), suite="neunorm", neunorm=reading)
        ]

    clearer = judged("fig6", rows(0.1))
    assert clearer.status == "reproduced at reduced scale"
    assert "0.410 off, 0.510 on" in clearer.figures  # 0.5 - 0.1, and a mean of 0.01 a seed
    assert judged("fig6", rows(-0.1)).status == "not reproduced"


def test_convergence_is_epochs_to_what_both_reach() -> None:
    slow, fast = (0.2, 0.3, 0.4, 0.5), (0.2, 0.5, 0.5, 0.6)
    curves: tuple[tuple[Reading | None, tuple[float, ...]], ...]
    curves = ((None, slow), ("mean", fast))
    rows = [
        row
        for seed in range(3)
        for reading, curve in curves
        for row in training(
            seed, curve, suite="accuracy", dataset="dvs-cifar10", scale="OurModel", neunorm=reading
        )
    ]
    verdict = judged("conv", rows)
    assert verdict.figures == "epochs to what both reach: 4.0 without, 2.0 with NeuNorm"
    assert verdict.status == "reproduced at reduced scale"


def test_a_tables_accuracy_is_answered_at_full_size_alone() -> None:
    rows = [
        *training(0, (0.8950,), suite="accuracy"),
        *training(0, (0.9060,), suite="accuracy", neunorm="mean"),
        *training(0, (0.9000,), suite="accuracy", framework="ann"),
    ]
    reduced = judged("tab5", rows)
    assert reduced.status == "not tested" and "reduced runs" in reduced.reason
    assert "89.5 % (published 89.83 %)" in reduced.figures
    assert judged("tab5", full(rows)).status == "reproduced"
    for flag in ("partial", "lossy", "simulated", "substitute", "test_partial", "test_lossy"):
        flags: dict[str, Any] = {f"data_{flag}": True}
        flagged = judged("tab5", [replace(row, **flags) for row in full(rows)])
        assert flagged.status == "not tested", flag
        assert f"({flag.removeprefix('test_')})" in flagged.reason
    low = [
        replace(row, test_accuracy=0.7) if isinstance(row, TrainedRow) else row
        for row in full(rows)
    ]
    assert judged("tab5", low).status == "not reproduced"


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
def test_fig3_names_the_rows_figures_and_claims_nothing_of_matlab(
    rows: list[Row], figures: str
) -> None:
    verdict = judged("fig3", rows)
    assert verdict.figures == (f"contenders take {figures}" if figures else "")
    assert verdict.status == "not tested" and "Matlab" in verdict.reason


def test_every_claim_says_what_decides_it() -> None:
    assert all(each.claim and each.value and each.test for each in CLAIMS)
