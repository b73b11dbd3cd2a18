"""The report: one page, the whole tables as csv files, README's block and picture.

The page's prose is the template's; here are the figures and tables that stand in it, each a part by
name. A part without rows is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf, isnan
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import NamedTuple, get_args

import jinja2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from harness.analysis import claims, compare, tables, timings, trainings
from harness.analysis.claims import Claim, Effect, Finding, Range
from harness.analysis.frame import Frame, Frames, frames, grouped, machines
from harness.analysis.timings import FEWEST_RANKED, TimedLine
from harness.analysis.trainings import ALIKE, Column, TrainingLine, rows_of, same_but
from harness.analysis.words import TITLES, counted, data_name, span
from harness.records import Row, TestedRow, TransferRow
from harness.reports import figures, shown, stored
from harness.reports.figures import Dot
from harness.reports.table import Table, csv, field_markdown, interval, markdown
from harness.spec import ANN, FLOOR, REFERENCE, UsageError, paper
from harness.suites.trainings import AS_IT_IS
from harness.system.files import write_result

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
OURS = "fused"  # this project's own engine
NOT_TESTED: claims.Answer = "not tested"
OWN = {"ours": "", "ours bf16": "in bf16 "}  # what of ours the first sentence names
TUNED = "best tuned"
UNITS = {"points": "points of accuracy", "share": "% taken away"}
OF_PAPER = {"3": "Table 3: N-MNIST", "4": "Table 4: DVS-CIFAR10", "5": "Table 5: CIFAR-10"}
OF_PAPER |= {"6": "Table 6: CIFAR-10"}
MOST = 15  # lines of a table of reasons; a csv has all
PICTURE = "Time of a training step divided by that of its convolutions and products alone (floor)"
KEY = (
    f"Lines: 95 % intervals; hollow: fewer than {FEWEST_RANKED} rounds; diamonds: another form of "
    "the framework, the best tuned; squares: this project's own engine."
)
DIGITS = 10  # of numbers in the csv files: the last ones differ from processor to processor
X_FLOOR = "x the float32 floor's time"
Captioned = Iterable[tuple[str, Figure]]  # figures with their captions


def write(rows: Frames | Sequence[Row], out: Path, readme: Path | None = None) -> list[Path]:
    """Write OUT/report.html, OUT/tables/*.csv and, with timings, OUT/picture.svg; return the files.

    Each file is whole or not there. With `readme` also what stands between its marks. Raises
    UsageError where a file cannot be written, and for a README without marks.
    """
    found = frames(rows)
    judged, there = claims.findings(found), {row.suite for row in found.rows}
    built = {
        name: build(found)
        for name, build in tables.FULL.items()
        if there & set(tables.suites_of(name))
    }
    built |= {"claims": claims.table(judged)}
    built |= {name: build(found) for name, build in stored.TABLES.items()}
    built = {name: table for name, table in built.items() if len(table)}
    texts = {out / "report.html": page(found, judged, built)}
    if drawn := picture(headline(timings.lines(found))):
        texts[out / "picture.svg"] = drawn
    if readme is not None:
        texts[readme] = updated(readme.read_text(encoding="utf-8"), block(found, judged), readme)
    for name, table in built.items():
        texts[out / "tables" / _file(name)] = csv(tables.plain(table), DIGITS)
    for path, content in texts.items():
        # of a row's escapes and of names of files, some are no text
        write_result(path, content.encode("utf-8", errors="backslashreplace"))
    return [*texts]


def _file(name: str) -> str:
    return f"table{name}.csv" if name.isdigit() else f"{name}.csv"


def page(frames: Frames, judged: Sequence[Finding], built: Mapping[str, Frame]) -> str:
    """Return the whole page as one HTML file that needs no network; `built` are the tables."""
    lines, days = timings.lines(frames), sorted({row.time[:10] for row in frames.rows})
    cells, refused = headline(lines), stored.refused(frames)
    drawn = {
        "speed": [*speed(cells), *_versions(frames)],
        "scale": _curves(frames, trainings.by_scale(frames), "scale", "network"),
        "timesteps": _curves(frames, trainings.compared(frames, "timesteps", "T"), "T"),
        "width": _curves(frames, trainings.by_width(frames), "width", "network", "dropout"),
        "neunorm": _neunorm(frames),
        "ablations": _ablations(frames),
    }
    notes_on_rows = Table(
        [{"row": note} for note in frames.notes], "Rows that do not count, or are mixed"
    )
    parts = {
        "speed": [speed_table(cells, ratio_with_interval)],
        "claims": [claims_table(judged)],
        "proofs": [_proofs(frames)],
        "refused": [_few(refused, "Exams and audits that failed")],
        "tables": [shown.of_paper(built[n], title) for n, title in OF_PAPER.items() if n in built],
        **{n: shown.trained(built[n]) for n in ("neunorm", "ablations") if n in built},
        "provenance": [Table(stored.places(frames), "Machines"), _data(frames), notes_on_rows],
        "failures": [_few(stored.failures(frames), "What failed")],
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template("page.html.j2").render(
        sentence=sentence(lines),
        notes=[*notes(cells, lines, refused)],
        refused=len(refused),
        few=FEWEST_RANKED,
        claims=answered(judged),
        untested=[each for each in judged if each.answer == NOT_TESTED],
        recordings=[*_recordings(frames)],
        figures={
            part: [(caption, figures.svg(figure, caption)) for caption, figure in of]
            for part, of in drawn.items()
        },
        tables={part: [each for each in of if each.lines] for part, of in parts.items()},
        count=counted(len(frames.rows), "row"),
        machines=counted(len({*frames.machines}), "machine"),
        days=" to ".join(dict.fromkeys(days[:1] + days[-1:])),
        csv={name: _file(name) for name in built},
    )


def _code(value: str) -> Markup:
    """Return a text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))


# Who is fastest and how sure that is. Only figures of one machine are compared, and of each network
# those of one run.

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


class Cell(NamedTuple):
    """What was timed together on a network of Fig. 3, in one run: proved contenders, the floor."""

    name: str  # of the data and the network
    lines: list[TimedLine]

    def of(self, kind: str) -> list[TimedLine]:
        """Return the lines of a kind, the fastest first."""
        return sorted((each for each in self.lines if _kind(each) == kind), key=_ratio)

    @property
    def is_ranked(self) -> bool:
        """Whether contenders have ranks."""
        return any(each.rank for each in self.lines if each.precision == "fp32")


def _of_figure_3(lines: Iterable[TimedLine]) -> list[TimedLine]:
    """Return the lines of Fig. 3's networks; Matlab's figure is another."""
    return [each for each in lines if each.in_figure_3 and each.framework != claims.OCTAVE]


def headline(lines: Iterable[TimedLine], machine: str = "") -> list[Cell]:
    """Return Fig. 3's cells as they are compared: of each network one run.

    On a machine, by default the one with most contenders; the run with most contenders, of these
    the last.
    """
    timed = [each for each in _of_figure_3(lines) if not isnan(each.ratio_to_floor)]
    machine = machine or next(iter(machines(each.machine for each in timed)), "")
    here = [each for each in timed if each.machine == machine]
    found = [each for each in here if each.framework == FLOOR or each.standing != "none"]
    runs = grouped(found, lambda each: (network(each), each.run))
    best = {name: of for (name, _), of in sorted(runs.items(), key=lambda run: len(run[1]))}
    return [Cell(name, best[name]) for name in dict.fromkeys(map(network, found))]


def _fastest(cells: Iterable[Cell], kind: str) -> list[TimedLine]:
    """Return the fastest line of a kind in each cell that has any."""
    return [line for cell in cells for line in cell.of(kind)[:1]]


def _plain(cells: Iterable[Cell]) -> list[TimedLine]:
    return [line for cell in cells for line in cell.of("plain")]


def _ratios(lines: Iterable[TimedLine]) -> str:
    """Return the range of ratios to the floor."""
    return span(map(_ratio, lines), ".2f")


def _titles(cells: Iterable[Cell]) -> dict[str, str]:
    """Return the frameworks that were timed as they come, in a fixed order, with their titles."""
    there = {each.framework for each in _plain(cells)}
    return {name: TITLES.get(name, name) for name in (*TITLES, *sorted(there)) if name in there}


def _column(line: TimedLine) -> str:
    """Return the column of the first table in which a line can stand; "" of one that has none."""
    title = TITLES.get(line.framework, line.framework)
    return {"plain": title, "tuned": TUNED, "ours": f"{OURS} (ours)"}.get(_kind(line), "")


def _columns(cells: Sequence[Cell]) -> list[str]:
    there = {_column(each) for cell in cells for each in cell.lines}
    return [each for each in (*_titles(cells).values(), TUNED, f"{OURS} (ours)") if each in there]


def _listed(names: Iterable[str]) -> str:
    *front, last = names
    return f"{', '.join(front)} and {last}" if front else last


def sentence(lines: Sequence[TimedLine]) -> str:
    """Return the answer for a reader who chooses a framework; "" where none is ranked.

    The cost of each, how much they differ, the fastest, the best tuned form, and then ours.
    """
    cells = [cell for cell in headline(lines) if cell.is_ranked]
    plain, names = _plain(cells), _titles(cells)
    if not plain:
        return ""
    text = (
        f"As they come, {_listed(names.values())} take {_ratios(plain)} times the bare "
        "convolutions for a training step in float32"
    )
    together = [of for cell in cells if len(of := cell.of("plain")) > 1]
    if together:
        times = [of[-1].ratio_to_floor / of[0].ratio_to_floor for of in together]
        timed = Counter(each.framework for of in together for each in of)
        level = (e.framework for of in together for e in of if e.ratio_low <= of[0].ratio_high)
        leads = Counter(level).most_common()
        text += (
            f", over {counted(len(together), 'network')}; on one and the same the slowest takes "
            f"{span(times, '.1f')} times as long as the fastest. "
            "The fastest, or level with it by the intervals: "
            + _listed(f"{names[name]} on {n} of {timed[name]}" for name, n in leads)
        )
    forms = grouped(_fastest(cells, "tuned"), lambda each: each.name)
    tuned = [
        f"`{name}`, {_ratios(of)} ({', '.join(map(network, of))})" for name, of in forms.items()
    ]
    own = {words: _fastest(cells, kind) for kind, words in OWN.items()}
    ours = [f"{words}{_ratios(of)}" for words, of in own.items() if of]
    parts = [text]
    parts += [
        f"Of their tuned forms the fastest is {_listed(tuned)}"
        if tuned
        else "No tuned form was timed"
    ]
    parts += [f"Our own engine, `{OURS}`: {'; '.join(ours)}"] if ours else []
    parts += [f"All on one machine ({plain[0].machine})"]
    parts += ["No GPU was timed"] if all(each.device == "cpu" for each in lines) else []
    return f"{'. '.join(parts)}."


def ratio(line: TimedLine) -> str:
    """Return the ratio to the floor; a star marks one that is preliminary."""
    return f"{line.ratio_to_floor:.2f}" + (" *" if line.rounds < FEWEST_RANKED else "")


def ratio_with_interval(line: TimedLine) -> str:
    """Return the same with its interval."""
    shown = interval(line.ratio_to_floor, line.ratio_low, line.ratio_high, ".2f")
    return shown + (" *" if line.rounds < FEWEST_RANKED else "")


def conditions(cell: Cell) -> dict[str, str]:
    """Return a cell's rounds, its floor and its A/A, as columns of the first table."""
    found = {"n": str(min(each.rounds for each in cell.lines))}
    for floor in cell.of("floor")[:1]:
        noise = f"{floor.noise_low:.2f} to {floor.noise_high:.2f}"
        found["floor, ms"] = f"{1000 * floor.seconds_per_iteration:,.0f}"
        found["A/A"] = noise if floor.noise_high < inf else ""
    return found


def speed_table(
    cells: Sequence[Cell],
    figure: Callable[[TimedLine], str],
    about: Callable[[Cell], dict[str, str]] = conditions,
) -> Table:
    """Return the first table, a network a line, with what `about` says of it.

    Each framework as it comes, the best tuned form of any of them, and last, separately, ours.
    `figure` shows a line's ratio to the floor.
    """
    lines = []
    for cell in cells:
        best = {_column(each): each for each in sorted(cell.lines, key=_ratio, reverse=True)}
        line = {"network": cell.name} | about(cell)
        line |= {name: figure(best[name]) if name in best else "" for name in _columns(cells)}
        if TUNED in best:
            line[TUNED] += f" {best[TUNED].name}"
        lines.append(line)
    return Table(lines, f"{X_FLOOR}, {cells[0].lines[0].machine}" if cells else "")


def notes(cells: Sequence[Cell], lines: Sequence[TimedLine], refused: Frame) -> Iterator[str]:
    """Yield the notes on the table; none where it is empty."""
    if not cells:
        return
    timed = [line for cell in cells for line in cell.lines]
    first, rounds = timed[0], [each.rounds for each in timed]
    known = (each for each in _plain(cells) if each.framework_version)
    versions = dict.fromkeys(f", {_column(each)} {each.framework_version}" for each in known)
    compared = [each for each in timed if _kind(each) in ("plain", "tuned", "ours")]
    reaches = [e.ratio_high / e.ratio_to_floor - 1 for e in compared if e.ratio_high < inf]
    within = f", 95 % intervals within {100 * max(reaches):.0f} %" if reaches else ""
    yield (
        "x floor: the time of a training step divided by that of the network's convolutions and "
        f"products alone (the floor, in float32), batch {first.batch_size}, T = {first.T}; "
        f"geometric mean over {span(rounds)} rounds{within}, each network's in one run, timing "
        f"protocol {first.protocol}, torch {first.torch}{''.join(versions)}; timed "
        f"{span(each.day for each in timed)}. Every contender was proved equal to the paper's "
        f"equations. `{REFERENCE}` is plain PyTorch."
    )
    if missing := _missing(cells, lines):
        yield missing
    for name, of in grouped(compared, network).items():
        if not any(each.rank for each in of):
            lacking = sorted(set.intersection(*(set(each.lacks) for each in of)))
            yield f"Nobody is ranked on {name}: {'; '.join(lacking)}."
    if min(rounds) < FEWEST_RANKED:
        yield f"* fewer than {FEWEST_RANKED} rounds: preliminary."
    failed = refused.loc[refused["network"].isin([cell.name for cell in cells])]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    for name, of in failed.groupby("contender", sort=False):
        yield f"{name} failed a proof in some run of {', '.join(of['network'].unique())}."
    if data := _sources(timed):
        yield f"Data: {data}."
    for machine in dict.fromkeys(each.machine for each in lines if each.machine != first.machine):
        other = [cell for cell in headline(lines, machine) if cell.is_ranked]
        plain, ours = _plain(other), _fastest(other, "ours")
        texts = [f"as they come {_ratios(plain)}"] if plain else []
        texts += [f"`{OURS}` {_ratios(ours)}"] if ours else []
        if texts:
            yield f"On {machine}: {', '.join(texts)}."


def _missing(cells: Sequence[Cell], lines: Iterable[TimedLine]) -> str:
    """Return why there is no figure where one is missing in the first table; "" if none is."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        first, there = cell.lines[0], {*map(_column, cell.lines)}
        here = [each for each in _of_figure_3(lines) if each.machine == first.machine]
        for column in [each for each in _columns(cells) if each not in there]:
            its = [e for e in here if network(e) == cell.name and _column(e) == column]
            own = [figures.short(each.reason, 160) for each in its if each.run == first.run]
            why = own[-1] if own else "timed in another run alone" if its else "not timed"
            found.setdefault((column, why), []).append(cell.name)
    parts = (f"{column} on {', '.join(of)} ({why})" for (column, why), of in found.items())
    return f"No figure: {'; '.join(parts)}." if found else ""


def _sources(found: Iterable[TimedLine]) -> str:
    return "; ".join(dict.fromkeys(each.data_source for each in found if each.data_source))


# README


def block(frames: Frames, judged: Sequence[Finding]) -> str:
    """README's: a sentence, the table of speed with its notes, and the claims."""
    lines, parts = timings.lines(frames), list[str]()
    if cells := headline(lines):
        said = notes(cells, lines, stored.refused(frames))
        parts += [_escaped(text)] if (text := sentence(lines)) else []
        parts.append(markdown(speed_table(cells, ratio, lambda cell: {})).strip())
        parts.append(" ".join(map(_escaped, said)))
    of_claims = claims_table(judged)
    parts += [markdown(of_claims).strip()] if of_claims.lines else []
    return "\n\n".join(parts) + "\n"


def claims_table(found: Sequence[Finding]) -> Table:
    """Return the tested parts of each claim: the paper's figure, ours, and the answer.

    With the width of the networks where it is not the usual one.
    """
    tested = [each for each in found if each.answer != NOT_TESTED]
    places = [each.where for each in tested if each.where]
    usual = max(places, key=places.count, default="")
    lines = [
        {
            "claim": each.words,
            "paper": each.published,
            "ours": each.ours,
            "answer": each.short if each.where == usual else each.text,
        }
        for each in tested
    ]
    answers = Counter[str](each.answer for each in tested if each.claim.id != claims.OURS)
    named = [each for each in get_args(claims.Answer) if answers[each] or each == "contradicted"]
    counts = [f"{answers[each]} {each}" for each in named]
    text = [f"The paper's claims, part by part: {', '.join(counts)}."] if answers else []
    text += ["Ours: mean [95 % interval] over n seeds."]
    text += [f"Networks have {usual} where no other is named."] if usual else []
    if answers["open"]:
        text.append(
            "In brackets, what an open part lacks: seeds (3 of 5: three of the fixed five are "
            "trained), the fixed schedule, or a trend."
        )
    return Table(lines, subtitle=" ".join(text))


def answered(found: Sequence[Finding]) -> list[tuple[Claim, list[Finding], Markup]]:
    """Return each claim of which a part was tested, with its parts and its figure."""
    tested = [each for each in found if each.answer != NOT_TESTED]
    by_claim = grouped(tested, lambda each: each.claim)
    return [(claim, parts, _of_claim(parts)) for claim, parts in by_claim.items()]


def _escaped(text: str) -> str:
    """Return a sentence as Markdown, in which names of contenders stay code."""
    return re.sub(r"\\`([a-z0-9:-]+)\\`", r"`\1`", field_markdown(text))


def updated(before: str, block: str, path: Path) -> str:
    """Return a README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    front, begin, rest = before.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{front}{BEGIN}\n{block}{END}{after}"


def picture(cells: Sequence[Cell]) -> str:
    """Draw README's picture: for each data set, the network with most contenders.

    Returns "" where no contender has a figure, as of a run that was ended early.
    """
    by_data = grouped(cells, lambda cell: cell.lines[0].dataset).values()
    chosen = [max(of, key=lambda cell: len(cell.lines)) for of in by_data]
    groups = _dots(chosen, TO_FLOOR, ".2f")
    if not groups:
        return ""
    lines = [line for cell in chosen for line in cell.lines]
    made_on = f"{lines[0].machine}, protocol {lines[0].protocol}"
    below = [line for part in (PICTURE, KEY, _sources(lines), made_on) for line in wrap(part, 70)]
    drawn = figures.dots(groups, "\n".join(below), log=True, bounds={1.0: "floor"})
    return figures.picture(drawn, PICTURE)


# Figures, each with its caption


def _of_claim(found: Sequence[Finding]) -> Markup:
    """Draw the figures of a claim, one a unit.

    Means with intervals, each seed, and the bounds that were fixed beforehand; of Fig. 3, the range
    over the networks.
    """
    groups: dict[str, list[Dot]] = {}
    title, bounds, log = "tall bar: what was allowed", {0.0: ""}, False
    for each in found:
        match each.by:
            case Effect() as by:
                times, form = (1, "+.3f") if by.unit == "votes" else (100, "+.1f")
                value, low, high, _, bar = (times * number for number in by.numbers)
                seeds = tuple(times * by.shown(v) for v in by.values)
                dot = Dot(each.words, value, low, high, f"{value:{form}}", seeds=seeds, bar=bar)
                groups.setdefault(UNITS.get(by.unit, by.unit), []).append(dot)
            case Range() as by:
                title = "times plain PyTorch's time, from the least to the most of the networks"
                bounds, log = {claims.TENS: "tens of times"}, True
                dot = Dot(each.words, by.value, by.low, by.high, f"{by.value:,.3g}")
                groups.setdefault("", []).append(dot)
    ours, claim = "; ".join(each.ours for each in found), found[0].claim.claim
    drawn = {
        f"{claim}, {unit}: {ours}": figures.dots({unit: of}, title, log=log, bounds=bounds)
        for unit, of in groups.items()
    }
    return Markup("").join(figures.svg(figure, name) for name, figure in drawn.items())


Ends = Callable[[TimedLine], tuple[float, ...]]  # a figure, or with its interval
TO_FLOOR: Ends = attrgetter("ratio_to_floor", "ratio_low", "ratio_high")


def speed(cells: Sequence[Cell]) -> Captioned:
    """Fig. 3: the time and the memory of each contender, a figure for each data set."""
    above = "MiB above the process before it was built"
    for what, ends, form, title, bounds in (
        ("Time of a training step", TO_FLOOR, ".2f", X_FLOOR, {1.0: "floor"}),
        ("Peak memory of a step", lambda line: (line.peak_memory_mib,), ",.0f", above, {}),
    ):
        for of in grouped(cells, lambda cell: cell.lines[0].dataset).values():
            if groups := _dots(of, ends, form):
                drawn = figures.dots(groups, title, log=True, bounds=bounds)
                yield f"{what}: {_sources(line for cell in of for line in cell.lines)}", drawn


def _versions(frames: Frames) -> Captioned:
    """Draw versions of frameworks against the installed ones, each over the rounds of both."""
    groups: dict[str, list[Dot]] = {}
    names = {each.name for each in timings.lines(frames) if "@" in each.name}
    for name in sorted(names):
        for each in compare.within_run(frames, name, name.partition("@")[0]):
            value, low, high = 1 + each.change, 1 + each.low, 1 + each.high
            dot = Dot(name, value, low, high, f"{value:.2f}", hollow=isnan(low))
            groups.setdefault(each.where, []).append(dot)
    if groups:
        caption = f"Versions of a framework, in the same rounds: {', '.join(groups)}"
        title, bounds = "x the installed version's time", {1.0: "installed"}
        yield caption, figures.dots(groups, title, bounds=bounds)


def _dots(cells: Sequence[Cell], ends: Ends, form: str) -> dict[str, list[Dot]]:
    """Return a line for each contender on each network, the least first and ours last.

    Of a framework's tuned forms only the best, and of bf16 only ours.
    """
    names = sorted({each.framework for cell in cells for each in cell.lines} - {FLOOR})
    groups: dict[str, list[Dot]] = {}
    for cell in cells:
        known = Cell(cell.name, [each for each in cell.lines if ends(each)[0] > 0])
        tuned = grouped(known.of("tuned"), lambda each: each.framework).values()
        ours = [each for each in known.lines if each.framework == OURS]
        kept = [*known.of("plain"), *(forms[0] for forms in tuned), *ours]
        kept.sort(key=lambda each: (each.framework == OURS, ends(each)[0]))
        groups[cell.name] = [
            Dot(
                f"{TITLES.get(line.name, line.name)}{' (ours)' if line.framework == OURS else ''}",
                *ends(line),
                text=f"{ends(line)[0]:{form}}",
                colour=names.index(line.framework),
                hollow=line.rounds < FEWEST_RANKED,
                marker="s" if line.framework == OURS else "D" if line.variant else "o",
            )
            for line in kept
        ]
    return {name: dots for name, dots in groups.items() if dots}


def _curves(
    frames: Frames, found: Sequence[TrainingLine], by: Column, *others: Column
) -> Captioned:
    """Draw accuracy by scale (Fig. 4), T (Fig. 5) or width, of the seeds that learnt.

    Dotted: networks that were trained over one T and tested over others.
    """
    groups = [*grouped(found, same_but(by, *others)).values()]
    for group in [of for of in groups if len(of) > 1] or groups:
        points = {_at(each, by): _point(each) for each in group}
        dotted = [_tested(frames, each) for each in group] if by == "T" else []
        names = sorted({*points}.union(*dotted), key=int) if dotted else [*points]
        drawn = figures.curves(points, (by, "test accuracy, %"), names, dotted)
        yield f"Accuracy by {by}: {_caption(group)}", drawn


def _at(each: TrainingLine, by: Column) -> str:
    dropout = f", dropout {each.dropout:g}" if by == "width" and each.dropout else ""
    return f"{getattr(each, by)}{dropout}"


def _tested(frames: Frames, line: TrainingLine) -> dict[str, float]:
    """Return accuracy over the numbers of steps that networks were tested at, in percent."""
    rows = [row for row in rows_of(frames, TestedRow, line) if row.seed not in line.lost]
    by_steps = grouped(sorted(rows, key=lambda row: row.tested_T), lambda row: str(row.tested_T))
    return {T: 100 * fmean(row.test_accuracy for row in of) for T, of in by_steps.items()}


def _point(each: TrainingLine) -> Dot:
    """Return mean and interval of the seeds that learnt, and each of them, in percent."""
    learnt = [a for seed, a in each.accuracies.items() if seed not in each.lost]
    value, low, high, _ = trainings.share(learnt)
    return Dot("", 100 * value, 100 * low, 100 * high, seeds=tuple(100 * a for a in learnt))


def _caption(group: Sequence[TrainingLine]) -> str:
    """Return what trainings of a figure share, and the seeds that learnt nothing."""
    first, networks = group[0], {each.scale for each in group}
    text = [shown.data_title(first), *(networks if len(networks) == 1 else ())]
    text += [f"{first.train_samples:,} samples"]
    text += ["ANN"] if first.framework == ANN else []
    text += [f"NeuNorm {first.neunorm}"] if first.neunorm != "off" else []
    text.append(f"{first.stages} epochs")
    lost = [f"{e.scale}, T = {e.T}, seed {seed}" for e in group for seed in e.lost]
    nothing = f" Learnt nothing, and not in a mean: {'; '.join(lost)}." if lost else ""
    return f"{', '.join(text)}.{nothing}"


def _neunorm(frames: Frames) -> Captioned:
    """Fig. 6: votes without and with NeuNorm in one scale of colours."""
    voted = [
        (each, [*rows.values()], np.mean([row.votes for row in rows.values()], axis=0))
        for each in trainings.lines(frames, "neunorm")
        if (rows := trainings.votes(frames, each))
    ]
    most = max((float(matrix.max()) for *_, matrix in voted), default=1.0)
    for each, rows, matrix in voted:
        is_digits = each.substitute or each.dataset == "nmnist"
        labels = [*map(str, range(len(matrix)))] if is_digits else paper.CIFAR10_CLASSES
        samples, seeds = f"{rows[0].confusion_samples:,} samples", counted(len(rows), "seed")
        caption = f"{shown.data_title(each)}, NeuNorm {each.neunorm}: votes on {samples}, {seeds}"
        yield caption, figures.votes(matrix.tolist(), labels, most)


def _ablations(frames: Frames) -> Captioned:
    """Yield what changes of a training cost."""
    groups: dict[str, list[Dot]] = {}
    for each in trainings.ablated(frames):
        if each.change != AS_IT_IS and each.gains:
            seeds = tuple(100 * value for value in each.gains)
            value, low, high, _ = trainings.mean(seeds)
            lost = bool(each.trained.lost)
            dot = Dot(each.change, value, low, high, f"{value:+.1f}", hollow=lost, seeds=seeds)
            groups.setdefault(shown.data_title(each.trained), []).append(dot)
    if groups:
        caption = "Accuracy minus that without the change; hollow: a seed learnt nothing"
        bounds = {0.0: "without the change"}
        yield caption, figures.dots(groups, "points of test accuracy", bounds=bounds)


def _recordings(frames: Frames) -> Iterator[str]:
    """Yield accuracy on recordings, by scale, of networks trained on simulated events."""
    for each in trainings.lines(frames, "scale", *ALIKE):
        rows = [row for row in rows_of(frames, TransferRow, each) if row.seed not in each.lost]
        if rows and each.scale in paper.SCALES:
            accuracy = 100 * fmean(row.test_accuracy for row in rows)
            samples = span((row.recorded_samples for row in rows), ",")
            of = f"{samples} recordings, {counted(len(rows), 'seed')}"
            yield f"{shown.data_title(each)} {each.scale}: {accuracy:.1f} % of {of}"


# Tables


def _proofs(frames: Frames) -> Table:
    """Return what was proved of whom; a csv has other forms too."""
    found = stored.proofs(frames)
    if len(found):
        found = found.loc[~found["contender"].str.contains(":")]
        found = found.drop(columns="gradient_error_bf16")
    return Table(found, "Proofs of each contender over all networks and machines")


def _few(found: Frame, title: str) -> Table:
    """Return the first lines of a table of reasons, each reason in short."""
    reasons = [figures.short(each, 160) for each in found["reason"]]
    return Table(found.assign(reason=reasons).head(MOST), title)


def _data(frames: Frames) -> Table:
    names = ["dataset", "data_source", "data_samples", "data_sha256"]
    found: Frame = stored.data(frames).drop_duplicates(names[:2])  # a csv has all
    return Table(found.assign(data_sha256=found["data_sha256"].str[:12])[names], "Data")
