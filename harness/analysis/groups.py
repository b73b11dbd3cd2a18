"""Rows by what they share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from harness.records import Record
from harness.records.fields import Place

Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R", bound=Record)
X = TypeVar("X")


def grouped(rows: Iterable[X], key: Callable[[X], Key]) -> dict[Key, list[X]]:
    """Rows by key, keys and rows in the order they come."""
    groups: dict[Key, list[X]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def machines(rows: Iterable[R]) -> dict[Place, list[R]]:
    """Rows by the machine they were measured on, that with most rows first."""
    groups = grouped(rows, lambda row: row.place)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))
