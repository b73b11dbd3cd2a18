"""The page as a reader finds it: with a keyboard, a narrow screen, no script and no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rows import certified, row
from test_ranks import run
from test_report import rows

from harness.records import CertificateRow
from harness.report.page import page

VOID = {"meta", "link", "br", "img", "hr", "input"}
Attributes = dict[str, str | None]


class Outline(HTMLParser):
    """Every element with its attributes and the names of those around it; ids; headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, Attributes, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def all(self, *tags: str) -> list[Attributes]:
        return [attributes for tag, attributes, _ in self.elements if tag in tags]


@pytest.fixture(scope="module")
def text() -> str:
    return page(rows())


@pytest.fixture(scope="module")
def outline(text: str) -> Outline:
    return Outline(text)


def test_elements_are_closed_and_ids_are_each_ones_own(outline: Outline) -> None:
    assert outline.open == []
    ids = Counter(attributes["id"] for _, attributes, _ in outline.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    targets = [attributes["href"] or "" for attributes in outline.all("a")]
    assert targets and all(target.removeprefix("#") in ids for target in targets)


def test_headings_follow_one_another_and_the_findings_are_in_main(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all("main" in around for tag, _, around in outline.elements if tag in ("h2", "figure"))


def test_every_table_has_a_name_and_heads_and_what_scrolls_can_be_reached(outline: Outline) -> None:
    regions = [each for each in outline.all("div") if "scroll" in (each.get("class") or "").split()]
    assert all((each["tabindex"], each["role"]) == ("0", "region") for each in regions)
    names = Counter(each["aria-label"] for each in regions)
    assert [name for name, n in names.items() if n > 1 or not name] == []
    tables = outline.all("table")
    assert len(tables) == len(regions) + 1  # the verdicts do not scroll
    assert len(outline.all("caption")) == len(regions)
    assert all(each.get("scope") in ("col", "row") for each in outline.all("th"))


def test_every_figure_has_a_name_its_machine_and_its_numbers(text: str, outline: Outline) -> None:
    figures = re.findall(r'<figure id="figure-.*?</figure>', text, re.DOTALL)
    assert len(figures) == len(outline.all("figure")) > 6
    for figure in figures:
        assert re.search(r'<svg class="chart"[^>]* role="img" aria-label="[^"]+"', figure)
        if "figure-first" not in figure:
            assert re.search(r"<figcaption>[^<]+<span>[^<]*2026-01-01</span>", figure)
        assert re.search(r'aria-label="[^"]* 2026-01-01"', figure)
        assert '<summary>Numbers</summary><div class="scroll"' in figure


def test_nothing_is_fetched(text: str, outline: Outline) -> None:
    for _, attributes, _ in outline.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    style, script = (
        re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("style", "script")
    )
    assert "@import" not in style[0] and "url(" not in style[0]
    assert not re.search(r"fetch|XMLHttp|import\(|https?:", script[0])


def test_accuracies_are_per_cent_everywhere(text: str) -> None:
    heads = set(re.findall(r'<th scope="col">([^<]*)', text))
    assert {"accuracy, %", "low, %", "best accuracy, %", "tested 1, %"} <= heads
    assert not {"accuracy", "best accuracy", "published", "target"} & heads
    assert (
        re.search(r'class="n"( data-value="[45]\d\.\d*")?>[45]\d\.\d', text)
        and "test accuracy after" in text
    )


def test_whoever_counts_seeds_at_chance_says_what_that_is(text: str) -> None:
    sections = re.split("(?=<h2)", text)
    counting = [each for each in sections if re.search(r"at chance(</th>| \d)", each)]
    assert len(counting) >= 3
    assert all("at chance: how many seeds learnt nothing" in each for each in counting)


def test_after_a_quick_run_what_was_measured_comes_first() -> None:
    text = page(run())
    figure, verdicts, speed = (
        text.index(f'id="{each}') for each in ("figure-first", "verdicts", "speed")
    )
    assert figure < verdicts < speed
    first = text[:speed]
    assert "9 claims that no row speaks of" in first
    assert first.count('class="status') == 1 and "contenders take 1." in first
    assert "time of a training step / float32 floor" in first


def test_who_was_proved_on_what_is_a_matrix_and_failures_are_few_and_named() -> None:
    failed = [
        row(CertificateRow, framework="norse", certified=False, reason="spikes differ", T=t)
        for t in range(1, 60)
    ]
    spikes = certified("fused", spikes=3_000_000, gradient_error=2e-15)
    layers = [row(CertificateRow, framework="fused", layer=f"{n} 8C3") for n in range(99)]
    text = page([*spikes, *failed, *layers])
    part = text[text.index('<h2 id="certificates"') : text.index('<h2 id="tables"')]
    assert '<span class="reproduced">equal</span> <span class="dim">6.0 M</span>' in part
    assert '<span class="contradicted">not equal</span>' in part
    assert part.count("spikes differ") == 1 and "8C3" not in part
    assert '<th scope="col">norse</th>' in part and "<td>CIFAR-10 Small</td>" in part
    assert "No exam and no audit failed." not in part
    assert "No exam and no audit failed." in page(certified("fused"))


CHROMIUM = shutil.which("chromium")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom"),
)
# Asks a page in a narrow frame for what a reader would see of it, and writes the answers down.
PROBE = Path(__file__).with_name("probe.html")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_on_a_narrow_screen_it_fits_and_tables_sort_and_can_be_copied(
    text: str, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    path = tmp_path / "probe.html"
    path.write_text(PROBE.read_text("utf-8").replace("PAGE", escape(text)), encoding="utf-8")
    seen = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in seen.stderr
    answer = re.search(r'<pre id="said">(.*?)</pre>', seen.stdout, re.DOTALL)
    assert answer is not None
    said = json.loads(unescape(answer[1]))
    assert said["up"] == sorted(said["up"]) and said["sorted"] == "ascending"
    assert said["down"] == sorted(said["up"], reverse=True) and len(set(said["up"])) > 1
    lines = said["copied"].splitlines()
    assert len(lines) == 1 + len(said["up"]) and str(said["down"][0]) in lines[1].split(",")
    assert said["width"] <= 420 and said["small"] == 0
    assert said["copies"] == said["tables"] > 10 and said["buttons"] > said["tables"]
