"""Trainings as rows: what is kept, what is done only once, what a kill costs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from test_learning import case

from harness.jobs import TrialResult
from harness.jobs.local import trial
from harness.records import (
    CertificateRow,
    ConfusionRow,
    EndedRow,
    EpochRow,
    Record,
    Store,
    TestedRow,
    TrainedRow,
    identity,
)
from harness.records.ledger import Ledger
from harness.records.run import Run, new_run
from harness.spec import ANN, Access, Case, Training
from harness.system import machine
from harness.training import trial as training_trial

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

R = TypeVar("R", bound=Record)


def run(cases: tuple[Case, ...], out: Path, *, fresh: bool = False) -> list[TrialResult]:
    """In this process, where what a test has replaced is replaced."""
    at = Run(new_run(), machine.describe(torch.device("cpu")), "system")
    access = Access(out, fresh=fresh)
    ended = []
    for each in cases:
        owner = Owner()
        ledger = Ledger(Store(out), owner.say, fresh, (at.id,))
        end = trial(each, ledger, access, at)
        ledger.release()
        assert owner.said == sorted(owner.said)
        rows = Store(out).read()[0]
        of_case = [row for row in rows if row.suite == each.suite and Case.of(row) == each]
        mine = [row for row in of_case if (row.key == end.key if end.before else row.run == at.id)]
        ended.append(TrialResult(each, tuple(mine), end.before))
    return ended


class Owner:
    def __init__(self) -> None:
        self.said: list[float] = []

    def say(self, fraction: float, doing: str) -> None:
        assert doing and 0 <= fraction <= 1
        self.said.append(fraction)


def rows_of(out: Path, kind: type[R]) -> list[R]:
    rows, damaged = Store(out).read()
    assert not damaged
    return [row for row in rows if isinstance(row, kind)]


FULL = Training(
    epochs=2, samples=60, test_samples=30, embedded=True, tested_at=(1, 2), confusion=True
)


def test_a_training_is_proved_and_kept_epoch_by_epoch_with_its_three_figures(
    tmp_path: Path,
) -> None:
    run((case(training=FULL),), tmp_path)
    proofs = rows_of(tmp_path, CertificateRow)
    assert {row.certificate_precision for row in proofs} == {"fp64", "fp32"}
    assert all(row.certified for row in proofs)
    epochs = rows_of(tmp_path, EpochRow)
    assert [row.epoch for row in epochs] == [1, 2]
    (end,) = rows_of(tmp_path, TrainedRow)
    assert end.test_accuracy == epochs[-1].test_accuracy
    tests = [row.test_accuracy for row in epochs]
    assert end.best_test_accuracy == max(tests)
    best = max(epochs, key=lambda row: row.validation_accuracy)
    assert (end.chosen_epoch, end.chosen_test_accuracy) == (best.epoch, best.test_accuracy)
    tested = {row.tested_T: row.test_accuracy for row in rows_of(tmp_path, TestedRow)}
    assert tested.keys() == {1, 2} and tested[2] == end.test_accuracy
    (confusion,) = rows_of(tmp_path, ConfusionRow)
    assert sum(map(sum, confusion.confusion)) == 30
    assert (end.train_samples, end.validation_samples, end.test_samples) == (54, 6, 30)
    assert end.data_substitute and end.dropout == 0.5 and end.iterations_per_epoch == 6
    assert {row.key for row in (*proofs, *epochs, end)} == {end.key}


def test_what_is_done_is_not_done_again_unless_asked(tmp_path: Path) -> None:
    given = case(framework=ANN)
    (first,) = run((given,), tmp_path)
    (again,) = run((given,), tmp_path)
    assert not first.before and again.before and again.rows == first.rows
    run((given,), tmp_path, fresh=True)
    assert len(rows_of(tmp_path, TrainedRow)) == 2
    assert len(rows_of(tmp_path, EpochRow)) == 4


def test_another_suite_has_its_own_rows_of_a_training_that_is_done(tmp_path: Path) -> None:
    given = case(framework=ANN)
    run((given,), tmp_path)
    run((replace(given, suite="scale"),), tmp_path)
    one, other = rows_of(tmp_path, TrainedRow)
    assert {one.suite, other.suite} == {"accuracy", "scale"}
    assert one.key == other.key and one.seconds == other.seconds  # it was not trained again


def test_a_seed_is_proved_once_and_each_has_its_rows(tmp_path: Path) -> None:
    run((case(), case(seed=1)), tmp_path)
    assert len(rows_of(tmp_path, TrainedRow)) == 2
    outcomes = [row for row in rows_of(tmp_path, CertificateRow) if row.layer is None]
    assert len(outcomes) == 2  # float64 and float32


def test_another_processor_proves_its_own_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run((case(),), tmp_path)
    here = machine.describe(torch.device("cpu"))
    monkeypatch.setattr(machine, "describe", lambda device: replace(here, cpu="another"))
    run((case(seed=1),), tmp_path)
    outcomes = [row for row in rows_of(tmp_path, CertificateRow) if row.layer is None]
    assert [row.cpu == "another" for row in outcomes] == [False, False, True, True]


def test_who_is_not_equal_is_not_trained(tmp_path: Path) -> None:
    (ended,) = run((case(framework="snntorch:subtract"),), tmp_path)
    (end,) = (row for row in ended.rows if isinstance(row, EndedRow))
    assert end.status == "not comparable" and "subtracts" in end.reason
    assert rows_of(tmp_path, EpochRow) == []


def test_a_case_without_data_fails_and_the_next_goes_on(tmp_path: Path) -> None:
    few = case(framework=ANN, training=Training(epochs=1, samples=3, embedded=True))
    bad, good = run((few, case(framework=ANN)), tmp_path)
    (end,) = bad.rows
    assert isinstance(end, EndedRow) and end.status == "failed" and "too few" in end.reason
    assert isinstance(good.rows[-1], TrainedRow)


def test_a_damaged_checkpoint_costs_its_own_case(tmp_path: Path) -> None:
    given = case(framework=ANN, training=replace(FULL, epochs=1))
    run((given,), tmp_path)
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(b"no checkpoint")
    (tmp_path / "records" / "accuracy.jsonl").unlink()  # so that it looks for the checkpoint
    bad, good = run((given, replace(given, seed=1)), tmp_path)
    (end,) = bad.rows
    assert isinstance(end, EndedRow) and "is damaged" in end.reason
    assert isinstance(good.rows[-1], TrainedRow)


def test_a_row_names_its_test_data_as_its_training_data(tmp_path: Path) -> None:
    run((case(framework=ANN),), tmp_path)
    for each in rows_of(tmp_path, EpochRow):
        assert each.data_source == each.data_test_source == "scikit-learn's digits"
        assert each.data_substitute and each.data_test_substitute
        assert each.data_sha256 and each.data_test_sha256 != each.data_sha256


def test_a_proof_by_an_older_exam_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run((case(),), tmp_path)
    monkeypatch.setattr(training_trial, "EXAM", identity.EXAM + 1)
    run((case(seed=1),), tmp_path)
    assert len([row for row in rows_of(tmp_path, CertificateRow) if row.layer is None]) == 4


CHILD = """
import sys
from pathlib import Path
import platformdirs
out = Path(sys.argv[1])
platformdirs.user_cache_dir = lambda name: str(out / "cache" / name)
sys.path.insert(0, sys.argv[2])
from test_learning import case
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Access, Training
given = case(framework="fused", training=Training(epochs=4, samples=60, test_samples=30,
                                                  embedded=True))
list(Local().train((given,), Store(out), Access(out), lambda *said: None))
"""


def child(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(out), str(Path(__file__).parent)])


def final_weights(out: Path) -> list[torch.Tensor]:
    (path,) = (out / "checkpoints").glob("*.pt")
    return torch.load(path, weights_only=True)["weights"]


@pytest.mark.slow
def test_a_run_that_is_killed_after_any_epoch_ends_with_the_same_weights(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    assert child(undisturbed).wait(120) == 0
    for epochs in (1, 2, 3):  # killed as soon as so many rows are there
        running = child(killed)
        records = killed / "records" / "accuracy.jsonl"
        for _ in range(6000):
            if records.exists() and records.read_text().count('"kind": "epoch"') >= epochs:
                break
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait(60)
    assert child(killed).wait(120) == 0
    assert all(map(torch.equal, final_weights(undisturbed), final_weights(killed)))
    for out in (undisturbed, killed):
        assert [row.epoch for row in rows_of(out, EpochRow)] == [1, 2, 3, 4]
        assert len(rows_of(out, TrainedRow)) == 1
