"""The rows of a result folder, as the commands that read one want them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.console import err
from harness.spec import UsageError

if TYPE_CHECKING:  # pydantic's import takes a moment
    from harness.records import Damage, Row


def rows_of(folder: Path, suite: str) -> list[Row]:
    """All rows of a result folder; what is no row is named and skipped.

    Raises UsageError where there are none; `suite` is what to run first.
    """
    from harness.records import Store

    rows, damaged = Store(folder).read()
    name_damage(damaged)
    if not rows:
        raise without_rows(folder, suite)
    name_machines(rows)
    return rows


def name_machines(rows: list[Row]) -> None:
    """Says on stderr where rows are of more than one machine: their times do not compare."""
    from harness.analysis.groups import machines

    places = [str(place) for place in machines(rows) if place.cpu]
    if len(places) > 1:
        err.print(f"rows of {len(places)} machines, each shown by itself: {'; '.join(places)}")


def name_damage(damaged: list[Damage]) -> None:
    """Names on stderr what was no row."""
    for damage in damaged:
        err.print(str(damage))
    if damaged:
        err.print(f"{len(damaged)} lines were no rows and were skipped")


def without_rows(folder: Path, suite: str) -> UsageError:
    """That a result folder has none of the suite, and what to run first."""
    return UsageError(
        f"no rows of {suite} under {folder / 'records'}: first run "
        f"`harness run --suite {suite} --out {folder}`"
    )
