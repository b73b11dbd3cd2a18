"""What of each table is shown, on the page and in a terminal: few columns, the rest once above.

A csv has all columns; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isnan, nan
from operator import itemgetter
from typing import Any

import pandas as pd

from harness.analysis.frame import grouped
from harness.analysis.words import data_name
from harness.report.table import Table, Tables, interval, text
from harness.spec import FLOOR

FLAGS = ("partial", "lossy", "simulated", "substitute")  # what must be said of data
LONG = 1.0  # seconds of compiling that are worth a word
# What tells one line of trainings from another, in this order; the names of the others are said.
KEYS = (
    *("change", "scale", "framework", "neunorm", "T", "bin_ms", "width", "weights", "epochs"),
    *("train_samples", "precision", "batch_size", "dropout", "window", "device", "optimiser"),
    *("initialisation", "v_th", "a", "loss_function", "network", "test_samples", "machines"),
)
# What an ablation may change: the name of the change says which. And what follows from the scale.
EXPLAINED = {
    "window": ("epochs",),
    "change": (
        *("framework", "precision", "initialisation", "v_th", "a", "loss_function", "optimiser"),
    ),
    "scale": ("network",),
}
WORDS = {"neunorm": "NeuNorm", "scale": "network", "network": "layers", "v_th": "V_th"}
WORDS |= {"loss_function": "loss", "bin_ms": "bin, ms", "at_chance": "learnt nothing"}
# Figures in per cent, each with its interval; then those without one.
INTERVALS = {
    "accuracy": ("test %", "low", "high", ".1f"),
    "recorded_accuracy": ("recorded %", "recorded_low", "recorded_high", ".1f"),
    "difference": ("change, points", "difference_low", "difference_high", "+.1f"),
}
PLAIN = {
    "n": ("n", "d", 1),
    "at_chance": ("learnt nothing", "d", 1),
    "target": ("target %", ".1f", 100),
    "epochs_to_target": ("epochs to target", ".1f", 1),
    "contrast": ("contrast", ".3f", 1),
    "dead_layers": ("dead layers", ".1f", 1),
    "train_accuracy": ("train %", ".1f", 100),
    "chosen_accuracy": ("chosen %", ".1f", 100),
    "best_accuracy": ("best %", ".1f", 100),
    "seconds_per_epoch": ("s/epoch", ",.0f", 1),
    "seconds": ("fit, s", ".0f", 1),
    "spike_rate": ("spike rate", ".3f", 1),
    "macs_millions": ("MAC, M", ",.1f", 1),
    "acs_millions": ("AC, M", ",.1f", 1),
    "counted_uj_float32": ("uJ", ",.0f", 1),
    "ann_counted_uj_float32": ("ANN, uJ", ",.0f", 1),
    "memory_uj": ("with memory, uJ", ",.0f", 1),
    "break_even": ("break-even rate", ".3f", 1),
}
# What goes first where a line would be too wide: a csv has all.
FIRST_TO_GO = ("s/epoch", "best %", "chosen %", "train %", "dead layers", "MAC, M", "AC, M")


def data_title(line: Any) -> str:
    """The data in a few words: what stands in for a data set has its own name."""
    flags = {name: bool(line.get(name)) for name in ("substitute", "simulated")}
    return data_name(line["dataset"], **flags)


def data_source(line: Any) -> str:
    """Where the data come from, and what must be said of them."""
    source = text(line.get("data_source"))
    flags = [name for name in FLAGS if line.get(name) and name not in source]
    return f"{source} ({', '.join(flags)})" if flags else source


def shown(name: str, frame: pd.DataFrame) -> Tables:
    """A table of `harness tables`, as it is read."""
    if name == "acceleration":
        cells = frame.groupby(["run", "cell"], sort=False, dropna=False)
        return Tables(tuple(_cell(part) for _, part in cells))
    return Tables((of_paper(frame),) if name.isdigit() else tuple(trained(frame)))


def _first(part: pd.DataFrame) -> dict[str, Any]:
    return {str(name): value for name, value in part.iloc[0].items()}


def _cell(part: pd.DataFrame) -> Table:
    """What was timed together: a line a contender."""
    first = _first(part)
    long = any(seconds > 3 * 3600 for seconds in part["seconds_per_epoch"])
    epoch, unit = ("h/epoch", 3600) if long else ("min/epoch", 60)
    lines = part.to_dict("records")
    content = [
        {
            "": f"{text(line['rank']) or ' '} {line['name']}",
            "ms": _number(1000 * line["seconds_per_iteration"], ",.0f"),
            epoch: _number(line["seconds_per_epoch"] / unit, ".1f"),
            "x floor": times(line["ratio_to_floor"]),
            "95 %": _span(line["ratio_low"], line["ratio_high"]),
            "MiB": _number(line["peak_memory_mib"], ",.0f"),
            "n": str(line["rounds"]),
            "proof": line["certificate"].partition(" (")[0],  # what more there is stands below
        }
        for line in lines
    ]
    title = f"{data_title(first)} {first['scale']}  {first['network']}"
    title += f"  width {first['width']}" * (first["width"] != "1")
    title += f"  NeuNorm {first['neunorm']}" * bool(first["neunorm"])
    said = (
        f"{first['mode']}, {first['device']}, T = {first['T']}, batch {first['batch_size']}; "
        f"data: {data_source(first)}; {_noise(first)}; protocol {first['protocol']}"
    )
    return Table(content, title, said, tuple(_notes(lines)), f"on {first['machine']}")


def _notes(lines: Sequence[Any]) -> Iterable[str]:
    """What there is to say below, each thing once, and of whom."""
    contenders = [line for line in lines if line["framework"] != FLOOR]
    for field, before in (("reason", ""), ("memory_note", "no peak memory: ")):
        for note, of in grouped(contenders, itemgetter(field)).items():
            names = "all" if len(of) == len(contenders) > 1 else ", ".join(e["name"] for e in of)
            if note:
                yield f"{names}: {before}{note}"
    slow = [line for line in contenders if line["compile_seconds"] > LONG]
    if slow:
        each = (f"{line['name']} {line['compile_seconds']:,.0f} s" for line in slow)
        yield f"first iteration, with compiling: {', '.join(each)}"
    bf16 = [line for line in contenders if line["certificate"].startswith("bf16")]
    if bf16:
        most = max(line["mismatch_rate"] for line in bf16)
        least = min(line["gradient_cosine"] for line in bf16)
        cosine = "" if isnan(least) else f"; their gradients' lowest cosine is {least:.3f}"
        yield f"bf16: up to {100 * most:.2g} % of spikes differ from float32's{cosine}"


def _noise(line: Any) -> str:
    if isnan(line["noise_low"]):
        return "A/A not measured"
    if line["noise_high"] == inf:
        return "A/A unknown after one round"
    return f"A/A {line['noise_low']:.2f}-{line['noise_high']:.2f}"


def _number(value: float, form: str) -> str:
    return "" if value is None or pd.isna(value) else format(value, form)


def times(value: float) -> str:
    """A ratio: of those in the hundreds nobody reads the hundredths."""
    return _number(value, ".2f" if value < 100 else ",.0f")


def _span(low: float, high: float) -> str:
    return "" if isnan(low) or low == high or high == inf else f"{times(low)}-{times(high)}"


def trained(frame: pd.DataFrame, width: int = 80) -> list[Table]:
    """Trainings, other systems and counts by the data they are of: what all lines of the same data
    share is said once above them, figures stand with their intervals.
    """
    data = [name for name in ("dataset", "data_source", "weights", *FLAGS) if name in frame]
    groups = frame.groupby(data, sort=False, dropna=False) if data else [("", frame)]
    return [_trained(part, width) for _, part in groups]


def _trained(part: pd.DataFrame, width: int) -> Table:
    first = _first(part)
    keys = {name: [text(value) for value in part[name]] for name in KEYS if name in part}
    same = {name: cells[0] for name, cells in keys.items() if len(set(cells)) == 1}
    told = [name for name in keys if name not in same]
    gone = [name for key in told for name in EXPLAINED.get(key, ()) if name in told]
    told = [name for name in told if name not in (*gone, "machines")] or list(keys)[:1]
    words = {name: WORDS.get(name) or name.replace("_", " ") for name in keys}
    columns = {words[name]: keys[name] for name in told}
    columns |= {head: cells for head, cells in _figures(part).items() if any(cells)}
    for head in FIRST_TO_GO:
        if _width(columns) > width:
            columns.pop(head, None)
    said = ", ".join(f"{words[name]} {value}" for name, value in same.items() if value)
    source = f"data: {data_source(first)}" if first.get("data_source") else ""
    title = data_title(first) if "dataset" in first else ""
    # where lines were measured, if that differs, stands below: machines have long names
    places: dict[str, list[str]] = {}
    for n, machine in enumerate(() if "machines" in same else keys.get("machines", ())):
        places.setdefault(machine, []).append(" ".join(keys[name][n] for name in told))
    notes = tuple(f"on {machine}: {', '.join(of)}" for machine, of in places.items() if machine)
    return Table(pd.DataFrame(columns), title, "\n".join(filter(None, (said, source))), notes)


def _width(columns: dict[str, list[str]]) -> int:
    return sum(1 + max(map(len, (*head.split(), *cells))) for head, cells in columns.items())


def _figures(part: pd.DataFrame) -> dict[str, list[str]]:
    """The figures that are shown, those with an interval in one column with it."""
    found: dict[str, list[str]] = {}
    for name in part.columns:
        cells = part[name]
        if name in INTERVALS and INTERVALS[name][1] in part:
            head, low, high, form = INTERVALS[name]
            ends = zip(part[name], part[low], part[high], strict=True)
            found[head] = [interval(*each, form=form, times=100) for each in ends]
        elif name in PLAIN:
            head, form, scale = PLAIN[name]
            found[head] = [_number(scale * value, form) for value in cells]
        elif name.startswith("tested_"):
            head = f"test T={name.removeprefix('tested_')}"
            found[head] = [_number(100 * value, ".1f") for value in cells]
    if set(found.get("learnt nothing", ())) == {"0"}:
        del found["learnt nothing"]
    return found


def of_paper(frame: pd.DataFrame) -> Table:
    """Table 3, 4, 5 or 6 of the paper: each row, published, and what was measured here as it.

    A difference to a published figure means nothing at reduced scale, and has no column.
    """
    lines, notes = [], dict[str, None]()
    for line in frame.to_dict("records"):
        measured = pd.notna(line.get("accuracy", nan))
        if line["note"]:
            notes[f"{line['model']}, {line['method']}: {line['note']}"] = None
        ours = interval(line["accuracy"], line["low"], line["high"], ".1f", 100) if measured else ""
        lines.append(
            {
                "model": line["model"] + ("*" if line["source"] != "this paper" else ""),
                "method": line["method"],
                "published": f"{100 * line['published']:.2f}",
                "ours": ours,
                "n": f"{line['n']:.0f}" if measured else "",
                "ours was": how(line) if measured else "",
            }
        )
    said = "test accuracy in %, ours with 95 % intervals over n seeds; * cited by the paper"
    return Table(pd.DataFrame(lines), "", said, tuple(notes))


def how(line: Any) -> str:
    """In a few words, how a figure of ours was made: what tells it from others of its row."""
    samples = f"{line['train_samples']:,.0f} samples"
    if isinstance(line.get("fidelity"), str):
        parts = [line["framework"], line["window"], samples]
    else:
        parts = [f"width {line['width']}", samples, f"{line['epochs']:.0f} epochs"]
        parts += [f"T = {line['T']:.0f}"] if line["framework"] != "ann" else []
        parts += [f"NeuNorm {line['neunorm']}"] if line["neunorm"] != "off" else []
    parts += [name for name in ("simulated", "substitute") if line.get(name)]
    return ", ".join(filter(None, parts))
