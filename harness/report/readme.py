"""The README's first screen: speed and verdicts as Markdown, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

import pandas as pd

from harness.analysis.speed import acceleration_lines
from harness.analysis.tables import markdown
from harness.records import Row
from harness.report import claims
from harness.spec import FLOOR, UsageError, paper

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"


def updated(text: str, rows: Sequence[Row], path: Path) -> str:
    """The README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{before}{BEGIN}\n{block(rows)}{END}{after}"


def block(rows: Sequence[Row]) -> str:
    """Time of a training step over the floor, and the verdicts."""
    return f"{_speed(list(rows))}\n{claims.short_table(rows)}"


def _speed(rows: list[Row]) -> str:
    lines = [line for line in acceleration_lines(rows) if line.of_figure_3]
    lines = [line for line in lines if line.place == lines[0].place]  # that with most rows
    if not lines:
        return ""
    names = dict.fromkeys(line.name for line in lines if line.framework != FLOOR)
    columns = sorted(names, key=lambda name: (name.endswith("bf16"), name))
    shown = []
    for dataset, scale in dict.fromkeys((line.dataset, line.scale) for line in lines):
        cell = [line for line in lines if (line.dataset, line.scale) == (dataset, scale)]
        measured = {line.name: line for line in cell}
        floor = measured.get(FLOOR)
        cells = {
            "network": markdown(f"{paper.settings(dataset).title} {scale}"),
            "floor, ms": f"{1000 * floor.seconds_per_iteration:,.0f}" if floor else "",
        }
        for name in columns:
            ratio = measured[name].ratio_to_fp32_floor if name in measured else nan
            cells[markdown(name)] = "" if isnan(ratio) else f"{ratio:.2f}"
        shown.append(cells)
    last = lines[-1]
    when = max(row.time for row in rows if row.run == last.run)[:10]
    head = (
        "Time of a training step over that of its convolutions and products alone (the float32 "
        "floor), batch 20, T = 10, every contender proved equal first. "
        f"{markdown(last.cpu)}, {last.threads} threads, torch {markdown(last.torch)}, "
        f"{markdown(when)}.\n\n"
    )
    return head + pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True) + "\n"
