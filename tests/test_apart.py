"""The process that decodes recordings: it costs one recording at most, and is never left behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from test_datasets import ROW, write_aedat4

from harness.datasets import (
    Request,
    Wanted,
    apart,
    dvs_cifar10,
    load_batch,
    load_split,
)
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine", "nothing_waits_for_ever")


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_no_process_outlives_the_reading_of_recordings(tmp_path: Path) -> None:
    before = children()
    folder = tmp_path / "CIFAR10DVS" / "cat"
    for number in range(4):
        write_aedat4(folder / f"{number}.aedat4", ROW)
    (folder / "3.aedat4").write_bytes((folder / "3.aedat4").read_bytes()[:-9])  # it is left out
    during: list[psutil.Process] = []

    def look(fraction: float, doing: str) -> None:
        during.extend(each for each in children() if each not in (*before, *during))

    assert len(load_split(Wanted("dvs-cifar10", T=1, root=tmp_path), "train", look)) == 3
    assert len(during) == 1 and children() == before  # one for all of them
    dvs_cifar10.read_recording(folder / "0.aedat4")
    with pytest.raises(UsageError, match="3.aedat4 is damaged"):
        load_batch(Request("dvs-cifar10", 1, 4, root=tmp_path))
    (folder / "3.aedat4").unlink()
    load_batch(Request("dvs-cifar10", 1, 3, root=tmp_path))
    assert children() == before


PROGRAM = """
import os, signal, sys
from pathlib import Path
from harness.datasets.apart import Reader
reader = Reader()
print(len(reader.read(Path(sys.argv[1]))), reader._process.pid, flush=True)
os.kill(reader._process.pid, signal.SIGSTOP)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["killed", "returns"])
def test_a_reader_ends_with_who_started_it_and_holds_none_of_its_pipes(
    end: str, tmp_path: Path
) -> None:
    recording = write_aedat4(tmp_path / "1.aedat4", ROW)
    command = [sys.executable, "-c", PROGRAM, str(recording), end]
    piped = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # the pipe has ended, though the reader could not: it was stopped before who started it ended
    count, pid, *_ = piped.stdout.split()
    assert count == "1"
    with contextlib.suppress(psutil.NoSuchProcess):  # some systems end it where it stands
        reader = psutil.Process(int(pid))
        reader.resume()
        psutil.wait_procs([reader], timeout=10)
        assert not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE


def pretend(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has the reader's process use an aedat of ours; what it is to read."""
    (folder / "aedat.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", f"{folder}")
    return write_aedat4(folder / "1.aedat4", ROW)


@pytest.mark.parametrize(
    "decode",
    [
        "while True: pass",
        "os.abort()",
        "os._exit(0)",
        "os.write(3, b'2\\n' + bytes(32)); os._exit(0)",  # half an answer
        "print('noise', flush=True); 1 / 0",
    ],
)
def test_a_decoder_that_ends_its_process_or_never_comes_back_costs_one_recording(
    decode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pretend(f"import os\ndef Decoder(path):\n    {decode}\n", tmp_path, monkeypatch)
    monkeypatch.setattr(apart, "CPU_SECONDS", 0.2)
    reason = "ZeroDivisionError: division by zero" if "noise" in decode else "its reader died of it"
    with pytest.raises(UsageError, match=f"{path} is damaged .{reason}"):
        dvs_cifar10.read_recording(path)


def test_a_reader_that_was_killed_once_is_started_again(tmp_path: Path) -> None:
    path = write_aedat4(tmp_path / "1.aedat4", ROW)
    reader = apart.Reader()
    before = children()
    for _ in range(2):
        assert reader.read(path).tolist() == [ROW]
        (child,) = (each for each in children() if each not in before)
        child.kill()
    reader.close()
    assert children() == before
