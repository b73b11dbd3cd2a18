"""The README's first screen: speed and verdicts as Markdown, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness import networks, tables
from harness.claims import verdicts
from harness.records import Record
from harness.spec import UsageError
from harness.tables.speed import FLOOR

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"


def updated(text: str, rows: Sequence[Record], path: Path) -> str:
    """The README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{before}{BEGIN}\n{block(rows)}{END}{after}"


def block(rows: Sequence[Record]) -> str:
    """Time of a training step over the floor, and the verdicts."""
    return f"{_speed(list(rows))}\n{_verdicts(rows)}"


def _speed(rows: list[Record]) -> str:
    table = tables.TABLES["acceleration"](rows)
    plain = (table["mode"] == "training") & (table["neunorm"] == "") & (table["variant"] == "")
    table = table[plain & (table["width"] == "1") & (table["T"] == 10)]
    if table.empty:
        return ""
    shown = table[table["framework"] != FLOOR]
    columns = list(dict.fromkeys(zip(shown["framework"], shown["precision"], strict=True)))
    columns.sort(key=lambda column: (column[1] != "fp32", column))
    lines = []
    for (dataset, scale), own in table.groupby(["dataset", "scale"], sort=False):
        floor = own[(own["framework"] == FLOOR) & (own["precision"] == "fp32")]
        line = {
            "network": f"{networks.settings(str(dataset)).title} {scale}",
            "floor, ms": f"{1000 * floor['seconds_per_iteration'].iloc[0]:,.0f}",
        }
        for framework, precision in columns:
            found = own[(own["framework"] == framework) & (own["precision"] == precision)]
            ratio = found["ratio_to_fp32_floor"].iloc[0] if len(found) else float("nan")
            name = framework if precision == "fp32" else f"{framework} {precision}"
            line[name] = "" if pd.isna(ratio) else f"{ratio:.2f}"
        lines.append(line)
    last = table.iloc[-1]
    when = max(row.time for row in rows if row.suite == "acceleration")[:10]
    head = (
        "Time of a training step over that of its convolutions and products alone (the float32 "
        "floor), batch 20, T = 10, every contender proved equal first. "
        f"{last['cpu']}, {last['threads']} threads, torch {last['torch']}, {when}.\n\n"
    )
    return head + pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True) + "\n"


def _verdicts(rows: Sequence[Record]) -> str:
    lines = [
        {
            "claim": claim.claim,
            "published": claim.value,
            "verdict": f"**{verdict.status}**",
            "measured": verdict.figures,
        }
        for claim, verdict in verdicts(rows)
    ]
    text = pd.DataFrame(lines).map(lambda cell: cell.replace("|", "\\|"))
    return text.to_markdown(index=False, disable_numparse=True) + "\n"
