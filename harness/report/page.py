"""The report's page: what its template shows, prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from harness.analysis import tables
from harness.analysis.claims import verdicts
from harness.analysis.groups import grouped
from harness.analysis.same import told_once, words
from harness.analysis.speed import Acceleration, acceleration_lines
from harness.records import Record
from harness.report import figures
from harness.spec import paper

# What of the wide tables is shown; the whole ones are under tables/*.md.
SPEED_COLUMNS = (
    *("framework", "variant", "mode", "precision", "neunorm", "T", "rank", "seconds_per_iteration"),
    *("ratio_to_floor", "ratio_low", "ratio_high", "ratio_to_fp32_floor", "peak_memory_mib"),
    *("rounds", "certificate", "mismatch_rate", "gradient_cosine", "reason"),
)
COMMANDS = (
    ("speed", "harness run --suite acceleration"),
    ("accuracy against T", "harness run --suite timesteps"),
    ("accuracy against scale", "harness run --suite scale"),
    ("NeuNorm", "harness run --suite neunorm"),
    ("Tables 3 to 6", "harness run --suite accuracy"),
    ("certificates", "harness check"),
    ("this page", "harness report"),
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


def page(rows: Sequence[Record]) -> str:
    """The whole report as one HTML file that needs no network. Pure: same rows, same text."""
    rows = list(rows)
    judged = verdicts(rows)
    sections = [
        section
        for make in (_speed, _certificates, _timesteps, _scale, _neunorm, _paper_tables)
        if (section := make(rows)) is not None
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files(__package__ or "").joinpath("page.html.j2").read_text("utf-8")
    return environment.from_string(template).render(
        judged=judged,
        counts=Counter(verdict.status for _, verdict in judged),
        sections=sections,
        plotly=Markup(get_plotlyjs() if any(s.figures for s in sections) else ""),
        machines=_html(_machines(rows)),
        data=_html(_data(rows)),
        failures=_html(_failures(rows)),
        commands=COMMANDS,
        rows=len(rows),
        first=min((row.time for row in rows), default=""),
        last=max((row.time for row in rows), default=""),
        settings=paper.SETTINGS,
    )


def _drawn(figure: go.Figure, name: str, caption: str) -> Figure:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{name}",
        config={"displayModeBar": False, "responsive": True},
    )
    return Figure(caption, Markup(html))


def _html(table: pd.DataFrame) -> Markup:
    """A table as HTML; every text in it is escaped, every number carries its full value."""
    head = "".join(f"<th>{escape(words(name))}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(map(_cell, line)) + "</tr>" for line in table.itertuples(index=False)
    )
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Markup(f'<div class="scroll">{grid}</div>')


def _short(table: pd.DataFrame) -> Markup:
    """A table as HTML, below what all its lines share."""
    head, rest = told_once(table)
    return Markup('<p class="dim">{}</p>{}').format(
        f"All lines: {head}." if head else "", _html(rest)
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        return f'<td class="n" data-value="{value!r}">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


def _speed(rows: list[Record]) -> Section | None:
    if not any(row.suite == "acceleration" for row in rows):
        return None
    lines = acceleration_lines(rows)
    drawn, shown = [], []
    for name, settings in paper.SETTINGS.items():
        for kind, draw in (("speed", figures.speed), ("memory", figures.memory)):
            figure = draw(lines, name)
            if figure is not None:
                drawn.append(_drawn(figure, f"{kind}-{name}", f"{settings.title}: {kind}"))
    cells: dict[tuple[str, ...], list[Acceleration]] = {}
    for line in lines:
        cells.setdefault((line.dataset, line.scale, line.network, line.width), []).append(line)
    for (dataset, scale, network, width), own in cells.items():
        conditions = f", width {width}" if width != "1" else ""
        title = f"{paper.settings(dataset).title} {scale}{conditions}: {network}"
        chosen = [{name: getattr(line, name) for name in SPEED_COLUMNS} for line in own]
        shown.append((f"{title}; {own[0].data_source}", _html(pd.DataFrame(chosen))))
    noise = tables.noise_of(row for row in rows if row.suite == "acceleration")
    text = (
        "One iteration (zero_grad, forward, loss, backward, step) on a batch of 20, T = 10; all "
        "contenders of a cell in the same rounds in random order; figures are ratios to the floor, "
        "the network's convolutions and products alone. Only who is proved equal has a rank. "
    )
    if noise is not None:
        text += (
            f"The floor against itself over all runs (A/A): {noise.value:.3f} "
            f"[{noise.low:.3f}, {noise.high:.3f}]."
        )
    return Section("speed", "Speed and memory (Fig. 3)", text, tuple(drawn), tuple(shown))


def _certificates(rows: list[Record]) -> Section | None:
    proofs = [row for row in rows if row.kind == "certificate"]
    if not proofs:
        return None
    cells = grouped(proofs, lambda row: (row.suite, row.dataset, row.scale, row.neunorm or ""))
    shown = []
    for (suite, dataset, scale, neunorm), own in cells.items():
        reading = f" NeuNorm {neunorm}" if neunorm else ""
        title = f"{suite}: {paper.settings(dataset).title} {scale}{reading}"
        shown.append((title, _html(pd.DataFrame(_proof_lines(own)))))
    text = (
        "Each contender against the reference on the very network that is measured, with the same "
        "weights and input: spikes of every layer at every step, gradients of every parameter. "
        "float64: none may differ, gradients within 1e-12; float32: one spike in a million, within "
        "1e-5 of the threshold, gradients within 1e-5. bf16 states what it loses."
    )
    return Section("certificates", "Proof of equality", text, (), tuple(shown))


def _proof_lines(own: list[Record]) -> list[dict[str, object]]:
    """The last proof of each contender and precision, layer by layer."""
    latest: dict[tuple[object, ...], Record] = {}
    for row in own:
        of = (row.framework, row.variant, row.T, row.width, row.precision)
        latest[*of, row.certificate_precision, row.layer] = row
    return [
        {
            "framework": row.framework + (f":{row.variant}" if row.variant else ""),
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


SECONDS = (
    "Seconds per epoch are wall time beside whatever else the machine did, no measurement of speed."
)


def _timesteps(rows: list[Record]) -> Section | None:
    return _trained(
        rows,
        "timesteps",
        "Accuracy against T (Fig. 5)",
        "Bars: 95 % interval of the mean over seeds. Dotted: a network trained over one T and "
        "tested over others.",
        figures.timesteps,
    )


def _scale(rows: list[Record]) -> Section | None:
    return _trained(
        rows,
        "scale",
        "Accuracy against scale (Fig. 4)",
        "Bars: 95 % interval of the mean over seeds.",
        figures.scale,
    )


def _trained(
    rows: list[Record],
    suite: str,
    title: str,
    text: str,
    draw: Callable[[Sequence[Record]], go.Figure | None],
) -> Section | None:
    figure = draw(rows)
    if figure is None:
        return None
    table = tables.TABLES[suite](rows)
    drawn = (_drawn(figure, suite, title),)
    return Section(suite, title, f"{text} {SECONDS}", drawn, (("", _short(table)),))


def _neunorm(rows: list[Record]) -> Section | None:
    table = tables.TABLES["neunorm"](rows)
    if table.empty:
        return None
    drawn = []
    for name in dict.fromkeys(table["dataset"]):
        title = paper.settings(name).title
        figure = figures.learning_curves(rows, "neunorm", name)
        if figure is not None:
            drawn.append(_drawn(figure, f"curves-{name}", f"{title}: test accuracy by epoch"))
        for n, (reading, matrix) in enumerate(figures.confusion(rows, name)):
            caption = f"{title}, {reading}: mean votes over random test images (Fig. 6)"
            drawn.append(_drawn(matrix, f"confusion-{name}-{n}", caption))
    text = (
        "target: the test accuracy that all readings reach with the same seed; epochs to target: "
        "when each does; contrast: the mean vote for the right class less that for a wrong one. "
        + SECONDS
    )
    return Section("neunorm", "NeuNorm (Fig. 6)", text, tuple(drawn), (("", _short(table)),))


def _paper_tables(rows: list[Record]) -> Section | None:
    drawn = []
    for name, settings in paper.SETTINGS.items():
        figure = figures.learning_curves(rows, "accuracy", name)
        if figure is not None:
            caption = f"{settings.title}: test accuracy by epoch"
            drawn.append(_drawn(figure, f"accuracy-{name}", caption))
    shown = tuple(
        (f"Table {number}", _short(tables.TABLES[number](rows))) for number in ("3", "4", "5", "6")
    )
    text = (
        "Every row of the paper in its order: its own figures and those it cites, ours measured "
        "beside them under the conditions in the columns. An accuracy at reduced width, on part of "
        "the data or over fewer epochs is not comparable with a published one. " + SECONDS
    )
    return Section("tables", "Tables 3 to 6", text, tuple(drawn), shown)


def _distinct(rows: list[Record], *names: str) -> pd.DataFrame:
    """The distinct values of fields, with how many rows have them."""
    groups = grouped(rows, lambda row: tuple(getattr(row, name) for name in names))
    lines = [
        {**dict(zip(names, key, strict=True)), "rows": len(own)} for key, own in groups.items()
    ]
    return pd.DataFrame(lines, columns=[*names, "rows"])


def _machines(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        rows,
        *("suite", "cpu", "cores", "threads", "memory_mib", "gpu", "os", "python", "torch"),
        *("commit", "allocator", "environment"),
    )


def _data(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        [row for row in rows if row.data_source],
        *("suite", "dataset", "data_source", "data_samples", "data_partial", "data_lossy"),
        *("data_simulated", "data_substitute", "data_augmented", "data_sha256", "data_note"),
    )


def _failures(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        [row for row in rows if row.kind == "warning" or row.status != "ok"],
        *("suite", "dataset", "scale", "framework", "variant", "precision", "status", "reason"),
    )
