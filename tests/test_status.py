"""What is done, dated, failed or missing; and what a second measurement confirms."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
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
from harness.system.installed import Machine

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
    found = rows(done)
    assert all(Case.of(each) == GIVEN for each in found)
    assert status.state(GIVEN, found, NOW) == "done"
    assert status.state(GIVEN, found, lambda case, row: "another") == "dated"
    # the key follows from the row's data
    others = [replace(each, data_sha256="another") for each in found]
    assert status.state(GIVEN, others, NOW) == "dated"
    moved = [replace(each, code="another", commit="another") for each in found]
    assert status.state(GIVEN, moved, NOW) == "done"


def test_rows_of_an_adapter_that_is_gone_are_dated_and_nothing_fails(done: Path) -> None:
    gone = replace(GIVEN, framework="gone:variant")
    found = [replace(each, framework="gone", variant="variant") for each in rows(done)]
    assert status.state(gone, found, NOW) == "dated"
    assert lacks(gone) == "its adapter gone:variant is not here"


def test_a_case_is_missing_failed_or_left_out_as_its_last_row_says(done: Path) -> None:
    end = trained(done)
    failed = row(EndedRow, GIVEN, reason="why")
    for status_, state in (
        ("failed", "failed"),
        ("not comparable", "failed"),
        ("missing", "left out"),
        ("unsupported", "left out"),
    ):
        assert status.state(GIVEN, [replace(failed, status=status_)], NOW) == state
    assert status.state(GIVEN, [], NOW) == "missing"
    assert status.state(GIVEN, [failed, end], NOW) == "done"
    assert status.state(GIVEN, [replace(end, key="old"), failed], NOW) == "failed"
    assert status.state(GIVEN, [failed, replace(end, key="old")], NOW) == "dated"


def test_a_timing_is_done_on_this_machine_alone() -> None:
    given = timed_case("reference")
    here = row(TimedRow, given, data_sha256="data", allocator="system")
    here = replace(here, key=NOW(given, here))
    assert status.state(given, [here], NOW) == "done"
    machine_ = machine.describe

    def elsewhere(device: torch.device) -> Machine:
        return replace(machine_(device), cpu="another")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "describe", elsewhere)
        assert status.state(given, [here], key_now("cpu")) == "dated"


def test_standings_count_cases_and_estimate_the_rest(done: Path) -> None:
    cases = (GIVEN, replace(GIVEN, seed=1), replace(GIVEN, seed=2))
    (found,) = status.standings(cases, rows(done), NOW)
    assert (found.done, found.missing, found.failed) == (1, 2, 0)
    seconds = trained(done).seconds
    assert seconds > 0
    assert found.seconds_left == pytest.approx(2 * status.TESTING * seconds)
    (unknown,) = status.standings(cases, [], NOW)
    assert math.isnan(unknown.seconds_left) and unknown.missing == 3


def test_an_estimate_goes_by_the_trainings_that_are_most_like_the_case(done: Path) -> None:
    given = replace(GIVEN, training=Training(epochs=4, samples=600, embedded=True))
    done_row = trained(done)
    slow = replace(done_row, framework="fused", seconds=1000 * done_row.seconds)
    few = replace(done_row, T=done_row.T + 1, seconds=0.001 * done_row.seconds)
    work = given.pace / GIVEN.pace
    expected = status.TESTING * work * done_row.seconds
    assert status.seconds_of([given], [slow, few, done_row]) == pytest.approx(expected)
    other = replace(given, framework="fused")
    assert status.seconds_of([other], [few, done_row, slow]) == pytest.approx(1000 * expected)
    both = status.seconds_of([given, other], [done_row, slow])
    assert both == pytest.approx(1001 * expected)


def test_the_time_of_a_training_that_two_suites_want_is_counted_once(done: Path) -> None:
    there = rows(done)
    missing = replace(GIVEN, seed=1)
    asked = replace(missing.training, tested_at=(1, 2), confusion=True)
    twin = replace(missing, suite="neunorm", training=asked)
    fewer = replace(missing, suite="scale", training=replace(missing.training, samples=40))
    alone, same, other = status.standings((missing, twin, fewer), there, NOW)
    assert [each.missing for each in (alone, same, other)] == [1, 1, 1]
    assert alone.seconds_left > 0 == same.seconds_left
    assert other.seconds_left == pytest.approx(alone.seconds_left * 40 / 60)


def test_all_samples_of_a_data_set_are_as_many_as_the_paper_has() -> None:
    whole = replace(GIVEN, dataset="dvs-cifar10", training=Training(epochs=2))
    named = replace(whole, training=Training(epochs=2, samples=9_000))
    assert whole.pace == named.pace


def verified(found: Sequence[Row], root: Path) -> list[verify.Check]:
    return list(verify.verify(found, Here(Local(), Access(root), lacks, said), 1, 0, 1, 1.0))


def test_a_second_measurement_confirms_the_same_numbers(done: Path) -> None:
    checks = verified(rows(done), done)
    assert [check.verdict for check in checks] == ["confirmed"] * len(verify.FIGURES)


def test_a_figure_that_was_changed_is_not_confirmed(done: Path) -> None:
    changed = [
        replace(each, loss=each.loss + 1e-9) if isinstance(each, EpochRow) else each
        for each in rows(done)
    ]
    checks = verified(changed, done)
    assert [check.figure for check in checks if check.verdict == "differs"] == ["epoch 1 loss"]
    (reason,) = (check.reason for check in checks if check.reason)
    assert reason == "nothing that is recorded explains it"


@pytest.mark.parametrize("name", ["data_sha256", "data_test_sha256"])
def test_other_data_are_not_tested(done: Path, name: str) -> None:
    (check,) = verified([replace(each, **{name: "another"}) for each in rows(done)], done)
    assert check.verdict == "not tested" and "data" in check.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "cuda"}, "it ran on cuda, and there is none here"),
        ({"framework": "gone"}, "its adapter gone is not here"),
    ],
)
def test_what_cannot_run_here_is_not_tested_and_says_why(
    done: Path, change: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (check,) = verified([replace(each, **change) for each in rows(done)], done)
    assert (check.verdict, check.reason) == ("not tested", reason)


def test_a_changed_training_is_named_by_its_change(done: Path) -> None:
    changed = [replace(each, loss_function="cross-entropy") for each in rows(done)]
    assert {check.case.partition(", ")[2] for check in verified(changed, done)} == {"cross-entropy"}


def test_each_run_has_a_manifest(done: Path) -> None:
    (path,) = (done / "runs").iterdir()
    manifest = json.loads(path.read_text())
    here = machine.describe(machine.torch.device("cpu"))
    assert manifest["run"] == path.stem and {each.run for each in rows(done)} == {path.stem}
    assert manifest["command"][0] == "harness"
    assert manifest["packages"]["torch"] == metadata.version("torch")
    assert manifest["shared"]["cpu"] == here.cpu
    assert manifest["shared"]["threads"] == here.threads
