"""`harness run`: the options of `api.Options` on the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Annotated, Any

import typer

from harness.api import Options, Work, switch


def run(**given: Any) -> None:
    """Measure a suite; each row is kept under OUT/records as it comes."""
    work = Work.of(Options.of(**given))
    from harness.cli import measuring

    measuring.run(work)


def _parameters() -> list[inspect.Parameter]:
    found = []
    for each in fields(Options):
        about, flag = each.metadata, f"--{each.name.replace('_', '-')}"
        if about["parser"] is switch:
            names = f"{flag}/--no-{flag[2:]}" if each.default is None else flag
            option, kind = typer.Option(names, help=about["help"], show_default=False), bool | None
        else:
            option = typer.Option(
                flag, help=about["help"], metavar=about["metavar"], show_default=False
            )
            kind = str if each.name == "suite" else str | None
        option.rich_help_panel = about["panel"]
        default = inspect.Parameter.empty if each.name == "suite" else None
        parameter = inspect.Parameter.KEYWORD_ONLY
        annotation = Annotated[kind, option]
        found.append(
            inspect.Parameter(each.name, parameter, default=default, annotation=annotation)
        )
    return found


run.__signature__ = inspect.Signature(_parameters())
run.__annotations__ = {each.name: each.annotation for each in _parameters()}
