"""The acceleration table is a pure function of rows; every figure of it derived by hand here."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import Any

import pandas as pd
import pytest
from test_records import ROW

from harness.analysis import tables
from harness.records import Record

COLUMNS = """
    dataset scale framework variant precision device T batch_size seconds_per_iteration
    seconds_per_epoch ratio_to_floor ratio_low ratio_high speedup_vs_reference peak_memory_mib
    spike_rate certificate rounds
"""


def timed(framework: str, *seconds: float, **fields: object) -> list[Record]:
    row = replace(ROW, framework=framework, **fields)  # type: ignore[arg-type]
    return [replace(row, round=n, seconds=each) for n, each in enumerate(seconds, 1)]


def certified(framework: str, passed: bool = True, **fields: object) -> list[Record]:
    row = replace(ROW, framework=framework, kind="certificate", round=None, seconds=None)
    row = replace(row, certified=passed, spike_rate=0.15, **fields)  # type: ignore[arg-type]
    return [replace(row, certificate_precision=each) for each in ("fp64", "fp32")]


def rows_of_a_run() -> list[Record]:
    return [
        *certified("reference"),
        *certified("snntorch"),
        *certified("snntorch", False, variant="subtract", deviations="it subtracts"),
        *timed("floor", 0.5, 2.0, 2.0),
        *timed("floor", 2.0, 2.0, 0.5, twin=True),  # with the first name, a mean of 1, 2, 1
        *timed("reference", 2.0, 4.0, 2.2),
        *timed("snntorch", 1.5, 3.0, 1.5),
        *timed("snntorch", 1.2, 2.4, 1.2, variant="subtract", deviations="it subtracts"),
        replace(
            ROW,
            framework="snntorch",
            kind="memory",
            round=None,
            seconds=None,
            peak_memory_mib=607.0,
        ),
        replace(
            ROW,
            framework="norse",
            kind="case",
            status="missing",
            reason="norse does not load",
            round=None,
            seconds=None,
        ),
    ]


def line(table: pd.DataFrame, framework: str, variant: str = "") -> dict[str, object]:
    found = table[(table["framework"] == framework) & (table["variant"] == variant)]
    assert len(found) == 1
    return {str(key): value for key, value in found.iloc[0].to_dict().items()}


def test_the_columns_that_others_rely_on_are_there() -> None:
    table = tables.acceleration(rows_of_a_run())
    assert set(COLUMNS.split()) <= set(table.columns)
    assert set(COLUMNS.split()) <= set(tables.acceleration([]).columns)


def test_figures_by_hand() -> None:
    found = line(tables.acceleration(rows_of_a_run()), "snntorch")
    assert found["seconds_per_iteration"] == 1.5
    assert found["seconds_per_epoch"] == 1.5 * 2500
    assert found["ratio_to_floor"] == 1.5  # in every round
    assert found["speedup_vs_reference"] == pytest.approx(4 / 3)  # median of 4/3, 4/3, 22/15
    assert found["peak_memory_mib"] == 607.0
    assert found["spike_rate"] == 0.15
    assert found["certificate"] == "equal (fp64+fp32)"
    assert found["rounds"] == 3


def test_the_floor_is_a_row_of_its_own_at_one() -> None:
    found = line(tables.acceleration(rows_of_a_run()), "floor")
    assert (found["ratio_to_floor"], found["ratio_low"], found["ratio_high"]) == (1, 1, 1)


def test_nobody_is_ranked_without_a_certificate() -> None:
    table = tables.acceleration(rows_of_a_run())
    order = list(zip(table["framework"], table["variant"], table["rank"].tolist(), strict=True))
    assert order == [
        ("floor", "", pd.NA),
        ("snntorch", "", 1),
        ("reference", "", 2),
        ("snntorch", "subtract", pd.NA),  # the fastest, and not the paper's function
        ("norse", "", pd.NA),
    ]
    assert line(table, "snntorch", "subtract")["certificate"] == "not the paper's function"
    assert line(table, "norse")["reason"] == "norse does not load"


def test_precisions_are_classes_of_their_own() -> None:
    bf16: dict[str, Any] = {"precision": "bf16"}
    layers = [
        replace(row, layer=name, gradient_cosine=cosine)
        for row in certified("fused", **bf16)[:1]
        for name, cosine in (("1", 0.99), ("2", 0.97))
    ]
    measured = replace(certified("fused", **bf16)[0], certificate_precision="bf16")
    table = tables.acceleration(
        [
            *rows_of_a_run(),
            *certified("fused", **bf16),
            replace(measured, spikes=1000, mismatches=5),
            *layers,
            *timed("floor", 0.5, 1.0, 0.5, **bf16),
            *timed("fused", 0.6, 1.2, 0.6, **bf16),
        ]
    )
    found = line(table, "fused")
    assert (found["rank"], found["ratio_to_floor"]) == (1, pytest.approx(1.2))
    assert found["ratio_to_fp32_floor"] == pytest.approx(0.6)  # of 1, 2, 1
    assert (found["mismatch_rate"], found["gradient_cosine"]) == (0.005, 0.97)
    assert found["certificate"] == "equal (fp64+fp32)"
    assert isnan(float(str(found["speedup_vs_reference"])))  # it did not run in bf16
    assert line(table, "snntorch")["rank"] == 1  # in its own class


def test_a_later_run_in_another_precision_leaves_the_figures_of_the_first() -> None:
    later: dict[str, Any] = {"run": "20270101T000000-000000", "precision": "bf16"}
    table = tables.acceleration([*rows_of_a_run(), *timed("floor", 3.0, **later)])
    assert set(table["precision"]) == {"fp32", "bf16"}
    assert line(table, "snntorch")["ratio_to_floor"] == 1.5


def test_timed_without_any_certificate_row_is_not_ranked() -> None:
    table = tables.acceleration([*timed("floor", 1.0), *timed("reference", 2.0)])
    assert line(table, "reference")["certificate"] == "none"
    assert pd.isna(table[table["framework"] == "reference"].iloc[0]["rank"])


def test_a_failed_certificate_is_not_comparable() -> None:
    failed = replace(
        ROW,
        kind="case",
        status="failed",
        reason="not comparable: spikes differ",
        round=None,
        seconds=None,
    )
    rows = [*timed("floor", 1.0), *certified("reference", False), failed]
    found = line(tables.acceleration(rows), "reference")
    assert found["certificate"] == "not comparable"
    assert isinstance(found["seconds_per_iteration"], float)
    assert isnan(found["seconds_per_iteration"])


def test_the_last_run_of_a_cell_counts_and_its_rounds_are_not_mixed_with_others() -> None:
    later = [replace(row, run="20270101T000000-000000") for row in timed("floor", 3.0)]
    table = tables.acceleration([*rows_of_a_run(), *later])
    assert list(table["framework"]) == ["floor"]
    assert line(table, "floor")["seconds_per_iteration"] == 3.0


def test_cells_come_in_the_papers_order() -> None:
    cells = [("nmnist", "Large"), ("cifar10", "Middle"), ("nmnist", "Small"), ("cifar10", "Small")]
    rows = [
        row for dataset, scale in cells for row in timed("floor", 1.0, dataset=dataset, scale=scale)
    ]
    table = tables.acceleration(rows)
    assert list(zip(table["dataset"], table["scale"], strict=True)) == [
        ("cifar10", "Small"),
        ("cifar10", "Middle"),
        ("nmnist", "Small"),
        ("nmnist", "Large"),
    ]


def test_noise_is_the_ratio_of_the_one_that_ran_twice() -> None:
    noise = tables.noise_of(rows_of_a_run())
    assert noise is not None
    assert noise.rounds == 3
    assert noise.value == 1.0  # the median of 4, 1, 1/4
    assert tables.noise_of(timed("floor", 1.0)) is None


@pytest.mark.parametrize("form", ["md", "csv", "html"])
def test_markup_keeps_names_as_text(form: tables.Markup) -> None:
    rows = timed("floor", 1.0, cpu="<b>|bold|</b>")
    text = tables.markup(tables.acceleration(rows), form)
    assert "floor" in text
    if form == "html":
        assert "<b>" not in text
    if form == "md":
        assert "\\|bold\\|" in text
