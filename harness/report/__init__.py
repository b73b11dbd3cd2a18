"""Rows to one page that a person reads: verdicts first, then figures, tables, provenance.

The room can be called: `harness.report(...)` in a notebook is `harness report` in a shell.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType

import pandas as pd

from harness.analysis import tables
from harness.analysis.claims import table as verdict_table
from harness.analysis.claims import verdicts
from harness.records import Row
from harness.report import documents, folders, leaderboard, picture, readme, site
from harness.report.page import page
from harness.spec import UsageError
from harness.system.files import unwritable, write_whole

__all__ = ["Room", "page", "write"]

SUBMISSIONS = "submissions"  # under OUT: leaderboards of others


class Room(ModuleType):
    """This room as the notebook's door shows it."""

    def __call__(
        self,
        out: str | PathLike[str] = Path("results/local"),
        *,
        readme: str | PathLike[str] | None = None,
        site: str | PathLike[str] | None = None,
    ) -> list[Path]:
        """Writes OUT/report.html and OUT/tables/ from the rows under OUT/records: what it wrote.

        With `readme` also what stands between that file's marks, with `site` also a folder of
        plain files for a static host. Warns of lines that are no rows. Raises UsageError where
        there are none, and where a file cannot be written.
        """
        rows = folders.read([Path(out)])
        return write(rows, Path(out), _path(readme), _path(site))


def _path(given: str | PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def write(
    rows: Sequence[Row], out: Path, readme_file: Path | None = None, site_folder: Path | None = None
) -> list[Path]:
    """Writes OUT/report.html, OUT/tables/*.md and, where speed was measured, OUT/picture.svg and
    OUT/picture-narrow.svg, each whole or not at all: the files written.

    With `readme_file` also what stands between its marks, with `site_folder` also a site. Raises
    UsageError where a file cannot be written, and for a README without marks.
    """
    report, built = page(rows), _tables(rows)
    texts = {out / "report.html": report}
    texts |= {out / name: svg for name, svg in picture.svgs(rows).items()}
    if readme_file is not None:
        texts[readme_file] = readme.updated(_read(readme_file), rows, readme_file)
    for name, table in built.items():
        path = out / "tables" / (f"table{name}.md" if name.isdigit() else f"{name}.md")
        texts[path] = tables.markup(table, "md")
    pages: list[site.SiteFile] = []
    if site_folder is not None:
        site.check(site_folder)
        pages = _site(rows, report, built, out)
    for path, text in texts.items():
        _replace(path, text)
    return [*texts, *(site.write(pages, site_folder) if site_folder is not None else [])]


def _tables(rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Each table that there are rows for, by its name."""
    return {
        name: build(rows)
        for name, build in tables.TABLES.items()
        if any(row.suite in tables.suites_of(name) for row in rows)
    }


def _site(
    rows: Sequence[Row], report: str, built: Mapping[str, pd.DataFrame], out: Path
) -> list[site.SiteFile]:
    submitted = leaderboard.submissions(out / SUBMISSIONS)
    content = site.Content(
        report=report,
        tables=built,
        verdicts=verdict_table(verdicts(rows)),
        board=leaderboard.board(rows, submitted),
        library=documents.library(site.CHECKOUT),
    )
    return list(site.files(content))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error})") from error


def _replace(path: Path, text: str) -> None:
    try:
        # of a row's escapes and of names of files, some are no text
        content = text.encode("utf-8", errors="backslashreplace")
        write_whole(path, lambda part: part.write_bytes(content))
    except OSError as error:
        raise unwritable(path, error) from error


sys.modules[__name__].__class__ = Room
