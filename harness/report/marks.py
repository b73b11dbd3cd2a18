"""The elements of figures: places in units of the figure, colours as classes `c0` to `c7`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isnan

from markupsafe import Markup

from harness.report.drawing import Axis, Curve, Curves, Dots, Mark, Strip, ValueMap, spread

LETTER = 6.1  # width of a letter in the figures' type, about
LINE = 14.0  # height of a line of a dot plot
LONG = 26  # letters of a label that is written above its line
FOOT = 40.0  # below the axis: its ticks and its title
TALL = 240.0  # height of curves


@dataclass(frozen=True)
class Span:
    """An axis and where it lies: from `start` to `end`."""

    axis: Axis
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + self.axis.share(value) * (self.end - self.start)


def text(x: float, y: float, said: str, kind: str = "") -> Markup:
    """A line of text; `kind` is its classes."""
    named = Markup(' class="{}"').format(kind) if kind else Markup("")
    return Markup('<text x="{:.1f}" y="{:.1f}"{}>{}</text>').format(x, y, named, said)


def line(start: tuple[float, float], end: tuple[float, float], kind: str = "") -> Markup:
    """A straight line; `kind` is its classes."""
    named = Markup(' class="{}"').format(kind) if kind else Markup("")
    return Markup('<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}"{}/>').format(*start, *end, named)


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def said(form: str, label: str, mark: Mark) -> str:
    """A mark in words: "fused: 0.84 x floor [0.81, 0.88], n = 12"."""
    parts = [f"{label}: {form.format(mark.value)}"]
    if not (isnan(mark.low) or isnan(mark.high)):
        low, high = (form.format(each).split(" ")[0] for each in (mark.low, mark.high))
        parts.append(f" [{low}, {high}]")
    parts.append(f", n = {mark.n}" if mark.n else "")
    parts.append(f"; {mark.note}" if mark.note else "")
    return "".join(parts)


def shape(x: float, y: float, mark: Mark) -> Markup:
    """The sign that stands at a value."""
    kind = _sign(mark)
    match mark.form:
        case "circle":
            return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(kind, x, y)
        case "diamond":
            path = "M{:.1f} {:.1f}l5 5l-5 5l-5 -5z"
            return Markup(f'<path class="{{}}" d="{path}"/>').format(kind, x, y - 5)
        case "bar":
            return line((x, y - 6), (x, y + 6), "stout")


def _sign(mark: Mark) -> str:
    return "sign hollow" if mark.hollow else "sign"


def dots(drawing: Dots, width: float) -> tuple[Markup, float]:
    """The elements of a dot plot so wide, and its height."""
    labels = [strip.label for group in drawing.groups for strip in group.strips]
    longest = max(map(len, labels), default=0)
    above = longest > LONG
    ends = max((len(s.text) for group in drawing.groups for s in group.strips), default=0)
    left = 12.0 if above else 14 + LETTER * longest
    span = Span(drawing.axis, left, width - 12 - LETTER * ends)
    top = 16.0 if drawing.bounds else 6.0
    drawn, y = [], top
    for group in drawing.groups:
        if group.title:
            y += LINE + 3
            drawn.append(text(0, y - 3, group.title, "title over"))
        for strip in group.strips:
            y += LINE * (2 if above else 1)
            drawn.append(_strip(span, y - LINE / 2, strip, above))
    behind = joined(_behind(drawing, span, top, y))
    return behind + joined(drawn) + _foot(span, y, width), y + FOOT


def _behind(drawing: Dots, span: Span, top: float, bottom: float) -> Iterator[Markup]:
    """The grid, what values are held against, and its names, above all marks."""
    if drawing.shade is not None:
        low, high = (span.at(each) for each in drawing.shade)
        rect = '<rect class="shade" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        yield Markup(rect).format(low, top, high - low, bottom - top)
    for value, _ in span.axis.ticks:
        yield line((span.at(value), top), (span.at(value), bottom), "grid")
    for value, name in drawing.bounds:
        x = span.at(value)
        yield line((x, top - 2), (x, bottom), "bound")
        reach = LETTER * len(name) / 2
        yield text(min(max(x, reach), span.end - reach), top - 5, name, "middle")


def _strip(span: Span, y: float, strip: Strip, above: bool) -> Markup:
    at, side = ((0.0, y - 10), "over") if above else ((span.start - 8, y + 4), "end")
    label = text(*at, strip.label, side)
    drawn = joined(_across(span, y, strip.label, mark) for mark in strip.marks)
    end = text(span.end + 8, y + 4, strip.text) if strip.text else Markup("")
    return label + drawn + end


def _across(span: Span, y: float, label: str, mark: Mark) -> Markup:
    """A mark of a dot plot, with its interval; an arrow where the axis ends before that does."""
    low, high = spread(mark)
    parts = []
    if low < high:
        parts.append(line((span.at(low), y), (span.at(high), y), "interval"))
    for end, step in ((low, 5), (high, -5)):
        if low < high and not span.axis.shows(end):
            arrow = Markup('<path class="sign" d="M{:.1f} {:.1f}l{} -3.5v7z"/>')
            parts.append(arrow.format(span.at(end), y, step))
    parts.append(shape(span.at(mark.value), y, mark))
    return titled(said(span.axis.form, label, mark), mark.colour, parts)


def titled(name: str, colour: int, parts: Iterable[Markup]) -> Markup:
    """Elements in one colour that say what they are when one points at them."""
    group = Markup('<g class="c{}"><title>{}</title>{}</g>')
    return group.format(colour % 8, name, joined(parts))


def _foot(span: Span, y: float, width: float) -> Markup:
    """Ticks and title of the axis below a figure, within its width."""
    ticks = [text(span.at(value), y + 15, name, "middle small") for value, name in _named(span)]
    reach = LETTER * len(span.axis.title) / 2
    x = max(min((span.start + span.end) / 2, width - reach), reach)
    title = text(x, y + 32, span.axis.title, "middle")
    return joined([line((span.start, y), (span.end, y), "rim"), *ticks, title])


def _named(span: Span) -> tuple[tuple[float, str], ...]:
    """The ticks that are named: on a short logarithmic axis every other, or fewer."""
    ticks = span.axis.ticks
    if not span.axis.log:
        return ticks
    for stride in range(1, len(ticks) + 1):
        named = ticks[::stride]
        ends = [(span.at(value), LETTER * len(name) / 2) for value, name in named]
        if all(x - reach >= before + other for (before, other), (x, reach) in pairwise(ends)):
            return named
    return ticks


def curves(drawing: Curves, width: float) -> tuple[Markup, float]:
    """The elements of curves over an axis, and their height."""
    widest = max((len(name) for _, name in drawing.y.ticks), default=0)
    across = Span(drawing.x, 14 + LETTER * widest, width - 10)
    up = Span(drawing.y, TALL - FOOT, 26)
    parts = [text(0, 12, drawing.y.title)]
    for value, name in drawing.y.ticks:
        y = up.at(value)
        parts.append(line((across.start, y), (across.end, y), "grid"))
        parts.append(text(across.start - 6, y + 4, name, "end small"))
    for value, name, colour in drawing.levels:
        level = line((across.start, up.at(value)), (across.end, up.at(value)), "dotted")
        parts.append(titled(f"{name}: {drawing.y.form.format(value)}", colour, [level]))
    beside = [each for each in drawing.curves if not each.dotted and not each.band]
    for each in drawing.curves:
        n = beside.index(each) - (len(beside) - 1) / 2 if each in beside else 0.0
        parts.append(_curve(across, up, each, 4 * n))
    return joined(parts) + _foot(across, TALL - FOOT, width), TALL


def _curve(across: Span, up: Span, curve: Curve, shift: float) -> Markup:
    """A curve, its intervals and its marks; `shift` keeps those of others apart from them."""
    at = [(across.at(x) + shift, up.at(mark.value)) for x, mark in curve.marks]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    parts = []
    if curve.band:
        ends = [spread(mark) for _, mark in curve.marks]
        low = [f"{x:.1f} {up.at(low):.1f}" for (x, _), (low, _) in zip(at, ends, strict=True)]
        high = [f"{x:.1f} {up.at(high):.1f}" for (x, _), (_, high) in zip(at, ends, strict=True)]
        area = "M" + "L".join([*low, *reversed(high)]) + "z"
        parts.append(Markup('<path class="band" d="{}"/>').format(area))
    kind = "dotted" if curve.dotted else "curve"
    parts.append(Markup('<path class="{}" d="{}"/>').format(kind, path) if at else Markup(""))
    for (x, y), (value, mark) in zip(at, curve.marks, strict=True):
        parts.append(_point((x, y), up, curve, value, mark))
    return Markup('<g class="c{}">{}</g>').format(curve.colour % 8, joined(parts))


def _point(at: tuple[float, float], up: Span, curve: Curve, value: float, mark: Mark) -> Markup:
    low, high = spread(mark)
    parts = []
    if low < high and not curve.band and not curve.dotted:
        parts.append(line((at[0], up.at(low)), (at[0], up.at(high)), "interval"))
    sign = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>')
    kind = "unseen" if curve.dotted else _sign(mark)
    parts.append(sign.format(kind, *at, 2.5 if curve.band or curve.dotted else 4))
    name = said(up.axis.form, f"{curve.name}, {value:g}", mark)
    return Markup("<g><title>{}</title>{}</g>").format(name, joined(parts))


def value_map(drawing: ValueMap, width: float) -> tuple[Markup, float]:
    """The elements of a map of values, and its height."""
    left = 12 + LETTER * max(map(len, drawing.rows), default=0)
    side = min((width - left - 8) / max(len(drawing.columns), 1), 30.0)
    parts = [text(0, 12, drawing.row_title, "title")]
    for n, (row, values) in enumerate(zip(drawing.rows, drawing.values, strict=True)):
        y = 22 + n * side
        parts.append(text(left - 6, y + side / 2 + 4, row, "end"))
        for m, (column, value) in enumerate(zip(drawing.columns, values, strict=True)):
            told = f"{drawing.row_title} {row}, {drawing.column_title} {column}: "
            parts.append(
                Markup(
                    '<g><title>{}</title><rect class="cell" x="{:.1f}" y="{:.1f}" '
                    'width="{:.1f}" height="{:.1f}" fill-opacity="{:.3f}"/></g>'
                ).format(
                    told + drawing.form.format(value),
                    *(left + m * side, y, side - 1, side - 1),
                    min(max(value / drawing.most, 0.0), 1.0) if drawing.most else 0.0,
                )
            )
    bottom = 22 + len(drawing.rows) * side
    longest = LETTER * max(map(len, drawing.columns), default=0)
    parts += [
        _slanted(left + (m + 0.5) * side, bottom + 12, column)
        for m, column in enumerate(drawing.columns)
    ]
    below = bottom + 14 + (0.75 * longest if longest > 2 * LETTER else 6)
    parts.append(text(left, below + 14, drawing.column_title, "title"))
    return Markup('<g class="c0">{}</g>').format(joined(parts)), below + 22


def _slanted(x: float, y: float, name: str) -> Markup:
    """A text that ends below a place, aslant where it is long."""
    if len(name) <= 2:
        return text(x, y, name, "middle")
    turned = '<text class="end" transform="translate({:.1f} {:.1f}) rotate(-45)">{}</text>'
    return Markup(turned).format(x + 4, y, name)


def sample(curve: Curve) -> Markup:
    """A curve as a legend shows it."""
    kind = "dotted" if curve.dotted else "curve"
    sign = Markup("") if curve.dotted else shape(12, 6, Mark(0.0))
    drawn = joined([line((1, 6), (23, 6), kind), sign])
    return Markup('<g class="c{}">{}</g>').format(curve.colour % 8, drawn)


def level_sample(colour: int) -> Markup:
    """A level as a legend shows it."""
    return Markup('<g class="c{}">{}</g>').format(colour % 8, line((1, 6), (23, 6), "dotted"))


def mark_sample(mark: Mark) -> Markup:
    """A mark as a legend shows it."""
    return Markup('<g class="c{}">{}</g>').format(mark.colour % 8, shape(12, 6, mark))
