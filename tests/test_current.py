"""Which rows count: cut-off runs, rows that contradict each other, machines of one name."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import contender, run
from rows import (
    CASE,
    TEST,
    TRAIN,
    all_altered,
    altered,
    audited,
    certified,
    changed,
    row,
    training,
)

from harness.analysis import timings, trainings
from harness.analysis.frame import frames
from harness.jobs import verify
from harness.jobs.local import keep_failure
from harness.machine import host
from harness.records import (
    AuditResult,
    CertificateResult,
    EndedResult,
    EpochResult,
    IterationResult,
    Row,
    Run,
    Store,
    TestedResult,
    TimedResult,
    TrainedResult,
    has,
)
from harness.records.current import current
from harness.reports import fastest, stored

LATER: dict[str, Any] = {"run": "20260102T000000-abcdef"}
NAMES = ("floor", "reference", "snntorch", "fused")


def finished(rounds: int = 5, **fields: Any) -> list[Row]:
    """A run of a cell that ended with so many rounds."""
    ends = [row(TimedResult, contender=name, rounds=rounds, **fields) for name in NAMES]
    return [*first_rounds(rounds, **fields), *ends]


def first_rounds(rounds: int, *others: Row, **fields: Any) -> list[Row]:
    """A run of the cell, and of others, up to a round: it may have been cut off there."""
    rows = [*run(**fields), *others]
    return [row for row in rows if not has(row, IterationResult) or row.result.round <= rounds]


def rounds_by_name(rows: list[Row]) -> dict[str, int]:
    """The rounds of each contender in the tables that a reader sees first."""
    lines = timings.lines(frames(rows))
    rounds = {line.name: line.rounds for line in timings.most_complete(lines)}
    (cell,) = fastest.headline(lines)
    assert {line.name: line.rounds for line in cell.lines} == rounds
    return rounds


@pytest.mark.parametrize("more", [[], contender("norse", 2.4, **LATER)], ids=["alike", "of more"])
def test_a_run_that_was_cut_off_hides_no_finished_one(more: list[Row]) -> None:
    rows = [*finished(), *first_rounds(2, *more, **LATER)]
    assert rounds_by_name(rows) == dict.fromkeys(NAMES, 5)
    assert all(current(rows).counts)  # both are in a csv


def test_who_is_not_installed_makes_no_run_more_complete() -> None:
    names = ("norse", "sinabs", "jax", "spikingjelly")
    absent = [row(EndedResult, contender=name, status="missing", **LATER) for name in names]
    later = [row for row in finished(**LATER) if row.contender.name in ("floor", "reference")]
    assert rounds_by_name([*finished(), *later, *absent]) == dict.fromkeys(NAMES, 5)


@pytest.mark.parametrize(("rounds", "hides"), [(4, False), (5, True)])
def test_a_later_run_hides_an_earlier_one_once_it_can_rank(rounds: int, hides: bool) -> None:
    earlier, later = finished(5), finished(rounds, **LATER)
    counts = current([*earlier, *later]).counts
    assert counts == (not hides,) * len(earlier) + (True,) * len(later)


@pytest.mark.parametrize("kind", [TrainedResult, TestedResult])
def test_an_accuracy_without_its_epoch_is_refused(kind: type[TrainedResult | TestedResult]) -> None:
    rows = training(0, (0.2, 0.4), T=2)
    assert all(current(rows).counts) and not current(rows).notes
    tested = {"tested_T": 2} if kind is TestedResult else {}
    spoilt = changed(rows, kind, {"test_accuracy": 0.99}, **tested)
    of_spoilt = current(spoilt)
    assert [row for row, counts in zip(spoilt, of_spoilt.counts, strict=True) if not counts] == [
        row for row in spoilt if row not in rows
    ]
    (note,) = of_spoilt.notes
    assert "99.00%" in note and "40.00%" in note and "does not count" in note
    # nobody says of it that it counts
    assert current([*rows, *spoilt]).notes == of_spoilt.notes


def test_verify_finds_a_result_that_its_epochs_do_not_give() -> None:
    rows = changed(training(0, (0.2, 0.4)), TrainedResult, {"test_accuracy": 0.99})
    check = next(verify.verify(rows, None, 1, 0, 1, 1.0))  # type: ignore[arg-type]
    assert check.verdict == "differs" and "99.00%" in check.reason


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (CertificateResult, {"spikes": 1000, "mismatches": 500}),
        (AuditResult, {"mismatches": 500}),
        (AuditResult, {"mismatches": 500, "near_ties": 300}),
    ],
)
def test_a_proof_whose_spikes_differ_is_none(
    kind: type[CertificateResult | AuditResult], wrong: dict[str, int]
) -> None:
    rows = changed(run(), kind, wrong, contender="snntorch")
    assert any("500" in note or "200" in note for note in current(rows).notes)
    ranks = {line.name: line.rank for line in timings.lines(frames(rows))}
    assert ranks["snntorch"] is None and ranks["reference"] is not None


@pytest.mark.parametrize("change", [{"seconds": 0.1}, {"sha256": "other"}])
def test_timings_that_contradict_each_other_do_not_count(change: dict[str, Any]) -> None:
    rows = run(source=TRAIN)
    of_rows = current([*rows, altered(rows[-1], **change)])
    assert not any(of_rows.counts)
    (note,) = of_rows.notes
    assert "do not count" in note and "cifar10 Small" in note


def test_a_failure_that_is_kept_for_another_machine_counts(tmp_path: Path) -> None:
    machine, protocol = host.describe(torch.device("cpu")), run()[0].run.protocol
    command = Run(id="20260101T000000-000000", machine=machine, protocol=protocol)
    failure = keep_failure(CASE, "its machine died", command, Store(tmp_path))
    assert current([*run(), failure]).counts[-1]


def test_proofs_that_do_not_count_are_not_counted() -> None:
    columns = ["exams", "passed", "audits", "audits_passed"]
    more = [*audited("snntorch", mismatches=900), *certified("snntorch", exam=1, T=3)]
    for rows in (run(), [*run(), *more]):
        proofs = stored.proofs(frames(rows)).set_index("contender")[columns]
        assert {*proofs.itertuples(index=False, name=None)} == {(2, 2, 3, 3)}


def test_a_row_that_is_there_twice_changes_nothing() -> None:
    rows = run()
    twice = current([*rows, *rows])
    assert all(twice.counts) and not twice.notes
    assert rounds_by_name([*rows, *rows]) == rounds_by_name(rows)


def test_a_training_done_twice_is_named_and_the_later_one_counts() -> None:
    rows = [*training(0, (0.2, 0.4)), *training(0, (0.2, 0.5))]
    (end,) = frames(rows).current_rows(TrainedResult)
    assert end.result.test_accuracy == 0.5
    (note,) = current(rows).notes
    assert "twice" in note and "50.00% counts" in note


def seeds(*curves: tuple[float, ...], **fields: Any) -> list[Row]:
    """A training for each curve, of seeds 0, 1 and so on."""
    return [row for seed, curve in enumerate(curves) for row in training(seed, curve, **fields)]


def counted(rows: list[Row]) -> tuple[list[int], tuple[str, ...]]:
    """The seeds that decide, and the notes."""
    ended = frames(rows).current_rows(TrainedResult)
    return sorted(row.workload.seed for row in ended), frames(rows).notes


UNLIKE = {
    "data": {"test": replace(TEST, sha256="rotated")},
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
    odd = [altered(row, **change) if row.workload.seed == 1 else row for row in rows]
    counting, (note,) = counted(odd)
    assert counting == [0, 2] and "seed 1" in note and f"unlike the other seeds in {what}" in note
    (line,) = trainings.lines(frames(odd), "timesteps")
    assert line.accuracy == pytest.approx(0.5)  # of 0.4 and 0.6
    # of one against one the later counts
    assert counted([row for row in odd if row.workload.seed < 2])[0] == [1]


def test_another_build_of_one_torch_is_the_same() -> None:
    builds = [
        row
        for seed, build in enumerate(("2.0", "2.0+cpu"))
        for row in all_altered(training(seed, (0.2, 0.4)), torch=build)
    ]
    assert counted(builds) == ([0, 1], ())


def test_seeds_of_two_suites_are_held_against_each_other_and_done_anew_are_not() -> None:
    def on(data: str, seed: int, suite: str, scale: str, **fields: Any) -> list[Row]:
        rows = training(seed, (0.2, 0.4), suite=suite, scale=scale)
        return all_altered(rows, test=replace(TEST, sha256=data), **fields)

    one, other = on("a", 0, "scale", "Large"), on("b", 1, "accuracy", "CIFARNet")
    (line,) = trainings.lines(frames([*one, *other]), "scale", "accuracy")
    assert [*line.accuracies] == [1]  # they are one condition
    (note,) = current([*one, *other]).notes
    assert "seed 0 in scale" in note and "unlike the other seeds in data" in note
    assert not current([*one, *on("b", 1, "ablations", "CIFARNet")]).notes
    assert not current([*one, *on("b", 1, "accuracy", "CIFARNet", test_samples=9)]).notes
    anew = [row for seed in (0, 1) for row in on("b", seed, "scale", "Large", key=f"{seed}")]
    assert not current([*one, *on("a", 1, "scale", "Large"), *anew]).notes


def with_epochs(rows: list[Row], *numbers: int) -> list[Row]:
    """The rows, of epochs those with these numbers."""
    return [row for row in rows if not has(row, EpochResult) or row.result.epoch in numbers]


HELD = training(0, (0.2, 0.4, 0.3))
AFTER_ONE = {"test_accuracy": 0.2, "trained_epochs": 1}
UNBORNE: dict[str, tuple[list[Row], str]] = {
    "no epochs": (with_epochs(HELD), "of 3 epochs 3 have no row (1 to 3)"),
    "a gap": (with_epochs(HELD, 1, 3), "of 3 epochs 1 have no row (2)"),
    "cut off": (with_epochs(HELD, 1, 2), "of 3 epochs 1 have no row (3)"),
    "ended early": (
        changed(
            with_epochs(HELD, 1),
            TrainedResult,
            {**AFTER_ONE, "best_test_accuracy": 0.2, "best_test_epoch": 1},
        ),
        "it ended after 1 of 3 epochs, though it had learnt",
    ),
    "fewer than its rows": (
        changed(HELD, TrainedResult, {"trained_epochs": 2, "test_accuracy": 0.4}),
        "it ended after 2 epochs, and has a row of epoch 3",
    ),
    "a best that was not": (
        changed(HELD, TrainedResult, {"best_test_accuracy": 0.9}),
        "its reported best is 90.00% in epoch 2, and that of its epochs 40.00%",
    ),
    "a best epoch that is not": (
        changed(HELD, TrainedResult, {"best_test_epoch": 999}),
        "its reported best is 40.00% in epoch 999",
    ),
    "a chosen epoch that is not": (
        changed(HELD, TrainedResult, {"chosen_epoch": 999}),
        "of the chosen epoch it has no epoch 999",
    ),
    "another rate": (
        changed(HELD, EpochResult, {"learning_rate": 0.5}, epoch=2),
        "its rate is 0.5 in epoch 2, where its schedule has 0.1",
    ),
    "another width": (
        all_altered(HELD, width=Fraction(1)),
        "it reports width 1, and its network is 16C3(Encoding)",
    ),
}


@pytest.mark.parametrize(("rows", "reason"), UNBORNE.values(), ids=UNBORNE)
def test_a_training_that_its_rows_do_not_bear_out_decides_nothing(
    rows: list[Row], reason: str
) -> None:
    assert counted(HELD) == ([0], ())
    counting, (note,) = counted(rows)
    assert counting == [] and "seed 0" in note and "does not count" in note and reason in note
    assert trainings.lines(frames(rows), "timesteps") == ()


def test_one_that_learnt_nothing_may_end_early() -> None:
    rows = training(0, (0.1,), learning=(0.1,), stages=(40, 5, 5))
    (end,) = (row for row in rows if has(row, TrainedResult))
    assert end.result.trained_epochs == 5 and end.training.epochs == 50
    assert counted(rows) == ([0], ())


def test_a_seed_that_copies_another_decides_nothing() -> None:
    rows, copied = seeds((0.2, 0.4), (0.2, 0.5)), training(1, (0.2, 0.5))
    counting, (note,) = counted([*rows, *all_altered(copied, seed=77, key="other")])
    assert counting == [0, 1] and "seed 77" in note
    assert "its epochs are those of seed 1, digit for digit" in note
    # in a suite of its own it is a copy too
    elsewhere = all_altered(copied, seed=77, suite="scale")
    (line,) = trainings.lines(frames([*rows, *elsewhere]), "timesteps", "scale")
    assert line.accuracies == {0: 0.4, 1: 0.5}


@pytest.mark.parametrize("count", [1, 6], ids=["its end alone", "all rows"])
def test_a_seed_under_the_key_of_another_decides_nothing(count: int) -> None:
    rows = seeds((0.2, 0.4), (0.2, 0.5))
    copied = all_altered(rows[-count:], seed=77)
    counting, (note,) = counted([*rows, *copied])
    assert counting == [0, 1] and "their key is that of seed 1" in note
    (line,) = trainings.lines(frames([*rows, *copied]), "timesteps")
    assert line.accuracies == {0: 0.4, 1: 0.5}


def test_results_without_a_key_are_named_once() -> None:
    rows = all_altered(seeds((0.2, 0.4), (0.2, 0.5), (0.2, 0.6)), key=None)
    counting, (note,) = counted(rows)
    assert counting == [] and note.startswith("3 results of trainings have no key")


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_begun_anew_and_cut_off_takes_nothing_from_a_finished_one(epochs: int) -> None:
    rows, anew = training(0, (0.2, 0.4)), training(0, (0.6, 0.8))
    cut = [*anew[:epochs], *(row for row in anew if has(row, TestedResult))]
    of_both = current([*rows, *cut])
    assert of_both.counts == (True,) * len(rows) + (False,) * len(cut) and not of_both.notes
    ended = current([*rows, *anew])
    assert ended.counts == (False,) * len(rows) + (True,) * len(anew)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cores": 64}, "cores 64"),
        ({"os": "Darwin"}, "os Darwin"),
        ({"torch": "3.0"}, "torch 3.0"),
        ({"environment": "OMP_WAIT_POLICY=passive"}, "variables OMP_WAIT_POLICY=passive"),
    ],
)
def test_machines_of_one_name_are_told_apart(change: dict[str, Any], named: str) -> None:
    machine = {"cores": 2, "os": "Linux", "torch": "2.0"}
    rows = [*finished(**machine), *finished(**{**machine, **change, **LATER})]
    assert all(current(rows).counts)
    names = {*frames(rows).machines}
    assert len(names) == 2 and any(named in name for name in names)


def test_threads_that_a_variable_sets_make_no_other_machine() -> None:
    rows = [*finished(), *finished(environment="OMP_NUM_THREADS=2", **LATER)]
    assert len({*frames(rows).machines}) == 1


def test_timings_whose_run_record_is_missing_have_no_rank() -> None:
    lines = timings.lines(frames(run(threads=None)))
    assert lines and all(line.rank is None for line in lines)
    assert any(re.search("record, runs/.*.json, is missing", line.reason) for line in lines)
