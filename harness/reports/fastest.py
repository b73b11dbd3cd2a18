"""The comparison of speed, Fig. 3: its sentence, table, notes and figures.

Only figures of one machine are compared, and of each network those of one run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import inf, isnan
from operator import attrgetter
from typing import NamedTuple

from matplotlib.figure import Figure

from harness.analysis import compare, timings
from harness.analysis.claims import OCTAVE
from harness.analysis.frame import Frame, Frames, grouped, machines
from harness.analysis.timings import FEWEST_RANKED, TimedLine
from harness.analysis.trainings import TrainingLine
from harness.analysis.words import (
    TITLES,
    contender_title,
    counted,
    data_name,
    data_source,
    few,
    span,
)
from harness.reports import figures
from harness.reports.figures import Captioned, Dot
from harness.reports.table import BEST, Table, interval
from harness.spec import FLOOR, REFERENCE, Contender, paper

OURS = "fused"  # this project's own engine
TUNED = "best tuned"
PICTURE = "Time of a training step divided by that of its convolutions and products alone (floor)"
KEY = (
    f"Lines: 95 % intervals; hollow: fewer than {FEWEST_RANKED} rounds; diamonds: another form of "
    "the framework, the best tuned; squares: this project's own engine."
)
X_FLOOR = "x the float32 floor's time"
MOST_DOTS = 24  # lines of the first picture: less than a screen


_ratio = attrgetter("ratio_to_floor")


def network(line: TimedLine) -> str:
    """Return the data and the network of a line, in words."""
    return f"{data_name(line.dataset, substitute=line.substitute)} {line.scale}"


def _kind(line: TimedLine) -> str:
    """Return what a line is compared as: the floor, ours, a rival as it comes or tuned, or bf16."""
    bf16 = "" if line.precision == "fp32" else " bf16"
    if line.framework in (FLOOR, OURS):
        own = "floor" if line.framework == FLOOR else "ours"
        return " ".join(filter(None, (own, line.variant))) + bf16
    return "rival bf16" if bf16 else "tuned" if line.variant else "plain"


class RankedCell(NamedTuple):
    """The lines of one run on a network of Fig. 3: the floor, and contenders that are proved."""

    name: str  # of the data and the network
    lines: list[TimedLine]

    def of(self, kind: str) -> list[TimedLine]:
        """Return the lines of a kind ("floor", "plain", "tuned", "ours"...), the fastest first."""
        return sorted((each for each in self.lines if _kind(each) == kind), key=_ratio)

    def ranked(self, kind: str) -> list[TimedLine]:
        """Return those of a kind that have a rank, the fastest first."""
        return [line for line in self.of(kind) if line.rank]

    @property
    def pictured(self) -> list[TimedLine]:
        """The contenders of the first picture: all as they come, the best tuned, and ours."""
        return [*self.of("plain"), *self.of("tuned")[:1], *self.of("ours")[:1]]

    @property
    def is_ranked(self) -> bool:
        """Whether any contender in float32 has a rank."""
        return any(each.rank for each in self.lines if each.precision == "fp32")


def _of_figure_3(lines: Iterable[TimedLine]) -> list[TimedLine]:
    """Return the lines of Fig. 3's networks; Matlab's figure is another."""
    return [each for each in lines if each.in_figure_3 and each.framework != OCTAVE]


def headline(lines: Iterable[TimedLine], machine: str = "") -> list[RankedCell]:
    """Return the cells of Fig. 3 that are compared: one machine, and one run for each network.

    By default the machine with most timed lines; its most complete run in float32, of these the
    last. Several seeds or batch sizes are several runs here.
    """
    timed = [each for each in _of_figure_3(lines) if not isnan(each.ratio_to_floor)]
    machine = machine or next(iter(machines(each.machine for each in timed)), "")
    here = [each for each in timed if each.machine == machine]
    found = [each for each in here if each.framework == FLOOR or each.is_proved]
    runs = grouped(found, lambda each: (each.cell, each.run)).values()
    best = {network(run[0]): run for run in timings.by_completeness(runs)}
    return [RankedCell(name, best[name]) for name in dict.fromkeys(map(network, found))]


def _fastest(cells: Iterable[RankedCell], kind: str) -> list[TimedLine]:
    return [line for cell in cells for line in cell.of(kind)[:1]]


def _plain(cells: Iterable[RankedCell]) -> list[TimedLine]:
    return [line for cell in cells for line in cell.of("plain")]


def _ratios(lines: Iterable[TimedLine]) -> str:
    return span(map(_ratio, lines), ".2f")


def _titles(cells: Iterable[RankedCell]) -> dict[str, str]:
    """Return the frameworks that were timed as they come, in a fixed order, with their titles."""
    there = {each.framework for each in _plain(cells)}
    return {name: TITLES.get(name, name) for name in (*TITLES, *sorted(there)) if name in there}


def _column(line: TimedLine) -> str:
    """Return the column of the first table in which a line can stand; "" of one that has none."""
    title = TITLES.get(line.framework, line.framework)
    return {"plain": title, "tuned": TUNED, "ours": f"{OURS} (ours)"}.get(_kind(line), "")


def _shown(cell: RankedCell) -> dict[str, TimedLine]:
    """Return the line of a cell that each column of the first table shows: its fastest."""
    slowest_first = sorted(cell.lines, key=_ratio, reverse=True)
    return {_column(each): each for each in slowest_first if _column(each)}


def _columns(cells: Sequence[RankedCell]) -> list[str]:
    there = {column for cell in cells for column in _shown(cell)}
    return [each for each in (*_titles(cells).values(), TUNED, f"{OURS} (ours)") if each in there]


class Summary(NamedTuple):
    """Who is fastest, a sentence or two each for readers choosing a framework; "" of none."""

    frameworks: str = ""
    tuned: str = ""
    ours: str = ""
    machine: str = ""


Pair = tuple[TimedLine, TimedLine]  # a contender, and the one that it is compared with


def _leader(cells: Iterable[RankedCell]) -> tuple[str, str]:
    """Say which framework as it comes is beaten by none on most networks, and by how much.

    Both are "" where no two were compared.
    """
    several = [of for cell in cells if len(of := cell.ranked("plain")) > 1]
    if not several:
        return "", ""
    unbeaten = [e for of in several for e in of if not any(r.is_faster(e) for r in of)]
    name, count = Counter(line.framework for line in unbeaten).most_common(1)[0]
    pairs = [
        (e, r) for of in several for e, r in product(of, of) if r.framework == name != e.framework
    ]
    networks = f"{count} of {counted(len(several), 'network')}"
    first = f"{TITLES.get(name, name)} is fastest"
    return first, f"none is faster than it on {networks}. {_compared(pairs)}"


def summary(lines: Sequence[TimedLine]) -> Summary:
    """Return who is fastest of the ranked contenders, by their paired rounds (`TimedLine.over`)."""
    cells = [cell for cell in headline(lines) if cell.ranked("plain")]
    if not cells:
        return Summary()
    first, (leader, pairs) = cells[0].ranked("plain")[0], _leader(cells)
    alone = f"{contender_title(first.name)} alone was timed as it comes"
    leaders = {cell.name: cell.ranked("plain")[0] for cell in cells}
    tuned = [(line, leaders[cell.name]) for cell in cells for line in cell.ranked("tuned")[:1]]
    forms = f"against the fastest as it comes: {_compared(tuned)}" if tuned else "none was timed"
    best = leaders | {network(line): line for line, rival in tuned if line.is_faster(rival)}
    ours = [(line, best[cell.name]) for cell in cells for line in cell.ranked("ours")]
    bf16 = [pair for c in cells for pair in product(c.ranked("ours bf16"), c.ranked("ours"))]
    own = f"Against the fastest framework, tuned or not, `{OURS}`, this project's own engine, "
    own += _difference(ours) + (
        f"; in bf16, against float32, it {_difference(bf16)}" if bf16 else ""
    )
    if all(line.ratio_high < 1 for line, _ in ours):
        own += ". It is below the floor because it leaves out products with zeros"
    of_gpus = "; no GPU was timed" if all(line.device == "cpu" for line in lines) else ""
    others = ((machine, _leader(headline(lines, machine))) for machine in _others(lines, first))
    there = "".join(f"; on {machine}, {leads}" for machine, (leads, _) in others if leads)
    return Summary(
        f"As they come, {leader}: {pairs}." if leader else f"{alone}.",
        f"Best tuned form, on {len(tuned)} of {counted(len(cells), 'network')}, {forms}.",
        f"{own}." if ours else "",
        f"Timed on {first.machine}{of_gpus}{there}.",
    )


def _others(lines: Iterable[TimedLine], first: TimedLine) -> list[str]:
    """Return the machines of the lines, in their order, without the first line's."""
    return [*dict.fromkeys(each.machine for each in lines if each.machine != first.machine)]


def _compared(pairs: Iterable[Pair]) -> str:
    """Say of each contender how much longer it takes than the other of its pairs."""
    by_name = grouped(pairs, lambda pair: contender_title(pair[0].name)).items()
    return "; ".join(f"{name} {_difference(of)}" for name, of in by_name)


def _difference(pairs: Sequence[Pair]) -> str:
    """Say how much longer the first takes than the second: "takes 5 to 9 % longer on 3 and ...".

    A difference is named where the interval of the paired rounds leaves out 1.
    """
    longer = [100 * (line.over(other).value - 1) for line, other in pairs if other.is_faster(line)]
    less = [100 * (1 - line.over(other).value) for line, other in pairs if line.is_faster(other)]
    level = len(pairs) - len(longer) - len(less)

    def on(count: int) -> str:
        return "" if len(pairs) == 1 else f" on {'all ' * (count == len(pairs))}{count}"

    named = (("longer", longer), ("less time", less))
    parts = [f"takes {span(of, '.0f')} % {word}{on(len(of))}" for word, of in named if of]
    parts += [f"cannot be told apart{on(level)}"] if level else []
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def ratio_text(line: TimedLine) -> str:
    """Return the ratio to the floor as text; a star marks fewer than FEWEST_RANKED rounds."""
    return f"{line.ratio_to_floor:.2f}" + (" *" if line.rounds < FEWEST_RANKED else "")


def ratio_with_interval(line: TimedLine) -> str:
    """Return `ratio_text` with the ratio's 95 % interval."""
    shown = interval(line.ratio_to_floor, line.ratio_low, line.ratio_high, ".2f")
    return shown + (" *" if line.rounds < FEWEST_RANKED else "")


def run_columns(cell: RankedCell) -> dict[str, str]:
    """Return a cell's rounds and its floor in ms, as columns of `table`."""
    found = {"n": str(min(each.rounds for each in cell.lines))}
    for floor in cell.of("floor")[:1]:
        found["floor, ms"] = f"{1000 * floor.seconds_per_iteration:,.0f}"
    return found


def table(
    cells: Sequence[RankedCell],
    figure: Callable[[TimedLine], str],
    about: Callable[[RankedCell], dict[str, str]] = run_columns,
) -> Table:
    """Return the first table, a line a network, with the columns that `about` adds.

    Each framework as it comes, the best tuned form of any of them, and last, separately, ours.
    `figure` formats a line's ratio to the floor. In bold stand the ranked rivals of a line that
    none of the others in it is faster than, by their paired rounds.
    """
    lines, looks = [], dict[tuple[int, str], str]()
    for n, cell in enumerate(cells):
        best = _shown(cell)
        rivals = {e: line for e, line in best.items() if line.framework != OURS and line.rank}
        for column, rival in rivals.items():
            if not any(other.is_faster(rival) for other in rivals.values()):
                looks[n, column] = BEST
        line = {"network": cell.name} | about(cell)
        line |= {name: figure(best[name]) if name in best else "" for name in _columns(cells)}
        if TUNED in best:
            line[TUNED] += f" {contender_title(best[TUNED].name)}"
        lines.append(line)
    heading = f"{X_FLOOR}, {cells[0].lines[0].machine}" if cells else ""
    return Table(lines, heading, looks=looks)


def narrow(cells: Iterable[RankedCell]) -> list[RankedCell]:
    """Return cells with short names, of which a phone shows more columns: "CIFAR-10 S"."""
    scales = {f" {name}": f" {name[0]}" for name in paper.SCALES}
    found = []
    for cell in cells:
        end = next((scale for scale in scales if cell.name.endswith(scale)), "")
        found.append(RankedCell(cell.name.removesuffix(end) + scales.get(end, ""), cell.lines))
    return found


def notes(cells: Sequence[RankedCell], lines: Sequence[TimedLine], refused: Frame) -> Iterator[str]:
    """Yield the notes below `table`, such as why a figure is missing; none without cells."""
    if not cells:
        return
    timed = [line for cell in cells for line in cell.lines]
    first, rounds = timed[0], [each.rounds for each in timed]
    known = (each for each in _plain(cells) if each.framework_version)
    versions = dict.fromkeys(f", {_column(each)} {each.framework_version}" for each in known)
    shown = (each for cell in cells for each in _shown(cell).values())
    reaches = [e.ratio_high / e.ratio_to_floor - 1 for e in shown if e.ratio_high < inf]
    batches = span(each.batch_size for each in timed)
    within = f", 95 % intervals within {100 * max(reaches):.0f} %" if reaches else ""
    yield (
        "x floor: the time of a training step divided by that of the network's convolutions and "
        f"products alone (the floor, in float32), batch {batches}, T = {first.T}; "
        f"geometric mean over {span(rounds)} rounds{within}, each network's in one run, timing "
        f"protocol {first.protocol}, torch {first.torch}{''.join(versions)}; timed "
        f"{span(each.day for each in timed)}. Every contender was proved equal to the paper's "
        f"equations. `{REFERENCE}` is plain PyTorch."
    )
    if forms := Counter(contender_title(e.name) for cell in cells for e in cell.of("tuned")):
        named = (f"{name} on {count}" for name, count in forms.items())
        yield f"Tuned forms timed, by networks: {'; '.join(named)}."
    if missing := _missing(cells, lines):
        yield missing
    for cell in cells:
        lacking = dict.fromkeys(why for each in _shown(cell).values() for why in each.lacks)
        if lacking and not cell.is_ranked:
            yield f"Nobody is ranked on {cell.name}: {'; '.join(lacking)}."
    if min(rounds) < FEWEST_RANKED:
        yield f"* fewer than {FEWEST_RANKED} rounds: preliminary."
    titles = [compare.network(cell.lines[0]) for cell in cells]
    failed = refused.loc[refused["network"].isin(titles)]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    for name, of in failed.groupby("contender", sort=False):
        networks = ", ".join(of["network"].unique())
        yield f"{contender_title(str(name))} failed a proof in some run of {networks}."
    if data := sources(timed):
        yield f"Data: {data}."
    for machine in _others(lines, first):
        other = [cell for cell in headline(lines, machine) if cell.is_ranked]
        plain, ours = _plain(other), _fastest(other, "ours")
        texts = [f"as they come {_ratios(plain)}"] if plain else []
        texts += [f"`{OURS}` {_ratios(ours)}"] if ours else []
        if texts:
            leader, pairs = _leader(other)
            texts[-1] += f". {leader}: {pairs}" if leader else ""
            yield f"On {machine}: {', '.join(texts)}."


def _missing(cells: Sequence[RankedCell], lines: Iterable[TimedLine]) -> str:
    """Return why there is no figure where one is missing in the first table; "" if none is.

    A tuned form that failed is named too: the best of those that did not may not be the best.
    """
    missing: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        first, there = cell.lines[0], _shown(cell)
        here = [
            e for e in _of_figure_3(lines) if (e.machine, network(e)) == (first.machine, cell.name)
        ]
        for column in [name for name in _columns(cells) if name not in there]:
            timed = [line for line in here if _column(line) == column]
            own = [figures.short(line.reason, 160) for line in timed if line.run == first.run]
            elsewhere = any(not isnan(line.ratio_to_floor) for line in timed)
            why = own[-1] if own else "timed in another run alone" if elsewhere else "not timed"
            missing.setdefault((column, why), []).append(cell.name)
        for line in here if TUNED in there else ():
            if _kind(line) == "tuned" and line.run == first.run and not line.is_proved:
                key = contender_title(line.name), figures.short(line.lacks[0], 160)
                missing.setdefault(key, []).append(cell.name)
    names = ((*key, few(on, "networks")) for key, on in missing.items())  # the table shows all
    parts = (f"{title} on {on} ({why})" for title, why, on in names)
    return f"No figure: {'; '.join(parts)}." if missing else ""


def sources(found: Iterable[TimedLine | TrainingLine]) -> str:
    """Return the data sources of lines, each once, with what is partial, lossy or simulated."""
    named = (data_source(vars(each)) for each in found if each.data_source)
    return "; ".join(dict.fromkeys(named))


Ends = Callable[[TimedLine], tuple[float, ...]]  # a figure, or with its interval
TO_FLOOR: Ends = attrgetter("ratio_to_floor", "ratio_low", "ratio_high")


def _memory(line: TimedLine) -> tuple[float]:
    return (line.peak_memory_mib,)


# What is drawn of each contender, its ends, their form, the axis and its marks.
DRAWN: tuple[tuple[str, Ends, str, str, dict[float, str]], ...] = (
    ("Time of a training step", TO_FLOOR, ".2f", X_FLOOR, {1.0: "floor"}),
    ("Peak memory of a step", _memory, ",.0f", "MiB above the process before it was built", {}),
)


def charts(cells: Sequence[RankedCell]) -> Captioned:
    """Yield Fig. 3: the time and the memory of each contender, a figure for each data set."""
    for what, ends, form, title, bounds in DRAWN:
        beside = [dot for group in _dots(cells, ends, form).values() for dot in group]
        for of in grouped(cells, lambda cell: cell.lines[0].dataset).values():
            if groups := _dots(of, ends, form):
                drawn = figures.dots(groups, title, log=True, bounds=bounds, beside=beside)
                yield f"{what}: {sources(line for cell in of for line in cell.lines)}", drawn


def layers(lines: Sequence[TimedLine]) -> Captioned:
    """Yield the time and the memory of one layer by its neurons, of those that are no equal too."""
    timed = [each for each in timings.most_complete(lines) if not isnan(each.ratio_to_floor)]
    machine = next(iter(machines(each.machine for each in timed)), "")
    here = [each for each in timed if each.machine == machine]
    cells = [RankedCell(name, of) for name, of in grouped(here, attrgetter("scale")).items()]
    for what, ends, form, title, bounds in DRAWN:
        if groups := _dots(cells, ends, form):
            drawn = figures.dots(groups, title, log=True, bounds=bounds)
            settings = f"T = {here[0].T}, batch {here[0].batch_size}, {machine}"
            yield f"{what} of one layer: {sources(here)}; {settings}", drawn


def versions(frames: Frames) -> Captioned:
    """Yield a figure of framework versions against the installed ones, over common rounds."""
    groups: dict[str, list[Dot]] = {}
    packages = [(line, Contender.parse(line.framework)) for line in timings.lines(frames)]
    installed = {
        line.name: replace(package, version=None, variant=line.variant or None).name
        for line, package in packages
        if package.version
    }
    for name, against in sorted(installed.items()):
        for each in compare.within_run(frames, name, against):
            value, low, high = 1 + each.change, 1 + each.low, 1 + each.high
            dot = Dot(contender_title(name), value, low, high, f"{value:.2f}", hollow=isnan(low))
            groups.setdefault(each.where, []).append(dot)
    if groups:
        caption = f"Versions of a framework, in the same rounds: {', '.join(groups)}"
        title, bounds = "x the installed version's time", {1.0: "installed"}
        yield caption, figures.dots(groups, title, bounds=bounds)


def _dots(cells: Sequence[RankedCell], ends: Ends, form: str) -> dict[str, list[Dot]]:
    """Return a line for each contender on each network, the least first and ours last.

    Of a framework's tuned forms only the best, and of bf16 only ours.
    """
    names = sorted({each.framework for cell in cells for each in cell.lines} - {FLOOR})
    groups: dict[str, list[Dot]] = {}
    for cell in cells:
        known = RankedCell(cell.name, [each for each in cell.lines if ends(each)[0] > 0])
        tuned = grouped(known.of("tuned"), lambda each: each.framework).values()
        ours = [each for each in known.lines if each.framework == OURS]
        kept = [*known.of("plain"), *(forms[0] for forms in tuned), *ours]
        kept.sort(key=lambda each: (each.framework == OURS, ends(each)[0]))
        groups[cell.name] = [
            Dot(
                f"{contender_title(line.name)}{' (ours)' if line.framework == OURS else ''}",
                *ends(line),
                text=f"{ends(line)[0]:{form}}",
                note=_hover(line),
                colour=names.index(line.framework),
                hollow=line.rounds < FEWEST_RANKED,
                marker="s" if line.framework == OURS else "D" if line.variant else "o",
            )
            for line in kept
        ]
    return {name: dots for name, dots in groups.items() if dots}


def _hover(line: TimedLine) -> str:
    """Return what a pointer on a line's mark shows: ms, ratio with interval, rounds."""
    ms = f"{1000 * line.seconds_per_iteration:,.1f} ms"
    memory = "" if isnan(line.peak_memory_mib) else f", {line.peak_memory_mib:,.0f} MiB"
    return f"{ms}, {ratio_with_interval(line)} {X_FLOOR}, n = {line.rounds}{memory}"


def picture(cells: Sequence[RankedCell]) -> tuple[str, Figure] | None:
    """Draw the first picture, with its caption: of each data set the network with most contenders.

    Each framework as it comes, the best tuned form and ours, on as many networks as have room.
    None where no contender has a figure, as of a run that was ended early.
    """
    by_data = grouped(cells, lambda cell: cell.lines[0].dataset).values()
    chosen = [max(of, key=lambda cell: len(cell.lines)) for of in by_data]
    chosen = [RankedCell(of.name, of.pictured) for of in chosen]
    groups, room = dict[str, list[Dot]](), MOST_DOTS
    for name, group in _dots(chosen, TO_FLOOR, ".2f").items():
        if not groups or len(group) < room:
            groups[name] = group
            room -= len(group) + 1
    if not groups:
        return None
    lines = [line for cell in chosen for line in cell.lines if cell.name in groups]
    made_on = f"{lines[0].machine}, timing protocol {lines[0].protocol}"
    drawn = figures.dots(groups, X_FLOOR, log=True, bounds={1.0: "floor"})
    return f"{PICTURE}. {KEY} {sources(lines)}; {made_on}.", drawn
