"""Timings: a block of lines for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

from harness.analysis.lines import Acceleration
from harness.analysis.named import data_name
from harness.cli.terminal.blocks import Block, Blocks, Head
from harness.cli.terminal.numbers import number, span, times
from harness.spec import FLOOR

LONG = 1.0  # seconds of compiling that are worth a word


def acceleration(lines: Sequence[Acceleration]) -> Blocks:
    """The acceleration table, machine by machine, a block a cell, within 80 columns."""
    blocks: dict[tuple[object, ...], list[Acceleration]] = {}
    for line in lines:
        blocks.setdefault(line.cell, []).append(line)
    return Blocks(tuple(_cell(block) for block in blocks.values()))


def first_figures(lines: Sequence[Acceleration], rounds: int) -> str:
    """A cell in a line, while its rounds go on: each contender's time over the floor."""
    said = ", ".join(
        f"{line.name} {times(line.ratio_to_floor)}"
        for line in sorted(lines, key=lambda line: line.ratio_to_floor)
        if line.framework != FLOOR and not isnan(line.ratio_to_floor)
    )
    title = f"{_data(lines[0])} {lines[0].scale}"
    return f"{title}, {rounds} rounds so far, x floor: {said or 'nothing'}"


def _data(line: Acceleration) -> str:
    return data_name(line.dataset, substitute=line.substitute, simulated=line.simulated)


def _cell(lines: Sequence[Acceleration]) -> Block:
    first = lines[0]
    proved = {line.proved for line in lines if line.proved}
    said_once = "+".join(proved.pop()) if len(proved) == 1 else ""
    title = f"{_data(first)} {first.scale}"
    more = (
        f"  {first.network}",
        f"  width {first.width}" if first.width != "1" else "",
        f"  NeuNorm {first.neunorm}" if first.neunorm else "",
    )
    said = (
        f"{first.mode}, {first.device}, T = {first.T}, batch {first.batch_size}; "
        f"data: {first.data_source}; {_noise(first)}"
        f"{f'; equal: proved in {said_once}' if said_once else ''}"
    )
    long = _long(lines)
    columns = (
        Head(""),
        *(Head(name, right=True) for name in ("ms", "h/epoch" if long else "min/epoch")),
        *(Head("x floor", right=True), Head("95 %")),
        *(Head(name, right=True) for name in ("MiB", "n")),
        Head("proof"),
    )
    cells = tuple((*_figures(line, long), _proof(line, said_once)) for line in lines)
    # below the grid, whose last column is a word wide in 80 columns
    notes = tuple(f"{who}: {note}" for note, who in _notes(lines).items())
    return Block(title + "".join(more), (said,), columns, cells, notes, over=f"on {first.place}")


def _proof(line: Acceleration, said_once: str) -> str:
    """A word where more of it stands above or below."""
    if line.standing == "bf16":
        return "bf16"
    if line.standing == "examined":
        return f"exam {line.exam}"
    return "equal" if line.proved and said_once else line.certificate


def _notes(lines: Sequence[Acceleration]) -> dict[str, str]:
    """What there is to say, each once, and of whom."""
    contenders = [line for line in lines if line.framework != FLOOR]
    found: dict[str, list[str]] = {}
    for line in contenders:
        for note in _notes_of(line):
            found.setdefault(note, []).append(line.name)
    everybody = len(contenders) if len(contenders) > 1 else 0
    return {n: "all" if len(who) == everybody else ", ".join(who) for n, who in found.items()}


def _notes_of(line: Acceleration) -> list[str]:
    notes = list(line.lacks)
    if line.standing in ("bf16", "examined"):
        notes.append(line.certificate)
    if line.exam_inputs > 1:
        notes.append(f"its exam passed at input {line.exam_inputs}, not before")
    if line.precision == "bf16" and not isnan(line.mismatch_rate):
        given = "given its own spikes" if line.audit else "run freely"
        note = f"{given}, {100 * line.mismatch_rate:.2f} % of spikes differ from float32's"
        if not isnan(line.gradient_cosine):
            lowest = f"{line.gradient_cosine:.3f} in the layer where it is lowest"
            note += f", gradient cosine {lowest}"
        notes.append(note)
    if line.memory_note:
        notes.append(f"no peak memory: {line.memory_note}")
    if line.compile_seconds > LONG:
        inside = "compiled" in line.variant
        when = "its first iteration, with compiling," if inside else "laying out its first batch"
        notes.append(f"{when} took {line.compile_seconds:,.0f} s")
    return notes


def _long(lines: Sequence[Acceleration]) -> bool:
    return any(line.seconds_per_epoch > 3 * 3600 for line in lines)


def _figures(line: Acceleration, long: bool) -> tuple[str, ...]:
    place = "  " if line.rank is None else f"{line.rank} "
    if isnan(line.seconds_per_iteration):
        return (place + line.name, "", "", "", "", "", "0")
    return (
        place + line.name,
        f"{1000 * line.seconds_per_iteration:,.0f}",
        f"{line.seconds_per_epoch / (3600 if long else 60):.1f}",
        times(line.ratio_to_floor),
        _range(line.ratio_low, line.ratio_high),
        number(line.peak_memory_mib, ",.0f"),
        str(line.rounds),
    )


def _range(low: float, high: float) -> str:
    if isnan(low) or isnan(high) or low == high or high == inf:
        return ""
    return span(low, high)


def _noise(line: Acceleration) -> str:
    if isnan(line.noise_low):
        return "A/A not measured"
    if line.noise_high == inf:
        return "A/A unknown after one round"
    return f"A/A {line.noise_low:.2f}-{line.noise_high:.2f}"
