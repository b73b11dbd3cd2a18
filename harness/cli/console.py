"""What commands share: where they print, the options of a run that they have, rows of a folder."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from harness.spec import Say, UsageError
from harness.spec.options import GIVEN, RESULTS, switch

if TYPE_CHECKING:  # pydantic's import takes a moment
    from harness.records import Row

F = TypeVar("F", bound=Callable[..., None])


class Pipe(Console):
    """A console whose reader may go: `endings` says what that comes to."""

    def on_broken_pipe(self) -> None:
        raise


# Text as it is: `:x:` is no emoji here. What is wrong is text throughout, each thing in one line.
out = Pipe(emoji=False)
err = Pipe(stderr=True, emoji=False, markup=False, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line as it is, however long."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def takes(*names: str) -> Callable[[F], F]:
    """Gives a command options of `Options` by these names, in place of its `**given`."""

    def decorated(command: F) -> F:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
        every = own + [_parameter(each) for each in GIVEN if each.name in names]
        command.__signature__ = inspect.Signature(every)
        command.__annotations__ = {each.name: each.annotation for each in every}
        return command

    return decorated


def _parameter(given: Any) -> inspect.Parameter:
    about, flag = given.metadata, f"--{given.name.replace('_', '-')}"
    is_switch = about["parser"] is switch
    flag = f"{flag}/--no-{flag[2:]}" if is_switch and given.default is None else flag
    option = typer.Option(
        flag, help=about["help"], metavar=about["metavar"], show_default=False,
        rich_help_panel=about["panel"],
    )  # fmt: skip
    kind = Annotated[bool | None if is_switch else str | None, option]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(given.name, keyword, default=None, annotation=kind)


def option(flag: str, help_: str = "", metavar: str | None = None, **more: Any) -> Any:
    """An option that one command alone has."""
    return typer.Option(flag, help=help_, metavar=metavar, **more)


@contextmanager
def progress() -> Iterator[Say]:
    """A bar with what is being done and the time left, where there is a terminal.

    While the block runs, what this yields moves the bar.
    """
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=20),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(compact=True),
        bars.TextColumn("left"),
    )
    with bars.Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda fraction, doing: bar.update(task, completed=fraction, description=doing)


def rows_of(folder: Path, *suites: str) -> list[Row]:
    """All rows of a result folder; what is no row is named and skipped.

    Raises UsageError where there are none, or none of the suites that are named; the first is what
    to run.
    """
    rows = read(folder)
    if not any(row.suite in suites or not suites for row in rows):
        first = suites[0] if suites else "acceleration"
        raise UsageError(
            f"no rows of {first} under {folder / 'records'}: first run "
            f"`harness run --suite {first} --out {folder}`"
        )
    counts = Counter(row.place for row in rows if row.cpu)
    if len(counts) > 1:  # their times do not compare
        places = "; ".join(str(place) for place, _ in counts.most_common())
        err.print(f"rows of {len(counts)} machines, each shown by itself: {places}")
    return rows


def read(folder: Path) -> list[Row]:
    """Rows of a folder; what is none is named on stderr.

    Raises UsageError for a folder that was named and is none.
    """
    from harness.records import Store

    if folder != RESULTS and not folder.is_dir():
        lack = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {lack}: name a folder that `harness run --out` has filled")
    rows, damaged = Store(folder).read()
    for damage in damaged:
        err.print(damage)
    if damaged:
        count = "1 damaged line was" if len(damaged) == 1 else f"{len(damaged)} damaged lines were"
        err.print(f"{count} skipped")
    return rows
