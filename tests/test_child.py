"""The child process in which contenders run: calls, deaths, limits, and owners that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from surroundings import needs_linux
from torch import Tensor

from harness.spec import UsageError
from harness.system import child, memory
from harness.system.child import Child, Died, tell


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


def raises(error: type[Exception], *given: object) -> None:
    raise error(*given)


def takes(mib: int) -> int:
    return len(bytes(mib * 2**20))


def dies(how: str) -> None:
    print("printed, which is no answer " * 1000)
    match how:
        case "exits":
            sys.exit(3)
        case "says why":
            print("RuntimeError: what a reader needs \udcff", file=sys.stderr, flush=True)
            os._exit(1)
        case "segfaults with a child of its own":
            if os.fork() == 0:  # it holds the pipe open
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "closes descriptors":
            os.closerange(3, 256)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stops":
            os.kill(os.getpid(), signal.SIGSTOP)


def starts_others() -> None:
    tell(os.getpid(), subprocess.Popen(["sleep", "3600"]).pid)
    os.kill(os.getpid(), signal.SIGSTOP)


def holds_the_interpreter() -> None:
    tell(os.getpid())
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pattern = "(a+)+$"
    __import__("re").match(pattern, "a" * 64 + "b")  # for years, and nobody else may run


def beats(times: int) -> int:
    for n in range(times):
        tell(n)
        time.sleep(0.2)
    return times


def test_a_call_returns_value_and_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    said: list[object] = []
    monkeypatch.setenv("OF_THE_CHILD", "1")
    with Child() as own:
        x = torch.ones(3)
        got = own.call(doubled, x, hear=lambda *told: said.append(told))
        assert torch.equal(got, 2 * x) and said == [(0.5, "half")]
        assert own.call(surroundings) == (1, str(tmp_path), "1", None, True)
        assert own.call(beats, 5, silence=0.9) == 5  # a word now and then is a sign of life
        # what a terminal sends reaches its owner alone
        assert {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP} <= own.call(blocked)
        assert signal.SIGINT not in blocked()


def test_errors_in_the_child_are_raised_in_the_owner_and_the_child_lives_on() -> None:
    with Child() as own:
        with pytest.raises(UsageError, match="cannot write there"):
            own.call(raises, UsageError, "cannot write there")
        with pytest.raises(Exception, match="1 and 2") as raised:
            own.call(raises, Odd, 1, 2)  # it cannot be unpickled
        assert type(raised.value).__name__ == "Odd"
        with pytest.raises(RuntimeError, match="x{100}"):
            own.call(raises, RuntimeError, "x" * 3_000_000)
        with pytest.raises(Exception, match="pickle"):
            own.call(threading.Lock)
        assert own.call(len, "four") == 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exits", "exit code 3"),
        ("says why", "its last words: RuntimeError: what a reader needs"),
        ("segfaults with a child of its own", "died of SIGSEGV"),
        ("is killed", "died of SIGKILL, as a system does where memory runs out"),
        ("closes descriptors", "ended with exit code|closed its pipe"),
        ("stops", "said nothing for 1 s"),
    ],
)
def test_a_childs_death_is_one_sentence(how: str, reason: str) -> None:
    with Child() as own:
        with pytest.raises(Died, match=reason):
            own.call(dies, how, silence=1.0 if how == "stops" else 60.0)
        with pytest.raises(Died):
            own.call(len, "four")


@needs_linux
def test_a_child_beyond_the_free_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_mib", lambda device: 300.0)
    with Child() as own:
        assert own.call(takes, 10) == 10 * 2**20
        with pytest.raises(Died, match="ran out of memory"):
            own.call(takes, 2000)


def test_a_stopped_child_answers_once_it_continues() -> None:
    with Child() as own:
        for _ in range(2):
            own.send(signal.SIGSTOP)
            own.send(signal.SIGCONT)
            assert own.call(len, "four") == 4


OWNER = """
import signal, sys, threading
sys.path.insert(0, sys.argv[1])
import test_child
from harness.system import child, memory
child.PRELOAD[:] = ["harness.system.child"]

def work(name):
    own = child.Child()
    own.call(getattr(test_child, name), hear=lambda *pids: print(*pids, flush=True))

for name in sys.argv[2:]:
    threading.Thread(target=work, args=(name,)).start()
if not sys.argv[2:]:
    forgotten = child.Child()
    forgotten.send(signal.SIGSTOP)
    print(forgotten.pid)
"""


def owner(*works: str) -> list[str]:
    return [sys.executable, "-c", OWNER, str(Path(__file__).parent), *works]


@needs_linux
def test_a_killed_owner_leaves_no_processes() -> None:
    """Also a stopped child, and one whose interpreter is busy."""
    call = owner("starts_others", "holds_the_interpreter")
    # pytest's own folders leave no room for a socket's name
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        environment = {**os.environ, "TMPDIR": short}
        killed = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)
        assert killed.stdout is not None
        with killed.stdout as told:
            pids = (told.readline() + told.readline()).split()
        started = [psutil.Process(int(pid)) for pid in pids]
        assert len(started) == 3
        started += psutil.Process(killed.pid).children(recursive=True)  # the fork server too
        time.sleep(0.5)  # until one is stopped, and the other at its pattern
        killed.kill()
        killed.wait(30)
        _, alive = psutil.wait_procs(set(started), timeout=30)
        for each in alive:
            each.kill()
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
    code = "import psutil; from harness.system.child import Child; found = Child(short_spin=True); "
    code += "print(psutil.Process(found.pid).environ().get('GOMP_SPINCOUNT', '')); found.end()"
    environment = os.environ | {variable: "7"}
    if variable == "OMP_WAIT_POLICY":
        environment.pop("GOMP_SPINCOUNT", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ("7" if variable == "GOMP_SPINCOUNT" else "")
