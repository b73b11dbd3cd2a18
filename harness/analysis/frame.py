"""The rows of a folder, which of them count, and DataFrames of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields
from typing import TypeVar

import pandas as pd

from harness.machine.installed import Machine, Moment
from harness.records import K, Result, Row, has
from harness.records.current import cell_of, current, machine_names
from harness.records.identity import Installation, columns
from harness.records.row import KINDS
from harness.spec import Source, network_name

Frame = pd.DataFrame
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

    def current_rows(self, kind: type[K]) -> list[Row[K]]:
        """Return the rows of a kind that count, by `records.current`."""
        rows = zip(self.rows, self.counts, strict=True)
        return [row for row, counts in rows if counts and has(row, kind)]

    def __getitem__(self, kind: str) -> Frame:
        """Return the rows of a kind, a column a field; their numbers are the index."""
        rows = {n: row for n, row in enumerate(self.rows) if row.result.kind == kind}
        shared = [name for row in self.rows[:1] for name in _shared(row)]  # where no row is of it
        names = [*dict.fromkeys(("kind", *shared, *(field.name for field in fields(KINDS[kind]))))]
        return pd.DataFrame([flat(row) for row in rows.values()], [*rows], names).assign(
            scale=[network_name(row.workload) for row in rows.values()],
            contender=[row.contender.name for row in rows.values()],
            machine=[self.machines[n] for n in rows],
            cell=[self.cells[n] for n in rows],
            counts=[self.counts[n] for n in rows],
        )


def flat(row: Row) -> dict[str, object]:
    """Return a row in one level, a value for each column of its kind's DataFrame."""
    return {**_shared(row), **fields_of(row.result)}


def _shared(row: Row) -> dict[str, object]:
    """Return the columns of all kinds."""
    run, build, data = row.run, row.build, row.data
    return {
        **columns(row.case),
        **fields_of(row.installation),
        **fields_of(run.machine),
        **fields_of(row.moment),
        **{"schema": row.schema, "run": run.id, "time": row.time, "key": row.key},
        **{"code": run.code, "allocator": run.allocator, "protocol": run.protocol},
        **{"layout": build.layout, "computed": build.computed, "contender_threads": build.threads},
        **_of_source("data", data.source),
        "data_samples": data.source and data.source.samples,
        **_of_source("data_test", data.test),
        "data_note": data.note or None,
        **{"data_augmented": data.augmented, "data_split_sha256": data.split_sha256},
        "train_samples": data.train_samples,
        "validation_samples": data.validation_samples,
        "test_samples": data.test_samples,
        "iterations_per_epoch": data.iterations_per_epoch,
    }


def fields_of(part: Installation | Machine | Moment | Result) -> dict[str, object]:
    """Return a part of a row by the names of its fields."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _of_source(front: str, source: Source | None) -> dict[str, object]:
    """Return the columns of a split's source, their names begun with `front`; None without one."""
    names = ("sha256", "partial", "lossy", "simulated", "substitute")
    values = {name: getattr(source, name) if source else None for name in names}
    values["source"] = source and source.description
    return {f"{front}_{name}": value for name, value in values.items()}


def frames(rows: Iterable[Row] | Frames) -> Frames:
    """Return the rows as Frames; Frames are returned unchanged."""
    return rows if isinstance(rows, Frames) else Frames(rows)


def grouped(members: Iterable[X], key: Callable[[X], Key]) -> dict[Key, list[X]]:
    """Group by key; keys and their members keep the order in which they come."""
    groups: dict[Key, list[X]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups


def machines(of_rows: Iterable[str]) -> list[str]:
    """Return the distinct machines, given each row's, the one with most rows first."""
    return [name for name, _ in Counter(of_rows).most_common()]
