"""Where the report's rows come from: machines, data, and what came to nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from harness.analysis.groups import grouped
from harness.analysis.named import data_in_full
from harness.analysis.rounds import is_steady, noise_of_runs
from harness.records import EndedRow, Row, WarningRow


def data_of(row: Row) -> str:
    """What a row was measured on, training and test data together."""
    substitute = bool(row.data_substitute or row.data_test_substitute)
    return data_in_full(row.dataset, row.data_source or "", substitute)


def substitutes(rows: Iterable[Row]) -> frozenset[tuple[str, str]]:
    """Data set and source of what stood in for it."""
    return frozenset((row.dataset, row.data_source or "") for row in rows if row.data_substitute)


def measured(rows: Iterable[Row]) -> str:
    """Where and when rows were measured: their machines, and their first and last day."""
    rows = list(rows)
    places = "; ".join(dict.fromkeys(str(row.place) for row in rows))
    days = sorted({row.time[:10] for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
    return " · ".join(part for part in (places, when) if part)


def _distinct(rows: list[Row], *names: str) -> pd.DataFrame:
    """The distinct values of fields, with how many rows have them."""
    groups = grouped(rows, lambda row: tuple(getattr(row, name) for name in names))
    lines = [
        {**dict(zip(names, key, strict=True)), "rows": len(alike)} for key, alike in groups.items()
    ]
    return pd.DataFrame(lines, columns=[*names, "rows"])


def machines(rows: list[Row]) -> pd.DataFrame:
    """The machines and versions that rows were measured with, and of how many rows each."""
    return _distinct(
        rows,
        *(
            "suite",
            "cpu",
            "capability",
            "cores",
            "threads",
            "memory_mib",
            "gpu",
            "os",
            "python",
            "torch",
        ),
        *("commit", "allocator", "environment"),
    )


def noise(rows: list[Row]) -> pd.DataFrame:
    """The A/A ratio of each run on each machine, and whether it is quiet enough to rank anybody."""
    timed = [row for row in rows if row.suite == "acceleration"]
    lines = [
        {
            "machine": str(place),
            "run": run,
            "a_a": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.rounds,
            "ranks": is_steady(found),
        }
        for place, here in grouped(timed, lambda row: row.place).items()
        for run, found in noise_of_runs(here).items()
        if found is not None
    ]
    return pd.DataFrame(lines, columns=["machine", "run", "a_a", "low", "high", "n", "ranks"])


def data(rows: list[Row]) -> pd.DataFrame:
    """What was read as each data set, its hash, and how it falls short of the real one."""
    return _distinct(
        [row for row in rows if row.data_source],
        *("suite", "dataset", "data_source", "data_samples", "data_partial", "data_lossy"),
        *("data_simulated", "data_substitute", "data_augmented", "data_sha256", "data_test_source"),
        *("data_test_sha256", "data_note"),
    )


def failures(rows: list[Row]) -> pd.DataFrame:
    """Cases that came to nothing and what was warned of, with why."""
    found = grouped((row for row in rows if isinstance(row, EndedRow | WarningRow)), _failure)
    names = ("suite", "dataset", "scale", "framework", "precision", "status", "reason")
    lines = [
        {**dict(zip(names, key, strict=True)), "rows": len(alike)} for key, alike in found.items()
    ]
    return pd.DataFrame(lines, columns=[*names, "rows"])


def _failure(row: EndedRow | WarningRow) -> tuple[str, ...]:
    status = row.status if isinstance(row, EndedRow) else "warning"
    case = (row.suite, row.dataset, row.scale, row.contender, row.precision)
    return (*case, status, row.reason)
