"""The report's part on speed: the first picture, machines side by side, memory, tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from harness.analysis.groups import grouped, machines
from harness.analysis.named import data_in_full
from harness.analysis.speed import FEWEST_RANKED, Acceleration, acceleration_lines
from harness.records import Row
from harness.records.fields import Place
from harness.report import figures, grid, headline, provenance
from harness.report.drawing import Dots
from harness.report.headline import Headline
from harness.report.parts import Figure, Section, drawn
from harness.spec import paper

# What of the wide tables is shown; the whole ones are under tables/*.md.
SPEED_COLUMNS = (
    *("framework", "variant", "mode", "precision", "neunorm", "T", "rank", "seconds_per_iteration"),
    *("ratio_to_floor", "ratio_low", "ratio_high", "rounds", "ratio_to_fp32_floor"),
    *("speedup_vs_reference", "speedup_low", "speedup_high", "peak_memory_mib", "memory_note"),
    *("certificate", "exam", "exam_inputs", "audit", "protocol", "mismatch_rate"),
    *("gradient_cosine", "layout", "computed", "implementation", "compile_seconds", "reason"),
)
KEY = (
    f"Bars: 95 % intervals; hollow: fewer than {FEWEST_RANKED} rounds; diamonds: another form of "
    "the framework; arrows: the interval goes on; †: of another run of its network."
)


@dataclass(frozen=True)
class Panel:
    """A data set's part of the first picture."""

    dataset: str
    caption: str
    drawing: Dots
    rows: Sequence[Row]  # that it was made from


def panels(rows: Sequence[Row]) -> list[Panel]:
    """The first picture, of the machine that the README shows."""
    found = figures.of_machines(acceleration_lines(rows))
    if not found:
        return []
    colours = figures.palette(line for each in found for line in each.shown)
    made = ((name, figures.speed(found[0], name, found[:1], colours)) for name in paper.SETTINGS)
    known, place = provenance.substitutes(rows), found[0]
    return [
        Panel(name, caption(place, name, known), drawing, _rows_of(place, name, rows))
        for name, drawing in made
        if drawing
    ]


def first(rows: Sequence[Row]) -> tuple[Figure, ...]:
    """The first picture as figures, one a data set."""
    return tuple(
        drawn(each.drawing, f"first-{each.dataset}", each.caption, each.rows)
        for each in panels(rows)
    )


def caption(found: Headline, dataset: str, known: frozenset[tuple[str, str]]) -> str:
    """What a machine timed a data set's networks on, by scale where that differs."""

    def name(line: Acceleration) -> str:
        stands_in = (dataset, line.data_source) in known
        return data_in_full(dataset, line.data_source, stands_in)

    groups = grouped((line for line in found.shown if line.dataset == dataset), name)
    if len(groups) < 2:
        return "".join(groups)
    scales = {each: ", ".join(dict.fromkeys(e.scale for e in on)) for each, on in groups.items()}
    return "; ".join(f"{scale}: {each}" for each, scale in scales.items())


def _rows_of(found: Headline, dataset: str, rows: Sequence[Row]) -> list[Row]:
    runs = {line.run for line in found.shown if line.dataset == dataset}
    return [row for row in rows if row.run in runs and row.dataset == dataset]


def speed(rows: list[Row]) -> Section | None:
    """Fig. 3: who takes how long; None where nothing was timed."""
    timed = machines(row for row in rows if row.suite == "acceleration")
    if not timed:
        return None
    every = {place: acceleration_lines(here) for place, here in timed.items()}
    found = figures.of_machines(line for lines in every.values() for line in lines)
    colours = figures.palette(line for each in found for line in each.shown)
    shown = [
        *_side_by_side(found, colours, rows),
        *_memory(found[:1], colours, rows),
        *_matlab([line for lines in every.values() for line in lines], rows),
    ]
    tables = [
        (f"Tables: {place}", Markup("").join(_tables(here, provenance.substitutes(rows), place)))
        for place, here in every.items()
    ]
    return Section("speed", "Speed and memory (Fig. 3)", _text(found), tuple(shown), tuple(tables))


def _side_by_side(
    found: Sequence[Headline], colours: dict[str, int], rows: Sequence[Row]
) -> Iterator[Figure]:
    """Each machine's ratios of a data set on one axis; one machine's stand on the first screen."""
    if len(found) < 2:
        return
    known = provenance.substitutes(rows)
    for name, settings in paper.SETTINGS.items():
        for n, each in enumerate(found):
            drawing = figures.speed(each, name, found, colours)
            if drawing is not None:
                heading = f"Machines side by side: networks for {settings.title}"
                of = _rows_of(each, name, rows)
                said = caption(each, name, known)
                yield drawn(drawing, f"speed-{name}-{n}", said, of, heading)


def _memory(
    found: Sequence[Headline], colours: dict[str, int], rows: Sequence[Row]
) -> Iterator[Figure]:
    known = provenance.substitutes(rows)
    for each in found:
        for name in paper.SETTINGS:
            drawing = figures.memory(each, name, colours)
            if drawing is not None:
                said = f"Peak memory: {caption(each, name, known)}"
                of = _rows_of(each, name, rows)
                yield drawn(drawing, f"memory-{name}", said, of, "Memory")


def _matlab(lines: Sequence[Acceleration], rows: Sequence[Row]) -> Iterator[Figure]:
    for n, here in enumerate(grouped(lines, lambda line: line.place).values()):
        drawing = figures.matlab(here)
        if drawing is not None:
            said = (
                "Matlab code over plain PyTorch, both on the CPU; shaded: tens of times; hollow: "
                "scaled from a part of an iteration"
            )
            runs = {line.run for line in figures.against(here)}
            of = [row for row in rows if row.run in runs]
            yield drawn(drawing, f"matlab-{n}", said, of, "Matlab code")


def _tables(
    lines: Sequence[Acceleration], known: frozenset[tuple[str, str]], place: Place
) -> Iterator[Markup]:
    cells = grouped(lines, lambda line: (line.dataset, line.scale, line.network, line.width))
    for (dataset, scale, network, width), contenders in cells.items():
        source = contenders[0].data_source
        data = data_in_full(dataset, source, (dataset, source) in known)
        conditions = f", width {width}" if width != "1" else ""
        title = f"{scale}{conditions} on {data}: {network}"
        chosen = [{name: getattr(line, name) for name in SPEED_COLUMNS} for line in contenders]
        yield grid.html(pd.DataFrame(chosen), f"{title}; {place}")


def _text(found: Sequence[Headline]) -> str:
    first_machine = found[0] if found else None
    said = f" {headline.unlike([*first_machine.figures])}" if first_machine else ""
    return (
        "One iteration (zero_grad, forward, loss, backward, step) on a batch of 20, T = 10; all "
        "contenders of a cell in the same rounds in random order. Figures are ratios to the "
        "float32 floor, the network's convolutions and products alone: geometric means over rounds "
        "with Student's 95 % interval of the paired logs. Above 1 lie neurons, pools, layout, "
        "batching over time, optimiser and allocation, which move with the machine. A rank needs "
        f"a passed exam and audits, {FEWEST_RANKED} rounds, the present protocol and a quiet run; "
        f"who overlaps shares one. {KEY}{said}"
    )
