"""The findings as plain files for a static host: report, leaderboard, tables, docs.

Links are relative, nothing is fetched from elsewhere, and the same rows give the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from harness.analysis import tables
from harness.report.documents import Document, Library
from harness.report.leaderboard import Board, BoardRow, json_schema
from harness.report.templates import template
from harness.spec import FLOOR, UsageError
from harness.system.files import write_whole

_INSET = "clamp(.8rem, 3vw, 2.5rem)"
_SKIP = '\n<a class="skip"'  # the report's first link, for those who use the keyboard
CHECKOUT = Path(__file__).resolve().parents[2]  # where docs/ lies, if this runs from a checkout


@dataclass(frozen=True)
class SiteFile:
    """A file of the site, by its path in it."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Content:
    """What a site shows."""

    report: str  # the report's page
    tables: Mapping[str, pd.DataFrame]
    verdicts: pd.DataFrame
    board: Board
    library: Library


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard's page."""

    title: str
    text: Callable[[BoardRow], str]
    # what it is sorted by, where that is a number
    value: Callable[[BoardRow], float | None] | None = None


@dataclass(frozen=True)
class Filter:
    """What the leaderboard's rows can be chosen by."""

    name: str
    title: str
    text: Callable[[BoardRow], str]


def files(content: Content) -> Iterator[SiteFile]:
    """The site's files."""
    frame = _Frame(bool(content.library.documents))
    yield _text("index.html", frame.with_links(content.report))
    yield _text("leaderboard.html", frame.page("Leaderboard", "", _leaderboard(content.board)))
    yield _text("leaderboard.json", content.board.json)
    yield _text("leaderboard.schema.json", json_schema())
    yield from _tables(content, frame)
    yield from _docs(content.library, frame)


def check(folder: Path) -> None:
    """Raises UsageError where a site's folder is something else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give --site a folder")


def write(site: Sequence[SiteFile], folder: Path) -> list[Path]:
    """Writes the files into a folder, each whole or not at all: their paths.

    Raises UsageError where that cannot be done.
    """
    for each in site:
        path = folder / each.path
        try:
            write_whole(path, lambda part, content=each.content: part.write_bytes(content))
        except OSError as error:
            raise UsageError(
                f"cannot write {path} ({error.strerror or error}): "
                "give a folder that can be written with --site"
            ) from error
    return [folder / each.path for each in site]


def _text(path: str, text: str) -> SiteFile:
    # of a row's escapes and of names of files, some are no text
    return SiteFile(path, text.encode("utf-8", errors="backslashreplace"))


@dataclass(frozen=True)
class _Frame:
    """What all pages share: the way from one to the others."""

    has_docs: bool

    def page(self, title: str, root: str, body: str) -> str:
        """A page; `root` is the way from it to the site's first one."""
        return template("site").render(
            title=title, links=self.links(root), root=root, body=Markup(body)
        )

    def links(self, root: str, inset: str = "0") -> Markup:
        """The way to the other pages; `inset` keeps it off the sides of a page that has no rim."""
        shown = template("site_links").render(root=root, docs=self.has_docs, inset=inset)
        return Markup(shown)

    def with_links(self, report: str) -> str:
        """The report's page with the way to the others at its top."""
        head, _, body = report.rpartition("<body>")  # scripts in its head may name the tag too
        skip, end, rest = body.partition("</a>\n") if body.startswith(_SKIP) else ("", "\n", body)
        return f"{head}<body>{skip}{end}{self.links('', _INSET)}{rest}"


def _tables(content: Content, frame: _Frame) -> Iterator[SiteFile]:
    named = {"verdicts": content.verdicts, **content.tables}
    listed = [(_file(name), _about(name), len(table)) for name, table in named.items()]
    index = template("site_tables").render(tables=listed)
    yield _text("tables/index.html", frame.page("Tables", "../", index))
    for name, table in named.items():
        path = _file(name)
        grid = Markup(tables.markup(table, "html"))
        body = template("site_table").render(about=_about(name), path=path, grid=grid)
        yield _text(f"tables/{path}.html", frame.page(f"Table: {_title(name)}", "../", body))
        yield _text(f"tables/{path}.csv", tables.markup(table, "csv"))


def _file(name: str) -> str:
    return f"table{name}" if name.isdigit() else name


def _title(name: str) -> str:
    return f"Table {name} of the paper" if name.isdigit() else name


def _about(name: str) -> str:
    """What a table is, in a sentence."""
    if name.isdigit():
        return f"{_title(name)}: published, and measured here."
    if name == "verdicts":
        return "The verdict on each claim, one line an effect that decides it."
    text = tables.TABLES[name].__doc__ or name
    return " ".join(text.partition("\n\n")[0].split())


def _docs(library: Library, frame: _Frame) -> Iterator[SiteFile]:
    for each in library.documents:
        root = "../" * each.path.count("/")
        yield _text(each.path, frame.page(each.title, root, each.html))
    for each in library.attachments:
        yield SiteFile(each.path, each.content)
    first = "docs/index.html"
    if library.documents and first not in [each.path for each in library.documents]:
        yield _text(first, frame.page("Docs", "../", _contents(library.documents)))


def _contents(documents: Sequence[Document]) -> str:
    listed = [(each.path.removeprefix("docs/"), each.title) for each in documents]
    return template("site_docs").render(documents=listed)


def _leaderboard(board: Board) -> str:
    return template("site_leaderboard").render(
        columns=COLUMNS,
        filters=[(each, _choices(each, board)) for each in FILTERS],
        rows=board.rows,
        FLOOR=FLOOR,
        origin=board.generated_from,
    )


def _choices(of: Filter, board: Board) -> list[str]:
    return sorted({of.text(row) for row in board.rows})


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _rank(row: BoardRow) -> str:
    return "" if row.rank is None else f"{row.rank} of {row.ranked}"


def _conditions(row: BoardRow) -> str:
    parts = [f"T {row.T}", f"batch {row.batch_size}"]
    parts += [f"NeuNorm {row.neunorm}"] if row.neunorm else []
    parts += [f"width {row.width}"] if row.width != "1" else []
    return ", ".join([*parts, row.device])


def _milliseconds(row: BoardRow) -> float | None:
    return None if row.seconds_per_iteration is None else 1000 * row.seconds_per_iteration


def _note(row: BoardRow) -> str:
    return f"from {row.submitted}; {row.reason}" if row.submitted else row.reason


COLUMNS = (
    Column("contender", lambda row: row.name),
    Column(
        "× floor [95 %]",
        lambda row: _interval(row.ratio_to_floor, row.ratio_low, row.ratio_high),
        lambda row: row.ratio_to_floor,
    ),
    Column("rank", _rank, lambda row: row.rank),
    Column("data set", lambda row: row.dataset),
    Column("scale", lambda row: row.scale),
    Column("precision", lambda row: row.precision),
    Column("mode", lambda row: row.mode),
    Column("conditions", _conditions),
    Column(
        "× float32 floor",
        lambda row: _number(row.ratio_to_fp32_floor, ".2f"),
        lambda row: row.ratio_to_fp32_floor,
    ),
    Column("ms an iteration", lambda row: _number(_milliseconds(row), ",.0f"), _milliseconds),
    Column(
        "MiB", lambda row: _number(row.peak_memory_mib, ",.0f"), lambda row: row.peak_memory_mib
    ),
    Column("proof", lambda row: row.certificate),
    Column("rounds", lambda row: str(row.rounds), lambda row: row.rounds),
    Column("machine", lambda row: row.machine),
    Column("note", _note),
)
FILTERS = (
    Filter("framework", "framework", lambda row: row.framework),
    Filter("dataset", "data set", lambda row: row.dataset),
    Filter("scale", "scale", lambda row: row.scale),
    Filter("precision", "precision", lambda row: row.precision),
    Filter("mode", "mode", lambda row: row.mode),
    Filter("machine", "machine", lambda row: row.machine),
)
