"""What the terminal shows: progress while measuring, tables and certificates as text (Rich)."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from harness.cli.terminal.certificates import examined
from harness.cli.terminal.grids import paper, plain, rows
from harness.cli.terminal.outcomes import checks, comparison, standing, trained
from harness.cli.terminal.speed import acceleration

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
    "trained",
]


def progress(console: Console) -> Progress:
    """A bar with what is being done and the time left; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
