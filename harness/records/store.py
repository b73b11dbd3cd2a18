"""The rows of a result folder: appended as JSON lines, never rewritten, and read back.

What is no row is told of, and hides no other row.
"""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from io import BufferedReader, FileIO
from itertools import count
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from harness.records.row import (
    KINDS,
    SCHEMA,
    CertificateRow,
    ConfusionRow,
    DescentRow,
    EpochRow,
    FittedRow,
    OperationsRow,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
)
from harness.records.run import NOTHING, Shared, shared_by
from harness.spec import SUITES, Case, UsageError
from harness.system.files import unwritable

LONGEST_LINE = 2**20  # bytes; a row takes a thousandth


@dataclass(frozen=True)
class Damage:
    """A line that is no row, or a file that is none of rows (`line` 0)."""

    path: Path
    line: int  # from 1
    reason: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Store:
    """The rows of a result folder: `OUT/records/*.jsonl`, and what was published in it, one folder
    a machine: `OUT/published/<machine>/records/*.jsonl`.

    Many processes may write to one, and each row is there whole or not at all.
    """

    out: Path

    @property
    def folder(self) -> Path:
        """Where rows are added."""
        return self.out / "records"

    @property
    def files(self) -> list[Path]:
        """All that should hold rows, in the order they are read."""
        published = sorted((self.out / "published").glob("*/records"))
        return [
            path for folder in (*published, self.folder) for path in sorted(folder.glob("*.jsonl"))
        ]

    def append(self, *rows: Row) -> None:
        """Adds rows of one suite as whole lines that are on the disk when this returns.

        Raises UsageError where the folder cannot be written.
        """
        if not rows:
            return
        assert rows[0].suite in SUITES, rows[0].suite  # it names the file
        lines = "".join(self._line(row) + "\n" for row in rows)
        # a lone surrogate, of a file name that is no text, has no place in JSON
        content = lines.encode(errors="replace")
        path = self.folder / f"{rows[0].suite}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"), path.open("ab", buffering=0) as file:
                if file.tell() and not _ends_with_newline(path):
                    content = b"\n" + content  # a line torn by a crash stays apart from ours
                _write_all(file, content)
        except OSError as error:
            raise unwritable(path, error) from error

    def _line(self, row: Row) -> str:
        try:
            shared = shared_by(self.out, row.run)
        except ValueError:
            shared = NOTHING
        return row.to_json(shared.of({"dataset": row.dataset}) | {"dataset": None})

    def read(self, suite: str | None = None) -> tuple[list[Row], list[Damage]]:
        """All rows of a suite (None: of all), in the order written, and the lines that are none."""
        rows: list[Row] = []
        damaged: list[Damage] = []
        for path in self.files:
            if suite is not None and path.stem != suite:
                continue
            for number, row in _lines(path):
                if isinstance(row, str):
                    damaged.append(Damage(path, number, row))
                else:
                    rows.append(row)
        return rows, damaged

    def of_keys(self, keys: Iterable[str]) -> list[Row]:
        """All rows of these keys, in the order written."""
        wanted = set(keys)
        return [row for row in self._with(wanted) if row.key in wanted]

    def of_runs(self, runs: Iterable[str]) -> list[Row]:
        """All rows that these runs wrote, in the order written."""
        wanted = set(runs)
        return [row for row in self._with(wanted) if row.run in wanted]

    def proofs_of(self, framework: str) -> list[CertificateRow]:
        """The outcomes of all certificates of a framework and its forms, in the order written."""
        rows = self._with({f'"framework": {json.dumps(framework)}'}, among='"kind": "certificate"')
        return [
            row
            for row in rows
            if isinstance(row, CertificateRow) and row.framework == framework and row.layer is None
        ]

    def descents(self) -> list[DescentRow]:
        """How contenders train in bf16, in the order written."""
        rows = self._with({'"kind": "descent"'})
        return [row for row in rows if isinstance(row, DescentRow)]

    def _with(self, texts: set[str], among: str = "") -> Iterator[Row]:
        """The rows whose line holds one of the texts, and `among`: only those are parsed."""
        needles, also = [text.encode() for text in texts], among.encode()

        def wanted(line: bytes) -> bool:
            return also in line and any(each in line for each in needles)

        for path in self.files:
            for _, row in _lines(path, wanted):
                if not isinstance(row, str):
                    yield row

    @classmethod
    def around(cls, path: Path) -> Store:
        """The store of a result folder, or of its folder or a file of records."""
        if path.suffix == ".jsonl":
            path = path.parent
        return cls(path.parent if path.name == "records" else path)

    def check_writable(self) -> None:
        """Raises UsageError, and changes nothing, where rows could not be kept here."""
        try:
            # the first row makes what is missing: the nearest folder there is must let it
            there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise unwritable(self.out, error) from error


def _write_all(file: FileIO, content: bytes) -> None:
    """Adds to a file, to the disk; all of it, or nothing where that fails."""
    before = file.tell()
    try:
        rest = memoryview(content)
        while rest:  # a full disk takes a part before it refuses
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _lines(
    path: Path, wanted: Callable[[bytes], bool] = lambda line: True
) -> Iterator[tuple[int, Row | str]]:
    """Each wanted line's number, and its row or what is wrong with it; 0 is the file itself."""
    if not path.is_file():  # to open a pipe would wait for ever
        yield 0, "no file of rows: a folder, a pipe or a link that leads nowhere"
        return
    try:
        with path.open("rb") as file:
            yield from _rows(file, path.parent.parent, wanted)
    except OSError as error:
        yield 0, f"cannot be read ({error.strerror or error})"


def _rows(
    file: BufferedReader, out: Path, wanted: Callable[[bytes], bool]
) -> Iterator[tuple[int, Row | str]]:
    runs: dict[object, Shared] = {}
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield number, f"damaged row: longer than {LONGEST_LINE} bytes"
        elif line.strip() and wanted(line):
            content = _content(line)
            if isinstance(content, str):
                yield number, content
                continue
            run = content.get("run")
            if isinstance(run, str) and run not in runs:
                try:
                    runs[run] = shared_by(out, run)
                except ValueError as error:
                    runs[run] = NOTHING
                    yield (
                        0,
                        f"runs/{run}.json is damaged ({error}): what its rows share is not known",
                    )
            yield number, _row(runs.get(str(run), NOTHING).of(content))


@cache
def _adapter() -> TypeAdapter[Row]:
    return TypeAdapter(Annotated[Row, Field(discriminator="kind")])


def parse(line: bytes) -> Row | str:
    """The row of one line that says all of it, or what is wrong with the line."""
    content = _content(line)
    return content if isinstance(content, str) else _row(content)


def _damage(what: str) -> str:
    return f"damaged row: {what[:300]}"


def _content(line: bytes) -> dict[str, object] | str:
    """What a line says, or what is wrong with it."""
    try:
        content = from_json(line.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        return _damage(str(error))
    if not isinstance(content, dict):
        return _damage("a JSON object was expected")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        return f"written by a newer harness (schema {schema}, this one reads {SCHEMA})"
    if schema != SCHEMA:
        return _damage(f"of schema {schema!r}, this harness reads {SCHEMA}"[:100])
    return content


def _row(content: dict[str, object]) -> Row | str:
    if content.get("kind") not in tuple(KINDS):
        return _damage(f"kind: one of {', '.join(KINDS)} was expected")
    try:
        row = _adapter().validate_json(to_json(content), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        return _damage(f"{where + ': ' if where else ''}{first['msg']}")
    wrong = _meaningless(row)
    return _damage(wrong) if wrong else row


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_OF_TRAININGS = EpochRow | TestedRow | TransferRow | ConfusionRow | TrainedRow | FittedRow


def _meaningless(row: Row) -> str:
    """Why no harness can have written what a row says; "" where it can."""
    try:
        case = Case.of(row)
    except UsageError as error:
        return str(error)
    if not _is_moment(row.time):
        return "time: a date and time with a zone was expected"
    if isinstance(row, FittedRow) and row.effort is None:
        return "effort: that of the other system was expected"
    if isinstance(row, _OF_TRAININGS) and row.epochs is None:
        return "epochs: those of the training were expected"
    if isinstance(row, ConfusionRow):
        sizes = {len(row.votes), len(row.confusion), *map(len, row.votes), *map(len, row.confusion)}
        if sizes != {row.classes}:
            return f"votes, confusion: {row.classes} rows of {row.classes} were expected"
    if isinstance(row, OperationsRow):
        layers = len(case.network.stages)
        counts = (row.spikes, row.events, row.operations, row.accumulates, row.multiplies)
        if {len(each) for each in counts} != {layers}:
            return f"operations: an entry for each of {layers} layers was expected"
    return ""
