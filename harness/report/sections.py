"""The parts of the report: each from rows, None where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from harness.analysis import tables
from harness.analysis.groups import grouped, machines
from harness.analysis.speed import FEWEST_RANKED, Acceleration, acceleration_lines
from harness.records import CertificateRow, Row
from harness.records.fields import Place
from harness.report import figures, grid, headline, systems, trained
from harness.spec import paper

# What of the wide tables is shown; the whole ones are under tables/*.md.
SPEED_COLUMNS = (
    *("framework", "variant", "mode", "precision", "neunorm", "T", "rank", "seconds_per_iteration"),
    *("ratio_to_floor", "ratio_low", "ratio_high", "rounds", "ratio_to_fp32_floor"),
    *("speedup_vs_reference", "speedup_low", "speedup_high", "peak_memory_mib", "memory_note"),
    *("certificate", "exam", "exam_inputs", "audit", "protocol", "mismatch_rate"),
    *("gradient_cosine", "layout", "computed", "implementation", "compile_seconds", "reason"),
)
SECONDS = (
    "Seconds per epoch are wall time beside whatever else the machine did, no measurement of speed."
)


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption."""

    caption: str
    html: Markup


@dataclass(frozen=True)
class Section:
    """A part of the results: figures, then tables."""

    id: str
    title: str
    text: str
    figures: tuple[Figure, ...]
    tables: tuple[tuple[str, Markup], ...]  # title and table; folded where the title is not empty


def speed(rows: list[Row]) -> Section | None:
    """Fig. 3: who takes how long; None where nothing was timed."""
    timed = machines(row for row in rows if row.suite == "acceleration")
    if not timed:
        return None
    # figures are of one machine, that of the README; the tables are of all
    every = {place: acceleration_lines(here) for place, here in timed.items()}
    found = headline.headline(line for lines in every.values() for line in lines)
    place = found.place if found else next(iter(every))
    lines = every[place]
    drawn = []
    for name, settings in paper.SETTINGS.items():
        for kind, draw in (("speed", figures.speed), ("memory", figures.memory)):
            figure = draw(lines, name)
            if figure is not None:
                drawn.append(_drawn(figure, f"{kind}-{name}", f"{settings.title}: {kind}"))
    for each, here in every.items():
        figure = figures.matlab(here)
        if figure is not None:
            name = f"matlab-{len(drawn)}"
            caption = f"Matlab code over plain PyTorch, both on the CPU: {each}"
            drawn.append(_drawn(figure, name, f"{caption}; crossed bars are scaled"))
    shown = [
        (f"{each}: {title}" if len(timed) > 1 else title, html)
        for each, here in every.items()
        for title, html in _speed_tables(here)
    ]
    text = _speed_text(place, lines)
    return Section("speed", "Speed and memory (Fig. 3)", text, tuple(drawn), tuple(shown))


def _speed_tables(lines: list[Acceleration]) -> Iterator[tuple[str, Markup]]:
    cells: dict[tuple[str, ...], list[Acceleration]] = {}
    for line in lines:
        cells.setdefault((line.dataset, line.scale, line.network, line.width), []).append(line)
    for (dataset, scale, network, width), contenders in cells.items():
        conditions = f", width {width}" if width != "1" else ""
        title = f"{paper.settings(dataset).title} {scale}{conditions}: {network}"
        chosen = [{name: getattr(line, name) for name in SPEED_COLUMNS} for line in contenders]
        yield f"{title}; {contenders[0].data_source}", grid.html(pd.DataFrame(chosen))


def _speed_text(place: Place, lines: list[Acceleration]) -> str:
    contenders = [line for line in lines if line.in_figure_3 and line.standing != "none"]
    return (
        "One iteration (zero_grad, forward, loss, backward, step) on a batch of 20, T = 10; all "
        "contenders of a cell in the same rounds in random order. Figures are ratios to the floor, "
        "the network's convolutions and products alone: geometric means over rounds with Student's "
        "95 % interval of the paired logs. Above 1 lie neurons, pools, layout, batching over time, "
        "optimiser and allocation, which move with the machine. A rank needs a passed "
        f"exam and audits, {FEWEST_RANKED} rounds, the present protocol and a quiet run; who "
        "overlaps shares one. Striped bars are preliminary: fewer rounds. "
        f"Figures are of {place}. {headline.unlike(contenders)}"
    )


def certificates(rows: list[Row]) -> Section | None:
    """What was proved of whom; None where nothing was."""
    proofs = [row for row in rows if isinstance(row, CertificateRow)]
    if not proofs:
        return None
    cells = grouped(proofs, lambda row: (row.suite, row.dataset, row.scale, row.neunorm or ""))
    shown = []
    for (suite, dataset, scale, neunorm), layers in cells.items():
        reading = f" NeuNorm {neunorm}" if neunorm else ""
        title = f"{suite}: {paper.settings(dataset).title} {scale}{reading}"
        shown.append((title, grid.html(pd.DataFrame(_proof_lines(layers)))))
    text = (
        "Each contender against the reference on the very network that is measured, with the same "
        "weights and input: spikes of every layer at every step, gradients of every parameter. "
        "float64: none may differ, gradients within 1e-12; float32: one spike in a million, within "
        "1e-5 of the threshold, gradients within 1e-5. bf16 is never called equal: its bar are its "
        "audits, and a training on digits that ends within the spread of float32's seeds."
    )
    return Section("certificates", "Proof of equality", text, (), tuple(shown))


def _proof_lines(layers: list[CertificateRow]) -> list[dict[str, object]]:
    """The last proof of each contender and precision, layer by layer."""
    latest: dict[tuple[object, ...], CertificateRow] = {}
    for row in layers:
        of = (row.framework, row.variant, row.T, row.width, row.precision)
        latest[*of, row.certificate_precision, row.layer] = row
    return [
        {
            "framework": row.contender,
            "T": row.T,
            "width": row.width,
            "precision": row.certificate_precision,
            "layer": row.layer or "all",
            "outcome": "" if row.layer else "equal" if row.certified else "not equal",
            "rate": row.spike_rate,
            "spikes": row.spikes,
            "mismatches": row.mismatches,
            "gradient_error": row.gradient_error,
            "gradient_cosine": row.gradient_cosine,
            "reason": row.reason or "",
        }
        for row in latest.values()
    ]


def timesteps(rows: list[Row]) -> Section | None:
    """Fig. 5: accuracy against T; None where that suite was not run."""
    return _trained(
        rows,
        "timesteps",
        "Accuracy against T (Fig. 5)",
        "Bars: 95 % interval of the mean over seeds. Dotted: a network trained over one T and "
        "tested over others.",
        trained.timesteps,
    )


def scale(rows: list[Row]) -> Section | None:
    """Fig. 4: accuracy of the three scales; None where that suite was not run."""
    return _trained(
        rows,
        "scale",
        "Accuracy against scale (Fig. 4)",
        "Bars: 95 % interval of the mean over seeds.",
        trained.scale,
    )


def _trained(
    rows: list[Row],
    suite: str,
    title: str,
    text: str,
    draw: Callable[[Sequence[Row]], go.Figure | None],
) -> Section | None:
    figure = draw(rows)
    if figure is None:
        return None
    table = tables.TABLES[suite](rows)
    drawn = (_drawn(figure, suite, title), *_curves(rows, suite, table))
    return Section(suite, title, f"{text} {SECONDS}", drawn, (("", grid.short(table)),))


def _curves(rows: list[Row], suite: str, table: pd.DataFrame) -> Iterator[Figure]:
    """How the trainings of a suite went, a figure for each data set."""
    for name in dict.fromkeys(table["dataset"]):
        figure = trained.learning_curves(rows, suite, name)
        if figure is not None:
            caption = f"{paper.settings(name).title}: accuracy by epoch; dotted: in training"
            yield _drawn(figure, f"curves-{suite}-{name}", caption)


def ablations(rows: list[Row]) -> Section | None:
    """What changes of a training cost; None where that suite was not run."""
    table = tables.TABLES["ablations"](rows)
    if table.empty:
        return None
    text = (
        "Each differs from the first in one thing alone. difference: to the first, by seeds that "
        "both have, with Student's 95 % interval; dead layers: those that fire at less than a "
        "thousandth at the end. " + SECONDS
    )
    drawn = []
    figure = trained.ablations(rows)
    if figure is not None:
        drawn.append(_drawn(figure, "ablations", "accuracy less that of the first"))
    return Section("ablations", "Ablations", text, tuple(drawn), (("", grid.short(table)),))


def neunorm(rows: list[Row]) -> Section | None:
    """Fig. 6: votes without and with NeuNorm; None where that suite was not run."""
    table = tables.TABLES["neunorm"](rows)
    if table.empty:
        return None
    drawn = [*_curves(rows, "neunorm", table)]
    for name in dict.fromkeys(table["dataset"]):
        title = paper.settings(name).title
        for n, (reading, matrix) in enumerate(trained.confusion(rows, name)):
            caption = f"{title}, {reading}: mean votes over random test images (Fig. 6)"
            drawn.append(_drawn(matrix, f"confusion-{name}-{n}", caption))
    text = (
        "target: the test accuracy that all readings reach with the same seed; epochs to target: "
        "when each does; contrast: the mean vote for the right class less that for a wrong one. "
        + SECONDS
    )
    return Section("neunorm", "NeuNorm (Fig. 6)", text, tuple(drawn), (("", grid.short(table)),))


def paper_tables(rows: list[Row]) -> Section | None:
    """Tables 3 to 6 beside what was measured; there is always one."""
    table = tables.TABLES["accuracy"](rows)
    drawn = [] if table.empty else [*_curves(rows, "accuracy", table)]
    for number in (3, 4, 5, 6):
        figure = systems.table(number, rows)
        if figure is not None:
            caption = f"Table {number}: published, and measured here on the samples in the table"
            drawn.append(_drawn(figure, f"table-{number}", caption))
    figure = systems.conversion(rows)
    if figure is not None:
        caption = "CIFAR-10: converted networks and directly trained ones against T"
        drawn.append(_drawn(figure, "conversion", f"{caption}; dotted: what was converted"))
    shown = tuple(
        (f"Table {number}", grid.short(tables.TABLES[number](rows)))
        for number in ("3", "4", "5", "6")
    )
    text = (
        "Every row of the paper in its order: its own figures and those it cites, beside them what "
        "was measured here, our networks and the other systems alike, on the same samples and the "
        "same split. An accuracy at reduced width, on part of the data or over fewer epochs is not "
        "comparable with a published one; fidelity says whose parameters another system has, "
        "deviations what of it is not as published. " + SECONDS
    )
    return Section("tables", "Tables 3 to 6", text, tuple(drawn), shown)


SECTIONS = (
    speed,
    certificates,
    timesteps,
    scale,
    neunorm,
    paper_tables,
    ablations,
)  # in their order


def _drawn(figure: go.Figure, name: str, caption: str) -> Figure:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{name}",
        config={"displayModeBar": False, "responsive": True},
    )
    return Figure(caption, Markup(html))
