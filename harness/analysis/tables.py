"""Records to tables: one function per table and figure, each a pure function of stored rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, assert_never

import pandas as pd

from harness.analysis import timings
from harness.analysis.energy import energy
from harness.analysis.frame import Frames, frames
from harness.analysis.paper_tables import baselines, paper_table
from harness.analysis.trainings import ablations, accuracy, neunorm, scale, timesteps
from harness.records import Row
from harness.speed.ratios import Ratio

# With what a page needs beside the columns of a table.
FULL: dict[str, Callable[[Frames], pd.DataFrame]] = {
    "acceleration": timings.lines,
    "timesteps": timesteps,
    "scale": scale,
    "neunorm": neunorm,
    "accuracy": accuracy,
    "ablations": ablations,
    "baselines": baselines,
    "energy": energy,
    **{str(number): partial(paper_table, number) for number in (3, 4, 5, 6)},
}


def _table(name: str, rows: Frames | Iterable[Row]) -> pd.DataFrame:
    table = FULL[name](frames(rows))
    beside = timings.BESIDE if name == "acceleration" else ("machines",)
    return table.drop(columns=[*beside], errors="ignore")


TABLES: dict[str, Callable[[Frames | Iterable[Row]], pd.DataFrame]] = {
    name: partial(_table, name) for name in FULL
}
# The suites whose rows a table is made of, where it has another name.
SUITES_OF = {str(number): ("accuracy", "baselines") for number in (3, 4, 5, 6)}


def suites_of(name: str) -> tuple[str, ...]:
    """The suites whose rows a table is made of."""
    return SUITES_OF.get(name, (name,))


def noise_of(rows: Iterable[Row]) -> Ratio | None:
    """The A/A ratio of the rows of one run."""
    return next(iter(timings.noise(frames(rows)).values()), None)


def acceleration(rows: Frames | Iterable[Row]) -> pd.DataFrame:
    """Fig. 3 as a table."""
    return TABLES["acceleration"](rows)


Markup = Literal["md", "csv", "html"]


# Of a field in Markdown: what starts a tag, a comment or an entity; then what is code, emphasis, a
# link, a cell's end.
_ENTITIES = ((re.compile(r"&(?=[#\w]+;)"), "&amp;"), (re.compile(r"<(?=[A-Za-z/!?])"), "&lt;"))
_SIGNS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|[|`*]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=\])[(\[:]|:(?=//)|(?<=[wW]{3})\."
)
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
# What has a spreadsheet take a text for a formula (OWASP, "CSV Injection"), full-width forms too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def markup(table: pd.DataFrame, form: Markup) -> str:
    """The table as text for a file; every name in it stays text, markup is escaped."""
    match form:
        case "csv":
            return _each_text(table, _csv).to_csv(index=False)
        case "md":
            ranks = table.select_dtypes("Int64")  # without one pandas writes <NA>, a tag
            shown = table.assign(**ranks.astype(object).where(ranks.notna(), None))
            return _each_text(shown, markdown).to_markdown(index=False, missingval="") + "\n"
        case "html":
            return table.to_html(index=False, na_rep="", escape=True) + "\n"
        case _:
            assert_never(form)


def markdown(field: str) -> str:
    """A field of a row as Markdown that shows it: no tag, link, cell or mark comes out of it."""
    for pattern, entity in _ENTITIES:
        field = pattern.sub(entity, field)
    return _LINE_ENDS.sub(" ", _SIGNS.sub(r"\\\g<0>", field))


def _csv(field: str) -> str:
    field = f"'{field}" if field.startswith(_FORMULA) else field
    return field.replace("\r\n", "\n").replace("\r", "\n")  # the csv module quotes no bare \r


def _each_text(table: pd.DataFrame, escape: Callable[[str], str]) -> pd.DataFrame:
    return table.map(lambda cell: escape(cell) if isinstance(cell, str) else cell)
