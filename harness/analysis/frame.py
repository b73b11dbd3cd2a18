"""Rows as DataFrames, one a kind, a column a field.

Text that is not known is "", a number 0 where it counts something and NaN where it measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from math import nan
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import pandas as pd

from harness.records import Record, Row
from harness.records.current import cell_of, current, machine_names
from harness.records.row import KINDS
from harness.spec import CUSTOM, Case

Frame = pd.DataFrame
R = TypeVar("R", bound=Record)
X = TypeVar("X")
Key = TypeVar("Key", bound=Hashable)


class Frames(dict[str, Frame]):
    """Rows by kind; "all" has every row, with what all kinds share.

    Equal only to itself, so that functions of it can be cached.
    `rows`: as they were written, with the cell and the machine of each, and whether it counts.
    `notes`: what does not count and why, a sentence each.
    """

    rows: Sequence[Row] = ()
    cells: Sequence[int] = ()
    machines: Sequence[str] = ()
    counts: Sequence[bool] = ()
    notes: tuple[str, ...] = ()

    def counted(self, kind: type[R]) -> list[R]:
        """Return the rows of a kind that count, as they were written."""
        of = zip(self.rows, self.counts, strict=True)
        return [row for row, counts in of if counts and isinstance(row, kind)]

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def frames(given: Iterable[Row] | Frames) -> Frames:
    """Return the rows by kind, in the order they were written, which is the index of every frame.

    Each has its `case`, its `machine`, the number of its `cell`, and whether it `counts`.
    """
    if isinstance(given, Frames):
        return given
    rows = list(cast(Iterable[Row], given))
    of_rows = current(rows)
    counts = pd.Series(of_rows.counts, dtype=bool)
    found = Frames(all=_shared(rows).assign(counts=counts))
    found.rows, found.counts, found.notes = rows, of_rows.counts, of_rows.notes
    found.cells, found.machines = ([*found["all"][name]] for name in ("cell", "machine"))
    for kind, of in KINDS.items():
        own = found["all"].loc[found["all"]["kind"] == kind]
        found[kind] = _with_own(own, of, [rows[n] for n in own.index]) if len(own) else _empty(of)
    return found


@cache  # most folders have rows of a few kinds
def _empty(of: type) -> Frame:
    return _with_own(_shared([]).assign(counts=pd.Series(dtype=bool)), of, [])


def _shared(rows: Sequence[Row]) -> Frame:
    """Return what all kinds share."""
    found = _columns(_types(Record), rows)
    custom = found["scale"] == CUSTOM  # shown by its notation wherever it stands
    found["scale"] = found["scale"].mask(custom, found["network"])
    found["machine"] = _column(machine_names(rows), str)
    for name in ("kind", "contender"):
        found[name] = _column((getattr(row, name) for row in rows), str)
    found["case"] = _column(map(Case.of, rows), object)
    found["cell"] = pd.factorize(_column(map(cell_of, rows), object))[0]
    return found


def _with_own(shared: Frame, of: type, rows: Sequence[Row]) -> Frame:
    """Return the shared columns and those of the kind."""
    own = {name: kind for name, kind in _types(of).items() if name not in shared}
    return pd.concat([shared, _columns(own, rows).set_index(shared.index)], axis=1)


def _columns(fields: Mapping[str, type], rows: Sequence[Row]) -> Frame:
    each = [*map(vars, rows)]
    columns = {name: _column([row[name] for row in each], kind) for name, kind in fields.items()}
    return pd.DataFrame(columns, index=range(len(rows)))


def _column(values: Iterable[object], kind: type) -> pd.Series:
    missing = {str: "", bool: False, int: 0, float: nan}.get(kind)
    dtype = {bool: "bool", int: "int64", float: "float64"}.get(kind, "object")
    known = [missing if each is None else each for each in values]
    try:
        return pd.Series(known, dtype=dtype)
    except OverflowError:  # an odd row has a number that no computer counts to
        return pd.Series(known, dtype="object")


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
