"""Rows to one page that a person reads: verdicts first, then figures, tables, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.analysis import tables
from harness.records import Row
from harness.report import readme
from harness.report.page import page
from harness.spec import UsageError
from harness.system.files import unwritable, write_whole

__all__ = ["page", "write"]


def write(rows: Sequence[Row], out: Path, readme_file: Path | None = None) -> list[Path]:
    """Writes OUT/report.html and OUT/tables/*.md, each whole or not at all: the files written.

    With `readme_file` also what stands between its marks. Raises UsageError where a file cannot be
    written, and for a README without marks.
    """
    texts = {out / "report.html": page(rows)}
    if readme_file is not None:
        texts[readme_file] = readme.updated(_read(readme_file), rows, readme_file)
    for name, build in tables.TABLES.items():
        if any(row.suite in tables.suites_of(name) for row in rows):
            path = out / "tables" / (f"table{name}.md" if name.isdigit() else f"{name}.md")
            texts[path] = tables.markup(build(rows), "md")
    for path, text in texts.items():
        _replace(path, text)
    return list(texts)


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
