"""Tables: any, and those of the paper with ours beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.analysis.same import text, told_once, words
from harness.cli.terminal.numbers import percent


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table of texts; numbers are aligned by whoever formats them."""
    table = Table(*columns, box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for line in lines:
        table.add_row(*(escape(str(cell)) for cell in line))
    return table


def plain(table: pd.DataFrame) -> RenderableType:
    """Any table: what is the same in all its lines is said once above it."""
    head, rest = told_once(table)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in rest.columns:
        texts = any(isinstance(value, str) for value in rest[name])
        grid.add_column(words(name), justify="left" if texts else "right", overflow="fold")
    for line in rest.itertuples(index=False):
        grid.add_row(*(escape(text(value)) for value in line))
    return Group(Text(head, "dim"), grid)


def systems(table: pd.DataFrame) -> RenderableType:
    """The other systems of Tables 3 to 6: how they did; the data they saw below."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("data set", "system", "window"):
        grid.add_column(name, overflow="fold")
    for name in ("accuracy", "95 %", "n", "fit, s"):
        grid.add_column(name, justify="right", no_wrap=True)
    lines = table.to_dict("records")
    for line in lines:
        interval = (
            "" if pd.isna(line["low"]) else f"{100 * line['low']:.1f}-{100 * line['high']:.1f}"
        )
        names = (line["dataset"], line["framework"], line["window"])
        figures = (percent(line["accuracy"]), interval, str(line["n"]), f"{line['seconds']:.0f}")
        grid.add_row(*map(escape, (*names, *figures)))
    seen = dict.fromkeys(f"{line['dataset']}: {_data(line)}" for line in lines)
    more = "with fidelity and deviations: `harness tables 3`, 4, 5, 6, or --format csv"
    return Group(grid, *(Text(each, "dim") for each in (*seen, more)))


def paper(table: pd.DataFrame) -> RenderableType:
    """Table 3, 4, 5 or 6 of the paper: ours beside it in percent, the conditions below."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "method"):
        grid.add_column(name, overflow="fold")
    for name in ("published", "measured", "95 %", "n", "difference"):
        grid.add_column(name, justify="right", no_wrap=True)
    notes = []
    for line in table.to_dict("records"):
        model = line["model"] + (" (cited)" if line["source"] != "this paper" else "")
        cells = [model, line["method"], percent(line["published"]), "", "", "", ""]
        measured: Any = line.get("accuracy")
        if pd.notna(measured):
            interval = f"{100 * line['low']:.1f}-{100 * line['high']:.1f}"
            cells[3:] = (
                percent(line["accuracy"]),
                "" if pd.isna(line["low"]) else interval,
                f"{line['n']:.0f}",
                f"{100 * line['difference']:+.1f}",
            )
            run = _system if isinstance(line.get("fidelity"), str) else _conditions
            notes.append(Text(f"{line['method']}: {run(line)}", "dim"))
        grid.add_row(*map(escape, cells))
    doubts = dict.fromkeys(
        f"{line['model']}, {line['method']}: {line['note']}"
        for line in table.to_dict("records")
        if line["note"]
    )
    return Group(grid, *(Text(doubt, "yellow") for doubt in doubts), *notes)


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
    flags = [name for name in ("partial", "lossy", "simulated", "substitute") if line[name]]
    return (
        f"{line['data_source']}{' (' + ', '.join(flags) + ')' if flags else ''}, "
        f"{line['train_samples']:,.0f} training samples"
    )
