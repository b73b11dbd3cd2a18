"""Rows: whole lines, typed, never rewritten; what is damaged is named and skipped."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.records import SCHEMA, Record, Store
from harness.spec import UsageError

ROW = Record(
    run="20260101T000000-abcdef",
    time="2026-01-01T00:00:00+00:00",
    kind="iteration",
    suite="acceleration",
    dataset="cifar10",
    scale="Small",
    network="8C3(Encoding)-Voting",
    width="1",
    framework="reference",
    T=10,
    batch_size=20,
    precision="fp32",
    device="cpu",
    seed=0,
    initialisation="calibrated",
    round=1,
    seconds=0.5,
    iterations_per_epoch=2500,
)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(ROW)
    store.append(replace(ROW, round=2, reason='a "quoted" |reason|\nover two lines'))
    rows, damaged = store.read()
    assert rows == [ROW, replace(ROW, round=2, reason='a "quoted" |reason|\nover two lines')]
    assert damaged == []


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
        ('{"schema": 1, "kind": "iteration"}', "Field required"),
        ("[1, 2]", "damaged row"),
        ('{"schema": 99}', "newer harness (schema 99, this one reads 2)"),
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
    assert SCHEMA == 2
    assert list(json.loads(ROW.to_json()))[:4] == ["schema", "run", "time", "kind"]


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
