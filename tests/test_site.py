"""The site: plain files with relative links, the leaderboard on a page and as JSON, the docs."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from rows import audited, certified, row, rows_of_a_run, timed, training
from test_cli import call
from test_house import ROOT
from test_page import CHROMIUM, OPTIONS
from test_report import Read

from harness import report
from harness.analysis.speed import acceleration_lines
from harness.records import MemoryRow, Row, Store
from harness.report import documents, leaderboard, write
from harness.report.leaderboard import BoardRow, board, parse, submissions
from harness.report.page import page as whole_page
from harness.spec import UsageError

REPORT = "<!doctype html>\n<html><body>\n<h1>the report</h1>\n</body></html>\n"


@pytest.fixture(autouse=True)
def _short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's figures take a second; one test is of it."""
    monkeypatch.setattr(report, "page", lambda rows: REPORT)


def rows() -> list[Row]:
    """A run of seven rounds that may rank, one of two that may not, and a training."""
    floor: dict[str, Any] = {"run": "20260101T000000-aaaaaa"}
    seconds = (1.0, 1.1, 1.0, 0.9, 1.0, 1.0, 1.1)
    ranked: list[Row] = [*timed("floor", *seconds, **floor)]
    ranked += timed("floor", *seconds, **floor, twin=True)
    for name, slower in (("reference", 2.0), ("snntorch", 3.0)):
        ranked += [*certified(name, **floor), *audited(name, **floor)]
        ranked += timed(name, *(slower * each for each in seconds), **floor)
    ranked.append(row(MemoryRow, framework="snntorch", peak_memory_mib=607.0, **floor))
    return [*ranked, *training(0, (0.2, 0.4), suite="scale")]


def site(folder: Path, found: list[Row] | None = None) -> Path:
    write(found or rows(), folder / "out", site_folder=folder / "site")
    return folder / "site"


def test_every_link_leads_to_a_file_of_the_site(tmp_path: Path) -> None:
    at = site(tmp_path)
    pages = sorted(at.rglob("*.html"))
    assert {page.relative_to(at).as_posix() for page in pages} >= {
        *("index.html", "leaderboard.html", "tables/index.html", "tables/acceleration.html"),
        *("tables/verdicts.html", "docs/index.html", "docs/leaderboard.html"),
    }
    for page in pages:
        text = page.read_text(encoding="utf-8")
        read = Read(text)
        for address in read.addresses:
            parts = urlsplit(address)
            if parts.scheme:  # of another host, in the docs alone, or the empty icon
                assert parts.scheme == "data" or "docs" in page.parts, address
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page}: {address}"
            if parts.fragment:
                there = Read(target.read_text(encoding="utf-8"))
                assert parts.fragment in there.ids, f"{page}: {address}"
        assert not re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"http", text)


def test_the_first_page_is_the_report_and_leads_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "page", whole_page)
    at = site(tmp_path)
    whole = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert whole == whole_page(rows())
    first = (at / "index.html").read_text(encoding="utf-8")
    nav = first[first.index('<nav aria-label="Site"') :].partition("</nav>")[0] + "</nav>"
    assert first.replace(nav, "", 1) == whole
    assert {"leaderboard.html", "tables/index.html", "docs/index.html"} <= set(Read(nav).addresses)


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    one, two = site(tmp_path / "1"), site(tmp_path / "2")
    names = [path.relative_to(one) for path in sorted(one.rglob("*")) if path.is_file()]
    assert names == [path.relative_to(two) for path in sorted(two.rglob("*")) if path.is_file()]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_tables_are_the_commands_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = site(tmp_path)
    for each in rows():
        Store(tmp_path / "out").append(each)
    out = str(tmp_path / "out")
    assert call(monkeypatch, "tables", "acceleration", "--format", "csv", "--out", out) == 0
    assert (at / "tables" / "acceleration.csv").read_text() == capsys.readouterr().out


def test_the_board_has_each_contender_once_with_the_tables_figures() -> None:
    found = board(rows())
    lines = {line.name: line for line in acceleration_lines(rows())}
    assert [each.name for each in found.rows] == ["floor", "reference", "snntorch"]
    assert [each.ratio_to_floor for each in found.rows] == pytest.approx([1.0, 2.0, 3.0])
    assert [(each.rank, each.ranked) for each in found.rows] == [(None, 2), (1, 2), (2, 2)]
    assert [each.equal for each in found.rows] == [False, True, True]
    for each in found.rows:
        line = lines[each.name]
        for field in fields(BoardRow):
            if hasattr(line, field.name) and getattr(each, field.name) is not None:
                assert getattr(each, field.name) == getattr(line, field.name), field.name
    assert found.rows[2].peak_memory_mib == 607.0
    assert found.rows[1].peak_memory_mib is None  # not measured


def test_of_several_runs_the_one_with_most_contenders_counts() -> None:
    later: dict[str, Any] = {"run": "20260102T000000-bbbbbb"}
    again: list[Row] = [*certified("reference", **later)]
    again += audited("reference", **later)
    again += [*timed("floor", 1.0, 1.0, **later), *timed("reference", 5.0, 5.0, **later)]
    again += [*certified("norse", **later), *timed("norse", 4.0, 4.0, **later)]
    more = timed("sinabs", 3.0, 3.0, run="20260101T000000-aaaaaa")
    found = {each.name: each for each in board([*rows(), *more, *again]).rows}
    assert found["reference"].ratio_to_floor == pytest.approx(2.0)
    assert found["norse"].ratio_to_floor == pytest.approx(4.0)
    assert found["norse"].rank is None and "not audited" in found["norse"].reason


def test_who_is_not_installed_is_not_on_the_board_and_who_failed_is() -> None:
    names = [each.name for each in board(rows_of_a_run()).rows]
    assert "norse" not in names and "snntorch:subtract" in names


def test_the_json_is_in_its_schema_and_says_what_it_is_of(tmp_path: Path) -> None:
    text = (site(tmp_path) / "leaderboard.json").read_bytes()
    content = json.loads(text)
    assert list(content) == ["schema", "generated_from", "rows"]
    assert content["schema"] == leaderboard.SCHEMA
    assert content["generated_from"]["rows"] == len(rows())
    assert parse(text) == board(rows())
    schema = json.loads((tmp_path / "site" / "leaderboard.schema.json").read_text())
    assert set(schema["$defs"]["BoardRow"]["properties"]) == set(content["rows"][0])


def test_the_boards_page_documents_every_field_and_its_example_is_in_the_schema() -> None:
    text = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(field.name for field in fields(BoardRow))
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert parse(example.encode()).rows == ()


def changed(**change: Any) -> bytes:
    content = asdict(board(rows()))
    content["rows"][1].update(change)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"no json", "Invalid JSON"),
        (b"{}", "generated_from: Field required"),
        (changed().replace(b'"schema": 1', b'"schema": 2'), "schema: Input should be 1"),
        (changed(T=0), "rows.1.T: Input should be greater than or equal to 1"),
        (changed(T="10"), "rows.1.T: Input should be a valid integer"),
        (changed(speed=1), "rows.1.speed: "),
        (changed(equal=False), "rows.1: equal is false where standing is 'equal'"),
        (changed(ratio_low=2.5), "rows.1: ratio_to_floor does not lie within its interval"),
        (changed(ratio_to_floor=float("nan")), "rows.1.ratio_to_floor: "),
    ],
)
def test_what_is_not_in_the_schema_is_named(text: bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse(text)


def test_what_others_hand_in_stands_beside_ours_without_a_rank(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "submissions"
    folder.mkdir(parents=True)
    theirs = replace(board(rows()).rows[1], cpu="another", ratio_to_floor=None, framework="<b>new")
    theirs = replace(theirs, ratio_low=None, ratio_high=None)
    given = replace(board(rows()), rows=(theirs, replace(theirs, submitted="second hand")))
    (folder / "somebody.json").write_text(given.json)
    at = site(tmp_path)
    found = parse((at / "leaderboard.json").read_bytes())
    (new,) = [each for each in found.rows if each.submitted]
    assert (new.framework, new.submitted, new.rank) == ("<b>new", "somebody", None)
    page = (at / "leaderboard.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;new" in page and "<b>new" not in page
    assert "from somebody; submitted" in page


def test_a_submission_that_is_none_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "submissions"
    folder.mkdir(parents=True)
    (folder / "bad.json").write_text("{}")
    with pytest.raises(UsageError, match="bad.json: generated_from: Field required: docs/"):
        submissions(folder)
    with pytest.raises(UsageError, match=r"bad\.json"):
        site(tmp_path)
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_folder_that_is_a_file_or_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in rows():
        Store(tmp_path / "out").append(each)
    there = tmp_path / "there"
    there.write_text("mine")
    for place, sentence in (
        (there, f"{there} is a file: give --site a folder"),
        (there / "site", "give a folder that can be written with --site"),
    ):
        arguments = ["report", "--out", str(tmp_path / "out"), "--site", str(place)]
        assert call(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert there.read_text() == "mine"


def test_docs_keep_links_among_them_and_lose_those_that_lead_nowhere(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "more").mkdir(parents=True)
    (docs / "one.md").write_text(
        "# One `thing`\n\n## One\n## One\n\n[two](more/two.md#deep) [file](../harness/a.py) [there]"
        "(https://there.example) [here](#one-1) ![drawn](drawn.svg) ![far](http://x.example/a.png)"
        "\n\n<b>bold</b> <script>x</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    (docs / "more" / "two.md").write_text("[one](../one.md) [out](../../../out.md)\n\n# Deep\n")
    (docs / "drawn.svg").write_text("<svg/>")
    one, two = documents.library(tmp_path).documents[::-1]
    assert (one.path, one.title) == ("docs/one.html", "One thing")
    assert 'href="more/two.html#deep"' in one.html and "file" in one.html
    assert "harness/a.py" not in one.html and 'href="https://there.example"' in one.html
    assert 'id="one"' in one.html and 'id="one-1"' in one.html and 'id="one-thing"' in one.html
    assert 'src="drawn.svg"' in one.html and "x.example" not in one.html and "far" in one.html
    assert "&lt;script&gt;" in one.html and "<b>" not in one.html and "<table>" in one.html
    assert 'href="../one.html"' in two.html and "out.md" not in two.html
    assert [each.path for each in documents.library(tmp_path).attachments] == ["docs/drawn.svg"]
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://host.example/"')
    first = documents.library(tmp_path).documents[-1]
    assert 'href="https://host.example/blob/HEAD/harness/a.py"' in first.html


def test_without_docs_there_is_no_way_to_them(tmp_path: Path) -> None:
    assert documents.library(tmp_path) == documents.Library()


def test_names_with_markup_stay_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    found: list[Row] = [replace(each, cpu=evil, scale=evil) for each in rows()]
    at = site(tmp_path, found)
    for page in at.rglob("*.html"):
        assert "<script>alert" not in page.read_text(encoding="utf-8"), page


PROBE = """<script>addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll("#board tbody tr")].filter(row => !row.hidden);
  const names = () => rows().map(row => row.cells[0].textContent).join();
  const seen = [names()];
  document.querySelectorAll("#board thead button")[1].click();
  seen.push(names());
  const form = document.getElementById("filters");
  form.elements.framework.value = "snntorch";
  form.dispatchEvent(new Event("change"));
  seen.push(names(), document.getElementById("count").textContent);
  document.title = seen.join("|");
});</script>"""


def test_what_scrolls_can_be_reached_by_keyboard(tmp_path: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in site(tmp_path).rglob("*.html")]
    tags = [
        tag for text in pages for tag in re.findall(r"<pre\b[^>]*>|<div class=.scroll[^>]*>", text)
    ]
    assert any(tag.startswith("<pre") for tag in tags) and any("scroll" in tag for tag in tags)
    assert all('tabindex="0"' in tag for tag in tags)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_sorts_and_filters_the_board(tmp_path: Path) -> None:
    path = site(tmp_path) / "leaderboard.html"
    path.write_text(path.read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(CHROMIUM), *OPTIONS, profile, path.as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in seen.stderr
    (title,) = re.findall(r"<title>(.*?)</title>", seen.stdout)
    forward = "floor,reference,snntorch"
    backward = "snntorch,reference,floor"
    assert title == f"{forward}|{backward}|snntorch|1 of 3 rows."
