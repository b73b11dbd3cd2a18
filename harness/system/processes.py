"""Processes beside ours: how they start, and that none outlives who started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext

from harness.spec import UsageError

LONGEST_FOLDER = 70  # of 107 characters, less what multiprocessing adds to a socket's place
# Modules that every child will need: imported once. One that is missing is passed over; an
# optimiser's first step imports torch._dynamo.
PRELOAD = ["harness.jobs.local", "torch._dynamo"]

# signals of Ctrl-C, Ctrl-\ and a terminal that is closed
OF_TERMINAL = {
    getattr(signal, name) for name in ("SIGINT", "SIGQUIT", "SIGHUP") if hasattr(signal, name)
}


def context(device: str) -> SpawnContext | ForkServerContext:
    """How children start: in milliseconds from a server of forks, or anew where there is a GPU."""
    if device != "cpu" or sys.platform == "win32":  # a process with CUDA cannot be forked
        return multiprocessing.get_context("spawn")
    if len(tempfile.gettempdir()) > LONGEST_FOLDER:
        raise UsageError(
            f"the temporary folder {tempfile.gettempdir()} has too long a name for a socket: "
            f"set TMPDIR to one of {LONGEST_FOLDER} characters or fewer"
        )
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOAD)
    _start_tracker()  # the server needs it, and its start unblocks signals
    # what a terminal sends to all that run in it is for the owner, who ends the others
    former = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINAL)
    try:
        forkserver.ensure_running()  # it and its children keep the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    return chosen


def _start_tracker() -> None:
    """Starts who frees what ended processes have left, without its word to the user on that.

    Contenders are ended where they stand, and compilers of theirs leave semaphores: it is no fault.
    """
    former = os.environ.get("PYTHONWARNINGS", "")
    os.environ["PYTHONWARNINGS"] = f"{former},{_LEFT}".lstrip(",")
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ["PYTHONWARNINGS"] = former
        if not former:
            del os.environ["PYTHONWARNINGS"]


_LEFT = "ignore:resource_tracker:UserWarning"


def warm() -> None:
    """Has the server of forks import what it needs while we import the same: there are cores."""
    if sys.platform != "win32":
        context("cpu")


def preload_adapters(frameworks: Iterable[str]) -> None:
    """Has children of a server yet to start import these frameworks once.

    They are to be `adapters.facts.preloadable`: what the server imports, all its children have.
    """
    PRELOAD[:] = dict.fromkeys([*PRELOAD, *(f"adapters.{name}" for name in sorted(frameworks))])


def end_with(lifeline: Connection) -> None:
    """Ends this process group as soon as the other end of `lifeline` is closed, even by SIGKILL."""
    if sys.platform.startswith("linux"):
        import fcntl

        # by the kernel: a thread of ours would wait where the interpreter hangs or is stopped
        fd = lifeline.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait, args=(lifeline,), daemon=True).start()


_F_SETSIG = 10  # of <fcntl.h>; Python has no name for it


def _wait(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
