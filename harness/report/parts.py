"""What the report's page is made of: sections of figures and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from harness.records import Row
from harness.report import chart, grid
from harness.report.drawing import Drawing
from harness.report.provenance import measured


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, and with its numbers as a table."""

    id: str
    caption: str
    source: str  # machine and date
    html: Markup
    numbers: Markup
    heading: str = ""  # figures that lie side by side share one


@dataclass(frozen=True)
class Section:
    """A part of the results: figures, then tables."""

    id: str
    title: str
    text: str
    figures: tuple[Figure, ...]
    tables: tuple[tuple[str, Markup], ...]  # title and table; folded where the title is not empty

    @property
    def groups(self) -> list[tuple[str, list[Figure]]]:
        """Its figures, those that share a heading together."""
        found = groupby(self.figures, key=lambda each: each.heading)
        return [(heading, list(figures)) for heading, figures in found]


def drawn(
    drawing: Drawing, id_: str, caption: str, rows: Iterable[Row], heading: str = ""
) -> Figure:
    """A drawing as a figure; `rows` are those it was made from, for machine and date."""
    source = measured(rows)
    name = f"{caption.rstrip('.')}. {source}" if source else caption
    html = chart.svg(drawing, name) + chart.legend(drawing)
    under = f"{heading}. " if heading else ""
    numbers = grid.html(chart.numbers(drawing), f"Numbers: {under}{name}")
    return Figure(f"figure-{id_}", caption, source, html, numbers, heading)
