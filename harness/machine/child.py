"""One child process, in which its owner calls functions.

It may crash, hang, eat memory or be killed at the cost of its own call alone. Values travel by
copy. All that it starts ends with it, and it ends with its owner, even where that is killed.

Built on a pipe: a call takes 0.1 ms, through `ProcessPoolExecutor` 0.6 ms and two threads more in
the process that reads the clock. On the CPU a child is a fork of a server that has imported torch:
0.03 s, where a new program takes 4 s. `multiprocessing` knows one server a process and gives it no
environment. We need two, for what is timed and for the rest, which differ in a variable that OpenMP
reads as it is loaded. So a start puts its server, variables and main module in place, one start at
a time. A server of our own (`os.fork`, `socket.send_fds`) would tell deaths and signals itself: it
is longer.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakSet

import psutil
import torch

from harness.machine import memory

Args = TypeVarTuple("Args")
T = TypeVar("T")

# Seconds without a word, after which work hangs: compiling one contender takes up to 300.
SILENCE = 900.0
START_SECONDS = 300.0  # until it can be called: several may start on a busy machine
LAST_WORDS = 300  # characters of what it wrote on stderr
# Imported once for all children; one that is missing is passed over. An optimiser's first step
# imports torch._dynamo.
PRELOAD = ["torch._dynamo", "harness.jobs.local", "harness.machine.child"]
LONGEST_FOLDER = 70  # of a socket's 107 characters, less what multiprocessing adds
# How often a thread of GNU's OpenMP looks at a barrier before it sleeps, by default 300,000: on a
# busy machine such threads take the cores from the one that they wait for. It is read when libgomp
# is loaded, which torch's wheels for Linux bring along; LLVM's OpenMP, as on macOS, ignores it.
SPIN_VARIABLE, SHORT_SPIN = "GOMP_SPINCOUNT", "30000"

_living: WeakSet[Child] = WeakSet()
_owner: Connection | None = None  # of this process, if it is a child
_one_at_a_time = threading.Lock()  # starts: the environment is one
# By whether the children's threads spin shortly.
_servers = {short_spin: forkserver.ForkServer() for short_spin in (False, True)}


class Died(Exception):
    """The child died or was ended; the message says how, with its last line on stderr."""


class Child:
    """One child process, whose torch uses as many threads as this one's.

    It leads a process group, of id `pid`, with all that it starts.
    """

    def __init__(self, device: str = "cpu", *, short_spin: bool = False) -> None:
        """Start it. Raises Died where it does not start.

        `short_spin`: see SHORT_SPIN; for all that is not timed.
        """
        memory_mib = memory.available_mib(device) if device == "cpu" else inf
        context = warm(device, short_spin=short_spin)
        self._pipe, theirs = context.Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the process
        # a file does not travel to a process, a connection does
        errors = Connection(os.dup(self._errors.fileno()), readable=False)
        args = theirs, errors, torch.get_num_threads(), memory_mib, dict(os.environ)
        self._process = context.Process(target=_main, args=args)
        _living.add(self)
        try:
            with _starting(short_spin):
                self._process.start()
            theirs.close()
            errors.close()
            self.pid = self.call(os.getpid, silence=START_SECONDS)
        except BaseException:
            self.end()
            raise

    def call(
        self,
        function: Callable[[*Args], T],
        *args: *Args,
        silence: float = inf,
        hear: Callable[..., object] = lambda *message: None,
    ) -> T:
        """Call a function in the child and return its value; all must be picklable.

        `hear` is called with each message that the function sends by `tell`. Raises what the
        function raised (an exception of another package as one of the same name and text), and Died
        where the process died, ran out of memory or sent nothing for `silence` seconds.
        """
        with suppress(OSError):  # it is dead: `_next` raises
            self._pipe.send_bytes(pickle.dumps((function, args)))
        patience = silence
        while True:
            kind, value = self._next(patience)
            if kind == "value":
                return value
            if kind == "report":
                patience = max(silence, value[0])
                hear(*value[1])
                continue
            if isinstance(value, tuple):  # no framework is imported here to know its exceptions
                value = type(value[0], (Exception,), {})(value[1])
            if memory.is_exhausted(value):  # nothing it does from now on can be trusted
                self.end()
                raise Died(f"it ran out of memory: {type(value).__name__}: {value}")
            raise value

    def _next(self, silence: float) -> tuple[str, Any]:
        """Wait for the child's next message; raise Died if it ends, or is silent for too long."""
        if self._pipe.closed:
            raise Died("its process was ended before")
        # what it forked may hold the pipe open when it is dead: its own end is waited for too
        reason = f"it said nothing for {silence:.0f} s and was ended as hung"
        if wait([self._pipe, self._process.sentinel], None if silence == inf else silence):
            try:
                if self._pipe.poll():
                    return pickle.loads(self._pipe.recv_bytes())
            except (EOFError, OSError):
                pass
            reason = self._obituary()
        self.end()
        raise Died(reason)

    def _obituary(self) -> str:
        """Return in words how the process ended, with the last line of its errors."""
        self._process.join(10)
        code = self._process.exitcode
        how = "closed its pipe" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"died of {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            how += ", as a system does where memory runs out"
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").rstrip()
        # of a traceback the exception's own line
        last = text.rpartition("\n")[2].strip()[:LAST_WORDS]
        return f"its process {how}" + (f"; its last words: {last}" if last else "")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, SIGSTOP or SIGCONT, to the process and all that it started."""
        if self._process.is_alive():
            with suppress(OSError):
                os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill the process and all that it started; do nothing if that was done before."""
        _living.discard(self)
        if self._process.pid is not None and not self._pipe.closed:
            with suppress(OSError):  # it may have no group yet, or have died itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._errors.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()


@atexit.register  # multiprocessing would wait for one that stands still
def _end_all() -> None:
    for child in list(_living):
        child.end()


def warm(device: str = "cpu", *, short_spin: bool = False) -> SpawnContext | ForkServerContext:
    """Return the context that starts children; for the CPU, its server imports their modules.

    What has used CUDA cannot be forked.
    """
    too_long = len(tempfile.gettempdir()) > LONGEST_FOLDER  # for the server's socket
    if device != "cpu" or too_long:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    _servers[short_spin].set_forkserver_preload(PRELOAD)
    with _starting(short_spin):
        _servers[short_spin].ensure_running()
    return context


@contextmanager
def _starting(short_spin: bool) -> Iterator[None]:
    """Set what a program that is started in the block begins with, and its children keep."""
    with _one_at_a_time:
        former, script = dict(os.environ), sys.modules["__main__"]
        usual = forkserver.connect_to_new_process  # multiprocessing knows a single server
        forkserver.connect_to_new_process = _servers[short_spin].connect_to_new_process
        # children import the main module of their parent: a script would run anew in each of them
        sys.modules["__main__"] = ModuleType("__main__")
        # compilers of contenders that were ended leave semaphores: freeing them is no news
        quiet = "ignore:resource_tracker:UserWarning"
        os.environ["PYTHONWARNINGS"] = f"{former.get('PYTHONWARNINGS', '')},{quiet}".lstrip(",")
        os.environ |= memory.huge_page_variable()
        if short_spin and not {SPIN_VARIABLE, "OMP_WAIT_POLICY"} & os.environ.keys():
            os.environ[SPIN_VARIABLE] = SHORT_SPIN
        resource_tracker.ensure_running()  # it unblocks signals
        # signals of a terminal are for the owner, which ends the others
        terminal = signal.SIGINT, signal.SIGQUIT, signal.SIGHUP
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, terminal)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            sys.modules["__main__"], forkserver.connect_to_new_process = script, usual
            for name in os.environ.keys() - former.keys():
                del os.environ[name]
            os.environ |= former


# What follows runs in the child.


def tell(*message: object, patience: float = 0.0) -> None:
    """Send the owner a message, which is a sign of life too; do not wait for an answer.

    `patience`: seconds that the owner waits for the next one, if more than its `silence`.
    """
    assert _owner is not None, "this process is no child"
    _owner.send_bytes(pickle.dumps(("report", (patience, message))))


def _main(
    pipe: Connection, errors: Connection, threads: int, memory_mib: float, env: dict[str, str]
) -> None:
    """Prepare this new child process, then answer its owner's calls until the pipe is closed."""
    global _owner
    os.setpgid(0, 0)
    if sys.platform.startswith("linux"):  # elsewhere it ends when its work does: the pipe is closed
        _end_with_owner()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(errors.fileno(), 2)
    os.environ.clear()
    os.environ |= env
    torch.set_num_threads(threads)
    memory.keep_freed()
    if memory_mib != inf and sys.platform.startswith("linux"):
        _limit_memory(memory_mib)
    _owner = pipe
    with suppress(EOFError):  # the owner is gone
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(call: bytes) -> bytes:
    """Run a pickled call; return its value, or what it raised, pickled."""
    try:
        function, args = pickle.loads(call)
        return pickle.dumps(("value", function(*args)), protocol=5)
    except Exception as error:  # noqa: BLE001 whatever it is, the owner decides on it
        error.add_note("in its own process:\n" + traceback.format_exc())
        if type(error).__module__.partition(".")[0] in ("builtins", "harness", "adapters"):
            with suppress(Exception):  # not every exception is picklable
                message = pickle.dumps(("raised", error))
                pickle.loads(message)
                return message
        return pickle.dumps(("raised", (type(error).__name__, str(error))))


def _end_with_owner() -> None:  # by Linux, as soon as the pipe to the owner is closed
    """Have Linux kill this process's group as soon as the pipe to its owner is closed."""
    # a thread of ours would wait where the interpreter hangs or is stopped
    owner = multiprocessing.parent_process()
    assert owner is not None
    fd = owner.sentinel
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def _limit_memory(mib: float) -> None:
    """Have an allocation fail that the machine could not serve, before the system kills anyone."""
    # what it shares with the server of forks counts too, and none of that is taken from the machine
    limit = int(mib * 2**20) + psutil.Process().memory_info().data
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):  # and where the system must choose, it is us
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
