"""One renderer of tables: a DataFrame for a terminal (rich), as Markdown, HTML or csv.

Whatever stands in a row stays text: no tag, link or mark comes out of it, and no formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from markupsafe import Markup, escape
from rich import box
from rich import table as rich_table
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?%)?( \[.*\])?( [*†])?")


def text(value: Any) -> str:
    """A cell in a few characters; empty where there is nothing."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def interval(value: float, low: float, high: float, form: str = ".1f", times: float = 1) -> str:
    """A figure with its interval, "61.9 [61.7, 62.1]"; empty where there is no figure."""
    if pd.isna(value):
        return ""
    shown = format(times * value, form)
    if pd.isna(low) or pd.isna(high) or low == high:
        return shown
    return f"{shown} [{format(times * low, form)}, {format(times * high, form)}]"


def seconds(value: float) -> str:
    """A duration in the unit that suits."""
    if pd.isna(value):
        return "unknown"
    if value < 60:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


@dataclass(frozen=True)
class Table:
    """A table, and what is said above and below it; its frame, or lines, have what is shown."""

    content: pd.DataFrame | Sequence[Mapping[str, object]] = field(compare=False)
    title: str = ""
    said: str = ""  # above
    notes: tuple[str, ...] = ()  # below
    over: str = ""  # a heading, such as a machine; once for neighbours that share it

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Its content as a frame."""
        return pd.DataFrame(self.content)

    @property
    def columns(self) -> list[str]:
        """Its heads."""
        return [str(name).replace("_", " ") for name in self.frame.columns]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """Its cells as text."""
        return [tuple(map(text, line)) for line in self.frame.itertuples(index=False, name=None)]

    @property
    def right(self) -> list[bool]:
        """Which columns hold numbers: those stand at the right."""
        cells = [list(filter(None, column)) for column in zip(*self.lines, strict=True)]
        numbers = [bool(each) and all(map(_NUMBER.fullmatch, each)) for each in cells]
        return numbers or [False] * len(self.columns)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title or self.said:
            yield Text.assemble((self.title, "bold"), "\n" * bool(self.title), self.said)
        yield self._grid(options.max_width)
        yield from (Text(note, "dim") for note in self.notes)
        if self.notes:
            yield ""

    def _grid(self, room: int) -> rich_table.Table:
        """Cells stay whole where they fit, none is cut; heads break between their words."""
        lines = self.lines
        widths = self._widths(lines)
        if sum(widths) + len(widths) > room:  # a long name breaks behind its colon
            lines = [(line[0].replace(":", ":\n  ", 1), *line[1:]) for line in lines]
            widths = self._widths(lines)
        gap = 2 if sum(widths) + 2 * len(widths) <= room else 1
        fits = sum(widths) + gap * len(widths) <= room + gap
        least = (width if right else 10 for width, right in zip(widths, self.right, strict=True))
        whole = sum(least) + gap * len(widths) <= room  # numbers are, and texts are folded
        grid = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        grid.padding = (0, gap - 1, 0, 0)
        for head, right, width in zip(self.columns, self.right, widths, strict=True):
            grid.add_column(
                Text(head),
                justify="right" if right else "left",
                width=width if fits or (whole and right) else None,
                overflow="fold",
            )
        for line in lines:
            grid.add_row(*map(Text, line))
        return grid

    def _widths(self, lines: Sequence[Sequence[str]]) -> list[int]:
        columns = zip(self.columns, *lines, strict=True)
        parts = ([*head.split(), *"\n".join(cells).split("\n")] for head, *cells in columns)
        return [max(map(len, each)) for each in parts]


@dataclass(frozen=True)
class Tables:
    """Several tables, one below the other; `print` of a console shows them."""

    tables: tuple[Table, ...]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        for table, over in zip(self.tables, _overs(self.tables), strict=True):
            if over:
                yield Text(f"{over}\n", "bold")
            yield table
            yield ""


def _overs(tables: Sequence[Table]) -> list[str]:
    """The heading of each table; empty where the one before has the same."""
    overs = [table.over for table in tables]
    return [over * (over != before) for over, before in zip(overs, ["", *overs], strict=False)]


def unbroken(table: Table) -> str:
    """For a pipe: each line is one line, however long."""
    cells = [tuple(table.columns), *table.lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in cells
    )


# Of a field in Markdown: what starts a tag, a comment or an entity; then what is code, emphasis, a
# link, a cell's end.
_ENTITIES = ((re.compile(r"&(?=[#\w]+;)"), "&amp;"), (re.compile(r"<(?=[A-Za-z/!?])"), "&lt;"))
_SIGNS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[|`*]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=\])[(\[:]|:(?=//)|(?<=[wW]{3})\."
)
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
# What has a spreadsheet take a text for a formula (OWASP, "CSV Injection"), full-width forms too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def field_markdown(value: str) -> str:
    """A field of a row as Markdown that shows it: no tag, link, cell or mark comes out of it."""
    value = _LINE_ENDS.sub(" ", value)
    for pattern, entity in _ENTITIES:
        value = pattern.sub(entity, value)
    return _SIGNS.sub(r"\\\g<0>", value)


def markdown(tables: Iterable[Table]) -> str:
    """Tables as Markdown."""
    tables, parts = list(tables), list[str]()
    for table, over in zip(tables, _overs(tables), strict=True):
        parts += [f"## {field_markdown(over)}"] if over else []
        parts += [f"**{field_markdown(table.title)}**"] if table.title else []
        parts += [field_markdown(table.said)] if table.said else []
        rule = ["---:" if right else "---" for right in table.right]
        heads = [field_markdown(column) for column in table.columns]
        cells = [[field_markdown(cell.strip()) for cell in line] for line in table.lines]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *cells)))
        notes = [f"- {field_markdown(note)}" for note in table.notes]
        parts += ["\n".join(notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def html(table: Table) -> Markup:
    """A table as HTML, in a region that scrolls by itself."""
    long = [max(map(len, cells), default=0) > 40 for cells in zip(*table.lines, strict=True)]
    kinds = [
        Markup(' class="n"') if right else Markup(' class="l"') if wraps else Markup()
        for right, wraps in zip(table.right, long or [False] * len(table.right), strict=True)
    ]

    def cells(form: str, line: Iterable[str]) -> Markup:
        pairs = zip(kinds, line, strict=True)
        return Markup().join(Markup(form).format(*each) for each in pairs)

    heads = cells('<th scope="col"{}>{}</th>', table.columns)
    rows = (cells("<td{}>{}</td>", line) for line in table.lines)
    body = Markup().join(Markup("<tr>{}</tr>").format(row) for row in rows)
    notes = Markup().join(Markup('<p class="note">{}</p>').format(note) for note in table.notes)
    said = Markup('<p class="note">{}</p>').format(table.said) if table.said else Markup()
    return Markup(
        '{}<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>'
        "<caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}"
    ).format(said, table.title, table.title, heads, body, notes)


def csv(frame: pd.DataFrame, digits: int | None = None) -> str:
    """All columns and lines of a frame; `digits` are those of its numbers, all where None."""
    texts = frame.map(lambda cell: _csv_field(cell) if isinstance(cell, str) else cell)
    form = None if digits is None else f"%.{digits}g"
    return texts.to_csv(index=False, float_format=form, lineterminator="\n")


def whole(frame: pd.DataFrame) -> str:
    """All columns and lines of a frame as an HTML table."""
    return frame.to_html(index=False, na_rep="", escape=True) + "\n"


def _csv_field(value: str) -> str:
    value = f"'{value}" if value.startswith(_FORMULA) else value
    return value.replace("\r\n", "\n").replace("\r", "\n")  # the csv module quotes no bare \r


def code(value: str) -> Markup:
    """A text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))
