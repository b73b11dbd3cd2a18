"""Whatever ends a command or is wrong around it: an exit code and one sentence, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import Command
from rows import ROW, timed
from test_cli import HARNESS

from harness.cli.console import err
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Case

ASKING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
ON = ["--quick", "--networks", "Small", "--datasets", "cifar10", "--frameworks", "reference"]
RUN = ["run", "--suite", "acceleration", *ON]
TRAIN = ["run", "--suite", "scale", *ON]
FULL = Path("/dev/full")
NOTHING = "interrupted: there was nothing to keep\n"


def ended_of(
    arguments: list[Any], output: IO[str] | int = subprocess.PIPE, **environment: str
) -> tuple[int, str, str]:
    """The exit code of a process, what it said on standard error, and its output."""
    env = {**os.environ, "PYTHONUNBUFFERED": "", **environment}
    ended = subprocess.run(
        arguments, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120, env=env
    )
    return ended.returncode, ended.stderr, ended.stdout


@pytest.mark.parametrize(("module", "number"), [*(("torch", n) for n in ASKING), ("typer", 2)])
def test_an_interruption_amid_imports_is_one_sentence(module: str, number: int) -> None:
    # looks for a module as an import does, and takes long over it
    program = (
        "import os, signal, sys, time\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            try:\n"
        f"                os.kill(os.getpid(), {number:d})\n"
        "                time.sleep(60)\n"
        "            except KeyboardInterrupt:\n"
        "                raise ImportError('as some modules make of it') from None\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from harness.cli import main\n"
        "main()"
    )
    code, error, _ = ended_of([sys.executable, "-c", program, "doctor"])
    assert (code, error) == (128 + number, NOTHING)


class Measured:
    """In place of what measures: notes the cases, keeps a row or none, and sends signals."""

    def __init__(self, patch: pytest.MonkeyPatch, *signals: int, row: bool = True) -> None:
        self.cases: tuple[Case, ...] = ()
        self.signals, self.row = signals, row
        for name in ("measure", "train"):
            patch.setattr(Local, name, lambda _, cases, store, *rest: self.measure(cases, store))

    def measure(self, cases: tuple[Case, ...], store: Store) -> Iterator[Any]:
        self.cases = cases
        if self.row:
            store.append(ROW)
        for number in self.signals:
            os.kill(os.getpid(), number)
        yield from ()


@pytest.mark.parametrize("row", [True, False])
@pytest.mark.parametrize(("asked", "number"), [(RUN, n) for n in ASKING] + [(TRAIN, ASKING[0])])
def test_whatever_signal_ends_a_run_it_says_what_is_kept(
    asked: list[str],
    number: int,
    row: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    Measured(monkeypatch, number, row=row)
    before = signal.getsignal(number)
    code, _, error = command(*asked, "--out", tmp_path)
    assert code == 128 + number and error.count("\n") == 1
    kept = f"is kept in {tmp_path / 'records'};"
    assert kept in error if row else error == NOTHING
    assert (tmp_path / "records").exists() == row and signal.getsignal(number) is before


def test_a_signal_that_was_ignored_before_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """As `nohup harness run` does it."""
    Measured(monkeypatch, signal.SIGHUP)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command(*RUN, "--out", tmp_path)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_twice_the_same_is_once_and_the_order_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    found = Measured(monkeypatch)
    given = "--networks Small,small,128C3(Encoding)-AP2-256C3-AP2-256FC-Voting "
    given += "--datasets cifar10,cifar10 --steps 2,2,1 --frameworks snntorch,reference,snntorch"
    command("run", "--suite", "acceleration", "--quick", *given.split(), "--out", tmp_path)
    small = [case for case in found.cases if case.scale == "Small"]
    assert len(small) == len(set(small)) == 4
    assert list(dict.fromkeys(case.framework for case in small)) == ["snntorch", "reference"]
    assert list(dict.fromkeys(case.T for case in small)) == [2, 1]


LISTS = ("--networks", "--frameworks", "--datasets", "--steps", "--seeds")
EMPTY = [
    *(f"run --suite acceleration {option}" for option in LISTS[:4]),
    *(f"run --suite scale {option}" for option in ("--seeds", "--out", "--data-root")),
    *("tables 3 --out", "tables acceleration --machine", "report --readme", "check --networks"),
    *("status --out", "verify", "compare .", "doctor --data-root", "export Small --to"),
]


@pytest.mark.parametrize("words", EMPTY)
def test_an_empty_list_or_path_is_refused(words: str, inside: Path, command: Command) -> None:
    for text in ("", ",") if words.endswith(LISTS) else ("",):
        code, _, error = command(*words.split(), text)
        assert code == 2 and error.startswith("harness: ") and error.count("\n") == 1
        assert f"{text!r} " in error and list(inside.iterdir()) == []


def test_output_that_cannot_be_written_or_is_not_read_is_one_sentence_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    Store(tmp_path).append(ROW)
    reader, gone = os.pipe()
    os.close(reader)
    table = ["tables", "acceleration", "--format", "csv", "--out", tmp_path]
    for arguments in (["list", "networks"], ["--help"], table):
        assert ended_of([*HARNESS, *arguments], gone)[:2] == (141, "")
        if FULL.exists():
            with FULL.open("w") as full:
                code, error, _ = ended_of([*HARNESS, *arguments], full)
            assert error.startswith("harness: the output cannot be written (")
            assert error.count("\n") == 1 and code == 2
    # closed before it started
    closed = ["sh", "-c", '"$@" >&-', "sh", *HARNESS, "list", "networks"]
    assert ended_of(closed)[:2] == (0, "")
    Measured(monkeypatch)
    monkeypatch.setattr(sys, "stdout", os.fdopen(gone, "w"))
    code, _, error = command(*RUN, "--out", tmp_path)
    assert code == 141 and "what was measured is kept" in error


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    Store(tmp_path).append(*timed("floor", 1.0, cpu="Processor\u2122"))
    asked = [*HARNESS, "tables", "acceleration", "--out", tmp_path]
    code, error, output = ended_of(asked, LANG="C", PYTHONIOENCODING="ascii")
    assert (code, error) == (0, "") and "on Processor\\u2122" in output


def test_text_stays_text_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    words = ":x: [bold]loud[/bold] " + "long " * 60
    err.print(words)
    assert capsys.readouterr().err == words + "\n"


def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    inside = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    shell = ["sh", "-c", inside, "sh", tmp_path / "here", *HARNESS, "list", "networks"]
    code, error, _ = ended_of(shell)
    assert code == 2 and error.count("\n") == 1 and "working folder" in error


@pytest.mark.parametrize("option", ["--out", "--data-root"])
@pytest.mark.parametrize("name", ["x" * 300, "x/" * 2100])
def test_a_name_too_long_is_one_short_sentence(name: str, option: str, command: Command) -> None:
    code, _, error = command(*RUN, option, name)
    assert code == 2 and "File name too long; name another" in error
    assert error.count("\n") == 1 and len(error) < 200


def test_a_path_that_is_no_text_is_a_path(tmp_path: Path, command: Command) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    code, _, error = command("report", "--out", folder)
    assert code == 2 and "a\\udcff" in error
    Store(folder).append(ROW)
    code, out, _ = command("report", "--out", folder)
    assert code == 0 and "a\\udcff/report.html" in out and (folder / "report.html").exists()


def test_a_file_that_the_system_refuses_is_one_sentence_and_an_error_of_ours_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def refused(_: Store) -> None:
        raise error

    Store(tmp_path).append(ROW)
    monkeypatch.setattr(Store, "read", refused)
    error = PermissionError(13, "Permission denied", "there/x.jsonl")
    code, _, said = command("report", "--out", tmp_path)
    assert code == 2 and said.count("\n") == 1
    assert "cannot use there/x.jsonl (Permission denied)" in said
    error = OSError("of ours")
    with pytest.raises(OSError, match="of ours"):  # it keeps its traceback
        command("report", "--out", tmp_path)
