"""What the commands share: the application, options that several take, rows that are read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.console import err
from harness.spec import UsageError

if TYPE_CHECKING:
    from harness.records import Damage, Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Honest comparison of spiking-neural-network frameworks on the networks of Wu et al., "
    "AAAI 2019: every contender is proved equal before it is timed.",
)

Frameworks = Annotated[
    str | None,
    typer.Option("--frameworks", help="Default: all known.", metavar="NAME[:VARIANT],..."),
]
Networks = Annotated[
    str | None,
    typer.Option("--networks", help="Default: Table 1's.", metavar="NAME|NOTATION,..."),
]
Datasets = Annotated[
    str | None, typer.Option("--datasets", help="Default: all three.", metavar="NAME,...")
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        "--data-root", help="Default: HARNESS_DATA, else the user's cache.", metavar="DIR"
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the results.", metavar="DIR")]


def frameworks_named(text: str | None, usual: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those in `text`, else the usual ones, else all. Raises UsageError for an unknown one."""
    import adapters

    chosen = options.names(text) or usual or adapters.names()
    for name in chosen:
        adapters.check_name(name)
        if ":" in name:
            with suppress(adapters.Missing):  # a row says so
                adapters.load(name)  # its variants are known once it is loaded
    return chosen


def name_damage(damaged: list[Damage]) -> None:
    """Names on stderr what was no row."""
    for damage in damaged:
        err.print(str(damage), markup=False)
    if damaged:
        err.print(f"{len(damaged)} lines were no rows and were skipped", markup=False)


def rows_of(folder: Path, suite: str) -> list[Record]:
    """All rows of a result folder; what is no row is named and skipped.

    Raises UsageError where there are none; `suite` is what to run first.
    """
    from harness.records import Store

    rows, damaged = Store(folder).read()
    name_damage(damaged)
    if not rows:
        raise without_rows(folder, suite)
    return rows


def without_rows(folder: Path, suite: str) -> UsageError:
    """That a result folder has none of the suite, and what to run first."""
    return UsageError(
        f"no rows of {suite} under {folder / 'records'}: first run "
        f"`harness run --suite {suite} --out {folder}`"
    )
