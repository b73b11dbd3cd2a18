"""The report: one page that a person reads, with figures, and links to the whole tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import isnan
from statistics import fmean
from typing import Any, cast

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from harness.analysis import timings, trainings
from harness.analysis.claims import Claim
from harness.analysis.frame import Frames, each_of
from harness.analysis.paper_tables import published
from harness.analysis.statistics import mean, share
from harness.analysis.verdict import Effect, Verdict
from harness.analysis.words import counted
from harness.report import figures, headline, provenance, shown
from harness.report.figures import Curve, Dot
from harness.report.table import Table, code, html, interval
from harness.spec import FLOOR, paper
from harness.suites.ablations import AS_IT_IS

COMMANDS = (
    ("speed", "harness run --suite acceleration"),
    ("accuracy against T", "harness run --suite timesteps"),
    ("accuracy against scale", "harness run --suite scale"),
    ("NeuNorm", "harness run --suite neunorm"),
    ("Tables 3 to 6", "harness run --suite accuracy"),
    ("the other systems of these tables", "harness run --suite baselines"),
    ("ablations", "harness run --suite ablations"),
    ("counts of operations", "harness run --suite energy"),
    ("proofs", "harness check"),
    ("this page", "harness report"),
)
KINDS = {
    "reproduced": "yes",
    "contradicted": "no",
    "inconclusive": "open",
    "not tested": "none",
}
FORMS = {"": "im2col and a product", "convn": "one convn a map", "conv2": "one conv2 a pair"}


@dataclass(frozen=True)
class Drawn:
    """A figure with its caption."""

    caption: str
    html: Markup


@dataclass(frozen=True)
class Section:
    """A part of the page: text, figures, then tables; what a csv beside it has is linked."""

    id: str
    title: str
    text: str
    figures: tuple[Drawn, ...] = ()
    tables: tuple[Markup, ...] = ()
    csv: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict, and its figure."""

    claim: Claim
    verdict: Verdict
    found: tuple[str, ...]
    needs: str
    drawn: Markup | None

    @property
    def kind(self) -> str:
        """The verdict's class in the page's style."""
        return KINDS[self.verdict.status]


def page(
    frames: Frames, judged: Sequence[tuple[Claim, Verdict]], built: Mapping[str, pd.DataFrame]
) -> str:
    """The whole page as one HTML file that needs no network; `built` are the tables beside it."""
    lines = timings.lines(frames)
    found = headline.headline(lines)
    makers: tuple[Callable[[], Section | None], ...] = (
        lambda: speed(lines, found, provenance.refused(frames)),
        lambda: proof(frames),
        lambda: scale(frames),
        lambda: steps(frames),
        lambda: neunorm(frames, built),
        lambda: tables(built),
        lambda: ablations(frames, built),
        lambda: reduced(built),
    )
    sections = [section for make in makers if (section := make()) is not None]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    said = headline.sentence(found) if len(found) else ""
    return environment.from_string(_file("page.html.j2")).render(
        style=Markup(figures.STYLE + _file("page.css")),
        said=f"{said}." if said else "",
        judged=[_judged(claim, verdict, lines) for claim, verdict in judged],
        also=list(also(frames)),
        sections=sections,
        tested=tested(frames),
        machines=html(Table(provenance.places(frames), "Machines")),
        data=html(_data(frames)),
        failures=_failures(frames),
        commands=COMMANDS,
        tables=[*built],
        settings=paper.SETTINGS,
    )


def _file(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


def tested(frames: Frames) -> str:
    """What was measured, in a sentence."""
    rows = frames["all"]
    if rows.empty:
        return "Nothing was measured."
    days = sorted(rows["time"].str[:10].unique())
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    places = counted(len(set(rows["machine"])), "machine")
    return f"{counted(len(rows), 'row')} of measurements on {places}, {when}."


def _judged(claim: Claim, verdict: Verdict, lines: pd.DataFrame) -> Judged:
    figure = matlab(lines) if claim.id == "fig3" else effects(verdict.effects)
    name = f"{claim.claim}: {verdict.measured}"
    drawn = None if figure is None else figures.svg(figure, name)
    needs = verdict.would_change if verdict.status == "inconclusive" else ""
    found = tuple(each.decided_by for each in verdict.effects)
    return Judged(claim, verdict, found or (verdict.figures,), needs, drawn)


def effects(found: Sequence[Effect]) -> Any:
    """What decides a claim: means with intervals, each seed, and what was fixed beforehand."""
    if not found:
        return None
    dots = []
    for each in found:
        times = 1 if each.unit == "votes" else 100
        value, low, high = (times * v for v in (each.found.value, each.found.low, each.found.high))
        seeds = tuple(times * value for value in each.values)
        form = "+.3f" if each.unit == "votes" else "+.1f"
        dots.append(
            Dot(
                each.name,
                value,
                low,
                high,
                f"{value:{form}}",
                seeds=seeds,
                bar=times * each.matters,
            )
        )
    units = {"points": "points of accuracy", "accuracy": "accuracy, %", "share": "% saved"}
    title = units.get(found[0].unit, found[0].unit)
    return figures.dots({"": dots}, f"{title}; tall bar: what was allowed", bounds={0.0: ""})


def matlab(lines: pd.DataFrame) -> Any:
    """Time of each form of the Matlab code divided by plain PyTorch's."""
    rivals = lines[
        (lines["framework"] == headline.OCTAVE)
        & lines["variant"].isin(FORMS)
        & lines["in_figure_3"]
        & (lines["standing"] != "none")
        & (lines["precision"] == "fp32")
        & lines["speedup_vs_reference"].notna()
    ]
    if rivals.empty:
        return None
    groups: dict[str, list[Dot]] = {}
    order = {name: n for n, name in enumerate(FORMS)}
    rivals = rivals.assign(order=[order[name] for name in rivals["variant"]])
    for line in rivals.sort_values(by="order").to_dict("records"):
        value, high, low = (
            1 / line[name] if line[name] > 0 else float("nan")
            for name in ("speedup_vs_reference", "speedup_low", "speedup_high")
        )
        scaled = not isnan(line["part"])
        said = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        dot = Dot(FORMS[line["variant"]], value, low, high, said, hollow=scaled)
        groups.setdefault(f"{shown.data_title(line)} {line['scale']}", []).append(dot)
    title = "times plain PyTorch's time; hollow: scaled from a part"
    return figures.dots(groups, title, log=True, bounds={10.0: "tens of times"})


def panels(found: pd.DataFrame) -> dict[str, Any]:
    """The first picture: each data set's ratios to the float32 floor, by its data's name."""
    return {
        _data_name(of): _ratios(of) for _, of in found.groupby("dataset", sort=False) if len(of)
    }


def _data_name(of: pd.DataFrame) -> str:
    return "; ".join(dict.fromkeys(filter(None, of["data_source"]))) or str(of["dataset"].iloc[0])


def _ratios(of: pd.DataFrame) -> Any:
    ends = tuple(f"ratio_to_fp32_floor{end}" for end in ("", "_low", "_high"))
    bounds = {1.0: "floor"}
    return figures.dots(
        _by_scale(of, ends, ".2f"), "x the float32 floor's time", log=True, bounds=bounds
    )


def _by_scale(of: pd.DataFrame, ends: tuple[str, ...], form: str) -> dict[str, list[Dot]]:
    """A line for each contender in each scale: a framework's best tuned form alone, bf16 last."""
    names = sorted(set(of["framework"]) - {FLOOR})
    groups: dict[str, list[Dot]] = {}
    for scale, cell in of.loc[of["framework"] != FLOOR].groupby("scale", sort=False):
        tuned = cell.loc[cell["kind"] == "tuned"].sort_values("ratio_to_floor")
        best = tuned.drop_duplicates("framework").index
        kept = cell.loc[~cell["kind"].isin(["tuned", "rival bf16"]) | cell.index.isin(best)]
        kept = kept.sort_values(["precision", "name"], ascending=[False, True])
        groups[str(scale)] = [
            Dot(
                line["name"],
                *(line[end] for end in ends),
                text="" if isnan(line[ends[0]]) else f"{line[ends[0]]:{form}}",
                colour=names.index(line["framework"]),
                hollow=line["rounds"] < headline.FEW,
                marker="D" if line["variant"] else "o",
            )
            for line in kept.to_dict("records")
        ]
    return groups


def speed(lines: pd.DataFrame, found: pd.DataFrame, refused: pd.DataFrame) -> Section | None:
    """Fig. 3: who takes how long and how much memory; None where nothing was timed."""
    if found.empty:
        return None
    machine = found["machine"].iloc[0]
    drawn = [
        Drawn(f"Time of a training step: {name}", figures.svg(figure, f"{name}, {machine}"))
        for name, figure in panels(found).items()
    ]
    for _, of in found.groupby("dataset", sort=False):
        sized = of.loc[of["peak_memory_mib"] > 0]
        if len(sized):
            name = f"Peak memory of a step: {_data_name(of)}"
            groups = _by_scale(sized, ("peak_memory_mib",), ",.0f")
            figure = figures.dots(groups, "MiB above the process before it was built", log=True)
            drawn.append(Drawn(name, figures.svg(figure, f"{name}, {machine}")))
    text = (
        "Above 1 lie neurons, pools, layout, batching over time, optimiser and allocation; it "
        "varies by machine. Lines are 95 % intervals, diamonds other forms of a framework, hollow "
        f"marks have fewer than {headline.FEW} rounds. Contenders whose intervals overlap share a "
        "rank."
    )
    notes = tuple(filter(None, headline.notes(found, lines, refused)))
    table = headline.speed_table(found)
    caption = f"x the float32 floor [95 %], {machine}"
    tables = html(Table(table.content, caption))
    title, csv = "Speed and memory (Fig. 3)", ("acceleration",)
    return Section("speed", title, text, tuple(drawn), (tables,), csv, notes)


def proof(frames: Frames) -> Section | None:
    """What was proved of whom; None where nothing was."""
    proofs, refused = provenance.proofs(frames), provenance.refused(frames)
    if proofs.empty:
        return None
    lines = [
        {
            "contender": each["contender"],
            "networks": each["networks"],
            "exams passed": f"{each['passed']} of {each['exams']}",
            "audits passed": f"{each['audits_passed']} of {each['audits']}",
            "spikes compared, M": f"{each['spikes'] / 1e6:,.0f}",
            "differ": f"{each['that_differ']:,}",
            "largest gradient error, float64": _error(each["gradient_error_fp64"]),
            "float32": _error(each["gradient_error_fp32"]),
        }
        for each in proofs.to_dict("records")
    ]
    tables = [html(Table(lines, "Proofs of each contender over all networks and machines"))]
    if len(refused):
        short = refused.assign(reason=[figures.short(each, 160) for each in refused["reason"]])
        tables.append(html(Table(short.head(12), "Exams and audits that failed")))
    text = (
        "A contender is proved equal before it is timed (exam), and the very object that is timed "
        "is held against the reference before and after its rounds (audit): every spike of every "
        "layer and step, every gradient. float64: no spike may differ, gradients within 1e-12; "
        "float32: one spike in a million, within 1e-5 of the threshold, gradients within 1e-5. "
        "bf16 is never called equal: it has audits of its own and a training that must end within "
        f"the spread of float32's seeds. {'' if len(refused) else 'No exam and no audit failed.'}"
    )
    return Section("proof", "Proof, in brief", text, (), tuple(tables), ("proofs",))


def _error(value: float) -> str:
    return "" if isnan(value) else f"{value:.0e}"


def _curve(name: str, group: Sequence[Any], x: Callable[[Any], float]) -> tuple[Curve, list[str]]:
    """Trainings as a curve of means over the seeds that learnt, and who did not, in words."""
    means, seeds, dead = [], [], []
    for each in group:
        learnt = {s: a for s, a in each.accuracies.items() if s not in each.lost}
        means.append(share([*learnt.values()]))
        seeds.append(tuple(100 * value for value in learnt.values()))
        dead += [f"{name} {each.scale}, T = {each.T}, seed {seed}" for seed in each.lost]
    ends = ([100 * getattr(m, end) for m in means] for end in ("value", "low", "high"))
    y, low, high = map(tuple, ends)
    return Curve(name, tuple(map(x, group)), y, low, high, tuple(seeds)), dead


def _caption(title: str, found: Sequence[Curve], dead: Sequence[str]) -> str:
    names = "; ".join(each.name for each in found)
    lost = f" Learnt nothing, and not in a mean: {'; '.join(dead)}." if dead else ""
    return f"{title}: {names}. Small dots: seeds.{lost}"


def _grouped(found: pd.DataFrame, *apart: str) -> Iterator[tuple[str, list[Any]]]:
    """Trainings that differ in these columns alone, with the name of their data."""
    names = [
        *("dataset", "neunorm", "framework", "width", "epochs", "train_samples", "data_source"),
        *("T", "scale", "precision"),
    ]
    for _, of in found.groupby([name for name in names if name not in apart], sort=False):
        first = of.iloc[0]
        title = shown.data_title(first.to_dict())
        more = f", NeuNorm {first['neunorm']}" if first["neunorm"] != "off" else ""
        yield f"{title}, {first['train_samples']:,} samples{more}", list(each_of(of))


def scale(frames: Frames) -> Section | None:
    """Fig. 4: accuracy of the three scales; None where that suite was not run."""
    found = trainings.trainings(frames, "scale")
    if found.empty:
        return None
    order = sorted(dict.fromkeys(found["scale"]), key=lambda name: paper.paper_order("", name))
    drawn = []
    for name, group in _grouped(found, "scale"):
        curve, dead = _curve(name, group, lambda each: float(order.index(each.scale)))
        names = {float(n): scale for n, scale in enumerate(order)}
        figure = figures.curves([curve], ("", "test accuracy, %"), names)
        caption = _caption("Accuracy by scale", [curve], dead)
        drawn.append(Drawn(caption, figures.svg(figure, caption)))
    text = "Test accuracy after the last epoch, with 95 % intervals over the seeds."
    return Section("scale", "Accuracy and scale (Fig. 4)", text, tuple(drawn), (), ("scale",))


def steps(frames: Frames) -> Section | None:
    """Fig. 5: accuracy against T; None where that suite was not run."""
    found = trainings.trainings(frames, "timesteps")
    if found.empty:
        return None
    drawn = []
    for name, group in _grouped(found, "T"):
        curve, dead = _curve(name, group, lambda each: float(each.T))
        curves = [curve]
        for each in group:
            rows = trainings.rows_of(frames, "tested", each)
            over: dict[Any, float] = {
                T: fmean(of) for T, of in rows.groupby("tested_T")["test_accuracy"]
            }
            if len(over) > 1:
                x = tuple(map(float, over))
                trained = f"trained over T = {each.T}"
                curves.append(
                    Curve(trained, x, tuple(100 * each for each in over.values()), dotted=True)
                )
        figure = figures.curves(curves, ("T, time steps", "test accuracy, %"))
        caption = _caption("Accuracy by T", [curve], dead)
        caption += " Dotted: trained over one T, tested over others." * (len(curves) > 1)
        drawn.append(Drawn(caption, figures.svg(figure, caption)))
    text = "Test accuracy after the last epoch, with 95 % intervals over the seeds."
    return Section("steps", "Accuracy and T (Fig. 5)", text, tuple(drawn), (), ("timesteps",))


def neunorm(frames: Frames, built: Mapping[str, pd.DataFrame]) -> Section | None:
    """Fig. 6: votes without and with NeuNorm; None where that suite was not run."""
    found = trainings.trainings(frames, "neunorm")
    if found.empty:
        return None
    matrices = [
        (each, np.mean([*map(np.array, rows["votes"])], axis=0))
        for each in each_of(found)
        if len(rows := trainings.rows_of(frames, "confusion", each))
    ]
    most = max((float(matrix.max()) for _, matrix in matrices), default=1.0)
    drawn = [_votes(each, matrix, most) for each, matrix in matrices]
    drawn += list(_by_epoch(trainings.trainings(frames, "accuracy"), "dvs-cifar10"))
    table = shown.trained(built["neunorm"]) if "neunorm" in built else []
    text = (
        "Mean votes over random test images, one scale of colours. target: the test accuracy that "
        "all readings reach with the same seed; contrast: the mean vote for the right class minus "
        "that for a wrong one."
    )
    tables = tuple(map(html, table))
    return Section("neunorm", "NeuNorm (Fig. 6)", text, tuple(drawn), tables, ("neunorm",))


def _votes(each: Any, matrix: np.ndarray, most: float) -> Drawn:
    photographs = each.dataset in ("cifar10", "dvs-cifar10") and not each.substitute
    named = photographs and len(matrix) == len(paper.CIFAR10_CLASSES)
    labels = paper.CIFAR10_CLASSES if named else [str(n) for n in range(len(matrix))]
    caption = f"{shown.data_title(each._asdict())}, NeuNorm {each.neunorm}: votes"
    figure = figures.votes(matrix.tolist(), labels, most)
    return Drawn(caption, figures.svg(figure, caption))


def _by_epoch(found: pd.DataFrame, dataset: str) -> Iterator[Drawn]:
    """How trainings without and with NeuNorm went on a data set: the mean over seeds."""
    curves = []
    for each in each_of(found.loc[found["dataset"] == dataset]):
        line: Any = each
        epochs = sorted(set.intersection(*(set(of) for of in line.curves.values())))
        y = tuple(100 * fmean(of[n] for of in line.curves.values()) for n in epochs)
        curves.append(Curve(f"NeuNorm {line.neunorm}", tuple(map(float, epochs)), y, plain=True))
    if curves and len(curves[0].x) > 1:
        title = shown.data_title(found.loc[found["dataset"] == dataset].iloc[0].to_dict())
        last = int(max(curves[0].x))
        ticks = {float(n): f"{n}" for n in range(0, last + 1, max(1, last // 6))}
        figure = figures.curves(curves, ("epoch", "test accuracy, %"), ticks, key=True)
        caption = f"{title}: test accuracy by epoch, the mean over seeds"
        yield Drawn(caption, figures.svg(figure, caption))


def tables(built: Mapping[str, pd.DataFrame]) -> Section | None:
    """Tables 3 to 6 in the paper's own columns, ours beside them; there is always one."""
    found = []
    for number in (3, 4, 5, 6):
        if str(number) in built:
            table = shown.of_paper(built[str(number)])
            title = f"Table {number}: {_dataset(number)}"
            found.append(html(Table(table.content, title, "", table.notes)))
    if not found:
        return None
    text = (
        "Test accuracy in %, ours with 95 % intervals over n seeds; * cited by the paper. What "
        "was run at a reduced width, on part of the data or over fewer epochs cannot be compared "
        "with a published figure: compare our rows with each other."
    )
    names = tuple(str(number) for number in (3, 4, 5, 6) if str(number) in built)
    return Section("tables", "Tables 3 to 6", text, (), tuple(found), names)


def _dataset(number: int) -> str:
    rows = published()
    return paper.settings(rows.loc[rows["table"] == number, "dataset"].iloc[0]).title


def _gains(frames: Frames) -> Iterator[tuple[Any, Dot]]:
    for each in each_of(trainings.ablated(frames)):
        line: Any = each
        if line.change == AS_IT_IS or not line.gains:
            continue
        gain = mean(line.gains)
        ends = (100 * gain.value, 100 * gain.low, 100 * gain.high)
        seeds = tuple(100 * value for value in line.gains)
        dot = Dot(line.change, *ends, f"{ends[0]:+.1f}", seeds=seeds, hollow=bool(line.lost))
        yield line, dot


def ablations(frames: Frames, built: Mapping[str, pd.DataFrame]) -> Section | None:
    """What changes of a training cost; None where that suite was not run."""
    found = list(_gains(frames))
    if not found:
        return None
    groups: dict[str, list[Dot]] = {}
    for line, dot in found:
        groups.setdefault(shown.data_title(line._asdict()), []).append(dot)
    caption = (
        "Accuracy minus that of the training without the change; hollow: a seed learnt nothing"
    )
    figure = figures.dots(groups, "points of test accuracy", bounds={0.0: "without the change"})
    text = "Each differs from the first in what its name says; seeds that both have are compared."
    table = shown.trained(built["ablations"], 120) if "ablations" in built else []
    drawn = (Drawn(caption, figures.svg(figure, caption)),)
    tables = tuple(map(html, table))
    return Section("ablations", "Ablations", text, drawn, tables, ("ablations",))


def also(frames: Frames) -> Iterator[str]:
    """What was found beside the claims: changes of a training that matter beyond doubt."""
    found = sorted(_gains(frames), key=lambda pair: -pair[1].value)
    for line, dot in found:
        lost = counted(len(line.lost), "seed")
        of = f"{shown.data_title(line._asdict())} {line.scale}"
        if len(line.lost) == len(line.accuracies):
            yield f"{dot.label}: nothing is learnt ({lost} of {len(line.accuracies)}, {of})."
        elif dot.low > 1 or dot.high < -1:
            gain = interval(dot.value, dot.low, dot.high, "+.1f")
            dead = f"; {lost} of {len(line.accuracies)} learnt nothing" if line.lost else ""
            yield f"{dot.label}: {gain} points of test accuracy on {of}{dead}."


def reduced(built: Mapping[str, pd.DataFrame]) -> Section | None:
    """How far our trainings fall short of the paper's."""
    suites = ("scale", "timesteps", "neunorm", "accuracy", "ablations")
    frames = [built[name].assign(suite=name) for name in suites if name in built]
    if not frames:
        return None
    lines = []
    for key, of in pd.concat(frames).groupby(["dataset", "suite"], sort=False):
        dataset, suite = cast(tuple[str, str], key)
        settings = paper.settings(str(dataset))
        lines.append(
            {
                "data set": settings.title,
                "suite": suite,
                "data": "; ".join(dict.fromkeys(map(shown.data_source, of.to_dict("records")))),
                "width": ", ".join(dict.fromkeys(of["width"])),
                "samples": _range(of["train_samples"]),
                "epochs": _range(of["epochs"]),
                "the paper's epochs": str(settings.epochs),
                "T": _range(of["T"]),
                "precision": ", ".join(dict.fromkeys(of["precision"])),
            }
        )
    text = (
        "The paper trains at full width, in float32, on all samples, with dropout. On two cores "
        "that takes months, so trainings here are narrower and shorter, on fewer samples, and a "
        "verdict of them is one at reduced scale: it speaks of trends and of our rows among each "
        "other, never of a published accuracy. Data that could not be had are simulated or stand "
        "in, and say so. The claim that bf16 trains as float32 was looked at after 3, 5 and 6 "
        "seeds: its one-sided error is about 5 % and not 2.5 %."
    )
    table = html(Table(lines, "Trainings of ours, and the paper's"))
    return Section("reduced", "What is reduced, and why", text, (), (table,), ())


def _range(values: Iterable[Any]) -> str:
    return ", ".join(f"{value:,.0f}" for value in sorted(set(values)))


def _data(frames: Frames) -> Table:
    found = provenance.data(frames).drop_duplicates(["dataset", "data_source", "data_sha256"])
    lines = [
        {
            "data set": paper.settings(each["dataset"]).title,
            "source": each["data_source"],
            "samples": f"{each['data_samples']:,.0f}",
            "sha256": each["data_sha256"][:12],
        }
        for each in found.to_dict("records")
    ]
    return Table(lines, "Data")


def _failures(frames: Frames) -> Markup:
    found = provenance.failures(frames)
    if found.empty:
        return Markup("<p>Nothing failed.</p>")
    short = [figures.short(each, 160) for each in found["reason"]]
    columns = ["suite", "dataset", "scale", "framework", "status", "reason", "rows"]
    return html(Table(found.assign(reason=short).loc[:14, columns], "What failed"))


def visible(text: str) -> str:
    """What of a page one can read: the texts of its elements."""
    text = re.sub(r"<(style|script|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", Markup(re.sub(r"<[^>]+>", " ", text)).unescape()).strip()
