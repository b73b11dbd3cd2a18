"""The report's page: what its template shows, prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.analysis.claims import Claim, verdicts
from harness.analysis.speed import first_round
from harness.analysis.verdict import Status, Verdict
from harness.records import Row
from harness.report import chart, grid, provenance, timings
from harness.report.parts import Section
from harness.report.sections import SECTIONS
from harness.report.templates import file, template
from harness.spec import paper

COMMANDS = (
    ("speed", "harness run --suite acceleration"),
    ("accuracy against T", "harness run --suite timesteps"),
    ("accuracy against scale", "harness run --suite scale"),
    ("NeuNorm", "harness run --suite neunorm"),
    ("Tables 3 to 6", "harness run --suite accuracy"),
    ("the other systems of these tables", "harness run --suite baselines"),
    ("ablations", "harness run --suite ablations"),
    ("energy", "harness run --suite energy"),
    ("certificates", "harness check"),
    ("this page", "harness report"),
)

CLASSES: dict[Status, str] = {  # how the page's style names a verdict
    "reproduced": "reproduced",
    "contradicted": "contradicted",
    "inconclusive": "open",
    "not tested": "untested",
}


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict, as the page shows it."""

    claim: Claim
    verdict: Verdict

    @property
    def spoken_of(self) -> bool:
        """Whether any row says something of it."""
        return self.verdict.status != "not tested" or bool(self.verdict.measured)

    @property
    def kind(self) -> str:
        """The verdict's class in the page's style."""
        return CLASSES[self.verdict.status]


def page(rows: Sequence[Row]) -> str:
    """The whole report as one HTML file that needs no network. Pure: same rows, same text."""
    rows = list(rows)
    judged = [Judged(*each) for each in verdicts(rows)]
    sections = [section for make in SECTIONS if (section := make(rows)) is not None]
    first = timings.first(rows)
    return template("page").render(
        style=Markup(file("page.css")) + chart.style(),
        script=Markup(file("page.js")),
        judged=judged,
        spoken_of=[each for each in judged if each.spoken_of],
        untested=[each for each in judged if not each.spoken_of],
        first=first,
        first_source=first[0].source if len({each.source for each in first}) == 1 else "",
        key=timings.KEY,
        tested=tested(rows, sections),
        sections=sections,
        machines=grid.html(provenance.machines(rows), "Machines and versions"),
        noise=grid.html(provenance.noise(rows), "A/A of each run"),
        first_rounds=grid.html(first_round(rows), "First round over the second"),
        data=grid.html(provenance.data(rows), "Sources, sizes and hashes of the data"),
        failures=grid.html(provenance.failures(rows), "What failed, and why"),
        commands=COMMANDS,
        settings=paper.SETTINGS,
    )


def tested(rows: Sequence[Row], sections: Sequence[Section]) -> str:
    """What was tested, in a sentence."""
    days = sorted(row.time[:10] for row in rows)
    when = days[0] if days and days[0] == days[-1] else " to ".join(days[:1] + days[-1:])
    places = len({row.place for row in rows})
    machines = "one machine" if places == 1 else f"{places} machines"
    measured = (each for each in sections if each.figures or each.id != "tables")
    parts = ", ".join(_lower(each.title.partition(" (")[0]) for each in measured)
    return f"Measured on {machines}, {when}, {len(rows):,} rows: {parts}."


def _lower(title: str) -> str:
    """A heading inside a sentence; a name keeps its capitals."""
    return title if title.startswith(("NeuNorm", "Tables")) else title[:1].lower() + title[1:]
