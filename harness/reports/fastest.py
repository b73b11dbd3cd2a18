"""The comparison of speed, Fig. 3, as data: who is fastest, the first table, and the figures.

Only figures of one machine are compared, and of each network those of one run. The words are in
`fastest.j2`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf, isnan
from operator import attrgetter
from typing import NamedTuple

from matplotlib.figure import Figure

from harness.analysis import compare, timings
from harness.analysis.figure_claims import OCTAVE
from harness.analysis.frame import Frame, Frames, grouped, machines
from harness.analysis.timings import FEWEST_RANKED, TimedLine
from harness.analysis.trainings import TrainingLine
from harness.analysis.words import TITLES, contender_title, data_name, data_source, few
from harness.reports import figures
from harness.reports.figures import Captioned, Dot
from harness.reports.table import BEST, Table, interval
from harness.spec import FLOOR, Contender, paper

OURS = "fused"  # this project's own engine
TUNED, OURS_TITLE = "best tuned", f"{OURS} (ours)"
PICTURE = "Time of a training step divided by that of its convolutions and products alone (floor)"
X_FLOOR = "x the float32 floor's time"
MOST_DOTS = 24  # lines of the first picture: less than a screen
COLOURED = (OURS, *TITLES)  # a framework has one colour in all figures

_ratio = attrgetter("ratio_to_floor")


def network(line: TimedLine) -> str:
    """Return the data and the network of a line, in words."""
    return f"{data_name(line.dataset, substitute=line.substitute)} {line.scale}"


def _kind(line: TimedLine) -> str:
    """Return what a line is compared as: the floor, ours, a rival untuned or tuned, or bf16."""
    bf16 = "" if line.precision == "fp32" else " bf16"
    if line.framework in (FLOOR, OURS):
        kind = "floor" if line.framework == FLOOR else "ours"
        return " ".join(filter(None, (kind, line.variant))) + bf16
    return "rival bf16" if bf16 else "tuned" if line.variant else "plain"


class RankedCell(NamedTuple):
    """The lines of one run on a network of Fig. 3: the floor, and contenders that are proved."""

    name: str  # of the data and the network
    lines: list[TimedLine]

    def kind(self, kind: str) -> list[TimedLine]:
        """Return the lines of a kind ("floor", "plain", "tuned", "ours"...), the fastest first."""
        return sorted((line for line in self.lines if _kind(line) == kind), key=_ratio)

    def ranked(self, kind: str) -> list[TimedLine]:
        """Return those of a kind that have a rank, the fastest first."""
        return [line for line in self.kind(kind) if line.rank]

    @property
    def pictured(self) -> list[TimedLine]:
        """The contenders of the first picture: all untuned, the best tuned, and ours."""
        return [*self.kind("plain"), *self.kind("tuned")[:1], *self.kind("ours")[:1]]

    @property
    def is_ranked(self) -> bool:
        """Whether any contender in float32 has a rank."""
        return any(line.rank for line in self.lines if line.precision == "fp32")


def _of_figure_3(lines: Iterable[TimedLine]) -> list[TimedLine]:
    """Return the lines of Fig. 3's networks; Matlab's figure is another."""
    return [line for line in lines if line.in_figure_3 and line.framework != OCTAVE]


def headline(lines: Iterable[TimedLine], machine: str = "") -> list[RankedCell]:
    """Return the cells of Fig. 3 that are compared: one machine, and one run for each network.

    By default the machine with most timed lines; its most complete run in float32, of these the
    last. Several seeds or batch sizes are several runs here.
    """
    timed = [line for line in _of_figure_3(lines) if not isnan(line.ratio_to_floor)]
    machine = machine or next(iter(machines(line.machine for line in timed)), "")
    timed = [line for line in timed if line.machine == machine and line.can_be_compared]
    runs = grouped(timed, lambda line: (line.cell, line.run)).values()
    best = {network(run[0]): run for run in timings.by_completeness(runs)}
    return [RankedCell(name, best[name]) for name in dict.fromkeys(map(network, timed))]


def _plain(cells: Iterable[RankedCell]) -> list[TimedLine]:
    return [line for cell in cells for line in cell.kind("plain")]


def _column(line: TimedLine) -> str:
    """Return the column of the first table in which a line can stand; "" of one that has none."""
    title = TITLES.get(line.framework, line.framework)
    return {"plain": title, "tuned": TUNED, "ours": OURS_TITLE}.get(_kind(line), "")


def _fastest(cell: RankedCell) -> dict[str, TimedLine]:
    """Return the line of a cell that each column of the first table shows: its fastest."""
    slowest_first = sorted(cell.lines, key=_ratio, reverse=True)
    return {_column(line): line for line in slowest_first if _column(line)}


def _columns(cells: Sequence[RankedCell]) -> list[str]:
    """Return the table's columns: known frameworks, others by name, the tuned form, ours."""
    columns = {column for cell in cells for column in _fastest(cell)}
    others = sorted(columns - {TUNED, OURS_TITLE})
    order = dict.fromkeys((*TITLES.values(), *others, TUNED, OURS_TITLE))
    return [column for column in order if column in columns]


Pair = tuple[TimedLine, TimedLine]  # a contender, and the one that it is compared with


@dataclass(frozen=True)
class Difference:
    """How much longer a contender takes than another, by paired rounds, over their networks.

    A network counts as longer or less where the interval of the ratio leaves out 1.
    """

    name: str
    longer: list[float]  # %, of the networks on which it takes longer
    less: list[float]  # % of time that it takes less, of others
    level: int  # how many networks do not tell the two apart

    @property
    def networks(self) -> int:
        """On how many networks the two were compared."""
        return len(self.longer) + len(self.less) + self.level

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most that it takes longer, in %; 0 where they are not told apart."""
        every = [*self.longer, *(-share for share in self.less), *[0.0] * self.level]
        return min(every), max(every)


@dataclass(frozen=True)
class Leader:
    """The untuned framework that none is faster than on most networks."""

    name: str
    unbeaten: int  # on so many
    networks: int  # of these, on which two or more have a rank
    others: list[Difference]  # against it


@dataclass(frozen=True)
class Summary:
    """Who is fastest of the ranked contenders, by their paired rounds (`TimedLine.ratio_to`)."""

    first: str  # untuned on the first network
    leader: Leader | None  # None where no network has two
    networks: int
    tuned: list[Difference]  # the best tuned form, against the fastest untuned
    ours: Difference | None  # against the fastest framework, tuned or not
    ours_bf16: Difference | None  # against ours in float32
    is_below_floor: bool  # ours, on all networks
    machine: str
    has_gpu: bool
    elsewhere: list[tuple[str, Leader]]  # other machines


def _leader(cells: Iterable[RankedCell]) -> Leader | None:
    """Return who is unbeaten on most networks among untuned frameworks; None without two on one."""
    several = [lines for cell in cells if len(lines := cell.ranked("plain")) > 1]
    if not several:
        return None
    unbeaten = Counter(
        line.framework
        for lines in several
        for line in lines
        if not any(rival.is_faster(line) for rival in lines)
    )
    ((name, count),) = unbeaten.most_common(1)
    pairs = (pair for lines in several for pair in product(lines, lines))
    others = [(one, by) for one, by in pairs if by.framework == name != one.framework]
    return Leader(TITLES.get(name, name), count, len(several), _differences(others))


def _differences(pairs: Iterable[Pair]) -> list[Difference]:
    by_name = grouped(pairs, lambda pair: contender_title(pair[0].name)).items()
    return [_difference(name, pairs) for name, pairs in by_name]


def _difference(name: str, pairs: Sequence[Pair]) -> Difference:
    """Return by how many per cent a framework takes longer than the leader, less, and ties."""
    longer = [100 * (a.ratio_to(b).value - 1) for a, b in pairs if b.is_faster(a)]
    less = [100 * (1 - a.ratio_to(b).value) for a, b in pairs if a.is_faster(b)]
    return Difference(name, longer, less, len(pairs) - len(longer) - len(less))


def summary(lines: Sequence[TimedLine]) -> Summary | None:
    """Return who is fastest; None where no untuned framework has a rank."""
    cells = [cell for cell in headline(lines) if cell.ranked("plain")]
    if not cells:
        return None
    first = cells[0].ranked("plain")[0]
    best = {cell.name: cell.ranked("plain")[0] for cell in cells}
    tuned = [(line, best[cell.name]) for cell in cells for line in cell.ranked("tuned")[:1]]
    best |= {network(line): line for line, rival in tuned if line.is_faster(rival)}
    ours = [(line, best[cell.name]) for cell in cells for line in cell.ranked("ours")]
    bf16 = [pair for c in cells for pair in product(c.ranked("ours bf16"), c.ranked("ours"))]
    others = ((machine, _leader(headline(lines, machine))) for machine in _others(lines, first))
    return Summary(
        first=contender_title(first.name),
        leader=_leader(cells),
        networks=len(cells),
        tuned=_differences(tuned),
        ours=_difference(OURS, ours) if ours else None,
        ours_bf16=_difference(OURS, bf16) if bf16 else None,
        is_below_floor=all(line.ratio_high < 1 for line, _ in ours),
        machine=first.machine,
        has_gpu=any(line.device != "cpu" for line in lines),
        elsewhere=[(machine, leader) for machine, leader in others if leader],
    )


def _others(lines: Iterable[TimedLine], first: TimedLine) -> list[str]:
    """Return the machines of the lines, in their order, without the first line's."""
    return [*dict.fromkeys(line.machine for line in lines if line.machine != first.machine)]


def ratio_text(line: TimedLine) -> str:
    """Return the ratio to the floor as text; a star marks fewer than FEWEST_RANKED rounds."""
    return f"{line.ratio_to_floor:.2f}" + (" *" if line.rounds < FEWEST_RANKED else "")


def ratio_with_interval(line: TimedLine) -> str:
    """Return `ratio_text` with the ratio's 95 % interval."""
    text = interval(line.ratio_to_floor, line.ratio_low, line.ratio_high, ".2f")
    return text + (" *" if line.rounds < FEWEST_RANKED else "")


def run_columns(cell: RankedCell) -> dict[str, str]:
    """Return columns of `table`: a line's rounds at least, and its floor's time in ms, if any.

    The floor is the time of the layers' convolutions and products alone.
    """
    columns = {"n": str(min(line.rounds for line in cell.lines))}
    for floor in cell.kind("floor")[:1]:
        columns["floor, ms"] = f"{1000 * floor.seconds_per_iteration:,.0f}"
    return columns


def table(
    cells: Sequence[RankedCell],
    figure: Callable[[TimedLine], str],
    about: Callable[[RankedCell], dict[str, str]] = run_columns,
) -> Table:
    """Return the first table, a line a network, with the columns that `about` adds.

    Each framework untuned, the best tuned form of any of them, and last, separately, ours.
    `figure` formats a line's ratio to the floor. In bold stand the ranked rivals of a line that
    none of the others in it is faster than, by their paired rounds.
    """
    lines, looks = [], dict[tuple[int, str], str]()
    for n, cell in enumerate(cells):
        best = _fastest(cell)
        rivals = {name: line for name, line in best.items() if line.framework != OURS and line.rank}
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
    scale = re.compile(f" ({'|'.join(paper.SCALES)})$")
    return [cell._replace(name=scale.sub(lambda end: end[0][:2], cell.name)) for cell in cells]


@dataclass(frozen=True)
class Conditions:
    """How the first table was measured, what it lacks and why, and what other machines say."""

    lines: list[TimedLine]  # that were measured, of one machine
    reach: float | None  # %, of the widest interval from its figure to its upper end
    versions: list[str]  # "Norse 1.1.0", by framework
    tuned: dict[str, int]  # forms, by the number of networks
    missing: list[tuple[str, str, str]]  # a contender, its networks, why it has no figure
    unranked: list[tuple[str, list[str]]]  # networks on which nobody has a rank, and why
    notes: list[str]  # what else to know of the figures, in sentences
    failed: list[tuple[str, list[str]]]  # contenders that failed a proof, and their networks
    elsewhere: list[tuple[str, list[float], list[float], Leader | None]]  # machine, ratios, ours


def conditions(
    cells: Sequence[RankedCell], lines: Sequence[TimedLine], refused: Frame
) -> Conditions | None:
    """Return the conditions of `table`'s figures; None without cells."""
    if not cells:
        return None
    timed = [line for cell in cells for line in cell.lines]
    in_table = [line for cell in cells for line in _fastest(cell).values()]
    versioned = (line for line in _plain(cells) if line.framework_version)
    reaches = [e.ratio_high / e.ratio_to_floor - 1 for e in in_table if e.ratio_high < inf]
    lacks = (
        (cell.name, [*dict.fromkeys(why for e in _fastest(cell).values() for why in e.lacks)])
        for cell in cells
        if not cell.is_ranked
    )
    titles = [compare.network(cell.lines[0]) for cell in cells]
    failed = refused.loc[refused["network"].isin(titles)]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    failed = failed.groupby("contender", sort=False)["network"].unique().items()
    elsewhere, notes = [], [*timings.notes(timed)]
    for machine in _others(lines, timed[0]):
        there = [cell for cell in headline(lines, machine) if cell.is_ranked]
        ours = [line for cell in there for line in cell.kind("ours")[:1]]
        ratios = ([*map(_ratio, lines)] for lines in (_plain(there), ours))
        elsewhere += [(machine, *ratios, _leader(there))] if there else []
        of_machine = timings.notes(line for cell in there for line in cell.lines)
        notes += (f"{machine}, {note}" for note in of_machine)
    return Conditions(
        lines=timed,
        reach=100 * max(reaches) if reaches else None,
        versions=[*dict.fromkeys(f"{_column(e)} {e.framework_version}" for e in versioned)],
        tuned=Counter(contender_title(e.name) for cell in cells for e in cell.kind("tuned")),
        missing=[*_missing(cells, lines)],
        unranked=[(name, reasons) for name, reasons in lacks if reasons],
        notes=notes,
        failed=[(contender_title(str(name)), [*networks]) for name, networks in failed],
        elsewhere=elsewhere,
    )


def _missing(
    cells: Sequence[RankedCell], lines: Iterable[TimedLine]
) -> Iterator[tuple[str, str, str]]:
    """Yield the columns of the first table without a figure, on which networks, and why.

    A tuned form that failed is named too: the best of those that did not may not be the best.
    """
    missing: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        first, best = cell.lines[0], _fastest(cell)
        place = first.machine, cell.name
        alike = [e for e in _of_figure_3(lines) if (e.machine, network(e)) == place]
        for column in [name for name in _columns(cells) if name not in best]:
            timed = [line for line in alike if _column(line) == column]
            reasons = [figures.short(line.reason, 160) for line in timed if line.run == first.run]
            elsewhere = any(not isnan(line.ratio_to_floor) for line in timed)
            why = "timed in another run alone" if elsewhere else "not timed"
            missing.setdefault((column, [why, *reasons][-1]), []).append(cell.name)
        for line in alike if TUNED in best else ():
            if _kind(line) == "tuned" and line.run == first.run and not line.is_proved:
                key = contender_title(line.name), figures.short(line.lacks[0], 160)
                missing.setdefault(key, []).append(cell.name)
    for (title, why), networks in missing.items():  # the table shows all
        yield title, few(networks, "networks"), why


def sources(lines: Iterable[TimedLine | TrainingLine]) -> str:
    """Return the data sources of lines, each once, with what is partial, lossy or simulated."""
    named = (data_source(vars(line)) for line in lines if line.data_source)
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
        for part in grouped(cells, lambda cell: cell.lines[0].dataset).values():
            if groups := _dots(part, ends, form):
                drawn = figures.dots(groups, title, log=True, bounds=bounds, beside=beside)
                yield f"{what}: {sources(line for cell in part for line in cell.lines)}", drawn


def layers(lines: Sequence[TimedLine]) -> Captioned:
    """Yield the time and the memory of one layer by its neurons, of those that are no equal too."""
    timed = [line for line in timings.most_complete(lines) if not isnan(line.ratio_to_floor)]
    machine = next(iter(machines(line.machine for line in timed)), "")
    timed = [line for line in timed if line.machine == machine]
    cells = [RankedCell(name, part) for name, part in grouped(timed, attrgetter("scale")).items()]
    for what, ends, form, title, bounds in DRAWN:
        if groups := _dots(cells, ends, form):
            drawn = figures.dots(groups, title, log=True, bounds=bounds)
            settings = f"T = {timed[0].T}, batch {timed[0].batch_size}, {machine}"
            yield f"{what} of one layer: {sources(timed)}; {settings}", drawn


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
        for change in compare.within_run(frames, name, against):
            value, low, high = 1 + change.change, 1 + change.low, 1 + change.high
            dot = Dot(contender_title(name), value, low, high, f"{value:.2f}", hollow=isnan(low))
            groups.setdefault(change.where, []).append(dot)
    if groups:
        caption = f"Versions of a framework, in the same rounds: {', '.join(groups)}"
        title, bounds = "x the installed version's time", {1.0: "installed"}
        yield caption, figures.dots(groups, title, bounds=bounds)


def _dots(cells: Sequence[RankedCell], ends: Ends, form: str) -> dict[str, list[Dot]]:
    """Return a line for each contender on each network, the least first and ours last.

    Of a framework's tuned forms only the best, and of bf16 only ours.
    """
    names = {line.framework for cell in cells for line in cell.lines} - {FLOOR, *COLOURED}
    colours = [*COLOURED, *sorted(names)]
    groups: dict[str, list[Dot]] = {}
    for cell in cells:
        measured = RankedCell(cell.name, [line for line in cell.lines if ends(line)[0] > 0])
        tuned = grouped(measured.kind("tuned"), lambda line: line.framework).values()
        ours = [line for line in measured.lines if line.framework == OURS]
        lines = [*measured.kind("plain"), *(forms[0] for forms in tuned), *ours]
        lines.sort(key=lambda line: (line.framework == OURS, ends(line)[0]))
        groups[cell.name] = [
            Dot(
                f"{contender_title(line.name)}{' (ours)' if line.framework == OURS else ''}",
                *ends(line),
                text=f"{ends(line)[0]:{form}}",
                note=_hover(line),
                colour=colours.index(line.framework),
                hollow=line.rounds < FEWEST_RANKED,
                marker="s" if line.framework == OURS else "D" if line.variant else "o",
            )
            for line in lines
        ]
    return {name: dots for name, dots in groups.items() if dots}


def _hover(line: TimedLine) -> str:
    """Return what a pointer on a line's mark shows: ms, ratio with interval, rounds."""
    ms = f"{1000 * line.seconds_per_iteration:,.1f} ms"
    memory = "" if isnan(line.peak_memory_mib) else f", {line.peak_memory_mib:,.0f} MiB"
    return f"{ms}, {ratio_with_interval(line)} {X_FLOOR}, n = {line.rounds}{memory}"


def picture(cells: Sequence[RankedCell]) -> tuple[str, Figure] | None:
    """Draw the first picture, with its caption: of each data set the network with most contenders.

    Each framework untuned, the best tuned form and ours, on as many networks as have room.
    None where no contender has a figure, as of a run that was ended early.
    """
    by_data = grouped(cells, lambda cell: cell.lines[0].dataset).values()
    chosen = [max(part, key=lambda cell: len(cell.lines)) for part in by_data]
    chosen = [RankedCell(cell.name, cell.pictured) for cell in chosen]
    groups, room = dict[str, list[Dot]](), MOST_DOTS
    for name, group in _dots(chosen, TO_FLOOR, ".2f").items():
        if not groups or len(group) < room:
            groups[name] = group
            room -= len(group) + 1
    if not groups:
        return None
    lines = [line for cell in chosen for line in cell.lines if cell.name in groups]
    where = f"{lines[0].machine}, timing protocol {lines[0].protocol}"
    drawn = figures.dots(groups, X_FLOOR, log=True, bounds={1.0: "floor"})
    return f"{PICTURE}. {sources(lines)}; {where}.", drawn
