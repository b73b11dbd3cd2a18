"""Which rows count: cut-off runs, rows that contradict each other, machines of one name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import contender, run
from rows import CASE, audited, certified, changed, row, training

from harness.analysis import timings, trainings
from harness.analysis.frame import frames
from harness.jobs import verify
from harness.jobs.local import keep_failure
from harness.records import (
    AuditRow,
    CertificateRow,
    EndedRow,
    IterationRow,
    Row,
    Store,
    TestedRow,
    TimedRow,
    TrainedRow,
)
from harness.records.current import current
from harness.records.run import Run
from harness.reports import fastest, stored
from harness.system import machine

LATER: dict[str, Any] = {"run": "20260102T000000-abcdef"}
NAMES = ("floor", "reference", "snntorch", "fused")


def finished(rounds: int = 5, **fields: Any) -> list[Row]:
    """A run of a cell that ended with so many rounds."""
    ends = [row(TimedRow, framework=name, rounds=rounds, **fields) for name in NAMES]
    return [*first_rounds(rounds, **fields), *ends]


def first_rounds(rounds: int, *others: Row, **fields: Any) -> list[Row]:
    """A run of the cell, and of others, up to a round: it may have been cut off there."""
    rows = [*run(**fields), *others]
    return [each for each in rows if not isinstance(each, IterationRow) or each.round <= rounds]


def shown(rows: list[Row]) -> dict[str, int]:
    """The rounds of each contender in the tables that a reader sees first."""
    lines = timings.lines(frames(rows))
    found = {each.framework: each.rounds for each in timings.most_complete(lines)}
    (cell,) = fastest.headline(lines)
    assert {each.framework: each.rounds for each in cell.lines} == found
    return found


@pytest.mark.parametrize("more", [[], contender("norse", 2.4, **LATER)], ids=["alike", "of more"])
def test_a_run_that_was_cut_off_hides_no_finished_one(more: list[Row]) -> None:
    rows = [*finished(), *first_rounds(2, *more, **LATER)]
    assert shown(rows) == dict.fromkeys(NAMES, 5)
    assert all(current(rows).counts)  # both are in a csv


def test_who_is_not_installed_makes_no_run_more_complete() -> None:
    names = ("norse", "sinabs", "jax", "spikingjelly")
    absent = [row(EndedRow, framework=name, status="missing", **LATER) for name in names]
    later = [each for each in finished(**LATER) if each.framework in ("floor", "reference")]
    assert shown([*finished(), *later, *absent]) == dict.fromkeys(NAMES, 5)


@pytest.mark.parametrize(("rounds", "hides"), [(4, False), (5, True)])
def test_a_later_run_hides_an_earlier_one_once_it_can_rank(rounds: int, hides: bool) -> None:
    earlier, later = finished(5), finished(rounds, **LATER)
    counts = current([*earlier, *later]).counts
    assert counts == (not hides,) * len(earlier) + (True,) * len(later)


@pytest.mark.parametrize("kind", [TrainedRow, TestedRow])
def test_an_accuracy_without_its_epoch_is_refused(kind: type[TrainedRow | TestedRow]) -> None:
    rows = training(0, (0.2, 0.4), T=2)
    assert all(current(rows).counts) and not current(rows).notes
    spoilt = changed(rows, kind, lambda each: {"test_accuracy": 0.99}, T=2)
    found = current(spoilt)
    (refused,) = [n for n, counts in enumerate(found.counts) if not counts]
    assert isinstance(spoilt[refused], kind) and getattr(spoilt[refused], "tested_T", 2) == 2
    (note,) = found.notes
    assert "99.00%" in note and "40.00%" in note and "does not count" in note
    # nobody says of it that it counts
    assert current([*rows, *spoilt]).notes == found.notes


def test_verify_finds_a_result_that_its_epochs_do_not_give() -> None:
    rows = changed(training(0, (0.2, 0.4)), TrainedRow, lambda each: {"test_accuracy": 0.99})
    check = next(verify.verify(rows, None, 1, 0, 1, 1.0))  # type: ignore[arg-type]
    assert check.verdict == "differs" and "99.00%" in check.reason


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (CertificateRow, {"spikes": 1000, "mismatches": 500}),
        (AuditRow, {"mismatches": 500}),
        (AuditRow, {"mismatches": 500, "near_ties": 300}),
    ],
)
def test_a_proof_whose_spikes_differ_is_none(kind: type[Row], wrong: dict[str, int]) -> None:
    rows = changed(run(), kind, lambda each: wrong, framework="snntorch")
    found = current(rows)
    assert any("500" in note or "200" in note for note in found.notes)
    ranks = {each.framework: each.rank for each in timings.lines(frames(rows))}
    assert ranks["snntorch"] is None and ranks["reference"] is not None


@pytest.mark.parametrize("change", [{"seconds": 0.1}, {"data_sha256": "other"}])
def test_timings_that_contradict_each_other_do_not_count(change: dict[str, Any]) -> None:
    rows = [replace(each, data_sha256="one") for each in run()]
    found = current([*rows, replace(rows[-1], **change)])
    assert not any(found.counts)
    (note,) = found.notes
    assert "do not count" in note and "cifar10 Small" in note


def test_a_failure_that_is_kept_for_another_machine_counts(tmp_path: Path) -> None:
    here = Run("20260101T000000-000000", machine.describe(torch.device("cpu")), "system")
    row = keep_failure(CASE, "its machine died", here, Store(tmp_path))
    assert current([*run(), row]).counts[-1]


def test_proofs_that_do_not_count_are_not_counted() -> None:
    columns = ["exams", "passed", "audits", "audits_passed"]
    wrong = {"mismatches": 900, "spikes": 1000}
    more = [*audited("snntorch", **wrong), *certified("snntorch", exam=1, T=3)]
    for rows in (run(), [*run(), *more]):
        found = stored.proofs(frames(rows)).set_index("contender")[columns]
        assert {*found.itertuples(index=False, name=None)} == {(2, 2, 3, 3)}


def test_a_row_that_is_there_twice_changes_nothing() -> None:
    rows = run()
    found = current([*rows, *rows])
    assert all(found.counts) and not found.notes
    assert shown([*rows, *rows]) == shown(rows)


def test_a_training_done_twice_is_named_and_the_later_one_counts() -> None:
    rows = [*training(0, (0.2, 0.4)), *training(0, (0.2, 0.5))]
    found = current(rows)
    (counted,) = frames(rows).current_rows(TrainedRow)
    assert counted.test_accuracy == 0.5
    (note,) = found.notes
    assert "twice" in note and "50.00% counts" in note


@pytest.mark.parametrize("change", [{"data_test_sha256": "rotated"}, {"torch": "3.0"}])
def test_seeds_on_other_data_or_another_torch_are_named(change: dict[str, Any]) -> None:
    one = [replace(each, data_test_sha256="a", torch="2.0") for each in training(0, (0.2, 0.4))]
    other = [replace(each, data_test_sha256="a", torch="2.0") for each in training(1, (0.2, 0.4))]
    assert not current([*one, *other]).notes
    (note,) = current([*one, *(replace(each, **change) for each in other)]).notes
    assert "the seeds of" in note and "different" in note


def test_seeds_of_two_suites_are_held_against_each_other_and_done_anew_are_not() -> None:
    def of(seed: int, suite: str, scale: str, data: str, **fields: Any) -> list[Row]:
        rows = training(seed, (0.2, 0.4), suite=suite, scale=scale)
        return [replace(each, data_test_sha256=data, **fields) for each in rows]

    one, other = of(0, "scale", "Large", "a"), of(1, "accuracy", "CIFARNet", "b")
    (line,) = trainings.lines(frames([*one, *other]), "scale", "accuracy")
    assert line.n == 2  # they are one condition
    (note,) = current([*one, *other]).notes
    assert "in scale, accuracy have 2 different data" in note
    assert not current([*one, *of(1, "ablations", "CIFARNet", "b")]).notes
    assert not current([*one, *of(1, "accuracy", "CIFARNet", "b", test_samples=9)]).notes
    anew = [each for n in (0, 1) for each in of(n, "scale", "Large", "b", key=f"{n}")]
    assert not current([*one, *of(1, "scale", "Large", "a"), *anew]).notes


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_begun_anew_and_cut_off_takes_nothing_from_a_finished_one(epochs: int) -> None:
    rows, anew = training(0, (0.2, 0.4)), training(0, (0.6, 0.8))
    cut = [*anew[:epochs], *(each for each in anew if isinstance(each, TestedRow))]
    found = current([*rows, *cut])
    assert found.counts == (True,) * len(rows) + (False,) * len(cut) and not found.notes
    ended = current([*rows, *anew])
    assert ended.counts == (False,) * len(rows) + (True,) * len(anew)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cores": 64}, "cores 64"),
        ({"os": "Darwin"}, "os Darwin"),
        ({"torch": "3.0"}, "torch 3.0"),
        ({"environment": "OMP_WAIT_POLICY=passive"}, "variables OMP_WAIT_POLICY=passive"),
    ],
)
def test_machines_of_one_name_are_told_apart(change: dict[str, Any], said: str) -> None:
    here = {"cores": 2, "os": "Linux", "torch": "2.0"}
    rows = [replace(each, **here) for each in finished()]
    other = [replace(each, **here | change) for each in finished(**LATER)]
    assert all(current([*rows, *other]).counts)
    names = {*frames([*rows, *other]).machines}
    assert len(names) == 2 and any(said in name for name in names)


def test_threads_that_a_variable_sets_make_no_other_machine() -> None:
    rows = [*finished(), *finished(environment="OMP_NUM_THREADS=2", **LATER)]
    assert len({*frames(rows).machines}) == 1


def test_timings_whose_run_record_is_missing_have_no_rank() -> None:
    rows = [replace(each, threads=None) for each in run()]
    lines = timings.lines(frames(rows))
    assert lines and all(each.rank is None for each in lines)
    assert any(re.search("record, runs/.*.json, is missing", each.reason) for each in lines)
