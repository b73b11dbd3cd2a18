"""The report: from rows alone, without torch; every figure is the rows', and text stays text."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from cells import (
    MATLAB_REFUSED,
    REFUSED,
    contender,
    matlab,
    refused,
    rounds,
    run,
    run_in_bf16,
    slower_twin,
)
from fuzzing import MARKUP
from rows import (
    TRAIN,
    VOTES,
    all_altered,
    altered,
    bf16_training,
    certified,
    changed,
    retrained,
    row,
    rows_of_a_run,
    scales,
    training,
)
from surroundings import Command

from harness.analysis import timings
from harness.analysis.claims import CLAIMS, findings
from harness.analysis.frame import frames
from harness.analysis.words import contender_title
from harness.records import (
    AuditResult,
    CertificateResult,
    ConfusionResult,
    EndedResult,
    EpochResult,
    IterationResult,
    Row,
    Store,
    TestedResult,
    has,
    identity,
)
from harness.reports import fastest, figures, page, prose
from harness.reports.figures import Curve, Dot
from harness.spec import paper

RESULTS = Path(__file__).parents[1] / "results"
BEGIN, END = page.BEGIN, page.END


def written(rows: list[Row], folder: Path) -> str:
    page.write(rows, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    """A page in that folder, of some rows of every suite."""
    rows: list[Row] = [*run()]
    for suite in ("timesteps", "scale", "neunorm", "accuracy"):
        for seed in range(3):
            rows += training(seed, (0.2, 0.4 + 0.01 * seed), suite=suite)
            rows += training(seed, (0.3, 0.5 + 0.01 * seed), suite=suite, neunorm="mean")
    return written(rows, folder)


def visible(text: str) -> str:
    """The texts of a page's elements."""
    text = re.sub(r"<(style|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


class Read(HTMLParser):
    """The elements of a page, each with its attributes; every one that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def all(self, tag_name: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            a for tag, a in self.elements if tag == tag_name and attributes.items() <= a.items()
        ]


def test_the_page_has_every_claim_section_and_linked_table(text: str, folder: Path) -> None:
    read = Read(text)
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids) and {f"claim-{claim.id}" for claim in CLAIMS} <= set(ids)
    order = (
        "speed",
        "claims",
        "networks",
        "scale",
        "timesteps",
        "neunorm",
        "tables",
        "proofs",
        "reduced",
    )
    places = [ids.index(name) for name in (*order, "provenance")]
    assert places == sorted(places)
    links = {link["href"] or "" for link in read.all("a")}
    tables = {link for link in links if link[0] != "#"}
    assert {"tables/acceleration.csv", "tables/table3.csv", "tables/claims.csv"} <= tables
    assert all((folder / link).is_file() for link in tables)
    assert {link[1:] for link in links - tables} <= set(ids)
    frame = pd.read_csv(folder / "tables" / "acceleration.csv")
    (fused,) = frame.loc[frame["framework"] == "fused", "ratio_to_floor"]
    assert f"{fused:.2f} [" in visible(text)


def test_the_page_is_small_and_needs_no_network(text: str) -> None:
    read = Read(text)
    addresses = [a for element in read.elements for a in element[1].values() if a and "//" in a]
    assert addresses == [] and "@import" not in text and "<script" not in text
    assert len(text.encode()) < 1_000_000 and len(visible(text)) < 60_000


def test_the_page_can_be_read_on_phones_and_by_screen_readers(text: str) -> None:
    read = Read(text)
    # on a phone a cell stands with its head; settings are folded
    cells = read.all("td")
    assert cells and all("data-head" in cell for cell in cells)
    assert "loss mse" in text and "loss mse" not in re.sub(
        r"<details.*?</details>", "", text, flags=re.DOTALL
    )
    # headings follow one another, and what scrolls can be reached
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(second <= first + 1 for first, second in zip(levels, levels[1:], strict=False))
    regions, charts = read.all("div", **{"class": "scroll"}), read.all("svg", **{"class": "chart"})
    assert all((region["tabindex"], region["role"]) == ("0", "region") for region in regions)
    assert len(charts) > 6 and all(
        chart["role"] == "img" and chart["aria-label"] for chart in charts
    )


def spoilt(row: Row, text: str) -> Row:
    """The row with that text in every field that may hold any."""
    source = replace(TRAIN, description=text, note=text)
    row = altered(row, framework=text, cpu=text, source=source, torch=text)
    has_reason = isinstance(row.result, EndedResult | CertificateResult)
    return altered(row, reason=text) if has_reason else row


@pytest.mark.parametrize("evil", [" ".join(MARKUP), MARKUP[0], "]]> $a$ \x00"])
def test_names_with_markup_stay_text_on_the_page_and_in_pictures(evil: str, tmp_path: Path) -> None:
    rows = [spoilt(row, evil) if row.contender.framework == "snntorch" else row for row in run()]
    rows += [altered(row, scale=evil) for row in training(0, (0.5,), suite="scale")]
    rows.append(spoilt(row(EndedResult, contender="norse"), evil))
    files = {path.name: path.read_text("utf-8") for path in page.write(rows, tmp_path)}
    text = files["report.html"]
    assert not {"script", "img", "b", "http:"} & {tag for tag, *_ in Read(text).elements}
    tree = ElementTree.fromstring(files["picture.svg"])
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
        *("svg", "style", "rect", "text", "g", "path", "use", "defs", "clipPath", "desc", "title")
    }


MARKS = f"{END} <b>{BEGIN}</b> [x](http://there)\n\n# more"


@pytest.mark.parametrize("evil", [MARKS, MARKS.replace("<!-- ", "<!--\n"), " ".join(MARKUP)])
def test_the_readme_takes_no_mark_or_markup_from_a_row_and_stays_as_long(evil: str) -> None:
    rows = [spoilt(r, evil) if r.contender.framework == "snntorch" else r for r in run(cpu=evil)]
    text = block(rows, judged=True)
    once = page.updated(f"before\n{BEGIN}\n{END}\nafter\n", text, Path("x"))
    assert page.updated(once, text, Path("x")) == once
    assert once.count(BEGIN) == once.count(END) == 1
    assert "<b>" not in once and "](http" not in once and "\n# " not in once


def block(rows: list[Row], *, judged: bool = False) -> str:
    every = frames(rows)
    return page.block(every, findings(every) if judged else [])


def table(rows: list[Row]) -> list[dict[str, str]]:
    """The lines of the first table."""
    first_table = fastest.table(fastest.headline(timings.lines(frames(rows))), fastest.ratio_text)
    return [dict(zip(first_table.columns, line, strict=True)) for line in first_table.lines]


def test_the_first_table_is_by_framework_with_ours_last() -> None:
    (line,) = table([*run(), *contender("norse", 2.4), *contender("a new one", 3.0)])
    front = {"network": "CIFAR-10 Small", "n": "5", "floor, ms": "1,005"}
    ratios = {"PyTorch": "2.00", "Norse": "2.40", "snnTorch": "2.01", "a new one": "3.00"}
    assert [*line.items()] == [*(front | ratios | {"fused (ours)": "1.10"}).items()]
    text = block(run(cpu="Some CPU", threads=2, torch="2.13.0"))
    assert f"timing protocol {identity.PROTOCOL}, torch 2.13.0" in text
    assert "; timed 20" in text
    assert "5 rounds, 95 % intervals within 3 %" in text and page.block(frames([]), [])


def test_of_several_machines_one_is_open_at_a_time_and_contents_stay_in_view(
    text: str, tmp_path: Path
) -> None:
    both = Read(written([*run(), *THERE], tmp_path))
    opened = [("open" in fold) for fold in both.all("details", name="machine")]
    assert opened == [True, False]
    assert not Read(text).all("details", name="machine")
    # first is that of the first table, also where another has more timings of other networks
    fewer = [*run(cpu="Some"), *run(cpu="Some", scale="Middle"), *run(cpu="Other")]
    fewer += [row for t in (3, 4, 5) for row in run(cpu="Other", T=t, run=f"T{t}")]
    folds = re.findall('<details name="machine"( open)?><summary>(\\w+)', written(fewer, tmp_path))
    assert folds == [(" open", "Some"), ("", "Other")]
    assert re.search(r"@media \(min-width: \d+px\) \{[^@]*\bnav \{[^}]*position: sticky", text)


SEVERAL = [*run(), *contender("norse", 2.4), *contender("norse:compiled", 1.5)]


def test_in_bold_stand_those_that_no_other_of_their_line_is_faster_than(tmp_path: Path) -> None:
    for rows, best in ((SEVERAL, ["1.50 Norse, compiled"]), (run(), ["2.00", "2.01"]), (FEW, [])):
        assert re.findall(r"\*\*([\d.]+[^*]*)\*\* ", block(rows)) == best
        read = Read(written(rows, tmp_path))
        marked = [cell for cell in read.all("td") if "best" in (cell.get("class") or "").split()]
        assert len(marked) == len(best)


def test_the_first_screen_says_who_is_fastest_what_holds_and_where(tmp_path: Path) -> None:
    rows = [*SEVERAL, *scales((0.3, 0.4, 0.5))]
    holds = (
        r"1 of the paper's 9 claims hold in direction \(fig4\), trainings at width 1/8; "
        "none contradicted, 8 undecided or untested; "
        "none trained at the paper's size."
    )
    order = [
        "Untuned, ",
        holds,
        "Timed on ",
        "x the float32",
        "Best of the tuned",
        "Against the fastest framework",
    ]
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    page.write(rows, tmp_path / "out", readme)
    drawn, text = (tmp_path / "out" / "picture.svg").read_text("utf-8"), readme.read_text("utf-8")
    for shown_text in (visible((tmp_path / "out" / "report.html").read_text("utf-8")), text):
        shown_text = shown_text.replace("\\", "")
        places = [re.search(pattern, shown_text) for pattern in order]
        starts = [place.start() if place else -1 for place in places]
        assert min(starts) >= 0 and starts == sorted(starts)
    assert text.index("no GPU") < text.index('<img src="out/picture.svg" ') < text.index("x the")
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', drawn)[0])
    assert 480 * height / width <= 500
    assert verdict(training(0, (0.5,), suite="accuracy")) == verdict([]) == ""


def verdict(rows: list[Row]) -> str:
    return page.verdict(findings(frames(rows)))


def test_the_picture_has_room_on_a_screen_whatever_was_timed() -> None:
    many = [row for n in range(9) for row in contender(f"framework {n}", 2.0 + n)]
    rows = [*run(), *many]
    rows = [row for name in paper.SETTINGS for row in all_altered(rows, dataset=name)]
    drawn = fastest.picture(fastest.headline(timings.lines(frames(rows))))
    assert drawn and drawn[1].get_figheight() * 72 * 480 / figures.WIDTH <= 500


def first_sentences(rows: list[Row]) -> str:
    return " ".join(prose.sentences(timings.lines(frames(rows))))


def test_the_first_sentence_compares_frameworks_untuned_and_tuned() -> None:
    rows = run(cpu="Some CPU", threads=2)
    for words in (
        "none is measurably faster than PyTorch on 1 network: snnTorch cannot be told apart.",
        "Against the fastest framework, tuned or not, `fused`, this project's own engine, takes 4",
        "Timed on Some CPU, 2 threads; no GPU was timed.",
        "Best of the tuned forms that ran, on 0 of 1 network, none was timed.",
    ):
        assert words in first_sentences(rows)
    # plain PyTorch is a contender like any other; what ours has as a form is no rival
    tuned = [*contender("snntorch", 1.8, variant="compiled"), *contender("norse", 9.0)]
    tuned += contender("reference", 1.5, variant="compiled")
    tuned += contender("fused", 0.9, variant="dense")
    text = first_sentences([*run(), *tuned])
    assert "untuned: PyTorch, compiled takes 25 % less time." in text
    assert "Norse takes 350 % longer" in text and "dense" not in text
    assert "27 % less time" in text  # ours, against the tuned form
    # where one is timed alone its network counts too
    alone = run(scale="Middle", run="alone", cpu="Some CPU")
    alone = [row for row in alone if row.contender.framework != "snntorch"]
    assert "than PyTorch on 1 network:" in first_sentences([*rows, *alone])
    assert "forms that ran, on 0 of 2 networks" in first_sentences([*rows, *alone])
    assert "PyTorch alone was timed untuned." in first_sentences(alone)
    on_gpu = run(device="cuda", gpu="NVIDIA H100", run="other", cpu="Other")
    assert "GPU" not in first_sentences([*run(), *on_gpu])
    # no sentence without a rank, nor about our engine alone
    ours = [*rounds("floor", 1.0), *rounds("floor", 1.0, 3, twin=True), *contender("fused", 0.5)]
    assert {first_sentences(rows).strip() for rows in (FEW, ours, [])} == {""}


@pytest.mark.parametrize(
    ("others", "end"),
    [
        ([([], [], 9)], ": A cannot be told apart on all 9."),
        ([([3.0, 9.6], [], 7)], ": A takes up to 10 % longer (not told apart on 7)."),
        (
            [([3.0], [4.0], 1)],
            ": A takes 3 % longer on 1, 4 % less time on 1 and cannot be told apart on 1.",
        ),
        ([([], [4.0], 1)], ": A takes 4 % less time on 1 and cannot be told apart on 1."),
        ([([], [4.0, 7.0], 0)], ": A takes 4 to 7 % less time on all 2."),
        ([([*[30.0] * 8, 11.0], [], 0)], ": A takes 11 to 30 % longer."),
        (
            [([5.0], [], 8), ([11.0], [], 2), ([230.0], [], 0), ([], [1.0], 8)],
            ": A takes up to 5 % longer (not told apart on 8), B up to 11 % (not told apart on 2 "
            "of 3), C 230 % (1 network); D takes 1 % less time on 1 and cannot be told apart on "
            "8.",
        ),
        ([], "."),
    ],
)
def test_the_headline_has_each_by_how_much_and_on_how_many_networks(
    others: list[tuple[list[float], list[float], int]], end: str
) -> None:
    named = [
        fastest.Difference(name, *figures_of)
        for name, figures_of in zip("ABCD", others, strict=False)
    ]
    leader = fastest.Leader("PyTorch", 8, 9, named)
    assert (summary := fastest.summary(timings.lines(frames(run()))))
    words = prose.environment(is_html=False).get_template("fastest.j2").module
    sentence = words.frameworks(replace(summary, leader=leader))  # type: ignore[attr-defined]
    assert sentence == f"Untuned, none is measurably faster than PyTorch on 8 of 9 networks{end}"


def test_a_framework_has_one_colour_whatever_else_was_timed() -> None:
    few = fastest.charts(fastest.headline(timings.lines(frames(run()))))
    more = [*run(), *contender("jax", 5.0), *contender("another", 5.0)]
    drawn = [*few, *fastest.charts(fastest.headline(timings.lines(frames(more))))]
    times = [str(figures.svg(figure, name)) for name, figure in drawn if name.startswith("Time")]
    colours = [
        set(re.findall(r"<title>snnTorch: .*?var\(--(c\d)\)", svg, re.DOTALL)) for svg in times
    ]
    assert colours[0] == colours[1] and len(colours[0]) == 1


def test_rows_without_the_default_networks_leave_the_readme_as_it_is(
    tmp_path: Path, command: Command
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(former := f"{page.BEGIN}\nthe table\n{page.END}\n")
    Store(tmp_path / "few").append(*all_altered(run(), width=Fraction(1, 8)))
    code, _, error = command("report", "--out", tmp_path / "few", "--readme", readme)
    assert code == 2 and "leave --readme out" in error and readme.read_text() == former
    assert command("report", "--out", tmp_path / "few")[0] == 0
    Store(tmp_path / "all").append(*run())
    assert command("report", "--out", tmp_path / "all", "--readme", readme)[0] == 0
    assert readme.read_text() != former


def test_the_readme_shows_each_claims_interval_seeds_and_answer() -> None:
    rises, falls = scales((0.3, 0.4, 0.5), seeds=4), scales((0.5, 0.4, 0.3), seeds=4)
    for rows, answer, counts in (
        (rises, "reproduced", "✓ 1 reproduced"),
        (rises[:-1], "open (3 of 4 seeds)", "○ 1 open"),
        (falls, "contradicted, width 1/8", "✗ 1 contradicted"),
    ):
        lines = block(rows, judged=True).splitlines()
        (claim,) = (line for line in lines if "Accuracy rises from Small" in line)
        plain = re.split(r" \(|,", answer)[0]
        assert claim.startswith("| fig4 |")
        assert claim.split(" | ")[2].endswith(f" {plain}, width 1/8")
        (line,) = (line for line in lines if "one size up" in line)
        start = r"\| fig4 \| CIFAR-10: points gained, one size up \| rises "
        start += r"\| ([+-]10.0)( \[\1, \1\])?, n="
        assert re.match(start, line.replace("\\", "")) and line.endswith(f" {answer} |")
        says = " ".join(lines)
        assert "Trainings have width 1/8" in says
        assert "Their data: photographs." in says
        assert f"each as its least sure part: {counts}, · 8 not tested." in says
        assert ("which were fixed beforehand" in says) == ("open" in answer)
    simulated = block(all_altered(rises, source=replace(TRAIN, simulated=True)), judged=True)
    assert "Their data: photographs (simulated)." in simulated.replace("\\", "")


def test_a_claims_answer_has_a_sign_a_colour_an_id_and_what_speaks_against_it(
    tmp_path: Path,
) -> None:
    rows, falls = scales((0.3, 0.4, 0.5)), scales((0.5, 0.4, 0.3), dataset="nmnist")
    text = written([*rows, *falls[:-1]], tmp_path)
    lines = re.findall("<tr.*?</tr>", text[text.index('id="claims"') :], re.DOTALL)
    (first, second) = (line for line in lines if "one size up" in line)
    assert 'class="reproduced"' in first and "✓ reproduced" in first and "○ open" in second
    # the claim's own answer stands first, as sure as its least sure part
    claim = next(line for line in lines if 'id="fig4"' in line)
    assert lines.index(claim) < lines.index(first) and "○ open" in claim
    assert "1 reproduced, 1 open" in claim and 'class="open"' in claim
    assert "○ 1 open, · 8 not tested." in visible(text)
    judged = findings(frames(rows))
    assert "against it" not in page.claims_table(judged).columns
    table = page.claims_table([replace(finding, doubts="one seed decides") for finding in judged])
    assert table.columns[-1] == "against it" and table.lines[0][-1] == "one seed decides"


def test_our_own_check_is_a_line_below_the_claims_and_not_counted() -> None:
    rows = [row for seed in range(6) for row in training(seed, (0.5,), suite="ablations")]
    bf16 = retrained(rows, precision="bf16")
    judged = findings(frames([*rows, *bf16, *scales((0.3, 0.4, 0.5))]))
    table = page.claims_table(judged)
    assert len(table.lines) == 1 and not any("bf16" in cell for (_, cell, *_) in table.lines)
    (note,) = table.notes
    assert "bf16 minus float32" in note and "n=6, reproduced" in note
    assert "✓ 1 reproduced, · 8 not tested." in page.brief_claims(judged)[0].subtitle


def test_contenders_have_one_name_for_readers_and_csv_their_ids(tmp_path: Path) -> None:
    for name, title in (
        ("norse:compiled", "Norse, compiled"),
        ("reference", "PyTorch"),
        ("fused bf16", "fused, bf16"),
        ("norse@1.0.0:compiled", "Norse 1.0.0, compiled"),
        ("a new one", "a new one"),
    ):
        assert contender_title(name) == title
    twice = [*certified("norse"), *certified("norse", cpu="Other")]
    text = written([*run(), *twice, *refused(run())], tmp_path)
    assert "Norse" in visible(text) and "snntorch" not in visible(text)
    proofs = pd.read_csv(tmp_path / "tables" / "proofs.csv").set_index("contender")
    assert proofs.loc["norse", "machines"] == 2


def test_a_figure_of_a_claim_has_one_unit_an_axis() -> None:
    points = 0.3, 0.4, 0.5
    rows = [*scales(points), *scales(points, dataset="nmnist")]
    drawn = {claim.id: figure for claim, _, figure in page.answered(findings(frames(rows)))}
    both = str(drawn["fig4"])
    assert both.count("<svg") == 2 and "points of accuracy" in both and "% taken away" in both


def test_the_first_table_has_the_best_proved_tuned_form() -> None:
    tuned = [*contender("snntorch", 1.5, variant="compiled")]
    tuned += contender("snntorch", 1.8, variant="channels-last")
    cheat = changed(contender("snntorch:fast", 0.2), AuditResult, REFUSED, when="late")
    (line,) = table([*run(), *tuned, *cheat])
    assert line["best tuned"] == "1.50 snnTorch, compiled"
    assert list(line)[-2:] == ["best tuned", "fused (ours)"]


def test_later_runs_in_bf16_of_other_seeds_and_batches_take_no_figure_away() -> None:
    fields: dict[str, Any] = {"run": "later", "precision": "bf16"}
    later = [*rounds("floor", 0.5, **fields), *contender("jax", 0.5, **fields)]
    later += contender("snntorch", 0.5, variant="fast", **fields)
    later += [*contender("norse", 0.6, **fields), *contender("fused", 0.6, **fields)]
    (line,) = table([*run(), *later])
    assert line["PyTorch"] == "2.00"
    text = block([*run(), *run(seed=1, run="s1"), *run(scale="Middle", batch_size=100, run="m")])
    assert "on any of 2 networks" in text and "batch 20 to 100" in text


def test_a_version_is_drawn_against_the_installed_form_of_its_variant() -> None:
    compiled = contender("norse:compiled", 1.0)
    rows = [*run(), *compiled, *contender("norse@1.0.0:compiled", 2.0)]
    ((_, drawn),) = fastest.versions(frames([*rows, *contender("norse", 4.0)]))
    assert "2.00" in texts(drawn)


FEW = [row for row in run() if not has(row, IterationResult) or row.result.round < 3]
LATER = [*rounds("floor", 1.0, run="later"), *contender("jax", 0.1, run="later")]
OLDER = [row for n in range(3) for row in run(cpu="Older", protocol=1, run=f"old{n}")]
THERE = run(cpu="Other", run="other")
DIED = row(EndedResult, contender="norse", scale="Middle", reason="its process died")
ABSENT = [*run(), *contender("norse", 2.4), *run(scale="Middle"), DIED]
ELSEWHERE = row(EndedResult, contender="norse", scale="Middle", status="missing", run="other")
NEVER_TIMED = [*run(), *contender("norse", 2.4), *run(scale="Middle"), ELSEWHERE]
LACKING = changed(run(), AuditResult, None, contender="reference", when="late")
for name in ("snntorch", "fused"):
    LACKING = changed(LACKING, AuditResult, None, framework=name, when="before")
ONE_TUNED = [*run(), *contender("norse:compiled", 1.5), *run(scale="Middle")]
KILLED = row(EndedResult, contender="norse:compiled", reason="its process died")
TUNED_DIED = [
    *run(),
    *contender("snntorch:compiled", 1.5),
    *contender("norse:compiled", 1.2),
    KILLED,
]
NAMES = ("Middle", "Large", "OurModel", "AlexNet")
FEW_TUNED = [*ONE_TUNED, *(row for name in NAMES for row in run(scale=name, run=name))]
HERE = [row for n in range(2) for row in run(cpu="Some", run=f"s{n}")]


@pytest.mark.parametrize(
    ("rows", "says", "never"),
    [
        (FEW, "fewer than 5 rounds: preliminary", "failed"),
        (FEW, "Nobody is ranked on CIFAR-10 Small: preliminary: 2 rounds", "Untuned"),
        # only figures of one run are compared
        ([*run(), *LATER], "timed", "jax"),
        (ABSENT, "No figure: Norse on CIFAR-10 Middle (its process died).", "Norse on CIFAR-10 S"),
        (ONE_TUNED, "No figure: best tuned on CIFAR-10 Middle (not timed).", "preliminary"),
        # the best tuned form that has a figure may not be the best
        (
            TUNED_DIED,
            "No figure: Norse, compiled on CIFAR-10 Small (its process died).",
            "not timed",
        ),
        (FEW_TUNED, "No figure: best tuned on 4 networks (not timed).", "AlexNet ("),
        (slower_twin(run(), 1.3), "ranked on CIFAR-10 Small: the A/A interval", "Untuned"),
        (refused(run()), "snnTorch failed a proof in some run of CIFAR-10", "preliminary"),
        (
            refused(run(source=replace(TRAIN, substitute=True))),
            "snnTorch failed a proof in some",
            "preliminary",
        ),
        (LACKING, "Nobody is ranked on CIFAR-10 Small: not audited", "Small: ."),
        (NEVER_TIMED, "Norse on CIFAR-10 Middle (not timed)", "timed in another"),
        ([*OLDER, *THERE, *HERE], "On Other, 2 threads: untuned 2.00 to 2.01", "Older"),
    ],
)
def test_reservations_about_the_first_table_are_stated(
    rows: list[Row], says: str, never: str
) -> None:
    text = block(rows)
    assert says in text and never not in text
    assert table(rows)[0]["fused (ours)"].endswith(" *") == (rows is FEW)


def test_bf16_is_on_the_page_once_its_bar_is_passed() -> None:
    passed = [*run_in_bf16(), bf16_training("fused")]
    is_named = [
        "in bf16, against itself in float32, it takes 45 %" in first_sentences(r)
        for r in (run_in_bf16(), passed)
    ]
    assert is_named == [False, True]
    ((_, drawn),) = fastest.charts(fastest.headline(timings.lines(frames(passed))))
    words = texts(drawn)
    assert {"fused, bf16 (ours)", "0.60"} <= set(words)
    # the others by their time, and ours last
    names = ("PyTorch", "snnTorch", "fused, bf16 (ours)", "fused (ours)")
    assert [word for word in words if word in names] == [*names]


def test_an_interval_that_leaves_its_figure_has_an_arrow_there() -> None:
    inside, outside = ([Dot("a", 1.0, 0.9, high), Dot("b", 2.0)] for high in (1.1, 99.0))
    drawn = [str(figures.svg(figures.dots({"": dots}, "x"), "name")) for dots in (inside, outside)]
    assert drawn[1].count("<use") == drawn[0].count("<use") + 1


def texts(figure: Any) -> list[str]:
    """The texts in a figure."""
    drawn = figures.svg(figure, "what it shows")
    assert ' role="img" aria-label="what it shows"' in drawn
    return written_in(drawn)


def written_in(drawn: str) -> list[str]:
    tree = ElementTree.fromstring(re.sub("xlink:", "", drawn))
    return [element.text or "" for element in tree.iter("text")]


def test_figures_have_texts_as_texts_and_colours_of_the_page_alone() -> None:
    two = {"Small": [Dot("fused", 0.5, 0.25, 1.0, "0.50"), Dot("a" * 40, 2.0)]}
    dots = figures.dots(two, "x floor", log=True, bounds={1.0: "floor"})
    points = {str(x): Dot("", 10.0 * x, x, 11.0 * x, seeds=(9.0 * x,)) for x in (1, 4)}
    dotted = Curve("trained at 2", {"2": Dot("", 5.0), "4": Dot("", 41.0)}, ":")
    curves = figures.curves([Curve("all", points), dotted], ("T", "accuracy, %"), "124")
    votes = figures.votes([[1.0, 0.0], [0.5, 1.0]], ("cat", "dog"), 1.0)
    assert {"Small", "fused", "0.50", "a" * 40, "floor", "x floor", "0.5"} <= set(texts(dots))
    assert {"1", "2", "4", "T", "accuracy, %", "all", "trained at 2"} <= set(
        texts(curves)
    ) and "cat" in texts(votes)
    assert "stroke-dasharray" in figures.svg(curves, "name")
    for figure in (dots, curves, votes):
        drawn = str(figures.svg(figure, "name"))
        assert not re.search(r"#[0-9a-f]{6}\b", drawn.replace('"#', '"')), drawn
        assert figures.svg(figure, "name") == drawn and "var(--ink)" in drawn


def test_a_label_of_a_curve_that_ends_early_stands_in_no_other_points_way() -> None:
    early, last = {"1/8": Dot("", 70.0), "1/4": Dot("", 78.0)}, {"1": Dot("", 78.2)}
    for label, other, is_left in (
        ("ANN, dropout 0", last, True),
        ("ANN, dropout 0", {"1": Dot("", 70.0)}, False),
        ("A", last, False),
    ):
        curves = [Curve(label, early), Curve("other", other)]
        drawn = str(figures.svg(figures.curves(curves, ("width", "%"), ["1/8", "1/4", "1"]), "n"))
        (style,) = re.findall(f'<text style="([^"]*)"[^>]*>{label}</text>', drawn)
        assert ("text-anchor: end" in style) == is_left


def test_matlab_code_has_a_figure_of_its_own_once_proved_and_no_place_in_the_first_table() -> None:
    timed = frames(matlab(im2col=2.0, conv2=200.0))
    for rows, there in ((timed, True), (frames(MATLAB_REFUSED), False)):
        drawn = [figure for claim, _, figure in page.answered(findings(rows)) if claim.id == "fig3"]
        assert len(drawn) == there
        for figure in drawn:
            words = "Speed over Matlab's conv2, CIFAR-10"
            assert figure and {words, "200", "tens of times"} <= set(written_in(figure))
    (cell,) = fastest.headline(timings.lines(timed))
    assert {line.name for line in cell.lines} == {"floor", "reference"}
    text = block([*timed.rows], judged=True)  # only trainings have a usual width
    assert "where no other is named" not in text and "reproduced, Octave, CPU" in text


def test_the_picture_is_a_file_of_its_own_with_both_colours(tmp_path: Path) -> None:
    page.write(run(source=replace(TRAIN, description="a < b"), cpu="Some CPU"), tmp_path)
    drawn = (tmp_path / "picture.svg").read_text("utf-8")
    words = " ".join(ElementTree.fromstring(drawn).itertext())
    assert (
        "a < b" in words and "Some CPU" in words and "fused" in words and "CIFAR-10 Small" in words
    )
    assert "prefers-color-scheme: dark" in drawn
    for name, rows in (
        ("trained", training(0, (0.5,), suite="scale")),
        ("floor", rounds("floor", 1.0)),
    ):
        assert written(rows, tmp_path / name)
        assert not (tmp_path / name / "picture.svg").exists()


def test_the_figure_of_widths_names_the_schedule(tmp_path: Path) -> None:
    narrow = [r for n in (0, 1) for r in training(n, (0.3, 0.5 + n / 10), suite="accuracy")]
    wide = training(0, (0.6, 0.7), suite="accuracy", width=Fraction(1))
    trained = retrained(
        [*retrained(wide, dropout=0.5), *wide, *narrow], stages=(40, 5, 5), epochs=50
    )
    page = written(trained, tmp_path)
    assert "Accuracy by width: CIFAR-10, CIFARNet, 900 samples, epochs: 40+5+5, from a " in page
    (svg,) = re.findall(r'<svg[^>]*aria-label="Accuracy by width.*?</svg>', page, re.DOTALL)
    names = ["1/8", "1"]
    assert [name for name in written_in(svg) if name in names] == names
    assert {"SNN, dropout 0", "SNN, dropout 0.5", "paper, ANN"} <= {*written_in(svg)}
    assert "paper, ANN 1: 90.49" in hovers(svg) and "n = 2" in " ".join(hovers(svg))
    # what differs in dropout alone is joined by no line
    assert joined(svg) == 1 and "paper" not in " ".join(hovers(svg)[:1])
    of_ann = retrained([*narrow, *wide], contender="ann")
    (both,) = drawn([*narrow, *wide, *of_ann], tmp_path, "Accuracy by width")
    assert {"SNN", "ANN"} <= {*written_in(both)} and joined(both) == 2
    better = [r for n in (0, 1) for r in training(n, (0.3, 0.7), suite="accuracy")]
    of_ann = retrained([*better, *wide], contender="ann")
    (gap,) = drawn([*narrow, *wide, *of_ann], tmp_path, "The gap by width")
    assert {"SNN 1/8: -15", "SNN 1: 0"} <= {re.split(r" \[|,", mark)[0] for mark in hovers(gap)}
    text = written(narrow, tmp_path)
    assert "Accuracy by width" not in text and "The gap by width" not in text


def test_a_figure_is_of_trainings_as_were_fixed_where_there_are_any(tmp_path: Path) -> None:
    fixed, events = scales((0.3, 0.4, 0.5)), scales((0.3, 0.4, 0.5), dataset="nmnist")
    older = retrained(fixed, stages=(), epochs=12)
    for n, (rows, count) in enumerate(((older, 1), ([*older, *fixed], 1), ([*older, *events], 2))):
        assert len(drawn(rows, tmp_path / str(n), "Accuracy by scale")) == count
    earlier = training(0, (0.5,), suite="neunorm")
    both = [*earlier, *training(0, (0.5,), "mean", suite="neunorm", stages=(40, 5, 5))]
    for rows, reading in ((earlier, "off"), (both, "mean")):
        (of_votes,) = drawn(rows, tmp_path / reading, "votes on")
        assert f"NeuNorm {reading}" in of_votes


def test_trainings_that_a_reader_would_take_for_one_another_say_what_differs(
    tmp_path: Path,
) -> None:
    rows = [
        row for suite in ("accuracy", "neunorm") for row in training(0, (0.5,), "mean", suite=suite)
    ]
    uniform = retrained(rows, u=None)
    wide = scales((0.3, 0.4, 0.5), width=Fraction(1, 4))
    alone, page = written(rows, tmp_path / "a"), written([*rows, *uniform], tmp_path / "b")
    assert "NeuNorm mean, U at first" not in alone
    for u in ("1", "uniform"):
        assert page.count(f", NeuNorm mean, U at first {u}<") == 1
        assert f"1 seed, U at first {u}</figcaption>" in page
    (narrow,) = drawn(scales((0.3, 0.4, 0.5)), tmp_path / "c", "Accuracy by scale")
    both = drawn([*wide, *scales((0.3, 0.4, 0.5))], tmp_path / "d", "Accuracy by scale")
    names = [re.findall('aria-label="([^"]*)"', svg)[0] for svg in (narrow, *both)]
    assert ["width" in name for name in names] == [False, True, True]
    assert {re.findall("width 1/.", name)[0] for name in names[1:]} == {"width 1/4", "width 1/8"}


def hovers(svg: str) -> list[str]:
    """What a pointer on each mark of a figure shows."""
    return [unescape(title) for title in re.findall("<title>(.*?)</title>", svg, re.DOTALL)]


def joined(svg: str) -> int:
    """How many lines of a figure join points at several places of the horizontal axis."""
    paths = re.findall(r'<path d="(M [^"zC]*)"[^>]*clip-path', svg)
    places = [{place.split()[0] for place in re.findall(r"[\d.]+ [\d.]+", path)} for path in paths]
    heights = [{place.split()[1] for place in re.findall(r"[\d.]+ [\d.]+", path)} for path in paths]
    return sum(len(x) > 1 and len(y) > 1 for x, y in zip(places, heights, strict=True))


def test_accuracy_by_first_rate_is_of_trainings_that_differ_in_nothing_else(tmp_path: Path) -> None:
    rows = [row for n in (0, 1) for row in training(n, (0.5 + n / 10,), suite="accuracy")]
    steep = retrained(rows, lr=0.5)
    other = retrained(steep, dropout=0.5)
    (svg,) = drawn([*rows, *steep], tmp_path / "a", "Accuracy by first learning rate")
    assert "0.5" in written_in(svg) and "first learning rate" in written_in(svg)
    assert any("0.5: 55 [" in mark and "n = 2" in mark for mark in hovers(svg))
    assert not drawn(rows, tmp_path / "b", "Accuracy by first learning rate")
    assert not drawn([*rows, *other], tmp_path / "c", "Accuracy by first learning rate")


def test_votes_are_drawn_as_what_neunorm_adds_with_a_scale(tmp_path: Path) -> None:
    less = tuple(tuple(0.25 * vote for vote in line) for line in VOTES)
    plain = training(0, (0.3,), suite="neunorm")
    plain = changed(plain, ConfusionResult, {"votes": less})
    rows = [*plain, *training(0, (0.3,), "mean", suite="neunorm")]
    (svg,) = drawn(rows, tmp_path, "votes on")
    most = 0.75 * max(max(line) for line in VOTES)
    assert "minus those without, 1 seed" in svg
    assert f"{most:.2f}" in " ".join(written_in(svg)) and f": {most:.3f}" in " ".join(hovers(svg))


def test_figures_of_speed_side_by_side_have_one_axis() -> None:
    rows = [*run(), *contender("norse", 9.0)]
    rows += all_altered(run(), dataset="nmnist")
    drawn = [*fastest.charts(fastest.headline(timings.lines(frames(rows))))]
    first, second = (figure for name, figure in drawn if name.startswith("Time"))
    assert first.axes[0].get_xlim() == second.axes[0].get_xlim()
    assert "9.00" in texts(first) and "9.00" not in texts(second)


def test_a_mark_of_a_timing_shows_its_ms_interval_and_rounds_on_hover() -> None:
    ((_, figure), *_) = fastest.charts(fastest.headline(timings.lines(frames(run()))))
    marks = hovers(str(figures.svg(figure, "name")))
    (mark, *_) = [text for text in marks if text.startswith("snnTorch: ")]
    assert re.fullmatch(r"snnTorch: [\d,.]+ ms, 2.01 \[.*\] x .* time, n = 5.*", mark)


def drawn(rows: list[Row], folder: Path, label: str) -> list[str]:
    """The figures of a report that have this in their labels."""
    pattern = rf'<svg[^>]*aria-label="[^"]*{label}.*?</svg>'
    return re.findall(pattern, written(rows, folder), re.DOTALL)


def test_dotted_lines_are_of_the_seeds_that_learnt(tmp_path: Path) -> None:
    rows: list[Row] = []
    for seed, value in enumerate((0.6, 0.62, 0.1)):
        rows += training(seed, (value,), suite="timesteps")
    rows = changed(rows, EpochResult, lambda r: {"train_accuracy": r.result.test_accuracy})
    lost, learnt = (
        changed(rows, TestedResult, {"test_accuracy": 0.9}, seed=seed, tested_T=1)
        for seed in (2, 1)
    )
    first, same, other = (
        drawn(learnt_rows, tmp_path / str(n), "Accuracy by T")
        for n, learnt_rows in enumerate((rows, lost, learnt))
    )
    assert first and first == same != other


def test_the_figure_of_votes_has_those_on_500_samples_alone(tmp_path: Path) -> None:
    rows = training(0, (0.3,), suite="neunorm")
    others = tuple(tuple(1 - vote for vote in line) for line in VOTES)
    of_all: dict[str, Any] = {"confusion_samples": 150, "votes": others}
    more = all_altered((r for r in rows if has(r, ConfusionResult)), **of_all)
    both, alone = (
        drawn(of_folder, tmp_path / name, "votes on")
        for name, of_folder in (("both", [*rows, *more]), ("alone", rows))
    )
    assert len(both) == 1 and both == alone and "votes on 50 samples, 1 seed" in both[0]


def test_the_page_shows_existing_results_and_names_few_failures(tmp_path: Path) -> None:
    fine, lost = training(0, (0.6,), suite="scale"), training(1, (0.1,), suite="scale")
    lost = changed(lost, EpochResult, {"train_accuracy": 0.1})
    proofs: list[Row] = [*certified("fused", spikes=3_000_000)]
    failed: list[Row] = [
        row(CertificateResult, contender="norse", certified=False, reason="spikes differ", T=t)
        for t in range(1, 60)
    ]
    for rows, named, absent in (
        ([*fine, *lost], ("Learnt nothing, and not drawn: ", "seed 1."), ()),
        (fine, (), ("Learnt nothing", 'id="speed"')),
        (rows_of_a_run(), ('id="speed"', "not tested"), ('id="timesteps"', 'class="claim"')),
        ([*proofs, *failed], ("spikes differ",), ("No exam and no audit failed.",)),
        (proofs, ("No exam and no audit failed.",), ()),
        (failed[:1], ("Exams and audits that failed",), ("No exam and no audit failed.",)),
    ):
        folder = tmp_path / str(len(rows))
        text = written(rows, folder)
        assert all(words in text for words in named) and not any(words in text for words in absent)
        assert text.count("spikes differ") <= 1
        assert (folder / "tables" / "scale.csv").exists() == any(r.suite == "scale" for r in rows)


def test_the_command_writes_the_page_and_names_damage(tmp_path: Path, command: Command) -> None:
    Store(tmp_path).append(*run())
    damaged = tmp_path / "records" / "scale.jsonl"
    damaged.write_text('{"schema": 99}\n')
    code, out, error = command("report", "--out", tmp_path)
    assert code == 0 and f"skipped: {damaged}:" in error
    assert out.startswith("Untuned, ") and "not tested" not in out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    (tmp_path / "no text").write_bytes(b"\xff")
    code, _, error = command("report", "--out", tmp_path, "--readme", tmp_path / "no text")
    assert code == 2 and "is no text in UTF-8" in error


# Reads results where nothing that only computes can be imported.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *given):
        absent = ("torch", "numba", "snntorch", "spikingjelly", "norse", "tonic", "ray")
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import harness.cli
harness.cli.main()
"""


@pytest.mark.slow
def test_the_committed_report_is_of_the_committed_rows_and_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "published").symlink_to(RESULTS / "published")
    command = [sys.executable, "-c", WITHOUT, "report", "--out", tmp_path]
    subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    paths = sorted(path.relative_to(tmp_path) for path in (tmp_path / "tables").iterdir())
    assert paths == sorted(path.relative_to(RESULTS) for path in (RESULTS / "tables").iterdir())
    for path in paths:  # the last digits of a logarithm are another on another CPU
        committed, now = (pd.read_csv(folder / path) for folder in (RESULTS, tmp_path))
        pd.testing.assert_frame_equal(committed, now, rtol=1e-8, obj=f"{path}: harness report")
    texts = [visible((out / "report.html").read_text("utf-8")) for out in (RESULTS, tmp_path)]
    assert texts[0] == texts[1], "run `harness report`"
    readme, store_rows = (RESULTS.parent / "README.md").read_text("utf-8"), Store(RESULTS).read()
    rows = frames(store_rows[0])
    current = page.block(rows, findings(rows), "results/picture.svg")
    made_anew = page.updated(readme, current, Path("README.md"))
    assert readme == made_anew, "run `harness report`"
    assert not store_rows[1]
    # no row of its claims is longer than a glance
    claims = page.claims_table(findings(store_rows[0])).lines
    longest = max(len(" | ".join(line[:5])) for line in claims)
    assert len(claims) > 10 and longest <= 119  # a sign, and "simulated", more than a hundred
