"""One renderer of tables: a DataFrame for a terminal (rich), as Markdown, HTML or csv.

Whatever stands in a row stays text: no tag, link or mark comes out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

import pandas as pd
from rich import box
from rich import table as rich_table
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?%)?( \[.*\])?( [*†])?")
BEST = "best"  # the look of the best cells of a line: bold


def text(value: Any) -> str:
    """Return a cell's value as text; "" where there is none."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def interval(value: float, low: float, high: float, form: str = ".1f", times: float = 1) -> str:
    """Return a figure with interval, "61.9 [61.7, 62.1]", all x `times`; "" without a figure."""
    if pd.isna(value):
        return ""
    figure = format(times * value, form)
    if pd.isna(low) or pd.isna(high) or low == high or high == inf:  # of too few: none
        return figure
    return f"{figure} [{format(times * low, form)}, {format(times * high, form)}]"


def seconds(value: float) -> str:
    """Return a duration as text in s, min or h; "unknown" for NaN."""
    if pd.isna(value):
        return "unknown"
    if value < 60:
        return f"{value:.2g} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


class Table:
    """A table with its title, a subtitle above it and notes below."""

    def __init__(
        self,
        content: pd.DataFrame | Sequence[Mapping[str, object]],
        title: str = "",
        subtitle: str = "",
        notes: Iterable[str] = (),  # below
        looks: Mapping[tuple[int, str], str] = {},  # class of a line's cell: BEST, or of the page
        ids: Sequence[str] = (),  # of the lines, to link to; "" of one without
    ) -> None:
        frame = pd.DataFrame(content)
        self.title, self.subtitle, self.notes = title, subtitle, tuple(notes)
        self.columns = [str(name).replace("_", " ") for name in frame.columns]
        self.lines = [tuple(map(text, line)) for line in frame.itertuples(index=False, name=None)]
        self.looks = {(n, self.columns.index(name)): look for (n, name), look in looks.items()}
        self.ids = (*ids, *[""] * (len(self.lines) - len(ids)))
        cells = [[line[n] for line in self.lines if line[n]] for n in range(len(self.columns))]
        # whether a column holds numbers, which stand at the right, or long texts
        self.right = [bool(texts) and all(map(_NUMBER.fullmatch, texts)) for texts in cells]
        self.long = [max(map(len, texts), default=0) > 40 for texts in cells]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title or self.subtitle:
            gap = "\n" if self.title else ""
            yield Text.assemble((self.title, "bold"), gap, self.subtitle)
        columns = zip(self.columns, *self.lines, strict=True)  # heads break between their words
        widths = [max(map(len, (*head.split(), *cells, ""))) for head, *cells in columns]
        gap = int(options.max_width - sum(widths) >= 2 * len(widths))
        # numbers stay whole, and texts are folded, where that leaves these eight letters
        least = [width if right else 8 for width, right in zip(widths, self.right, strict=True)]
        whole = sum(least) + len(least) <= options.max_width
        looks: Any = {"box": box.SIMPLE_HEAD, "pad_edge": False, "show_edge": False}
        grid = rich_table.Table(**looks, padding=(0, gap, 0, 0))
        for head, right, width in zip(self.columns, self.right, widths, strict=True):
            grid.add_column(
                Text(head),
                justify="right" if right else "left",
                width=width if right and whole else None,
                max_width=width,
                overflow="fold",
            )
        for n, line in enumerate(self.lines):
            bold = ("bold" if self.looks.get((n, at)) == BEST else "" for at in range(len(line)))
            grid.add_row(*map(Text, line, bold))
        yield grid
        yield from (Text(note, "dim") for note in self.notes)
        yield ""


# What starts code, emphasis, a cell's end, a tag, an entity or a link in Markdown.
_SIGNS = re.compile(r"[\\`*_|~<>&]|(?<=\])[(\[:]")


def field_markdown(value: str) -> str:
    """Return a row's field as plain Markdown text: no tag, link, cell or mark comes out of it."""
    return _SIGNS.sub(r"\\\g<0>", " ".join(value.splitlines()))


def markdown(*tables: Table) -> str:
    """Return tables as Markdown; of their looks BEST is shown, in bold."""
    parts: list[str] = []
    for table in tables:
        parts += [f"**{field_markdown(table.title)}**"] if table.title else []
        parts += [field_markdown(table.subtitle)] if table.subtitle else []
        rule = ["---:" if right else "---" for right in table.right]
        best = {place for place, look in table.looks.items() if look == BEST}
        fields = (
            [
                f"**{text}**" if (n, at) in best else text
                for at, text in enumerate(map(field_markdown, map(str.strip, line)))
            ]
            for n, line in enumerate(table.lines)
        )
        lines = (map(field_markdown, table.columns), rule, *fields)
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        notes = [f"- {field_markdown(note)}" for note in table.notes]
        parts += ["\n".join(notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def csv(frame: pd.DataFrame, digits: int | None = None) -> str:
    """Return a frame as csv, its numbers with `digits` significant digits, all where None."""
    form = None if digits is None else f"%.{digits}g"
    return frame.to_csv(index=False, float_format=form, lineterminator="\n")
