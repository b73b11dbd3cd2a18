"""What of each table is shown, on the page and in a terminal: few columns, the rest once above.

A csv has all columns; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import inf, nan
from operator import itemgetter
from typing import Any

import pandas as pd

from harness.analysis import timings
from harness.analysis.frame import grouped
from harness.analysis.timings import TimedLine
from harness.analysis.words import FLAGS, contender_title, data_name, data_source
from harness.reports.table import Table, interval, text
from harness.spec import ANN, FLOOR

# What tells one line of trainings from another, in this order; the names of the others are shown.
KEYS = (
    *("change", "scale", "framework", "neunorm", "T", "bin_ms", "width", "weights", "epochs"),
    *("stages", "neunorm_u", "train_samples", "precision", "batch_size", "dropout", "window"),
    *("device", "optimiser", "initialisation", "v_th", "a", "loss_function", "network"),
    *("test_samples", "machines"),
)
SETTINGS = KEYS[:-1]  # where it was measured tells no condition from another
# What an ablation may change: the name of the change says which. And what follows from the scale.
EXPLAINED = {
    "window": ("epochs",),
    "change": ("framework", "precision", *KEYS[KEYS.index("optimiser") : KEYS.index("network")]),
    "scale": ("network",),
}
WORDS = {"neunorm": "NeuNorm", "scale": "network", "network": "layers", "v_th": "V_th"}
WORDS |= {"loss_function": "loss", "bin_ms": "ms a bin", "stages": "schedule"}
WORDS |= {"neunorm_u": "U at first"}
# How figures are shown: the head, the form, times what; and the ends of those with an interval.
FIGURES = {
    "accuracy": ("test %", ".1f", 100),
    "recorded_accuracy": ("recorded %", ".1f", 100),
    "difference": ("change, points", "+.1f", 100),
    "seconds_per_iteration": ("ms", ",.0f", 1000),
    "ratio_to_floor": ("x floor", ",.2f", 1),
    "peak_memory_mib": ("MiB", ",.0f", 1),
    "rounds": ("n", "d", 1),
    "n": ("n", "d", 1),
    "at_chance": ("learnt nothing", "d", 1),
    "target": ("target %", ".1f", 100),
    "epochs_to_target": ("epochs to target", ".1f", 1),
    "contrast": ("contrast", ".3f", 1),
    "seconds_per_epoch": ("s/epoch", ",.0f", 1),
    "seconds": ("fit, s", ".0f", 1),
    "spike_rate": ("spike rate", ".3f", 1),
    "macs_millions": ("MAC, M", ",.1f", 1),
    "acs_millions": ("AC, M", ",.1f", 1),
    "counted_uj_float32": ("uJ", ",.0f", 1),
    "ann_counted_uj_float32": ("ANN, uJ", ",.0f", 1),
}
ENDS = {"accuracy": ("low", "high"), "recorded_accuracy": ("recorded_low", "recorded_high")}
ENDS |= {"difference": ("difference_low", "difference_high")}
ENDS |= {"ratio_to_floor": ("ratio_low", "ratio_high")}
TIMED = ("seconds_per_iteration", "seconds_per_epoch", "ratio_to_floor")
TIMED += ("peak_memory_mib", "rounds")


def as_tables(name: str, frame: pd.DataFrame) -> list[Table]:
    """Return a table of `harness tables` for display; acceleration is shown by `timed`."""
    return [of_paper(frame)] if name.isdigit() else trained(frame)


def timed(lines: Iterable[TimedLine]) -> list[Table]:
    """Return timings for display, a table for each cell and run."""
    return [*map(_cell, grouped(lines, lambda line: (line.run, line.cell)).values())]


def _cell(lines: Sequence[TimedLine]) -> Table:
    """Return what was timed together: a line a contender."""
    first = lines[0]
    names = [f"{line.ranks or ' '} {line.name}" for line in lines]
    proofs = [line.certificate.partition(" (")[0] for line in lines]  # the rest stands below
    title = [f"{first.data_title} {first.scale}"]
    title += [first.network] if first.network != first.scale else []
    title += [f"width {first.width}"] if first.width != "1" else []
    title += [f"NeuNorm {first.neunorm}"] if first.neunorm else []
    settings = [f"{first.mode}, {first.device}, T = {first.T}, batch {first.batch_size}"]
    settings.append(f"data: {data_source(vars(first))}")
    if first.noise_high < inf:  # of two rounds it is not known
        settings.append(f"A/A {first.noise_low:.2f}-{first.noise_high:.2f}")
    settings.append(f"protocol {first.protocol}\non {first.machine}")
    content = {"": names, **_figures(timings.table(lines), TIMED), "proof": proofs}
    return Table(pd.DataFrame(content), "  ".join(title), "; ".join(settings), _notes(lines))


def _notes(lines: Sequence[TimedLine]) -> Iterable[str]:
    """Yield the notes below a cell, each once, with the contenders that it is about."""
    contenders = [line for line in lines if line.framework != FLOOR]
    notes = [(line.name, line.reason) for line in contenders]
    notes += [(e.name, e.memory_note and f"no peak memory: {e.memory_note}") for e in contenders]
    notes += [(e.name, e.certificate) for e in contenders if e.certificate.startswith("bf16")]
    notes += [(line.name, note) for line in lines for note in line.notes]
    for note, pairs in grouped(notes, itemgetter(1)).items():
        is_all = len(pairs) == len(contenders) > 1
        names = "all" if is_all else ", ".join(name for name, _ in pairs)
        if note:
            yield f"{names}: {note}"


def trained(frame: pd.DataFrame) -> list[Table]:
    """Return trainings, baselines or operation counts for display, a table for each data set.

    Settings that all lines of the same data share are written once above them; figures have their
    intervals.
    """
    data = [name for name in ("dataset", "data_source", "weights", *FLAGS) if name in frame]
    return [_trained(part) for _, part in frame.groupby(data, sort=False, dropna=False)]


def _trained(part: pd.DataFrame) -> Table:
    """Return the table of one data set's trainings: what all share stands above it."""
    first = part.iloc[0].to_dict()
    names = [name for name in KEYS if name in part]
    if "stages" in names:  # they have the epochs too
        names.remove("epochs")
    keys = {name: [*map(text, part[name])] for name in names}
    if "framework" in keys:
        keys["framework"] = [*map(contender_title, keys["framework"])]
    if "machines" in keys:
        keys["machines"] = [machine or "unknown" for machine in keys["machines"]]
    values = {name: {*cells} - {""} for name, cells in keys.items()}
    differing = [name for name in keys if len(values[name]) > 1]
    explained = {"machines", *(other for name in differing for other in EXPLAINED.get(name, ()))}
    heads = [name for name in differing if name not in explained] or [*keys][:1]
    words = {name: _word(name) for name in keys}
    # seconds of trainings are no timings: others ran meanwhile
    figures = _figures(part, (str(name) for name in part if name not in TIMED))
    columns = {words[name]: keys[name] for name in heads} | figures
    same = ((words[name], *shared) for name, shared in values.items() if len(shared) == 1)
    parts = [", ".join(map(" ".join, same))]
    parts += [f"data: {data_source(first)}"] if first.get("data_source") else []
    stands_in = {name: bool(first.get(name)) for name in ("substitute", "simulated")}
    title = data_name(first["dataset"], **stands_in)
    notes = []
    if "machines" in differing:  # a machine's name is too long for a column
        every = dict.fromkeys(keys["machines"])
        letters = {machine: chr(ord("a") + n) for n, machine in enumerate(every)}
        columns["on"] = [letters[machine] for machine in keys["machines"]]
        notes = [f"{letter}: {machine}" for machine, letter in letters.items()]
    return Table(pd.DataFrame(columns), title, "; ".join(filter(None, parts)), notes)


def _figures(part: pd.DataFrame, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the figures that are shown, those with an interval in one column with it."""
    columns: dict[str, list[str]] = {}
    for name in names:
        tested = (f"test T={name.removeprefix('tested_')}", ".1f", 100)
        if name in FIGURES or name.startswith("tested_"):
            head, form, scale = FIGURES.get(name, tested)
            ends = [end if end in part else name for end in ENDS.get(name, (name, name))]
            figures = part[[name, *ends]].itertuples(index=False, name=None)
            columns[head] = [interval(*figure, form=form, times=scale) for figure in figures]
    nothing = {"learnt nothing": {"0"}}  # it is shown where it happens
    return {h: cells for h, cells in columns.items() if any(cells) and {*cells} != nothing.get(h)}


def of_paper(frame: pd.DataFrame, title: str = "") -> Table:
    """Return Table 3, 4, 5 or 6 for display: each row with the published figure and ours.

    A difference to a published figure means nothing at reduced scale, and has no column.
    """
    lines, notes, records = [], dict[str, None](), frame.to_dict("records")
    texts = [how_measured(line) if pd.notna(line.get("accuracy", nan)) else "" for line in records]
    rows = [(line["model"], line["method"]) for line in records]
    more = what_differs([*zip(rows, texts, strict=True)], records)
    for line, how, settings in zip(records, texts, more, strict=True):
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
                "ours was": how + settings,
            }
        )
    subtitle = "test accuracy in %, ours with 95 % intervals over n seeds; * cited by the paper"
    return Table(lines, title, "" if title else subtitle, notes)


def what_differs(read: Sequence[Hashable], lines: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return for each line the settings in which lines that read alike differ: ", width 1/8".

    `read` has what a reader sees of each line; "" where no other reads the same.
    """
    texts = list[str]()
    alike = grouped(zip(read, lines, strict=True), itemgetter(0))
    for key, line in zip(read, lines, strict=True):
        same = [other for _, other in alike[key]]
        names = [name for name in SETTINGS if len({text(other.get(name)) for other in same}) > 1]
        texts.append("".join(f", {_word(name)} {text(line[name])}" for name in names))
    return texts


def _word(name: str) -> str:
    return WORDS.get(name) or name.replace("_", " ")


def how_measured(line: Any) -> str:
    """Return in few words how our figure was measured, to tell it from others of its row."""
    samples = f"{line['train_samples']:,.0f} samples"
    if isinstance(line.get("fidelity"), str):
        parts = [line["framework"], line["window"], samples]
    else:
        parts = [f"width {line['width']}", samples, f"epochs {line['stages']}"]
        parts += [f"T = {line['T']:.0f}"] if line["framework"] != ANN else []
        parts += [f"NeuNorm {line['neunorm']}"] if line["neunorm"] != "off" else []
    parts += [name for name in ("simulated", "substitute") if line.get(name)]
    return ", ".join(filter(None, parts))
