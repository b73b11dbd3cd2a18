"""The options that several commands have, and the types that Typer has none for."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.spec import UsageError

if TYPE_CHECKING:  # its import takes a moment
    from harness.suites import Suite

# Where results go, and are read from, unless --out names another folder.
RESULTS = Path("results/local")
# Larger archives are fetched only when asked for: nobody expects gigabytes of a first run.
LARGEST_DOWNLOAD_MIB = 200
Device = Literal["auto", "cpu", "cuda"]
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Names(tuple[str, ...]):
    """`a,b` on the command line; Typer would ask for a plain tuple's parts one by one."""


class Numbers(tuple[int, ...]):
    """`1,2,4` on the command line."""


# Parsers: Typer gives each the text, or the default, whose text is one too.


def names(given: object) -> Names:
    """The parts of `a,b`; twice the same is once."""
    parts = (part.strip() for part in str(given).split(","))
    found = Names(dict.fromkeys(part for part in parts if part))
    if not found:
        raise typer.BadParameter(f"{given!r} names nothing: name something, or leave it out")
    return found


def numbers(least: int) -> Callable[[object], Numbers]:
    """A parser of whole numbers of at least `least`."""

    def parsed(given: object) -> Numbers:
        parts = names(given)
        for part in parts:
            if not re.fullmatch(r"-?[0-9]{1,9}", part) or int(part) < least:
                raise typer.BadParameter(f"{part!r}, expected whole numbers of {least} or more")
        return Numbers(dict.fromkeys(map(int, parts)))

    return parsed


def fraction(given: object) -> Fraction:
    """A positive fraction: 1, 1/8, 0.5."""
    text, value = str(given), Fraction(0)
    with suppress(ValueError, ZeroDivisionError):
        value = Fraction(text) if re.fullmatch(r"[0-9./]{1,20}", text) else value
    if not 0 < value <= 16:
        raise typer.BadParameter(f"{text!r}, expected a fraction above 0 and up to 16, such as 1/8")
    return value


def seconds(given: object) -> float:
    """A time: 90, 90s, 10m, 1.5h."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)([smh]?)", str(given).strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if value <= 0:
        raise typer.BadParameter(f"{given!r}, expected a time above 0 such as 90s, 10m or 1h")
    return value


def percent(given: object) -> float:
    """`5%` as 0.05."""
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?) ?%?", str(given).strip())
    if match is None:
        raise typer.BadParameter(f"{given!r}, expected a percentage such as 5%")
    return float(match[1]) / 100


def place(given: object) -> Path:
    """A path that the system can look for, there or not; an empty one is not the folder here."""
    if not str(given):
        raise typer.BadParameter("'' names no folder or file: name one, or leave it out")
    path = Path(str(given))
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        name = str(path) if len(str(path)) < 60 else f"{str(path)[:60]}..."
        raise typer.BadParameter(f"{name}: {error.strerror or error}; name another") from error
    return path


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
Baselines = Annotated[
    Names | None,
    typer.Option(
        "--baselines",
        help="Other systems of Tables 3 to 6. Default: all.",
        metavar="NAME,...",
        parser=names,
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
        parser=place,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the results.", metavar="DIR", parser=place)
]


def frameworks_named(given: Names | None, suite: Suite, *, quick: bool) -> tuple[str, ...]:
    """Those given, else the suite's, else all but who is to be named; and unless it is to be quick
    its variants beside them. Raises UsageError for an unknown one.
    """
    import adapters

    all_ = [name for name in adapters.names() if name not in suite.apart]
    usual = suite.frameworks
    if usual is None:
        usual = (*all_, *(() if quick else suite.beside))
    chosen = given or usual
    for name in chosen:
        adapters.check_name(name)  # one that does not load is no error: a row says so
    return chosen


def one_preset(*, quick: bool, long: bool, paper: bool) -> None:
    """Raises UsageError where more than one is given."""
    if quick + long + paper > 1:
        raise UsageError("--quick, --long and --paper exclude each other: give one")


def device(wanted: Device) -> Literal["cpu", "cuda"]:
    """Where to run: `auto` is a CUDA device where there is one."""
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("--device cuda, but torch finds no CUDA device here: use --device cpu")
    return "cpu"
