"""Where the report's rows come from: machines, data, and what came to nothing."""

from __future__ import annotations

import pandas as pd

from harness.analysis.groups import grouped
from harness.records import Record


def _distinct(rows: list[Record], *names: str) -> pd.DataFrame:
    """The distinct values of fields, with how many rows have them."""
    groups = grouped(rows, lambda row: tuple(getattr(row, name) for name in names))
    lines = [
        {**dict(zip(names, key, strict=True)), "rows": len(alike)} for key, alike in groups.items()
    ]
    return pd.DataFrame(lines, columns=[*names, "rows"])


def machines(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        rows,
        *("suite", "cpu", "cores", "threads", "memory_mib", "gpu", "os", "python", "torch"),
        *("commit", "allocator", "environment"),
    )


def data(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        [row for row in rows if row.data_source],
        *("suite", "dataset", "data_source", "data_samples", "data_partial", "data_lossy"),
        *("data_simulated", "data_substitute", "data_augmented", "data_sha256", "data_note"),
    )


def failures(rows: list[Record]) -> pd.DataFrame:
    return _distinct(
        [row for row in rows if row.kind == "warning" or row.status != "ok"],
        *("suite", "dataset", "scale", "framework", "variant", "precision", "status", "reason"),
    )
