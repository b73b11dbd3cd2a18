"""The report: one page, the whole tables as csv files, README's block and picture.

The page's prose is the template's; here are the figures and tables that stand in it, each a part by
name. A part without rows is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

import jinja2
import numpy as np
from markupsafe import Markup, escape

from harness.analysis import claims, tables, timings, trainings
from harness.analysis.claims import Claim, Effect, Finding, Range
from harness.analysis.frame import Frame, Frames, frames, grouped
from harness.analysis.timings import FEWEST_RANKED
from harness.analysis.trainings import ALIKE, Column, TrainingLine, as_fixed, rows_of, same_but
from harness.analysis.words import counted, span
from harness.records import Row, TestedRow, TransferRow
from harness.reports import fastest, figures, shown, stored
from harness.reports.figures import Captioned, Dot
from harness.reports.table import Table, csv, field_markdown, markdown
from harness.spec import ANN, UsageError, paper
from harness.suites.trainings import AS_IT_IS
from harness.system.files import write_result

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
NOT_TESTED: claims.Answer = "not tested"
CONTRADICTED: claims.Answer = "contradicted"
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
    cells = fastest.headline(timings.lines(found))
    if drawn := fastest.picture(cells):
        texts[out / "picture.svg"] = drawn
    if readme is not None:
        if not cells:
            raise UsageError(
                f"{out} has no timing of Table 1's networks, at full width with T = 10, for "
                f"{readme}'s table: leave --readme out, or name another folder"
            )
        texts[readme] = updated(_read(readme), block(found, judged), readme)
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
        "speed": [*fastest.charts(cells), *fastest.versions(frames)],
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
        "speed": [fastest.table(cells, fastest.ratio_with_interval)],
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
        summary=[*filter(None, fastest.summary(lines))],
        notes=[*fastest.notes(cells, lines, refused)],
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
        days=span(row.time[:10] for row in frames.rows),
        csv={name: _file(name) for name in built},
    )


def _code(value: str) -> Markup:
    """Return a text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))


# README


def block(frames: Frames, judged: Sequence[Finding]) -> str:
    """Return README's part as Markdown: a sentence, the speed table with notes, the claims."""
    lines, parts = timings.lines(frames), list[str]()
    if cells := fastest.headline(lines):
        said = fastest.notes(cells, lines, stored.refused(frames))
        bullets = [f"- {_escaped(text)}" for text in fastest.summary(lines) if text]
        parts += ["\n".join(bullets)] if bullets else []
        parts.append(markdown(fastest.table(cells, fastest.ratio_text, lambda cell: {})).strip())
        parts.append(" ".join(map(_escaped, said)))
    of_claims = claims_table(judged)
    parts += [markdown(of_claims).strip()] if of_claims.lines else []
    return "\n\n".join(parts) + "\n"


def claims_table(found: Sequence[Finding]) -> Table:
    """Return the tested parts of each claim: the paper's figure, ours, and the answer.

    An answer names its networks' width where it is not the most frequent one, and where it
    contradicts the paper.
    """
    tested = [each for each in found if each.answer != NOT_TESTED]
    places = [each.where for each in tested if each.where and isinstance(each.by, Effect)]
    usual = max(places, key=places.count, default="")
    lines = [
        {
            "claim": each.words,
            "paper": each.published,
            "ours": each.ours,
            "answer": each.short
            if each.where == usual and each.answer != CONTRADICTED
            else each.text,
        }
        for each in tested
    ]
    answers = Counter[str](each.answer for each in tested if each.claim.id != claims.OURS)
    named = [each for each in get_args(claims.Answer) if answers[each] or each == CONTRADICTED]
    counts = [f"{answers[each]} {each}" for each in named]
    text = [f"The paper's claims, part by part: {', '.join(counts)}."] if answers else []
    text += ["Ours: mean [95 % interval] over n seeds; of speed, one network or their range."]
    text += [f"Trainings have {usual} where no other is named."] if usual else []
    effects = (each.by for each in tested if isinstance(each.by, Effect))
    data = fastest.sources(line for of in effects for line in of.groups)
    text += [f"Their data: {data}."] if data else []
    if answers["open"]:
        text.append(
            "In brackets, what an open part lacks: seeds (3 of 5: three of the fixed five are "
            "trained), the fixed schedule (epochs, rate, first U of NeuNorm), or a trend."
        )
    return Table(lines, subtitle=" ".join(text))


def answered(found: Sequence[Finding]) -> list[tuple[Claim, list[Finding], Markup]]:
    """Return each claim that was tested, its tested parts, and their figure as SVG."""
    tested = [each for each in found if each.answer != NOT_TESTED]
    by_claim = grouped(tested, lambda each: each.claim)
    return [(claim, parts, _of_claim(parts)) for claim, parts in by_claim.items()]


def _escaped(text: str) -> str:
    """Return a sentence as Markdown, in which names of contenders stay code."""
    return re.sub(r"\\`([a-z0-9:-]+)\\`", r"`\1`", field_markdown(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: name another") from error


def updated(before: str, block: str, path: Path) -> str:
    """Return a README's text with `block` in place of what stands between the marks.

    Raises UsageError where the marks are missing.
    """
    front, begin, rest = before.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{front}{BEGIN}\n{block}{END}{after}"


# Figures, each with its caption


def _of_claim(found: Sequence[Finding]) -> Markup:
    """Draw the figures of a claim, one a unit: effects with seeds and bounds, or ranges."""
    groups: dict[str, list[Dot]] = {}
    title, bounds, log = "tall bar: what was allowed", {0.0: ""}, False
    for each in found:
        match each.by:
            case Effect() as by:
                times, form = (1, "+.3f") if by.unit == "votes" else (100, "+.1f")
                value, low, high, _, bar = (times * number for number in by.numbers)
                seeds = tuple(times * by.shown(v) for v in by.by_seed)
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


def _curves(
    frames: Frames, found: Sequence[TrainingLine], by: Column, *others: Column
) -> Captioned:
    """Draw accuracy by scale (Fig. 4), T (Fig. 5) or width, of the seeds that learnt.

    Dotted: networks that were trained over one T and tested over others.
    """
    groups = [*grouped(as_fixed(found), same_but(by, *others)).values()]
    groups = [of for of in groups if len(of) > 1] or groups
    captions = [*map(_caption, groups)]
    more = shown.what_differs(captions, [vars(group[0]) for group in groups])
    for caption, settings, group in zip(captions, more, groups, strict=True):
        points = {_at(each, by): _point(each) for each in group}
        dotted = [_tested(frames, each) for each in group] if by == "T" else []
        names = sorted({*points}.union(*dotted), key=int) if dotted else [*points]
        drawn = figures.curves(points, (by, "test accuracy, %"), names, dotted)
        yield f"Accuracy by {by}: {caption}{settings}", drawn


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
    value, low, high, _ = trainings.mean_share(learnt)
    return Dot("", 100 * value, 100 * low, 100 * high, seeds=tuple(100 * a for a in learnt))


def _caption(group: Sequence[TrainingLine]) -> str:
    """Return what trainings of a figure share, and the seeds that learnt nothing."""
    first, networks = group[0], {each.scale for each in group}
    text = [shown.data_title(first), *(networks if len(networks) == 1 else ())]
    text += [f"{first.train_samples:,} samples"]
    text += ["ANN"] if first.framework == ANN else []
    text += [f"NeuNorm {first.neunorm}"] if first.neunorm != "off" else []
    text.append(f"epochs: {first.stages}, from a rate of {first.case.optimiser.lr:g}")
    lost = [f"{e.scale}, T = {e.T}, seed {seed}" for e in group for seed in e.lost]
    nothing = f" Learnt nothing, and not drawn: {'; '.join(lost)}." if lost else ""
    return f"{', '.join(text)}.{nothing}"


def _neunorm(frames: Frames) -> Captioned:
    """Fig. 6: votes without and with NeuNorm in one scale of colours."""
    voted = [
        (each, [*rows.values()], np.mean([row.votes for row in rows.values()], axis=0))
        for each in as_fixed(trainings.lines(frames, "neunorm"))
        if (rows := trainings.votes(frames, each))
    ]
    most = max((float(matrix.max()) for *_, matrix in voted), default=1.0)
    captions = list[str]()
    for each, rows, _ in voted:
        samples, seeds = f"{rows[0].confusion_samples:,} samples", counted(len(rows), "seed")
        trained = f"NeuNorm {each.neunorm}, epochs {each.stages}"
        captions.append(f"{shown.data_title(each)}, {trained}: votes on {samples}, {seeds}")
    more = shown.what_differs(captions, [vars(each) for each, *_ in voted])
    for caption, settings, (each, _, matrix) in zip(captions, more, voted, strict=True):
        is_digits = each.substitute or each.dataset == "nmnist"
        labels = [*map(str, range(len(matrix)))] if is_digits else paper.CIFAR10_CLASSES
        yield caption + settings, figures.votes(matrix.tolist(), labels, most)


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
    for each in as_fixed(trainings.lines(frames, "scale", *ALIKE)):
        rows = [row for row in rows_of(frames, TransferRow, each) if row.seed not in each.lost]
        if rows and each.scale in paper.SCALES:
            accuracy = 100 * fmean(row.test_accuracy for row in rows)
            samples = span((row.recorded_samples for row in rows), ",")
            of = f"{samples} recordings, {counted(len(rows), 'seed')}"
            what = f"{shown.data_title(each)} {each.scale}, rate {each.case.optimiser.lr:g}"
            yield f"{what}: {accuracy:.1f} % of {of}"


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
