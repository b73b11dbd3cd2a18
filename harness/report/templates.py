"""The files beside this one that pages are made of."""

from __future__ import annotations

from importlib import resources

import jinja2


def file(name: str) -> str:
    """The text of a file of this room."""
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


def template(name: str) -> jinja2.Template:
    """A page's template, `NAME.html.j2`: texts are escaped, and what it lacks is an error."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(file(f"{name}.html.j2"))
