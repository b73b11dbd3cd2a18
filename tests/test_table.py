"""The renderer of tables: text of a row stays text wherever it is shown, and nothing is cut."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from harness.report import table
from harness.report.table import Table, Tables

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
    "<!--\n end: harness report -->",
    "**loud** __loud__ _soft_ ~~gone~~ `code`",
    "&lt;b&gt; &#60;b>",
]


def said(shown: object, width: int = 80) -> list[str]:
    """The lines that a terminal of that width shows."""
    out = io.StringIO()
    Console(width=width, file=out, emoji=False).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("text", EVIL)
def test_a_field_in_markdown_shows_its_text_and_nothing_else(text: str) -> None:
    """As a reader of CommonMark shows it, whatever stands in a row."""
    shown = table.markdown([Table([{"reason": f"a {text} b", "n": 1}, {"reason": "x", "n": 2}])])
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(shown)
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    assert set(re.findall(r"</?(\w+)", body)) == {"tr", "td"}
    assert "<thead>" in html and body.count("<td") == 4
    cell = unescape(re.findall(r"<td[^>]*>(.*?)</td>", body)[0])
    assert cell.split() == f"a {text} b".split()


def test_bare_addresses_in_markdown_are_no_links() -> None:
    """Sites show them as links even so."""
    shown = table.field_markdown("https://there.example and www.there.example")
    assert shown == "https\\://there.example and www\\.there.example"


@pytest.mark.parametrize("text", EVIL)
def test_a_field_in_html_gives_no_element(text: str) -> None:
    tags: Counter[str] = Counter()

    class Read(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags[tag] += 1

    Read().feed(table.html(Table([{text: text}], text, text, (text,))))
    assert set(tags) == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


@pytest.mark.parametrize("sign", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
def test_a_text_is_no_formula_in_a_spreadsheet_and_numbers_are_numbers(sign: str) -> None:
    frame = pd.DataFrame({"reason": [f"{sign}1+1", "a=b"], "loss": [-0.5, 1.0], "mixed": [-1, "x"]})
    lines = list(csv.reader(io.StringIO(table.csv(frame), newline="")))
    shown = "\n" if sign == "\r" else sign
    assert lines[1:] == [[f"'{shown}1+1", "-0.5", "-1"], ["a=b", "1.0", "x"]]


def test_in_a_narrow_terminal_nothing_is_cut_and_a_long_name_breaks_behind_its_colon() -> None:
    lines = [{"": "  1 norse", "ms": "5"}, {"": "  2 spikingjelly:channels-last", "ms": "6"}]
    narrow = [" ".join(line.split()) for line in said(Table(lines), 24)]
    assert narrow[-2:] == ["2 spikingjelly: 6", "channels-last"]
    assert " ".join(said(Table(lines))[-1].split()) == "2 spikingjelly:channels-last 6"
    line = {"network": "128C3(Encoding)-AP2-256C3", "test %": "61.9 [61.7, 62.1]", "n": "3"}
    for width in (20, 40):
        shown = "".join("".join(said(Table([line]), width)).split())
        cells = Counter("".join("".join(line.values()).split()))
        assert "…" not in shown and not cells - Counter(shown)


def test_a_heading_stands_once_above_neighbours_that_share_it() -> None:
    tables = [Table([{"a": 1}], over=over) for over in ("on A", "on A", "on B")]
    assert [line for line in said(Tables(tuple(tables))) if "on " in line] == ["on A", "on B"]
    assert table.markdown(tables).count("## on A") == 1


def test_numbers_have_their_interval_and_their_unit() -> None:
    assert table.interval(0.619, 0.617, 0.621, ".1f", 100) == "61.9 [61.7, 62.1]"
    assert table.interval(1.0, float("nan"), float("nan"), ".2f") == "1.00"
    assert [table.seconds(each) for each in (5, 90, 7200)] == ["5 s", "2 min", "2.0 h"]
