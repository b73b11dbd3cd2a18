"""Rows to one page that a person reads, with the whole tables as csv beside it.

The room can be called: `harness.report(...)` in a notebook is `harness report` in a shell. What
draws is imported when it is asked for: a command that prints a table needs none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.records import Row

__all__ = ["Room", "write"]


class Room(ModuleType):
    """This room as the notebook's door shows it."""

    def __call__(
        self,
        out: str | PathLike[str] = Path("results/local"),
        *,
        readme: str | PathLike[str] | None = None,
    ) -> list[Path]:
        """Writes OUT/report.html and OUT/tables/ from the rows under OUT/records: what it wrote.

        With `readme` also what stands between that file's marks. Warns of damaged lines. Raises
        UsageError where there are no rows, and where a file cannot be written.
        """
        from harness.report.stored import read

        return write(read([Path(out)]), Path(out), None if readme is None else Path(readme))


def write(rows: Sequence[Row], out: Path, readme: Path | None = None) -> list[Path]:
    """Writes the report of rows: see `page.write`."""
    from harness.report import page

    return page.write(rows, out, readme)


sys.modules[__name__].__class__ = Room
