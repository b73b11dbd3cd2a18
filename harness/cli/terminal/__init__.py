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

from harness.cli.terminal.certificates import examined
from harness.cli.terminal.claims import verdicts
from harness.cli.terminal.grids import paper, plain, rows, systems
from harness.cli.terminal.outcomes import checks, comparison, standing, trained
from harness.cli.terminal.speed import acceleration

if TYPE_CHECKING:  # shown without torch
    from harness.spec import Say

__all__ = [
    "acceleration",
    "checks",
    "comparison",
    "examined",
    "paper",
    "plain",
    "progress",
    "rows",
    "standing",
    "systems",
    "trained",
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
