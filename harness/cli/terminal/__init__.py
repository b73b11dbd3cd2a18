"""What the terminal shows: progress while measuring, tables and certificates as text (Rich)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from harness.cli.terminal.blocks import Blocks, as_markdown
from harness.cli.terminal.certificates import examined
from harness.cli.terminal.claims import verdicts
from harness.cli.terminal.comparison import comparison
from harness.cli.terminal.grids import energy, paper, plain, rows, systems, unbroken
from harness.cli.terminal.numbers import duration
from harness.cli.terminal.outcomes import checks, standing, trained
from harness.cli.terminal.speed import acceleration, first_figures

if TYPE_CHECKING:  # shown without torch
    from harness.spec import Say

__all__ = [
    "Blocks",
    "acceleration",
    "as_markdown",
    "checks",
    "comparison",
    "duration",
    "energy",
    "examined",
    "first_figures",
    "paper",
    "plain",
    "progress",
    "rows",
    "standing",
    "systems",
    "trained",
    "unbroken",
    "verdicts",
]


@contextmanager
def progress(console: Console) -> Iterator[Say]:
    """A bar with what is being done and the time left, where there is a terminal.

    While the block runs, what this yields moves the bar.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("starting", total=1.0)
    with bar:
        yield lambda fraction, doing: bar.update(task, completed=fraction, description=doing)
