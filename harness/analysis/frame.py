"""The rows of a folder, which of them count, and DataFrames of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import pandas as pd

from harness.records import Record, Row
from harness.records.current import cell_of, current, machine_names
from harness.records.row import KINDS
from harness.spec import network_name

Frame = pd.DataFrame
R = TypeVar("R", bound=Record)
X = TypeVar("X")
Key = TypeVar("Key", bound=Hashable)


class Frames:
    """Rows as they were written, with the machine and the cell of each, and whether it counts.

    `notes`: what does not count and why, a sentence each. `frames["epoch"]` is the DataFrame of all
    rows of that kind; its column `counts` says which count.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        of_rows, numbers = current(self.rows), dict[Hashable, int]()
        self.counts, self.notes = of_rows.counts, of_rows.notes
        self.machines = machine_names(self.rows)
        self.cells = [numbers.setdefault(cell_of(row), len(numbers)) for row in self.rows]

    def current_rows(self, kind: type[R]) -> list[R]:
        """Return the rows of a kind that count, by `records.current`."""
        of = zip(self.rows, self.counts, strict=True)
        return [row for row, counts in of if counts and isinstance(row, kind)]

    def __getitem__(self, kind: str) -> Frame:
        """Return the rows of a kind, a column a field; their numbers are the index."""
        of = {n: row for n, row in enumerate(self.rows) if row.kind == kind}
        columns = [*dict.fromkeys(("kind", *KINDS[kind].__dataclass_fields__))]
        return pd.DataFrame([vars(row) for row in of.values()], [*of], columns).assign(
            scale=[network_name(row) for row in of.values()],
            contender=[row.contender for row in of.values()],
            machine=[self.machines[n] for n in of],
            cell=[self.cells[n] for n in of],
            counts=[self.counts[n] for n in of],
        )


def frames(given: Iterable[Row] | Frames) -> Frames:
    """Return the rows as Frames; Frames are returned unchanged."""
    return given if isinstance(given, Frames) else Frames(given)


def grouped(each: Iterable[X], key: Callable[[X], Key]) -> dict[Key, list[X]]:
    """Group by key; keys and their members keep the order in which they come."""
    groups: dict[Key, list[X]] = {}
    for one in each:
        groups.setdefault(key(one), []).append(one)
    return groups


def machines(of_rows: Iterable[str]) -> list[str]:
    """Return the distinct machines, given each row's, the one with most rows first."""
    return [name for name, _ in Counter(of_rows).most_common()]
