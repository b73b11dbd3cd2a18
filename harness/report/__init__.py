"""Rows to one page that a person reads: verdicts first, then figures, tables, provenance."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import tables
from harness.records import Record
from harness.report.page import page
from harness.spec import UsageError

__all__ = ["page", "write"]


def write(rows: Sequence[Record], out: Path) -> list[Path]:
    """Writes OUT/report.html and OUT/tables/*.md, each whole or not at all: the files written.

    Raises UsageError where they cannot be written.
    """
    texts = {out / "report.html": page(rows)}
    for name, build in tables.TABLES.items():
        suite = tables.SUITE_OF.get(name, name)
        if any(row.suite == suite for row in rows):
            path = out / "tables" / (f"table{name}.md" if name.isdigit() else f"{name}.md")
            texts[path] = tables.markup(build(rows), "md")
    for path, text in texts.items():
        _replace(path, text)
    return list(texts)


def _replace(path: Path, text: str) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}): give a folder that can be written "
            "with --out"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
