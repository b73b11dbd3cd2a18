"""Rows: whole lines, typed, never rewritten; what is damaged is named and left out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from golden_keys import MACHINE
from rows import (
    KINDS,
    ROW,
    TRAINED,
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
    FittedRow,
    Row,
    Store,
    run,
)
from harness.records.store import parse
from harness.spec import UsageError


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
        ('{"schema": 1, "kind": "iteration"}', "of schema 1"),
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
    ({"seconds": 1e999}, "damaged row"),  # JSON has no infinity
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
    store.append(run.ended(base(), "failed", reason))
    store.append(replace(ROW, data_note="\udcff"))
    rows, damaged = store.read()
    assert damaged == [] and len(rows) == 2
    ended = rows[0]
    assert isinstance(ended, EndedRow)
    assert ended.reason.startswith("a ? name") and ended.reason.endswith("its end")


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


MANIFEST = {"run": ROW.run, "shared": {"cpu": "a processor", "threads": 2, "torch": "2.6"}}


def with_run_file(out: Path, content: str) -> Path:
    path = out / "runs" / f"{ROW.run}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return path


def test_what_a_runs_rows_share_stands_once_and_each_row_has_it_again(tmp_path: Path) -> None:
    path = with_run_file(tmp_path, json.dumps(MANIFEST))
    alike = replace(ROW, cpu="a processor", threads=2, torch="2.6")
    other = replace(alike, threads=1, torch=None)  # what a row says itself counts
    Store(tmp_path).append(alike, other)
    first, second = (tmp_path / "records" / "acceleration.jsonl").read_text().splitlines()
    assert "a processor" not in first + second and '"threads": 1, "torch": null' in second
    assert Store(tmp_path).read() == ([alike, other], [])
    path.unlink()
    assert Store(tmp_path).read() == ([ROW, replace(ROW, threads=1)], [])


def test_fields_of_a_data_set_are_shared_too(tmp_path: Path) -> None:
    given = {**MANIFEST, "shared_by_dataset": {"cifar10": {"data_source": "images"}}}
    with_run_file(tmp_path, json.dumps(given))
    full = replace(ROW, cpu="a processor", threads=2, torch="2.6", data_source="images")
    Store(tmp_path).append(full)
    assert Store(tmp_path).read() == ([full], [])
    assert "images" not in (tmp_path / "records" / "acceleration.jsonl").read_text()


@pytest.mark.parametrize("content", ["", "[]", '{"shared": 3}', '{"shared_by_dataset": [1]}'])
def test_a_damaged_file_of_a_run_is_told_and_its_rows_are_read(
    tmp_path: Path, content: str
) -> None:
    Store(tmp_path).append(ROW, ROW)
    with_run_file(tmp_path, content)
    rows, damaged = Store(tmp_path).read()
    assert rows == [ROW, ROW]
    assert len(damaged) == 1 and f"runs/{ROW.run}.json" in str(damaged[0])


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "a/b", "\x00"])
def test_a_row_of_a_run_with_an_odd_name_is_read(tmp_path: Path, name: str) -> None:
    odd = replace(ROW, run=name)
    Store(tmp_path).append(odd)
    assert Store(tmp_path).read() == ([odd], [])


def test_a_command_with_bytes_that_are_no_text_has_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["harness", "run", "--out", "\udcff"])
    run.Manifest.of_command(MACHINE, ()).write(tmp_path, "r")
    assert json.loads((tmp_path / "runs" / "r.json").read_bytes())["command"][-1] == "?"
