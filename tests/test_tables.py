"""The acceleration table is a pure function of rows; every figure of it derived by hand here."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import Any

import pandas as pd
import pytest
from rows import ROW, audited, certified, row, rows_of_a_run, timed

from harness.analysis import tables
from harness.analysis.rounds import cell_of
from harness.analysis.speed import acceleration_lines
from harness.records import EndedRow, IterationRow
from harness.records.identity import EXAM

COLUMNS = """
    dataset scale framework variant precision device T batch_size seconds_per_iteration
    seconds_per_epoch ratio_to_floor ratio_low ratio_high speedup_vs_reference peak_memory_mib
    spike_rate certificate rounds
    protocol audit exam exam_inputs compile_seconds allocator threads layout implementation
    memory_note speedup_low speedup_high first_over_second
"""


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
    assert found["ratio_to_floor"] == pytest.approx(1.5)  # in every round
    assert found["speedup_vs_reference"] == pytest.approx((4 / 3 * 4 / 3 * 22 / 15) ** (1 / 3))
    assert found["first_over_second"] == 0.5
    assert found["peak_memory_mib"] == 607.0
    assert found["spike_rate"] == 0.15
    assert found["certificate"] == "equal (fp64+fp32)"
    assert found["rounds"] == 3


def test_the_floor_is_a_row_of_its_own_at_one() -> None:
    found = line(tables.acceleration(rows_of_a_run()), "floor")
    assert (found["ratio_to_floor"], found["ratio_low"], found["ratio_high"]) == (1, 1, 1)


def test_whoever_lacks_what_a_rank_needs_is_listed_with_its_reason() -> None:
    table = tables.acceleration(rows_of_a_run())
    assert list(zip(table["framework"], table["variant"], strict=True)) == [
        ("floor", ""),
        ("snntorch", "subtract"),  # the fastest, and not the paper's function
        ("snntorch", ""),
        ("reference", ""),
        ("norse", ""),
    ]
    assert table["rank"].dropna().tolist() == []
    assert line(table, "snntorch", "subtract")["certificate"] == "not the paper's function"
    assert line(table, "norse")["reason"] == "norse does not load"


def test_precisions_are_classes_of_their_own() -> None:
    bf16: dict[str, Any] = {"precision": "bf16"}
    layers = [
        replace(each, layer=name, gradient_cosine=cosine)
        for each in certified("fused", **bf16)[:1]
        for name, cosine in (("1", 0.99), ("2", 0.97))
    ]
    measured = replace(certified("fused", **bf16)[0], certificate_precision="bf16")
    rows = [
        *rows_of_a_run(),
        *certified("fused", **bf16),
        replace(measured, spikes=1000, mismatches=5),
        *layers,
        *timed("floor", 0.5, 1.0, 0.5, **bf16),
        *timed("fused", 0.6, 1.2, 0.6, **bf16),
    ]
    found = line(tables.acceleration(rows), "fused")
    assert found["ratio_to_floor"] == pytest.approx(1.2)
    assert found["ratio_to_fp32_floor"] == pytest.approx(0.6)  # of 1, 2, 1
    assert found["ratio_to_fp32_floor_low"] == pytest.approx(0.6)
    assert (found["mismatch_rate"], found["gradient_cosine"]) == (0.005, 0.97)
    assert isnan(float(str(found["speedup_vs_reference"])))  # it did not run in bf16
    # what an audit finds given its own spikes stands before what runs freely
    told: dict[str, Any] = {**bf16, "mismatches": 2, "near_ties": 2}
    in_training = [*rows, *audited("fused", **told, gradient_cosine=0.9995)]
    found = line(tables.acceleration(in_training), "fused")
    assert (found["mismatch_rate"], found["gradient_cosine"]) == (0.002, 0.9995)
    in_inference = [*rows, *audited("fused", **told, gradient_cosine=None)]
    found = line(tables.acceleration(in_inference), "fused")
    assert found["mismatch_rate"] == 0.002 and isnan(float(str(found["gradient_cosine"])))


def test_a_later_run_in_another_precision_leaves_the_figures_of_the_first() -> None:
    later: dict[str, Any] = {"run": "20270101T000000-000000", "precision": "bf16"}
    table = tables.acceleration([*rows_of_a_run(), *timed("floor", 3.0, **later)])
    assert set(table["precision"]) == {"fp32", "bf16"}
    assert line(table, "snntorch")["ratio_to_floor"] == pytest.approx(1.5)


def test_timed_without_any_certificate_row_is_not_ranked() -> None:
    table = tables.acceleration([*timed("floor", 1.0), *timed("reference", 2.0)])
    assert line(table, "reference")["certificate"] == "none"
    assert pd.isna(table[table["framework"] == "reference"].iloc[0]["rank"])


def test_a_failed_certificate_is_not_comparable() -> None:
    failed = row(EndedRow, status="not comparable", reason="spikes differ")
    rows = [*timed("floor", 1.0), *certified("reference", False), failed]
    found = line(tables.acceleration(rows), "reference")
    assert found["certificate"] == "not comparable"
    assert found["reason"] == "not comparable: spikes differ"
    assert isinstance(found["seconds_per_iteration"], float)
    assert isnan(found["seconds_per_iteration"])


def test_the_last_run_of_a_cell_counts_and_its_rounds_are_not_mixed_with_others() -> None:
    later = [replace(each, run="20270101T000000-000000") for each in rows_of_a_run()]
    of_floor = [
        replace(each, seconds=3.0)
        if isinstance(each, IterationRow) and each.framework == "floor"
        else each
        for each in later
    ]
    table = tables.acceleration([*rows_of_a_run(), *of_floor])
    assert set(table["run"]) == {"20270101T000000-000000"}
    assert line(table, "floor")["seconds_per_iteration"] == 3.0


def test_a_run_stays_where_a_later_one_has_not_timed_all_of_its_contenders() -> None:
    when = "20270101T000000-000000"
    other = [*timed("floor", 1.0, run=when), *timed("reference", 4.0, run=when)]
    table = tables.acceleration([*rows_of_a_run(), *other])
    found = {run: list(lines["framework"]) for run, lines in table.groupby("run")}
    assert set(found.pop(when)) == {"floor", "reference"}
    assert [set(names) for names in found.values()] == [{"floor", "norse", "reference", "snntorch"}]
    ratios = table[table["framework"] == "reference"]["ratio_to_floor"]
    assert sorted(map(float, ratios)) == pytest.approx([2 * 1.1 ** (1 / 3), 4.0])
    # one that timed the floor alone says nothing
    alone = timed("floor", 9.0, run="20280101T000000-000000")
    assert len(tables.acceleration([*rows_of_a_run(), *other, *alone])) == len(table)


def test_a_clock_that_once_ran_ahead_does_not_hide_what_was_measured_later() -> None:
    ahead = [replace(each, run="20990101T000000-000000") for each in rows_of_a_run()]
    now = [
        replace(each, seconds=5.0)
        if isinstance(each, IterationRow) and each.framework == "reference"
        else replace(each, seconds=1.0)
        if isinstance(each, IterationRow)
        else each
        for each in rows_of_a_run()
    ]
    for rows, ratio in (([*ahead, *now], 5.0), ([*now, *ahead], 2 * 1.1 ** (1 / 3))):
        table = tables.acceleration(rows)
        assert line(table, "reference")["ratio_to_floor"] == pytest.approx(ratio)
        assert len(set(table["run"])) == 1


def test_a_later_run_that_timed_nothing_leaves_the_figures() -> None:
    later = row(EndedRow, framework="snntorch", run="20270101T000000-000000")
    table = tables.acceleration([*rows_of_a_run(), later])
    assert line(table, "snntorch")["ratio_to_floor"] == pytest.approx(1.5)


PLACES: list[dict[str, Any]] = [
    {"cpu": "Another"},
    {"capability": "AVX2"},
    {"gpu": "NVIDIA H100"},
    {"threads": 4},
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: next(iter(place)))
def test_rows_of_two_machines_are_never_mixed_in_one_cells_ratios(place: dict[str, Any]) -> None:
    here: dict[str, Any] = {"cpu": "One", "capability": "AVX512", "threads": 2}
    there = {**here, **place}
    # in turn, and of the same run: as if two machines wrote to one folder
    rows = [
        *timed("floor", 1.0, 2.0, 1.0, **here),
        *timed("floor", 4.0, 4.0, **there),
        *timed("snntorch", 2.0, 4.0, 2.0, **here),
        *timed("snntorch", 4.0, 4.0, **there),
    ]
    found = [each for each in acceleration_lines(rows) if each.framework == "snntorch"]
    assert [each.ratio_to_floor for each in found] == pytest.approx([2.0, 1.0])
    assert [each.seconds_per_iteration for each in found] == [2.0, 4.0]
    assert found[0].place != found[1].place and found[0].cell != found[1].cell
    twice = timed("floor", 8.0, 8.0, twin=True, **there)
    noise = tables.noise_of([*twice, *reversed(rows)])
    assert noise is not None and noise.value == pytest.approx(
        2
    )  # to the other machine's floor: 8 and 4


def test_machines_come_first_that_with_most_rows_before_the_others_then_cells() -> None:
    few: dict[str, Any] = {"cpu": "A", "threads": 1}
    most: dict[str, Any] = {"cpu": "B", "threads": 2}
    rows = [
        *timed("floor", 1.0, 1.0, scale="Small", **few),
        *timed("floor", 1.0, scale="Middle", **most),
        *timed("floor", 1.0, 1.0, scale="Small", **most),
    ]
    table = tables.acceleration(rows)
    order = list(zip(table["cpu"], table["scale"], strict=True))
    assert order == [("B", "Small"), ("B", "Middle"), ("A", "Small")]


SETTINGS: list[dict[str, Any]] = [
    {"v_th": 0.5},
    {"population": 5},
    {"optimiser_lr": 0.01},
    {"batch_size": 10},
    {"seed": 1},
    {"initialisation": "torch"},
    {"neunorm": "mean", "k_tau2": 0.9},
    {"mode": "inference"},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: next(iter(setting)))
def test_whatever_differs_beside_framework_and_precision_makes_another_cell(
    setting: dict[str, Any],
) -> None:
    assert cell_of(row(IterationRow, **setting)) != cell_of(ROW)
    other = row(IterationRow, framework="norse", variant="super", precision="bf16")
    assert cell_of(other) == cell_of(ROW)
    rows = [*timed("floor", 1.0), *timed("reference", 2.0), *timed("floor", 4.0, **setting)]
    (found,) = (each for each in acceleration_lines(rows) if each.framework == "reference")
    assert found.ratio_to_floor == pytest.approx(2)


@pytest.mark.parametrize("exam", [EXAM - 1, EXAM + 1])
def test_a_certificate_by_another_exam_is_said_to_be_so(exam: int) -> None:
    rows = [*timed("floor", 1.0), *timed("reference", 2.0), *certified("reference", exam=exam)]
    found = line(tables.acceleration([*rows, *audited("reference")]), "reference")
    assert found["certificate"] == f"equal by exam {exam}" and found["rank"] is None
    assert found["exam"] == exam
    assert found["ratio_to_floor"] == pytest.approx(2)
    assert f"proved by exam {exam}" in str(found["reason"])
    now = line(
        tables.acceleration([*rows[:2], *certified("reference"), *audited("reference")]),
        "reference",
    )
    assert now["certificate"] == "equal (fp64+fp32)" and now["exam"] == EXAM


def test_what_was_proved_is_data_and_no_column() -> None:
    lines = {each.name: each for each in acceleration_lines(rows_of_a_run())}
    assert lines["snntorch"].proved == lines["reference"].proved == ("fp64", "fp32")
    for name in ("floor", "snntorch:subtract", "norse"):
        assert lines[name].proved == (), name
    measured = certified("fused", precision="bf16")
    measured.append(replace(measured[0], certificate_precision="bf16"))
    bf16 = audited("fused", precision="bf16")
    (fused,) = acceleration_lines([*measured, *bf16, *timed("fused", 1.0, precision="bf16")])
    assert fused.proved == ()  # bf16 is never equal
    (fused,) = acceleration_lines([*certified("fused"), *audited("fused"), *timed("fused", 1.0)])
    assert fused.proved == ("fp64", "fp32")
    assert "proved" not in tables.acceleration(rows_of_a_run()).columns


def test_cells_come_in_the_papers_order() -> None:
    cells = [("nmnist", "Large"), ("cifar10", "Middle"), ("nmnist", "Small"), ("cifar10", "Small")]
    rows = [
        each
        for dataset, scale in cells
        for each in timed("floor", 1.0, dataset=dataset, scale=scale)
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
    assert noise.value == pytest.approx(1)  # the mean of 4, 1, 1/4 in logs
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
