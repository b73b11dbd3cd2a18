"""The process that measures, whatever it does to itself, to its pipe and to others."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rows import CASE

from harness.jobs.worker import Died, Pipe, Worker
from harness.records.ledger import Owner
from harness.spec import UsageError
from harness.system import processes

Orders = Iterator[list[Any]]
Said = Iterator[list[Any]]


def _our_pipe() -> Pipe:
    (pipe,) = (each for each in gc.get_objects() if isinstance(each, Pipe))
    return pipe


def answers(owner: Owner, orders: Orders) -> Said:
    for (number,) in orders:
        owner.attempt(CASE)
        owner.say(0.5, "half")
        yield ["ended", f"key {number}", False]


def segfaults_beside_a_child(owner: Owner, orders: Orders) -> Said:
    if os.fork() == 0:  # it holds the pipe open
        time.sleep(3600)
    os.kill(os.getpid(), signal.SIGSEGV)
    yield []


def raises(owner: Owner, orders: Orders) -> Said:
    owner.attempt(CASE)
    raise RuntimeError("the reason that a reader needs \udcff")
    yield []


def says_nothing(owner: Owner, orders: Orders) -> Said:
    time.sleep(3600)
    yield []


def stops(owner: Owner, orders: Orders) -> Said:
    started = subprocess.Popen(["sleep", "3600"])
    owner.say(0.0, str(started.pid))
    os.kill(os.getpid(), signal.SIGSTOP)
    yield []


def holds_the_interpreter(owner: Owner, orders: Orders) -> Said:
    owner.say(0.0, "now")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pattern = "(a+)+$"
    __import__("re").match(pattern, "a" * 64 + "b")  # for years, and nobody else may run
    yield []


def babbles(owner: Owner, orders: Orders) -> Said:
    _our_pipe().ends.connection.send_bytes(b"\x00\xff no JSON")
    yield from answers(owner, orders)


def forges(owner: Owner, orders: Orders) -> Said:
    _our_pipe().send("keep", {"kind": "trained", "test_accuracy": 1.0})
    yield from answers(owner, orders)


def cuts_short(owner: Owner, orders: Orders) -> Said:
    _our_pipe().send("ended")
    yield from answers(owner, orders)


def points_nowhere(owner: Owner, orders: Orders) -> Said:
    _our_pipe().send("at", 99, 0, 0.0)
    yield from answers(owner, orders)


def digs(owner: Owner, orders: Orders) -> Said:
    _our_pipe().ends.connection.send_bytes(b"[" * 500_000)
    yield from answers(owner, orders)


def halves(owner: Owner, orders: Orders) -> Said:
    owner.say(7.0, "half a character: \udcff")
    yield ["ended", None, False]


def wants(owner: Owner, orders: Orders) -> Said:
    raise UsageError("cannot write there")
    yield []


def first(work: Callable[[Owner, Orders], Said], silence: float = 60.0) -> tuple[Any, list[Any]]:
    """What the process says first, and how far it said to be before."""
    said: list[tuple[float, str]] = []
    worker = Worker.start(work, (CASE,), "cpu")
    try:
        worker.order(0)
        for message in worker.messages(lambda *progress: said.append(progress), silence):
            return message, [*said, worker.at]
        raise AssertionError
    finally:
        worker.end()


def test_it_says_how_far_it_is_and_what_it_is_at() -> None:
    message, (said, at) = first(answers)
    assert message == ["ended", "key 0", False]
    assert said == (0.5, "half") and (at.case, at.cell) == (0, 0)


def test_a_crash_is_seen_at_once_though_a_child_holds_the_pipe() -> None:
    with pytest.raises(Died, match="died of SIGSEGV"):
        first(segfaults_beside_a_child, silence=3000.0)


def test_its_last_words_are_the_exceptions_own_line() -> None:
    with pytest.raises(Died, match="its last words: RuntimeError: the reason that a reader needs"):
        first(raises)


def test_a_silent_one_is_ended() -> None:
    with pytest.raises(Died, match="said nothing for 1 s and was ended as hung"):
        first(says_nothing, silence=1.0)


@pytest.mark.parametrize("work", [babbles, forges, cuts_short, digs, points_nowhere])
def test_what_is_no_message_of_ours_ends_it_and_is_not_believed(work: Any) -> None:
    with pytest.raises(Died, match="it broke the pipe to its owner"):
        first(work)


def test_what_it_says_is_text_that_can_be_shown_and_a_fraction_is_one() -> None:
    message, (said, at) = first(halves)
    assert message == ["ended", None, False]
    assert said == (1.0, "half a character: ?")


def test_what_the_user_asked_in_vain_is_the_users_error() -> None:
    with pytest.raises(UsageError, match="cannot write there"):
        first(wants)


OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_worker
from harness.jobs.worker import Worker
from rows import CASE
worker = Worker.start(getattr(test_worker, sys.argv[2]), (CASE,), "cpu")
def say(fraction, doing):
    print(worker.child.process.pid, doing, flush=True)
for message in worker.messages(say, 3600.0):
    pass
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """An empty folder whose name leaves room for a socket's: pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("work", ["stops", "holds_the_interpreter"])
def test_it_and_what_it_started_end_with_an_owner_that_is_killed(work: str, short: Path) -> None:
    """Also where it cannot notice: it is stopped, or lets no other thread run."""
    call = [sys.executable, "-c", OWNER, str(Path(__file__).parent), work]
    environment = {**os.environ, "TMPDIR": str(short)}
    owner = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(word) for word in owner.stdout.readline().split() if word.isdigit()]
    started = [psutil.Process(pid) for pid in pids]
    assert len(started) == (2 if work == "stops" else 1)
    started += psutil.Process(owner.pid).children(recursive=True)  # the fork server too
    time.sleep(0.5)  # until it is stopped, or at its pattern
    owner.kill()
    owner.wait(30)
    _, alive = psutil.wait_procs(set(started), timeout=30)
    for each in alive:
        each.kill()
    assert not alive
    assert not list(short.glob("harness-*"))  # no log stays behind


LEAVES_A_SEMAPHORE = """
import os, signal
from harness.system import processes
processes.PRELOAD.clear()
left = processes.context("cpu").Semaphore()
print(os.environ.get("PYTHONWARNINGS"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such tracker there")
@pytest.mark.parametrize("warnings", [None, "default"])
def test_what_an_ended_process_has_left_is_freed_without_a_word(warnings: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    if warnings:
        environment["PYTHONWARNINGS"] = warnings
    call = [sys.executable, "-c", LEAVES_A_SEMAPHORE]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{warnings}\n", "")


def test_a_temporary_folder_too_long_for_a_socket_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 150)
    with pytest.raises(UsageError, match="set TMPDIR to one of 70 characters or fewer"):
        processes.context("cpu")
