"""How a command ends: whatever ends it is an exit code, and one sentence on standard error.

Imports nothing slow: an interruption is answered as soon as this module is imported.
"""

from __future__ import annotations

import contextlib
import errno
import io
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

# What asks for an end: Ctrl-C, a scheduler or `kill`, a terminal that is closed, Ctrl-\.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
WRONG = 2
# A command that a signal ends has this plus the signal's number, as in a shell:
# 130 for Ctrl-C, 143 for SIGTERM.
BY_SIGNAL = 128
BROKEN_PIPE = BY_SIGNAL + signal.SIGPIPE
# Of standard output: errors of rows and reports name their file.
_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)

_asked: list[int] = []  # the signals that came


def code_of(command: Callable[[], int]) -> int:
    """Run a command; return how it ended, as an exit code."""
    _asked.clear()
    with _signals_raise():
        _ready_streams()
        try:
            code = command()
            sys.stdout.flush()  # an error at the interpreter's own end would be a traceback
            return code
        except BaseException as error:
            notes = getattr(error, "__notes__", [])
            if _asked or isinstance(error, KeyboardInterrupt):  # amid an import it may be another
                say("interrupted: " + "; ".join(notes or ["there was nothing to keep"]))
                return BY_SIGNAL + (_asked or [signal.SIGINT])[-1]
            if not isinstance(error, OSError):
                raise
            return _refused(error, notes)


def _refused(error: OSError, notes: list[str]) -> int:
    """Report a refused file or folder, or output that nobody takes; return the exit code."""
    why, remedy = f"cannot use {error.filename} ({error.strerror or error})", "name another"
    if error.filename is None:
        if error.errno not in _LOST:
            raise error
        with contextlib.suppress(OSError):
            sys.stdout.close()  # so that the interpreter does not try again at its end
        if error.errno == errno.EPIPE:
            if notes:  # else as any program ends when its reader closes the pipe
                say("interrupted, as nobody reads the output: " + "; ".join(notes))
            return BROKEN_PIPE
        why, remedy = f"the output cannot be written ({error})", "send it where there is room"
    say(f"harness: {'; '.join([why, *notes])}: {remedy}")
    return WRONG


@contextlib.contextmanager
def interruption_note(what: str, folder: Path | None = None) -> Iterator[None]:
    """Have an interruption of the block report `what`, a sentence on what is kept.

    Where the folder is not there yet, it reports that there was nothing to keep.
    """
    try:
        yield
    except BaseException as stop:
        if folder is None or folder.exists():
            stop.add_note(what)
        raise


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Have every signal that asks for an end raise KeyboardInterrupt while the block runs.

    So code that keeps results on Ctrl-C keeps them on each of these.
    """
    # one that is ignored stays so: nohup, and the background jobs of a shell
    former = {n: there for n in ASKING if (there := signal.getsignal(n)) != signal.SIG_IGN}
    for number in former:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    raise KeyboardInterrupt


def _ready_streams() -> None:
    """Have what a terminal's encoding lacks, and names that are no text, written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print one line on standard error, if it can be written."""
    with contextlib.suppress(OSError):
        print(" ".join(text.split()), file=sys.stderr, flush=True)
