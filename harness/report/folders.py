"""The rows of result folders, as Python asks for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from harness.records import Damage, Row, Store
from harness.spec import UsageError


def read(folders: Sequence[Path]) -> list[Row]:
    """All rows of result folders, in the order given; a folder may hold one folder a machine.

    Warns of what was no row. Raises UsageError for a folder that has no rows.
    """
    rows: list[Row] = []
    for folder in folders:
        found, damaged = _of_folder(folder)
        if not found:
            raise UsageError(
                f"no rows under {folder}: give a folder that holds records/, "
                f"or fill it with harness.run(suite=..., out={str(folder)!r})"
            )
        if damaged:
            message = f"{len(damaged)} lines were no rows and were skipped, the first: {damaged[0]}"
            warnings.warn(message, stacklevel=4)
        rows += found
    return rows


def _of_folder(folder: Path) -> tuple[list[Row], list[Damage]]:
    store = Store.around(folder)
    if store.files:
        return store.read()
    rows: list[Row] = []
    damaged: list[Damage] = []
    for records in sorted(folder.glob("*/records")):
        found, more = Store(records.parent).read()
        rows += found
        damaged += more
    return rows, damaged
