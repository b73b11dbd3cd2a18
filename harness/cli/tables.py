"""`harness tables`, `harness report` and `harness compare`: what rows become."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from math import isnan, nan
from operator import contains, eq
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from harness.analysis.words import counted
from harness.cli import endings
from harness.cli.console import did_you_mean, out, read_rows, say, takes
from harness.spec import Options, UsageError
from harness.spec.options import PUBLISHED, RESULTS, parse_path

if TYPE_CHECKING:  # these imports take a moment
    import pandas as pd

    from harness.analysis.compare import Change, Comparison
    from harness.records import Row

NAMES = "3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy|ablations|baselines|energy"
_Form = typer.Option("--format", metavar="text|md|csv|html")
_Machine = typer.Option(help="Timings of machines whose name has this text.", metavar="TEXT")
_All = typer.Option("--all", help="Every run of a network; a csv has them always.")


@takes("networks", "datasets", "out")
def tables_(
    name: Annotated[str, typer.Argument(metavar=NAMES)],
    form: Annotated[Literal["text", "md", "csv", "html"], _Form] = "text",
    machine: Annotated[str | None, _Machine] = None,
    all_: Annotated[bool, _All] = False,
    **values: Any,
) -> None:
    """Build a table from the rows under OUT/records. csv and html have all columns."""
    options = Options.parse(**values)
    if machine == "":
        raise UsageError("--machine: '' is empty: give a value, or leave it out")
    from harness.analysis import tables, timings
    from harness.analysis.frame import frames

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    rows = frames(_rows_of(options.out, f"tables {name}", *tables.suites_of(name)))
    frame = tables.FULL[name](rows)
    frame = _only(frame, "networks", "scale", options.networks, eq)
    frame = _only(frame, "datasets", "dataset", options.datasets, eq)
    frame = _only(frame, "machine", "machine", (machine,) if machine else None, contains)
    from harness.reports import shown, table

    if form == "csv":
        sys.stdout.write(table.csv(tables.csv_columns(frame)))
    elif form == "html":
        sys.stdout.write(tables.csv_columns(frame).to_html(index=False, na_rep="") + "\n")
    else:
        if name in tables.TIMED:
            timed = tables.timed(name, rows)
            lines = [timed[n] for n in frame.index]
            parts = shown.timed(lines if all_ else timings.most_complete(lines))
        else:
            parts = shown.as_tables(name, frame)
        if form == "text":
            out.print(*parts, sep="")
        else:
            sys.stdout.write(table.markdown(*parts))


def _rows_of(folder: Path, command: str, *suites: str) -> list[Row]:
    """Return a folder's rows; in a fresh clone raise UsageError that names the shipped ones."""
    from harness.records import Store

    if folder == RESULTS and PUBLISHED.is_dir() and not Store(folder).files:
        suite = suites[0] if suites else "acceleration"
        raise UsageError(
            f"nothing was run yet: `harness {command} --out {PUBLISHED}` shows the shipped "
            f"rows, `harness run --suite {suite}` makes yours"
        )
    return read_rows(folder, *suites)


def _only(
    frame: pd.DataFrame,
    option: str,
    column: str,
    chosen: tuple[str, ...] | None,
    is_meant: Callable[[str, str], bool],
) -> pd.DataFrame:
    """Return the lines that an option names, all without it. Raises UsageError for other names."""
    if not chosen:
        return frame
    if column not in frame:
        raise UsageError(f"this table does not distinguish {option}: leave --{option} out")
    names, selected = [*frame[column].dropna().unique()], set[str]()
    for word in chosen:
        meant = {name for name in names if is_meant(name.lower(), word.lower())}
        if not meant:
            raise UsageError(f"no rows of {word!r}, choose from {', '.join(names)}")
        selected |= meant
    return frame.loc[frame[column].isin(selected)]


_Readme = typer.Option(help="Also renew the tables between its marks.", metavar="FILE")


@takes("out")
def report(readme: Annotated[str | None, _Readme] = None, **values: Any) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows. Show the verdicts."""
    folder = Options.parse(**values).out
    to = None if readme is None else parse_path(readme)
    from harness.analysis import timings
    from harness.analysis.claims import findings
    from harness.analysis.frame import frames
    from harness.reports import page, prose

    rows = frames(_rows_of(folder, "report"))
    written = page.write(rows, folder, to)
    sentences = map(Text, prose.sentences(timings.lines(rows)))
    for part in (*sentences, *page.brief_claims(findings(rows))):
        out.print(part)
    for path in written:
        say(str(path))


CHANGED = ("slower", "worse", "faster", "better")  # what stands out of the noise
LISTED = 3  # of the lines that one folder alone has
WIDEST = (-0.9, 10.0)  # a change known to a tenth or tenfold alone is not known
Folder = typer.Argument(help="Folder of results.")
_Worse = "Exit 1 on a larger change for the worse; smaller ones do not matter."


_Contender = typer.Option(help="Of one folder: this contender...", metavar="NAME[@VERSION]")
_Against = typer.Option(help="... against this one, in the same rounds.", metavar="NAME")


def compare(
    old: Annotated[str, Folder],
    new: Annotated[str | None, Folder] = None,
    fail_above: Annotated[str | None, typer.Option(help=_Worse, metavar="5%")] = None,
    contender: Annotated[str | None, _Contender] = None,
    against: Annotated[str | None, _Against] = None,
) -> None:
    """Compare two result folders, or two contenders of one. What changed, and what is noise."""
    margin = None
    if fail_above is not None:
        match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]+)?) ?%?", fail_above.strip())
        if match is None:
            raise UsageError(f"--fail-above: {fail_above!r}, expected a percentage such as 5%")
        margin = float(match[1]) / 100
    if bool(contender) != bool(against) or (new is None) == (not contender):
        raise UsageError(
            "give two folders, or one folder with --contender and --against, such as "
            "results/local --contender norse@1.0.0 --against norse"
        )
    if contender and against:
        if contender == against:
            raise UsageError(f"--against {against} compares {contender} with itself: name another")
        _compare_contenders(parse_path(old), contender, against, margin)
        return
    first, second = parse_path(old), parse_path(str(new))
    from harness.analysis import compare as comparing

    compared = comparing.compare(read_rows(first), read_rows(second), margin)
    if not compared.changes:
        raise UsageError(
            f"nothing of {old} and {new} can be compared: no cell and no training that counts is "
            "in both"
        )
    out.print(comparison(compared, old, str(new)))
    if margin is not None and (worse := compared.beyond(margin)):
        what = counted(len(worse), "change")
        endings.say(f"{what} for the worse: more than {100 * margin:g}%")
        raise typer.Exit(1)


def _compare_contenders(folder: Path, one: str, other: str, margin: float | None) -> None:
    """Print a contender against another of the same runs.

    Exits with 1 where it is slower by more than `margin`, and where one of them is not proved.
    """
    from harness.analysis import compare as comparing
    from harness.analysis import timings
    from harness.analysis.frame import frames

    rows = frames(read_rows(folder, "acceleration"))
    names = dict.fromkeys(line.name for line in timings.lines(rows))
    unknown = next((name for name in (one, other) if name not in names), None)
    changes = comparing.within_run(rows, one, other, margin) if unknown is None else []
    if not changes:
        lack = f"no run under {folder} timed {one} and {other} together"
        if unknown is not None:
            lack = f"no timing under {folder} is of {unknown!r}"
            if near := did_you_mean(unknown, names):
                raise UsageError(f"{lack}: {near}")
            lack += f", but of {', '.join(names)}"
        if there := _published_with(one, other):
            raise UsageError(f"{lack}: {there} has both, name that folder")
        raise UsageError(
            f"{lack}: first run `harness run --suite acceleration --quick "
            f"--frameworks {other},{one} --out {folder}`"
        )
    for text in comparing.sentences(changes, other):
        say(text)
    if refused := [change for change in changes if change.refused]:
        where = "" if len(changes) == 1 else f" on {len(refused)} of {len(changes)} networks"
        endings.say(f"{one} is not judged against {other}{where}")
        raise typer.Exit(1)
    if margin is not None and any(e.call == "slower" and e.change > margin for e in changes):
        endings.say(f"{one} is slower than {other} by more than {100 * margin:g}%")
        raise typer.Exit(1)


def _published_with(one: str, other: str) -> Path | None:
    """Return the first folder of published results of which a run timed both contenders."""
    from harness.analysis.compare import within_run
    from harness.reports import stored

    for folder in sorted(PUBLISHED.glob("*/records")):
        if within_run(stored.read(folder.parent)[0], one, other):
            return folder.parent
    return None


def comparison(compared: Comparison, old: str, new: str) -> RenderableType:
    """Return the number of clear changes, how folders `old` and `new` differ, and every figure."""
    from harness.analysis.frame import grouped
    from harness.reports.table import Table

    calls = [change.call for change in compared.changes]
    speed, accuracy = 100 * compared.speed, 100 * compared.accuracy
    text = (
        f"{sum(call in CHANGED for call in calls)} of {counted(len(calls), 'figure')} changed by "
        f"more than noise from A ({old}) to B ({new}); {calls.count('too noisy to tell')} are too "
        f"noisy to tell a change of {speed:g} % (speed) or {accuracy:g} % "
        "of the samples (accuracy)"
    )
    head = [Text(text, "bold"), *(Text(text, "yellow") for text in compared.differences)]
    if alone := compared.unmatched:
        some = "; ".join(alone[:LISTED])
        head.append(
            Text(f"in one folder alone: {counted(len(alone), 'line')}, such as {some}", "dim")
        )
    groups = grouped(compared.changes, lambda change: (change.what, change.setting)).items()
    titles = {"speed": "Seconds divided by the floor's", "accuracy": "Test accuracy"}
    tables = (Table([*map(_line, part)], titles[what], setting) for (what, setting), part in groups)
    return Group(*head, *tables)


def _line(change: Change) -> dict[str, str]:
    """Return a change of time or accuracy as a line of text, by column."""
    from harness.reports.table import interval

    is_speed = change.what == "speed"
    low = change.low if WIDEST[0] <= change.low and change.high <= WIDEST[1] else nan
    text = interval(change.change, low, change.high, "+.1f", 100)
    return {
        **({"": change.contender.removesuffix(" fp32")} if is_speed else {}),
        "where": change.where.replace("against the others", "against others"),
        "A": "" if isnan(change.old) else f"{change.old:.3f}",
        "B": "" if isnan(change.new) else f"{change.new:.3f}",
        f"change, {'%' if is_speed else 'points'}": text,
        " ": "noisy" if change.call == "too noisy to tell" else change.call,
    }
