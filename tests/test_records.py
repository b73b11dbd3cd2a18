"""Rows: whole lines, typed, never rewritten, never lost; damaged ones are named and left out."""

from __future__ import annotations

import json
import os
import random
import re
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
from rows import CASE, COUNTS, ROW, RUN, TRAIN, VOTES, altered, row, trained_case

from harness import records
from harness.records import Row, Run, Store, has, run
from harness.records.run import RowMaker, maker
from harness.records.store import Busy, Ledger, line_of
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
    whole = row(
        records.KINDS[kind], key="k", source=replace(TRAIN, note='a "|note|"\non two lines')
    )
    store.append(whole)
    assert store.read() == ([whole], [])


def test_rows_of_a_suite_are_one_line_each_in_one_file(store: Store) -> None:
    store.append(ROW)
    (first,) = lines_of(store)
    store.append(ROW)
    assert lines_of(store) == [first, first]
    # a change of this list is a change of the schema: raise SCHEMA, and say so in the CHANGELOG
    parts = ["schema", "run", "time", "case", "installation", "data", "result"]
    assert (records.SCHEMA, list(json.loads(first))) == (4, parts)
    with pytest.raises(ValueError, match="JSON"):
        line_of(altered(ROW, seconds=float("nan")))


def line(place: str, value: object, row: Row = ROW) -> str:
    """The line of a row, with another value in a place: "case.workload.T"."""
    content = part = json.loads(line_of(row))
    *names, last = place.split(".")
    for name in names:
        part = part.setdefault(name, {})
    part[last] = value
    return json.dumps(content)


# Lines of a wrong form or with impossible values, and a phrase of the message.
DAMAGED = {
    "not json": "damaged row",
    '{"schema": 3, "kind": "iteration"}': "of schema 3",
    '{"schema": 4, "run": {"id": "a"}}': "time: Field required",
    "[1, 2]": "damaged row",
    line("case.workload.T", "ten"): "case.workload.T: Input should be a valid integer",
    line("result.kind", "rumour"): "kind",
    line("result.walk", 1): "walk",
    line("case.walk", 1): "walk",
    line("case.workload.T", 0): "T: Input should be greater than or equal to 1",
    line("case.workload.batch_size", -1): "batch_size: Input should be greater than or equal to 1",
    line("case.optimiser.lr", 0.0): "lr: Input should be greater than 0",
    line("case.workload.seed", -1): "seed: Input should be greater than or equal to 0",
    line("case.workload.T", 10**300): "T: Input should be less than or equal to 1000000000",
    line("case.contender.form", "folded"): "contender.form: Input should be",
    line("case.workload.network.notation", "8C3"): "network notation",
    line("case.workload.network.classes", 0): "classes is 0",
    line("result.seconds", -1.0): "seconds: Input should be greater than or equal to 0",
    line("result.seconds", 1e999): "damaged row",  # JSON has no infinity
    line("time", "2026-01-01T00:00:00"): "time: a zone was expected",
    line("time", "yesterday"): "yesterday",
    line_of(ROW)[:-20]: "damaged row",  # torn by a crash
    "[" * 500_000: "damaged row",
    line("case.epochs", 0, row(records.TrainedResult)): "epochs: Input should be",
    line("case.epochs", None, row(records.FittedResult)): "epochs: Input should be",
    line("case.effort", None, row(records.FittedResult)): "effort: Input should be",
    line_of(row(records.EpochResult, CASE)): "a timing has no epoch",
    line_of(row(records.FittedResult, trained_case())): "a training has no fitted",
    line("result.certificate_precision", "fp16", row(records.CertificateResult)): (
        "certificate_precision"
    ),
    line_of(row(records.ConfusionResult, votes=VOTES[1:])): "10 rows of 10",
    line_of(row(records.ConfusionResult, confusion=(COUNTS[0][1:],) * 10)): "10 rows of 10",
    line_of(row(records.OperationsResult, events=(1,))): "an entry for each of 2 layers",
}


@pytest.mark.parametrize("end", ["\n", ""], ids=["a line", "torn"])
@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: f"{DAMAGED[line]} {line[:9]}")
def test_a_damaged_line_is_named_and_others_are_read(store: Store, line: str, end: str) -> None:
    store.append(ROW)
    path = file_of(store)
    path.write_text(path.read_text() + line + end)
    store.append(ROW)
    rows, (damage,) = store.read()
    assert rows == [ROW, ROW]
    assert damage.startswith(f"{path}:2: ") and DAMAGED[line] in damage and len(damage) < 1000


@settings(steady, max_examples=60)
@given(content=spoilt((line_of(ROW) + "\n").encode() * 3))
def test_spoilt_rows_are_read_or_named(content: bytes, store: Store) -> None:
    store.folder.mkdir(exist_ok=True)
    file_of(store).write_bytes(content)
    rows, damaged = store.read()
    assert len(rows) + len(damaged) == sum(bool(line.strip()) for line in content.split(b"\n"))
    assert all(len(sentence) < 1000 for sentence in damaged)


def test_a_file_that_cannot_be_read_is_named(store: Store) -> None:
    store.append(ROW)
    (store.folder / "dangling.jsonl").symlink_to("nowhere")
    rows, (damage,) = store.read()
    assert rows == [ROW] == store.of_kind(records.IterationResult)
    assert "dangling.jsonl: cannot be read" in damage


def test_published_rows_are_read_by_machine_and_new_ones_stand_outside(store: Store) -> None:
    for machine in ("b", "a"):
        Store(store.out / "published" / machine).append(altered(ROW, cpu=machine))
    store.append(ROW)
    assert [row.run.machine.cpu for row in store.read()[0]] == ["a", "b", None]
    assert len(lines_of(store)) == 1


def test_surrogates_and_endless_reasons_stay_readable(store: Store) -> None:
    reason = "a \udcff\n  name \x1b[2J\x00 at µ" + "x" * 3_000_000 + " its end"
    ended = maker(CASE, ROW.run, ROW.installation).ended("failed", reason)
    store.append(altered(ended, source=replace(TRAIN, note="\udcff")))
    ((row,), damaged) = store.read()
    assert damaged == [] and has(row, records.EndedResult)
    # one line that a terminal can show
    stored = row.result.reason
    assert stored.startswith(r"a ? name \x1b[2J\x00 at µ") and len(stored) < 1100
    assert stored.endswith("its end")


# parts that a run's rows share


def with_run_file(store: Store, content: object) -> Path:
    path = store.out / "runs" / f"{RUN}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_parts_shared_by_a_run_are_written_once_and_read_in_every_row(store: Store) -> None:
    machine = {"cpu": "a processor", "threads": 2, "torch": "2.6"}
    photographs = {"source": json.loads(line_of(altered(ROW, source=TRAIN)))["data"]["source"]}
    by_dataset = {"cifar10": {"data": photographs}, "nmnist": {"data": {"train_samples": 1}}}
    shared = {"shared": {"run": {"machine": machine}}, "shared_by_dataset": by_dataset}
    path = with_run_file(store, shared)
    alike = altered(ROW, **machine, source=TRAIN)
    other = altered(alike, threads=1, torch=None, source=None)  # what a row says itself counts
    store.append(alike, other)
    first, second = lines_of(store)
    assert "a processor" not in first and "photographs" not in first
    assert store.read() == ([alike, other], [])
    path.unlink()
    assert store.read() == ([replace(alike, run=Run(id=RUN, protocol=3), data=ROW.data), other], [])


def test_a_row_is_damaged_whose_part_is_none_where_its_run_shares_it(store: Store) -> None:
    with_run_file(store, {"shared": {"data": {"train_samples": 1}}})
    store.folder.mkdir()
    file_of(store).write_text(line("data", 3) + "\n" + line("case.workload", [1]))
    rows, damaged = store.read()
    assert (
        rows == []
        and [sentence.rpartition(": ")[2] for sentence in damaged] == ["an object was expected"] * 2
    )


NO_SHARES = ["", '{"shared": 3}', '{"shared": {"time": {}}}', '{"shared": {"walk": {}}}']


@pytest.mark.parametrize("content", NO_SHARES)
def test_a_runs_damaged_file_is_named_and_its_rows_are_read(store: Store, content: str) -> None:
    store.append(ROW, ROW)
    with_run_file(store, content)
    rows, (damage,) = store.read()
    assert rows == [ROW, ROW] and f"runs/{RUN}.json" in damage
    store.append(ROW)  # and more can be added


@pytest.mark.parametrize("name", ["../a", "\x00"])
def test_a_row_of_a_run_that_can_name_no_file_is_read(store: Store, name: str) -> None:
    odd = altered(ROW, run=name)
    store.append(odd)
    assert store.read() == ([odd], [])


def test_a_run_has_a_file_with_its_command_and_versions(tmp_path: Path) -> None:
    begun = run.begin(tmp_path, MACHINE, "system", (), ["harness", "run", "--out", "\udcff"])
    content = json.loads((tmp_path / "runs" / f"{begun.id}.json").read_bytes())
    assert content["run"] == begun.id
    assert content["packages"]["torch"] == metadata.version("torch")
    assert content["command"][-1] == "?"
    assert content["shared"]["run"]["machine"]["cpu"] == MACHINE.cpu


# several writers, a folder that cannot be written, a full disk


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from rows import ROW, altered
from harness.records import Store
from harness.spec import UsageError
store, n = Store(Path(sys.argv[1])), 0
try:
    while n < int(sys.argv[4]):
        n += 1
        store.append(altered(ROW, run=sys.argv[3], round=n))
except UsageError as error:
    rows, damaged = store.read()
    print(n - 1, len(rows), len(damaged), error)
"""


def writer(out: Path, name: str, rows: int) -> list[str]:
    return [sys.executable, "-c", WRITER, str(out), str(Path(__file__).parent), name, str(rows)]


def test_two_processes_write_whole_rows_side_by_side(store: Store) -> None:
    writers = [subprocess.Popen(writer(store.out, name, 50)) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    rows, damaged = store.read()
    assert not damaged and len(rows) == 100
    numbers = {(row.run.id, row.result.round) for row in rows if has(row, records.IterationResult)}
    assert numbers == {(run, n + 1) for run in ("a", "b") for n in range(50)}


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
        lambda: ledger(store).lock_and_read(MAKER),
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


KEYED = row(records.TrainedResult, key="k")
MAKER = RowMaker(KEYED.run, KEYED.case, key="k")


def ledger(store: Store, **fields: Any) -> Ledger:
    return Ledger(store, lambda *_: None, **fields)


def test_a_case_is_one_process_s_at_a_time(store: Store) -> None:
    one, other = ledger(store), ledger(store)
    assert one.lock_and_read(MAKER) == []
    with pytest.raises(Busy):
        other.lock_and_read(MAKER)
    one.keep(KEYED)
    one.release()
    assert other.lock_and_read(MAKER) == [KEYED]


def test_a_patient_ledger_waits_and_reports_it(store: Store) -> None:
    one, reports = ledger(store), []
    one.lock_and_read(MAKER)

    def say(fraction: float, doing: str) -> None:
        reports.append(doing)
        one.release()

    assert Ledger(store, say, patient=True).lock_and_read(MAKER) == []
    assert reports == ["cifar10 Small seed 0: another process is at it; waiting"]


def test_repeated_rows_of_a_training_are_kept_once(store: Store) -> None:
    resumed = ledger(store)
    once: list[Row] = [row(records.EpochResult, key="k", epoch=epoch) for epoch in (1, 2)]
    # one of a training, and two of a cell, whose rounds are audited before and after
    once.append(row(records.WarningResult, trained_case(), key="k", reason="dead"))
    once.append(row(records.AuditResult, trained_case(), key="k"))
    for _ in range(2):
        resumed.lock_and_read(MAKER)
        resumed.keep(*once, row(records.AuditResult, key="k"))
        resumed.release()
    # trained anew where sums are rounded otherwise: its own figures, all of them
    anew = altered(once[1], test_accuracy=0.5)
    resumed.lock_and_read(MAKER)
    resumed.keep(once[0], anew)
    rows, _ = store.read()
    assert [row for row in rows if not row.is_timing] == [*once, anew]
    assert len(rows) == len(once) + 3


def test_fresh_counts_the_rows_of_its_own_command_alone(store: Store) -> None:
    store.append(KEYED)
    fresh = ledger(store, fresh=True, runs=("mine",))
    assert fresh.lock_and_read(MAKER) == []
    fresh.keep(altered(KEYED, run="mine"))
    fresh.release()
    assert [row.run.id for row in fresh.lock_and_read(MAKER)] == ["mine"]


# kills


KILLS = 8  # most of each life are imports
SUITE = """
import os, sys
from pathlib import Path
from harness.machine import child
child.warm(short_spin=True)  # as the command does
os.environ["XDG_CACHE_HOME"] = sys.argv[1] + "/cache"
sys.path.insert(0, sys.argv[2])
from trainings import case
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Access
out = Path(sys.argv[1])
cases = tuple(
    case(suite="neunorm", seed=seed, epochs=20, train=200, test=50, tested_at=(1, 2))
    for seed in range(5)
)
shown = (out / "shown").open("a")
for ended in Local().train(cases, Store(out), Access(out), lambda *_: None):
    shown.write(f"{ended.case.workload.seed}\\n")
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
        ended = {int(line) for line in (killed / "shown").read_text().split()}
        assert ended <= {row.workload.seed for row in Store(killed).of_kind(records.TrainedResult)}
    assert _suite(killed).wait(600) == 0
    assert _told(killed) == _told(quiet)  # the same rows, bit for bit, each of them once
    for path in (quiet / "checkpoints").glob("*.pt"):
        ours, theirs = (
            read_sealed(folder / "checkpoints" / path.name) for folder in (quiet, killed)
        )
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
    return Counter(
        re.sub(r'"seconds": [^,}]*', "", line_of(altered(row, run="", time=""))) for row in rows
    )
