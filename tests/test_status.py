"""What is done, dated, failed or missing; and what a second measurement confirms."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from rows import row
from test_learning import case
from test_schedule import case as timed_case

from harness.analysis import status
from harness.cli.status import key_now, lacks
from harness.jobs import verify
from harness.jobs.local import Local
from harness.jobs.verify import Here
from harness.records import EndedRow, EpochRow, Row, Store, TimedRow, TrainedRow
from harness.spec import ANN, Access, Case, Training
from harness.system import machine

GIVEN = case(framework=ANN, training=Training(epochs=2, samples=60, test_samples=30, embedded=True))
NOW = key_now("cpu")


def said(fraction: float, doing: str) -> None:
    return


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one training, made by the local executor."""
    out = tmp_path_factory.mktemp("done")
    list(Local().train((GIVEN,), Store(out), Access(out), said))
    return out


def rows(out: Path) -> list[Row]:
    found, damaged = Store(out).read()
    assert not damaged
    return found


def trained(out: Path) -> TrainedRow:
    (found,) = (each for each in rows(out) if isinstance(each, TrainedRow))
    return found


def test_a_case_is_done_where_its_key_would_be_the_same_now(done: Path) -> None:
    assert all(Case.of(each) == GIVEN for each in rows(done))
    gone = replace(GIVEN, framework="gone:variant")
    for given, change, now, state in (
        (GIVEN, {}, NOW, "done"),
        (GIVEN, {"code": "another", "commit": "another"}, NOW, "done"),
        (GIVEN, {}, lambda case, row: "another", "dated"),
        (GIVEN, {"data_sha256": "another"}, NOW, "dated"),  # the key follows from the row's data
        (gone, {"framework": "gone", "variant": "variant"}, NOW, "dated"),  # and nothing fails
    ):
        found = [replace(each, **change) for each in rows(done)]
        assert status.state(given, found, now) == state
    assert "unknown framework 'gone'" in str(lacks(gone))


def test_a_case_is_missing_failed_or_left_out_as_its_last_row_says(done: Path) -> None:
    end, failed = trained(done), row(EndedRow, GIVEN, reason="why")
    old = replace(end, key="old")
    for found, state in (
        ([], "missing"),
        ([failed], "failed"),
        ([replace(failed, status="not comparable")], "failed"),
        ([replace(failed, status="missing")], "left out"),
        ([replace(failed, status="unsupported")], "left out"),
        ([failed, end], "done"),
        ([old, failed], "failed"),
        ([failed, old], "dated"),
    ):
        assert status.state(GIVEN, found, NOW) == state


def test_a_timing_is_done_on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = timed_case("reference")
    here = row(TimedRow, given, data_sha256="data", allocator="system")
    here = replace(here, key=NOW(given, here))
    assert status.state(given, [here], NOW) == "done"
    another = replace(machine.describe(machine.torch.device("cpu")), cpu="another")
    monkeypatch.setattr(machine, "describe", lambda device: another)
    assert status.state(given, [here], key_now("cpu")) == "dated"


def test_standings_count_cases_and_estimate_the_rest(done: Path) -> None:
    cases = (GIVEN, replace(GIVEN, seed=1), replace(GIVEN, seed=2))
    (found,) = status.standings(cases, rows(done), NOW)
    assert (found.done, found.missing, found.failed) == (1, 2, 0)
    assert found.seconds_left == pytest.approx(2 * status.TESTING * trained(done).seconds) != 0
    (unknown,) = status.standings(cases, [], NOW)
    assert math.isnan(unknown.seconds_left) and unknown.missing == 3
    # the time of a training that two suites want is counted once
    missing = replace(GIVEN, seed=1)
    asked = replace(missing.training, tested_at=(1, 2), confusion=True)
    twin = replace(missing, suite="neunorm", training=asked)
    fewer = replace(missing, suite="scale", training=replace(missing.training, samples=40))
    alone, same, other = status.standings((missing, twin, fewer), rows(done), NOW)
    assert [each.missing for each in (alone, same, other)] == [1, 1, 1]
    assert alone.seconds_left > 0 == same.seconds_left
    assert other.seconds_left == pytest.approx(alone.seconds_left * 40 / 60)


def test_an_estimate_goes_by_the_trainings_that_are_most_like_the_case(done: Path) -> None:
    given = replace(GIVEN, training=Training(epochs=4, samples=600, embedded=True))
    other, end = replace(given, framework="fused"), trained(done)
    slow = replace(end, framework="fused", seconds=1000 * end.seconds)
    few = replace(end, T=end.T + 1, seconds=0.001 * end.seconds)
    expected = status.TESTING * given.pace / GIVEN.pace * end.seconds
    for cases, found, times in (
        ([given], [slow, few, end], 1),
        ([other], [few, end, slow], 1000),
        ([given, other], [end, slow], 1001),
    ):
        assert status.seconds_of(cases, found) == pytest.approx(times * expected)
    # all samples of a data set are as many as the paper has
    whole = replace(GIVEN, dataset="dvs-cifar10", training=Training(epochs=2))
    assert whole.pace == replace(whole, training=Training(epochs=2, samples=9_000)).pace


@pytest.mark.parametrize(
    ("change", "verdicts", "reason"),
    [
        ({}, "confirmed", ""),
        ({"data_sha256": "another"}, "not tested", "data"),
        ({"data_test_sha256": "another"}, "not tested", "data"),
        ({"device": "cuda"}, "not tested", "it ran on cuda, and there is none here"),
        ({"framework": "gone"}, "not tested", "unknown framework 'gone'"),
        ({"loss": None}, "confirmed, differs", "nothing that is recorded explains it"),
        ({"loss_function": "cross-entropy"}, "confirmed, differs", ""),
    ],
    ids=str,
)
def test_a_second_measurement_confirms_the_same_numbers_or_says_why_not(
    done: Path, change: dict[str, Any], verdicts: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(each: Row) -> Row:
        if "loss" not in change:
            return replace(each, **change)
        return replace(each, loss=each.loss + 1e-9) if isinstance(each, EpochRow) else each

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    here = Here(Local(), Access(done), lacks, said, done / "weights")
    checks = [*verify.verify([changed(each) for each in rows(done)], here, 1, 0, 1, 1.0)]
    assert {check.verdict for check in checks} <= {*verdicts.split(", ")}
    assert any(reason in check.reason for check in checks)
    match change:
        case {"loss": _}:
            differing = [check.figure for check in checks if check.verdict == "differs"]
            assert differing == ["epoch 1 loss"]
        case {"loss_function": name}:  # a changed training is named by its change
            assert {check.case.partition(", ")[2] for check in checks} == {name}
        case {}:
            assert len(checks) == (1 if change else len(verify.FIGURES))


def test_each_run_has_a_manifest(done: Path) -> None:
    (path,) = (done / "runs").iterdir()
    manifest = json.loads(path.read_text())
    here = machine.describe(machine.torch.device("cpu"))
    assert manifest["run"] == path.stem and {each.run for each in rows(done)} == {path.stem}
    assert manifest["command"][0] == "harness"
    assert manifest["packages"]["torch"] == metadata.version("torch")
    assert (manifest["shared"]["cpu"], manifest["shared"]["threads"]) == (here.cpu, here.threads)
