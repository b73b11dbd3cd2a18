"""How a command ends: whatever ends it is an exit code, and one sentence on standard error.

Imports nothing that takes time: from here on an interruption is answered.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

# What asks for an end: Ctrl-C, a scheduler or `kill`, a terminal that is closed, Ctrl-\.
# Windows has two of them.
ASKING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
WRONG = 2
# A command that a signal ends has this and the signal's number, as a shell says of any program:
# 130 for Ctrl-C, 143 for SIGTERM.
BY_SIGNAL = 128
BROKEN_PIPE = BY_SIGNAL + 13  # SIGPIPE, which Windows does not have

_keeping: list[str] = []  # what the blocks of `kept` that are under way say


class Stopped(KeyboardInterrupt):
    """A signal asked for an end: whatever keeps what was measured on Ctrl-C does so on each."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class OutputLost(Exception):
    """Standard output takes no more: nobody reads on, or the disk is full; its cause says which."""


class _Output:
    """Standard output; its loss is an error of another kind than any of files."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with _lost():
            return self.stream.write(text)

    def flush(self) -> None:
        with _lost():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputLost from error


def code_of(command: Callable[[], int]) -> int:
    """The exit code of a command, once it has ended in whatever way and that is said."""
    with _signals_raise(), _streams() as output:
        try:
            code = command()
            output.flush()  # an error at the interpreter's own end would be a traceback
        except KeyboardInterrupt as stop:
            return _interrupted(stop, stop.number if isinstance(stop, Stopped) else signal.SIGINT)
        except OutputLost as lost:
            return _without_output(lost, output)
        except OSError as error:
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
    except (KeyboardInterrupt, OSError, OutputLost) as stop:
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
    if not _keeping and _is_in_an_import(frame):
        os._exit(_interrupted(Stopped(number), number))
    raise Stopped(number)


def _is_in_an_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _interrupted(stop: KeyboardInterrupt, number: int) -> int:
    say("interrupted: " + "; ".join(_notes(stop) or ["there was nothing to keep"]))
    return BY_SIGNAL + number


def _without_output(lost: OutputLost, output: _Output) -> int:
    with contextlib.suppress(OSError):
        output.stream.close()  # so that the interpreter does not try again at its end
    if isinstance(lost.__cause__, BrokenPipeError):
        if _notes(lost):  # else as with any program whose reader has seen enough
            say("interrupted, as nobody reads the output: " + "; ".join(_notes(lost)))
        return BROKEN_PIPE
    why = "; ".join([f"the output cannot be written ({lost.__cause__})", *_notes(lost)])
    say(f"harness: {why}: send it where there is room")
    return WRONG


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@contextlib.contextmanager
def _streams() -> Iterator[_Output]:
    """Output and errors, there and able to write any text, while the block runs."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # it was closed before we started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            # what a terminal's encoding lacks, and names that are no text, are written as escapes
            stream.reconfigure(errors="backslashreplace")
    former, output = sys.stdout, _Output(sys.stdout)
    sys.stdout = cast(TextIO, output)
    try:
        yield output
    finally:
        sys.stdout = former


def say(text: str) -> None:
    """One line on standard error, if it can be written."""
    with contextlib.suppress(OSError):
        print(" ".join(text.splitlines()), file=sys.stderr, flush=True)
