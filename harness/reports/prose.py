"""The templates that hold the report's words, and the filters that they share.

A template for HTML escapes what it is given. README's and a terminal's make text, which README's
escapes as a whole (`escaped`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from harness.analysis.timings import FEWEST_RANKED, TimedLine
from harness.analysis.words import counted, span
from harness.reports import fastest
from harness.reports.table import field_markdown, markdown


def environment(*, is_html: bool) -> jinja2.Environment:
    """Return the templates of this folder."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=is_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["few"] = FEWEST_RANKED
    templates.filters |= {"span": span, "counted": counted, "sources": fastest.sources}
    templates.filters |= {"code": code, "escaped": escaped, "markdown": markdown}
    return templates


def code(text: str) -> Markup:
    """Return a text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def escaped(text: str) -> str:
    """Return a text as Markdown, in which names of contenders stay code."""
    return re.sub(r"\\`([a-z0-9:-]+)\\`", r"`\1`", field_markdown(text))


def sentences(lines: Sequence[TimedLine]) -> list[str]:
    """Return who is fastest in up to four sentences; [] where no untuned framework has a rank."""
    summary = fastest.summary(lines)
    words = environment(is_html=False).get_template("fastest.j2").module
    names = ("frameworks", "tuned", "ours", "machine") if summary else ()
    return [text for name in names if (text := getattr(words, name)(summary))]
