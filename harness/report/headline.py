"""The first speed table of README and report: a ratio with its interval for each contender."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

from harness.analysis.matlab import OCTAVE
from harness.analysis.rounds import noise_of_runs
from harness.analysis.speed import FEWEST_RANKED, Acceleration, acceleration_lines
from harness.analysis.tables import markdown
from harness.records import Row
from harness.records.fields import Place
from harness.spec import FLOOR, contender, paper
from harness.suites.acceleration import BESIDE

PRELIMINARY = r" \*"  # behind a figure of too few rounds
ELSEWHERE = " †"  # behind a figure of another run than its cell's
TUNED = ", best tuned"
# What contenders may bring of their own to a comparison, as the rows call it.
_UNLIKE = {
    "layout": "layout",
    "implementation": "kernels",
    "threads": "threads",
    "allocator": "allocator",
}
_DENSITY = re.compile(r"density ([\d.]+)")  # of a layer's input, as a contender says it


@dataclass(frozen=True)
class Headline:
    """Fig. 3's cells on one machine: the one with most contenders under the newest protocol."""

    place: Place
    floors: tuple[Acceleration, ...]
    shown: tuple[
        Acceleration, ...
    ]  # whose figure says something: who passed an exam, or bf16's bar
    left_out: tuple[Acceleration, ...]
    runs: frozenset[tuple[str, str, str]]  # that of each data set and scale

    @property
    def tuned(self) -> dict[tuple[str, str, str], Acceleration]:
        """Of each data set, scale and framework the fastest form of those that have a rank, else
        of all.
        """
        found: dict[tuple[str, str, str], Acceleration] = {}
        for line in sorted(self.shown, key=lambda line: (line.rank is None, line.ratio_to_floor)):
            if _is_tuned(line) and line.precision == "fp32":
                found.setdefault((line.dataset, line.scale, line.framework), line)
        return found

    def of_another_run(self, line: Acceleration) -> bool:
        """Whether it was timed in another run than most of its cell, over that run's floor."""
        return (line.dataset, line.scale, line.run) not in self.runs

    def column(self, name: str, dataset: str, scale: str) -> Acceleration | None:
        """What stands in a cell of the table."""
        if name.endswith(TUNED):
            return self.tuned.get((dataset, scale, name.removesuffix(TUNED)))
        plain = (line for line in self._plain if line.name == name)
        return next(
            (line for line in plain if (line.dataset, line.scale) == (dataset, scale)), None
        )

    @property
    def figures(self) -> Iterator[Acceleration]:
        """Whatever stands in the table."""
        cells = dict.fromkeys((line.dataset, line.scale) for line in self.shown)
        for name in self.columns:
            found = (self.column(name, dataset, scale) for dataset, scale in cells)
            yield from (line for line in found if line is not None)

    @property
    def _plain(self) -> list[Acceleration]:
        return [line for line in self.shown if not _is_tuned(line)]

    @property
    def columns(self) -> list[str]:
        """Each framework, beside it its best tuned form where there is one, bf16 at the end."""
        plain = {line.name for line in self._plain}
        tuned = {f"{framework}{TUNED}" for _, _, framework in self.tuned}
        return in_order(plain | tuned)


def in_order(names: Iterable[str]) -> list[str]:
    """Contenders as README and figures list them: a framework's forms beside it, bf16 last."""
    return sorted(names, key=lambda name: (name.endswith("bf16"), name))


def _is_tuned(line: Acceleration) -> bool:
    """Whether it is a framework's other form, and none that has a column of its own."""
    return bool(line.variant) and contender(line.framework, line.variant) not in BESIDE


def headline(lines: Iterable[Acceleration]) -> Headline | None:
    """What the first table shows; None where nothing was timed in Fig. 3's cells."""
    cells = [line for line in lines if line.in_figure_3 and line.framework != OCTAVE]
    timed = [line for line in cells if not isnan(line.ratio_to_floor)]
    if not timed:
        return None
    newest = max(line.protocol for line in timed)
    # rows of older protocols count for nothing here, however many a machine has
    counts = Counter(line.place for line in timed if line.protocol == newest)
    place = max(counts, key=lambda each: counts[each])
    on_it = [line for line in cells if line.place == place]
    refused = {(*_where(line), line.run) for line in on_it if line.certificate == "not comparable"}
    fullest = _fullest([line for line in timed if line.place == place], refused)
    here = [line for each in fullest for line in each]
    shown = [line for line in here if line.framework != FLOOR and line.standing != "none"]
    there = {_where(line) for line in shown}
    nothing = [line for line in on_it if line.standing == "none" and _where(line) not in there]
    return Headline(
        place,
        tuple(line for line in here if line.framework == FLOOR and line.precision == "fp32"),
        tuple(shown),
        tuple(line for line in nothing if line.framework != FLOOR and not line.variant),
        frozenset((each[0].dataset, each[0].scale, each[0].run) for each in fullest),
    )


def _where(line: Acceleration) -> tuple[str, str, str]:
    return line.dataset, line.scale, line.name


def _fullest(
    lines: Sequence[Acceleration], refused: Collection[tuple[str, str, str, str]]
) -> list[list[Acceleration]]:
    """Of each cell the lines of one run: under the newest protocol that it was timed under, of the
    run with most contenders, of these the last. Behind them, from the last run that was set up
    alike, who is not in it and was not refused there.
    """
    runs: dict[tuple[str, str], dict[str, list[Acceleration]]] = {}
    for line in lines:
        runs.setdefault((line.dataset, line.scale), {}).setdefault(line.run, []).append(line)
    chosen = []
    for each in runs.values():
        fullest = max(reversed(each.values()), key=lambda run: (run[0].protocol, len(run)))
        first = fullest[0]
        there = {line.name: line for line in fullest}
        for line in (line for run in reversed(each.values()) for line in run):
            alike = (line.protocol, line.allocator) == (first.protocol, first.allocator)
            if alike and line.framework != FLOOR and (*_where(line), first.run) not in refused:
                there.setdefault(line.name, line)
        chosen.append([*there.values()])
    return chosen


def block(rows: Sequence[Row]) -> str:
    """The README's: what it is, the table, and what is to be known of it; empty without timings."""
    found = headline(acceleration_lines(rows))
    if found is None or not found.shown:
        return ""
    table = list(_cells(found))
    lines = [table[0].keys(), ["---"] * len(table[0]), *(each.values() for each in table)]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)  # unpadded: it is wide enough
    said = "\n\n".join(text for text in (_first(found), _head(found, rows)) if text)
    return f"{said}\n\n{grid}\n\n{' '.join(_notes(found))}\n"


def _first(found: Headline) -> str:
    """Who is first in most networks, and by how much: a sentence; "" where there are not two."""
    cells: dict[tuple[str, str], list[Acceleration]] = {}
    for line in found.shown:
        if line.precision == "fp32" and (not line.variant or _is_tuned(line)):
            cells.setdefault((line.dataset, line.scale), []).append(line)
    tuned = {(dataset, scale) for dataset, scale, _ in found.tuned}
    pairs = [sorted(each, key=lambda line: line.ratio_to_floor)[:2] for each in cells.values()]
    pairs = [pair for pair in pairs if len(pair) == 2]
    if not pairs:
        return ""
    name, count = Counter(first.framework for first, _ in pairs).most_common(1)[0]
    led = [pair for pair in pairs if pair[0].framework == name]
    apart = sum(first.ratio_high < second.ratio_low for first, second in led)
    gains = [second.ratio_to_floor / first.ratio_to_floor for first, second in led]
    said = f"; tuned forms are among them on {len(tuned)}" if tuned else ""
    return (
        f"**`{name}` is fastest on {count} of {len(pairs)} networks: {min(gains):.1f} to "
        f"{max(gains):.1f} times as fast as the next{said}. On {apart} of them the two's 95 % "
        "intervals lie apart.**"
    )


def _cells(found: Headline) -> Iterator[dict[str, str]]:
    cells = dict.fromkeys((line.dataset, line.scale) for line in (*found.floors, *found.shown))
    for dataset, scale in cells:
        at = {name: found.column(name, dataset, scale) for name in found.columns}
        beside = [line for line in at.values() if line and not found.of_another_run(line)]
        rounds = {line.rounds for line in beside}
        floors = [f for f in found.floors if (f.dataset, f.scale) == (dataset, scale)]
        seconds = floors[0].seconds_per_iteration if floors else nan
        yield {
            "network": markdown(f"{paper.settings(dataset).title} {scale}"),
            "floor, ms": "" if isnan(seconds) else f"{1000 * seconds:,.0f}",
            **{
                markdown(name): _figure(line, rounds, found) if line else ""
                for name, line in at.items()
            },
            "n": _counted(rounds),
        }


def _figure(line: Acceleration, rounds: Collection[int], found: Headline) -> str:
    """A ratio to the float32 floor with its interval, and its rounds where others have more."""
    elsewhere = found.of_another_run(line)
    low, high = line.ratio_to_fp32_floor_low, line.ratio_to_fp32_floor_high
    form = f" {markdown(line.variant)}" if _is_tuned(line) else ""
    mark = (PRELIMINARY if line.preliminary else "") + (ELSEWHERE if elsewhere else "")
    n = f", n = {line.rounds}" if len(rounds) > 1 or elsewhere else ""
    return f"{line.ratio_to_fp32_floor:.2f} [{low:.2f}, {high:.2f}]{n}{form}{mark}"


def _counted(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return "" if not found else str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _head(found: Headline, rows: Sequence[Row]) -> str:
    first = found.shown[0]
    runs = {line.run for line in found.shown}
    when = max(row.time for row in rows if row.run in runs)[:10]
    sizes = _counted(line.batch_size for line in found.shown)
    standings = {line.standing for line in found.shown}
    equal = "examined" not in standings
    proof = "proved equal as it was timed" if equal else "proved equal by an exam"
    exams = _counted(line.exam for line in found.shown)
    protocols = _counted(line.protocol for line in found.shown)
    who = "Every contender in float32" if "bf16" in standings else "Every contender"
    data = "; ".join(dict.fromkeys(line.data_source for line in found.shown if line.data_source))
    of_data = f" Data: {markdown(data)}." if data else ""
    return (
        "Time of a training step over that of its convolutions and products alone (the float32 "
        f"floor), batch {sizes}, T = 10: geometric mean over n rounds [95 % interval]. {who} "
        f"was {proof} (exam {exams}, timing protocol {protocols}). "
        f"{markdown(first.cpu)}, {first.threads} threads, torch {markdown(first.torch)}, "
        f"{markdown(when)}; {_noise(runs, rows)}.{of_data}"
    )


def _noise(runs: set[str], rows: Sequence[Row]) -> str:
    timed = [row for row in rows if row.run in runs]
    found = [each for each in noise_of_runs(timed).values() if each]
    said = (f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}], n = {e.rounds}" for e in found)
    return f"the floor over itself (A/A) {'; '.join(said) or 'was not measured'}"


def _notes(found: Headline) -> Iterator[str]:
    if any(line.preliminary for line in found.shown):
        yield rf"\* Preliminary: fewer than {FEWEST_RANKED} rounds."
    if any(map(found.of_another_run, found.shown)):
        yield "† Of another run of this network, over the floor of that run."
    lacking = [set(line.lacks) for line in found.shown]
    common = set.intersection(*lacking)
    if common:
        said = [each for each in found.shown[0].lacks if each in common]
        yield f"Nobody is ranked: {markdown('; '.join(said))}."
    late = {line.name: line.exam_inputs for line in found.shown if line.exam_inputs > 1}
    if late:
        said = ", ".join(f"{name} at input {n}" for name, n in late.items())
        yield f"Passed its exam not at the first input: {markdown(said)}."
    said = unlike([*found.figures])
    if said:
        yield markdown(said)
    yield from _by_events(found.shown)
    for text in dict.fromkeys(line.certificate for line in found.left_out):
        names = dict.fromkeys(line.name for line in found.left_out if line.certificate == text)
        yield f"Left out: {markdown(', '.join(names))} ({markdown(text)})."


def _by_events(lines: Sequence[Acceleration]) -> Iterator[str]:
    """Where a contender skips what did not spike, in how many of its layers."""
    for name in dict.fromkeys(line.name for line in lines):
        layers = [
            layer for line in lines if line.name == name for layer in line.computed.split("; ")
        ]
        by_events = [layer for layer in layers if " by events" in layer]
        skipped = [float(density) for density in _DENSITY.findall("; ".join(by_events))]
        if skipped:
            yield markdown(
                f"{name} works by events in {len(by_events)} of {len(layers)} layers; of "
                f"their inputs {100 * min(skipped):.0f} to {100 * max(skipped):.0f} % are not zero."
            )


def unlike(lines: Sequence[Acceleration]) -> str:
    """What contenders do not share, in a sentence; empty where all is alike or nothing is known."""
    parts = []
    for field, word in _UNLIKE.items():
        owners: dict[str, list[str]] = {}
        for name in dict.fromkeys(line.name for line in lines):
            values = {str(getattr(line, field) or "") for line in lines if line.name == name}
            owners.setdefault(" or ".join(sorted(values - {""})), []).append(name)
        said = [f"{', '.join(names)} {value}" for value, names in owners.items() if value]
        if len(owners) > 1:
            parts.append(f"{word}: {'; '.join(said)}")
    return f"Not shared by all: {'. '.join(parts)}." if parts else ""
