"""Rows as DataFrames, one a kind, a column a field; and which of them count.

Text that is not known is "", a number 0 where it counts something and NaN where it measures.
"""

from __future__ import annotations

from collections import Counter, namedtuple
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import nan
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import pandas as pd

from harness.records import Record, Row
from harness.records.row import KINDS, Place
from harness.spec import ACCELERATION, CUSTOM, FLOOR, Case, CaseFields

Frame = Any  # a DataFrame or a Series: which of them a mask or a group gives, pyright cannot tell
Line = Any  # of a DataFrame: its columns by name
X = TypeVar("X")
Key = TypeVar("Key", bound=Hashable)


class Frames(dict[str, Frame]):
    """Rows by kind; "all" has every row, with what all kinds share.

    Known by itself and not by what it holds, so that what is asked of it twice is made once.
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


# A cell: cases that are timed together and may be compared, on one machine.
APART = ("framework", "variant", "precision")
_cell = attrgetter(*(name for name in CaseFields.__dataclass_fields__ if name not in APART))
# What tells rows of one kind and key from one another.
_NTH = {
    "epoch": ("epoch",),
    "tested": ("tested_T",),
    "confusion": ("confusion_samples",),
    "certificate": ("certificate_precision", "layer"),
}


def frames(given: Iterable[Row] | Frames) -> Frames:
    """The rows by kind, in the order they were written, which is the index of every frame.

    Each has its `case`, its `machine`, the number of its `cell`, and whether it `counts`.
    """
    if isinstance(given, Frames):
        return given
    rows = list(cast(Iterable[Row], given))
    found = Frames(all=_shared(rows))
    for kind, of in KINDS.items():
        own = found["all"].loc[found["all"]["kind"] == kind]
        found[kind] = _with_own(own, of, [rows[n] for n in own.index]) if len(own) else _empty(of)
    return found


@cache  # most folders have rows of a few kinds
def _empty(of: type) -> Frame:
    return _with_own(_shared([]), of, [])


def _shared(rows: Sequence[Row]) -> Frame:
    """What all kinds share."""
    found = _columns(_types(Record), rows)
    custom = found["scale"] == CUSTOM  # shown by its notation wherever it stands
    found["scale"] = found["scale"].mask(custom, found["network"])
    place = cache(lambda *parts: str(Place(*parts)))
    found["machine"] = _column(map(place, *(found[name] for name in Place._fields)), str)
    for name in ("kind", "contender"):
        found[name] = _column((getattr(row, name) for row in rows), str)
    found["case"] = _column(map(Case.of, rows), object)
    cells = _column(zip(found["machine"], map(_cell, rows), strict=True), object)
    found["cell"] = pd.factorize(cells)[0]
    nth = (tuple(getattr(row, name) for name in _NTH.get(row.kind, ())) for row in rows)
    found["nth"] = _column(nth, object)
    found["counts"] = _counts(found)
    return found


def _with_own(shared: Frame, of: type, rows: Sequence[Row]) -> Frame:
    """With what a kind has beside it."""
    own = {name: kind for name, kind in _types(of).items() if name not in shared}
    return pd.concat([shared, _columns(own, rows).set_index(shared.index)], axis=1)


def each_of(rows: Frame) -> Iterator[Line]:
    """The lines of a DataFrame, each with its columns by name, and `Index`."""
    line = _line(*rows.columns)  # pandas' itertuples takes as long for a line as for a thousand
    values = rows.astype(object).to_numpy()
    return (line(index, *each) for index, each in zip(rows.index, values, strict=True))


@cache
def _line(*columns: str) -> Callable[..., Line]:
    return namedtuple("Line", ["Index", *columns], rename=True)


def _columns(fields: Mapping[str, type], rows: Sequence[Row]) -> Frame:
    each = [*map(vars, rows)]
    columns = {name: _column([row[name] for row in each], kind) for name, kind in fields.items()}
    return pd.DataFrame(columns, index=range(len(rows)))


def _column(values: Iterable[Any], kind: type) -> Frame:
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


def cell_of(row: Record) -> Hashable:
    """The cell that a row belongs to: what was measured together and may be compared."""
    return row.place, _cell(row)


def grouped(each: Iterable[X], key: Callable[[X], Key]) -> dict[Key, list[X]]:
    """By key, keys and what has them in the order they come."""
    groups: dict[Key, list[X]] = {}
    for one in each:
        groups.setdefault(key(one), []).append(one)
    return groups


def machines(rows: Frame) -> list[str]:
    """The machines of rows, that with most rows first."""
    counts = rows.groupby("machine", sort=False).size()
    return [*counts.sort_values(ascending=False, kind="stable").index]


def _counts(every: Frame) -> Frame:
    """Which rows count, the one place that decides it.

    Of trainings and counts: of those with one key and number the last that was written.
    Of timings: only seconds of one round compare, so a run's rows of a cell and precision count or
    go together. They go where a later run has measured the same contenders as well, or more.
    """
    counts = (every["key"] != "") & ~every.duplicated(["suite", "key", "kind", "nth"], keep="last")
    timings = every[(every["suite"] == ACCELERATION) & (every["kind"] != "descent")]
    runs = _runs_that_count(timings)
    classes = zip(timings["cell"], timings["precision"], timings["run"], strict=True)
    shown = pd.Series([each in runs for each in classes], timings.index, dtype=bool)
    return counts.where(every["suite"] != ACCELERATION, shown.reindex(every.index, fill_value=True))


def _runs_that_count(timings: Frame) -> set[tuple[int, str, str]]:
    """Cells, precisions and runs: those all of whose contenders no later run has measured as well.

    One row replaces no more than one: else an odd one would hide the figures of a whole run. The
    last is whose row was written last: a clock that ran ahead does not make a run the newest.
    """
    rows = [timings[name] for name in ("cell", "precision", "run", "contender", "kind")]
    classes: dict[tuple[int, str], dict[str, Counter[str]]] = {}
    timed: dict[tuple[int, str], dict[str, Counter[str]]] = {}
    for cell, precision, run, contender, kind in zip(*rows, strict=True):
        for found in (classes, timed) if kind == "iteration" else (classes,):
            runs = found.setdefault((cell, precision), {})
            runs[run] = runs.pop(run, Counter())  # the last written last
            runs[run][contender] += runs[run][contender] < 2
    counting = set[tuple[int, str, str]]()
    for of, every in classes.items():
        runs = timed.get(of, every)
        order = [run for run, who in runs.items() if {*who} != {FLOOR}] or [*runs][-1:]
        counting |= {
            (*of, run)
            for n, run in enumerate(order)
            if not any(runs[run] <= runs[later] for later in order[n + 1 :])
        }
    return counting
