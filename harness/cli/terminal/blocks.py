"""A table as lines of texts, with what is said above and below it: for a terminal, or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.analysis.tables import markdown

WIDTH = 80  # of a terminal that nobody made wider
EDGE = 2  # beside the columns of a grid


@dataclass(frozen=True)
class Head:
    """A column's head; numbers stand at its right."""

    text: str
    right: bool = False


@dataclass(frozen=True)
class Block:
    """Lines that share a title and what is said above them."""

    title: str
    said: tuple[str, ...]  # above, a paragraph each
    columns: tuple[Head, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()  # below
    over: str = ""  # a heading, such as a machine; once for neighbours that share it


@dataclass(frozen=True)
class Blocks:
    """A table; `print` of a console shows it."""

    blocks: tuple[Block, ...]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        over = ""
        for block in self.blocks:
            if block.over != over:
                over = block.over
                yield Text(over, "bold")
                yield ""
            yield from _shown(block, options.max_width)


def _shown(block: Block, room: int) -> Iterator[RenderableType]:
    """A block in a terminal of `room` columns: cells stay whole where they fit, none is cut."""
    yield Text.assemble((block.title, "bold"), *([f"\n{each}" for each in block.said]))
    lines = _within(block, room)
    loose = width(block.columns, lines, gap=2) <= room
    fits = width(block.columns, lines) <= room  # else cells are folded
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if loose else 0, 0, 0))
    for n, column in enumerate(block.columns):
        cells = [line[n] for line in lines]
        grid.add_column(
            escape(column.text),
            justify="right" if column.right else "left",
            width=_width(column, cells) if fits else None,
            overflow="fold",
        )
    for line in lines:
        grid.add_row(*map(escape, line))
    yield grid
    yield from (Text(note, "dim") for note in block.notes)
    if block.notes:
        yield ""


def _within(block: Block, room: int) -> tuple[tuple[str, ...], ...]:
    """The lines, with names broken behind their colon where they are too long for the room."""
    rest = [("", *line[1:]) for line in block.lines]
    left = room - width((Head(""), *block.columns[1:]), rest)
    return tuple(
        (first.replace(":", ":\n  ", 1) if len(first) > left else first, *others)
        for first, *others in block.lines
    )


def _width(column: Head, cells: Sequence[str]) -> int:
    """What a column needs: heads break between words alone, cells at the ends of their lines."""
    words = column.text.split() or [""]
    lines = [line for cell in cells for line in cell.split("\n")]
    return max(map(len, (*words, *lines)))


def width(columns: Sequence[Head], lines: Sequence[Sequence[str]], gap: int = 1) -> int:
    """How wide a grid is where each line of it is one line."""
    each = [_width(column, [line[n] for line in lines]) for n, column in enumerate(columns)]
    return sum(each) + gap * (len(each) - 1) + EDGE


def as_markdown(table: Blocks) -> str:
    """The same in Markdown; every name in it stays text."""
    parts: list[str] = []
    over = ""
    for block in table.blocks:
        if block.over != over:
            over = block.over
            parts.append(f"## {markdown(over)}")
        parts += [f"**{markdown(block.title)}**"] if block.title else []
        parts += [markdown(each) for each in block.said if each]
        parts.append(_grid(block))
        parts += ["\n".join(f"- {markdown(note)}" for note in block.notes)] if block.notes else []
    return "\n\n".join(parts) + "\n"


def _grid(block: Block) -> str:
    heads = [markdown(column.text) for column in block.columns]
    rule = ["---:" if column.right else "---" for column in block.columns]
    lines = [heads, rule, *([markdown(cell.strip()) for cell in line] for line in block.lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
