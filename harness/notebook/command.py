"""`harness.run`: the command `harness run`, called from Python.

What is given is written as the command's own flags and goes to that command, so names, defaults,
checks and sentences are the same. A test holds the signature against the command's options.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from fractions import Fraction
from io import StringIO
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Literal

from harness.cli import app, console
from harness.notebook.stored import Results, results
from harness.spec import Initialisation, Precision, Reading, UsageError

# One, several, or as the command line has them: "a,b".
Names = str | Iterable[str]
Numbers = int | str | Iterable[int]
Folder = str | PathLike[str]
Seconds = float | str  # seconds, or "10m"


class CasesFailed(UserWarning):
    """Cases of a run came to nothing; `Results.failed` says which, and why."""


def run(
    suite: str,
    *,
    quick: bool = False,
    long: bool = False,
    paper: bool = False,
    frameworks: Names | None = None,
    baselines: Names | None = None,
    networks: Names | None = None,
    datasets: Names | None = None,
    steps: Numbers | None = None,
    batch_size: int | None = None,
    precision: Precision | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seeds: Numbers | None = None,
    epochs: int | None = None,
    samples: int | None = None,
    width: Fraction | float | str | None = None,
    neunorm: Reading | None = None,
    init: Initialisation = "calibrated",
    inference: bool = False,
    tuned: bool = False,
    budget: Seconds | None = None,
    data_root: Folder | None = None,
    download: bool | None = None,
    fresh: bool = False,
    keep_weights: bool = False,
    executor: Literal["local", "ray"] = "local",
    out: Folder = Path("results/local"),
    quiet: bool = False,
) -> Results:
    """Measures a suite, keeps each row under `out` as it comes; returns all rows of that folder.

    The options are those of `harness run`, where `harness run --help` says what each is. What the
    command prints is printed here too, unless `quiet`. What was measured before is not measured
    again, and a run that was interrupted goes on.

    Raises UsageError, with the command's sentence, for what is wrong with what was asked. Warns
    CasesFailed where the command would end with exit code 1: the other cases stand.
    """
    given = dict(locals())  # all that stands above, by name
    del given["quiet"]
    if _code(arguments("run", run, given), quiet=quiet):
        warnings.warn("cases came to nothing: see .failed() for why", CasesFailed, stacklevel=2)
    return results(out)


def arguments(
    command: str, function: Callable[..., object], given: Mapping[str, object]
) -> tuple[str, ...]:
    """The command line that gives a command what is given to the function that stands for it.

    What has its default is left out. Raises UsageError for a switch that is neither on nor off.
    """
    words, parameters = [command], inspect.signature(function).parameters
    for name, value in given.items():
        default = parameters[name].default
        if value is default or (isinstance(value, type(default)) and value == default):
            continue
        flag = f"--{name.replace('_', '-')}"
        if "bool" not in str(parameters[name].annotation):
            words += [flag, _text(value)]
        elif isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            raise UsageError(f"{name} is on or off: give True or False, not {value!r}")
    return tuple(words)


def _text(value: object) -> str:
    """A value as the command line has it."""
    if isinstance(value, str | PathLike):
        return str(fspath(value))
    if isinstance(value, Iterable):
        return ",".join(map(str, value))
    return str(value)


def _code(words: tuple[str, ...], *, quiet: bool) -> int:
    """The exit code of a command."""
    with _as_a_command(words), _silence() if quiet else nullcontext():
        return app.invoke(*words)


@contextmanager
def _as_a_command(words: tuple[str, ...]) -> Iterator[None]:
    """While the block runs, the process is that command.

    The manifest of a run says what started it. A child imports the main module of its parent: here
    that is a script without a guard, which would run anew in each of them.
    """
    former = sys.argv, sys.modules["__main__"]
    sys.argv, sys.modules["__main__"] = ["harness", *words], ModuleType("__main__")
    try:
        yield
    finally:
        sys.argv, sys.modules["__main__"] = former


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing is printed while the block runs; a notebook's consoles print past the streams."""
    out, err = console.out, console.err
    former = out.quiet, err.quiet
    out.quiet = err.quiet = True
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        out.quiet, err.quiet = former
