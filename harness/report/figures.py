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
from math import isfinite, log2, nan
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

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
# Of a curve: its x, the mean with the ends of its interval, and what each seed came to.
Point = tuple[float, tuple[float, float, float], Sequence[float]]
# That it cannot write its cache folder is no news to who asked for a report.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


def file(name: str) -> str:
    """A file of this room."""
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
    """A text of a row in one line of a figure."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def dots(
    groups: Mapping[str, Sequence[Dot]],
    title: str,
    *,
    log: bool = False,
    bounds: Mapping[float, str] | None = None,
) -> Figure:
    """Values from left to right, a line each, in groups; with lines to hold them against."""
    bounds, strips = dict(bounds or {}), [dot for group in groups.values() for dot in group]
    longest = max((len(short(dot.label)) for dot in strips), default=0)
    above = longest > 26  # labels are written above their lines
    step = LINE * (2 if above else 1)
    height = LINE * sum(map(bool, groups)) + step * len(strips)
    left = 6.0 if above else 10 + LETTER * longest
    right = 12 + LETTER * max((len(dot.text) for dot in strips), default=0)
    figure, axes = _canvas(height, (left, 16.0 if bounds else 4.0, right, 36.0))
    axes.set_ylim(height, 0)
    y = 0.0
    for name, group in groups.items():
        if name:
            y += LINE
            _write(axes, -left + 2, y - LINE / 2, short(name, 64), weight="bold")
        for dot in group:
            y += step
            at = y - LINE / 2
            if above:
                _write(axes, 2 - left, at - LINE, short(dot.label, 64))
            else:
                _write(axes, -6, at, short(dot.label), ha="right")
            _dot(axes, dot, at)
            if dot.text:
                _write(axes, axes.bbox.width * 72 / figure.dpi + 6, at, dot.text)
    axes.set_xlim(*_limits(strips, bounds, log=log))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if log:
        axes.set_xscale("log", base=2)
        low, high = axes.get_xlim()
        powers = [2.0**n for n in range(-20, 21, 1 + int(log2(high / low)) // 6)]
        within = [power for power in powers if low <= power <= high]
        axes.xaxis.set_major_locator(FixedLocator(within))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for bound, name in bounds.items():
        axes.axvline(bound, color=INK, linewidth=1.2, dashes=(5, 3), zorder=1)
        if name:
            _annotate(axes, name, (bound, 0), (0, 4), ha="center")
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    _title_below(figure, title)
    return figure


def _dot(axes: Axes, dot: Dot, y: float) -> None:
    colour = COLOURS[dot.colour % len(COLOURS)]
    if dot.seeds:
        axes.plot(dot.seeds, [y] * len(dot.seeds), "|", color=colour, markersize=7, alpha=0.6)
    if isfinite(dot.bar):
        axes.plot([dot.bar] * 2, (y - 6, y + 6), color=INK, linewidth=1.6)
    if isfinite(dot.low) and isfinite(dot.high) and dot.low < dot.high:
        axes.plot((dot.low, dot.high), (y, y), color=colour, linewidth=2, solid_capstyle="butt")
    if isfinite(dot.value):
        fill = PAPER if dot.hollow else colour
        axes.plot(dot.value, y, dot.marker, color=colour, markersize=6.5, markerfacecolor=fill)


def _limits(strips: Sequence[Dot], bounds: Iterable[float], *, log: bool) -> tuple[float, float]:
    """From the least to the most of values and bounds; intervals reach a little beyond alone."""
    known = (value for dot in strips for value in (dot.value, dot.bar, *dot.seeds))
    values = [*filter(isfinite, known), *bounds] or [0.0, 1.0]
    ends = [end for dot in strips for end in (dot.low, dot.high)]
    low, high = min(values), max(values)
    if log:
        values += [end for end in ends if low / 2 <= end <= high * 2]
        low, high = min(values) / 1.15, max(values) * 1.15
        return (low, high) if high / low > 2 else (low / 1.4, high * 1.4)
    reach = 1.5 * ((high - low) or abs(high) or 1.0)
    values += [end for end in ends if low - reach <= end <= high + reach]
    margin = 0.06 * (max(values) - min(values) or 1)
    return min(values) - margin, max(values) + margin


def curves(
    points: Sequence[Point],
    titles: tuple[str, str],
    names: Mapping[float, str] | None = None,
    dotted: Sequence[Mapping[float, float]] = (),
) -> Figure:
    """A curve, and dotted ones without intervals; ticks are `names`, else numbers of steps on a
    logarithmic axis.
    """
    figure, axes = _canvas(190, (34.0, 22.0, 10.0, 36.0))
    for x, _, seeds in points:
        axes.plot([x] * len(seeds), seeds, "o", color=COLOURS[0], markersize=3.5, alpha=0.55)
    for x, (_, low, high), _ in points:
        if isfinite(low):
            axes.plot((x, x), (low, high), color=COLOURS[0], linewidth=2)
    means = [(x, mean) for x, (mean, *_), _ in points]
    for n, line in enumerate([means, *(each.items() for each in dotted)]):
        style: Any = {"color": COLOURS[n % len(COLOURS)], "linewidth": 1.6, "markersize": 6}
        axes.plot(*zip(*line, strict=True), ":" if n else "o-", **style)
    if names is None:
        axes.set_xscale("log", base=2)
        every = {x for x, *_ in points}.union(*dotted)
        names = {x: f"{x:g}" for x in sorted(every)}
    else:
        axes.set_xlim(min(names) - 0.4, max(names) + 0.4)
    axes.xaxis.set_major_locator(FixedLocator(list(names)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([*map(short, names.values())])
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y")
    _annotate(axes, titles[1], (0, 1), (-30, 10), xycoords="axes fraction")
    _title_below(figure, titles[0])
    return figure


def epochs(
    found: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]], title: str
) -> Figure:
    """What is reached epoch by epoch, a thin line a seed, with the learning rate below it.

    By name: of each seed its values and its rates.
    """
    figure, axes = _canvas(180, (42.0, 22.0, 10.0, 102.0))
    with mpl.rc_context(_RC):
        whole, place = figure.get_figheight() * 72, axes.get_position()
        bounds = (place.x0, 36 / whole, place.width, 50 / whole)
        below = figure.add_axes(bounds, sharex=axes)
    below.patch.set_visible(False)
    for n, (name, seeds) in enumerate(found.items()):
        style: Any = {"color": COLOURS[n % len(COLOURS)], "linewidth": 0.9}
        for values, rates in seeds:
            x = range(1, len(values) + 1)
            axes.plot(x, values, **style)
            below.plot(x, rates, drawstyle="steps-mid", **style)
        at: Any = {"xycoords": "axes fraction", "ha": "right", "color": style["color"]}
        _annotate(axes, short(name), (1, 0), (0, 6 + 13 * n), **at)
    every = sorted({rate for seeds in found.values() for _, rates in seeds for rate in rates})
    below.set_yscale("log")
    below.set_yticks(every, [f"{rate:g}" for rate in every], minor=False)
    below.yaxis.set_minor_locator(NullLocator())
    below.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelbottom=False)
    axes.grid(axis="y")
    for each, head in ((axes, title), (below, "learning rate")):
        _annotate(each, head, (0, 1), (-38, 4), xycoords="axes fraction")
    _title_below(figure, "epoch")
    return figure


def votes(matrix: Sequence[Sequence[float]], labels: Sequence[str], most: float) -> Figure:
    """A map of mean votes: a row for each class of the images, a column for each class voted."""
    longest = LETTER * max(map(len, labels))
    side = (WIDTH - longest - 24) / len(labels)
    figure, axes = _canvas(side * len(labels), (longest + 12, 4.0, 12.0, longest + 30))
    axes.set_xlim(0, len(labels))
    axes.set_ylim(len(labels), 0)
    for row, line in enumerate(matrix):
        for column, value in enumerate(line):
            depth = min(max(value / most, 0.0), 1.0) if most else 0.0
            shade = Rectangle((column, row), 0.96, 0.96, facecolor=COLOURS[0], alpha=depth)
            axes.add_patch(shade)
    centres = [n + 0.5 for n in range(len(labels))]
    axes.set_xticks(centres, list(map(short, labels)), rotation=90)
    axes.set_yticks(centres, list(map(short, labels)))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _title_below(figure, "mean vote for (columns) of images of (rows)")
    return figure


def _canvas(height: float, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """A figure whose axes are so high, with margins left, above, right, below, all in its units."""
    left, above, right, below = margins
    whole = height + above + below
    bounds = (left / WIDTH, below / whole, (WIDTH - left - right) / WIDTH, height / whole)
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(WIDTH / 72, whole / 72))
        axes = figure.add_axes(bounds)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def _annotate(
    axes: Axes, text: str, place: tuple[float, float], apart: tuple[float, float], **style: Any
) -> None:
    """A text so many units apart from a place."""
    given = {"textcoords": "offset points", "annotation_clip": False, "color": INK, **style}
    axes.annotate(text, place, apart, **given)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """A text `x` units from the axes' left end, on the line at `y`."""
    at: Any = ("axes fraction", "data")
    _annotate(axes, text, (0, y), (x, 0), xycoords=at, va="center", **style)


def _title_below(figure: Figure, title: str) -> None:
    figure.text(0.5, 6 / (figure.get_figheight() * 72), short(title, 70), ha="center", color=INK)


def _body(figure: Figure, name: str) -> str:
    """What stands within the SVG element: CSS colours it, and its ids are its own."""
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
    """The figure as an element of a page; `name` is what it shows, in words."""
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
