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
from typing import Literal, get_args

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from harness.analysis import claims, compare, tables, timings, trainings
from harness.analysis.claims import Claim, Effect, Finding, Range
from harness.analysis.frame import Frame, Frames, frames, grouped, machines
from harness.analysis.timings import FEWEST_RANKED, TimedLine
from harness.analysis.trainings import ALIKE, TrainingLine, rows_of, same_but
from harness.analysis.words import TITLES, counted, data_name, data_source, span, steps_in_words
from harness.records import EpochRow, IterationRow, Row, TestedRow, TransferRow
from harness.reports import figures, shown, stored
from harness.reports.figures import Dot
from harness.reports.table import Table, csv, field_markdown, interval, markdown, text
from harness.spec import ANN, FLOOR, REFERENCE, UsageError, paper, schedule
from harness.suites.trainings import AS_IT_IS
from harness.system.files import write_result

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
OURS = "fused"  # this project's own engine
ACCURACY = "test accuracy, %"
NOT_TESTED: claims.Answer = "not tested"
OWN = {"ours": "", "ours bf16": "in bf16 "}  # what of ours the first sentence names
NO_FORM = "No tuned form was timed"
UNITS = {"points": "points of accuracy", "accuracy": "accuracy, %", "share": "% taken away"}
TRAINED = ("scale", "timesteps", "neunorm", "accuracy", "ablations")
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
    others = (stored.machines, stored.data, stored.failures, stored.proofs)
    built |= {"claims": claims.table(judged), **{each.__name__: each(found) for each in others}}
    built = {name: table for name, table in built.items() if len(table)}
    files = {name: f"{'table' * name.isdigit()}{name}.csv" for name in built}
    texts = {out / "report.html": page(found, judged, built, files)}
    if compared := headline(timings.lines(found)):
        texts[out / "picture.svg"] = picture(compared)
    if readme is not None:
        try:
            before = readme.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot read {readme} ({error.strerror or error})") from error
        texts[readme] = updated(before, block(found, judged), readme)
    for name, table in built.items():
        texts[out / "tables" / files[name]] = csv(tables.plain(table), DIGITS)
    for path, content in texts.items():
        # of a row's escapes and of names of files, some are no text
        write_result(path, content.encode("utf-8", errors="backslashreplace"))
    return [*texts]


def page(
    frames: Frames,
    judged: Sequence[Finding],
    built: Mapping[str, Frame],
    files: Mapping[str, str],
) -> str:
    """Return the whole page as one HTML file that needs no network; `built` are the tables."""
    lines, days = timings.lines(frames), sorted({row.time[:10] for row in frames.rows})
    found, refused = headline(lines), stored.refused(frames)
    drawn = {
        "speed": [*speed(found), *_versions(frames)],
        "scale": _curves(frames, trainings.by_scale(frames), "scale"),
        "timesteps": _curves(frames, trainings.compared(frames, "timesteps", "T"), "T"),
        "width": _by_width(frames),
        "neunorm": _neunorm(frames),
        "tables": _by_epoch(frames),
        "ablations": _ablations(frames),
    }
    parts = {
        "speed": [speed_table(found)] if found else [],
        "claims": [claims_table(judged)],
        "proofs": [_proofs(frames)],
        "refused": [_few(refused, "Exams and audits that failed")],
        "tables": [_of_paper(built[n], n) for n in ("3", "4", "5", "6") if n in built],
        **{n: shown.trained(built[n]) for n in ("neunorm", "ablations") if n in built},
        "reduced": [_reduced(built)],
        "provenance": [
            Table(stored.places(frames), "Machines"),
            _data(frames),
            Table([{"row": note} for note in frames.notes], "Rows that do not count, or are mixed"),
        ],
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
        notes=list(notes(found, lines, refused)),
        refused=len(refused),
        few=FEWEST_RANKED,
        claims=answered(judged),
        untested=[each for each in judged if each.answer == NOT_TESTED],
        also=[*_best(frames), *_recordings(frames), *_also(frames)],
        figures={
            part: [(caption, figures.svg(figure, caption)) for caption, figure in of]
            for part, of in drawn.items()
        },
        tables={part: [each for each in of if each.lines] for part, of in parts.items()},
        count=counted(len(frames.rows), "row"),
        machines=counted(len({*frames.machines}), "machine"),
        days=" to ".join(dict.fromkeys(days[:1] + days[-1:])),
        csv=files,
    )


def _code(value: str) -> Markup:
    """Return a text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))


# Who is fastest and how sure that is. Only figures of one machine are compared, and of each network
# those of one run.


def _cells(lines: Iterable[TimedLine]) -> list[TimedLine]:
    """Return what was timed of Fig. 3's cells; Matlab's figure is another."""
    timed = [each for each in lines if not isnan(each.ratio_to_floor)]
    return [each for each in timed if each.in_figure_3 and each.framework != claims.OCTAVE]


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


def headline(lines: Sequence[TimedLine], machine: str = "") -> list[TimedLine]:
    """Return the lines of Fig. 3's cells that are compared: of each cell those of one run.

    On a machine, by default the one with most contenders; the run with most contenders, of these
    the last; proved contenders and the floor.
    """
    timed, run = _cells(lines), attrgetter("dataset", "scale", "run")
    machine = machine or next(iter(machines(each.machine for each in timed)), "")
    here = [each for each in timed if each.machine == machine]
    found = [each for each in here if each.framework == FLOOR or each.standing != "none"]
    runs = sorted(grouped(found, run).values(), key=len)  # of a network the run to show comes last
    best = {run(of[0])[:2]: run(of[0]) for of in runs}
    return [each for each in found if run(each) in best.values()]


def _ranked(found: Sequence[TimedLine]) -> list[TimedLine]:
    """Return the lines of networks that have ranks."""
    ranked = {network(each) for each in found if each.precision == "fp32" and each.rank}
    return [each for each in found if network(each) in ranked]


_ratio = attrgetter("ratio_to_floor")


def _ratios(found: Sequence[TimedLine]) -> str:
    """Return the range of ratios to the floor."""
    return span(map(_ratio, found), ".2f")


def _fastest(found: Sequence[TimedLine], kind: str) -> dict[str, TimedLine]:
    """Return the fastest line of that kind for each network."""
    of_kind = grouped((each for each in found if _kind(each) == kind), network)
    return {name: min(of, key=_ratio) for name, of in of_kind.items()}


def _titles(found: Sequence[TimedLine]) -> dict[str, str]:
    """Return the frameworks that were timed as they come, in a fixed order, with their titles."""
    there = {each.framework for each in found if _kind(each) == "plain"}
    return {name: TITLES.get(name, name) for name in (*TITLES, *sorted(there)) if name in there}


def _listed(names: Iterable[str]) -> str:
    *front, last = names
    return f"{', '.join(front)} and {last}" if front else last


def sentence(lines: Sequence[TimedLine]) -> str:
    """Return the answer for a reader who chooses a framework; "" where none is ranked.

    The cost of each, how much they differ, the fastest, the best tuned form, and then ours.
    """
    found = _ranked(headline(lines))
    plain = [each for each in found if _kind(each) == "plain"]
    if not plain:
        return ""
    names = _titles(found)
    text = (
        f"As they come, {_listed(names.values())} take {_ratios(plain)} times the bare "
        "convolutions for a training step in float32"
    )
    together = [cell for cell in grouped(plain, network).values() if len(cell) > 1]
    if together:
        times = (max(map(_ratio, cell)) / min(map(_ratio, cell)) for cell in together)
        on, leads = Counter[str](), Counter[str]()
        for cell in together:
            best = min(cell, key=_ratio)
            on.update(each.framework for each in cell)
            leads.update(each.framework for each in cell if each.ratio_low <= best.ratio_high)
        level = _listed(f"{names[name]} on {n} of {on[name]}" for name, n in leads.most_common())
        text += (
            f", over {counted(len(together), 'network')}; on one and the same the slowest takes "
            f"{span(times, '.1f')} times as long as the fastest. "
            f"The fastest, or level with it by the intervals: {level}"
        )
    tuned = grouped(_fastest(found, "tuned").values(), lambda each: each.name)
    of = [f"`{name}`, {_ratios(of)} ({', '.join(map(network, of))})" for name, of in tuned.items()]
    parts = [text]
    parts.append(f"Of their tuned forms the fastest is {_listed(of)}" if of else NO_FORM)
    fastest = {text: [*_fastest(found, kind).values()] for kind, text in OWN.items()}
    ours = [f"{text}{_ratios(of)}" for text, of in fastest.items() if of]
    parts += [f"Our own engine, `{OURS}`: {'; '.join(ours)}"] if ours else []
    parts.append(f"All on one machine ({found[0].machine})")
    parts += ["No GPU was timed"] if all(each.device == "cpu" for each in lines) else []
    return f"{'. '.join(parts)}."


def by_framework(
    found: Sequence[TimedLine], figure: Callable[[TimedLine], str]
) -> list[dict[str, str]]:
    """Return the first table, a network a line; `figure` shows a line's ratio to the floor.

    Each framework as it comes, the best tuned form of any of them, and last, separately, ours.
    """
    names, lines = _titles(found), []
    tuned, ours = _fastest(found, "tuned"), _fastest(found, "ours")
    for name, cell in grouped(found, network).items():
        of = {each.framework: each for each in cell if _kind(each) == "plain"}
        line = {"network": name}
        line |= {title: figure(of[each]) if each in of else "" for each, title in names.items()}
        if tuned:
            best = tuned.get(name)
            line["best tuned"] = f"{figure(best)} {best.name}" if best else ""
        if ours:
            line[f"{OURS} (ours)"] = figure(ours[name]) if name in ours else ""
        lines.append(line)
    return lines


def _value(line: TimedLine) -> str:
    return f"{line.ratio_to_floor:.2f}" + (" *" if line.rounds < FEWEST_RANKED else "")


def _with_interval(line: TimedLine) -> str:
    shown = interval(line.ratio_to_floor, line.ratio_low, line.ratio_high, ".2f")
    return shown + (" *" if line.rounds < FEWEST_RANKED else "")


def speed_table(found: Sequence[TimedLine]) -> Table:
    """Return the first table with intervals, and each network's rounds and floor."""
    lines, cells = [], grouped(found, network)
    for line, (name, cell) in zip(by_framework(found, _with_interval), cells.items(), strict=True):
        least = min(each.rounds for each in cell)
        front = {"network": name, "n": str(least), "floor, ms": "", "A/A": ""}
        for floor in [each for each in cell if _kind(each) == "floor"][:1]:
            front["floor, ms"] = f"{1000 * floor.seconds_per_iteration:,.0f}"
            if floor.noise_high < inf:
                front["A/A"] = f"{floor.noise_low:.2f} to {floor.noise_high:.2f}"
        lines.append({**front, **line})
    return Table(lines, f"{X_FLOOR} [95 %], {found[0].machine}")


def notes(found: Sequence[TimedLine], lines: Sequence[TimedLine], refused: Frame) -> Iterator[str]:
    """Yield the notes on the table; none where it is empty."""
    if not found:
        return
    first, rounds = found[0], [each.rounds for each in found]
    compared = [each for each in found if _kind(each) in ("plain", "tuned", "ours")]
    reaches = [e.ratio_high / e.ratio_to_floor - 1 for e in compared if e.ratio_high < inf]
    within = f", 95 % intervals within {100 * max(reaches):.0f} %" if reaches else ""
    yield (
        "x floor: the time of a training step divided by that of the network's convolutions and "
        f"products alone (the floor, in float32), batch {first.batch_size}, T = {first.T}; "
        f"geometric mean over {span(rounds)} rounds{within}, each network's in one run, timing "
        f"protocol {first.protocol}, torch {first.torch}. Every contender was proved equal to the "
        f"paper's equations. `{REFERENCE}` is plain PyTorch."
    )
    tuned = {each.framework for each in found if _kind(each) == "tuned"}
    if tuned and REFERENCE not in tuned:
        yield "Plain PyTorch was not timed in a tuned form."
    yield from _by_cell(found, compared, lines)
    if min(rounds) < FEWEST_RANKED:
        yield f"* fewer than {FEWEST_RANKED} rounds: preliminary."
    # proved and timed on a network, but not in the run that is shown
    cells, there = _cells(lines), {(network(each), each.name) for each in found}
    here = [e for e in cells if e.machine == first.machine and e.precision == "fp32"]
    others = (e for e in here if e.standing != "none" and (network(e), e.name) not in there)
    if absent := grouped(others, lambda each: each.name):
        on = {name: ", ".join(dict.fromkeys(map(network, of))) for name, of in absent.items()}
        names = "; ".join(f"{name} ({networks})" for name, networks in on.items())
        yield f"Timed only in other runs, so not compared here: {names}."
    failed = refused.loc[refused["network"].isin([network(each) for each in found])]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    for name, of in failed.groupby("contender", sort=False):
        yield f"{name} failed a proof in some run of {', '.join(of['network'].unique())}."
    if data := "; ".join(_sources(found)):
        yield f"Data: {data}."
    elsewhere = []
    for other in dict.fromkeys(each.machine for each in cells if each.machine != first.machine):
        of_kind = grouped(_ranked(headline(lines, other)), _kind)
        kinds = {"plain": "as they come", "tuned": "tuned", "ours": f"`{OURS}`"}
        texts = [f"{kinds[kind]} {_ratios(of_kind[kind])}" for kind in kinds if kind in of_kind]
        elsewhere += [f"{other}: {', '.join(texts)}"] if texts else []
    if elsewhere:
        yield f"Other machines. {'. '.join(elsewhere)}."


def _by_cell(
    found: Sequence[TimedLine], compared: Sequence[TimedLine], lines: Sequence[TimedLine]
) -> Iterator[str]:
    """Yield why a network has no ranks, and why cells of its line are empty."""
    titles, networks = _titles(found), grouped(compared, network)
    for name, of in networks.items():
        if not any(each.rank for each in of):
            lacking = sorted(set.intersection(*(set(each.lacks) for each in of)))
            yield f"Nobody is ranked on {name}: {'; '.join(lacking)}."
        absent = titles.keys() - {each.framework for each in of if _kind(each) == "plain"}
        for each in lines:
            its_run = each.run == of[0].run and network(each) == name and _kind(each) == "plain"
            if its_run and each.framework in absent:
                yield f"{titles[each.framework]} on {name}: {figures.short(each.reason, 160)}."
    if 0 < len(_fastest(found, "tuned")) < len(networks):
        yield "Where the best tuned form is missing, none was proved and timed."


def _sources(found: Iterable[TimedLine]) -> list[str]:
    return list(dict.fromkeys(each.data_source for each in found if each.data_source))


# README


def block(frames: Frames, judged: Sequence[Finding]) -> str:
    """README's: a sentence, the table of speed with its notes, and the claims."""
    lines, parts = timings.lines(frames), list[str]()
    found = headline(lines)
    if found:
        refused = stored.refused(frames)
        parts += [_escaped(text)] if (text := sentence(lines)) else []
        parts.append(markdown(Table(by_framework(found, _value))).strip())
        parts.append(" ".join(map(_escaped, notes(found, lines, refused))))
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


def picture(found: Sequence[TimedLine]) -> str:
    """Draw README's picture: for each data set, the network with most contenders."""
    cells = grouped(found, network).values()
    chosen = [max(of, key=len) for of in grouped(cells, lambda cell: cell[0].dataset).values()]
    lines = [line for cell in chosen for line in cell]
    made_on = f"{found[0].machine}, protocol {found[0].protocol}"
    parts = [PICTURE, KEY, "; ".join(_sources(lines)), made_on]
    if others := len(cells) - len(chosen):
        parts.append(f"The report has {counted(others, 'other network')} too.")
    below = [line for part in parts for line in wrap(part, 70)]
    groups = _by_network(lines, network, TO_FLOOR, ".2f")
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


def speed(found: Sequence[TimedLine]) -> Captioned:
    """Fig. 3: the time and the memory of each contender, a figure for each data set."""
    measured = [each for each in found if each.peak_memory_mib > 0]
    above = "MiB above the process before it was built"
    for what, lines, ends, form, title, bounds in (
        ("Time of a training step", found, TO_FLOOR, ".2f", X_FLOOR, {1.0: "floor"}),
        ("Peak memory of a step", measured, lambda e: (e.peak_memory_mib,), ",.0f", above, {}),
    ):
        for dataset, of in grouped(lines, lambda each: each.dataset).items():
            groups = _by_network(of, attrgetter("scale"), ends, form)
            if any(groups.values()):
                drawn = figures.dots(groups, title, log=True, bounds=bounds)
                yield f"{what}: {'; '.join(_sources(of)) or dataset}", drawn


def _versions(frames: Frames) -> Captioned:
    """Draw each version of a framework against the installed one, over the rounds of both."""
    names = {row.framework for row in frames.rows if isinstance(row, IterationRow)}
    for framework in sorted(names):
        groups: dict[str, list[Dot]] = {}
        for name in sorted(each for each in names if each.startswith(f"{framework}@")):
            for each in compare.within_run(frames, name, framework):
                value, low, high = 1 + each.change, 1 + each.low, 1 + each.high
                dot = Dot(name, value, low, high, f"{value:.2f}", hollow=isnan(low))
                groups.setdefault(each.where, []).append(dot)
        if groups:
            title = f"x the time of the installed {framework}"
            yield (
                f"Versions of {framework}, in the same rounds: {', '.join(groups)}",
                figures.dots(groups, title, bounds={1.0: "installed"}),
            )


def _by_network(
    of: Sequence[TimedLine], name: Callable[[TimedLine], str], ends: Ends, form: str
) -> dict[str, list[Dot]]:
    """Return a line for each contender on each network, the least first and ours last.

    Of a framework's tuned forms only the best.
    """
    timed = [each for each in of if each.framework != FLOOR]
    names = sorted({each.framework for each in timed})
    groups: dict[str, list[Dot]] = {}
    for title, cell in grouped(timed, name).items():
        tuned = grouped((e for e in cell if _kind(e) == "tuned"), lambda each: each.framework)
        best = {min(forms, key=_ratio).name for forms in tuned.values()}
        kept = [e for e in cell if _kind(e) not in ("tuned", "rival bf16") or e.name in best]
        kept.sort(key=lambda each: (each.framework == OURS, ends(each)[0]))
        groups[title] = [
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
    return groups


def _curves(frames: Frames, found: Sequence[TrainingLine], by: Literal["scale", "T"]) -> Captioned:
    """Draw accuracy by scale (Fig. 4) or T (Fig. 5), of the seeds that learnt.

    Dotted: networks that were trained over one T and tested over others.
    """
    same = same_but("T") if by == "T" else same_but("scale", "network")
    groups = [*grouped(found, same).values()]
    for group in [of for of in groups if len(of) > 1] or groups:
        curve = {str(each.T if by == "T" else each.scale): _point(each) for each in group}
        tested = [_tested(frames, each) for each in group] if by == "T" else []
        dotted = [of for of in tested if len(of) > 1]
        names = sorted({*curve}.union(*dotted), key=lambda n: (paper.paper_order("", n), len(n), n))
        titles = ("T, time steps" if by == "T" else "", ACCURACY)
        drawn = figures.curves(curve, titles, names, dotted)
        yield f"Accuracy by {by}: {_caption(group)}", drawn


def _tested(frames: Frames, line: TrainingLine) -> dict[str, float]:
    """Return accuracy over the numbers of steps that networks were tested at, in percent."""
    rows = [row for row in rows_of(frames, TestedRow, line) if row.seed not in line.lost]
    by_steps = grouped(sorted(rows, key=lambda row: row.tested_T), lambda row: str(row.tested_T))
    return {T: 100 * fmean(row.test_accuracy for row in of) for T, of in by_steps.items()}


def _by_width(frames: Frames) -> Captioned:
    """Accuracy by width, of the seeds that learnt; stars: the paper's own figures, at width 1."""
    found = trainings.lines(frames, "accuracy", *ALIKE)
    for of in grouped(found, same_but("width", "network", "dropout")).values():
        group = sorted(of, key=lambda each: (each.case.width, each.dropout))
        if len({each.width for each in group}) > 1:
            curve = {_width(each): _point(each) for each in group}
            rows = tables.published()
            published = [row.percent for row in rows if tables.measures(row, group[0])]
            stars = dict(zip(["the paper's"], published, strict=False))
            names = [*curve, *stars]
            drawn = figures.curves(curve, ("width", ACCURACY), names, published=stars)
            yield f"Accuracy by width: {group[0].scale}, {_caption(group)}", drawn


def _width(each: TrainingLine) -> str:
    return f"{each.width}, dropout {each.dropout:g}" if each.dropout else each.width


def _point(each: TrainingLine) -> Dot:
    """Return mean and interval of the seeds that learnt, and each of them, in percent."""
    learnt = [a for seed, a in each.accuracies.items() if seed not in each.lost]
    value, low, high, *seeds = (100 * a for a in (*trainings.share(learnt)[:3], *learnt))
    return Dot("", value, low, high, seeds=tuple(seeds))


def _caption(group: Sequence[TrainingLine]) -> str:
    """Return what trainings of a figure share, and the seeds that learnt nothing."""
    first = group[0]
    text = [shown.data_title(first), f"{first.train_samples:,} samples"]
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
        photographs = each.dataset in ("cifar10", "dvs-cifar10") and not each.substitute
        named = photographs and len(matrix) == len(paper.CIFAR10_CLASSES)
        labels = paper.CIFAR10_CLASSES if named else [str(n) for n in range(len(matrix))]
        samples, seeds = f"{rows[0].confusion_samples:,} samples", counted(len(rows), "seed")
        caption = f"{shown.data_title(each)}, NeuNorm {each.neunorm}: votes on {samples}, {seeds}"
        yield caption, figures.votes(matrix.tolist(), labels, most)


def _by_epoch(frames: Frames) -> Captioned:
    """Yield the curves of networks of one structure.

    The ANN and those with spikes, with and without NeuNorm.
    """
    structure = attrgetter("dataset", "network", "width", "train_samples", "data_source")
    for of in grouped(trainings.lines(frames, "accuracy"), structure).values():
        found: dict[str, list[figures.SeedCurve]] = {}
        for each in of if len(of) > 1 else ():
            name = f"{steps_in_words(each.case)}, NeuNorm {each.neunorm}"
            rows = sorted(rows_of(frames, EpochRow, each), key=lambda row: (row.seed, row.epoch))
            found.setdefault("ANN" if each.framework == ANN else name, []).extend(
                ([100 * row.validation_accuracy for row in its], [r.learning_rate for r in its])
                for its in grouped(rows, lambda row: row.seed).values()
            )
        if any(len(values) > 1 for curves in found.values() for values, _ in curves):
            first = of[0]
            title = f"{shown.data_title(first)}, {first.scale} at width {first.width}"
            caption = f"{title}: held-out accuracy by epoch, a line a seed, and the learning rate"
            yield caption, figures.epochs(found, "held-out accuracy, %")


def _gains(frames: Frames) -> Iterator[tuple[TrainingLine, Dot]]:
    for each in trainings.ablated(frames):
        if each.change != AS_IT_IS and each.gains:
            seeds = tuple(100 * value for value in each.gains)
            ends, lost = trainings.mean(seeds)[:3], bool(each.trained.lost)
            dot = Dot(each.change, *ends, f"{ends[0]:+.1f}", seeds=seeds, hollow=lost)
            yield each.trained, dot


def _ablations(frames: Frames) -> Captioned:
    """Yield what changes of a training cost."""
    gains = grouped(_gains(frames), lambda pair: shown.data_title(pair[0]))
    groups = {name: [dot for _, dot in of] for name, of in gains.items()}
    if groups:
        caption = "Accuracy minus that without the change; hollow: a seed learnt nothing"
        bounds = {0.0: "without the change"}
        yield caption, figures.dots(groups, "points of test accuracy", bounds=bounds)


def _best(frames: Frames) -> Iterator[str]:
    """Yield the spiking network that ended best on each data set, and the one without spikes."""
    found = trainings.lines(frames, "accuracy", *ALIKE)
    alike = attrgetter("network", "width", "epochs", *trainings.DATA)
    anns = {alike(each): each for each in reversed(found) if each.framework == ANN}
    spiking = (each for each in found if each.framework != ANN)
    for title, of in grouped(spiking, shown.data_title).items():
        each = max(of, key=lambda line: line.accuracy)
        text = f"The best spiking network on {title}: {each.scale} at "
        text += f"width {each.width}, {steps_in_words(each.case)}, NeuNorm {each.neunorm}: "
        text += f"{100 * each.accuracy:.1f} % of the test samples"
        if went := [curve.train_accuracy for curve in each.curves.values()]:
            text += f", {100 * fmean(went):.1f} % of the training ones"
        early = "" if schedule.decides(each.case) else "; another schedule"
        text += f" ({counted(each.n, 'seed')}{early})"
        if ann := anns.get(alike(each)):
            text += f"; its ANN {100 * ann.accuracy:.1f} % ({counted(ann.n, 'seed')})"
        yield f"{text}."


def _recordings(frames: Frames) -> Iterator[str]:
    """Yield accuracy on recordings, by scale, of networks trained on simulated events."""
    simulated = (each for each in trainings.lines(frames, "scale", *ALIKE) if each.simulated)
    found = [each for each in simulated if each.scale in paper.SCALES]  # of others several differ
    for dataset, of in grouped(found, lambda each: each.dataset).items():
        parts, samples = list[str](), set[int]()
        for each in of:
            rows = rows_of(frames, TransferRow, each)
            if learnt := [row for row in rows if row.seed not in each.lost]:
                samples |= {row.recorded_samples for row in learnt}
                accuracy = 100 * fmean(row.test_accuracy for row in learnt)
                of_seeds = counted(len(learnt), "seed")
                of_seeds += f"; {len(each.lost)} learnt nothing" if each.lost else ""
                parts.append(f"{each.scale} {accuracy:.1f} % ({of_seeds})")
        if len(parts) > 1:
            count = " or ".join(f"{n:,}" for n in sorted(samples))
            yield (
                f"{paper.settings(dataset).title}: on {count} recordings, after training on "
                f"simulated events: {', '.join(parts)}."
            )


def _also(frames: Frames) -> Iterator[str]:
    """Yield findings outside the claims: changes of a training whose whole interval matters."""
    for line, dot in sorted(_gains(frames), key=lambda pair: -pair[1].value):
        lost = f"{counted(len(line.lost), 'seed')} of {len(line.accuracies)}"
        of = f"{shown.data_title(line)} {line.scale}"
        if len(line.lost) == len(line.accuracies):
            yield f"{dot.label}: nothing is learnt ({lost}, {of})."
        elif dot.low > 1 or dot.high < -1:
            gain = interval(dot.value, dot.low, dot.high, "+.1f")
            dead = f"; {lost} learnt nothing" if line.lost else ""
            early = "" if schedule.decides(line.case) else "; another schedule"
            yield f"{dot.label}: {gain} points of test accuracy on {of}{dead}{early}."


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


def _of_paper(built: Frame, number: str) -> Table:
    """Table 3, 4, 5 or 6 in the paper's own columns, and ours."""
    title = paper.settings(built["dataset"].iloc[0]).title
    return shown.of_paper(built, f"Table {number}: {title}")


def _reduced(built: Mapping[str, Frame]) -> Table:
    """Return how far our trainings fall short of the paper's."""
    frames = [built[name].assign(suite=name) for name in TRAINED if name in built]
    lines, every = [], pd.concat(frames) if frames else pd.DataFrame(columns=["dataset", "suite"])
    for _, of in every.groupby(["dataset", "suite"], sort=False):
        settings = paper.settings(str(of["dataset"].iloc[0]))
        data = "; ".join(dict.fromkeys(map(data_source, of.to_dict("records"))))
        names = ("width", "train_samples", "epochs", "T", "precision")
        line = {"data set": settings.title, "suite": of["suite"].iloc[0], "data": data}
        line |= {name: ", ".join(map(text, sorted({*of[name]}))) for name in names}
        lines.append({**line, "the paper's epochs": str(settings.epochs)})
    return Table(lines, "Trainings of ours, and the paper's")


def _data(frames: Frames) -> Table:
    names = ["dataset", "data_source", "data_samples", "data_sha256"]
    found: Frame = stored.data(frames).drop_duplicates(names[:2])  # a csv has all
    return Table(found.assign(data_sha256=found["data_sha256"].str[:12])[names], "Data")
