"""Verdicts on Tables 3 to 6 and on bf16: at full size the figures, of reduced runs the order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from test_claims import ANY, GOOD, RISEN, along, full, judged, learnt, of_table_5


def test_a_tables_accuracy_is_answered_at_full_size_alone() -> None:
    whole = judged("tab5", full(GOOD))
    assert whole.text == "reproduced"
    assert "NeuNorm off, published 89.83 %: 89.5 % [89.3, 89.7]" in whole.measured
    assert judged("tab5", [*GOOD, *full(GOOD)]).text == "reproduced"
    for reduced in (GOOD, [row for row in full(GOOD) if row.framework != "ann"]):
        assert judged("tab5", reduced).scope == "order"
    for flag in ("partial", "lossy", "simulated", "substitute", "test_partial", "test_lossy"):
        flags: dict[str, Any] = {f"data_{flag}": True}
        flagged = judged("tab5", [replace(row, **flags) for row in full(GOOD)])
        assert flagged.scope == "order", flag
        assert f"({flag.removeprefix('test_')})" in flagged.reason
    for change in ({"precision": "bf16"}, {"dropout": 0.0}, {"width": "1/2"}, {"epochs": 9}):
        changed: dict[str, Any] = change
        assert judged("tab5", [replace(row, **changed) for row in full(GOOD)]).scope == "order"


def test_of_reduced_trainings_the_order_of_a_table_is_judged() -> None:
    verdict = judged("tab5", GOOD)
    assert verdict.text == "order reproduced at reduced scale"
    assert [effect.name for effect in verdict.effects] == [
        "NeuNorm gains (published +0.70)",
        "CIFARNet less its ANN",
    ]
    assert "width 1/8" in verdict.reason
    behind = of_table_5((0.4, 0.41, 0.5), (0.41, 0.42, 0.51), (0.4, 0.41, 0.5))
    assert judged("tab5", behind).text == "order contradicted at reduced scale"
    worse = of_table_5((0.42, 0.41, 0.4), (0.43, 0.42, 0.4), (0.42, 0.41, 0.4))
    assert judged("tab5", worse).text == "order contradicted at reduced scale"
    assert "no: NeuNorm gains" in judged("tab5", worse).reason
    assert judged("tab5", along(GOOD, *RISEN)).text == "order inconclusive at reduced scale"
    alone = [row for row in GOOD if row.neunorm is None and row.framework != "ann"]
    assert judged("tab5", alone).text == "not tested"
    without = [row for row in GOOD if row.neunorm is None]  # Table 5's own has NeuNorm
    assert judged("tab5", without).text == "not tested"


def test_table_6_holds_alexnet_against_the_same_structure_without_spikes() -> None:
    for behind, status in ((0.0, "reproduced"), (0.05, "contradicted")):
        rows = [
            row
            for seed in range(3)
            for framework, less in (("fused", behind), ("ann", 0.0))
            for row in learnt(
                *(seed, 0.5 + 0.001 * seed - less),
                suite="accuracy",
                scale="AlexNet",
                framework=framework,
            )
        ]
        assert judged("tab6", rows).text == f"order {status} at reduced scale"


@ANY(
    ("differences", "status"),
    [
        ((0.001, -0.002, 0.0), "reproduced"),
        ((-0.05, -0.051, -0.05), "contradicted"),
        ((0.05, 0.051, 0.05), "contradicted"),  # neither way
        ((0.05, -0.05, 0.0), "inconclusive"),
        ((0.0, 0.0), "inconclusive"),
    ],
)
def test_bf16_is_to_end_where_float32_does(differences: tuple[float, ...], status: str) -> None:
    rows = [
        row
        for seed, difference in enumerate(differences)
        for precision, more in (("fp32", 0.0), ("bf16", difference))
        for row in learnt(seed, 0.5 + more, suite="ablations", precision=precision)
    ]
    verdict = judged("bf16", rows)
    assert verdict.text == f"{status} at reduced scale" and len(verdict.effects) == 2


def test_a_full_size_accuracy_needs_seeds_and_an_interval_beside_the_bar() -> None:
    low = of_table_5((0.70, 0.906, 0.9), (0.71, 0.907, 0.9), (0.70, 0.906, 0.9))
    noisy = of_table_5((0.70, 0.906, 0.9), (0.95, 0.907, 0.9), (0.85, 0.906, 0.9))
    assert judged("tab5", full(low)).text == "contradicted"
    assert judged("tab5", full(noisy)).text == "inconclusive"
    assert judged("tab5", [row for row in full(low) if row.seed < 2]).text == "inconclusive"
    assert judged("tab5", along(full(low), *RISEN)).text == "inconclusive"
    assert judged("tab5", along(full(GOOD), *RISEN)).text == "reproduced"  # reached is reached
    assert judged("tab5", low).scope == "order"


def test_a_network_is_held_against_its_ann_where_both_learnt_from_most() -> None:
    few = [
        replace(row, train_samples=90, key=f"few {row.seed} {row.framework}")
        for row in of_table_5(*[(0.5, 0.5, 0.9)] * 3)
    ]
    for rows in ([*few, *GOOD], [*GOOD, *few]):
        assert "CIFARNet less its ANN: +0.6 points" in judged("tab5", rows).measured
