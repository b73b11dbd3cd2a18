"""Tables: any, and those of the paper with ours beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table

from harness.analysis.energy import WAYS, part
from harness.cli.terminal import trainings
from harness.cli.terminal.blocks import Block, Blocks, Head
from harness.cli.terminal.trainings import seen, title_of


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table of texts; numbers are aligned by whoever formats them. Nothing is cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.title, table.title_justify = title or None, "left"
    for name in columns:
        table.add_column(escape(name), overflow="fold")
    for line in lines:
        table.add_row(*(escape(str(cell)) for cell in line))
    return table


def unbroken(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """The same for a pipe: each line is one line, however long."""
    cells = [tuple(columns), *(tuple(map(str, line)) for line in lines)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return "".join(
        "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in cells
    )


def plain(table: pd.DataFrame, places: Sequence[str] = ()) -> Blocks:
    """Any table: what is the same in all lines of the same data is said once above them.

    `places` are the machines that each line was measured on.
    """
    return Blocks(tuple(trainings.blocks(table, places)))


def energy(table: pd.DataFrame) -> Blocks:
    """What an inference costs: a table for each way, above it what to mind of it."""
    found: list[Block] = []
    for way in WAYS:
        over = f"{way.name}: {way.caveat}"
        found += [replace(block, over=over) for block in trainings.blocks(part(table, way))]
    return Blocks(tuple(found))


def systems(table: pd.DataFrame, places: Sequence[str] = ()) -> Blocks:
    """The other systems of Tables 3 to 6: how they did, by the data they saw."""
    groups: dict[tuple[str, str, str], list[tuple[str, ...]]] = {}
    lines = table.to_dict("records")
    for line, place in zip(lines, places or [""] * len(lines), strict=True):
        figures = (_percent(line["accuracy"]), _interval(line), str(line["n"]))
        cells = (line["framework"], line["window"], *figures, f"{line['seconds']:.0f}")
        group = groups.setdefault((title_of(_named(line)), _data(line), place), [])
        group.append(cells)
    columns = (
        *(Head("system"), Head("window")),
        *(Head(name, right=True) for name in ("test %", "95 %", "n", "fit, s")),
    )
    found = [
        Block(title, (f"data: {data}", *([f"on {place}"] if place else [])), columns, tuple(group))
        for (title, data, place), group in groups.items()
    ]
    more = "with fidelity and deviations: `harness tables 3`, 4, 5, 6, or --format csv"
    return Blocks((*found[:-1], *(replace(each, notes=(more,)) for each in found[-1:])))


def paper(table: pd.DataFrame, places: Sequence[str] = ()) -> Blocks:
    """Table 3, 4, 5 or 6 of the paper: ours beside it in percent, the conditions below."""
    columns = (
        *(Head("model"), Head("method"), Head("paper", right=True)),
        *(Head(name, right=True) for name in ("here", "95 %", "n", "differs")),
    )
    cells, notes = [], []
    lines = table.to_dict("records")
    for line, place in zip(lines, places or [""] * len(lines), strict=True):
        model = line["model"] + ("*" if line["source"] != "this paper" else "")
        measured: Any = line.get("accuracy")
        ours = ("", "", "", "")
        if pd.notna(measured):
            differs = f"{100 * line['difference']:+.1f}"
            ours = (_percent(line["accuracy"]), _interval(line), f"{line['n']:.0f}", differs)
            run = _system if isinstance(line.get("fidelity"), str) else _conditions
            where = f"; on {place}" if place else ""
            notes.append(f"{line['method'] or line['model']}: {run(line)}{where}")
        cells.append((model, line["method"], _percent(line["published"]), *ours))
    doubts = dict.fromkeys(
        f"{line['model']}, {line['method']}: {line['note']}" for line in lines if line["note"]
    )
    said = ("accuracy in %, differences in points; * cited by the paper",)
    return Blocks((Block("", said, columns, tuple(cells), (*doubts, *notes)),))


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _interval(line: Mapping[Any, Any]) -> str:
    return "" if pd.isna(line["low"]) else f"{100 * line['low']:.1f}-{100 * line['high']:.1f}"


def _named(line: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in line.items()}


def _system(line: Mapping[Any, Any]) -> str:
    window = f", {line['window']}" if line["window"] else ""
    once = "" if line["random"] else "; nothing of it is random: one value"
    return (
        f"{line['framework']}{window}, {_data(line)}; {line['structure']}; {line['fidelity']}; "
        f"deviations: {line['deviations']}{once}"
    )


def _conditions(line: Mapping[Any, Any]) -> str:
    return (
        f"{_data(line)}, width {line['width']}, "
        f"{line['epochs']:.0f} epochs, T = {line['T']:.0f}, dropout {line['dropout']:g}, "
        f"batch {line['batch_size']:.0f}, {line['framework']} {line['precision']} on "
        f"{line['device']}, NeuNorm {line['neunorm']}"
    )


def _data(line: Mapping[Any, Any]) -> str:
    return f"{seen(_named(line))}, {line['train_samples']:,.0f} training samples"
