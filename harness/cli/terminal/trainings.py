"""Tables of trainings, a block for the data they are of; each line fits into 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.analysis.named import data_name
from harness.analysis.same import text, words
from harness.analysis.trained import FIGURES, FLAGS
from harness.cli.terminal.blocks import WIDTH, Block, Head, width

Line = dict[str, Any]

_DATA = ("dataset", "data_source", *FLAGS)
_LONGEST = 24  # characters of a text that has a column; longer ones stand below
# Where all columns do not fit, these go first: a csv has them.
_FIRST_TO_GO = (
    *("recorded_samples", "chosen_accuracy", "best_accuracy", "train_accuracy"),
    "seconds_per_epoch",
)
_CHANGE = "change"
# What an ablation may change: the name of the change says which.
_CHANGED = (
    *("framework", "precision", "initialisation", "v_th", "a", "loss_function", "optimiser"),
)
_WORDS = {
    "neunorm": "NeuNorm",
    "scale": "network",
    "loss_function": "loss",
    "network": "layers",
    "v_th": "V_th",
}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


@dataclass(frozen=True)
class _Figure:
    """How a column of figures is shown."""

    head: str
    form: Callable[[float], str]


_SHOWN = {
    "accuracy": _Figure("test %", _percent),
    "best_accuracy": _Figure("best %", _percent),
    "chosen_accuracy": _Figure("chosen %", _percent),
    "train_accuracy": _Figure("train %", _percent),
    "recorded_accuracy": _Figure("recorded %", _percent),
    "difference": _Figure("change, points", _points),
    "target": _Figure("target %", _percent),
    "epochs_to_target": _Figure("epochs to target", "{:.1f}".format),
    "contrast": _Figure("contrast", "{:.3f}".format),
    "dead_layers": _Figure("dead layers", "{:.1f}".format),
    "at_chance": _Figure("at chance", "{:.0f}".format),
    "seconds_per_epoch": _Figure("s/epoch", "{:.1f}".format),
}
_INTERVALS = {
    "low": "accuracy",
    "recorded_low": "recorded_accuracy",
    "difference_low": "difference",
}
_HIGHS = ("high", "recorded_high", "difference_high")


def blocks(table: pd.DataFrame, places: Sequence[str] = ()) -> list[Block]:
    """A table's lines by the data they are of; `places` are the machines of each line."""
    lines: list[Line] = [{str(k): v for k, v in each.items()} for each in table.to_dict("records")]
    if any(places):
        lines = [{**line, "measured on": place} for line, place in zip(lines, places, strict=True)]
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(text(line.get(name)) for name in _DATA), []).append(line)
    return [block for group in groups.values() for block in _of_data(group)]


def title_of(line: Line) -> str:
    """The data that a line is of."""
    if "dataset" not in line:
        return ""
    substitute, simulated = (bool(line.get(name)) for name in ("substitute", "simulated"))
    return data_name(str(line["dataset"]), substitute=substitute, simulated=simulated)


def seen(line: Line) -> str:
    """Where the data of a line come from."""
    flags = [name for name in FLAGS if line.get(name)]
    return f"{line['data_source']}{' (' + ', '.join(flags) + ')' if flags else ''}"


def _of_data(lines: list[Line]) -> list[Block]:
    names = [name for name in lines[0] if name not in _DATA]
    keys = [name for name in names if not _is_figure(name, lines)]
    texts = {name: [text(line[name]) for line in lines] for name in keys}
    same = [name for name in keys if len(set(texts[name])) == 1]
    explained = _CHANGED if _CHANGE in keys and _CHANGE not in same else ()
    gone = [name for name in explained if name not in same]
    told = [name for name in keys if name not in (*same, *gone)]
    front = [n for n in told if n == _CHANGE or max(map(len, texts[n])) <= _LONGEST]
    below = [name for name in told if name not in front]
    said = ", ".join(_said(name, texts[name][0]) for name in same if _says(texts[name][0]))
    data = f"data: {seen(lines[0])}" if lines[0].get("data_source") else ""
    by = [_CHANGE] if explained else front
    labels = [", ".join(texts[name][n] for name in by) for n in range(len(lines))]
    if not all(labels) or len(set(labels)) < len(lines):
        labels = [str(n) for n in range(1, len(lines) + 1)]
        fixed = [(Head("line", right=True), labels)] if len(lines) > 1 else []
    else:
        fixed = []
    fixed += [(Head(_word(name), right=_numbers(name, lines)), texts[name]) for name in front]
    block = Block(title_of(lines[0]), tuple(t for t in (said, data) if t), (), ())
    return _fitted(block, fixed, _figures(names, lines), _notes(below, texts, labels), gone)


Cells = tuple[Head, list[str]]


def _fitted(
    block: Block,
    fixed: list[Cells],
    figures: dict[str, list[Cells]],
    notes: list[str],
    gone: list[str],
) -> list[Block]:
    """One block where its columns fit into a terminal; else without some, or several."""
    for name in _FIRST_TO_GO:
        if _wide([*fixed, *(cells for each in figures.values() for cells in each)]) <= WIDTH:
            break
        if figures.pop(name, None):
            gone = [*gone, name]
    if gone:
        notes = [*notes, f"not shown: {', '.join(map(_word, gone))} (--format csv has all)"]
    parts: list[list[Cells]] = [list(fixed)]
    for cells in figures.values():
        if len(parts[-1]) > len(fixed) and _wide([*parts[-1], *cells]) > WIDTH:
            parts.append(list(fixed))
        parts[-1] += cells
    made = [_made(block if n == 0 else replace(block, said=()), p) for n, p in enumerate(parts)]
    return [*made[:-1], replace(made[-1], notes=tuple(notes))]


def _wide(cells: Sequence[Cells]) -> int:
    lines = list(zip(*(column for _, column in cells), strict=True))
    return width([column for column, _ in cells], lines)


def _made(block: Block, cells: list[Cells]) -> Block:
    lines = tuple(zip(*(column for _, column in cells), strict=True))
    return replace(block, columns=tuple(column for column, _ in cells), lines=lines)


def _figures(names: Sequence[str], lines: list[Line]) -> dict[str, list[Cells]]:
    """The figures by the first column of each, with the interval of those that have one."""
    found: dict[str, list[Cells]] = {}
    for name in names:
        if name in _HIGHS or not _is_figure(name, lines):
            continue
        if name in _INTERVALS:
            interval = _interval(name, lines)
            if any(interval[1]):
                found.setdefault(_INTERVALS[name], []).append(interval)
            continue
        shown = _figure(name)
        cells = [text(v) if not _is_number(v) else shown.form(v) for v in _values(name, lines)]
        if any(cells):
            found.setdefault(name, []).insert(0, (Head(shown.head, right=True), cells))
    return found


def _figure(name: str) -> _Figure:
    if name.startswith("tested_"):
        return _Figure(f"test T={name.removeprefix('tested_')}", _percent)
    return _SHOWN.get(name) or _Figure(words(name), text)


def _interval(low: str, lines: list[Line]) -> Cells:
    form = _points if low == "difference_low" else _percent
    high = low.replace("low", "high")
    cells = []
    for line in lines:
        ends = line[low], line[high]
        between = " to " if form is _points else "-"
        cells.append(between.join(map(form, ends)) if all(map(_is_number, ends)) else "")
    return Head("95 %", right=True), cells


def _values(name: str, lines: list[Line]) -> list[Any]:
    return [line[name] for line in lines]


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not pd.isna(value)


_SETTINGS = ("T", "epochs", "train_samples", "test_samples", "batch_size", "dropout", "v_th", "a")


def _numbers(name: str, lines: list[Line]) -> bool:
    return all(_is_number(value) or text(value) == "" for value in _values(name, lines))


def _is_figure(name: str, lines: list[Line]) -> bool:
    """Whether it is something measured, which stays in the table even where all have the same."""
    if name == "at_chance" and not any(_values(name, lines)):
        return False  # it is said once
    if name in (*FIGURES, *_SHOWN, *_INTERVALS, *_HIGHS) or name.startswith("tested_"):
        return True
    if name in _SETTINGS or name == "bin_ms":
        return False
    return all(isinstance(value, float) for value in _values(name, lines))


def _says(value: str) -> bool:
    return value not in ("", "False")


def _word(name: str) -> str:
    return _WORDS.get(name, words(name))


def _said(name: str, value: str) -> str:
    return _word(name) if value == "True" else f"{_word(name)} {value}"


def _notes(names: Sequence[str], texts: dict[str, list[str]], labels: Sequence[str]) -> list[str]:
    """The texts that are too long for a column, each with the lines that it is of."""
    notes = []
    for name in names:
        owners: dict[str, list[str]] = {}
        for label, value in zip(labels, texts[name], strict=True):
            owners.setdefault(value, []).append(label)
        said = {value: "; ".join(who) for value, who in owners.items() if _says(value)}
        notes += [f"{who}: {_said(name, value)}" for value, who in said.items()]
    return notes
