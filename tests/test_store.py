"""Rows are never lost: writers side by side, a full disk, kills at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import row

from harness.analysis import tables
from harness.records import (
    CertificateRow,
    ConfusionRow,
    EpochRow,
    IterationRow,
    Row,
    Store,
    TestedRow,
    TrainedRow,
)
from harness.records.ledger import Busy, Ledger
from harness.spec import UsageError

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from rows import ROW, row
from harness.records import Store
store = Store(Path(sys.argv[1]))
for n in range(1000):
    store.append(replace(ROW, run=sys.argv[3], round=n + 1))
"""


def test_two_processes_write_a_thousand_whole_rows_each(tmp_path: Path) -> None:
    call = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
    writers = [subprocess.Popen([*call, name]) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    rows, damaged = Store(tmp_path).read()
    assert not damaged
    assert {(row.run, row.round) for row in rows if isinstance(row, IterationRow)} == {
        (run, n + 1) for run in ("a", "b") for n in range(1000)
    }
    assert len(rows) == 2000


FULL = """
mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
shift
"$@"
"""


def test_a_full_disk_ends_with_one_sentence_and_a_store_that_still_reads(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from rows import ROW; from harness.records import Store\n"
        "from harness.spec import UsageError\n"
        "store = Store(Path(sys.argv[1])); n = 0\n"
        "try:\n"
        "    while True:\n"
        "        store.append(ROW); n += 1\n"
        "except UsageError as error:\n"
        "    rows, damaged = store.read()\n"
        "    print(n, len(rows), len(damaged), error)\n"
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs unshare, to mount a small file system")
    inside = [sys.executable, "-c", script, str(disk), str(Path(__file__).parent)]
    done = subprocess.run(
        [unshare, "--mount", "--map-root-user", "sh", "-c", FULL, "sh", str(disk), *inside],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"needs to mount a small file system: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    written, read, damaged, *said = done.stdout.split()
    assert int(written) > 10 and int(read) == int(written) and int(damaged) == 0
    assert "No space left on device" in " ".join(said)
    assert "--out" in " ".join(said)


def ledger(out: Path, **fields: Any) -> Ledger:
    return Ledger(Store(out), lambda *_: None, **fields)


KEYED = row(TrainedRow, key="k")


def test_a_case_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    one, other = ledger(tmp_path), ledger(tmp_path)
    assert one.begin(KEYED) == []
    with pytest.raises(Busy):
        other.begin(KEYED)
    one.keep(KEYED)
    one.release()
    assert other.begin(KEYED) == [KEYED]


def test_who_is_patient_waits_and_says_so(tmp_path: Path) -> None:
    one = ledger(tmp_path)
    one.begin(KEYED)
    said = []

    def say(fraction: float, doing: str) -> None:
        said.append(doing)
        one.release()

    assert Ledger(Store(tmp_path), say, patient=True).begin(KEYED) == []
    assert said == ["cifar10 Small seed 0: another process is at it; waiting"]


def test_what_a_training_says_again_is_kept_once(tmp_path: Path) -> None:
    given = ledger(tmp_path)
    first, second = row(EpochRow, key="k"), row(EpochRow, key="k", epoch=2)
    for _ in range(2):
        given.begin(KEYED)
        given.keep(first, second)
        given.release()
    assert Store(tmp_path).read()[0] == [first, second]


def test_fresh_counts_the_rows_of_its_own_command_alone(tmp_path: Path) -> None:
    Store(tmp_path).append(KEYED)
    given = ledger(tmp_path, fresh=True, runs=("mine",))
    assert given.begin(KEYED) == []
    given.keep(replace(KEYED, run="mine"))
    given.release()
    assert [each.run for each in given.begin(KEYED)] == ["mine"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("no folder")
    with pytest.raises(UsageError, match="give a folder that can be written with --out"):
        ledger(tmp_path).begin(KEYED)


def test_looking_whether_a_folder_can_be_written_leaves_it_to_the_other(tmp_path: Path) -> None:
    """Two commands start on a new folder: the one's check is not the end of the other's folder."""
    out = tmp_path / "new" / "out"
    for _ in range(50):
        Store(out).check_writable()
        assert not out.exists()
    Store(out).append(KEYED)
    Store(out).check_writable()
    assert Store(out).read()[0] == [KEYED]


KILLS = 100
SUITE = """
import os, sys
from pathlib import Path
from harness.system import child
child.warm()  # as the command does
os.environ["XDG_CACHE_HOME"] = sys.argv[1] + "/cache"
sys.path.insert(0, sys.argv[2])
from dataclasses import replace
from fractions import Fraction
from test_learning import case
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Access, Training
out = Path(sys.argv[1])
given = case(framework="reference", training=Training(
    epochs=120, samples=200, test_samples=50, embedded=True, tested_at=(1, 2), confusion=True))
cases = tuple(replace(given, suite="neunorm", seed=seed) for seed in range(5))
shown = (out / "shown").open("a")
for ended in Local().train(cases, Store(out), Access(out), lambda *_: None):
    shown.write(f"{ended.case.seed}\\n")
    shown.flush()
"""


@pytest.mark.slow
def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
    assert _suite(quiet).wait(600) == 0
    drawn = random.Random(0)
    for _ in range(KILLS):
        running = _suite(killed)
        _wait_for_work(killed, running)
        time.sleep(drawn.uniform(0, 0.4))  # a fast machine must not end all epochs first
        assert running.poll() is None, "it ended before all kills: give it more epochs"
        running.send_signal(signal.SIGKILL)
        running.wait()
        shown = {int(line) for line in (killed / "shown").read_text().split()}
        done = {row.seed for row in Store(killed).read()[0] if isinstance(row, TrainedRow)}
        assert shown <= done
    assert _suite(killed).wait(600) == 0
    a, b = (_told(folder) for folder in (quiet, killed))
    assert a == b  # the same figures, bit for bit
    count = Counter(_place(row) for row in Store(killed).read()[0])
    assert set(count.values()) == {1}
    ours, theirs = (tables.TABLES["neunorm"](Store(folder).read()[0]) for folder in (quiet, killed))
    drop = ["seconds_per_epoch"]
    assert ours.drop(columns=drop, errors="ignore").equals(
        theirs.drop(columns=drop, errors="ignore")
    )
    for path in (quiet / "checkpoints").glob("*.pt"):
        weights = [
            torch.load(folder / "checkpoints" / path.name, weights_only=True)["weights"]
            for folder in (quiet, killed)
        ]
        assert all(map(torch.equal, *weights))


def _wait_for_work(out: Path, running: subprocess.Popen[bytes]) -> None:
    """Until this life of the suite has changed something, or has ended."""
    started = _changed(out)
    for _ in range(6000):
        if _changed(out) != started or running.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError("the suite does nothing")


def _changed(out: Path) -> set[tuple[str, int]]:
    files = [*(out / "records").glob("*.jsonl"), *(out / "checkpoints").glob("*.pt")]
    return {(path.name, path.stat().st_mtime_ns) for path in files}


def _suite(out: Path) -> subprocess.Popen[bytes]:
    call = [sys.executable, "-c", SUITE, str(out), str(Path(__file__).parent)]
    return subprocess.Popen(call, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _place(row: Row) -> tuple[object, ...]:
    match row:
        case EpochRow():
            return row.kind, row.key, row.epoch
        case TestedRow():
            return row.kind, row.key, row.tested_T
        case CertificateRow():
            return row.kind, row.key, row.certificate_precision, row.layer
        case _:
            return row.kind, row.key


def _figures(row: Row) -> tuple[object, ...]:
    match row:
        case EpochRow():
            return row.loss, row.test_accuracy, row.rates, row.gradient_norm
        case TestedRow() | TrainedRow():
            return (row.test_accuracy,)
        case ConfusionRow():
            return row.confusion, row.votes
        case _:
            return ()


def _told(out: Path) -> dict[tuple[object, ...], tuple[object, ...]]:
    rows, damaged = Store(out).read()
    assert not damaged
    return {_place(each): _figures(each) for each in rows if not isinstance(each, CertificateRow)}
