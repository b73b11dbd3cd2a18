"""The report's page: what its template shows, prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import resources

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.analysis.claims import verdicts
from harness.analysis.speed import first_round
from harness.analysis.verdict import Status
from harness.records import Row
from harness.report import grid, provenance
from harness.report.sections import SECTIONS
from harness.spec import paper

COMMANDS = (
    ("speed", "harness run --suite acceleration"),
    ("accuracy against T", "harness run --suite timesteps"),
    ("accuracy against scale", "harness run --suite scale"),
    ("NeuNorm", "harness run --suite neunorm"),
    ("Tables 3 to 6", "harness run --suite accuracy"),
    ("certificates", "harness check"),
    ("this page", "harness report"),
)

CLASSES: dict[Status, str] = {  # how the page's style names a verdict
    "reproduced": "reproduced",
    "contradicted": "contradicted",
    "inconclusive": "open",
    "not tested": "untested",
}


def page(rows: Sequence[Row]) -> str:
    """The whole report as one HTML file that needs no network. Pure: same rows, same text."""
    rows = list(rows)
    judged = verdicts(rows)
    sections = [section for make in SECTIONS if (section := make(rows)) is not None]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files(__package__ or "").joinpath("page.html.j2").read_text("utf-8")
    return environment.from_string(template).render(
        judged=judged,
        classes=CLASSES,
        counts=Counter(verdict.text for _, verdict in judged),
        sections=sections,
        plotly=Markup(get_plotlyjs() if any(s.figures for s in sections) else ""),
        machines=grid.html(provenance.machines(rows)),
        noise=grid.html(provenance.noise(rows)),
        first_rounds=grid.html(first_round(rows)),
        data=grid.html(provenance.data(rows)),
        failures=grid.html(provenance.failures(rows)),
        commands=COMMANDS,
        rows=len(rows),
        first=min((row.time for row in rows), default=""),
        last=max((row.time for row in rows), default=""),
        settings=paper.SETTINGS,
    )
