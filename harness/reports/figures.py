"""Figures by matplotlib, as SVG whose texts are texts and whose colours are the page's (CSS).

Values are as they are shown: accuracies in per cent, ratios as they are.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import isfinite, nan
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from harness.system.files import printable

WIDTH = 370.0  # of a figure, in its own units: about a pixel each on a narrow screen
LETTER = 5.6  # width of a letter, about
LINE = 15.0  # from a line of dots to the next
INK, FAINT, PAPER = "#010101", "#020202", "#040404"
COLOURS = tuple(f"#0300{n:02x}" for n in range(8))
_VARIABLES = {INK: "ink", FAINT: "faint", PAPER: "paper"}
_VARIABLES |= {colour: f"c{n}" for n, colour in enumerate(COLOURS)}
_RC: Any = {"svg.fonttype": "none", "svg.hashsalt": "harness", "text.parse_math": False}
_RC |= {"font.size": 10, "axes.linewidth": 0.8, "grid.color": FAINT, "grid.linewidth": 0.6}
_RC |= {"axes.spines.top": False, "axes.spines.right": False}
_RC |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK)
_RC |= dict.fromkeys(("xtick.color", "ytick.color"), INK)
# Of a curve: the mean with the ends of its interval, and the result of each seed.
Point = tuple[tuple[float, float, float], Sequence[float]]
Course = tuple[Sequence[float], Sequence[float]]  # of a seed by epoch: its values and its rates
# A reader of the report need not know that it cannot write its cache folder.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


def file(name: str) -> str:
    """Return a file of this room."""
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


STYLE = file("figures.css")  # the same in light and dark, in a file of its own and on the page


@dataclass(frozen=True)
class Dot:
    """A line of a dot plot: a value with its interval; NaN where that is not known."""

    label: str
    value: float
    low: float = nan
    high: float = nan
    text: str = ""  # at its end
    colour: int = 0
    hollow: bool = False  # it is doubtful
    marker: str = "o"
    seeds: tuple[float, ...] = ()  # small, behind it
    bar: float = nan  # what it is held against


def short(text: str, most: int = 60) -> str:
    """Return a text of a row in one line of a figure."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def dots(
    groups: Mapping[str, Sequence[Dot]],
    title: str,
    *,
    log: bool = False,
    bounds: Mapping[float, str] | None = None,
) -> Figure:
    """Draw values from left to right, a line each, in groups, with bounds as vertical lines."""
    bounds, strips = dict(bounds or {}), [dot for group in groups.values() for dot in group]
    limits = _limits(strips, bounds, log=log)
    longest = max((len(short(dot.label)) for dot in strips), default=0)
    above = longest > 26  # labels are written above their lines
    height = LINE * (sum(map(bool, groups)) + (1 + above) * len(strips))
    left = 6.0 if above else 10 + LETTER * longest
    right = 12 + LETTER * max((len(dot.text) for dot in strips), default=0)
    figure, axes = _canvas(height, (left, 16.0 if bounds else 4.0, right, 36.0), title)
    y = 0.0
    for name, group in groups.items():
        if name:
            y += LINE
            _write(axes, -left + 2, y - LINE / 2, short(name, 64), weight="bold")
        for dot in group:
            y += LINE * (1 + above)
            at = y - LINE / 2
            if above:
                _write(axes, 2 - left, at - LINE, short(dot.label, 64))
            else:
                _write(axes, -6, at, short(dot.label), ha="right")
            _dot(axes, dot, at, limits)
            _write(axes, WIDTH - left - right + 6, at, dot.text)
    if log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlim=limits, ylim=(height, 0))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for bound, name in bounds.items():
        axes.axvline(bound, color=INK, linewidth=1.2, dashes=(5, 3), zorder=1)
        _annotate(axes, name, (bound, 0), (0, 4), ha="center")
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    return figure


def _dot(axes: Axes, dot: Dot, y: float, limits: tuple[float, float]) -> None:
    colour = COLOURS[dot.colour % len(COLOURS)]
    axes.plot(dot.seeds, [y] * len(dot.seeds), "|", color=colour, markersize=7, alpha=0.6)
    if isfinite(dot.bar):
        axes.plot([dot.bar] * 2, (y - 6, y + 6), color=INK, linewidth=1.6)
    if isfinite(dot.low) and isfinite(dot.high):
        axes.plot((dot.low, dot.high), (y, y), color=colour, linewidth=2, solid_capstyle="butt")
        for leaves, end, arrow in (
            (dot.low < limits[0], limits[0], "<"),
            (dot.high > limits[1], limits[1], ">"),
        ):
            if leaves:
                axes.plot(end, y, arrow, color=colour, markersize=6, clip_on=False)
    if isfinite(dot.value):
        fill = PAPER if dot.hollow else colour
        axes.plot(dot.value, y, dot.marker, color=colour, markersize=6.5, markerfacecolor=fill)


def _limits(strips: Sequence[Dot], bounds: Iterable[float], *, log: bool) -> tuple[float, float]:
    """From the least to the most of values and bounds; intervals reach a little beyond alone."""
    known = (value for dot in strips for value in (dot.value, dot.bar, *dot.seeds))
    values = [*filter(isfinite, known), *bounds] or [1.0]
    low, high = min(values), max(values)
    if log:
        return low / 1.5, high * 1.5
    reach, margin = 1.5 * (high - low or abs(high) or 1.0), 0.06 * (high - low or 1.0)
    ends = [end for dot in strips for end in (dot.low, dot.high)]
    values += [end for end in ends if low - reach <= end <= high + reach]
    return min(values) - margin, max(values) + margin


def curves(
    points: Mapping[str, Point],
    titles: tuple[str, str],
    names: Sequence[str],
    dotted: Sequence[Mapping[str, float]] = (),
    published: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a curve, dotted ones without intervals, and published points as stars.

    They lie over `names`, which stand below them in this order.
    """
    figure, axes = _canvas(190, (34.0, 22.0, 10.0, 36.0), titles[0])
    for name, ((_, low, high), seeds) in points.items():
        x = names.index(name)
        axes.plot([x] * len(seeds), seeds, "o", color=COLOURS[0], markersize=3.5, alpha=0.55)
        axes.plot((x, x), (low, high), color=COLOURS[0], linewidth=2)
    means = {name: mean for name, ((mean, *_), _) in points.items()}
    for n, line in enumerate((means, *dotted)):
        style: Any = {"color": COLOURS[n % len(COLOURS)], "linewidth": 1.6, "markersize": 6}
        axes.plot([*map(names.index, line)], [*line.values()], ":" if n else "o-", **style)
    for name, value in (published or {}).items():
        axes.plot([names.index(name)], [value], "*", color=COLOURS[1], markersize=9)
    axes.set_xticks(range(len(names)), [*map(short, names)])
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y")
    _annotate(axes, titles[1], (0, 1), (-30, 10), xycoords="axes fraction")
    return figure


def epochs(found: Mapping[str, Sequence[Course]], title: str) -> Figure:
    """Draw what is reached epoch by epoch, a thin line a seed, with the learning rate below it."""
    figure, axes = _canvas(180, (42.0, 22.0, 10.0, 102.0), "epoch")
    with mpl.rc_context(_RC):
        below = axes.inset_axes((0, -0.37, 1, 0.28), sharex=axes)
    below.patch.set_visible(False)
    for n, (name, seeds) in enumerate(found.items()):
        style: Any = {"color": COLOURS[n % len(COLOURS)], "linewidth": 0.9}
        for values, rates in seeds:
            axes.plot(range(1, len(values) + 1), values, **style)
            below.plot(range(1, len(values) + 1), rates, drawstyle="steps-mid", **style)
        at: Any = {"xycoords": "axes fraction", "ha": "right", "color": style["color"]}
        _annotate(axes, short(name), (1, 0), (0, 6 + 13 * n), **at)
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelbottom=False)
    axes.grid(axis="y")
    for each, head in ((axes, title), (below, "learning rate")):
        _annotate(each, head, (0, 1), (-38, 4), xycoords="axes fraction")
    return figure


def votes(matrix: Sequence[Sequence[float]], labels: Sequence[str], most: float) -> Figure:
    """Draw mean votes: a row for each class of the images, a column for each class voted."""
    longest, count = LETTER * max(map(len, labels)), len(labels)
    margins, title = (longest + 12, 4.0, 12.0, longest + 30), "mean vote for (columns) of images of"
    figure, axes = _canvas(WIDTH - longest - 24, margins, f"{title} (rows)")
    shades: Any = np.clip(np.array(matrix) / (most or 1.0), 0.0, 1.0)
    axes.pcolormesh(matrix, cmap=ListedColormap([COLOURS[0]]), alpha=shades)
    centres = [n + 0.5 for n in range(count)]
    axes.set_xticks(centres, [*map(short, labels)], rotation=90)
    axes.set_yticks(centres, [*map(short, labels)])
    axes.set_ylim(count, 0)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _canvas(
    height: float, margins: tuple[float, float, float, float], title: str
) -> tuple[Figure, Axes]:
    """Return a figure with axes of that height, and its title below.

    Margins are left, above, right, below; all lengths are in its units.
    """
    left, above, right, below = margins
    whole = height + above + below
    bounds = (left / WIDTH, below / whole, (WIDTH - left - right) / WIDTH, height / whole)
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(WIDTH / 72, whole / 72))
        axes = figure.add_axes(bounds)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    figure.text(0.5, 6 / whole, short(title, 70), ha="center", color=INK)
    return figure, axes


def _annotate(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write a text so many units from a place."""
    given = {"textcoords": "offset points", "annotation_clip": False, "color": INK, **style}
    axes.annotate(text, place, offset, **given)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write a text `x` units from the axes' left end, on the line at `y`."""
    at: Any = ("axes fraction", "data")
    _annotate(axes, text, (0, y), (x, 0), xycoords=at, va="center", **style)


def _body(figure: Figure, name: str) -> str:
    """Return what stands within the SVG element: CSS colours it, and its ids are its own."""
    stream = io.StringIO()
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's browser has the font
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("</metadata>") + 11 : text.rindex("</svg>")]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'id="(\w+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", " ", text).strip()


def svg(figure: Figure, name: str) -> Markup:
    """Return the figure as an element of a page; `name` is what it shows, in words."""
    key = f"f{zlib.crc32(name.encode(errors='replace')):x}"
    height = figure.get_figheight() * 72
    return Markup(
        '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, name, Markup(_body(figure, key)))


def picture(panels: Mapping[str, Figure], title: str, columns: int, notes: Sequence[str]) -> str:
    """Figures as a file of their own, so many side by side, each under its title, notes below.

    It has colours of its own, light and dark: a page that shows it as an image gives it none.
    """
    width = (WIDTH + 10) * min(columns, len(panels)) + 10
    letters, parts = int(width / LETTER) - 4, list[str]()

    def put(text: str, letters: int, x: float, y: float, weight: str = "") -> float:
        style = f"font: {weight}11px system-ui, sans-serif; fill: var(--ink)"
        for line in wrap(text, letters):
            y += LINE
            parts.append(f'<text x="{x:.0f}" y="{y:.0f}" style="{style}">{escape(line)}</text>')
        return y

    y, rows = put(title, letters, 10, 4, "bold "), list(panels.items())
    for first in range(0, len(rows), columns):
        row = rows[first : first + columns]
        top = y + 14 + LINE * max(len(wrap(name, 54)) for name, _ in row)
        for n, (name, figure) in enumerate(row):
            x = 10 + n * (WIDTH + 10)
            put(name, 54, x, y + 6, "bold ")
            body = _body(figure, f"p{first + n}")
            parts.append(f'<g transform="translate({x:.0f} {top:.0f})">{body}</g>')
        y = top + max(figure.get_figheight() * 72 for _, figure in row)
    for note in notes:
        y = put(note, letters, 10, y)
    size = f'viewBox="0 0 {width:.0f} {y + 10:.0f}" width="{width:.0f}" height="{y + 10:.0f}"'
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    content = "\n".join(parts)
    return (
        f'<svg {links} {size} role="img">\n<title>{escape(title)}</title>\n'
        f"<style>\n{STYLE}</style>\n"
        f'<rect width="100%" height="100%" style="fill: var(--paper)"/>\n{content}\n</svg>\n'
    )
