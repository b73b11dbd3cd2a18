"""The training that bf16 must pass: it learns as float32 does, or a row refuses it."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import in_process
import pytest
import torch
from contenders import Build, Forward, from_forward
from rows import altered
from test_schedule import case, events, pick, rows_in, run
from torch import Tensor

import adapters
from harness.adapter import Variant
from harness.machine.child import Child
from harness.records import (
    AuditResult,
    Bf16TrainingResult,
    IterationResult,
    Row,
    Run,
    Store,
    TimedResult,
    has,
    identity,
)
from harness.records.run import RowMaker
from harness.records.store import Ledger
from harness.reference.network import ReferenceNetwork
from harness.speed import contender, judge, schedule
from harness.speed.estimates import Estimates
from harness.training import descent
from harness.training.descent import (
    Bf16CheckSettings,
    Bf16Trainee,
    Digits,
    LossEnds,
    why_bf16_fails,
)

# one spiking layer on small digits: it learns in a hundred steps
SHORT = Bf16CheckSettings("16C3(Encoding)-AP2-Voting", Fraction(1), 8, 2, 20, 100, 20, 3, 2)
IN_BF16 = case("reference", precision="bf16")


def bf16() -> bool:
    return torch.is_autocast_enabled("cpu")


def deaf(right: Forward, x: Tensor) -> Tensor:
    """Fires as it should, and has no gradient."""
    out = right(x)
    return out.detach() + 0 * out


def deaf_in_bf16(right: Forward, x: Tensor) -> Tensor:
    return deaf(right, x) if bf16() else right(x)


def deaf_at_size(right: Forward, x: Tensor) -> Tensor:  # where it is timed, not where examined
    return deaf(right, x) if bf16() and x.shape[:2] == (4, 4) else right(x)


class NoNumber(ReferenceNetwork):
    """In its last step in bf16 alone."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += bf16()
        return super().forward(x) * (math.nan if self.steps == SHORT.steps else 1)


def exits(right: Forward, x: Tensor) -> Tensor:
    assert multiprocessing.parent_process() is not None
    os._exit(3)


def breaks(right: Forward, x: Tensor) -> Tensor:
    raise RuntimeError("out of something")


PLANTED: dict[str, Build] = {
    "learns": ReferenceNetwork,
    "deaf": from_forward(deaf_in_bf16),
    "always-deaf": from_forward(deaf),
    "deaf-at-size": from_forward(deaf_at_size),
    "nan": NoNumber,
    "exits": from_forward(exits),
    "breaks": from_forward(breaks),
    "breaks-in-bf16": from_forward(lambda right, x: breaks(right, x) if bf16() else right(x)),
}
DEVIATIONS = ()
VARIANTS = {name: Variant((), make) for name, make in PLANTED.items()}
build = ReferenceNetwork


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, plant: Callable[[str, str], None]) -> None:
    """A training that a test can wait for, in this process."""
    plant("planted", "from test_bf16 import DEVIATIONS, VARIANTS, build\n")
    monkeypatch.setattr(descent, "CHECK_SETTINGS", SHORT)
    monkeypatch.setattr(schedule, "MOST_ROUNDS", 3)
    monkeypatch.setattr(schedule, "STARTS", 2)
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 0.0)
    in_process.plant(monkeypatch)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "CHECK_SETTINGS", replace(SHORT, steps=2))  # too few to learn


def trained(out: Path, *names: str, **fields: Any) -> list[Row[Bf16TrainingResult]]:
    """The rows of their trainings in bf16."""
    ledger = Ledger(Store(out), lambda *_: None)
    for name in names:
        full = f"planted:{name}" if name in PLANTED else name
        one = altered(RowMaker(Run(id="run"), case(full, "bf16")), **fields)
        rows = ledger.of_kind(Bf16TrainingResult)
        judge.check_bf16_training(one, rows, ledger, lambda doing: None, lambda: True)
    return pick(rows_in(out), Bf16TrainingResult)


def test_learning_in_bf16_passes_with_its_losses_in_the_row(tmp_path: Path) -> None:
    (row,) = trained(tmp_path, "learns")
    assert row.result.passed and row.result.finished and row.result.reason is None
    assert (row.result.steps, row.result.seeds, row.result.exam) == (100, (0, 1, 2), identity.EXAM)
    assert (len(row.result.fp32_losses), len(row.result.bf16_losses)) == (3, 2)
    assert row.result.first_loss is not None
    assert all(loss is not None and loss < row.result.first_loss for loss in row.result.bf16_losses)
    # both start with the same weights and batches, and are not the same numbers
    assert row.result.fp32_losses[:2] != row.result.bf16_losses
    assert row.result.fp32_losses[:2] == pytest.approx(row.result.bf16_losses, rel=0.1)
    assert "16C3(Encoding)-AP2-Voting" in row.result.setting and "digits" in row.result.setting
    assert row.case == case("planted:learns", "bf16")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deaf", "its loss ends at 0."),
        ("always-deaf", "float32 has not learnt"),  # then nothing is known of bf16
        ("nan", "a loss in bf16 is no number (seed 0)"),  # the last one is a number again
    ],
    ids=["only in bf16", "in any precision", "no number"],
)
def test_not_learning_in_bf16_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    (row,) = trained(tmp_path, name)
    assert (row.result.passed, row.result.finished) == (False, True) and reason in str(
        row.result.reason
    )


def test_a_crash_is_tried_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = trained(tmp_path, "breaks-in-bf16", "breaks", "breaks-in-bf16", run="first")
    assert [row.contender.name for row in rows] == ["planted:breaks-in-bf16", "planted:breaks"]
    results = [row.result for row in rows]
    assert not any(result.passed or result.finished for result in results)
    assert [len(result.fp32_losses) for result in results] == [3, 0]
    assert {row.result.reason for row in rows} == {"RuntimeError: out of something"}
    rows = trained(tmp_path, "breaks", run="second")
    assert [row.run.id for row in rows] == ["first", "first", "second"]
    monkeypatch.setattr(contender, "Child", Child)  # in a process of its own
    *_, row = trained(tmp_path, "exits", run="second")
    assert (
        "exit code 3" in str(row.result.reason)
        and not row.result.passed
        and not row.result.finished
    )


@pytest.mark.usefixtures("brief")
def test_the_bf16_training_is_made_once_for_each_version_machine_and_exam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(trained(tmp_path, "deaf")) == len(trained(tmp_path, "deaf", run="later")) == 1
    rows = trained(tmp_path, "learns", "deaf", run="first")
    for other in ({"framework_version": "2"}, {"revision": 1}, {"torch": "2"}, {"cpu": "another"}):
        rows, earlier = trained(tmp_path, "deaf", **other), rows
        assert len(rows) == len(earlier) + 1
    monkeypatch.setattr(judge, "EXAM", identity.EXAM + 1)
    assert len(trained(tmp_path, "deaf", run="later")) == len(rows) + 1
    for run_, count in (("first", 1), ("second", 0)):  # a fresh run trains anew
        anew = Ledger(Store(tmp_path), lambda *_: None, fresh=True, runs=(run_,))
        assert len(anew.of_kind(Bf16TrainingResult)) == count


@pytest.mark.usefixtures("brief")
def test_a_run_makes_one_bf16_training_for_all_its_cells(tmp_path: Path) -> None:
    messages: list[tuple[float, str]] = []
    cases = case("reference"), IN_BF16, altered(IN_BF16, T=2)
    run(tmp_path, *cases, rounds=5, say=lambda *message: messages.append(message))
    rows = rows_in(tmp_path)
    (row,) = pick(rows, Bf16TrainingResult)
    assert row.result.finished and row.key and row.run.machine.torch and row.run.machine.cpu
    assert row.case == altered(IN_BF16, T=2)
    assert len([doing for _, doing in messages if "trains, for bf16" in doing]) == 6
    # the first cell has all its figures by then
    place = rows.index(row)
    assert {one.workload.T for one in pick(rows[:place], IterationResult)} == {2}
    assert {one.workload.T for one in pick(rows[place:], IterationResult)} == {4}
    run(tmp_path / "exact", case("reference"), rounds=5)
    assert not pick(rows_in(tmp_path / "exact"), Bf16TrainingResult)


@pytest.mark.usefixtures("brief")
def test_the_bf16_training_follows_the_result_and_needs_rounds_and_time(tmp_path: Path) -> None:
    for n, (rounds, seconds) in enumerate(((4, 1e9), (5, 1.0))):
        run(tmp_path / str(n), IN_BF16, rounds=rounds, seconds=seconds)
        rows = rows_in(tmp_path / str(n))
        assert pick(rows, TimedResult, framework="reference") and not pick(rows, Bf16TrainingResult)
    are_trained: list[bool] = []
    for _ in events(tmp_path / "all", IN_BF16, rounds=5):
        are_trained.append(bool(pick(rows_in(tmp_path / "all"), Bf16TrainingResult)))
    assert are_trained == [False, False] and pick(rows_in(tmp_path / "all"), Bf16TrainingResult)


@pytest.mark.usefixtures("brief")
def test_a_resumed_run_makes_the_bf16_training_that_was_missing(tmp_path: Path) -> None:
    run(tmp_path, IN_BF16, rounds=5, seconds=math.inf)
    file = tmp_path / "records" / "acceleration.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if '"kind": "bf16-training"' not in line))
    rows = rows_in(tmp_path)
    for _ in range(2):  # the second has nothing to do
        (measured,) = run(tmp_path, IN_BF16, rounds=5, seconds=math.inf)
        assert measured.was_done
        (row,) = rows_in(tmp_path)[len(rows) :]
        assert has(row, Bf16TrainingResult)


def test_a_failed_audit_in_bf16_forgoes_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "load", lambda name: VARIANTS["deaf-at-size"])
    run(tmp_path, IN_BF16, rounds=5)
    (audit,) = pick(rows_in(tmp_path), AuditResult)
    assert not audit.result.passed and not pick(rows_in(tmp_path), Bf16TrainingResult)


def test_a_seed_has_the_same_batches_in_every_precision_and_others_than_the_next() -> None:
    digits = Digits.read()
    assert abs(digits.images.mean().item()) < 0.01 and abs(digits.images.std().item() - 1) < 0.01
    first, again, next_ = (torch.stack(list(digits.draws(seed))) for seed in (0, 0, 1))
    assert first.shape == (SHORT.steps, SHORT.batch_size)
    assert torch.equal(first, again) and not torch.equal(first, next_)


def test_earlier_trainings_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "CHECK_SETTINGS", replace(SHORT, steps=20))
    digits, one = Digits.read(), descent.case_of(IN_BF16)
    trainee, weights = Bf16Trainee.of_case(adapters.load("reference"), one), digits.weights(one)
    first = trainee.train(one, weights, digits)
    trainee.train(altered(one, precision="fp32", seed=1), weights, digits)
    assert trainee.train(one, weights, digits) == first


EXACT = (0.050, 0.052, 0.048, 0.051, 0.049)  # deviation 0.00158: further three up to 0.0532
APART = (0.01, 0.07, 0.02, 0.07, 0.03)
# Last losses in float32 and in bf16, and a phrase of the verdict.
ENDS: list[tuple[tuple[float, ...], tuple[float, ...], str]] = [
    (EXACT, (0.054, 0.053, 0.052), ""),  # 0.0530
    (EXACT, (0.055, 0.053, 0.052), "ends at 0.0533, in float32 at 0.0500 and at 0.0532 at most"),
    (EXACT, (0.03,) * 3, ""),  # better is no fault
    (EXACT, (0.050, 0.050, math.nan), "no number"),
    (APART, (0.06,) * 3, ""),
    (APART, (0.076,) * 3, "ends at 0.0760"),  # as far as one that has not learnt
    ((0.05, 0.05, 0.05, 0.05, 0.076), (0.05,) * 3, "float32 has not learnt (seed 4"),
]


def test_bf16_ends_within_the_spread_of_float32s_seeds() -> None:
    for fp32, bf16, reason in ENDS:
        why = why_bf16_fails(*([LossEnds(0.1, last) for last in ends] for ends in (fp32, bf16)))
        assert bool(why) == bool(reason) and reason in why


@pytest.mark.slow  # of others the shipped rows say it
def test_ours_passes_at_full_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "CHECK_SETTINGS", Bf16CheckSettings())
    monkeypatch.setattr(contender, "Child", Child)
    (row,) = trained(tmp_path, "fused")
    assert row.result.passed, row.result.reason


@pytest.mark.usefixtures("brief")
def test_a_training_for_which_time_runs_out_leaves_no_row(tmp_path: Path) -> None:
    messages: list[str] = []
    ledger, has_time = Ledger(Store(tmp_path), lambda *_: None), iter((True, True, False)).__next__
    judge.check_bf16_training(
        RowMaker(Run(id="run"), IN_BF16), (), ledger, messages.append, has_time
    )
    assert len([message for message in messages if " of 5" in message]) == 2
    assert not rows_in(tmp_path)
