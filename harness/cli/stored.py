"""The rows of a result folder, as the commands that read one want them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.console import err
from harness.spec import UsageError
from harness.system.files import user_cache

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
    counts = Counter(row.place for row in rows if row.cpu)
    places = [str(place) for place, _ in counts.most_common()]
    if len(places) > 1:  # their times do not compare
        err.print(f"rows of {len(places)} machines, each shown by itself: {'; '.join(places)}")
    return rows


def check_folder(folder: Path) -> None:
    """Raises UsageError where a folder of results was named that is none."""
    if not folder.is_dir():
        lack = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(
            f"--out {folder} {lack}: name a folder that `harness run --out` has filled"
        )


def check_data_root(folder: Path | None) -> None:
    """Raises UsageError where a folder of data was named that is none, before torch is there."""
    if folder is not None and not folder.is_dir() and folder != user_cache():
        lack = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"the data root {folder} (--data-root) {lack}, name a folder")


def name_damage(damaged: list[Damage]) -> None:
    """Names on stderr what was no row."""
    for damage in damaged:
        err.print(str(damage))
    if damaged:
        count = "1 damaged line was" if len(damaged) == 1 else f"{len(damaged)} damaged lines were"
        err.print(f"{count} skipped")


def without_rows(folder: Path, suite: str) -> UsageError:
    """That a result folder has none of the suite, and what to run first."""
    return UsageError(
        f"no rows of {suite} under {folder / 'records'}: first run "
        f"`harness run --suite {suite} --out {folder}`"
    )
