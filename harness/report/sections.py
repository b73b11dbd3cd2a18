"""The parts of the report: each from rows, None where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd
from markupsafe import Markup

from harness.analysis import tables
from harness.records import Row
from harness.report import energy as costs
from harness.report import grid, systems, trained
from harness.report.drawing import Curves
from harness.report.parts import Figure, Section, drawn
from harness.report.proofs import certificates
from harness.report.timings import speed

__all__ = ["SECTIONS", "Figure", "Section"]

SECONDS = (
    "Seconds per epoch are wall time beside whatever else the machine did, no measurement of speed."
)
TRAINED = {
    "timesteps": "against T",
    "scale": "against scale",
    "neunorm": "NeuNorm",
    "accuracy": "Tables 3 to 6",
}
AT_CHANCE = (
    "at chance: how many seeds learnt nothing (below twice chance on their training data); they "
    "count in the means."
)
HOLLOW = f"{AT_CHANCE} Hollow marks have such seeds."
BANDS = "By epoch, shaded: the 95 % interval of the mean over seeds; dotted: in training."


def timesteps(rows: list[Row]) -> Section | None:
    """Fig. 5: accuracy against T; None where that suite was not run."""
    return _trained(
        rows,
        "timesteps",
        "Accuracy against T (Fig. 5)",
        "Bars: 95 % interval of the mean over seeds. Dotted: a network trained over one T and "
        f"tested over others. {HOLLOW}",
        trained.timesteps,
    )


def scale(rows: list[Row]) -> Section | None:
    """Fig. 4: accuracy of the three scales; None where that suite was not run."""
    return _trained(
        rows,
        "scale",
        "Accuracy against scale (Fig. 4)",
        f"Bars: 95 % interval of the mean over seeds. {HOLLOW}",
        trained.scale,
    )


def _trained(
    rows: list[Row],
    suite: str,
    title: str,
    text: str,
    draw: Callable[[Sequence[Row]], Curves | None],
) -> Section | None:
    drawing = draw(rows)
    if drawing is None:
        return None
    names = "; ".join(dict.fromkeys(name for name, *_ in trained.learning_curves(rows, suite)))
    caption = f"{title}: {names}" if names else title
    shown = (drawn(drawing, suite, caption, _of(rows, suite)), *_curves(rows, suite))
    return Section(
        suite, title, f"{text} {BANDS} {SECONDS}", shown, _tables(tables.TABLES[suite](rows), title)
    )


def _of(rows: Sequence[Row], *suites: str) -> list[Row]:
    return [row for row in rows if row.suite in suites]


def _tables(table: pd.DataFrame, title: str) -> tuple[tuple[str, Markup], ...]:
    return (("", grid.short(table, f"Table: {title}")),)


def _curves(rows: list[Row], suite: str) -> Iterator[Figure]:
    """How the trainings of a suite went, a figure for each data set and network."""
    for n, (name, drawing, of) in enumerate(trained.learning_curves(rows, suite)):
        caption = f"Accuracy by epoch ({TRAINED[suite]}): {name}"
        yield drawn(drawing, f"curves-{suite}-{n}", caption, of)


def ablations(rows: list[Row]) -> Section | None:
    """What changes of a training cost; None where that suite was not run."""
    table = tables.TABLES["ablations"](rows)
    if table.empty:
        return None
    text = (
        "Each differs from the first in what its name says. difference: to the first, by seeds "
        "that both have, with Student's 95 % interval; dead layers: those that fire at less than a "
        f"thousandth at the end. {HOLLOW} {SECONDS}"
    )
    drawing = trained.ablations(rows)
    caption = "Accuracy less that of the training without the change"
    of = _of(rows, "ablations")
    shown = () if drawing is None else (drawn(drawing, "ablations", caption, of),)
    return Section("ablations", "Ablations", text, shown, _tables(table, "ablations"))


def neunorm(rows: list[Row]) -> Section | None:
    """Fig. 6: votes without and with NeuNorm; None where that suite was not run."""
    table = tables.TABLES["neunorm"](rows)
    if table.empty:
        return None
    shown = [*_curves(rows, "neunorm")]
    for n, (name, drawing) in enumerate(trained.confusion(rows)):
        caption = f"{name}: mean votes over random test images (Fig. 6)"
        shown.append(
            drawn(drawing, f"confusion-{n}", caption, _of(rows, "neunorm"), "Votes (Fig. 6)")
        )
    text = (
        "target: the test accuracy that all readings reach with the same seed; epochs to target: "
        "when each does; contrast: the mean vote for the right class less that for a wrong one. "
        f"{AT_CHANCE} {BANDS} {SECONDS}"
    )
    found = _tables(table, "NeuNorm")
    return Section("neunorm", "NeuNorm (Fig. 6)", text, tuple(shown), found)


def paper_tables(rows: list[Row]) -> Section | None:
    """Tables 3 to 6 beside what was measured; there is always one."""
    of = _of(rows, "accuracy", "baselines")
    shown = [*_curves(rows, "accuracy")]
    for number in (3, 4, 5, 6):
        drawing = systems.table(number, rows)
        if drawing is not None:
            data = systems.data_of_table(number, rows)
            caption = f"Table {number}: published, and measured here on {data}"
            here = [row for row in of if row.dataset == systems.dataset(number)]
            shown.append(drawn(drawing, f"table-{number}", caption, here))
    converted = systems.conversion(rows)
    if converted is not None:
        caption = "Converted networks and directly trained ones against T"
        caption += "; dotted: what was converted"
        shown.append(drawn(converted, "conversion", caption, of))
    text = (
        "Every row of the paper in its order: its own figures and those it cites, beside them what "
        "was measured here, our networks and the other systems alike, on the same samples and the "
        "same split. An accuracy at reduced width, on part of the data or over fewer epochs is not "
        "comparable with a published one; fidelity says whose parameters another system has, "
        "deviations what of it is not as published. "
        f"{BANDS} {SECONDS}"
    )
    listed = tuple(
        (f"Table {number}", grid.short(tables.TABLES[number](rows), f"Table {number}"))
        for number in ("3", "4", "5", "6")
    )
    return Section("tables", "Tables 3 to 6", text, tuple(shown), listed)


def energy(rows: list[Row]) -> Section | None:
    """What an inference costs, said three ways; None where nothing was counted."""
    shown = costs.ways(rows)
    if not shown:
        return None
    drawing = costs.figure(rows)
    caption = "Trained networks: accuracy against what an inference takes"
    of = _of(rows, "energy", *costs.OVER)
    figures = () if drawing is None else (drawn(drawing, "energy", caption, of),)
    text = "Of one test sample. The three ways answer three questions and do not compare."
    return Section("energy", "Energy, in three ways", text, figures, shown)


SECTIONS = (
    speed,
    certificates,
    timesteps,
    scale,
    neunorm,
    paper_tables,
    ablations,
    energy,
)  # in their order
