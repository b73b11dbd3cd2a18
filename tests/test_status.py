"""What is done, dated, failed or missing; and what a second measurement confirms."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from test_learning import case
from test_store import said

from harness.analysis import status, verify
from harness.analysis.verify import Sample, case_of
from harness.jobs.local import Local
from harness.records import Record, Store
from harness.spec import ANN, Training
from harness.speed import schedule
from harness.training import trial

HERE = schedule.here("cpu")
GIVEN = case(framework=ANN, training=Training(epochs=2, samples=60, test_samples=30, embedded=True))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one training, made by the local executor."""
    out = tmp_path_factory.mktemp("done")
    list(Local().train((GIVEN,), Store(out), trial.Plan(out=out, data_root=out), said))
    return out


def rows(out: Path) -> list[Record]:
    found, damaged = Store(out).read()
    assert not damaged
    return found


def test_a_case_is_done_only_by_this_code_and_these_versions(done: Path) -> None:
    own = rows(done)
    assert status.state(GIVEN, own, HERE) == "done"
    for change in ({"code": "another"}, {"torch": "1.0"}, {"framework_version": "9"}):
        assert status.state(GIVEN, [replace(row, **change) for row in own], HERE) == "dated"


def test_a_case_is_missing_failed_or_left_out(done: Path) -> None:
    (row,) = (row for row in rows(done) if row.kind == "trained")
    assert status.state(GIVEN, [], HERE) == "missing"
    failed = replace(row, kind="case", status="failed", reason="why", time="2999")
    assert status.state(GIVEN, [failed], HERE) == "failed"
    assert status.state(GIVEN, [replace(failed, status="missing")], HERE) == "left out"
    assert status.state(GIVEN, [failed, row], HERE) == "done"


def test_a_timing_is_done_on_this_machine_alone(done: Path) -> None:
    timed = replace(GIVEN, training=None)
    (row,) = (row for row in rows(done) if row.kind == "trained")
    own = replace(row, kind="timed", epochs=None, dropout=None, code=None)
    own = replace(own, code=status.build.of_case(own, timed).code)
    assert status.state(timed, [own], HERE) == "done"
    assert status.state(timed, [replace(own, cpu="another")], HERE) == "dated"


def test_standings_count_cases_and_estimate_the_rest(done: Path) -> None:
    cases = (GIVEN, replace(GIVEN, seed=1), replace(GIVEN, seed=2))
    (found,) = status.standings(cases, rows(done), HERE)
    assert (found.done, found.missing, found.failed) == (1, 2, 0)
    (one,) = (row for row in rows(done) if row.kind == "trained")
    assert found.seconds_left == pytest.approx(2 * status.TESTING * (one.seconds or 0))
    (unknown,) = status.standings(cases, [], HERE)
    assert math.isnan(unknown.seconds_left) and unknown.missing == 3


def test_a_row_says_all_of_its_case(done: Path) -> None:
    (row,) = (row for row in rows(done) if row.kind == "trained")
    assert case_of(row) == GIVEN


SAMPLE = Sample(cases=1, seed=0, epochs=1, budget=1.0)


def test_a_second_measurement_confirms_the_same_numbers(done: Path) -> None:
    found = list(verify.verify(rows(done), SAMPLE, done, Local(), said))
    assert [check.verdict for check in found] == ["confirmed"] * len(verify.FIGURES)


def test_a_figure_that_was_changed_is_not_confirmed(done: Path) -> None:
    changed = [
        replace(row, loss=row.loss + 1e-9) if row.kind == "epoch" and row.loss else row
        for row in rows(done)
    ]
    found = list(verify.verify(changed, SAMPLE, done, Local(), said))
    assert [check.figure for check in found if check.verdict == "differs"] == ["epoch 1 loss"]
    (reason,) = (check.reason for check in found if check.reason)
    assert reason == "nothing that is recorded explains it"


def test_other_data_are_not_tested(done: Path) -> None:
    others = [replace(row, data_sha256="another") for row in rows(done)]
    (check,) = verify.verify(others, SAMPLE, done, Local(), said)
    assert check.verdict == "not tested" and "data" in check.reason


def test_each_run_has_a_manifest(done: Path) -> None:
    (path,) = (done / "runs").iterdir()
    told = json.loads(path.read_text())
    assert told["run"] == path.stem and {row.run for row in rows(done)} == {path.stem}
    assert told["command"][0] == "harness"
    assert told["packages"]["torch"] == HERE.torch.partition("+")[0] or told["packages"]["torch"]
    assert told["machine"]["cpu"] == HERE.cpu and told["machine"]["threads"] == HERE.threads
    (data,) = told["data"]
    assert data["sha256"] == rows(done)[0].data_sha256
