"""Rows by what they share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from harness.records import Record

Key = TypeVar("Key", bound=Hashable)


def grouped(rows: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Rows by key, keys and rows in the order they come."""
    groups: dict[Key, list[Record]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
