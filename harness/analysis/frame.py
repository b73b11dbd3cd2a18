"""The rows of a folder, which of them count, and DataFrames of them, a column a field.

In a DataFrame text that is not known is "", a number 0 where it counts something and NaN where it
measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from math import nan
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pandas as pd

from harness.records import Record, Row
from harness.records.current import cell_of, current, machine_names
from harness.records.row import KINDS
from harness.spec import Case, network_name

Frame = pd.DataFrame
R = TypeVar("R", bound=Record)
X = TypeVar("X")
Key = TypeVar("Key", bound=Hashable)


class Frames:
    """Rows as they were written, with the machine and the cell of each, and whether it counts.

    `notes`: what does not count and why, a sentence each. `frames["epoch"]` is the DataFrame of the
    rows of a kind, `frames["all"]` of all with what all kinds share.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        of_rows, numbers = current(self.rows), dict[Hashable, int]()
        self.counts, self.notes = of_rows.counts, of_rows.notes
        self.machines = machine_names(self.rows)
        self.cells = [numbers.setdefault(cell_of(row), len(numbers)) for row in self.rows]
        self._made: dict[str, Frame] = {}

    def counted(self, kind: type[R]) -> list[R]:
        """Return the rows of a kind that count."""
        of = zip(self.rows, self.counts, strict=True)
        return [row for row, counts in of if counts and isinstance(row, kind)]

    def __getitem__(self, kind: str) -> Frame:
        """Return the rows of a kind; their numbers are the index."""
        if kind not in self._made:
            self._made[kind] = self._frame(kind)
        return self._made[kind]

    def _frame(self, kind: str) -> Frame:
        index = [n for n, row in enumerate(self.rows) if kind in ("all", row.kind)]
        rows = [self.rows[n] for n in index]

        def fields(of: type[Record]) -> dict[str, pd.Series]:
            types = _types(of).items()
            return {name: _column([getattr(r, name) for r in rows], t, index) for name, t in types}

        columns = fields(Record) | {
            "scale": _column([network_name(row) for row in rows], str, index),  # or its notation
            "machine": _column([self.machines[n] for n in index], str, index),
            "kind": _column([row.kind for row in rows], str, index),
            "contender": _column([row.contender for row in rows], str, index),
            "case": _column([Case.of(row) for row in rows], Case, index),
            "cell": _column([self.cells[n] for n in index], int, index),
            "counts": _column([self.counts[n] for n in index], bool, index),
        }
        own = fields(KINDS[kind]) if kind != "all" else {}
        return pd.DataFrame(columns | {k: of for k, of in own.items() if k not in columns})


def frames(given: Iterable[Row] | Frames) -> Frames:
    """Return the rows with what is known of each; of such a folder itself."""
    return given if isinstance(given, Frames) else Frames(given)


def _column(values: Sequence[object], kind: type, index: list[int]) -> pd.Series:
    missing = {str: "", bool: False, int: 0, float: nan}.get(kind)
    dtype = {bool: "bool", int: "int64", float: "float64"}.get(kind, "object")
    known = [missing if each is None else each for each in values]
    try:
        return pd.Series(known, index, dtype)
    except OverflowError:  # an odd row has a number that no computer counts to
        return pd.Series(known, index, "object")


@cache
def _types(of: type) -> dict[str, type]:
    """Fields of rows, with the type of what they have where they have something."""
    found = {}
    for name, hint in get_type_hints(of).items():
        choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        known = next(each for each in choices if each is not NoneType)
        known = type(get_args(known)[0]) if get_origin(known) is Literal else known
        found[name] = known if isinstance(known, type) else object
    return found


def grouped(each: Iterable[X], key: Callable[[X], Key]) -> dict[Key, list[X]]:
    """Group by key; keys and their members in the order they come."""
    groups: dict[Key, list[X]] = {}
    for one in each:
        groups.setdefault(key(one), []).append(one)
    return groups


def machines(of_rows: Iterable[str]) -> list[str]:
    """Return the machines of rows, the one with most rows first."""
    return [name for name, _ in Counter(of_rows).most_common()]
