"""The rows of a result folder: appended as JSON lines, never rewritten, and read back.

What a run's rows share stands once in OUT/runs/RUN.json. What is no row is named, and hides no
other row.
"""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from harness.records.row import (
    KINDS,
    SCHEMA,
    CertificateRow,
    ConfusionRow,
    DescentRow,
    FittedRow,
    OfTraining,
    OperationsRow,
    Record,
    Row,
)
from harness.spec import SUITES, Case, CaseFields, UsageError
from harness.system.files import unwritable

LONGEST_LINE = 2**20  # bytes; a row takes a thousandth
# Fields that each row says itself: what it is, what it is of, and when it was measured.
_OWN = frozenset((*CaseFields.__dataclass_fields__, "schema", "run", "time", "key", "kind"))
Shared = Mapping[str, Mapping[str, Any]]  # fields by data set; "" has those of all


@dataclass(frozen=True)
class Damage:
    """A damaged line, or a file that does not hold rows (`line` 0)."""

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
        folders = (*sorted((self.out / "published").glob("*/records")), self.folder)
        return [path for folder in folders for path in sorted(folder.glob("*.jsonl"))]

    def append(self, *rows: Row) -> None:
        """Adds rows of one suite as whole lines that are on the disk when this returns.

        Raises UsageError where the folder cannot be written.
        """
        if not rows:
            return
        assert rows[0].suite in SUITES, rows[0].suite  # it names the file
        lines = "".join(
            row.to_json(_fields(self._shared_by(row), row.dataset)) + "\n" for row in rows
        )
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

    def _shared_by(self, row: Row) -> Shared:
        try:
            return shared_by(self.out, row.run)
        except ValueError:
            return {}

    def read(self, suite: str | None = None) -> tuple[list[Row], list[Damage]]:
        """All rows of a suite (None: of all), in the order written, and the lines that are none."""
        rows: list[Row] = []
        damaged: list[Damage] = []
        for path in self.files:
            for number, row in _lines(path) if suite in (None, path.stem) else ():
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
        proofs = (row for row in rows if isinstance(row, CertificateRow))
        return [row for row in proofs if row.framework == framework and row.layer is None]

    def descents(self) -> list[DescentRow]:
        """How contenders train in bf16, in the order written."""
        rows = self._with({'"kind": "descent"'})
        return [row for row in rows if isinstance(row, DescentRow)]

    def _with(self, texts: set[str], among: str = "") -> Iterator[Row]:
        """The rows whose line holds one of the texts, and `among`: only those are parsed."""
        needles, also = [text.encode() for text in texts], among.encode()

        def wanted(line: bytes) -> bool:
            return also in line and any(each in line for each in needles)

        lines = (each for path in self.files for each in _lines(path, wanted))
        yield from (row for _, row in lines if not isinstance(row, str))

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


# what the rows of a run share


def shared_by(out: Path, run: object) -> Shared:
    """What the rows of a run share; nothing where its file is missing.

    Raises ValueError where the file is damaged.
    """
    if not (isinstance(run, str) and run.replace("-", "").isalnum()):  # it names a file
        return {}
    path = out / "runs" / f"{run}.json"
    try:
        return _shared_in(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=1024)
def _shared_in(path: Path, mtime_ns: int) -> Shared:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("a JSON object was expected")
    groups = content.get("shared_by_dataset", {})
    if not isinstance(groups, dict):
        raise ValueError("shared_by_dataset: an object was expected")
    known, found = Record.__dataclass_fields__.keys() - _OWN, {}
    for dataset, fields in {"": content.get("shared", {}), **groups}.items():
        if not isinstance(fields, dict):
            raise ValueError("shared: an object was expected")
        given = fields.items()
        found[dataset] = {name: v for name, v in given if name in known and v is not None}
    return found


def _fields(shared: Shared, dataset: object) -> dict[str, Any]:
    return {**shared.get("", {}), **shared.get(str(dataset), {})}


# lines


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
    file: BinaryIO, out: Path, wanted: Callable[[bytes], bool]
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
            run = str(content.get("run"))
            if run not in runs:
                runs[run] = {}
                try:
                    runs[run] = shared_by(out, run)
                except (ValueError, TypeError) as error:
                    lost = "what its rows share is not known"
                    yield 0, f"runs/{run}.json is damaged ({error}): {lost}"
            yield number, _row({**_fields(runs[run], content.get("dataset")), **content})


@cache
def _adapter() -> TypeAdapter[Row]:
    return TypeAdapter(Annotated[Row, Field(discriminator="kind")])


def parse(line: bytes) -> Row | str:
    """The row of one line that says all of it, or what is wrong with the line."""
    content = _content(line)
    return content if isinstance(content, str) else _row(content)


def _content(line: bytes) -> dict[str, object] | str:
    """What a line says, or what is wrong with it."""
    try:
        content = from_json(line.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        return f"damaged row: {str(error)[:300]}"
    if not isinstance(content, dict):
        return "damaged row: a JSON object was expected"
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        return f"written by a newer harness (schema {schema}, this one reads {SCHEMA})"
    if schema != SCHEMA:
        return f"damaged row: of schema {repr(schema)[:60]}, this harness reads {SCHEMA}"
    return content


def _row(content: dict[str, object]) -> Row | str:
    if content.get("kind") not in tuple(KINDS):
        return f"damaged row: kind: one of {', '.join(KINDS)} was expected"
    try:
        row = _adapter().validate_json(to_json(content), strict=True, extra="forbid")
        _check(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        return f"damaged row: {where}{': ' * bool(where)}{first['msg']}"[:300]
    except UsageError as error:
        return f"damaged row: {str(error)[:300]}"
    return row


def _check(row: Row) -> None:
    """Raises UsageError where no harness can have written what a row says."""
    case = Case.of(row)
    try:
        dated = datetime.fromisoformat(row.time).tzinfo is not None
    except ValueError:
        dated = False
    wrong = {"time: a date and time with a zone was expected": not dated}
    if isinstance(row, OfTraining):
        wrong["epochs: those of the training were expected"] = row.epochs is None
    if isinstance(row, FittedRow):
        wrong["effort: that of the other system was expected"] = row.effort is None
    if isinstance(row, ConfusionRow):
        sizes = {len(row.votes), len(row.confusion), *map(len, row.votes), *map(len, row.confusion)}
        what = f"votes, confusion: {row.classes} rows of {row.classes} were expected"
        wrong[what] = sizes != {row.classes}
    if isinstance(row, OperationsRow):
        layers = len(case.network.stages)
        counts = (row.spikes, row.events, row.operations, row.accumulates, row.multiplies)
        what = f"operations: an entry for each of {layers} layers was expected"
        wrong[what] = {len(each) for each in counts} != {layers}
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise UsageError(what)
