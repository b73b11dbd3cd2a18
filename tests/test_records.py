"""Rows: whole lines, typed, never rewritten, never lost; damaged ones are named and left out."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import spoilt, steady
from golden import MACHINE
from hypothesis import given, settings
from rows import COUNTS, ROW, VOTES, base, row, trained_case

from harness import records
from harness.records import Store, run
from harness.records.store import Busy, Ledger
from harness.spec import UsageError
from harness.training.checkpoint import read_sealed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def file_of(store: Store) -> Path:
    return store.folder / "acceleration.jsonl"


def lines_of(store: Store) -> list[str]:
    return file_of(store).read_text().splitlines()


@pytest.mark.parametrize("kind", records.KINDS)
def test_a_row_of_each_kind_comes_back_as_it_was(kind: str, store: Store) -> None:
    given = row(records.KINDS[kind], key="k", data_note='a "quoted" |note|\nover two lines')
    store.append(given)
    assert store.read() == ([given], [])


def test_rows_of_a_suite_are_one_line_each_in_one_file(store: Store) -> None:
    store.append(ROW)
    (before,) = lines_of(store)
    store.append(ROW)
    assert lines_of(store) == [before, before]
    # a change of this list is a change of the schema: raise SCHEMA, and say so in the CHANGELOG
    assert (records.SCHEMA, list(json.loads(before))[:4]) == (3, ["schema", "run", "time", "kind"])
    with pytest.raises(ValueError, match="JSON"):
        replace(ROW, seconds=float("nan")).to_json()


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(ROW.to_json()), **fields})


# Lines of a wrong form or with impossible values, and a phrase of the message.
DAMAGED = {
    "not json": "damaged row",
    '{"schema": 1, "kind": "iteration"}': "of schema 1",
    '{"schema": 3, "kind": "iteration"}': "Field required",
    "[1, 2]": "damaged row",
    changed(T="ten"): "T: Input should be a valid integer",
    changed(kind="rumour"): "kind",
    changed(walk=1): "walk",
    changed(T=0): "T: Input should be greater than or equal to 1",
    changed(batch_size=-1): "batch_size: Input should be greater than or equal to 1",
    changed(optimiser_lr=0.0): "optimiser_lr: Input should be greater than 0",
    changed(seed=-1): "seed: Input should be greater than or equal to 0",
    changed(T=10**300): "T: Input should be less than or equal to 1000000000",
    changed(neunorm="mean"): "k_tau2 is missing",
    changed(suite="../../x"): "unknown suite",
    changed(network="8C3"): "network notation",
    changed(seconds=-1.0): "seconds: Input should be greater than or equal to 0",
    changed(seconds=1e999): "damaged row",  # JSON has no infinity
    changed(time="2026-01-01T00:00:00"): "time: a zone was expected",
    changed(time="yesterday"): "yesterday",
    ROW.to_json()[:-20]: "damaged row",  # torn by a crash
    "[" * 500_000: "damaged row",
    row(records.TrainedRow, epochs=0).to_json(): "epochs: Input should be",
    row(records.TrainedRow, classes=0).to_json(): "classes: Input should be",
    row(records.EpochRow, epochs=None).to_json(): "not Trained",
    row(records.CertificateRow, certificate_precision="fp16").to_json(): "certificate_precision",
    row(records.FittedRow, epochs=None).to_json(): "the epochs of another system are missing",
    row(records.FittedRow, effort=None).to_json(): "not System",
    row(records.ConfusionRow, votes=VOTES[1:]).to_json(): "10 rows of 10",
    row(records.ConfusionRow, confusion=(COUNTS[0][1:],) * 10).to_json(): "10 rows of 10",
    row(records.OperationsRow, events=(1,)).to_json(): "an entry for each of 2 layers",
}


@pytest.mark.parametrize("end", ["\n", ""], ids=["a line", "torn"])
@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: f"{DAMAGED[line]} {line[:9]}")
def test_a_damaged_line_is_named_and_others_are_read(store: Store, line: str, end: str) -> None:
    store.append(ROW)
    path = file_of(store)
    path.write_text(path.read_text() + line + end)
    store.append(ROW)
    rows, (said,) = store.read()
    assert rows == [ROW, ROW]
    assert said.startswith(f"{path}:2: ") and DAMAGED[line] in said and len(said) < 1000


@settings(steady, max_examples=60)
@given(content=spoilt((ROW.to_json() + "\n").encode() * 3))
def test_spoilt_rows_are_read_or_named(content: bytes, store: Store) -> None:
    store.folder.mkdir(exist_ok=True)
    file_of(store).write_bytes(content)
    rows, damaged = store.read()
    assert len(rows) + len(damaged) == sum(bool(line.strip()) for line in content.split(b"\n"))
    assert all(len(each) < 1000 for each in damaged)


def test_a_file_that_cannot_be_read_is_named(store: Store) -> None:
    store.append(ROW)
    (store.folder / "dangling.jsonl").symlink_to("nowhere")
    rows, (damage,) = store.read()
    assert rows == [ROW] == store.where("run", [ROW.run])
    assert "dangling.jsonl: cannot be read" in damage


def test_published_rows_are_read_by_machine_and_new_ones_stand_outside(store: Store) -> None:
    for machine in ("b", "a"):
        Store(store.out / "published" / machine).append(replace(ROW, cpu=machine))
    store.append(ROW)
    assert [each.cpu for each in store.read()[0]] == ["a", "b", None]
    assert len(lines_of(store)) == 1


def test_surrogates_and_endless_reasons_stay_readable(store: Store) -> None:
    reason = "a \udcff\n  name \x1b[2J\x00 at µ" + "x" * 3_000_000 + " its end"
    store.append(replace(run.ended(base(), "failed", reason), data_note="\udcff"))
    (ended,), damaged = store.read()
    assert damaged == [] and isinstance(ended, records.EndedRow)
    # one line that a terminal can show
    assert ended.reason.startswith(r"a ? name \x1b[2J\x00 at µ") and len(ended.reason) < 1100
    assert ended.reason.endswith("its end")


# fields that a run's rows share


SHARED = {"cpu": "a processor", "threads": 2, "torch": "2.6"}


def with_run_file(store: Store, content: object) -> Path:
    path = store.out / "runs" / f"{ROW.run}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_fields_shared_by_a_run_are_written_once_and_read_in_every_row(store: Store) -> None:
    of_dataset = {"cifar10": {"data_source": "images"}, "nmnist": {"data_source": "events"}}
    path = with_run_file(store, {"shared": SHARED, "shared_by_dataset": of_dataset})
    alike = replace(ROW, cpu="a processor", threads=2, torch="2.6", data_source="images")
    other = replace(alike, threads=1, torch=None)  # what a row says itself counts
    store.append(alike, other)
    first, second = lines_of(store)
    assert "a processor" not in first + second and "images" not in first + second
    assert '"threads": 1, "torch": null' in second
    assert store.read() == ([alike, other], [])
    path.unlink()
    assert store.read()[0][1] == replace(other, cpu=None, data_source=None)


@pytest.mark.parametrize("content", ["", '{"shared": 3}'])
def test_a_runs_damaged_file_is_named_and_its_rows_are_read(store: Store, content: str) -> None:
    store.append(ROW, ROW)
    with_run_file(store, content)
    rows, (damage,) = store.read()
    assert rows == [ROW, ROW] and f"runs/{ROW.run}.json" in damage
    store.append(ROW)  # and more can be added


@pytest.mark.parametrize("name", ["../a", "\x00"])
def test_a_row_of_a_run_that_can_name_no_file_is_read(store: Store, name: str) -> None:
    odd = replace(ROW, run=name)
    store.append(odd)
    assert store.read() == ([odd], [])


def test_a_run_has_a_file_with_its_command_and_versions(tmp_path: Path) -> None:
    name = run.save_run(tmp_path, MACHINE, (), ["harness", "run", "--out", "\udcff"])
    kept = json.loads((tmp_path / "runs" / f"{name}.json").read_bytes())
    assert kept["run"] == name and kept["packages"]["torch"] == metadata.version("torch")
    assert kept["command"][-1] == "?" and kept["shared"]["cpu"] == MACHINE.cpu


# several writers, a folder that cannot be written, a full disk


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from rows import ROW
from harness.records import Store
from harness.spec import UsageError
store, n = Store(Path(sys.argv[1])), 0
try:
    while n < int(sys.argv[4]):
        n += 1
        store.append(replace(ROW, run=sys.argv[3], round=n))
except UsageError as error:
    rows, damaged = store.read()
    print(n - 1, len(rows), len(damaged), error)
"""


def writer(out: Path, name: str, rows: int) -> list[str]:
    return [sys.executable, "-c", WRITER, str(out), str(Path(__file__).parent), name, str(rows)]


def test_two_processes_write_whole_rows_side_by_side(store: Store) -> None:
    writers = [subprocess.Popen(writer(store.out, name, 50)) for name in ("a", "b")]
    assert [each.wait(120) for each in writers] == [0, 0]
    rows, damaged = store.read()
    assert not damaged and len(rows) == 100
    found = {(row.run, row.round) for row in rows if isinstance(row, records.IterationRow)}
    assert found == {(run, n + 1) for run in ("a", "b") for n in range(50)}


def test_a_disk_without_room_keeps_whole_rows_and_is_one_sentence(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    python, code, program, *words = writer(tmp_path, "a", 10**6)
    command = [python, code, limit + program, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    written, read, damaged, *error = done.stdout.split()
    assert int(written) > 10 and int(read) == int(written) and int(damaged) == 0
    assert "File too large" in " ".join(error) and "--out" in " ".join(error)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    store.out.write_text("mine")
    for needs in (
        store.check_writable,
        lambda: store.append(ROW),
        lambda: ledger(store).lock_and_read(KEYED),
    ):
        with pytest.raises(UsageError, match="--out"):
            needs()
    assert store.out.read_text() == "mine"
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(UsageError, match="--out"):
            Store(tmp_path / "other").check_writable()


def test_a_check_of_a_folder_leaves_it_as_it_was(tmp_path: Path) -> None:
    # two commands start on a new folder: the one's check does not remove the other's folder
    store = Store(tmp_path / "new" / "out")
    store.check_writable()
    assert not store.out.parent.exists()
    store.append(ROW)
    store.check_writable()
    assert store.read()[0] == [ROW]


# a ledger: one process works at a case


KEYED = row(records.TrainedRow, key="k")


def ledger(store: Store, **fields: Any) -> Ledger:
    return Ledger(store, lambda *_: None, **fields)


def test_a_case_is_one_process_s_at_a_time(store: Store) -> None:
    one, other = ledger(store), ledger(store)
    assert one.lock_and_read(KEYED) == []
    with pytest.raises(Busy):
        other.lock_and_read(KEYED)
    one.keep(KEYED)
    one.release()
    assert other.lock_and_read(KEYED) == [KEYED]


def test_a_patient_ledger_waits_and_reports_it(store: Store) -> None:
    one, said = ledger(store), []
    one.lock_and_read(KEYED)

    def say(fraction: float, doing: str) -> None:
        said.append(doing)
        one.release()

    assert Ledger(store, say, patient=True).lock_and_read(KEYED) == []
    assert said == ["cifar10 Small seed 0: another process is at it; waiting"]


def test_repeated_rows_of_a_training_are_kept_once(store: Store) -> None:
    given = ledger(store)
    said: list[records.Row] = [row(records.EpochRow, key="k", epoch=epoch) for epoch in (1, 2)]
    # one of a training, and two of a cell, whose rounds are audited before and after
    said.append(row(records.WarningRow, trained_case(), key="k", reason="dead"))
    said.append(row(records.AuditRow, trained_case(), key="k"))
    for _ in range(2):
        given.lock_and_read(KEYED)
        given.keep(*said, row(records.AuditRow, key="k"))
        given.release()
    rows, _ = store.read()
    assert [each for each in rows if each.epochs is not None] == said
    assert len(rows) == len(said) + 2


def test_fresh_counts_the_rows_of_its_own_command_alone(store: Store) -> None:
    store.append(KEYED)
    given = ledger(store, fresh=True, runs=("mine",))
    assert given.lock_and_read(KEYED) == []
    given.keep(replace(KEYED, run="mine"))
    given.release()
    assert [each.run for each in given.lock_and_read(KEYED)] == ["mine"]


# kills


KILLS = 8  # most of each life are imports
SUITE = """
import os, sys
from pathlib import Path
from harness.system import child
child.warm(short_spin=True)  # as the command does
os.environ["XDG_CACHE_HOME"] = sys.argv[1] + "/cache"
sys.path.insert(0, sys.argv[2])
from dataclasses import replace
from trainings import case
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Access, Training
out = Path(sys.argv[1])
given = case(framework="reference", training=Training(
    epochs=20, samples=200, test_samples=50, embedded=True, tested_at=(1, 2)))
cases = tuple(replace(given, suite="neunorm", seed=seed) for seed in range(5))
shown = (out / "shown").open("a")
for ended in Local().train(cases, Store(out), Access(out), lambda *_: None):
    shown.write(f"{ended.case.seed}\\n")
    shown.flush()
"""


@pytest.mark.slow
def test_kills_at_any_moment_lose_and_double_nothing(tmp_path: Path) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
    assert _suite(quiet).wait(600) == 0
    drawn = random.Random(0)
    for _ in range(KILLS):
        started, running = _changed(killed), _suite(killed)
        while _changed(killed) == started and running.poll() is None:
            time.sleep(0.01)
        time.sleep(drawn.uniform(0, 0.4))  # a fast machine must not end all epochs first
        assert running.poll() is None, "it ended before all kills: give it more epochs"
        running.send_signal(signal.SIGKILL)
        running.wait()
        shown = {int(line) for line in (killed / "shown").read_text().split()}
        assert shown <= {row.seed for row in Store(killed).of_kind(records.TrainedRow)}
    assert _suite(killed).wait(600) == 0
    assert _told(killed) == _told(quiet)  # the same rows, bit for bit, each of them once
    for path in (quiet / "checkpoints").glob("*.pt"):
        ours, theirs = (read_sealed(each / "checkpoints" / path.name) for each in (quiet, killed))
        assert ours and theirs and all(map(torch.equal, ours["weights"], theirs["weights"]))


def _changed(out: Path) -> set[tuple[str, int]]:
    files = [*(out / "records").glob("*.jsonl"), *(out / "checkpoints").glob("*.pt")]
    return {(path.name, path.stat().st_mtime_ns) for path in files}


def _suite(out: Path) -> subprocess.Popen[bytes]:
    call = [sys.executable, "-c", SUITE, str(out), str(Path(__file__).parent)]
    return subprocess.Popen(call, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _told(out: Path) -> Counter[str]:
    """All rows, but for when they were written and how long they took."""
    rows, damaged = Store(out).read()
    assert not damaged
    given = [{**vars(row), **dict.fromkeys(("run", "time", "seconds"))} for row in rows]
    return Counter(json.dumps(each, sort_keys=True) for each in given)
