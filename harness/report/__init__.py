"""Rows to one page that a person reads, with the whole tables as csv beside it.

The room can be called: `harness.report(...)` in a notebook is `harness report` in a shell.
"""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path
from types import ModuleType

__all__ = ["Room"]


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
        from harness.report import page, stored  # a second of imports

        rows = stored.read_all([Path(out)])
        return page.write(rows, Path(out), None if readme is None else Path(readme))


sys.modules[__name__].__class__ = Room
