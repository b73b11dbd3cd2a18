"""What commands share: where they print, the options of a run that they have, rows of a folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import Field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from harness.cli import endings
from harness.spec import ProgressCallback
from harness.spec.options import GIVEN, flag, parse_switch

if TYPE_CHECKING:  # pydantic's import takes a moment
    from harness.records import Row

DAYS = 1e6  # seconds
F = TypeVar("F", bound=Callable[..., None])


class Pipe(Console):
    """A console that lets BrokenPipeError through, where rich would exit: `endings` handles it."""

    def on_broken_pipe(self) -> None:
        raise


out = Pipe(emoji=False)  # text as it is: `:x:` is no emoji here


def say(text: str) -> None:
    """Print a line on standard output as it is, however long."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return "did you mean NAME?" of the name most like a word; "" where none is."""
    near = get_close_matches(word, [*names], n=1)
    return f"did you mean {near[0]}?" if near else ""


def takes(*names: str) -> Callable[[F], F]:
    """Give a command options of `Options` by these names, in place of its `**values`."""

    def decorated(command: F) -> F:
        """Give `command` a signature in which those options stand, as typer reads it."""
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        every = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        every += [_parameter(option) for option in GIVEN if option.name in names]
        command.__signature__ = inspect.Signature(every)
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return command

    return decorated


def _parameter(field: Field[Any]) -> inspect.Parameter:
    """Return an option as a parameter with typer's annotation."""
    about, name = dict(field.metadata), flag(field.name)
    is_switch, panel = about.pop("parser") is parse_switch, about.pop("panel")
    name = f"{name}/--no-{name[2:]}" if is_switch and field.default is None else name
    about |= {"metavar": ""} if is_switch else {}  # else help shows it as <bool>
    option = typer.Option(name, show_default=False, rich_help_panel=panel, **about)
    kind = Annotated[bool | None if is_switch else str | None, option]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, keyword, default=None, annotation=kind)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """Show a bar with the present task and the time left, where there is a terminal.

    While the block runs, what this yields moves the bar.
    """
    from rich.progress import Progress

    # the time left goes by all that is done: over half a minute, as rich has it, a bar may stand
    # still or leap
    style: Any = {"transient": True, "disable": not out.is_terminal, "speed_estimate_period": DAYS}
    with Progress(console=out, **style) as bar:
        task = bar.add_task("starting", total=1.0)

        def moves(fraction: float, doing: str) -> None:
            furthest = max(fraction, bar.tasks[task].completed)  # it does not go back
            bar.update(task, completed=furthest, description=doing)

        yield moves


def read_rows(folder: Path, *suites: str) -> list[Row]:
    """Return all rows of a result folder; say which lines are damaged, and why rows do not count.

    `suites` selects nothing: one of them must have a row, else UsageError is raised.
    """
    from harness.records.current import current
    from harness.reports import stored

    rows, damaged = stored.read(folder, *suites)
    for text in (*(f"skipped: {sentence}" for sentence in damaged), *current(rows).notes):
        endings.say(text)
    return rows
