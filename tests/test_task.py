"""Work on another machine: its rows are the folder's, whether the machine sees that or not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_learning import case

from harness.jobs.task import Parcel, Share, Task, shared
from harness.records import EpochRow, Store, TrainedRow
from harness.spec import ANN, Access, Training, UsageError

SHORT = Training(epochs=2, samples=60, test_samples=30, embedded=True)
GIVEN = case(framework=ANN, training=SHORT)


@pytest.fixture(autouse=True)
def _no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def task(share: Share, root: Path) -> Task:
    return Task(share, Access(root), silence=60.0, threads=1)


def unseen(out: Path) -> Share:
    """A folder that is on another machine."""
    return Share(Store(out), "no such mark")


def kinds(out: Path) -> list[str]:
    rows, damaged = Store(out).read()
    assert not damaged
    return [row.kind for row in rows]


def test_where_the_folder_is_shared_rows_go_there_and_nothing_travels(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with shared(Store(out)) as share:
        ended, back = task(share, tmp_path).train(GIVEN, Parcel.of(Store(out), GIVEN))
        assert back == Parcel()
    assert isinstance(ended.rows[-1], TrainedRow)
    assert kinds(out) == ["epoch", "epoch", "operations", "trained"]
    assert not list(out.glob(".share-*"))  # the mark is gone


def test_where_it_is_not_rows_and_checkpoints_come_back_with_the_task(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, back = task(unseen(out), tmp_path).train(GIVEN, Parcel())
    assert not out.exists()
    back.unpack(Store(out))
    assert kinds(out) == ["epoch", "epoch", "operations", "trained"]
    assert len(list((out / "checkpoints").glob("*.pt"))) == 1
    assert len(list((out / "runs").glob("*.json"))) == 1


def test_what_was_done_travels_there_so_that_it_is_not_done_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, back = task(unseen(out), tmp_path).train(GIVEN, Parcel())
    back.unpack(Store(out))
    sent = Parcel.of(Store(out), GIVEN)
    assert len(sent.lines) == 4 and [name for name, _ in sent.files] == [
        f"checkpoints/{Store(out).read()[0][0].key}.pt"
    ]
    ended, back = task(unseen(out), tmp_path).train(GIVEN, sent)
    assert ended.before and back.lines == ()
    # a training that was begun goes on from its checkpoint
    begun = [line for line in sent.lines if '"trained"' not in line]
    ended, back = task(unseen(out), tmp_path).train(GIVEN, replace(sent, lines=tuple(begun)))
    assert not ended.before
    assert [row.kind for row in ended.rows] == ["trained"] and len(back.lines) == 1


def test_another_training_does_not_travel(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, back = task(unseen(out), tmp_path).train(GIVEN, Parcel())
    back.unpack(Store(out))
    assert Parcel.of(Store(out), replace(GIVEN, seed=1)) == Parcel()
    assert Parcel.of(Store(out), replace(GIVEN, suite="scale")) == Parcel.of(Store(out), GIVEN)


@pytest.mark.parametrize("name", ["../evil", "records/evil", "checkpoints/../../evil", "/evil"])
def test_a_parcel_writes_in_its_folders_alone(name: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    Parcel(("no row",), ((name, b"evil"),)).unpack(Store(out))
    assert not list(tmp_path.rglob("evil")) and not (out / "records").exists()


def test_a_folder_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    writable = pytest.raises(UsageError, match="give a folder that can be written")
    with writable, shared(Store(tmp_path / "file")):
        raise AssertionError("it began")


def test_a_cluster_that_does_not_answer_is_said_at_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        from harness.jobs.ray import Ray

        for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"):
            executor = Ray(address, 60.0)
            with pytest.raises(UsageError, match=r"cannot reach Ray at .*--ray-address"):
                next(executor.train((GIVEN,), Store(Path()), Access(Path()), lambda *said: None))


@pytest.mark.slow
def test_rows_of_epochs_are_those_of_a_run_here(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, back = task(unseen(out), tmp_path).train(GIVEN, Parcel())
    back.unpack(Store(out))
    with shared(Store(tmp_path / "here")) as share:
        task(share, tmp_path).train(GIVEN, Parcel())
    figures = [
        [
            (row.key, row.loss, row.test_accuracy, row.rates)
            for row in Store(folder).read()[0]
            if isinstance(row, EpochRow)
        ]
        for folder in (out, tmp_path / "here")
    ]
    assert figures[0] == figures[1] and len(figures[0]) == 2
