"""The report: one page, the whole tables as csv files, README's block and picture.

Their prose is in templates. This module makes the figures and tables that stand in it, each a part
by name; a part without rows is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan
from operator import attrgetter
from os.path import relpath
from pathlib import Path
from statistics import fmean

import numpy as np
from markupsafe import Markup

from harness.analysis import claims, figure_claims, tables, timings, trainings
from harness.analysis.ablations import ablated
from harness.analysis.claims import Claim, Effect, Finding, Range
from harness.analysis.frame import Frame, Frames, frames, grouped, machines
from harness.analysis.tables import PublishedRow
from harness.analysis.trainings import ALIKE, Column, TrainingLine, as_fixed, rows_of, same_but
from harness.analysis.words import contender_title, counted, span
from harness.machine.files import write_result
from harness.records import Row, TestedResult, TransferResult
from harness.reports import fastest, figures, prose, shown, stored
from harness.reports.figures import Captioned, Curve, Dot
from harness.reports.table import Table, csv, interval
from harness.spec import ANN, MASKED_ANN, UsageError, paper
from harness.statistics import mean, mean_share
from harness.suites.trainings import AS_IT_IS

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
NOT_TESTED: claims.Answer = "not tested"
CONTRADICTED: claims.Answer = "contradicted"
SIGNS: Mapping[claims.Answer, str] = {  # for readers who see no colours
    "reproduced": "✓",
    "contradicted": "✗",
    "same direction, smaller": "≈",
    "open": "○",
    "cannot be decided here": "–",
    NOT_TESTED: "·",
}
MEANINGS: Mapping[claims.Answer, str] = {  # of answers that do not explain themselves
    "open": "Open: the runs so far do not decide it.",
    "cannot be decided here": "Cannot be decided here: nor would as many more as are feasible.",
}
UNITS = {"points": "points of accuracy", "share": "% taken away"}
OF_PAPER = {"3": "Table 3: N-MNIST", "4": "Table 4: DVS-CIFAR10", "5": "Table 5: CIFAR-10"}
OF_PAPER |= {"6": "Table 6: CIFAR-10"}
MOST = 15  # lines of a table of reasons; a csv has all
DIGITS = 10  # of numbers in the csv files: the last ones differ from processor to processor


def write(rows: Frames | Sequence[Row], out: Path, readme: Path | None = None) -> list[Path]:
    """Write OUT/report.html, OUT/tables/*.csv and, with timings, OUT/picture.svg; return the files.

    Each file is whole or not there. With `readme`, renew what stands between its marks. Raises
    UsageError where a file cannot be written, and for a README that is no text or has no marks.
    """
    every = frames(rows)
    judged, suites = claims.findings(every), {row.suite for row in every.rows}
    built = {
        name: build(every)
        for name, build in tables.FULL.items()
        if suites & set(tables.suites_of(name))
    }
    built |= {"claims": claims.table(judged)}
    built |= {name: build(every) for name, build in stored.TABLES.items()}
    built = {name: table for name, table in built.items() if len(table)}
    texts = {out / "report.html": page(every, judged, built)}
    cells = fastest.headline(timings.lines(every))
    if drawn := fastest.picture(cells):
        caption, figure = drawn
        texts[out / "picture.svg"] = figures.svg_file(figure, caption)
    if readme is not None:
        if not cells:
            raise UsageError(
                f"{out} has no timing of Table 1's networks, at full width with T = 10, for "
                f"{readme}'s table: leave --readme out, or name another folder"
            )
        address = relpath(out / "picture.svg", readme.parent) if drawn else ""
        texts[readme] = updated(_read(readme), block(every, judged, address), readme)
    for name, table in built.items():
        whole = tables.csv_columns(table) if name in tables.FULL else table
        texts[out / "tables" / _file(name)] = csv(whole, DIGITS)
    for path, content in texts.items():
        # of a row's escapes and of names of files, some are no text
        write_result(path, content.encode("utf-8", errors="backslashreplace"))
    return [*texts]


def _file(name: str) -> str:
    return f"table{name}.csv" if name.isdigit() else f"{name}.csv"


def page(frames: Frames, judged: Sequence[Finding], built: Mapping[str, Frame]) -> str:
    """Return the whole page as one HTML file that needs no network; `built` are the tables."""
    lines, refused = timings.lines(frames), stored.refused(frames)
    cells = fastest.headline(lines)
    drawn = {
        "picture": [first] if (first := fastest.picture(cells)) else [],
        "versions": [*fastest.versions(frames)],
        "layer": [*fastest.layers(tables.timed("layer", frames))],
        "scale": _curves(frames, trainings.by_scale(frames), "scale", "network"),
        "timesteps": _curves(frames, trainings.compared(frames, "timesteps", "T"), "T"),
        "width": _widths(frames),
        "rate": _rates(frames),
        "neunorm": _neunorm(frames),
        "ablations": _ablations(frames),
    }
    notes_on_rows = Table(
        [{"row": note} for note in frames.notes], "Rows that do not count, or are mixed"
    )
    first_machine = [cell.lines[0].machine for cell in cells[:1]]  # of the first table
    others = machines(line.machine for line in lines)
    machines_of_speed = [
        (machine, cells_there)
        for machine in dict.fromkeys([*first_machine, *others])
        if (cells_there := fastest.headline(lines, machine))
    ]
    parts = {
        "speed": [fastest.table(cells, fastest.ratio_with_interval)],
        "claims": [table_by_claim(judged), claims_table(judged)],
        "proofs": [_proofs(frames)],
        "refused": [_few(refused, "Exams and audits that failed")],
        "tables": [shown.of_paper(built[n], title) for n, title in OF_PAPER.items() if n in built],
        **{n: shown.trained(built[n]) for n in ("neunorm", "ablations") if n in built},
        "provenance": [Table(stored.places(frames), "Machines"), _data(frames), notes_on_rows],
        "failures": [_few(stored.failures(frames), "What failed")],
    }
    templates = prose.environment(is_html=True)
    templates.filters |= {"look": _look, "classes": _classes}
    return templates.get_template("page.html.j2").render(
        summary=fastest.summary(lines),
        conditions=fastest.conditions(cells, lines, refused),
        verdict=verdict(judged),
        speeds=[
            (machine, fastest.table(at, fastest.ratio_with_interval), _drawn(fastest.charts(at)))
            for machine, at in machines_of_speed
        ],
        refused=len(refused),
        claims=answered(judged),
        untested=[finding for finding in judged if finding.answer == NOT_TESTED],
        recordings=[*_recordings(frames)],
        figures={part: _drawn(captioned) for part, captioned in drawn.items()},
        signs=SIGNS,
        tables={
            part: [table for table in of_part if table.lines] for part, of_part in parts.items()
        },
        count=counted(len(frames.rows), "row"),
        machines=counted(len({*frames.machines}), "machine"),
        days=span(row.time[:10] for row in frames.rows),
        csv={name: _file(name) for name in built},
    )


def _drawn(captioned: Captioned) -> list[tuple[str, Markup]]:
    return [(caption, figures.svg(figure, caption)) for caption, figure in captioned]


def _look(name: str) -> str:
    return re.sub("[ ,]+", "-", name)


def _classes(table: Table, line: int | None, column: int) -> Markup:
    """Return the attribute with a cell's classes: of a number, a long text, and its look."""
    kind = "n" if table.right[column] else "l" if table.long[column] else ""
    look = "" if line is None else _look(table.looks.get((line, column), ""))
    names = " ".join(filter(None, (kind, look)))
    return Markup(' class="{}"').format(names) if names else Markup()


# README


def block(frames: Frames, judged: Sequence[Finding], picture: str = "") -> str:
    """Return README's part as Markdown: three lines, the picture, the speed table, the claims.

    `picture` is the address of the picture; "" where there is none.
    """
    lines = timings.lines(frames)
    cells = fastest.headline(lines)
    template = prose.environment(is_html=False).get_template("readme.md.j2")
    text = template.render(
        summary=fastest.summary(lines),
        conditions=fastest.conditions(cells, lines, stored.refused(frames)),
        speeds=fastest.table(fastest.narrow(cells), fastest.ratio_text, lambda cell: {}),
        verdict=verdict(judged),
        claims=brief_claims(judged),
        picture=picture,
        alt=fastest.PICTURE,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


# The claims, by claim and by part


def _tested_parts(judged: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in judged if finding.answer != NOT_TESTED]


def verdict(judged: Sequence[Finding]) -> str:
    """Return in a sentence what of the paper holds, by claim; "" where nothing was tested."""
    is_any = any(not finding.is_ours for finding in _tested_parts(judged))
    return f"{claims.verdicts(judged).text}." if is_any else ""


def brief_claims(judged: Sequence[Finding]) -> list[Table]:
    """Return the tables of claims for README and terminals; [] where none was tested.

    What speaks against an answer is on the page.
    """
    brief = [replace(finding, doubts="") for finding in judged]
    return [table_by_claim(brief), claims_table(brief)] if verdict(judged) else []


def table_by_claim(judged: Sequence[Finding]) -> Table:
    """Return the paper's claims, each with its own answer, that of its least sure part.

    An answer names the width of the networks behind it, or whom their speed was compared with.
    """
    if not verdict(judged):
        return Table([])
    answers = claims.verdicts(judged).claims
    parts = grouped((f for f in judged if not f.is_ours), lambda part: part.claim.id)
    places = {name: dict.fromkeys(part.place for part in parts[name]) for name in answers}
    lines = [
        {
            "claim": name,
            "the paper says": parts[name][0].claim.claim,
            "answer": ", ".join(filter(None, (f"{SIGNS[answer]} {answer}", *places[name]))),
            "parts": "" if answer == NOT_TESTED else _counts(part.answer for part in parts[name]),
        }
        for name, answer in answers.items()
    ]
    answer_of = [*answers.values()]
    counts = ((sign, answer_of.count(answer), answer) for answer, sign in SIGNS.items())
    legend = ", ".join(f"{sign} {n} {answer}" for sign, n, answer in counts if n)
    legend = f"The paper's {len(answers)} claims, each as its least sure part: {legend}."
    legend += "".join(f" {MEANINGS[answer]}" for answer in MEANINGS if answer in answer_of)
    looks = {(n, "answer"): answer for n, answer in enumerate(answer_of)}
    return Table(lines, subtitle=legend, looks=looks, ids=[*answers])


def _counts(answers: Iterable[str]) -> str:
    """Return how many parts have which answer: "1 reproduced, 2 open"; one answer by its number."""
    counts = Counter(answers)
    texts = [f"{count} {answer}" for answer, count in counts.items()]
    return ", ".join(texts) if len(counts) > 1 else f"{counts.total()}"


def claims_table(judged: Sequence[Finding]) -> Table:
    """Return the tested parts of each claim: the paper's figure, ours, and the answer.

    An answer names its networks' width where it is not the most frequent one, and where it
    contradicts the paper. Checks of our own are notes below.
    """
    tested = _tested_parts(judged)
    parts = [part for part in tested if not part.is_ours]
    ours = [f"{part.title}: {part.figure}, {part.text}" for part in tested if part.is_ours]
    places = [part.place for part in parts if part.place and isinstance(part.evidence, Effect)]
    usual = max(places, key=places.count, default="")
    lines = [
        {
            "claim": part.claim.id,
            "part": part.title,
            "paper": part.published,
            "ours": part.figure,
            "answer": f"{SIGNS[part.answer]} "
            + (part.short if part.place == usual and part.answer != CONTRADICTED else part.text),
        }
        | ({"against it": part.doubts} if any(part.doubts for part in parts) else {})
        for part in parts
    ]
    text = [
        f"By part, {len(parts)}. Ours: mean [95 % interval] over n seeds; of speed, one network"
    ]
    text[0] += " or their range."
    text += [f"Trainings have {usual} where no other is named."] if usual else []
    effects = (part.evidence for part in tested if isinstance(part.evidence, Effect))
    data = fastest.sources(line for effect in effects for line in effect.groups)
    text += [f"Their data: {data}."] if data else []
    lacks = {part.brief: part.lacks for part in parts if part.brief}
    text += ["What an open answer lacks stands in brackets."] if lacks else []
    text += [f"({brief}): {why}." for brief, why in lacks.items()]
    looks = {(n, "answer"): part.answer for n, part in enumerate(parts)}
    notes = [f"Ours, which the paper does not claim: {'; '.join(ours)}."] if ours else []
    return Table(lines, subtitle=" ".join(text), notes=notes, looks=looks)


def answered(judged: Sequence[Finding]) -> list[tuple[Claim, list[Finding], Markup]]:
    """Return each claim that was tested, its tested parts, and their figure as SVG."""
    by_claim = grouped(_tested_parts(judged), lambda finding: finding.claim)
    return [(claim, parts, _of_claim(parts)) for claim, parts in by_claim.items()]


def _read(path: Path) -> str:
    """Return a file's text.

    Raises:
        UsageError: if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: name another") from error


def updated(readme: str, block: str, path: Path) -> str:
    """Return a README's text with `block` in place of what stands between the marks.

    Raises UsageError where the marks are missing.
    """
    front, begin, tail = readme.partition(BEGIN)
    _, end, back = tail.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{front}{BEGIN}\n{block}{END}{back}"


# Figures, each with its caption


def _of_claim(parts: Sequence[Finding]) -> Markup:
    """Draw the figures of a claim, one a unit: effects with seeds and bounds, or ranges."""
    groups: dict[str, list[Dot]] = {}
    effects = [part.evidence for part in parts if isinstance(part.evidence, Effect)]
    kinds = dict.fromkeys(effect.bound_text.split(":")[0] for effect in effects)
    title, bounds, log = f"tall bar: {', or '.join(kinds)}", {0.0: ""}, False
    for part in parts:
        match part.evidence:
            case Effect() as by:
                times, form = (1, "+.3f") if by.unit == "votes" else (100, "+.1f")
                value, low, high, _, bar = (times * number for number in by.numbers)
                seeds = tuple(times * value for value in by.seed_numbers)
                text, note = f"{value:{form}}", f"{part.figure}; {by.bound_text}"
                dot = Dot(part.title, value, low, high, text, seeds=seeds, bar=bar, note=note)
                groups.setdefault(UNITS.get(by.unit, by.unit), []).append(dot)
            case Range() as by:
                title = "times plain PyTorch's time, from the least to the most of the networks"
                bounds, log = {figure_claims.TENS: "tens of times"}, True
                dot = Dot(part.title, by.value, by.low, by.high, f"{by.value:,.3g}")
                groups.setdefault("", []).append(dot)
    ours, claim = "; ".join(part.figure for part in parts), parts[0].claim.claim
    drawn = {
        f"{claim}, {unit}: {ours}": figures.dots({unit: dots}, title, log=log, bounds=bounds)
        for unit, dots in groups.items()
    }
    return Markup("").join(figures.svg(figure, name) for name, figure in drawn.items())


def _curves(
    frames: Frames, lines: Sequence[TrainingLine], by: Column, *others: Column
) -> Captioned:
    """Draw accuracy by scale (Fig. 4) or T (Fig. 5), of the seeds that learnt.

    Dotted: networks that were trained over one T and tested over others.
    """
    groups = [*grouped(as_fixed(lines), same_but(by, *others)).values()]
    groups = [group for group in groups if len(group) > 1] or groups
    captions = [*map(_caption, groups)]
    more = shown.what_differs(captions, [vars(group[0]) for group in groups])
    for caption, settings, group in zip(captions, more, groups, strict=True):
        series = [Curve("", {str(getattr(line, by)): _point(line) for line in group})]
        for line in group if by == "T" else ():
            if points := _tested(frames, line):
                series.append(Curve(f"trained at {line.T}", points, ":"))
        names = {name: None for curve in series for name in curve.points}
        in_order = sorted(names, key=int) if by == "T" else [*names]
        drawn = figures.curves(series, (by, "test accuracy, %"), in_order)
        yield f"Accuracy by {by}: {caption}{settings}", drawn


COMPARED: tuple[Column, ...] = ("framework", "neunorm", "neunorm_u", "T", "dropout")
_compared = attrgetter(*COMPARED)


def _names(series: Iterable[Curve]) -> list[str]:
    """Return the places of curves on the horizontal axis, in their order."""
    return [*dict.fromkeys(name for curve in series for name in curve.points)]


def _widths(frames: Frames) -> Captioned:
    """Draw accuracy of spiking networks and their ANN by width, the paper's at width 1, the gap."""
    lines = as_fixed(trainings.lines(frames, "accuracy", *ALIKE))
    for alike in grouped(lines, same_but("width", "network", *COMPARED)).values():
        kinds = grouped(alike, attrgetter(*COMPARED[:-1])).values()
        several = (kind for kind in kinds if len({line.width for line in kind}) > 1)
        group = sorted((e for kind in several for e in kind), key=lambda e: e.case.workload.width)
        if not group:
            continue
        series = [
            Curve(_condition(curve, group), {line.width: _point(line) for line in curve})
            for curve in grouped(group, _compared).values()
        ]
        network = group[0].dataset, group[0].scale
        for row in (row for row in tables.published() if (row.dataset, row.network) == network):
            dot = Dot("", row.percent, marker="D", hollow=True)
            series.append(Curve(f"paper, {_kind(row)}", {"1": dot}, ""))
        drawn = figures.curves(series, ("width", "test accuracy, %"), _names(series))
        yield f"Accuracy by width: {_caption(group)}", drawn
        if gaps := [*_gaps(group)]:
            titles = "width", "with spikes minus ANN, points"
            drawn = figures.curves(gaps, titles, _names(gaps))
            yield f"The gap by width, seed by seed: {_caption(group)}", drawn


def _gaps(group: Sequence[TrainingLine]) -> Iterator[Curve]:
    """Yield, by width, spiking accuracy minus the ANN's of equal width and dropout, in points.

    A point is the mean over the seeds that both have; a width without one is left out.
    """
    anns = {(line.width, line.dropout): line for line in group if line.framework == ANN}
    spiking = [line for line in group if not line.is_ann]
    for lines in grouped(spiking, _compared).values():
        points = dict[str, Dot]()
        for line in lines:
            ann = anns.get((line.width, line.dropout))
            seeds = sorted(ann.accuracies.keys() & line.accuracies.keys()) if ann else []
            if ann and seeds:
                gaps = tuple(100 * (line.accuracies[s] - ann.accuracies[s]) for s in seeds)
                value, low, high, _ = mean(gaps)
                points[line.width] = Dot("", value, low, high, seeds=gaps)
        if points:
            yield Curve(_condition(lines, group), points)


def _rates(frames: Frames) -> Captioned:
    """Draw accuracy by the first learning rate, of trainings that differ in nothing else."""
    for select in (trainings.lines, trainings.rate_trials):
        yield from _by_rate(select(frames, "accuracy", *ALIKE))


def _by_rate(lines: Sequence[TrainingLine]) -> Captioned:
    """Draw accuracy by first learning rate, of trainings of which several rates were tried."""
    alike = same_but("optimiser", "scale", "network", *COMPARED)

    def settings(line: TrainingLine) -> tuple[object, ...]:
        return alike(line), replace(line.case.optimiser, lr=1.0)

    for group in grouped(lines, settings).values():
        in_order = sorted(group, key=attrgetter("rate"))
        parts = grouped(in_order, lambda e: (e.scale, e.network, *_compared(e))).values()
        parts = [part for part in parts if len(part) > 1]
        if not parts:
            continue
        drawn = [line for part in parts for line in part]
        names = [f"{rate:g}" for rate in sorted({line.rate for line in drawn})]
        series = [
            Curve(_condition(part, drawn), {f"{line.rate:g}": _point(line) for line in part})
            for part in parts
        ]
        figure = figures.curves(series, ("first learning rate", "test accuracy, %"), names)
        yield f"Accuracy by first learning rate: {_caption(drawn)}", figure


def _kind(line: TrainingLine | PublishedRow) -> str:
    """Return what was trained: "ANN", "SNN" or "SNN, NeuNorm mean"."""
    if isinstance(line, TrainingLine) and line.framework == MASKED_ANN:
        return f"ANN, {line.T} masks averaged"
    if line.framework == ANN:
        return "ANN"
    return "SNN" if line.neunorm in ("", "off") else f"SNN, NeuNorm {line.neunorm}"


def _condition(lines: Sequence[TrainingLine], among: Sequence[TrainingLine]) -> str:
    """Return in a few words what tells trainings of a curve from those of the figure's others."""
    first = lines[0]
    parts = [first.scale] if len({line.scale for line in among}) > 1 else []
    parts.append(_kind(first))
    if not first.is_ann and len({e.T for e in among if not e.is_ann}) > 1:
        parts.append(f"T = {first.T}")
    parts += [f"dropout {first.dropout:g}"] if len({e.dropout for e in among}) > 1 else []
    return ", ".join(parts)


def _tested(frames: Frames, line: TrainingLine) -> dict[str, Dot]:
    """Return accuracy over the numbers of steps that networks were tested at, in percent."""
    rows = rows_of(frames, TestedResult, line)
    learnt = [row.result for row in rows if row.workload.seed not in line.seeds_at_chance]
    by_steps = grouped(sorted(learnt, key=attrgetter("tested_T")), lambda test: str(test.tested_T))
    means = {T: fmean(test.test_accuracy for test in tests) for T, tests in by_steps.items()}
    return {T: Dot("", 100 * mean) for T, mean in means.items()}


def _point(line: TrainingLine) -> Dot:
    """Return mean and interval of the seeds that learnt, and each of them, in percent."""
    learnt = [a for seed, a in line.accuracies.items() if seed not in line.seeds_at_chance]
    value, low, high, _ = mean_share(learnt)
    marker, seeds = "s" if line.is_ann else "o", tuple(100 * a for a in learnt)
    return Dot("", 100 * value, 100 * low, 100 * high, marker=marker, seeds=seeds)


def _caption(group: Sequence[TrainingLine]) -> str:
    """Return what trainings of a figure share, and the seeds that learnt nothing."""
    first, networks = group[0], {line.scale for line in group}
    text = [first.data_title, *(networks if len(networks) == 1 else ())]
    text += [f"{first.train_samples:,} samples"]
    if len({*map(_compared, group)}) == 1:
        text += [_kind(first)] if first.is_ann else []
        text += [f"NeuNorm {first.neunorm}"] if first.neunorm != "off" else []
    text.append(f"epochs: {first.stages}")
    if len(rates := {line.rate for line in group}) == 1:
        text.append(f"from a rate of {rates.pop():g}")
    lost = [f"{e.scale}, T = {e.T}, seed {seed}" for e in group for seed in e.seeds_at_chance]
    nothing = f" Learnt nothing, and not drawn: {'; '.join(lost)}." if lost else ""
    return f"{', '.join(text)}.{nothing}"


def _neunorm(frames: Frames) -> Captioned:
    """Fig. 6: what NeuNorm changes of the votes, over seeds that both have; else the votes."""
    lines = as_fixed(trainings.lines(frames, "neunorm"))
    voted = [(line, rows) for line in lines if (rows := trainings.votes(frames, line))]
    drawn = list[tuple[TrainingLine, str, np.ndarray]]()
    for group in grouped(voted, lambda pair: same_but("neunorm", "neunorm_u")(pair[0])).values():
        plain = next((rows for line, rows in group if line.neunorm == "off"), {})
        paired = [
            (line, rows) for line, rows in group if rows.keys() & plain.keys() and rows is not plain
        ]
        for line, rows in paired or group:
            seeds = sorted(rows.keys() & plain.keys()) if paired else sorted(rows)
            votes = np.mean([rows[seed].result.votes for seed in seeds], axis=0)
            if paired:
                votes = votes - np.mean([plain[seed].result.votes for seed in seeds], axis=0)
            samples = f"{rows[seeds[0]].result.confusion_samples:,} samples"
            what = "minus those without, " if paired else ""
            trained = f"NeuNorm {line.neunorm}, epochs {line.stages}"
            on = f"votes on {samples}, {what}{counted(len(seeds), 'seed')}"
            drawn.append((line, f"{line.data_title}, {trained}: {on}", votes))
    captions = [caption for _, caption, _ in drawn]
    more = shown.what_differs(captions, [vars(line) for line, *_ in drawn])
    for settings, (line, caption, votes) in zip(more, drawn, strict=True):
        is_digits = line.substitute or line.dataset == "nmnist"
        labels = [*map(str, range(len(votes)))] if is_digits else paper.CIFAR10_CLASSES
        what = "vote gained" if "minus those without" in caption else "mean vote"
        most = float(np.abs(votes).max())
        yield caption + settings, figures.votes(votes.tolist(), labels, most, what)


def _ablations(frames: Frames) -> Captioned:
    """Draw how much accuracy each ablation gains, a dot a change, for each data set."""
    groups: dict[str, list[Dot]] = {}
    for ablation in ablated(frames):
        if ablation.gains:
            seeds = tuple(100 * gain for gain in ablation.gains)
            value, low, high, _ = mean(seeds)
            line, text = ablation.trained, f"{value:+.1f}"
            accuracy = interval(line.accuracy, line.low, line.high, times=100)
            note = f"{accuracy} %, n = {line.n}; {text}"
            if ablation.change == AS_IT_IS:
                low = high = nan
                seeds, text = (), f"{100 * line.accuracy:.1f} %"
            lost, name = bool(line.seeds_at_chance), ablation.change
            dot = Dot(name, value, low, high, text, hollow=lost, seeds=seeds, note=note)
            groups.setdefault(line.data_title, []).append(dot)
    if groups:
        caption = "Accuracy minus that without the change; hollow: a seed learnt nothing"
        bounds = {0.0: "without the change"}
        yield caption, figures.dots(groups, "points of test accuracy", bounds=bounds)


def _recordings(frames: Frames) -> Iterator[str]:
    """Yield what networks trained on simulated events reach on real recordings, a sentence each."""
    for line in as_fixed(trainings.lines(frames, "scale", *ALIKE)):
        rows = rows_of(frames, TransferResult, line)
        tests = [row.result for row in rows if row.workload.seed not in line.seeds_at_chance]
        if tests and line.scale in paper.SCALES:
            accuracy = 100 * fmean(test.test_accuracy for test in tests)
            samples = span((test.recorded_samples for test in tests), ",")
            seeds, rate = counted(len(tests), "seed"), f"rate {line.rate:g}"
            name = f"{line.data_title} {line.scale}, {rate}"
            yield f"{name}: {accuracy:.1f} % of {samples} recordings, {seeds}"


# Tables


def _proofs(frames: Frames) -> Table:
    """Return what was proved of each contender; a csv has other forms too."""
    proofs = stored.proofs(frames)
    if len(proofs):
        proofs = proofs.loc[~proofs["contender"].str.contains(":")]
        proofs = proofs.drop(columns="gradient_error_bf16")
        proofs = proofs.assign(contender=[*map(contender_title, proofs["contender"])])
    return Table(proofs, "Proofs of each contender over all networks and machines")


def _few(reasons: Frame, title: str) -> Table:
    """Return the first lines of a table of reasons, each reason in short."""
    name = "contender" if "contender" in reasons else "framework"
    columns = {
        "reason": [figures.short(reason, 160) for reason in reasons["reason"]],
        name: [*map(contender_title, reasons[name])],
    }
    return Table(reasons.assign(**columns).head(MOST), title)


def _data(frames: Frames) -> Table:
    """Return a table of the data sources, with the first digits of each one's hash."""
    names = ["dataset", "data_source", "data_samples", "data_sha256"]
    sources: Frame = stored.data(frames).drop_duplicates(names[:2])  # a csv has all
    return Table(sources.assign(data_sha256=sources["data_sha256"].str[:12])[names], "Data")
