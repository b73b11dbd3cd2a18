"""What a user waits for without measuring anything: imports, tables, the report."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

from harness.records import IterationResult, Row, Run, Store
from harness.records.identity import PROTOCOL, Installation
from harness.records.run import maker
from harness.records.store import line_of
from harness.reports import page
from harness.spec import Contender, Options, paper
from harness.suites import timings

ROWS = 100_000
FRAMEWORKS = ("floor", "reference", "fused", "snntorch", "spikingjelly", "norse")


def synthetic(count: int) -> list[Row[IterationResult]]:
    """Make up `count` rows of the acceleration suite, spread over many runs."""
    only = Options(
        suite="acceleration", frameworks=("reference",),
        datasets=("cifar10",), networks=("Small",), device="cpu",
    )  # fmt: skip
    (case,) = timings.acceleration(only)
    cases = [
        replace(
            case,
            workload=replace(case.workload, dataset=dataset, scale=scale),
            contender=Contender(framework),
        )
        for dataset, scale, framework in product(paper.SETTINGS, paper.SCALES, FRAMEWORKS)
    ]
    rows = []
    for n in range(count):
        run = Run(id=f"20260101T{n // (10 * len(cases)):06d}-000000", protocol=PROTOCOL)
        seconds, number = 1.0 + (7 * n % 11) / 100, n // len(cases) % 10 + 1
        result = IterationResult(round=number, seconds=seconds)
        rows.append(maker(cases[n % len(cases)], run, Installation()).row(result))
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
        text = "\n".join(map(line_of, synthetic(ROWS))) + "\n"
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
