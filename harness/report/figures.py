"""What the figures of speed and memory show, from the lines of the acceleration table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan, nan

from harness.analysis.groups import grouped
from harness.analysis.matlab import FORMS, TENS, against
from harness.analysis.speed import FEWEST_RANKED, Acceleration
from harness.report.drawing import Axis, Dots, Mark, Strip, Strips, logarithmic
from harness.report.headline import ELSEWHERE, TUNED, Headline, headline, in_order
from harness.spec import FLOOR, paper

FAR = 2.0  # an axis ends where intervals reach further than this beyond all values


def of_machines(lines: Iterable[Acceleration]) -> list[Headline]:
    """Fig. 3's cells on each machine, that of the README first."""
    lines = list(lines)
    first = headline(lines)
    here = [headline(each) for each in grouped(lines, lambda line: line.place).values()]
    found = [each for each in here if each is not None and each.shown]
    return sorted(found, key=lambda each: first is None or each.place != first.place)


def palette(lines: Iterable[Acceleration]) -> dict[str, int]:
    """A colour for each framework, the same in all figures of a page."""
    names = sorted({line.framework for line in lines} - {FLOOR})
    return {name: n for n, name in enumerate(names)}


def speed_axis(lines: Iterable[Acceleration]) -> Axis:
    """The axis of ratios to the float32 floor, the same for all machines that are compared."""
    lines = [line for line in lines if not isnan(line.ratio_to_fp32_floor)]
    values = [1.0, *(line.ratio_to_fp32_floor for line in lines)]
    low, high = min(values) / FAR, max(values) * FAR
    ends = [line.ratio_to_fp32_floor_low for line in lines]
    ends += [line.ratio_to_fp32_floor_high for line in lines]
    values += [min(max(end, low), high) for end in ends if not isnan(end)]
    title = "time of a training step / float32 floor"
    return logarithmic(title, values, "{:.2f} x floor")


def speed(
    found: Headline, dataset: str, among: Sequence[Headline], colours: dict[str, int]
) -> Dots | None:
    """Ratio to the float32 floor of each contender, a group for each scale, with 95 % intervals.

    Axis and lines are those of all machines `among`, so that figures can be read side by side.
    Who passed no exam, or failed an audit, is in the tables alone.
    """
    axis = speed_axis(line for each in among for line in each.shown)

    def strip(line: Acceleration) -> Strip:
        low, high = line.ratio_to_fp32_floor_low, line.ratio_to_fp32_floor_high
        value = line.ratio_to_fp32_floor
        return _strip(found, line, (value, low, high), f"{value:.2f}", colours)

    bounds = ((1.0, "floor"),)
    groups = _groups(found, dataset, among, strip)
    shown = [line for line in found.shown if line.dataset == dataset]
    timed = [line for line in shown if not isnan(line.ratio_to_fp32_floor)]
    return Dots(axis, groups, bounds) if timed else None


def memory(found: Headline, dataset: str, colours: dict[str, int]) -> Dots | None:
    """Peak memory of each contender, of those whose speed is shown."""
    shown = [line for line in found.shown if line.dataset == dataset]
    values = [line.peak_memory_mib for line in shown if line.peak_memory_mib > 0]
    if not values:
        return None

    def strip(line: Acceleration) -> Strip:
        mib = line.peak_memory_mib
        if isnan(mib):
            return Strip(line.name, (), "–")
        return _strip(found, line, (mib, nan, nan), f"{mib:,.0f}", colours)

    title = "peak memory of a step over the base, MiB"
    axis = logarithmic(title, values, "{:,.0f} MiB")
    return Dots(axis, _groups(found, dataset, (found,), strip))


def _groups(
    found: Headline,
    dataset: str,
    among: Sequence[Headline],
    strip: Callable[[Acceleration], Strip],
) -> tuple[Strips, ...]:
    """A group for each scale; a contender that another machine alone has timed has no mark."""
    groups = []
    for scale in _scales(dataset, among):
        strips = []
        for name in in_order({name for each in among for name in each.columns}):
            line = found.column(name, dataset, scale)
            if line is not None and not isnan(line.ratio_to_fp32_floor):
                strips.append(strip(line))
            elif any(each.column(name, dataset, scale) for each in among):
                strips.append(Strip(name.replace(TUNED, ", tuned"), (), "–"))
        groups.append(Strips(scale, tuple(strips)))
    return tuple(groups)


def _scales(dataset: str, among: Sequence[Headline]) -> list[str]:
    shown = (line for each in among for line in each.shown if line.dataset == dataset)
    found = dict.fromkeys(line.scale for line in shown)
    return sorted(found, key=lambda scale: paper.paper_order(dataset, scale))


def _strip(
    found: Headline,
    line: Acceleration,
    value: tuple[float, float, float],
    said: str,
    colours: dict[str, int],
) -> Strip:
    """A contender's mark, and behind it a sign where it is of another run than its cell."""
    elsewhere = found.of_another_run(line)
    notes = [
        f"preliminary: fewer than {FEWEST_RANKED} rounds" if line.preliminary else "",
        "of another run of this network" if elsewhere else "",
    ]
    mark = Mark(
        *value,
        n=line.rounds,
        note="; ".join(note for note in notes if note),
        colour=colours.get(line.framework, 0),
        form="diamond" if line.variant else "circle",
        hollow=line.preliminary,
    )
    return Strip(line.name, (mark,), said + (ELSEWHERE if elsewhere else ""))


def matlab(lines: Sequence[Acceleration]) -> Dots | None:
    """Time of each form of the Matlab code over plain PyTorch's, on a logarithmic axis."""
    shown = against(lines)
    if not shown:
        return None
    cells = grouped(shown, lambda line: f"{paper.settings(line.dataset).title} {line.scale}")
    forms = list(FORMS)
    groups = []
    for cell, here in cells.items():
        here.sort(key=lambda line: forms.index(line.variant))
        groups.append(Strips(cell, tuple(_form(each, forms.index(each.variant)) for each in here)))
    values = [1 / line.speedup_low for line in shown if line.speedup_low > 0]
    axis = logarithmic(
        "time over plain PyTorch's", [1.0, 10 * TENS, *values], "{:,.1f} times", base=10
    )
    return Dots(axis, tuple(groups), ((1.0, "plain PyTorch"),), (TENS, 10 * TENS))


def _form(line: Acceleration, colour: int) -> Strip:
    value = 1 / line.speedup_vs_reference
    ends = (line.speedup_high, line.speedup_low)
    low, high = (1 / end if end > 0 else float("nan") for end in ends)
    scaled = "" if isnan(line.part) else "scaled from a part of an iteration"
    mark = Mark(value, low, high, line.rounds, scaled, colour, hollow=bool(scaled))
    return Strip(FORMS[line.variant], (mark,), f"{value:.3g}" if value < 1000 else f"{value:,.0f}")
