"""Tables of trainings are pure functions of rows; every figure of them derived by hand here."""

from __future__ import annotations

import re
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from rows import TEST, altered, changed, retrained, training
from surroundings import SHARED, needs_shared

from harness.analysis import tables, trainings
from harness.analysis.frame import frames
from harness.analysis.tables import published
from harness.analysis.trainings import rows_of
from harness.records import EpochResult, Row
from harness.reports.shown import as_tables
from harness.spec import schedule

FIXED: dict[str, Any] = {"stages": schedule.STAGES["cifar10"]}


def test_timesteps_has_a_line_for_each_t_and_a_column_for_each_tested_t() -> None:
    rows = [
        *training(0, (0.2, 0.4), T=1),
        *training(1, (0.2, 0.6), T=1),
        *training(0, (0.8, 0.7), T=2),
    ]
    table = tables.TABLES["timesteps"](rows)
    one, two = table.to_dict("records")
    assert (one["T"], one["accuracy"], one["n"]) == (1, pytest.approx(0.5), 2)
    assert one["low"] < 0.5 < one["high"] and isnan(two["low"])
    assert (one["tested_1"], one["tested_2"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (two["accuracy"], two["best_accuracy"]) == (0.7, 0.8)
    assert two["chosen_accuracy"] == 0.8 and two["seconds_per_epoch"] == 10
    # a begun training does not count
    rows = [*training(0, (0.9,), T=1), *training(1, (0.5,), T=1)[:2]]
    (line,) = tables.TABLES["timesteps"](rows).to_dict("records")
    assert (line["accuracy"], line["n"]) == (0.9, 1)


def test_a_condition_is_a_case_without_its_seed_and_says_its_data() -> None:
    lossy = replace(TEST, lossy=True)
    flagged = retrained(training(7, (0.1, 0.3), neunorm="mean"), test=lossy)
    rows = [*training(1, (0.2, 0.4), T=2), *training(0, (0.3, 0.6), T=2), *flagged]
    of_rows = frames(rows)
    many, alone = trainings.lines(of_rows, "timesteps")
    assert many.case == altered(rows[0].training, seed=0)
    assert (many.neunorm, many.lossy, alone.neunorm, alone.lossy) == ("off", False, "mean", True)
    assert (many.train_samples, many.data_source) == (900, "photographs")
    assert many.accuracies == {1: 0.4, 0: 0.6} and alone.accuracies == {7: 0.3}
    assert [row.result.epoch for row in rows_of(of_rows, EpochResult, many)] == [1, 2, 1, 2]
    # further tests of a trained network make no other condition
    tested = training(1, (0.6,), train=1_000, tested_at=(1, 2))
    both = [*training(0, (0.4,)), *tested]
    (one,) = trainings.lines(frames(both), "timesteps")
    assert one.accuracies == {0: 0.4, 1: 0.6}


def test_the_gain_of_the_last_epochs_at_the_first_rate_is_a_column() -> None:
    curve = (0.1, 0.2, 0.3, 0.4, 0.42, 0.44, 0.45, 0.47)  # quarters of two: 0.46 over 0.43
    rows = training(0, (0.5,) * 8, learning=curve, suite="accuracy")
    (line,) = tables.TABLES["accuracy"](rows).to_dict("records")
    assert line["gained_at_first"] == pytest.approx(0.03)
    (short,) = tables.TABLES["accuracy"](training(0, (0.5,), suite="accuracy")).to_dict("records")
    assert isnan(short["gained_at_first"])


def test_the_neunorm_table_has_epochs_to_a_common_goal() -> None:
    rows = training(0, (0.5,) * 4, learning=(0.2, 0.3, 0.5, 0.5), suite="neunorm")
    rows += training(0, (0.5,) * 4, "mean", (0.4, 0.6, 0.6, 0.7), suite="neunorm")
    off, on = tables.TABLES["neunorm"](rows).to_dict("records")
    assert [line["neunorm"] for line in (off, on)] == ["off", "mean"]
    goal = 0.1 + 0.9 * (0.6 - 0.1)  # from chance to the mean of 0.5 and 0.7
    assert [line["target"] for line in (off, on)] == pytest.approx([goal] * 2)
    assert isnan(off["epochs_to_target"])  # it never does
    assert on["epochs_to_target"] == pytest.approx(1 + (goal - 0.4) / (0.6 - 0.4))
    assert off["contrast"] == pytest.approx(0.4)


def test_the_epochs_column_counts_trained_epochs() -> None:
    for suite, name in (("scale", "scale"), ("accuracy", "5")):
        rows = [row for seed in (0, 1) for row in training(seed, (0.5,) * 8, suite=suite)]
        assert list(tables.TABLES[name](rows)["epochs"].dropna()) == [8]
        # one of two learns nothing, and ends after five of them
        rows = [
            row
            for seed, learning in enumerate((0.4, 0.1))
            for row in training(seed, (0.5,), learning=(learning,), suite=suite, **FIXED)
        ]
        assert list(tables.TABLES[name](rows)["epochs"].dropna()) == [round((50 + 5) / 2)]


def test_a_figures_table_includes_matching_trainings_of_other_suites() -> None:
    small, middle = (training(0, (0.4,), suite="scale", scale=name) for name in ("Small", "Middle"))
    large, other = training(0, (0.5,), suite="accuracy"), training(0, (0.6,), suite="accuracy", T=4)
    table = tables.TABLES["scale"]([*large, *other, *middle, *small])
    assert list(table["scale"]) == ["Small", "Middle", "Large"]  # CIFARNet is Table 1's Large
    assert list(table["accuracy"]) == [0.4, 0.4, 0.5]
    table = tables.TABLES["timesteps"]([*large, *training(0, (0.3,), T=1)])
    assert list(table["T"]) == [1, 10] and list(table["scale"]) == ["CIFARNet"] * 2
    assert tables.TABLES["timesteps"](large).empty


def test_networks_of_two_files_are_not_compared_and_named_by_their_hashes() -> None:
    files = "1a2b3c4d", "5e6f7a8b"
    rows = [
        altered(row, weights_sha256=file * 8)
        for T, file in zip((1, 2), files, strict=True)
        for row in training(0, (0.4,), T=T, suite="timesteps")
    ]
    lines = trainings.lines(frames(rows), "timesteps")
    assert [row.initialisation for row in lines] == [f"file {file}" for file in files]
    assert len({*map(trainings.same_but("T"), lines)}) == 2


def test_seeds_that_learnt_nothing_are_in_the_mean_and_are_counted() -> None:
    last = training(1, (0.5, 0.1))
    lost = changed(last, EpochResult, {"train_accuracy": 0.19}, epoch=2)
    rows = [*training(0, (0.5, 0.7)), *lost, *training(0, (0.5,), T=1)]
    one, two = tables.TABLES["timesteps"](rows).to_dict("records")
    assert (one["n"], one["at_chance"]) == (1, 0) and (two["n"], two["at_chance"]) == (2, 1)
    assert two["accuracy"] == pytest.approx(0.4)


def test_table_5_is_in_the_papers_order_with_our_column() -> None:
    rows = [*training(0, (0.4,), suite="accuracy"), *training(1, (0.5,), suite="accuracy")]
    rows += training(0, (0.6,), suite="accuracy", neunorm="mean")
    rows += training(0, (0.7,), suite="accuracy", contender="ann")
    rows += training(0, (0.3,), suite="accuracy", scale="AlexNet", neunorm="mean")
    table = tables.TABLES["5"](rows)
    assert list(table["published"]) == [0.7542, 0.7743, 0.908, 0.8746, 0.9049, 0.8983, 0.9053]
    assert list(table["accuracy"].isna()) == [True] * 4 + [False] * 3
    assert list(table["accuracy"][4:]) == pytest.approx([0.7, 0.45, 0.6])
    assert list(table["neunorm"][4:]) == ["off", "off", "mean"]
    assert list(table["difference"])[5] == pytest.approx(0.45 - 0.8983)
    assert set(table["source"][:4]) == {"cited by the paper"}
    assert list(tables.TABLES["6"](rows)["accuracy"].dropna()) == [0.3]
    assert len(tables.TABLES["3"](rows)) == 8  # nothing of ours was run: the paper's rows stay


def test_a_row_of_table_5_has_the_trainings_that_answer_its_claim() -> None:
    short = [*training(0, (0.4,), suite="accuracy"), *training(0, (0.5,), "mean", suite="neunorm")]
    fixed = training(0, (0.6,), suite="scale", scale="Large", **FIXED)
    fixed += training(1, (0.8,), suite="neunorm", **FIXED)

    def ours(rows: list[Row]) -> list[float]:
        return [*tables.TABLES["5"](rows)["accuracy"].dropna()]

    assert ours([*short, *training(0, (0.3,), T=2)]) == [0.4, 0.5]  # of `accuracy`, else of others
    assert ours([*short, *fixed]) == pytest.approx([0.7, 0.5])
    one, other = as_tables("5", tables.FULL["5"](frames([*short, *fixed])))[0].lines[5:]
    assert one[-2:] == ("2", "width 1/8, 900 samples, epochs 40+5+5, T = 10")
    assert other[-1].startswith("width 1/8, 900 samples, epochs 1, ")


@needs_shared
def test_transcribed_figures_equal_the_notes_on_the_paper() -> None:
    text = (SHARED / "PAPER.md").read_text(encoding="utf-8")
    claims = text[text.index("## Claims") :]
    numbers = re.findall(r"[0-9]+\.[0-9]+|90\.8", claims)
    for row in published():
        percent = 100 * row.accuracy
        assert any(abs(float(number) - percent) < 1e-6 for number in numbers), row
