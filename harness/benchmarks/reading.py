"""What a user waits for without measuring anything: imports, tables, the report."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from harness.records import IterationRow, Store
from harness.reports import page
from harness.spec import Options, paper
from harness.suites import timings

ROWS = 100_000
FRAMEWORKS = ("floor", "reference", "fused", "snntorch", "spikingjelly", "norse")


def synthetic(count: int) -> list[IterationRow]:
    """Make up `count` rows of the acceleration suite, spread over many runs."""
    only = Options(
        suite="acceleration", frameworks=("reference",),
        datasets=("cifar10",), networks=("Small",), device="cpu",
    )  # fmt: skip
    (case,) = timings.acceleration(only)
    fields, time = vars(case.fields), "2026-01-01T00:00:00+00:00"
    row = IterationRow(**fields, run="", time=time, iterations_per_epoch=2500, round=1, seconds=1.0)
    cells = [(d, s, f) for d in paper.SETTINGS for s in paper.SCALES for f in FRAMEWORKS]
    rows = []
    for n in range(count):
        dataset, scale, framework = cells[n % len(cells)]
        turn, run = n // len(cells) % 10 + 1, f"20260101T{n // (10 * len(cells)):06d}-000000"
        of = replace(row, dataset=dataset, scale=scale, framework=framework)
        rows.append(replace(of, run=run, round=turn, seconds=1.0 + (7 * n % 11) / 100))
    return rows


class Reading:
    """Time from rows on disk to the report."""

    timeout = 300
    number = 1
    repeat = 1
    warmup_time = 0

    def setup_cache(self) -> str:
        """Return a folder with the rows; asv keeps it for all benchmarks of the class."""
        folder = Path(tempfile.mkdtemp()) / "records"
        folder.mkdir()
        text = "\n".join(row.to_json() for row in synthetic(ROWS)) + "\n"
        (folder / "acceleration.jsonl").write_text(text, encoding="utf-8")
        return str(folder.parent)

    def time_report_of_100_000_rows(self, folder: str) -> None:
        """Time reading, tables, verdicts, figures and the page."""
        page.write(Store(Path(folder)).read()[0], Path(folder))


def timeraw_import_of_the_command_line() -> str:
    """Return the code that asv times: the import that `harness --help` waits for."""
    return "import harness.cli.app"


def timeraw_import_of_the_tables() -> str:
    """Return the code that asv times: the import of pandas and SciPy, without torch."""
    return "import harness.analysis.tables"
