"""The report: one page that a person reads, the whole tables as csv beside it, README's block and
pictures.

The page's prose is the template's; here are the figures and tables that stand in it, each a part by
name. A part without rows is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from harness.analysis import claims, tables, timings
from harness.analysis.claims import Claim, Effect, Finding, Range
from harness.analysis.frame import Frame, Frames, each_of, frames, grouped
from harness.analysis.trainings import (
    ALIKE,
    DATA,
    ablated,
    by_scale,
    compared,
    courses,
    mean,
    rows_of,
    sets,
    share,
    trainings,
)
from harness.analysis.words import counted, data_name, data_source, steps_in_words
from harness.records import Row
from harness.report import figures, shown, stored
from harness.report.figures import Dot, Point
from harness.report.table import Table, csv, field_markdown, interval, markdown, text
from harness.spec import ANN, FLOOR, REFERENCE, UsageError, paper, schedule
from harness.suites.trainings import AS_IT_IS
from harness.system.files import write_result

BEGIN, END = "<!-- begin: harness report -->", "<!-- end: harness report -->"
OURS = "fused"  # this project's own engine
FEW = 5  # rounds; a figure of fewer is preliminary
ACCURACY = "test accuracy, %"
NOT_TESTED: claims.Answer = "not tested"
RIVALS = {"plain": "best other, as it comes", "tuned": "best other, tuned"}
UNITS = {"points": "points of accuracy", "accuracy": "accuracy, %", "share": "% taken away"}
TRAINED = ("scale", "timesteps", "neunorm", "accuracy", "ablations")
MOST = 15  # lines of a table of reasons; a csv has all
PICTURES = {"picture.svg": 3, "picture-narrow.svg": 1}  # panels side by side, by the file's name
PICTURE = "Time of a training step divided by that of its convolutions and products alone (floor)"
KEY = (
    f"Lines: 95 % intervals; hollow: fewer than {FEW} rounds; diamonds: another form of "
    "the framework, the best tuned."
)
DIGITS = 10  # of numbers in the csv files: the last ones differ from processor to processor
TO_FLOOR = ("ratio_to_floor", "ratio_low", "ratio_high")
X_FLOOR = "x the float32 floor's time"
Drawn = Iterable[tuple[str, Figure]]  # captions and figures


def write(rows: Frames | Sequence[Row], out: Path, readme: Path | None = None) -> list[Path]:
    """Writes OUT/report.html, OUT/tables/*.csv and, where speed was measured, OUT/picture.svg and
    OUT/picture-narrow.svg, each whole or not at all: the files written.

    With `readme` also what stands between its marks. Raises UsageError where a file cannot be
    written, and for a README without marks.
    """
    found = frames(rows)
    judged, there = claims.findings(found), set(found["all"]["suite"])
    built = {
        name: build(found)
        for name, build in tables.FULL.items()
        if there & set(tables.suites_of(name))
    }
    beside = (stored.machines, stored.data, stored.failures, stored.proofs)
    built |= {"claims": claims.table(judged), **{each.__name__: each(found) for each in beside}}
    built = {name: table for name, table in built.items() if len(table)}
    files = {name: f"{'table' * name.isdigit()}{name}.csv" for name in built}
    texts = {out / "report.html": page(found, judged, built, files)}
    texts |= {out / name: svg for name, svg in pictures(found).items()}
    if readme is not None:
        try:
            before = readme.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot read {readme} ({error.strerror or error})") from error
        texts[readme] = updated(before, block(found, judged), readme)
    for name, table in built.items():
        texts[out / "tables" / files[name]] = csv(tables.plain(table), DIGITS)
    for path, said in texts.items():
        # of a row's escapes and of names of files, some are no text
        write_result(path, said.encode("utf-8", errors="backslashreplace"))
    return [*texts]


def page(
    frames: Frames,
    judged: Sequence[Finding],
    built: Mapping[str, Frame],
    files: Mapping[str, str],
) -> str:
    """The whole page as one HTML file that needs no network; `built` are the tables beside it."""
    lines, days = timings.lines(frames), sorted(set(frames["all"]["time"].str[:10]))
    found, refused = headline(lines), stored.refused(frames)
    drawn = {
        "speed": _speed(found),
        "scale": _curves(frames, by_scale(frames), "scale", "network"),
        "timesteps": _curves(frames, compared(frames, "timesteps", "T"), "T"),
        "width": _by_width(frames),
        "neunorm": _neunorm(frames),
        "tables": _by_epoch(frames),
        "ablations": _ablations(frames),
    }
    parts = {
        "speed": [speed_table(found)] if len(found) else [],
        "claims": [claims_table(judged)],
        "proofs": [_proofs(frames), _few(refused, "Exams and audits that failed")],
        "tables": [_of_paper(n, built[str(n)]) for n in (3, 4, 5, 6) if str(n) in built],
        **{n: shown.trained(built[n]) for n in ("neunorm", "ablations") if n in built},
        "reduced": [_reduced(built)],
        "provenance": [Table(stored.places(frames), "Machines"), _data(frames)],
        "failures": [_few(stored.failures(frames), "What failed")],
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    return environment.from_string(figures.file("page.html.j2")).render(
        style=Markup(figures.STYLE + figures.file("page.css")),
        said=sentence(found),
        notes=list(notes(found, lines, refused)),
        refused=len(refused),
        few=FEW,
        claims=answered(judged),
        untested=[each for each in judged if each.answer == NOT_TESTED],
        also=[*_best(frames), *_also(frames)],
        figures={
            part: [(caption, figures.svg(figure, caption)) for caption, figure in of]
            for part, of in drawn.items()
        },
        tables={part: [each for each in of if each.lines] for part, of in parts.items()},
        count=counted(len(frames["all"]), "row"),
        machines=counted(frames["all"]["machine"].nunique(), "machine"),
        days=" to ".join(dict.fromkeys(days[:1] + days[-1:])),
        csv=files,
    )


def _code(value: str) -> Markup:
    """A text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))


# Who is fastest and how sure that is. Only figures of one machine and one timing protocol are
# spoken of together, and of each network those of one run.


def _cells(lines: Frame) -> Frame:
    """What was timed of Fig. 3's cells under the newest protocol; Matlab's figure is another."""
    here = lines["in_figure_3"] & (lines["framework"] != claims.OCTAVE)
    timed = lines.loc[here & lines["ratio_to_floor"].notna()]
    timed = timed.loc[timed["protocol"] == timed["protocol"].max()]
    named = ((data_name(e.dataset, substitute=e.substitute), e.scale) for e in each_of(timed))
    return timed.assign(network=[*map(" ".join, named)], kind=[*map(_kind, each_of(timed))])


def _kind(line: Any) -> str:
    """What a line is compared as: the floor, ours, a rival as it comes or tuned, or bf16."""
    bf16 = "" if line.precision == "fp32" else " bf16"
    if line.framework in (FLOOR, OURS):
        own = "floor" if line.framework == FLOOR else "ours"
        return " ".join(filter(None, (own, line.variant))) + bf16
    return "rival bf16" if bf16 else "tuned" if line.variant else "plain"


def headline(lines: Frame, machine: str = "") -> Frame:
    """Fig. 3's cells on a machine, by default that with most contenders, under the newest protocol:
    of each cell the lines of one run, the one with most contenders, of these the last. Who was
    proved, and the floor; with the columns `network` and `kind`.
    """
    timed, run = _cells(lines), ["dataset", "scale", "run"]
    machine = machine or next(iter(timed["machine"].value_counts().index), "")
    proved = (timed["framework"] == FLOOR) | (timed["standing"] != "none")
    found = timed.loc[proved & (timed["machine"] == machine)]
    sizes = found.groupby(run, sort=False).size()[::-1].sort_values(ascending=False, kind="stable")
    runs = sizes.reset_index()[run].drop_duplicates(run[:2])
    return found.merge(runs, on=run)


def leads(found: Frame, kind: str) -> list[tuple[float, bool]]:
    """Of each network where both were timed and anybody was ranked: the best rival's time divided
    by ours, and whether the two intervals lie apart.
    """
    pairs = []
    for _, cell in found.groupby("network", sort=False):
        of = cell.sort_values("ratio_to_floor", kind="stable").groupby("kind").head(1)
        best = {each.kind: each for each in each_of(of)}
        ranked = cell.loc[cell["precision"] == "fp32", "rank"].notna().any()
        if ranked and {"ours", kind} <= best.keys():
            mine, other = best["ours"], best[kind]
            apart = mine.ratio_high < other.ratio_low or other.ratio_high < mine.ratio_low
            pairs.append((other.ratio_to_floor / mine.ratio_to_floor, apart))
    return pairs


def sentence(found: Frame) -> str:
    """Who is fastest, by how much and how sure: one sentence; "" where ours or a rival lacks, or
    nobody is ranked.

    Where a tuned form was timed, it is the rival: whoever tunes must not be compared untuned.
    """
    tuned = leads(found, "tuned")
    with_tuned = found.loc[found["kind"] == "tuned", "network"]
    plain = leads(found.loc[~found["network"].isin(with_tuned)], "plain")
    rival = "the best tuned form of another framework"
    parts = [_against(tuned, rival, "where tuned forms were timed")] if tuned else []
    where = "where no tuned form was timed" if len(with_tuned) else ""
    parts += [_against(plain, "the best other as it comes", where)] if plain else []
    if not parts:
        return ""
    return (
        f"`{OURS}`, which is this project's own engine, is {', and '.join(parts)}: training steps "
        f"in float32 on one machine, {found['machine'].iloc[0]}"
    )


def _against(pairs: Sequence[tuple[float, bool]], rival: str, where: str = "") -> str:
    low, high = (f"{end(lead for lead, _ in pairs):.1f}" for end in (min, max))
    calls = ["a tie" if not apart else "faster" if lead > 1 else "slower" for lead, apart in pairs]
    counts = {call: calls.count(call) for call in ("faster", "a tie", "slower")}
    said = [f"{call} on {n}" for call, n in counts.items() if n or call == "faster"]
    count = counted(len(pairs), "network")
    on = f"on the {count} {where}" if where else f"on {count}"
    times = low if low == high else f"{low} to {high}"
    return f"{times} times as fast as {rival} {on}" + f" ({', '.join(said)})" * (len(said) > 1)


def speed_table(found: Frame) -> Table:
    """A network a line: the floor's time, and each ratio to the float32 floor with its interval."""
    lines = []
    for name, cell in found.groupby("network", sort=False):
        said = ""
        for floor in each_of(cell.loc[cell["kind"] == "floor"].head(1)):
            noise = f" (A/A {floor.noise_low:.2f} to {floor.noise_high:.2f})"
            noise *= not isnan(floor.noise_low)
            said = f"{1000 * floor.seconds_per_iteration:,.0f}{noise}"
        kinds = {OURS: "ours", **{head: kind for kind, head in RIVALS.items()}}
        kinds[f"{OURS} bf16"] = "ours bf16"
        line = {"network": f"{name}, n = {cell['rounds'].min()}", "floor, ms": said}
        lines.append(line | {head: _figure(cell, kind) for head, kind in kinds.items()})
    empty = [name for name in RIVALS.values() if not any(line[name] for line in lines)]
    content = pd.DataFrame(lines).drop(columns=empty)
    return Table(content, f"{X_FLOOR} [95 %], {found['machine'].iloc[0]}")


def _figure(cell: Frame, kind: str) -> str:
    lines = cell.loc[cell["kind"] == kind]
    if lines.empty:
        return ""
    best = lines.loc[lines["ratio_to_floor"].idxmin()]
    named = f" {best['name']}" * (kind in RIVALS)
    said = interval(*(best[end] for end in TO_FLOOR), form=".2f")
    return f"{said}{named}" + " *" * bool(best["rounds"] < FEW)


def notes(found: Frame, lines: Frame, refused: Frame) -> Iterator[str]:
    """What is to be known of the table; nothing where there is none."""
    if found.empty:
        return
    first = found.iloc[0]
    yield (
        "Time of a training step divided by that of its convolutions and products alone (the "
        f"float32 floor), batch {first['batch_size']}, T = {first['T']}: geometric mean over n "
        f"rounds [95 % interval], each network's in one run, timing protocol {first['protocol']}, "
        f"torch {first['torch']}. A/A is the floor divided by itself: a difference within it is "
        "noise. Every contender was proved equal to the paper's equations, in bf16 held to a bar "
        f"of its own. `{REFERENCE}` is plain PyTorch."
    )
    if "tuned" not in set(found["kind"]):
        yield "No tuned form was timed."
    elif REFERENCE not in set(found.loc[found["kind"] == "tuned", "framework"]):
        yield "Plain PyTorch was not timed in a tuned form."
    for name, cell in found.groupby("network", sort=False):
        others = cell.loc[cell["kind"].isin(["ours", *RIVALS])]
        if len(others) and others["rank"].isna().all():
            lacking = sorted(set.intersection(*map(set, others["lacks"])))
            yield f"Nobody is ranked on {name}: {'; '.join(lacking)}."
    if min(found["rounds"]) < FEW:
        yield f"* fewer than {FEW} rounds: preliminary."
    # proved and timed on a network, but not in the run that is shown
    cells, there = _cells(lines), {(e.network, e.name) for e in each_of(found)}
    here = cells.loc[(cells["machine"] == first["machine"]) & (cells["precision"] == "fp32")]
    others = (e for e in each_of(here) if e.standing != "none" and (e.network, e.name) not in there)
    if absent := grouped(others, lambda each: each.name):
        on = {name: ", ".join(dict.fromkeys(e.network for e in of)) for name, of in absent.items()}
        names = "; ".join(f"{name} ({networks})" for name, networks in on.items())
        yield f"Timed in other runs alone, and not compared here: {names}."
    failed = refused.loc[refused["network"].isin(found["network"])]
    failed = failed.loc[~failed["contender"].str.contains(" ")]
    for name, of in failed.groupby("contender", sort=False):
        yield f"{name} failed a proof in some run of {', '.join(of['network'].unique())}."
    if data := "; ".join(filter(None, found["data_source"].unique())):
        yield f"Data: {data}."
    elsewhere = []
    for other in cells.loc[cells["machine"] != first["machine"], "machine"].unique():
        pairs = {name: leads(headline(lines, other), kind) for kind, name in RIVALS.items()}
        said = [_against(of, f"the {name}") for name, of in pairs.items() if of]
        elsewhere += [f"{other}: {'; '.join(said)}"] if said else []
    if elsewhere:
        yield f"Other machines, same protocol. {'. '.join(elsewhere)}."


# README


def block(frames: Frames, judged: Sequence[Finding]) -> str:
    """README's: a sentence, the table of speed, what is to be known of it, and the claims."""
    lines, parts = timings.lines(frames), list[str]()
    found = headline(lines)
    if len(found):
        said = sentence(found)
        parts += [f"**{_escaped(said)}.**"] if said else []
        of_speed, refused = speed_table(found), stored.refused(frames)
        of_speed.title = ""
        parts.append(markdown(of_speed).strip())
        parts.append(" ".join(map(_escaped, notes(found, lines, refused))))
    of_claims = claims_table(judged)
    parts += [markdown(of_claims).strip()] if of_claims.lines else []
    return "\n\n".join(parts) + "\n"


def claims_table(found: Sequence[Finding]) -> Table:
    """The parts of each claim that were tested: the paper's figure, ours, and the answer, with the
    width of the networks where that is not the usual one.
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
    where = f" Networks have {usual} where no other is named." if usual else ""
    return Table(
        lines, said=f"Claims of the paper. Ours: mean [95 % interval] over n seeds.{where}"
    )


def answered(found: Sequence[Finding]) -> list[tuple[Claim, list[Finding], Markup | None]]:
    """Each claim of which a part was tested, with its parts and its figure."""
    tested = [each for each in found if each.answer != NOT_TESTED]
    by_claim = grouped(tested, lambda each: each.claim)
    return [(claim, parts, _of_claim(parts)) for claim, parts in by_claim.items()]


def _escaped(said: str) -> str:
    """A sentence as Markdown, in which names of ours stay code."""
    return re.sub(rf"\\`({OURS}|{REFERENCE})\\`", r"`\1`", field_markdown(said))


def updated(before: str, block: str, path: Path) -> str:
    """A README's text with what stands between the marks made anew.

    Raises UsageError where the marks are missing.
    """
    front, begin, rest = before.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{path} has no lines {BEGIN} and {END}: add them where the tables go")
    return f"{front}{BEGIN}\n{block}{END}{after}"


def pictures(found: Frames) -> dict[str, str]:
    """README's pictures by their files' names; {} where nothing was timed beside a floor."""
    lines = headline(timings.lines(found))
    if not (drawn := panels(lines)):
        return {}
    notes = (KEY, f"{lines['machine'].iloc[0]}, protocol {lines['protocol'].iloc[0]}")
    return {name: figures.picture(drawn, PICTURE, n, notes) for name, n in PICTURES.items()}


# Figures, each with its caption


def _of_claim(found: Sequence[Finding]) -> Markup | None:
    """The figure of a claim: means with intervals, each seed, and the bounds that were fixed
    beforehand; of Fig. 3, the range over the networks.
    """
    groups: dict[str, list[Dot]] = {}
    title, bounds, log = "tall bar: what was allowed", {0.0: ""}, False
    for each in found:
        match each.by:
            case Effect() as by:
                times, form = (1, "+.3f") if by.unit == "votes" else (100, "+.1f")
                of = (by.found.value, by.found.low, by.found.high, by.matters, *by.values)
                value, low, high, bar, *seeds = (times * by.shown(v) for v in of)
                dot = Dot(each.words, value, low, high, f"{value:{form}}", seeds=(*seeds,), bar=bar)
                groups.setdefault(UNITS.get(by.unit, by.unit), []).append(dot)
            case Range() as by:
                title = "times plain PyTorch's time, from the least to the most of the networks"
                bounds, log = {claims.TENS: "tens of times"}, True
                dot = Dot(each.words, by.value, by.low, by.high, f"{by.value:,.3g}")
                groups.setdefault("", []).append(dot)
            case None:
                pass
    if not groups:
        return None
    figure = figures.dots(groups, title, log=log, bounds=bounds)
    return figures.svg(figure, f"{found[0].claim.claim}: {'; '.join(each.ours for each in found)}")


def panels(
    found: Frame, ends: tuple[str, ...] = TO_FLOOR, form: str = ".2f", title: str = X_FLOOR
) -> dict[str, Figure]:
    """A figure for each data set, by its data's name: by default ratios to the float32 floor."""
    bounds = {1.0: "floor"} if ends == TO_FLOOR else None
    return {
        "; ".join(filter(None, of["data_source"].unique())) or of["dataset"].iloc[0]: figures.dots(
            groups, title, log=True, bounds=bounds
        )
        for _, of in found.groupby("dataset", sort=False)
        if any((groups := _by_scale(of, ends, form)).values())
    }


def _speed(found: Frame) -> Drawn:
    """Fig. 3: who takes how long and how much memory."""
    measured = found.loc[found["peak_memory_mib"] > 0]
    memory = ("peak_memory_mib",), ",.0f", "MiB above the process before it was built"
    for what, drawn in (
        ("Time of a training step", panels(found)),
        ("Peak memory of a step", panels(measured, *memory)),
    ):
        yield from ((f"{what}: {name}", figure) for name, figure in drawn.items())


def _by_scale(of: Frame, ends: tuple[str, ...], form: str) -> dict[str, list[Dot]]:
    """A line for each contender in each scale: a framework's best tuned form alone, bf16 last."""
    names = sorted(set(of["framework"]) - {FLOOR})
    groups: dict[str, list[Dot]] = {}
    for scale, cell in of.loc[of["framework"] != FLOOR].groupby("scale", sort=False):
        tuned = cell.loc[cell["kind"] == "tuned"].sort_values("ratio_to_floor")
        best = tuned.drop_duplicates("framework").index
        kept = cell.loc[~cell["kind"].isin(["tuned", "rival bf16"]) | cell.index.isin(best)]
        kept = kept.sort_values(["precision", "name"], ascending=[False, True])
        groups[scale] = [
            Dot(
                line["name"],
                *(line[end] for end in ends),
                text="" if isnan(line[ends[0]]) else f"{line[ends[0]]:{form}}",
                colour=names.index(line["framework"]),
                hollow=line["rounds"] < FEW,
                marker="D" if line["variant"] else "o",
            )
            for line in kept.to_dict("records")
        ]
    return groups


def _curves(frames: Frames, found: Frame, by: str, *apart: str) -> Drawn:
    """Accuracy by scale (Fig. 4) or T (Fig. 5), of the seeds that learnt; dotted: networks that
    were trained over one T, tested over others.
    """
    for _, of in sets(found, by, *apart):
        group = [*each_of(of)]
        curve = {str(getattr(each, by)): _point(each) for each in group}
        rows = [(each, rows_of(frames, "tested", each)) for each in group] if by == "T" else []
        learners = (of[~of["seed"].isin(each.lost)] for each, of in rows)
        tested = [100 * of.groupby("tested_T")["test_accuracy"].mean() for of in learners]
        dotted = [dict(zip(map(str, of.index), of, strict=True)) for of in tested if len(of) > 1]
        names = sorted({*curve}.union(*dotted), key=lambda n: (paper.paper_order("", n), len(n), n))
        titles = ("T, time steps" if by == "T" else "", ACCURACY)
        drawn = figures.curves(curve, titles, names, dotted)
        yield f"Accuracy by {by}: {_caption(group)}", drawn


def _by_width(frames: Frames) -> Drawn:
    """Accuracy by width, of the seeds that learnt; stars: the paper's own figures, at width 1."""
    found = trainings(frames, "accuracy", *ALIKE)
    for _, of in sets(found, "width", "network", "dropout"):
        group = sorted(each_of(of), key=lambda each: (each.case.width, each.dropout))
        if len({each.width for each in group}) > 1:
            curve = {_width(each): _point(each) for each in group}
            rows = each_of(tables.published())
            published = [row.percent for row in rows if tables.measures(row, group[0])]
            stars = dict(zip(["the paper's"], published, strict=False))
            names = [*curve, *stars]
            drawn = figures.curves(curve, ("width", ACCURACY), names, published=stars)
            yield f"Accuracy by width: {group[0].scale}, {_caption(group)}", drawn


def _width(each: Any) -> str:
    return f"{each.width}, dropout {each.dropout:g}" if each.dropout else each.width


def _point(each: Any) -> Point:
    """Mean and interval of the seeds that learnt, and each of them, in percent."""
    learnt = [a for seed, a in each.accuracies.items() if seed not in each.lost]
    value, low, high, *seeds = (100 * a for a in (*share(learnt)[:3], *learnt))
    return (value, low, high), seeds


def _caption(group: Sequence[Any]) -> str:
    """What trainings of a figure share: data, schedule; and the seeds that learnt nothing."""
    first = group[0]
    said = [shown.data_title(first._asdict()), f"{first.train_samples:,} samples"]
    said += ["ANN"] if first.framework == ANN else []
    said += [f"NeuNorm {first.neunorm}"] if first.neunorm != "off" else []
    said.append(f"{first.stages if first.case.training.stages else first.epochs} epochs")
    lost = [f"{e.scale}, T = {e.T}, seed {seed}" for e in group for seed in e.lost]
    nothing = f" Learnt nothing, and not in a mean: {'; '.join(lost)}." if lost else ""
    return f"{', '.join(said)}.{nothing}"


def _neunorm(frames: Frames) -> Drawn:
    """Fig. 6: votes without and with NeuNorm in one scale of colours."""
    votes = [
        (each, np.mean([*map(np.array, rows["votes"])], axis=0))
        for each in each_of(trainings(frames, "neunorm"))
        if len(rows := rows_of(frames, "confusion", each))
    ]
    most = max((float(matrix.max()) for _, matrix in votes), default=1.0)
    for each, matrix in votes:
        photographs = each.dataset in ("cifar10", "dvs-cifar10") and not each.substitute
        named = photographs and len(matrix) == len(paper.CIFAR10_CLASSES)
        labels = paper.CIFAR10_CLASSES if named else [str(n) for n in range(len(matrix))]
        caption = f"{shown.data_title(each._asdict())}, NeuNorm {each.neunorm}: votes"
        yield caption, figures.votes(matrix.tolist(), labels, most)


def _by_epoch(frames: Frames) -> Drawn:
    """How networks of one structure learn: the ANN beside those with spikes, with and without
    NeuNorm.
    """
    names = ["dataset", "network", "width", "train_samples", "data_source"]
    for _, of in trainings(frames, "accuracy").groupby(names, sort=False):
        found: dict[str, list[tuple[Any, Any]]] = {}
        for each in each_of(of) if len(of) > 1 else ():
            name = f"{steps_in_words(each.case)}, NeuNorm {each.neunorm}"
            seeds = rows_of(frames, "epoch", each).sort_values("epoch").groupby("seed")
            curves = [(100 * s["validation_accuracy"], s["learning_rate"]) for _, s in seeds]
            found.setdefault("ANN" if each.framework == ANN else name, []).extend(curves)
        if any(len(values) > 1 for curves in found.values() for values, _ in curves):
            first = of.iloc[0].to_dict()
            title = f"{shown.data_title(first)}, {first['scale']} at width {first['width']}"
            caption = f"{title}: held-out accuracy by epoch, a line a seed, and the learning rate"
            yield caption, figures.epochs(found, "held-out accuracy, %")


def _gains(frames: Frames) -> Iterator[tuple[Any, Dot]]:
    for line in each_of(ablated(frames)):
        if line.change != AS_IT_IS and line.gains:
            seeds = tuple(100 * value for value in line.gains)
            ends, lost = mean(seeds)[:3], bool(line.lost)
            yield line, Dot(line.change, *ends, f"{ends[0]:+.1f}", seeds=seeds, hollow=lost)


def _ablations(frames: Frames) -> Drawn:
    """What changes of a training cost."""
    gains = grouped(_gains(frames), lambda pair: shown.data_title(pair[0]._asdict()))
    groups = {name: [dot for _, dot in of] for name, of in gains.items()}
    if groups:
        caption = "Accuracy minus that without the change; hollow: a seed learnt nothing"
        bounds = {0.0: "without the change"}
        yield caption, figures.dots(groups, "points of test accuracy", bounds=bounds)


def _best(frames: Frames) -> Iterator[str]:
    """The spiking network that ended best on each data set, and that without spikes beside it."""
    found, alike = trainings(frames, "accuracy", *ALIKE), ["network", "width", "epochs", *DATA]
    anns = found[found["framework"] == ANN]
    spiking = found[found["framework"] != ANN].sort_values("accuracy", ascending=False)
    best = spiking.drop_duplicates(["dataset", "simulated", "substitute"])  # as they are named
    for each in each_of(best.sort_index()):
        went = [*filter(None, map(courses(frames).get, each.keys.items()))]
        said = f"The best spiking network on {shown.data_title(each._asdict())}: {each.scale} at "
        said += f"width {each.width}, {steps_in_words(each.case)}, NeuNorm {each.neunorm}: "
        said += f"{100 * each.accuracy:.1f} % of the test samples"
        if went:
            said += f", {100 * fmean(of.train_accuracy for of in went):.1f} % of the training ones"
        early = "" if schedule.decides(each.case) else "; another schedule"
        said += f" ({counted(each.n, 'seed')}{early})"
        own = [getattr(each, name) for name in alike]
        for ann in each_of(anns[(anns[alike] == own).all(axis=1)].head(1)):
            said += f"; its ANN {100 * ann.accuracy:.1f} % ({counted(ann.n, 'seed')})"
        yield f"{said}."


def _also(frames: Frames) -> Iterator[str]:
    """What was found beside the claims: changes of a training that matter beyond doubt."""
    for line, dot in sorted(_gains(frames), key=lambda pair: -pair[1].value):
        lost = f"{counted(len(line.lost), 'seed')} of {len(line.accuracies)}"
        of = f"{shown.data_title(line._asdict())} {line.scale}"
        if len(line.lost) == len(line.accuracies):
            yield f"{dot.label}: nothing is learnt ({lost}, {of})."
        elif dot.low > 1 or dot.high < -1:
            gain = interval(dot.value, dot.low, dot.high, "+.1f")
            dead = f"; {lost} learnt nothing" if line.lost else ""
            early = "" if schedule.decides(line.case) else "; another schedule"
            yield f"{dot.label}: {gain} points of test accuracy on {of}{dead}{early}."


# Tables


def _proofs(frames: Frames) -> Table:
    """What was proved of whom; a csv has other forms too."""
    found = stored.proofs(frames)
    if len(found):
        found = found.loc[~found["contender"].str.contains(":")]
        found = found.drop(columns="gradient_error_bf16")
    return Table(found, "Proofs of each contender over all networks and machines")


def _few(found: Frame, title: str) -> Table:
    """The first lines of a table of reasons, each reason in short."""
    reasons = [figures.short(each, 160) for each in found["reason"]]
    return Table(found.assign(reason=reasons).head(MOST), title)


def _of_paper(number: int, built: Frame) -> Table:
    """Table 3, 4, 5 or 6 in the paper's own columns, ours beside them."""
    rows = tables.published()
    title = paper.settings(rows.loc[rows["table"] == number, "dataset"].iloc[0]).title
    return shown.of_paper(built, f"Table {number}: {title}")


def _reduced(built: Mapping[str, Frame]) -> Table:
    """How far our trainings fall short of the paper's."""

    def said(of: Frame, name: str) -> str:
        values = dict.fromkeys(of[name]) if of[name].dtype == object else sorted({*of[name]})
        return ", ".join(map(text, values))

    frames = [built[name].assign(suite=name) for name in TRAINED if name in built]
    lines = []
    for _, of in pd.concat(frames).groupby(["dataset", "suite"], sort=False) if frames else ():
        settings = paper.settings(cast(str, of["dataset"].iloc[0]))
        data = "; ".join(dict.fromkeys(map(data_source, of.to_dict("records"))))
        names = ("width", "train_samples", "epochs", "T", "precision")
        line = {"data set": settings.title, "suite": of["suite"].iloc[0], "data": data}
        line |= {name: said(of, name) for name in names}
        lines.append({**line, "the paper's epochs": str(settings.epochs)})
    return Table(lines, "Trainings of ours, and the paper's")


def _data(frames: Frames) -> Table:
    names = ["dataset", "data_source", "data_samples", "data_sha256"]
    found: Frame = stored.data(frames).drop_duplicates(names[:2])  # a csv has all
    return Table(found.assign(data_sha256=found["data_sha256"].str[:12])[names], "Data")
