"""What a figure shows, as data: dots with intervals, lines over an axis, a map of values.

How it looks is `chart.py`'s to say. Values are as they are shown: accuracies in per cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log2, log10, nan
from typing import Literal

ROOM = 1.5  # that a number needs beside the next on a logarithmic axis, as a factor
Form = Literal["circle", "diamond", "bar"]


@dataclass(frozen=True)
class Axis:
    """A direction of a figure, with what is written along it."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]  # place and text
    log: bool = False
    form: str = "{:.4g}"  # of a value, with its unit

    def share(self, value: float) -> float:
        """Where a value lies, as a share of the axis; at an end where it lies outside."""
        ends = (self.low, self.high, value)
        low, high, at = (log10(max(each, 1e-300)) for each in ends) if self.log else ends
        return min(max((at - low) / (high - low), 0.0), 1.0)

    def shows(self, value: float) -> bool:
        """Whether a value lies on it."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Mark:
    """A value with its interval; NaN where that is not known."""

    value: float
    low: float = nan
    high: float = nan
    n: int = 0  # of rounds or seeds; 0: it has none
    note: str = ""  # what else is to be known of it
    colour: int = 0
    form: Form = "circle"
    hollow: bool = False  # it is doubtful; the note says why


@dataclass(frozen=True)
class Strip:
    """A line of a dot plot: what it is of, and its marks."""

    label: str
    marks: tuple[Mark, ...]
    text: str = ""  # at its end


@dataclass(frozen=True)
class Strips:
    """Lines that belong together, under a title."""

    title: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Dots:
    """Values from left to right, a line each, in groups; with lines to hold them against."""

    axis: Axis
    groups: tuple[Strips, ...]
    bounds: tuple[tuple[float, str], ...] = ()  # value and its name, written above
    shade: tuple[float, float] | None = None
    key: tuple[tuple[str, Mark], ...] = ()  # what marks of a line mean, where it has several


@dataclass(frozen=True)
class Curve:
    """Values over an axis, joined."""

    name: str
    colour: int
    marks: tuple[tuple[float, Mark], ...]  # x and value
    dotted: bool = False  # thin, without marks and intervals
    band: bool = False  # intervals as an area
    listed: bool = True  # in the legend; else the text says what it is


@dataclass(frozen=True)
class Curves:
    """Curves over one axis."""

    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    levels: tuple[tuple[float, str, int], ...] = ()  # value, name, colour: dotted, all across


@dataclass(frozen=True)
class ValueMap:
    """A value for each row and column, as depths of one colour from 0 to `most`."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    most: float
    row_title: str
    column_title: str
    form: str = "{:.3f}"


Drawing = Dots | Curves | ValueMap


def spread(mark: Mark) -> tuple[float, float]:
    """The ends of a mark's interval; its value twice where there is none."""
    known = isfinite(mark.low) and isfinite(mark.high)
    return (mark.low, mark.high) if known else (mark.value, mark.value)


def linear(title: str, low: float, high: float, form: str = "{:.4g}") -> Axis:
    """An axis whose ticks are 1, 2 or 5 times a power of ten, and which ends at ticks."""
    step = _step(low, high)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last = max(last, first + 1)
    digits = max(0, -floor(log10(step) + 1e-9))
    ticks = tuple((n * step, f"{n * step:,.{digits}f}") for n in range(first, last + 1))
    return Axis(title, first * step, last * step, ticks, form=form)


def _step(low: float, high: float) -> float:
    rough = (high - low) / 5 if high > low else 1.0
    power = 10.0 ** floor(log10(rough))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= rough * (1 - 1e-9))


def logarithmic(title: str, values: Iterable[float], form: str, base: int = 2) -> Axis:
    """An axis over positive values, whose ticks are powers of the base."""
    known = [value for value in values if 0 < value < inf] or [1.0]
    low, high = min(known) / 1.15, max(known) * 1.15
    scale = log10(base)
    first, last = ceil(log10(low) / scale), floor(log10(high) / scale)
    if last <= first:
        first, last = floor(log10(low) / scale), ceil(log10(high) / scale)
        low, high = min(low, float(base) ** first), max(high, float(base) ** last)
    stride = 1 + (last - first) // 7
    ticks = [float(base) ** n for n in range(first, last + 1, stride)]
    return Axis(title, low, high, tuple((each, f"{each:,.4g}") for each in ticks), True, form)


def steps_of_time(values: Sequence[float]) -> Axis:
    """An axis of numbers of steps T, a tick each, on a logarithmic scale."""
    low, high = min(values) / 1.2, max(values) * 1.2
    ticks = tuple((value, f"{value:g}") for value in _apart(set(values)))
    return Axis("T, time steps", low, high, ticks, True, "T = {:g}")


def _apart(values: set[float]) -> list[float]:
    """Those that have room for their number on a logarithmic scale: powers of two come first."""
    kept: list[float] = []
    for value in sorted(values, key=lambda each: (not log2(each).is_integer(), each)):
        if all(max(value, each) / min(value, each) >= ROOM for each in kept):
            kept.append(value)
    return sorted(kept)


def names(title: str, given: Sequence[str]) -> Axis:
    """An axis of names, the first at 0, the next at 1."""
    ticks = tuple((float(n), name) for n, name in enumerate(given))
    return Axis(title, -0.5, len(given) - 0.5, ticks)


def per_cent(title: str, values: Iterable[float]) -> Axis:
    """An axis of shares in per cent, from 0 where they are not all near the top."""
    known = [value for value in values if isfinite(value)] or [0.0, 100.0]
    low = min(known)
    return linear(title, 0.0 if low < 70 else low - 1, max(*known, low + 1), "{:.1f} %")
