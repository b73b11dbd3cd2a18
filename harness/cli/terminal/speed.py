"""Timings: a block of lines for each cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.analysis import tables
from harness.cli.terminal.numbers import number, span
from harness.spec import paper

_PRECISIONS = re.compile(r"\((fp\d[^)]*)\)$")  # of a certificate: equal (fp64+fp32)


def acceleration(table: pd.DataFrame) -> RenderableType:
    """The acceleration table, a block per cell, narrow enough for 80 columns."""
    blocks: dict[tuple[object, ...], list[dict[Any, Any]]] = {}
    for line in table.to_dict("records"):
        key = tuple(line[name] for name in tables.Cell._fields)
        blocks.setdefault(key, []).append(line)
    return Group(*(_cell(lines) for lines in blocks.values()))


def _cell(lines: Sequence[Mapping[Any, Any]]) -> RenderableType:
    first = lines[0]
    title = paper.settings(first["dataset"]).title
    exact = {found[0] for line in lines if (found := _PRECISIONS.findall(line["certificate"]))}
    precisions = exact.pop() if len(exact) == 1 else ""
    head = Text.assemble(
        (f"{title} {first['scale']}", "bold"),
        f"  {first['network']}",
        f"  width {first['width']}" if first["width"] != "1" else "",
        f"  NeuNorm {first['neunorm']}" if first["neunorm"] else "",
        f"\n{first['mode']}, {first['device']}, T = {first['T']}, "
        f"batch {first['batch_size']}; "
        f"data: {first['data_source']}; "
        f"{_noise(first)}",
        f"; equal: proved in {precisions}" if precisions else "",
    )
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for name in ("ms", "h/epoch" if _long(lines) else "min/epoch", "x floor"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("95 %", no_wrap=True)
    for name in ("MiB", "n"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("proof", overflow="fold")
    for line in lines:
        *figures, proof = _contender(line, _long(lines))
        proof = _PRECISIONS.sub("", proof) if precisions else proof
        grid.add_row(*(escape(text) for text in (*figures, proof.strip())))
    # below the grid, whose last column is a word wide in 80 columns
    notes = [Text(f"{_name(line)}: {note}", "dim") for line in lines for note in _notes(line)]
    return Group(head, grid, *notes, "") if notes else Group(head, grid)


def _name(line: Mapping[Any, Any]) -> str:
    name = line["framework"] + (f":{line['variant']}" if line["variant"] else "")
    return name if line["precision"] == "fp32" else f"{name} {line['precision']}"


def _notes(line: Mapping[Any, Any]) -> list[str]:
    notes = [line["reason"]] if line["reason"] else []
    if pd.notna(line["gradient_cosine"]):
        notes.append(
            f"{100 * line['mismatch_rate']:.2f} % of spikes differ from float32's, "
            f"gradient cosine {line['gradient_cosine']:.3f} in the layer where it is lowest"
        )
    return notes


def _long(lines: Sequence[Mapping[Any, Any]]) -> bool:
    return any(line["seconds_per_epoch"] > 3 * 3600 for line in lines)


def _contender(line: Mapping[Any, Any], long: bool) -> tuple[str, ...]:
    name = _name(line)
    place = f"{line['rank']} " if pd.notna(line["rank"]) else "  "
    certificate = line["certificate"]
    if pd.isna(line["seconds_per_iteration"]):
        return (place + name, "", "", "", "", "", "0", certificate)
    return (
        place + name,
        f"{1000 * line['seconds_per_iteration']:,.0f}",
        f"{line['seconds_per_epoch'] / (3600 if long else 60):.1f}",
        number(line["ratio_to_floor"], ".2f"),
        _range(line["ratio_low"], line["ratio_high"]),
        number(line["peak_memory_mib"], ",.0f"),
        str(line["rounds"]),
        certificate,
    )


def _range(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high) or low == high or high == inf:
        return ""
    return span(low, high)


def _noise(line: Mapping[Any, Any]) -> str:
    if pd.isna(line["noise_low"]):
        return "A/A not measured"
    if line["noise_high"] == inf:
        return "A/A unknown after one round"
    return f"A/A {line['noise_low']:.2f}-{line['noise_high']:.2f}"
