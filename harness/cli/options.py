"""The options that several commands have, and the types that Typer has none for."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import api
from harness.api import LARGEST_DOWNLOAD_MIB, RESULTS, Device, device, frameworks_named, one_preset
from harness.spec import UsageError

__all__ = ["LARGEST_DOWNLOAD_MIB", "RESULTS", "Device", "device", "frameworks_named", "one_preset"]


class Names(tuple[str, ...]):
    """`a,b` on the command line; Typer would ask for a plain tuple's parts one by one."""


def _typed(parser: Callable[[object], Any]) -> Callable[[object], Any]:
    """A parser as Typer has it, which takes a ValueError for its own."""

    def parsed(given: object) -> Any:
        try:
            return parser(given)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


# Typer gives each the text, or the default, whose text is one too.
names, fraction, seconds = _typed(api.names), _typed(api.fraction), _typed(api.seconds)
place, folder = _typed(api.place), _typed(api.folder)


def percent(given: object) -> float:
    """`5%` as 0.05."""
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?) ?%?", str(given).strip())
    if match is None:
        raise typer.BadParameter(f"{given!r}, expected a percentage such as 5%")
    return float(match[1]) / 100


def filled(given: object) -> str:
    """Any text but none."""
    if not str(given):
        raise typer.BadParameter("'' is empty: give a value, or leave it out")
    return str(given)


Frameworks = Annotated[
    Names | None,
    typer.Option(
        "--frameworks", help="Default: all known.", metavar="NAME[:VARIANT],...", parser=names
    ),
]
Networks = Annotated[
    Names | None,
    typer.Option(
        "--networks",
        help="Default: Table 1's.",
        metavar="NAME|NOTATION|FILE.nir,...",
        parser=names,
    ),
]
Datasets = Annotated[
    Names | None,
    typer.Option("--datasets", help="Default: all three.", metavar="NAME,...", parser=names),
]
Width = Annotated[
    Fraction | None,
    typer.Option("--width", help="Scales channels and features.", metavar="1/8", parser=fraction),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Default: HARNESS_DATA, else the user's cache.",
        metavar="DIR",
        parser=folder,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the results.", metavar="DIR", parser=place)
]
