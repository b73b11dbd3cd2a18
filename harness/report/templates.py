"""The files beside this one that pages are made of."""

from __future__ import annotations

import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape


def file(name: str) -> str:
    """The text of a file of this room."""
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


def template(name: str) -> jinja2.Template:
    """A page's template, `NAME.html.j2`: texts are escaped, and what it lacks is an error."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    return environment.from_string(file(f"{name}.html.j2"))


def code(text: str) -> Markup:
    """A text as HTML; what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
