"""The report: from rows alone, without torch; every number of it is in the rows, text escaped."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sysconfig
import venv
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rows import ROW, training
from test_cli import call
from test_tables import rows_of_a_run

from harness import report
from harness.analysis import tables
from harness.analysis.claims import CLAIMS
from harness.analysis.speed import first_round
from harness.records import ConfusionRow, EndedRow, Row, Store
from harness.report import provenance, trained
from harness.report.page import page
from harness.report.picture import COLUMNS
from harness.report.readme import BEGIN, END, updated

RESULTS = Path(__file__).parents[1] / "results"


def rows() -> list[Row]:
    """Some rows of every suite."""
    found: list[Row] = [*rows_of_a_run()]
    for suite in ("timesteps", "scale", "neunorm", "accuracy"):
        for seed in range(3):
            found += training(seed, (0.2, 0.4 + 0.01 * seed), suite=suite)
            found += training(seed, (0.3, 0.5 + 0.01 * seed), suite=suite, neunorm="mean")
    return found


class Read(HTMLParser):
    """What a page says: ids, values of numbers (to ten digits), addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.values: list[float] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self._shown = False  # what comes next is a number's only text
        self.feed(text)

    def handle_data(self, data: str) -> None:
        if self._shown:
            self.values.append(float(data.replace(",", "")))
        self._shown = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._shown = ("class", "n") in attrs and "data-value" not in dict(attrs)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "data-value":
                self.values.append(float(value or "nan"))
            if name in ("src", "href"):
                self.addresses.append(value or "")


def test_the_page_has_every_claim_and_section_and_needs_no_network() -> None:
    text = page(rows())
    read = Read(text)
    assert {f"claim-{claim.id}" for claim in CLAIMS} <= set(read.ids)
    assert {"verdicts", "scope", "methods", "speed", "certificates", "timesteps", "scale"} <= set(
        read.ids
    )
    assert {"neunorm", "tables", "discussion", "provenance", "rerun"} <= set(read.ids)
    assert read.addresses and all(address.startswith(("#", "data:")) for address in read.addresses)
    assert len(text.encode()) < 1_000_000
    assert len(re.findall(r'id="figure-', text)) >= 6


def test_every_number_of_its_tables_is_in_the_rows_tables() -> None:
    found = rows()
    known = {float(ROW.T)}
    for name, build in tables.TABLES.items():
        if any(row.suite in tables.suites_of(name) for row in found):
            values = build(found).select_dtypes("number").to_numpy(float, na_value=0.0)
            known |= set(values.ravel().tolist())
    for table in (provenance.noise(found), first_round(found)):
        known |= set(table.select_dtypes("number").to_numpy(float).ravel().tolist())
    numbers = {
        float(value)
        for row in found
        for value in vars(row).values()
        if isinstance(value, int | float)
    }
    counts = {float(n) for n in range(len(found) + 1)}  # rows that share something
    known |= {100 * value for value in known | numbers}  # shares are in per cent
    shown = {_ten_digits(value) for value in Read(_without_figures(page(found))).values}
    assert shown <= set(map(_ten_digits, known | numbers | counts))


def _ten_digits(value: float) -> str:
    return f"{value:.10g}"


def _without_figures(text: str) -> str:
    """What figures show are means over seeds and epochs, which no table has (test_chart.py)."""
    return re.sub(r"<figure.*?</figure>", "", text, flags=re.DOTALL)


def spoilt(row: Row, text: str) -> Row:
    """The row with that text in every field that may hold any."""
    row = replace(row, framework=text, cpu=text, data_source=text, data_note=text)
    return replace(row, reason=text) if isinstance(row, EndedRow) else row


def test_names_with_markup_stay_text() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    found = [spoilt(row, evil) if row.framework == "snntorch" else row for row in rows()]
    found += [replace(row, scale=evil) for row in training(0, (0.5,), suite="scale")]
    text = page(found)
    assert "alert" in text and "<script>alert" not in text and "<img" not in text
    assert "img" not in Read(text).tags


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden -->",
    "<http://there.example>",
    "[a link](http://there.example)",
    "![a picture](http://there.example/seen.png)",
    "[a reference]: http://there.example",
    "a | cell | more",
    "a \\\\| cell",
    "at the end \\",
    "a line\n\n# and a heading",
    "a line\r\n| row | of | cells |",
    "a line\u2028another\x85another",
    "**loud** __loud__ _soft_ ~~gone~~ `code`",
    "&lt;b&gt; &#60;b>",
]


@pytest.mark.parametrize("text", EVIL)
def test_a_field_in_markdown_shows_its_text_and_nothing_else(text: str) -> None:
    """As a reader of CommonMark shows it, whatever stands in a row."""
    table = pd.DataFrame({"reason": [f"a {text} b", "next"], "n": [1, 2]})
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = markdown.render(tables.markup(table, "md"))
    body = shown.partition("<tbody>")[2].partition("</tbody>")[0]
    assert set(re.findall(r"</?(\w+)", body)) == {"tr", "td"}
    assert "<thead>" in shown and body.count("<td") == 4
    cell = unescape(re.findall(r"<td[^>]*>(.*?)</td>", body)[0])
    assert cell.split() == f"a {text} b".split()


def test_bare_addresses_in_markdown_are_no_links() -> None:
    """Sites show them as links even so."""
    shown = tables.markdown("https://there.example and www.there.example")
    assert shown == "https\\://there.example and www\\.there.example"


def test_the_readme_takes_no_mark_or_markup_from_a_row_and_stays_as_long(tmp_path: Path) -> None:
    evil = f"{END} <b>{BEGIN}</b> [x](http://there.example)\n\n# more"
    found = [
        replace(spoilt(row, evil), scale=evil) if row.framework == "snntorch" else row
        for row in rows()
    ]
    found = [replace(row, cpu=evil, torch=evil) for row in found]
    path = tmp_path / "README.md"
    once = updated(f"before\n{BEGIN}\n{END}\nafter\n", found, path)
    assert updated(once, found, path) == once
    assert once.count(BEGIN) == once.count(END) == 1
    own = once.replace("](results/report.html#claim-", "")  # a line's link, of ours
    assert "<b>" not in own and "](" not in own and "\n# more" not in own


@pytest.mark.parametrize("sign", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
def test_a_text_is_no_formula_in_a_spreadsheet_and_numbers_are_numbers(sign: str) -> None:
    table = pd.DataFrame({"reason": [f"{sign}1+1", "a=b"], "loss": [-0.5, 1.0], "mixed": [-1, "x"]})
    lines = list(csv.reader(io.StringIO(tables.markup(table, "csv"), newline="")))
    shown = "\n" if sign == "\r" else sign
    assert lines[1:] == [[f"'{shown}1+1", "-0.5", "-1"], ["a=b", "1.0", "x"]]


def test_what_is_no_text_in_a_row_is_written_as_an_escape(tmp_path: Path) -> None:
    found = [replace(row, cpu="lone \udcff") for row in rows_of_a_run()]
    written = report.write(found, tmp_path)
    assert {tmp_path / name for name in COLUMNS} <= set(written)
    for path in written:
        path.read_text(encoding="utf-8")
    assert "lone \\udcff" in (tmp_path / "tables" / "acceleration.md").read_text(encoding="utf-8")


def test_the_same_rows_give_the_same_page() -> None:
    assert page(rows()) == page(rows())


def test_each_condition_has_its_confusion_matrix_and_all_have_one_scale_of_colours() -> None:
    low = [
        replace(row, votes=tuple(tuple(0.1 * vote for vote in line) for line in row.votes))
        if isinstance(row, ConfusionRow)
        else row
        for row in _confused(T=4)
    ]
    drawn = trained.confusion([*low, *_confused(T=8)])
    assert [name for name, _ in drawn] == ["CIFAR-10: photographs, NeuNorm off"] * 2
    assert [drawing.most for _, drawing in drawn] == [0.5, 0.5]


def _confused(T: int) -> list[Row]:
    return training(0, (0.5,), suite="neunorm", T=T)


def test_without_rows_of_a_suite_its_part_is_left_out() -> None:
    text = page(rows_of_a_run())
    assert 'id="speed"' in text and 'id="timesteps"' not in text
    assert "not tested" in text


def test_the_command_writes_the_page_and_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in rows():
        Store(tmp_path).append(row)
    damaged = tmp_path / "records" / "scale.jsonl"
    damaged.write_text(damaged.read_text() + '{"schema": 99}\n')
    assert call(monkeypatch, "report", "--out", str(tmp_path)) == 0
    said = capsys.readouterr()
    unfolded = said.err.replace("\n", "")  # which is folded to the width of a terminal
    assert f"{damaged}:" in unfolded and "newer harness" in unfolded
    assert "1 lines were no rows and were skipped" in said.err
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"acceleration.md", "table3.md", "table6.md", "timesteps.md"} <= names
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert call(monkeypatch, "report", "--out", str(tmp_path / "none")) == 2
    assert "first run `harness run --suite acceleration" in capsys.readouterr().err


# What a reader of results does not need; nvidia's and triton come with torch.
ABSENT = ("torch", "functorch", "nvidia", "triton", "numba", "llvmlite", "snntorch", "spikingjelly")
ABSENT += ("norse", "tonic", "ray")


def test_it_builds_from_the_committed_rows_in_an_environment_without_torch(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (there,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(ABSENT):
            (there / entry.name).symlink_to(entry)
    shutil.copytree(RESULTS / "published", tmp_path / "out" / "published")
    python = tmp_path / "env" / "bin" / "python"
    program = "import importlib.util, harness.cli; assert importlib.util.find_spec('torch') is None"
    call_ = [python, "-c", f"{program}; harness.cli.main()", "report", "--out", tmp_path / "out"]
    subprocess.run(call_, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out" / "report.html").exists()


def test_the_committed_report_and_tables_are_those_of_the_committed_rows(tmp_path: Path) -> None:
    found, damaged = Store(RESULTS).read()
    assert not damaged
    report.write(found, tmp_path)
    assert (tmp_path / "report.html").stat().st_size <= 1_500_000
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.md"))
    assert made == sorted(path.relative_to(RESULTS) for path in (RESULTS / "tables").iterdir())
    for path in made:
        if path.suffix == ".md":
            text = (RESULTS / path).read_text(encoding="utf-8")
            assert text == (tmp_path / path).read_text(encoding="utf-8"), f"{path}: harness report"
    readme = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    assert readme == updated(readme, found, Path("README.md")), "harness report --readme README.md"
    shown, now = ((out / "report.html").read_text("utf-8") for out in (RESULTS, tmp_path))
    for name in COLUMNS:
        drawn, redrawn = ((out / name).read_text("utf-8") for out in (RESULTS, tmp_path))
        assert drawn == redrawn, "run `harness report`"  # its figures have four digits
    # the last digits of a logarithm are another on another CPU
    assert Read(shown).values == pytest.approx(Read(now).values, rel=1e-9), "run `harness report`"
