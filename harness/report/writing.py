"""Writes the report of a result folder: the page, whole tables as csv beside it, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.analysis import tables, timings
from harness.analysis.claims import Claim, Verdict, verdicts
from harness.analysis.claims import table as verdict_table
from harness.analysis.frame import Frames, frames
from harness.records import Row
from harness.report import figures, headline, page, provenance
from harness.report.table import csv
from harness.spec import UsageError
from harness.system.files import unwritable, write_whole

COLUMNS = {"picture.svg": 3, "picture-narrow.svg": 1}  # panels side by side, by the file's name
PICTURE = "Time of a training step divided by that of its convolutions and products alone (floor)"
KEY = (
    f"Lines: 95 % intervals; hollow: fewer than {headline.FEW} rounds; diamonds: another form of "
    "the framework, the best tuned."
)
DIGITS = 10  # of numbers in the csv files: the last ones differ from processor to processor


def write(rows: Sequence[Row], out: Path, readme: Path | None = None) -> list[Path]:
    """Writes OUT/report.html, OUT/tables/*.csv and, where speed was measured, OUT/picture.svg and
    OUT/picture-narrow.svg, each whole or not at all: the files written.

    With `readme` also what stands between its marks. Raises UsageError where a file cannot be
    written, and for a README without marks.
    """
    found = frames(rows)
    judged = verdicts(found)
    built = _tables(found, judged)
    texts = {out / "report.html": page.page(found, judged, built)}
    texts |= {out / name: svg for name, svg in pictures(found).items()}
    if readme is not None:
        block = headline.block(timings.lines(found), judged, provenance.refused(found))
        texts[readme] = headline.updated(_read(readme), block, readme)
    for name, table in built.items():
        path = out / "tables" / f"{'table' * name.isdigit()}{name}.csv"
        texts[path] = csv(tables.plain(table), DIGITS)
    for path, text in texts.items():
        try:
            # of a row's escapes and of names of files, some are no text
            content = text.encode("utf-8", errors="backslashreplace")
            write_whole(path, lambda part, content=content: part.write_bytes(content))
        except OSError as error:
            raise unwritable(path, error) from error
    return [*texts]


def _tables(found: Frames, judged: Sequence[tuple[Claim, Verdict]]) -> dict[str, pd.DataFrame]:
    """Each table that there is anything for, by its name."""
    there = set(found["all"]["suite"])
    built = {
        name: build(found)
        for name, build in tables.FULL.items()
        if there & set(tables.suites_of(name))
    }
    built |= {
        "claims": verdict_table(judged),
        "machines": provenance.machines(found),
        "data": provenance.data(found),
        "failures": provenance.failures(found),
        "proofs": provenance.proofs(found),
    }
    return {name: table for name, table in built.items() if len(table)}


def pictures(found: Frames) -> dict[str, str]:
    """README's pictures by their files' names; {} where nothing was timed beside a floor."""
    lines = headline.headline(timings.lines(found))
    panels = {} if lines.empty else page.panels(lines)
    if not panels:
        return {}
    notes = (KEY, f"{lines['machine'].iloc[0]}, protocol {lines['protocol'].iloc[0]}")
    return {
        name: figures.picture(panels, PICTURE, columns, notes) for name, columns in COLUMNS.items()
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error})") from error
