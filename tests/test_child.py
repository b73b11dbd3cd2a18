"""The child process that others are called in, whatever it does to itself, its owner and others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from harness.spec import UsageError
from harness.system import child
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


def usage() -> None:
    raise UsageError("cannot write there")


def says_much() -> None:
    raise RuntimeError("x" * 3_000_000)


def odd() -> None:
    raise Odd(1, 2)


def takes(mib: int) -> int:
    return len(bytes(mib * 2**20))


def dies(how: str) -> None:
    print("printed, which is no answer " * 1000)
    match how:
        case "exits":
            sys.exit(3)
        case "says why":
            print(
                "RuntimeError: the reason that a reader needs \udcff", file=sys.stderr, flush=True
            )
            os._exit(1)
        case "segfaults beside a process of its own":
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


def test_a_call_gives_the_value_and_what_is_told_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    said: list[object] = []
    with Child(threads=1, env={"OF_THE_CHILD": "1"}) as own:
        x = torch.ones(3)
        got = own.call(doubled, x, hear=lambda *told: said.append(told))
        assert torch.equal(got, 2 * x) and said == [(0.5, "half")]
        assert own.call(surroundings) == (1, str(tmp_path), "1", None, True)
        assert own.call(beats, 5, silence=0.9) == 5  # a word now and then is a sign of life
        # what a terminal sends reaches its owner alone
        assert {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP} <= own.call(blocked)
        assert signal.SIGINT not in blocked()


def test_what_a_function_raises_is_raised_here_and_the_child_goes_on() -> None:
    with Child() as own:
        with pytest.raises(UsageError, match="cannot write there"):
            own.call(usage)
        with pytest.raises(Exception, match="1 and 2") as raised:
            own.call(odd)  # it cannot be unpickled
        assert type(raised.value).__name__ == "Odd"
        with pytest.raises(RuntimeError, match="x{100}"):
            own.call(says_much)
        with pytest.raises(Exception, match="pickle"):
            own.call(threading.Lock)
        assert own.call(len, "four") == 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exits", "exit code 3"),
        ("says why", "its last words: RuntimeError: the reason that a reader needs"),
        ("segfaults beside a process of its own", "died of SIGSEGV"),
        ("is killed", "died of SIGKILL, as a system does where memory runs out"),
        ("closes descriptors", "ended with exit code|closed its pipe"),
        ("stops", "said nothing for 1 s"),
    ],
)
def test_a_death_is_told_in_a_sentence(how: str, reason: str) -> None:
    with Child() as own:
        with pytest.raises(Died, match=reason):
            own.call(dies, how, silence=1.0 if how == "stops" else 60.0)
        with pytest.raises(Died):
            own.call(len, "four")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_memory_beyond_its_limit_ends_it_before_the_machine_suffers() -> None:
    with Child(memory_mib=300) as own:
        assert own.call(takes, 10) == 10 * 2**20
        with pytest.raises(Died, match="ran out of memory"):
            own.call(takes, 2000)


def test_it_stands_still_until_it_is_its_turn() -> None:
    with Child() as own:
        process = psutil.Process(own.pid)
        own.stop()
        for _ in range(100):
            if process.status() == psutil.STATUS_STOPPED:
                break
            time.sleep(0.05)
        with pytest.raises(Died, match="said nothing"):
            Child.call(own, len, "four", silence=0.5)
    with Child() as own:
        own.stop()
        own.cont()
        assert own.call(len, "four", silence=60.0) == 4


OWNER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_child
from harness.system import child
child.PRELOAD[:] = ["harness.system.child"]
own = child.Child()
own.call(getattr(test_child, sys.argv[2]), hear=lambda *pids: print(*pids, flush=True))
"""
FORGETS = """
from harness.system import child
child.PRELOAD[:] = ["harness.system.child"]
own = child.Child()
own.stop()
print(own.pid)
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """An empty folder whose name leaves room for a socket's: pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("work", ["starts_others", "holds_the_interpreter"])
def test_it_and_what_it_started_end_with_an_owner_that_is_killed(work: str, short: Path) -> None:
    """Also where it cannot notice: it is stopped, or lets no other thread run."""
    call = [sys.executable, "-c", OWNER, str(Path(__file__).parent), work]
    environment = {**os.environ, "TMPDIR": str(short)}
    owner = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    with owner.stdout:
        started = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    assert len(started) == (2 if work == "starts_others" else 1)
    started += psutil.Process(owner.pid).children(recursive=True)  # the fork server too
    time.sleep(0.5)  # until it is stopped, or at its pattern
    owner.kill()
    owner.wait(30)
    _, alive = psutil.wait_procs(set(started), timeout=30)
    for each in alive:
        each.kill()
    assert not alive


def test_an_owner_that_ends_without_ending_it_does_not_wait_for_it() -> None:
    call = [sys.executable, "-c", FORGETS]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == "" and not psutil.pid_exists(int(done.stdout))


def test_a_temporary_folder_too_long_for_a_socket_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 150)
    assert child.context_of("cpu").get_start_method() == "spawn"
