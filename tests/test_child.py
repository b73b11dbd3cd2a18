"""The child process in which contenders run: calls, deaths, limits, and owners that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import torch
from surroundings import needs_linux
from torch import Tensor

from harness.machine import child, memory
from harness.machine.child import Child, Died, tell
from harness.spec import UsageError


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def doubled(x: Tensor) -> Tensor:
    tell(0.5, "half")
    return 2 * x


def surroundings() -> tuple[object, ...]:
    variable, python = os.environ.get("OF_THE_CHILD", ""), os.environ.get("PYTHONWARNINGS")
    return torch.get_num_threads(), str(Path.cwd()), variable, python, os.getpgrp() == os.getpid()


def blocked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def raises(error: type[Exception], *args: object) -> None:
    raise error(*args)


def takes(mib: int) -> int:
    return len(bytes(mib * 2**20))


def dies(how: str) -> None:
    print("printed, which is no answer " * 1000)
    match how:
        case "exits":
            sys.exit(3)
        case "says why":
            print("RuntimeError: what a reader needs", file=sys.stderr, flush=True)
            os._exit(1)
        case "segfaults":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stops":
            os.kill(os.getpid(), signal.SIGSTOP)


def starts_another() -> None:
    tell(os.getpid(), subprocess.Popen(["sleep", "3600"]).pid)
    os.kill(os.getpid(), signal.SIGSTOP)


def beats(times: int) -> int:
    for n in range(times):
        tell(n)
        time.sleep(0.2)
    return times


def test_a_call_returns_value_and_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    messages: list[object] = []
    monkeypatch.setenv("OF_THE_CHILD", "1")
    with Child() as process:
        x = torch.ones(3)
        got = process.call(doubled, x, hear=lambda *message: messages.append(message))
        assert torch.equal(got, 2 * x) and messages == [(0.5, "half")]
        assert process.call(surroundings) == (1, str(tmp_path), "1", None, True)
        assert process.call(beats, 5, silence=0.9) == 5  # a word now and then is a sign of life
        # what a terminal sends reaches its owner alone
        assert {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP} <= process.call(blocked)
        assert signal.SIGINT not in blocked()


def test_errors_in_the_child_are_raised_in_the_owner_and_the_child_lives_on() -> None:
    with Child() as process:
        with pytest.raises(UsageError, match="cannot write there"):
            process.call(raises, UsageError, "cannot write there")
        with pytest.raises(Exception, match="1 and 2") as raised:
            process.call(raises, Odd, 1, 2)  # it cannot be unpickled
        assert type(raised.value).__name__ == "Odd"
        assert process.call(len, "four") == 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        pytest.param("exits", "exit code 3", id="exits"),
        pytest.param("says why", "its last words: RuntimeError: what a reader", id="says why"),
        pytest.param("segfaults", "died of SIGSEGV", id="segfaults"),
        pytest.param("is killed", "died of SIGKILL, as a system does where", id="is killed"),
        pytest.param("stops", "said nothing for 1 s", id="stops"),
    ],
)
def test_a_childs_death_is_one_sentence(how: str, reason: str) -> None:
    with Child() as process:
        with pytest.raises(Died, match=reason):
            process.call(dies, how, silence=1.0 if how == "stops" else 60.0)
        with pytest.raises(Died):
            process.call(len, "four")


@needs_linux
def test_a_child_beyond_the_free_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_mib", lambda device: 300.0)
    with Child() as process:
        assert process.call(takes, 10) == 10 * 2**20
        with pytest.raises(Died, match="ran out of memory"):
            process.call(takes, 2000)


def test_a_stopped_child_answers_once_it_continues() -> None:
    with Child() as process:
        for _ in range(2):
            process.send(signal.SIGSTOP)
            process.send(signal.SIGCONT)
            assert process.call(len, "four") == 4


OWNER = """
import signal, sys
sys.path.insert(0, sys.argv[1])
import test_child
from harness.machine import child
child.PRELOAD[:] = ["harness.machine.child"]

own = child.Child()
if sys.argv[2:]:
    own.call(test_child.starts_another, hear=lambda *pids: print(*pids, flush=True))
else:
    own.send(signal.SIGSTOP)
    print(own.pid)
"""


def owner(*words: str) -> list[str]:
    return [sys.executable, "-c", OWNER, str(Path(__file__).parent), *words]


@needs_linux
def test_a_killed_owner_leaves_no_processes() -> None:
    """Also a stopped child, and what it has started."""
    killed = subprocess.Popen(owner("starts another"), stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    with killed.stdout as output:
        started = [psutil.Process(int(pid)) for pid in output.readline().split()]
    assert len(started) == 2
    started += psutil.Process(killed.pid).children(recursive=True)  # the fork server too
    time.sleep(0.5)  # until the child is stopped
    killed.kill()
    killed.wait(30)
    _, alive = psutil.wait_procs(set(started), timeout=30)
    for process in alive:
        process.kill()
    assert not alive


def test_an_owner_ends_without_waiting_for_a_forgotten_child() -> None:
    done = subprocess.run(owner(), capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == "" and not psutil.pid_exists(int(done.stdout))


def test_a_folder_too_long_for_a_socket_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 150)
    assert child.warm("cpu").get_start_method() == "spawn"


@needs_linux
@pytest.mark.parametrize("variable", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_a_user_decides_how_threads_wait(variable: str) -> None:
    code = (
        "import psutil; from harness.machine.child import Child; found = Child(short_spin=True); "
    )
    code += "print(psutil.Process(found.pid).environ().get('GOMP_SPINCOUNT', '')); found.end()"
    environment = os.environ | {variable: "7"}
    if variable == "OMP_WAIT_POLICY":
        environment.pop("GOMP_SPINCOUNT", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ("7" if variable == "GOMP_SPINCOUNT" else "")
