"""How a command ends: whatever ends it is an exit code, and one sentence on standard error.

Imports nothing that takes time: from here on an interruption is answered.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

# What asks for an end: Ctrl-C, a scheduler or `kill`, a terminal that is closed, Ctrl-\.
# Windows has two of them.
ASKING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
WRONG = 2
# A command that a signal ends has this and the signal's number, as a shell says of any program:
# 130 for Ctrl-C, 143 for SIGTERM.
BY_SIGNAL = 128
BROKEN_PIPE = BY_SIGNAL + 13  # SIGPIPE, which Windows does not have
# Of standard output: whoever writes rows or a report says which file it was.
_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)

_keeping: list[str] = []  # what the blocks of `kept` that are under way say


class Stopped(KeyboardInterrupt):
    """A signal asked for an end: whatever keeps what was measured on Ctrl-C does so on each."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def code_of(command: Callable[[], int]) -> int:
    """The exit code of a command, once it has ended in whatever way and that is said."""
    with _signals_raise():
        _ready_streams()
        try:
            code = command()
            sys.stdout.flush()  # an error at the interpreter's own end would be a traceback
        except KeyboardInterrupt as stop:
            return _interrupted(stop, stop.number if isinstance(stop, Stopped) else signal.SIGINT)
        except OSError as error:
            if error.filename is None and error.errno in _LOST:
                return _without_output(error)
            if error.filename is None:
                raise
            # a file or folder that the system refuses
            why = f"cannot use {error.filename} ({error.strerror or error})"
            say("harness: " + "; ".join([why, *_notes(error)]) + ": name another")
            return WRONG
    return code


@contextlib.contextmanager
def kept(what: str, folder: Path | None = None) -> Iterator[None]:
    """While the block runs, an interruption says `what` of what it leaves; where the folder that
    it is of is not there yet, that there was nothing to keep.
    """
    _keeping.append(what)
    try:
        yield
    except (KeyboardInterrupt, OSError) as stop:
        if folder is None or folder.exists():
            stop.add_note(what)
        raise
    finally:
        _keeping.remove(what)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Has every signal that asks for an end raise Stopped while the block runs."""
    numbers = [getattr(signal, name) for name in ASKING if hasattr(signal, name)]
    # one that is ignored stays so: nohup, and the background jobs of a shell
    former = {n: there for n in numbers if (there := signal.getsignal(n)) != signal.SIG_IGN}
    for number in former:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    # An error amid an import may come out as another, or not at all; nothing is left to clear up.
    while frame is not None and not _keeping:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os._exit(_interrupted(Stopped(number), number))
        frame = frame.f_back
    raise Stopped(number)


def _interrupted(stop: KeyboardInterrupt, number: int) -> int:
    say("interrupted: " + "; ".join(_notes(stop) or ["there was nothing to keep"]))
    return BY_SIGNAL + number


def _without_output(lost: OSError) -> int:
    with contextlib.suppress(OSError):
        sys.stdout.close()  # so that the interpreter does not try again at its end
    if lost.errno == errno.EPIPE:
        if _notes(lost):  # else as with any program whose reader has seen enough
            say("interrupted, as nobody reads the output: " + "; ".join(_notes(lost)))
        return BROKEN_PIPE
    why = "; ".join([f"the output cannot be written ({lost})", *_notes(lost)])
    say(f"harness: {why}: send it where there is room")
    return WRONG


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _ready_streams() -> None:
    """Output and errors are there, and able to write any text."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # it was closed before we started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            # what a terminal's encoding lacks, and names that are no text, are written as escapes
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One line on standard error, if it can be written."""
    with contextlib.suppress(OSError):
        print(" ".join(text.splitlines()), file=sys.stderr, flush=True)
