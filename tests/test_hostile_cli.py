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
from rows import ROW, timed
from test_cli import HARNESS, call

from harness.cli.console import err
from harness.jobs.local import Local
from harness.records import Store
from harness.spec import Case

ASKING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
ON = ["--quick", "--networks", "Small", "--datasets", "cifar10", "--frameworks", "reference"]
RUN = ["run", "--suite", "acceleration", *ON]
TRAIN = ["run", "--suite", "scale", *ON]
TABLE = ["tables", "acceleration", "--format", "csv", "--out"]
FULL = Path("/dev/full")


def ended_of(
    arguments: list[Any], output: IO[str] | int = subprocess.PIPE, **environment: str
) -> tuple[int, str, str]:
    """The exit code of a process, what it said on standard error, and its output."""
    ended = subprocess.run(
        arguments,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
    )
    return ended.returncode, ended.stderr, ended.stdout


@pytest.fixture
def results(tmp_path: Path) -> str:
    Store(tmp_path / "out").append(ROW)
    return str(tmp_path / "out")


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
    assert (code, error) == (128 + number, "interrupted: there was nothing to keep\n")


class Measured:
    """In place of what measures: notes the cases, keeps a row or none, and has something happen."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *signals: int, row: bool = True, output: Any = None
    ) -> None:
        self.cases: tuple[Case, ...] = ()
        self.signals, self.row = signals, row
        for name in ("measure", "train"):
            monkeypatch.setattr(
                Local, name, lambda _, cases, store, *rest: self.measure(cases, store)
            )
        if output is not None:
            monkeypatch.setattr(sys, "stdout", output)

    def measure(self, cases: tuple[Case, ...], store: Store) -> Iterator[Any]:
        self.cases = cases
        if self.row:
            store.append(ROW)
        for number in self.signals:
            os.kill(os.getpid(), number)
        yield from ()


@pytest.mark.parametrize(("command", "number"), [(RUN, n) for n in ASKING] + [(TRAIN, ASKING[0])])
def test_whatever_signal_ends_a_run_it_says_what_is_kept(
    command: list[str],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Measured(monkeypatch, number)
    before = signal.getsignal(number)
    assert call(monkeypatch, *command, "--out", str(tmp_path)) == 128 + number
    said = capsys.readouterr().err
    assert said.startswith("interrupted: what was ")
    assert f"is kept in {tmp_path / 'records'};" in said and said.count("\n") == 1
    assert signal.getsignal(number) is before


def test_interrupted_before_its_first_row_a_run_names_no_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Measured(monkeypatch, signal.SIGINT, row=False)
    assert call(monkeypatch, *RUN, "--out", str(tmp_path / "w1")) == 130
    assert capsys.readouterr().err == "interrupted: there was nothing to keep\n"
    assert not (tmp_path / "w1" / "records").exists()


def test_a_signal_that_was_ignored_before_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nohup harness run` does it."""
    Measured(monkeypatch, signal.SIGHUP)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call(monkeypatch, *RUN, "--out", str(tmp_path)) == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_twice_the_same_is_once_and_the_order_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Measured(monkeypatch)
    arguments = ["--networks", "Small,small,128C3(Encoding)-AP2-256C3-AP2-256FC-Voting"]
    arguments += ["--datasets", "cifar10,cifar10", "--steps", "2,2,1", "--out", str(tmp_path)]
    arguments += ["--frameworks", "snntorch,reference,snntorch"]
    call(monkeypatch, "run", "--suite", "acceleration", "--quick", *arguments)
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


@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_list_or_path_is_refused(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("", ",") if command.endswith(LISTS) else ("",):
        assert call(monkeypatch, *command.split(), text) == 2
        said = capsys.readouterr().err
        assert said.startswith("harness: ") and said.count("\n") == 1
        assert f"{text!r} " in said and list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_or_is_not_read_is_one_sentence_or_none(results: str) -> None:
    reader, gone = os.pipe()
    os.close(reader)
    for arguments in (["list", "networks"], ["--help"], [*TABLE, results]):
        code, error, _ = ended_of([*HARNESS, *arguments], gone)
        assert (code, error) == (141, "")
        if FULL.exists():
            with FULL.open("w") as full:
                code, error, _ = ended_of([*HARNESS, *arguments], full)
            assert error.startswith("harness: the output cannot be written (")
            assert error.count("\n") == 1 and code == 2
    os.close(gone)
    # closed before it started
    closed = ["sh", "-c", '"$@" >&-', "sh", *HARNESS, "list", "networks"]
    assert ended_of(closed)[:2] == (0, "")


def test_a_run_whose_reader_has_gone_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    Store(tmp_path).append(ROW)
    Measured(monkeypatch, output=os.fdopen(writer, "w"))
    assert call(monkeypatch, *RUN, "--out", str(tmp_path)) == 141
    assert "what was measured is kept" in capsys.readouterr().err


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    Store(tmp_path).append(*timed("floor", 1.0, cpu="Processor\u2122"))
    asked = [*HARNESS, "tables", "acceleration", "--out", str(tmp_path)]
    code, error, output = ended_of(asked, LANG="C", PYTHONIOENCODING="ascii")
    assert (code, error) == (0, "") and "on Processor\\u2122" in output


def test_text_stays_text_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    words = ":x: [bold]loud[/bold] " + "long " * 60
    err.print(words)
    assert capsys.readouterr().err == words + "\n"


def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    inside = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    shell = ["sh", "-c", inside, "sh", str(tmp_path / "here"), *HARNESS, "list", "networks"]
    code, error, _ = ended_of(shell)
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("harness: the working folder is no longer there")


@pytest.mark.parametrize("option", ["--out", "--data-root"])
@pytest.mark.parametrize("name", ["x" * 300, "x/" * 2100])
def test_a_name_too_long_is_one_short_sentence(
    name: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *RUN, option, name) == 2
    said = capsys.readouterr().err
    assert "File name too long; name another" in said
    assert said.count("\n") == 1 and len(said) < 200


def test_a_path_that_is_no_text_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    assert call(monkeypatch, "report", "--out", str(folder)) == 2
    assert "a\\udcff" in capsys.readouterr().err
    Store(folder).append(ROW)
    assert call(monkeypatch, "report", "--out", str(folder)) == 0
    assert (folder / "report.html").exists()
    assert "a\\udcff/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "there/x.jsonl"), OSError("of ours")]
)
def test_a_file_that_the_system_refuses_is_one_sentence(
    error: OSError,
    results: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(_: Store) -> None:
        raise error

    monkeypatch.setattr(Store, "read", refused)
    if error.filename is None:  # it keeps its traceback
        with pytest.raises(OSError, match="of ours"):
            call(monkeypatch, "report", "--out", results)
        return
    assert call(monkeypatch, "report", "--out", results) == 2
    said = capsys.readouterr().err
    assert said == "harness: cannot use there/x.jsonl (Permission denied): name another\n"
