"""Figures by matplotlib, as SVG whose texts are texts and whose colours are the page's (CSS).

Values are as they are shown: accuracies in per cent, ratios as they are.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

WIDTH = 370.0  # of a figure, in its own units: about a pixel each on a narrow screen
LETTER = 5.6  # width of a letter, about
LINE = 15.0  # from a line of dots to the next
# Colours that stand for those of figures.css, light and dark.
INK, FAINT, PAPER = "#010101", "#020202", "#040404"
COLOURS = tuple(f"#0300{n:02x}" for n in range(8))
_VARIABLES = {INK: "ink", FAINT: "faint", PAPER: "paper"}
_VARIABLES |= {colour: f"c{n}" for n, colour in enumerate(COLOURS)}
STYLE = Path(__file__).with_name("figures.css").read_text("utf-8")
_RC: Any = {"svg.fonttype": "none", "font.family": "DejaVu Sans", "text.parse_math": False}
_RC |= {"font.size": 10, "axes.linewidth": 0.8, "grid.color": FAINT, "grid.linewidth": 0.6}
_RC |= {"axes.spines.top": False, "axes.spines.right": False}
_RC |= {"figure.facecolor": PAPER, "axes.facecolor": "none"}
_RC |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK)
_RC |= dict.fromkeys(("xtick.color", "ytick.color"), INK)
# A reader of the report need not know that it cannot write its cache folder.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
Captioned = Iterable[tuple[str, Figure]]  # figures with their captions


@dataclass(frozen=True)
class Dot:
    """A value with its interval, a line of a dot plot or a point of a curve; NaN: not known."""

    label: str  # of its line
    value: float
    low: float = nan
    high: float = nan
    text: str = ""  # at the line's end
    colour: int = 0  # its place in COLOURS
    hollow: bool = False  # it is doubtful
    marker: str = "o"
    seeds: tuple[float, ...] = ()  # the values of single seeds, drawn small behind it
    bar: float = nan  # a bound of its own, drawn as a tall bar
    note: str = ""  # read where a pointer rests on it, after its label; its figures by default

    @property
    def hover(self) -> str:
        """What a pointer that rests on the mark shows."""
        ends = f" [{self.low:.4g}, {self.high:.4g}]" if isfinite(self.high - self.low) else ""
        n = f", n = {len(self.seeds)}" if self.seeds else ""
        return ": ".join(filter(None, (self.label, self.note or f"{self.value:.4g}{ends}{n}")))


@dataclass(frozen=True)
class Curve:
    """Points of one condition by their names on the horizontal axis."""

    label: str  # at its end
    points: Mapping[str, Dot]
    line: str = "-"  # that joins them: "-", ":" dotted, "" for none


def short(text: str, most: int = 60) -> str:
    """Return a text as one line, cut to `most` characters with "…" at its end."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def dots(
    groups: Mapping[str, Sequence[Dot]],
    title: str,
    *,
    log: bool = False,
    bounds: Mapping[float, str] = {},
    beside: Sequence[Dot] = (),
) -> Figure:
    """Draw values, a line each, in named groups; `bounds` name vertical lines by their value.

    `beside` are those of the figures next to it, which have the same axis.
    """
    strips = [dot for group in groups.values() for dot in group]
    limits = _limits([*strips, *beside], bounds, log=log)
    longest = max((len(short(dot.label)) for dot in strips), default=0)
    above = longest > 28  # labels are written above their lines
    height = LINE * (sum(map(bool, groups)) + (1 + above) * len(strips))
    indent = 6.0 if above else 10 + LETTER * longest
    right = 12 + LETTER * max((len(dot.text) for dot in strips), default=0)
    figure, axes = _canvas(height, (indent, 16.0 if bounds else 4.0, right, 36.0), title)
    y = 0.0
    for name, group in groups.items():
        if name:
            y += LINE
            _write(axes, -indent + 2, y - LINE / 2, short(name, 64), weight="bold")
        for dot in group:
            y += LINE * (1 + above)
            at = y - LINE / 2
            if above:
                _write(axes, 2 - indent, at - LINE, short(dot.label, 64))
            else:
                _write(axes, -6, at, short(dot.label), ha="right")
            _dot(axes, dot, at, limits)
            _write(axes, WIDTH - indent - right + 6, at, dot.text)
    if log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(2, numticks=4))  # the labels have room
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
    """Draw a value on its line: interval, seeds, an arrow where the axis cuts the interval off."""
    colour = COLOURS[dot.colour % len(COLOURS)]
    axes.plot(dot.seeds, [y] * len(dot.seeds), "|", color=colour, markersize=7, alpha=0.6)
    axes.plot([dot.bar] * 2, (y - 6, y + 6), color=INK, linewidth=1.6)
    _hover(
        dot.hover,
        axes.plot((dot.low, dot.high), (y, y), color=colour, linewidth=2, solid_capstyle="butt"),
    )
    if dot.low < limits[0]:
        axes.plot(limits[0], y, "<", color=colour, markersize=6, clip_on=False)
    if limits[1] < dot.high < inf:
        axes.plot(limits[1], y, ">", color=colour, markersize=6, clip_on=False)
    fill = PAPER if dot.hollow else colour
    mark = axes.plot(dot.value, y, dot.marker, color=colour, markersize=6.5, markerfacecolor=fill)
    _hover(dot.hover, mark)


def _hover(text: str, marks: Iterable[Artist]) -> None:
    """Give marks a text that is read where a pointer rests on them."""
    for mark in marks:
        mark.set_gid(f"hover {short(text, 200)}")


def _limits(strips: Sequence[Dot], bounds: Iterable[float], *, log: bool) -> tuple[float, float]:
    """From the least to the most of values and bounds; intervals reach a little beyond alone."""
    places = (value for dot in strips for value in (dot.value, dot.bar, *dot.seeds))
    values = [*filter(isfinite, places), *bounds] or [1.0]
    low, high = min(values), max(values)
    if log:
        return low / 1.5, high * 1.5
    reach, margin = 1.5 * (high - low or abs(high) or 1.0), 0.06 * (high - low or 1.0)
    ends = [end for dot in strips for end in (dot.low, dot.high)]
    values += [end for end in ends if low - reach <= end <= high + reach]
    return min(values) - margin, max(values) + margin


def curves(series: Sequence[Curve], titles: tuple[str, str], names: Sequence[str]) -> Figure:
    """Draw curves with intervals and seeds over `names` in this order, in shades of the ink.

    `titles` are of the horizontal and vertical axis.
    """
    longest = max((len(curve.label) for curve in series), default=0)
    figure, axes = _canvas(190, (34.0, 22.0, 14 + LETTER * longest, 36.0), titles[0])
    for n, curve in enumerate(series):
        style: Any = {"color": INK, "alpha": 1 - 0.6 * n / len(series)}
        for name, dot in curve.points.items():
            x = names.index(name)
            axes.plot([x] * len(dot.seeds), dot.seeds, "o", color=INK, markersize=3.5, alpha=0.4)
            fill = PAPER if dot.hollow else INK
            size = 3 if curve.line == ":" else 6
            marks = axes.plot((x, x), (dot.low, dot.high), linewidth=2, **style)
            marks += axes.plot(x, dot.value, dot.marker, ms=size, markerfacecolor=fill, **style)
            _hover(f"{curve.label} {name}: {dot.hover}".strip(), marks)
        places = [*map(names.index, curve.points)]
        means = [dot.value for dot in curve.points.values()]
        axes.plot(places, means, curve.line or "none", linewidth=1.6, zorder=1.5, **style)
    axes.set_xticks(range(len(names)), [*map(short, names)])
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y")
    _annotate(axes, titles[1], (0, 1), (-30, 10), xycoords="axes fraction")
    _label_ends(axes, [curve for curve in series if curve.label and curve.points], names)
    return figure


def _label_ends(axes: Axes, series: Sequence[Curve], names: Sequence[str]) -> None:
    """Write each curve's label right of its last point, a line apart from the others.

    Where a point of another stands in its way, it is above the curve's end.
    """
    (low, high), last = axes.get_ylim(), -inf
    step = WIDTH * axes.get_position().width / len(names)
    ends = [(*[*curve.points.items()][-1], curve.label) for curve in series]

    def height(dot: Dot) -> float:  # above the axis, in units
        return 190 * (dot.value - low) / (high - low)

    for name, dot, label in sorted(ends, key=lambda end: end[1].value):
        at, following = height(dot), names[names.index(name) + 1 :][:1]
        near = [p for c in series for n, p in c.points.items() if n in following]
        if LETTER * len(label) + 16 > step and any(abs(height(p) - at) < 12 for p in near):
            _annotate(axes, label, (names.index(name), dot.value), (-6, 4), ha="right")
            continue
        last = max(at, last + 12)
        _annotate(axes, label, (names.index(name), dot.value), (8, last - at), va="center")


PLUS, MINUS = COLOURS[6], COLOURS[7]  # of votes


def votes(
    matrix: Sequence[Sequence[float]], labels: Sequence[str], most: float, what: str = "mean vote"
) -> Figure:
    """Draw votes or their differences with a scale up to `most`: darkest, in one of two colours.

    Rows are the images' classes, columns those voted for.
    """
    longest, count = LETTER * max(map(len, labels)), len(labels)
    size = WIDTH - longest - 24
    margins = (longest + 12, 1.8 * size / count, 12.0, longest + 30)
    figure, axes = _canvas(size, margins, f"{what} for (columns) of images of (rows)")

    def patch(x: float, y: float, side: float, value: float, note: str) -> None:
        """Draw a square shaded by `value`'s share of the largest, with a note when hovered."""
        shade = min(abs(value) / (most or 1.0), 1.0)
        colour = MINUS if value < 0 else PLUS
        style: Any = {"facecolor": colour, "alpha": shade, "clip_on": False, "linewidth": 0}
        _hover(note, [axes.add_patch(Rectangle((x, y), side, side, **style))])

    for row, (true, line) in enumerate(zip(labels, matrix, strict=True)):
        for column, (name, value) in enumerate(zip(labels, line, strict=True)):
            patch(column, row, 1.0, value, f"{name} of images of {true}: {value:.3f}")
    signed = min(map(min, matrix)) < 0
    steps = (-1.0, 0.0, 1.0) if signed else (0.0, 0.5, 1.0)
    for n, part in enumerate(steps):
        x, text = n * count / len(steps), f"{part * most:{'+' if signed else ''}.2f}"
        patch(x, -1.2, 0.7, part * most, text)
        frame = Rectangle((x, -1.2), 0.7, 0.7, fill=False, edgecolor=FAINT, clip_on=False)
        axes.add_patch(frame)  # else that of 0 is not seen
        _annotate(axes, text, (x + 0.9, -0.85), (0, 0), va="center")
    centres = [n + 0.5 for n in range(count)]
    axes.set_xticks(centres, [*map(short, labels)], rotation=90)
    axes.set_yticks(centres, [*map(short, labels)])
    axes.set(xlim=(0, count), ylim=(count, 0))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _canvas(
    height: float, margins: tuple[float, float, float, float], title: str
) -> tuple[Figure, Axes]:
    """Return a figure with axes of that height, and its title below, which may have many lines.

    Margins are left, above, right, below; all lengths are in its units.
    """
    indent, above, right, below = margins
    lines = title.splitlines()[::-1]
    below += LINE * max(len(lines) - 1, 0)
    whole = height + above + below
    bounds = (indent / WIDTH, below / whole, (WIDTH - indent - right) / WIDTH, height / whole)
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(WIDTH / 72, whole / 72))
        axes = figure.add_axes(bounds)
    for n, line in enumerate(lines):
        figure.text(0.5, (6 + LINE * n) / whole, short(line, 70), ha="center", color=INK)
    return figure, axes


def _annotate(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write a text at an offset, in points, from a place in the data."""
    style = {"textcoords": "offset points", "annotation_clip": False, "color": INK, **style}
    axes.annotate(text, place, offset, **style)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write a text `x` units from the axes' left end, on the line at `y`."""
    at: Any = ("axes fraction", "data")
    # no line goes through its words
    style["bbox"] = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}
    _annotate(axes, text, (0, y), (x, 0), xycoords=at, va="center", **style)


def svg(figure: Figure, name: str, attributes: str = 'class="chart"', style: str = "") -> Markup:
    """Return the figure as an svg element of a page, coloured by CSS; `name` is its label."""
    stream = io.StringIO()
    # each figure of a page has ids of its own
    with mpl.rc_context(_RC | {"svg.hashsalt": ascii(name)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's browser has the font
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    _, _, body = stream.getvalue().partition("</metadata>")
    body = re.sub(r'<g id="hover ([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    head = Markup('<svg {} viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}')
    height = figure.get_figheight() * 72
    return head.format(Markup(attributes), WIDTH, height, name, Markup(style)) + Markup(body)


def svg_file(figure: Figure, name: str) -> str:
    """Return the text of an SVG file, coloured by itself for light and dark; `name`: its label."""
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg(figure, name, links, Markup("<style>{}</style><desc>{}</desc>").format(STYLE, name))
