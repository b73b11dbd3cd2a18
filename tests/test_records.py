"""Rows: whole lines, typed, never rewritten; what is damaged is named and left out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rows import (
    COUNTS,
    KINDS,
    ROW,
    TRAINED,
    VOTES,
    base,
    fitted_case,
    row,
    timed_case,
    trained_case,
)

from harness.records import (
    SCHEMA,
    ConfusionRow,
    EndedRow,
    EpochRow,
    FittedRow,
    Row,
    Store,
    build,
)
from harness.records.identity import Software, training_key
from harness.records.reading import parse
from harness.spec import Case, NeuNorm, Training, UsageError, paper


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_row_of_each_kind_comes_back_as_it_was(kind: type[Row], tmp_path: Path) -> None:
    store = Store(tmp_path)
    trains = kind in TRAINED
    case = trained_case() if trains else timed_case()
    case = fitted_case("hats") if kind is FittedRow else case
    given = row(kind, case, key="k", data_note='a "quoted" |note|\nover two lines')
    store.append(given)
    rows, damaged = store.read()
    assert (rows, damaged) == ([given], [])


def test_rows_of_a_suite_are_one_line_each_in_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    before = (tmp_path / "records" / "acceleration.jsonl").read_bytes()
    store.append(ROW)
    after = (tmp_path / "records" / "acceleration.jsonl").read_bytes()
    assert after == 2 * before
    assert before.count(b"\n") == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "damaged row"),
        ('{"schema": 1', "damaged row"),
        ('{"schema": 1, "kind": "iteration"}', "unknown data set"),
        ('{"schema": 3, "kind": "iteration"}', "Field required"),
        ("[1, 2]", "damaged row"),
        ('{"schema": 99}', "newer harness (schema 99, this one reads 3)"),
        (ROW.to_json().replace('"T": 10', '"T": "ten"'), "T: Input should be a valid integer"),
        (ROW.to_json().replace('"kind": "iteration"', '"kind": "rumour"'), "kind"),
        (ROW.to_json().replace('"run"', '"walk": 1, "run"'), "walk"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    path = tmp_path / "records" / "acceleration.jsonl"
    path.write_text(path.read_text() + line + "\n")
    store.append(ROW)
    rows, damaged = store.read()
    assert rows == [ROW, ROW]
    assert [(each.path, each.line) for each in damaged] == [(path, 2)]
    assert reason in str(damaged[0])


def test_a_line_torn_by_a_crash_does_not_swallow_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    path = tmp_path / "records" / "acceleration.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    store.append(ROW)
    rows, damaged = store.read()
    assert rows == [ROW]
    assert [each.line for each in damaged] == [1]


def test_numbers_that_json_lacks_never_reach_the_file() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(ROW, seconds=float("nan")).to_json()


def test_the_schema_says_which_fields_it_has() -> None:
    # a change of this list is a change of the schema: raise SCHEMA, and say so in the CHANGELOG
    assert SCHEMA == 3
    assert list(json.loads(ROW.to_json()))[:4] == ["schema", "run", "time", "kind"]


# What no harness can have written, though each field is of its type (HOSTILE 8).
SENSELESS = [
    ({"T": 0}, "T is 0"),
    ({"T": 10**300}, "T"),
    ({"seed": -1}, "seed is -1"),
    ({"dataset": "imagenet"}, "unknown data set 'imagenet'"),
    ({"suite": "../../x"}, "unknown suite"),
    ({"width": "x/0"}, "width 'x/0'"),
    ({"network": "8C3"}, "network notation"),
    ({"v_th": -1.0}, "v_th is -1.0"),
    ({"k_tau": 2.0}, "k_tau is 2.0"),
    ({"neunorm": "mean"}, "k_tau2 is missing"),
    ({"seconds": -1.0}, "seconds: Input should be greater than or equal to 0"),
    ({"seconds": 1e999}, "seconds"),
    ({"round": 0}, "round"),
    ({"time": "yesterday"}, "time: a date and time with a zone"),
    ({"time": "2026-01-01T00:00:00"}, "time: a date and time with a zone"),
]


@pytest.mark.parametrize(("change", "reason"), SENSELESS, ids=lambda value: str(value)[:40])
def test_a_row_that_makes_no_sense_is_named_and_the_others_are_read(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    path = tmp_path / "records" / "acceleration.jsonl"
    line = json.dumps({**json.loads(ROW.to_json()), **change})
    path.write_text(f"{path.read_text()}{line}\n")
    store.append(ROW)
    rows, damaged = store.read()
    assert rows == [ROW, ROW]
    assert [each.line for each in damaged] == [2]
    assert reason in str(damaged[0]) and str(path) in str(damaged[0])


@pytest.mark.parametrize("votes", [[[0.1] * 10] * 9, [[0.1] * 9] * 10, []])
def test_a_matrix_that_is_none_is_damage(votes: list[list[float]]) -> None:
    line = {**json.loads(row(ConfusionRow, trained_case()).to_json()), "votes": votes}
    assert "10 rows of 10" in str(parse(json.dumps(line).encode()))


def test_folders_links_and_pipes_among_the_records_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    (store.folder / "a-folder.jsonl").mkdir()
    (store.folder / "dangling.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(store.folder / "pipe.jsonl")
    rows, damaged = store.read()
    assert rows == [ROW]
    assert sorted(each.path.name for each in damaged) == [
        *("a-folder.jsonl", "dangling.jsonl", "pipe.jsonl")
    ]
    assert store.of_runs([ROW.run]) == [ROW]


def test_rows_published_are_read_machine_by_machine_and_new_ones_go_beside(tmp_path: Path) -> None:
    for machine in ("b", "a"):
        Store(tmp_path / "published" / machine).append(replace(ROW, cpu=machine))
    store = Store(tmp_path)
    store.append(ROW)
    assert [each.cpu for each in store.read()[0]] == ["a", "b", None]
    assert len((tmp_path / "records" / "acceleration.jsonl").read_text().splitlines()) == 1


def test_half_a_character_and_an_endless_reason_are_rows_that_can_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    reason = "a \udcff name " + "x" * 3_000_000 + " its end"
    store.append(build.ended(base(), "failed", reason))
    store.append(replace(ROW, data_note="\udcff"))
    rows, damaged = store.read()
    assert damaged == [] and len(rows) == 2
    ended = rows[0]
    assert isinstance(ended, EndedRow)
    assert ended.reason.startswith("a ? name") and ended.reason.endswith("its end")


OLD = {
    "schema": 2,
    "run": "20260101T000000-abcdef",
    "time": "2026-01-01T00:00:00+00:00",
    "status": "ok",
    "suite": "timesteps",
    "dataset": "nmnist",
    "scale": "OurModel",
    "network": "16C3(Encoding)-Voting",
    "neunorm": "mean",
    "width": "1/8",
    "framework": "fused",
    "T": 10,
    "batch_size": 20,
    "precision": "fp32",
    "device": "cpu",
    "seed": 0,
    "initialisation": "calibrated",
    "mode": "training",
    "twin": False,
    "key": "old",
    "epochs": 2,
    "optimiser": "Adam(lr=0.001, betas=(0.9, 0.999))",
    "dropout": 0.0,
    "train_samples": 90,
    "validation_samples": 10,
    "test_samples": 50,
    "data_sha256": "a",
    "data_test_sha256": "b",
    "data_substitute": False,
    "torch": "2.13.0",
    "python": "3.11.7",
    "cpu": "a processor",
    "cores": 2,
    "threads": 2,
    "memory_mib": 1024,
    "os": "Linux",
    "harness": "0.1.0",
    "allocator": "system",
    "implementation": "numba 0.68.1",
}
EPOCH = {"epoch": 1, "loss": 0.1, "train_accuracy": 0.5, "validation_accuracy": 0.5}
EPOCH |= {"test_accuracy": 0.5, "rates": [0.1, 0.2], "gradient_norm": 1.0, "learning_rate": 0.001}
EPOCH |= {"seconds": 1.5}


def old(kind: str, **fields: object) -> Row | str:
    return parse(json.dumps({**OLD, "kind": kind, **fields}).encode())


def test_a_row_of_schema_2_says_what_it_left_to_the_settings_and_has_todays_key() -> None:
    found = old("epoch", **EPOCH, reason="dead layers")
    assert isinstance(found, EpochRow), found
    assert found.warnings == ("dead layers",) and found.loss == 0.1
    case = Case.of(found)
    settings = paper.settings("nmnist")
    assert (case.network.lif, case.optimiser) == (settings.lif, settings.optimiser)
    assert case.network.neunorm == NeuNorm(settings.k_tau2, "mean")
    assert case.network.input_shape == settings.input_shape
    assert case.training == Training(2, samples=100, test_samples=50)
    software = Software(torch="2.13.0", framework_version="numba 0.68.1")
    assert found.key == training_key(case, "a", "b", software)


def test_a_training_by_another_optimiser_keeps_its_old_key() -> None:
    found = old("epoch", **EPOCH, optimiser="Adam(lr=0.5, betas=(0.9, 0.999))")
    assert isinstance(found, EpochRow) and found.key == "old"


@pytest.mark.parametrize("schema", [1, 2])
def test_every_kind_of_an_older_schema_is_read(schema: int) -> None:
    timed = {"epochs": None, "optimiser": None, "dropout": None, "schema": schema}
    given: dict[str, dict[str, object]] = {
        "certificate": {"certified": True, "certificate_precision": "fp64", "reason": None},
        "warmup": {**timed, "seconds": 1.0, "steps": 2},
        "iteration": {**timed, "seconds": 1.0, "round": 1, "twin": True},
        "timed": {**timed, "rounds": 2, "converged": False, "budget_seconds": 540.0},
        "memory": {**timed, "peak_memory_mib": 12.3},
        "epoch": {**EPOCH, "schema": schema},
        "tested": {"tested_T": 2, "test_accuracy": 0.5},
        "confusion": {"votes": VOTES, "confusion": COUNTS, "test_samples": 50},
        "trained": {
            **{"test_accuracy": 0.5, "best_test_accuracy": 0.5, "best_test_epoch": 1},
            **{"chosen_test_accuracy": 0.5, "chosen_epoch": 1, "seconds": 3.0},
        },
        "case": {"status": "missing", "reason": "norse does not load"},
        "warning": {"reason": "dead layers"},
    }
    for kind, fields in given.items():
        present = {name: value for name, value in {**OLD, **fields}.items() if value is not None}
        found = parse(json.dumps({**present, "kind": kind, "schema": schema}).encode())
        assert not isinstance(found, str), (kind, found)
        assert (found.kind, found.schema) == (kind, SCHEMA)


def test_an_older_row_that_says_not_comparable_has_that_status() -> None:
    found = old("case", status="failed", reason="not comparable: 3 spikes differ")
    assert isinstance(found, EndedRow)
    assert (found.status, found.reason) == ("not comparable", "3 spikes differ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"dataset": 7}, "unknown data set"), ({"walk": 1}, "walk"), ({"T": "ten"}, "T: ")],
)
def test_an_older_row_that_is_damaged_is_named(change: dict[str, object], reason: str) -> None:
    found = old("epoch", **EPOCH, **change)
    assert isinstance(found, str) and reason in found


def test_a_folder_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    with pytest.raises(UsageError, match="--out"):
        Store(target).check_writable()
    assert target.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="--out"):
        Store(tmp_path / "out").check_writable()
