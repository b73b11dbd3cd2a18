"""`harness tables`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.console import option, out, rows_of, takes
from harness.spec import Options, UsageError

if TYPE_CHECKING:  # these imports take a moment
    import pandas as pd

NAMES = "3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy|ablations|baselines|energy"


@takes("networks", "datasets", "out")
def tables_(
    name: Annotated[str, typer.Argument(metavar=NAMES)],
    form: Annotated[
        Literal["text", "md", "csv", "html"], option("--format", metavar="text|md|csv|html")
    ] = "text",
    machine: Annotated[
        str | None,
        option("--machine", "Timings of machines whose name has this text.", "TEXT"),
    ] = None,
    all_: Annotated[
        bool, option("--all", "Earlier runs of a network too; a csv has them always.")
    ] = False,
    **given: Any,
) -> None:
    """Build a table from the rows under OUT/records. csv and html have all columns."""
    options = Options.of(**given)
    if machine == "":
        raise UsageError("--machine: '' is empty: give a value, or leave it out")
    from harness.analysis import tables, timings
    from harness.analysis.frame import frames

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    frame = tables.FULL[name](frames(rows_of(options.out, *tables.suites_of(name))))
    for column, wanted in (("scale", options.networks), ("dataset", options.datasets)):
        if wanted is not None:
            frame = _only(frame, column, wanted)
    if machine is not None:
        frame = _of_machine(frame, machine)
    from harness.report import shown, table

    if form == "csv":
        sys.stdout.write(table.csv(tables.plain(frame)))
    elif form == "html":
        sys.stdout.write(table.whole(tables.plain(frame)))
    else:
        if name == "acceleration" and not all_:
            frame = timings.latest(frame)
        found = shown.shown(name, frame)
        if form == "text":
            out.print(found)
        else:
            sys.stdout.write(table.markdown(found.tables))


def _only(frame: pd.DataFrame, column: str, wanted: tuple[str, ...]) -> pd.DataFrame:
    """The lines of the networks or data sets that are wanted. Raises UsageError for another."""
    if column not in frame:
        raise UsageError(f"this table is of one data set: leave --{column}s out")
    there = {str(value).lower(): value for value in frame[column].dropna()}
    for name in wanted:
        if name.lower() not in there:
            raise UsageError(f"no rows of {name!r}, choose from {', '.join(there.values())}")
    return frame.loc[frame[column].str.lower().isin([name.lower() for name in wanted])]


def _of_machine(frame: pd.DataFrame, text: str) -> pd.DataFrame:
    if "machine" not in frame:
        raise UsageError("--machine chooses among timings: harness tables acceleration")
    found = frame.loc[frame["machine"].str.contains(text, case=False, regex=False)]
    if found.empty:
        there = "; ".join(frame["machine"].unique())
        raise UsageError(f"no machine has {text!r} in its name: {there}")
    return found
