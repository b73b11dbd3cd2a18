"""bf16's training bar: who does not learn in bf16 as in float32 is refused, and a row says so."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import in_process
import pytest
import torch
from conftest import TORCH
from rows import base
from test_schedule import Owner, case, of, rows_in, run

import adapters
from harness.adapter import Adapter, Variant
from harness.records import AuditRow, DescentRow, IterationRow, Record, Store, identity
from harness.records.ledger import Ledger
from harness.reference.network import ReferenceNetwork
from harness.spec import Case
from harness.speed import contender, descents, schedule
from harness.speed.contender import Host
from harness.system.child import Child
from harness.training import descent, step
from harness.training.descent import Course, Digits, Pupil, Terms, judged

# one spiking layer on digits as small as they come: it learns in a hundred steps
SHORT = Terms("16C3(Encoding)-AP2-Voting", Fraction(1), 8, 2, 20, 100, 20, 3, 2)


class Deaf(ReferenceNetwork):
    """Fires as it should in bf16, and has no gradient there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            return out.detach() + 0 * sum(each.sum() for each in self.parameters())
        return out


class Backwards(ReferenceNetwork):
    """Learns the wrong way in bf16, by a gradient that is not its loss's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        return 2 * out.detach() - out if torch.is_autocast_enabled("cpu") else out


class AlwaysDeaf(ReferenceNetwork):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach() + 0 * sum(each.sum() for each in self.parameters())


class NotANumber(ReferenceNetwork):
    """Comes to NaN in bf16, in its last steps alone."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        self.calls += torch.is_autocast_enabled("cpu")
        return out * math.nan if self.calls == SHORT.steps else out


class Dies(ReferenceNetwork):
    """Ends its process in bf16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise SystemExit("SIGSEGV")
        return super().forward(x)


class Exits(ReferenceNetwork):
    """Ends its process, where it has one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert multiprocessing.parent_process() is not None
        os._exit(3)


class DeafAtSize(Deaf):
    """Deaf where it is timed, not where it is examined."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_timed = x.shape[:2] == (4, 4)
        return super().forward(x) if is_timed else ReferenceNetwork.forward(self, x)


class Breaks(ReferenceNetwork):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of something")


MODULES: dict[str, type[ReferenceNetwork]] = {
    "learns": ReferenceNetwork,
    "deaf": Deaf,
    "backwards": Backwards,
    "always-deaf": AlwaysDeaf,
    "nan": NotANumber,
    "dies": Dies,
    "exits": Exits,
    "deaf-at-size": DeafAtSize,
    "breaks": Breaks,
}


def find(name: str) -> Adapter:
    framework, _, form = name.partition(":")
    return Variant((), MODULES[form]) if framework == "planted" else adapters.load(name)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A training that a test can wait for, in this process."""
    monkeypatch.setattr(descent, "TERMS", SHORT)
    monkeypatch.setattr(schedule, "PAPER_ROUNDS", 3)
    monkeypatch.setattr(schedule, "MOST_ROUNDS", 3)
    in_process.plant(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # it is too small for more
    yield
    torch.set_num_threads(threads)


def mixed(name: str, **fields: object) -> Record:
    """What the rows of a contender in bf16 say."""
    return base(case(name, precision="bf16"), **fields)


def trained(out: Path, *names: str, **fields: object) -> list[DescentRow]:
    """The rows of their trainings in bf16."""
    ledger = Ledger(Store(out), Owner().say)
    host = Host(find=find)
    for name in names:
        descents.descend(mixed(name, **fields), ledger, host, lambda doing: None)
    return of(rows_in(out), DescentRow)


def test_one_that_learns_in_bf16_passes_and_says_how(tmp_path: Path) -> None:
    (row,) = trained(tmp_path, "planted:learns")
    assert row.passed and row.finished and row.reason is None
    assert (row.contender, row.precision, row.exam) == ("planted:learns", "bf16", identity.EXAM)
    assert (row.steps, row.seeds) == (100, (0, 1, 2))
    assert (len(row.fp32_losses), len(row.bf16_losses)) == (3, 2)
    assert row.first_loss is not None
    assert all(each is not None and each < row.first_loss for each in row.bf16_losses)
    # both start with the same weights and batches, and are not the same numbers
    assert row.fp32_losses[:2] != row.bf16_losses
    assert row.fp32_losses[:2] == pytest.approx(row.bf16_losses, rel=0.1)
    assert row.setting.startswith("16C3(Encoding)-AP2-Voting on scikit-learn's digits of 8x8 ")
    assert Case.of(row) == case("planted:learns", precision="bf16")


@pytest.mark.parametrize("name", ["deaf", "backwards"])
def test_one_that_learns_in_float32_alone_is_refused(name: str, tmp_path: Path) -> None:
    (row,) = trained(tmp_path, f"planted:{name}")
    assert (row.passed, row.finished) == (False, True)
    assert row.reason is not None and "its loss ends at 0." in row.reason
    ends = [each for each in row.bf16_losses if each is not None]
    assert min(ends) > max(each for each in row.fp32_losses if each is not None)
    assert f"{sum(ends) / 2:.4f}, in float32 at " in row.reason


def test_where_float32_does_not_learn_nothing_is_said_of_bf16(tmp_path: Path) -> None:
    (row,) = trained(tmp_path, "planted:always-deaf")
    assert not row.passed and row.reason is not None
    assert "float32 has not learnt" in row.reason and "nothing is known of bf16" in row.reason


def test_a_loss_that_is_no_number_is_refused_even_where_the_last_one_is(tmp_path: Path) -> None:
    (row,) = trained(tmp_path, "planted:nan")
    assert (row.passed, row.finished) == (False, True)
    assert row.reason == "a loss in bf16 is no number (seed 0)"
    assert row.bf16_losses[0] is None and None not in row.fp32_losses


def test_a_crash_costs_its_own_row_and_is_tried_again_by_another_run(tmp_path: Path) -> None:
    rows = trained(tmp_path, "planted:dies", "planted:breaks", "planted:dies", run="first")
    assert [row.contender for row in rows] == ["planted:dies", "planted:breaks"]
    dead, broken = rows
    assert (dead.passed, dead.finished, len(dead.fp32_losses)) == (False, False, 3)
    assert "ended with exit code SIGSEGV" in str(dead.reason)
    assert (broken.reason, broken.fp32_losses) == ("RuntimeError: out of something", ())
    rows = trained(tmp_path, "planted:dies", run="second")
    assert [row.run for row in rows] == ["first", "first", "second"]


def test_it_trains_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contender, "Child", Child)
    (row,) = trained(tmp_path, "planted:exits")
    assert "ended with exit code 3" in str(row.reason)
    assert (row.passed, row.finished, row.first_loss) == (False, False, None)


@pytest.mark.parametrize(
    "other",
    [{"framework_version": "2"}, {"revision": 1}, {"torch": "2"}, {"cpu": "another"}],
    ids=lambda other: next(iter(other)),
)
def test_it_is_trained_once_for_each_version_and_machine(
    other: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", replace(SHORT, steps=2))
    assert len(trained(tmp_path, "planted:deaf")) == 1
    assert len(trained(tmp_path, "planted:deaf", run="later")) == 1
    assert len(trained(tmp_path, "planted:learns", "planted:deaf")) == 2
    assert len(trained(tmp_path, "planted:deaf", **other)) == 3


def test_one_by_an_older_exam_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", replace(SHORT, steps=2))
    trained(tmp_path, "planted:deaf")
    monkeypatch.setattr(descents, "EXAM", identity.EXAM + 1)
    assert [row.exam for row in trained(tmp_path, "planted:deaf", run="later")] == [
        identity.EXAM,
        identity.EXAM + 1,
    ]


BRIEF = replace(SHORT, steps=2)
IN_BF16 = case("reference", precision="bf16")


def test_a_run_trains_who_was_audited_in_bf16_once_for_all_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", BRIEF)
    owner = Owner()
    cases = (case("reference"), IN_BF16, replace(IN_BF16, T=2))
    run(tmp_path, *cases, owner=owner)
    rows = rows_in(tmp_path)
    (row,) = of(rows, DescentRow)
    assert row.finished and Case.of(row) == IN_BF16 and row.key and row.torch and row.cpu
    said = [each for each in owner.said if "trains, for bf16" in each]
    assert len(said) == 6 and said[-1].endswith("reference trains, for bf16: 5 of 5")
    assert owner.fractions == sorted(owner.fractions)
    # the cells have first figures by then, and their rounds are not over
    at = rows.index(row)
    assert {each.round for each in of(rows[:at], IterationRow)} == {1, 2}
    assert {each.round for each in of(rows[at:], IterationRow)} == {3}
    run(tmp_path / "exact", case("reference"))
    assert not of(rows_in(tmp_path / "exact"), DescentRow)


def test_a_run_that_was_ended_before_its_training_makes_it_when_it_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", BRIEF)
    run(tmp_path, IN_BF16, seconds=math.inf)
    file = tmp_path / "records" / "acceleration.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if '"kind": "descent"' not in line))
    rows = rows_in(tmp_path)
    (measured,) = run(tmp_path, IN_BF16, seconds=math.inf)
    assert measured.before
    (row,) = rows_in(tmp_path)[len(rows) :]
    assert isinstance(row, DescentRow)
    run(tmp_path, IN_BF16, seconds=math.inf)
    assert len(rows_in(tmp_path)) == len(rows) + 1


def test_who_failed_its_audit_in_bf16_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", BRIEF)
    load = adapters.load
    monkeypatch.setattr(
        adapters, "load", lambda n: find("planted:deaf-at-size") if n == "reference" else load(n)
    )
    run(tmp_path, IN_BF16)
    (audit,) = of(rows_in(tmp_path), AuditRow)
    assert not audit.passed and not of(rows_in(tmp_path), DescentRow)


def test_a_fresh_run_trains_anew(tmp_path: Path) -> None:
    trained(tmp_path, "planted:always-deaf", run="first")
    anew = Ledger(Store(tmp_path), Owner().say, fresh=True, runs=("second",))
    assert anew.descents() == []
    assert len(Ledger(Store(tmp_path), Owner().say, fresh=True, runs=("first",)).descents()) == 1


def test_a_seed_has_the_same_batches_in_every_precision_and_others_than_the_next() -> None:
    digits = Digits.read()
    assert len(digits.labels) == 1617 and digits.images.shape[1:] == (3, 8, 8)
    assert abs(float(digits.images.mean())) < 0.01 and abs(float(digits.images.std()) - 1) < 0.01
    first, again, next_ = (torch.stack(list(digits.draws(seed))) for seed in (0, 0, 1))
    assert first.shape == (SHORT.steps, SHORT.batch_size)
    assert torch.equal(first, again) and not torch.equal(first, next_)


def test_a_training_starts_anew_whoever_was_trained_before() -> None:
    digits, one = Digits.read(), descent.case_of(IN_BF16)
    pupil = Pupil.of(adapters.load("reference"), one)
    weights = digits.weights(one)
    first = pupil.losses(one, weights, digits)
    pupil.losses(replace(one, precision="fp32", seed=1), weights, digits)
    assert pupil.losses(one, weights, digits) == first


def test_what_capturing_trains_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(once: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        for _ in range(3):
            once()
        return once

    monkeypatch.setattr(step, "captured", captured)  # the graph itself needs a GPU
    digits, one = Digits.read(), descent.case_of(IN_BF16)
    weights = digits.weights(one)
    plain = Pupil.of(adapters.load("reference"), one)
    graph = Pupil.of(Variant((), ReferenceNetwork, captured=True), one)
    assert graph.captured and not plain.captured
    assert graph.losses(one, weights, digits) == plain.losses(one, weights, digits)


def courses(*ends: float) -> list[Course]:
    return [Course(0.1, each) for each in ends]


EXACT = (0.050, 0.052, 0.048, 0.051, 0.049)  # deviation 0.00158: further three up to 0.0532


@pytest.mark.parametrize(
    ("bf16", "passed"),
    [
        ((0.050, 0.051, 0.049), True),
        ((0.054, 0.053, 0.052), True),  # 0.0530
        ((0.055, 0.053, 0.052), False),  # 0.0533
        ((0.030, 0.030, 0.030), True),  # better is no fault
        ((0.050, 0.050, math.nan), False),
        ((), False),
    ],
)
def test_bf16_ends_within_the_spread_of_float32s_seeds(
    bf16: tuple[float, ...], passed: bool
) -> None:
    found = judged(courses(*EXACT), courses(*bf16))
    assert bool(found) != passed


def test_the_two_losses_and_the_most_that_is_allowed_are_in_the_reason() -> None:
    found = judged(courses(*EXACT), courses(0.06, 0.06, 0.06))
    assert found == "its loss ends at 0.0600, in float32 at 0.0500 and at 0.0532 at most"


def test_seeds_that_are_far_apart_let_nobody_pass_who_has_not_learnt() -> None:
    apart = courses(0.01, 0.07, 0.02, 0.07, 0.03)
    assert judged(apart, courses(0.076, 0.076, 0.076))
    assert not judged(apart, courses(0.06, 0.06, 0.06))


def test_one_seed_of_float32_that_has_not_learnt_is_enough_to_know_nothing() -> None:
    found = judged(courses(0.05, 0.05, 0.05, 0.05, 0.076), courses(0.05, 0.05, 0.05))
    assert "float32 has not learnt (seed 4" in found
    assert judged(courses(0.05), courses(0.05))  # no spread


def test_one_loss_that_is_not_finite_is_in_the_mean_of_all() -> None:
    for lost in (math.nan, math.inf):
        assert math.isnan(Course.of([1.0, lost, 1.0, 1.0, 1.0], 2).last)
    assert Course.of([4.0, 2.0, 9.0, 1.0, 0.0], 2) == Course(3.0, 0.5)
    assert math.isnan(Course.of([], 2).last)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_every_framework_passes_at_full_length(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "TERMS", Terms())
    monkeypatch.setattr(contender, "Child", Child)
    (row,) = trained(tmp_path, name)
    assert row.passed, row.reason
