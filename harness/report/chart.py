"""A drawing as SVG, drawn here and not by a library: CSS alone colours it (light, dark, print), a
figure is a few KB, and the same rows give the same bytes whichever library is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import assert_never

import pandas as pd
from markupsafe import Markup

from harness.report import marks
from harness.report.drawing import Curves, Dots, Drawing, Mark, ValueMap
from harness.report.templates import file

WIDTH = 340.0  # of a figure, in its own units: about a pixel each on a narrow screen
PANEL = 330.0  # of one of several side by side
LETTERS = 48  # of a title that fits above it
LINE = 15  # from a line of text to the next
_SHIFTED = Markup('<g transform="translate({:.0f} {:.0f})">{}</g>')


def style() -> Markup:
    """The CSS of all figures; its colours are the page's where that has any."""
    return Markup(file("chart.css"))


def svg(drawing: Drawing, name: str) -> Markup:
    """The drawing as an SVG element whose accessible name is `name`."""
    content, height = body(drawing, WIDTH)
    return Markup(
        '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, name, content)


def body(drawing: Drawing, width: float) -> tuple[Markup, float]:
    """The elements of a drawing so wide, and its height."""
    match drawing:
        case Dots():
            return marks.dots(drawing, width)
        case Curves():
            return marks.curves(drawing, width)
        case ValueMap():
            return marks.value_map(drawing, width)
        case _:
            assert_never(drawing)


def picture(
    panels: Sequence[tuple[str, Dots]], title: str, columns: int, notes: Sequence[str]
) -> str:
    """Dot plots as a file of their own, so many side by side, each under its title, notes below.

    It has colours of its own, light and dark: a page that shows it as an image gives it none.
    """
    width = PANEL * min(columns, len(panels))
    letters = int(width / marks.LETTER)
    heads = wrap(title, letters)
    parts = [marks.text(10, 20 + LINE * n, line, "title") for n, line in enumerate(heads)]
    bottom = 5.0 + LINE * len(heads)
    for first in range(0, len(panels), columns):
        row, height = _side_by_side(panels[first : first + columns])
        parts.append(_SHIFTED.format(0, bottom, row))
        bottom += height
    notes = [line for note in notes for line in wrap(note, letters)]
    parts += [marks.text(10, bottom + 16 + LINE * n, note) for n, note in enumerate(notes)]
    height = bottom + 16 + LINE * len(notes)
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {0:.0f} {1:.0f}" '
            'width="{0:.0f}" height="{1:.0f}" role="img" aria-label="{2}">\n<title>{2}</title>\n'
            '<style>\n{3}</style>\n<rect class="paper" width="100%" height="100%"/>\n{4}\n</svg>\n'
        ).format(width, height, title, style(), Markup("\n").join(parts))
    )


def _side_by_side(panels: Sequence[tuple[str, Dots]]) -> tuple[Markup, float]:
    """Dot plots in a row, each under its title, and the row's height."""
    titles = [wrap(name, LETTERS) for name, _ in panels]
    top = 16.0 + LINE * max(map(len, titles), default=0)
    drawn = [body(panel, PANEL - 20) for _, panel in panels]
    parts = []
    for n, (lines, (content, _)) in enumerate(zip(titles, drawn, strict=True)):
        left = 10 + n * PANEL
        parts += [marks.text(left, 20 + LINE * m, line, "title") for m, line in enumerate(lines)]
        parts.append(_SHIFTED.format(left, top, content))
    return Markup("").join(parts), top + max((height for _, height in drawn), default=0.0)


def legend(drawing: Drawing) -> Markup:
    """What its colours and marks mean, as a list; empty where its lines are labelled."""
    match drawing:
        case Curves():
            shown = [(each.name, marks.sample(each)) for each in drawing.curves if each.listed]
            shown += [(name, marks.level_sample(colour)) for _, name, colour in drawing.levels]
        case Dots():
            shown = [(name, marks.mark_sample(mark)) for name, mark in drawing.key]
        case _:
            shown = []
    items = Markup("").join(
        Markup(
            '<li><svg class="chart" viewBox="0 0 24 12" aria-hidden="true">{}</svg> {}</li>'
        ).format(sample, name)
        for name, sample in shown
    )
    return Markup('<ul class="legend">{}</ul>').format(items) if shown else Markup("")


def numbers(drawing: Drawing) -> pd.DataFrame:
    """All that a drawing shows, as a table: values as they are drawn, intervals, n and notes."""
    match drawing:
        case Dots():
            lines = [
                (group.title, strip.label, *_numbers(mark))
                for group in drawing.groups
                for strip in group.strips
                for mark in strip.marks
            ]
            columns = ["group", "of", "value", "low", "high", "n", "note"]
        case Curves():
            lines = [
                (curve.name, x, *_numbers(mark))
                for curve in drawing.curves
                for x, mark in curve.marks
            ]
            columns = ["of", drawing.x.title, "value", "low", "high", "n", "note"]
        case ValueMap():
            lines = [
                (row, *values) for row, values in zip(drawing.rows, drawing.values, strict=True)
            ]
            columns = [drawing.row_title, *drawing.columns]
        case _:
            assert_never(drawing)
    return pd.DataFrame(lines, columns=columns).dropna(axis="columns", how="all")


def _numbers(mark: Mark) -> tuple[object, ...]:
    return mark.value, mark.low, mark.high, mark.n or None, mark.note or None
