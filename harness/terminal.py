"""What the terminal shows: progress while measuring, tables and certificates as text (Rich)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from harness import networks, tables
from harness.tables.same import text, told_once, words

if TYPE_CHECKING:  # tables are shown without torch
    from harness.again import Check
    from harness.certificate import Certificate
    from harness.checking import Examined
    from harness.compare import Change, Comparison
    from harness.executors import Trained
    from harness.records import Record
    from harness.status import Standing


def progress(console: Console) -> Progress:
    """A bar with what is being done and the time left; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


_PRECISIONS = re.compile(r"\((fp\d[^)]*)\)$")  # of a certificate: equal (fp64+fp32)


def rows(columns: Sequence[str], lines: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table of texts; numbers are aligned by whoever formats them."""
    table = Table(*columns, box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
    for line in lines:
        table.add_row(*(escape(str(cell)) for cell in line))
    return table


def acceleration(table: pd.DataFrame) -> RenderableType:
    """The acceleration table, a block per cell, narrow enough for 80 columns."""
    blocks: dict[tuple[object, ...], list[dict[Any, Any]]] = {}
    for line in table.to_dict("records"):
        key = tuple(line[name] for name in tables.Cell._fields)
        blocks.setdefault(key, []).append(line)
    return Group(*(_cell(lines) for lines in blocks.values()))


def _cell(lines: Sequence[Mapping[Any, Any]]) -> RenderableType:
    first = lines[0]
    title = networks.settings(first["dataset"]).title
    exact = {found[0] for line in lines if (found := _PRECISIONS.findall(line["certificate"]))}
    said_once = len(exact) == 1
    head = Text.assemble(
        (f"{title} {first['scale']}", "bold"),
        f"  {first['network']}",
        f"  width {first['width']}" if first["width"] != "1" else "",
        f"  NeuNorm {first['neunorm']}" if first["neunorm"] else "",
        f"\n{first['mode']}, {first['device']}, T = {first['T']}, "
        f"batch {first['batch_size']}; "
        f"data: {first['data_source']}; "
        f"{_noise(first)}",
        f"; equal: proved in {exact.pop()}" if said_once else "",
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
        proof = _PRECISIONS.sub("", proof) if said_once else proof
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
        _number(line["ratio_to_floor"], ".2f"),
        _range(line["ratio_low"], line["ratio_high"]),
        _number(line["peak_memory_mib"], ",.0f"),
        str(line["rounds"]),
        certificate,
    )


def _number(value: float, form: str) -> str:
    return "" if value is None or pd.isna(value) else format(value, form)


def _range(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high) or low == high or high == inf:
        return ""
    return _span(low, high)


def _noise(line: Mapping[Any, Any]) -> str:
    if pd.isna(line["noise_low"]):
        return "A/A not measured"
    if line["noise_high"] == inf:
        return "A/A unknown after one round"
    return f"A/A {line['noise_low']:.2f}-{line['noise_high']:.2f}"


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
        cells = [model, line["method"], _percent(line["published"]), "", "", "", ""]
        measured: Any = line.get("accuracy")
        if pd.notna(measured):
            interval = f"{100 * line['low']:.1f}-{100 * line['high']:.1f}"
            cells[3:] = (
                _percent(line["accuracy"]),
                "" if pd.isna(line["low"]) else interval,
                f"{line['n']:.0f}",
                f"{100 * line['difference']:+.1f}",
            )
            notes.append(Text(f"{line['method']}: {_conditions(line)}", "dim"))
        grid.add_row(*map(escape, cells))
    return Group(grid, *notes)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _conditions(line: Mapping[Any, Any]) -> str:
    flags = [name for name in ("partial", "lossy", "simulated", "substitute") if line[name]]
    reading = f", NeuNorm {line['neunorm']}" if line["neunorm"] else ""
    return (
        f"{line['data_source']}{' (' + ', '.join(flags) + ')' if flags else ''}, "
        f"{line['train_samples']:,.0f} training samples, width {line['width']}, "
        f"{line['epochs']:.0f} epochs, T = {line['T']:.0f}, dropout {line['dropout']:g}, "
        f"batch {line['batch_size']:.0f}, {line['framework']} {line['precision']} on "
        f"{line['device']}{reading}"
    )


def comparison(found: Comparison) -> RenderableType:
    """What differs in how the folders were made, what changed, then every figure."""
    head = [Text(each, "yellow") for each in found.differences]
    head += [Text(f"in one folder alone: {each}", "dim") for each in found.unmatched[:10]]
    if len(found.unmatched) > 10:
        head.append(Text(f"and {len(found.unmatched) - 10} more", "dim"))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "where", "old", "new", "change", "interval", ""):
        right = name in ("old", "new", "change")
        grid.add_column(name, justify="right" if right else "left", overflow="fold")
    for each in found.changes:
        grid.add_row(*map(escape, _changed(each)), style=_CALLS.get(each.call, ""))
    calls = sum(each.call in _CALLS for each in found.changes)
    return Group(*head, grid, Text(f"{calls} changes stand out of the noise", "bold"))


_CALLS = {"slower": "red", "worse": "red", "faster": "green", "better": "green"}


def _changed(each: Change) -> tuple[str, ...]:
    return (
        each.contender,
        each.where,
        _number(each.old, ".3f"),
        _number(each.new, ".3f"),
        f"{100 * each.change:+.1f} %",
        "" if pd.isna(each.low) else f"{100 * each.low:+.1f} to {100 * each.high:+.1f} %",
        each.call,
    )


def trained(ended: Trained) -> RenderableType:
    """A training in a few lines: its three figures, and its warnings or why it came to nothing."""
    case = ended.case
    reading = f" NeuNorm {case.network.neunorm.reading}" if case.network.neunorm else ""
    head = Text(
        f"{networks.settings(case.dataset).title} {case.scale}{reading} {case.framework} "
        f"T = {case.T} seed {case.seed}: ",
        "bold",
    )
    lines = [Text(row.reason, "yellow") for row in ended.rows if row.kind == "epoch" and row.reason]
    for row in ended.rows:
        if row.kind == "case":
            head.append(f"{row.status}: {row.reason}", "red")
        if row.kind == "trained":
            head.append(_three_figures(row), "default")
    if ended.before:
        head.append(" (done before)", "dim")
    return Group(head, *lines)


def _three_figures(row: Record) -> str:
    last, best, chosen = (
        f"{100 * (value or 0):.2f} %"
        for value in (row.test_accuracy, row.best_test_accuracy, row.chosen_test_accuracy)
    )
    spent = (row.seconds or 0) / (row.epochs or 1)
    return (
        f"{last} after {row.epochs} epochs, best {best} (epoch {row.best_test_epoch}), "
        f"{chosen} where it validates best (epoch {row.chosen_epoch}); {spent:.1f} s an epoch"
    )


def examined(result: Examined) -> RenderableType:
    """An adapter's certificates, layer by layer, and what they come to.

    A layer's line holds the worst over the certificates of the same network, with and without
    NeuNorm: float64 and float32 side by side.
    """
    head = Text(result.name, "bold")
    if result.reason:
        return Text.assemble(head, f": {result.reason}")
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("network", "layer"):
        grid.add_column(column, no_wrap=True)
    for column in ("rate", "spikes", "fp64 differ", "gradient", "fp32 differ", "gradient"):
        grid.add_column(column, justify="right", no_wrap=True)
    for title, group in _by_network(result.proofs).items():
        for n, line in enumerate(_layer_lines(group)):
            grid.add_row(escape(title) if n == 0 else "", *map(escape, line))
    return Group(head, grid, _verdict(result))


def _by_network(
    proofs: Sequence[tuple[str, Certificate]],
) -> dict[str, list[Certificate]]:
    groups: dict[str, list[Certificate]] = {}
    for title, proof in proofs:
        groups.setdefault(title, []).append(proof)
    return groups


def _layer_lines(group: Sequence[Certificate]) -> list[tuple[str, ...]]:
    compared = [proof for proof in group if proof.layers]
    lines = []
    for n, layer in enumerate(compared[0].layers if compared else ()):
        rates = [proof.layers[n].rate for proof in compared]
        spikes = sum(proof.layers[n].spikes for proof in compared)
        line = [layer.layer, _span(min(rates), max(rates)), f"{spikes:,}"]
        for precision in ("fp64", "fp32"):
            of = [proof.layers[n] for proof in compared if proof.precision == precision]
            line += [
                f"{sum(each.mismatches for each in of):,}",
                f"{max((each.gradient_error for each in of), default=0):.0e}",
            ]
        lines.append(tuple(line))
    return lines


def _span(low: float, high: float) -> str:
    shown = f"{low:.2f}", f"{high:.2f}"
    return shown[0] if shown[0] == shown[1] else "-".join(shown)


def _verdict(result: Examined) -> Text:
    passed = sum(proof.passed for _, proof in result.proofs)
    count = f"{passed} of {len(result.proofs)} certificates passed"
    failures = [
        f"{title} {proof.precision}: {failure}"
        for title, proof in result.proofs
        for failure in proof.failures
    ]
    if result.deviations:
        shown = failures[:2]
        said = "; ".join(result.deviations)
        return Text("\n".join([f"not the paper's function, as it says: {said}", *shown]) + "\n")
    if failures:
        return Text("\n".join([f"FAILED: {count}", *failures[:6]]) + "\n", "red")
    return Text(f"equal: {count}\n", "green")


def standing(found: Sequence[Standing]) -> RenderableType:
    """How the suites stand, and about how long the rest takes."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("suite", "data set"):
        grid.add_column(name, no_wrap=True)
    for name in ("done", "dated", "failed", "absent", "missing", "left"):
        grid.add_column(name, justify="right", no_wrap=True)
    for each in found:
        counts = (each.done, each.dated, each.failed, each.left_out, each.missing)
        grid.add_row(each.suite, each.dataset, *map(str, counts), _duration(each.seconds_left))
    dated = any(each.dated for each in found)
    note = "dated: rows of other code or versions, or (timings) of another machine"
    return Group(grid, Text(note, "dim")) if dated else grid


def _duration(seconds: float) -> str:
    if pd.isna(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def checks(found: Sequence[Check]) -> RenderableType:
    """What was confirmed."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", "figure", "recorded", "now", ""):
        grid.add_column(name, overflow="fold")
    for each in found:
        verdict = Text(each.verdict, "" if each.verdict == "confirmed" else "yellow")
        texts = (each.case, each.figure, each.recorded, each.now)
        grid.add_row(*map(escape, texts), verdict)
    reasons = dict.fromkeys(f"{each.case}: {each.reason}" for each in found if each.reason)
    return Group(grid, *(Text(each, "dim") for each in reasons))
