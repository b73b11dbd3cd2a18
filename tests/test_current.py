"""Which rows count: cut-off runs, rows that contradict each other, machines of one name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import contender, run
from rows import CASE, along, audited, certified, changed, row, staged, training, whole

from harness.analysis import timings, trainings
from harness.analysis.frame import frames
from harness.jobs import verify
from harness.jobs.local import keep_failure
from harness.records import (
    AuditRow,
    CertificateRow,
    EndedRow,
    EpochRow,
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


def seeds(*curves: tuple[float, ...], **fields: Any) -> list[Row]:
    """A training for each curve, of seeds 0, 1 and so on."""
    return [each for n, curve in enumerate(curves) for each in training(n, curve, **fields)]


def counted(rows: list[Row]) -> tuple[list[int], tuple[str, ...]]:
    """The seeds that decide, and the notes."""
    found = frames(rows)
    return sorted(each.seed for each in found.current_rows(TrainedRow)), found.notes


UNLIKE = {
    "data": {"data_test_sha256": "rotated"},
    "version of torch": {"torch": "3.0"},
    "framework version": {"framework_version": "9"},
    "revision of the adapter": {"revision": 7},
    "deviations": {"deviations": "a soft reset"},
}


@pytest.mark.parametrize(("what", "change"), UNLIKE.items(), ids=UNLIKE)
def test_a_seed_unlike_the_others_decides_nothing_and_is_named(
    what: str, change: dict[str, Any]
) -> None:
    rows = seeds((0.2, 0.4), (0.2, 0.5), (0.2, 0.6))
    assert counted(rows) == ([0, 1, 2], ())
    odd = [replace(each, **change) if each.seed == 1 else each for each in rows]
    counting, (note,) = counted(odd)
    assert counting == [0, 2] and "seed 1" in note and f"unlike the other seeds in {what}" in note
    (line,) = trainings.lines(frames(odd), "timesteps")
    assert line.accuracy == pytest.approx(0.5)  # of 0.4 and 0.6
    # of one against one the later counts; another build of one torch is the same
    assert counted([each for each in odd if each.seed < 2])[0] == [1]
    builds = [replace(each, torch=("2.0", "2.0+cpu")[each.seed % 2]) for each in rows]
    assert counted(builds) == ([0, 1, 2], ())


def test_seeds_of_two_suites_are_held_against_each_other_and_done_anew_are_not() -> None:
    def of(seed: int, suite: str, scale: str, data: str, **fields: Any) -> list[Row]:
        rows = training(seed, (0.2, 0.4), suite=suite, scale=scale)
        return [replace(each, data_test_sha256=data, **fields) for each in rows]

    one, other = of(0, "scale", "Large", "a"), of(1, "accuracy", "CIFARNet", "b")
    (line,) = trainings.lines(frames([*one, *other]), "scale", "accuracy")
    assert [*line.accuracies] == [1]  # they are one condition
    (note,) = current([*one, *other]).notes
    assert "seed 0 in scale" in note and "unlike the other seeds in data" in note
    assert not current([*one, *of(1, "ablations", "CIFARNet", "b")]).notes
    assert not current([*one, *of(1, "accuracy", "CIFARNet", "b", test_samples=9)]).notes
    anew = [each for n in (0, 1) for each in of(n, "scale", "Large", "b", key=f"{n}")]
    assert not current([*one, *of(1, "scale", "Large", "a"), *anew]).notes


def kept(rows: list[Row], *numbers: int) -> list[Row]:
    """The rows, of epochs those with these numbers."""
    return [each for each in rows if not isinstance(each, EpochRow) or each.epoch in numbers]


HELD = training(0, (0.2, 0.4, 0.3))
UNBORNE: dict[str, tuple[list[Row], str]] = {
    "no epochs": (kept(HELD), "of 3 epochs 3 have no row (1 to 3)"),
    "a gap": (kept(HELD, 1, 3), "of 3 epochs 1 have no row (2)"),
    "cut off": (kept(HELD, 1, 2), "of 3 epochs 1 have no row (3)"),
    "ended early": (
        changed(
            changed(kept(HELD, 1), TrainedRow, lambda row: {"test_accuracy": 0.2}),
            TrainedRow,
            lambda row: {"trained_epochs": 1, "best_test_accuracy": 0.2, "best_test_epoch": 1},
        ),
        "it ended after 1 of 3 epochs, though it had learnt",
    ),
    "fewer than its rows": (
        changed(HELD, TrainedRow, lambda row: {"trained_epochs": 2, "test_accuracy": 0.4}),
        "it ended after 2 epochs, and has a row of epoch 3",
    ),
    "a best that was not": (
        changed(HELD, TrainedRow, lambda row: {"best_test_accuracy": 0.9}),
        "its best is said to be 90.00% in epoch 2, and is 40.00%",
    ),
    "a best epoch that is not": (
        changed(HELD, TrainedRow, lambda row: {"best_test_epoch": 999}),
        "its best is said to be 40.00% in epoch 999",
    ),
    "a chosen epoch that is not": (
        changed(HELD, TrainedRow, lambda row: {"chosen_epoch": 999}),
        "of the chosen epoch it has no epoch 999",
    ),
    "another rate": (
        changed(HELD, EpochRow, lambda row: {"learning_rate": 0.5}, epoch=2),
        "its rate is 0.5 in epoch 2, where its schedule has 0.1",
    ),
    "another width": (
        [replace(each, width="1") for each in HELD],
        "it says width 1, and its network is 16C3(Encoding)",
    ),
}


@pytest.mark.parametrize(("rows", "said"), UNBORNE.values(), ids=UNBORNE)
def test_a_training_that_its_rows_do_not_bear_out_decides_nothing(
    rows: list[Row], said: str
) -> None:
    assert counted(HELD) == ([0], ())
    counting, (note,) = counted(rows)
    assert counting == [] and "seed 0" in note and "does not count" in note and said in note
    assert trainings.lines(frames(rows), "timesteps") == ()


def test_one_that_learnt_nothing_may_end_early() -> None:
    curve = (0.1,) * 5
    rows = whole(staged(along(training(0, curve), *curve)))
    (end,) = (each for each in rows if isinstance(each, TrainedRow))
    assert end.trained_epochs == 5 and end.epochs == 50
    assert counted(rows) == ([0], ())


def test_a_seed_that_copies_another_decides_nothing() -> None:
    rows = seeds((0.2, 0.4), (0.2, 0.5))
    twin = [replace(each, seed=77, key="other") for each in rows if each.seed == 1]
    counting, (note,) = counted([*rows, *twin])
    assert counting == [0, 1] and "seed 77" in note
    assert "its epochs are those of seed 1, digit for digit" in note
    # the same under one key: whether all rows of a seed are copied, or its end alone
    for kind in (EndedRow, TrainedRow):
        copied = [
            replace(each, seed=77)
            for each in rows
            if each.seed == 1 and (kind is EndedRow or isinstance(each, kind))
        ]
        counting, (note,) = counted([*rows, *copied])
        assert counting == [0, 1] and "their key is that of seed 1" in note
        (line,) = trainings.lines(frames([*rows, *copied]), "timesteps")
        assert line.accuracies == {0: 0.4, 1: 0.5}
    # in a suite of its own it is a copy too
    elsewhere = [replace(each, seed=77, suite="scale") for each in rows if each.seed == 1]
    (line,) = trainings.lines(frames([*rows, *elsewhere]), "timesteps", "scale")
    assert line.accuracies == {0: 0.4, 1: 0.5}


def test_results_without_a_key_are_named_once() -> None:
    rows = [replace(each, key=None) for each in seeds((0.2, 0.4), (0.2, 0.5), (0.2, 0.6))]
    counting, (note,) = counted(rows)
    assert counting == [] and note.startswith("3 results of trainings have no key")


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
