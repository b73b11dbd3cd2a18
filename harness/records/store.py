"""The rows of a result folder: appended as JSON lines, never rewritten, and read back.

What a run's rows share stands once in OUT/runs/RUN.json. What is no row is named, and hides no
other row.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from harness.records.current import slot_of
from harness.records.row import (
    KINDS,
    SCHEMA,
    CertificateRow,
    ConfusionRow,
    EndedRow,
    FittedRow,
    IterationRow,
    OfTraining,
    OperationsRow,
    Record,
    Row,
)
from harness.spec import Case, ProgressCallback, System, Trained, network_name
from harness.system.files import locked, unwritable

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Store:
    """The rows of a result folder.

    `OUT/records/*.jsonl`, and `OUT/published/<machine>/records/*.jsonl`, one folder a machine.
    Many processes may write to one, and each row is there whole or not at all.
    """

    out: Path

    @classmethod
    def at(cls, path: Path) -> Store:
        """Return the store at a path: a result folder, or its records folder."""
        return cls(path.parent if path.name == "records" else path)

    @property
    def folder(self) -> Path:
        """Folder that new rows are added to."""
        return self.out / "records"

    @property
    def files(self) -> list[Path]:
        """Files of rows, in the order in which they are read."""
        folders = (*sorted((self.out / "published").glob("*/records")), self.folder)
        return [path for folder in folders for path in sorted(folder.glob("*.jsonl"))]

    def append(self, *rows: Row) -> None:
        """Append rows of one suite, all or none; they are on the disk when this returns.

        Raises UsageError where the folder cannot be written.
        """
        if not rows:
            return
        lines = (row.to_json(shared_by(self.out, row.run).of(row.dataset)) + "\n" for row in rows)
        # a lone surrogate, of a file name that is no text, has no place in JSON
        content = "".join(lines).encode(errors="replace")
        path = self.folder / f"{rows[0].suite}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"), path.open("a+b", buffering=0) as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a line torn by a crash is not joined to ours
                        content = b"\n" + content
                _write_all(file, content)
        except OSError as error:
            raise unwritable(path, error) from error

    def read(self, suite: str | None = None) -> tuple[list[Row], list[str]]:
        """Return the rows of a suite (None: of all), file by file as written, and the damage.

        The damage is a sentence for each line that is no row and each file that cannot be read.
        """
        found = [each for path in self.files if suite in (None, path.stem) for each in _lines(path)]
        damaged = [each for each in found if isinstance(each, str)]
        return [each for each in found if not isinstance(each, str)], damaged

    def where(self, field: str, values: Iterable[str]) -> list[Row]:
        """Return all rows with one of these values in a field, file by file as written.

        Only lines with these texts are parsed; damaged ones are passed over.
        """
        values = set(values)
        texts = [json.dumps(value).encode() for value in values]
        found = (each for path in self.files for each in _lines(path, texts))
        rows = (each for each in found if not isinstance(each, str))
        return [row for row in rows if getattr(row, field) in values]

    def of_kind(self, kind: type[R]) -> list[R]:
        """Return all rows of a kind, file by file as written."""
        return [row for row in self.where("kind", [kind.kind]) if isinstance(row, kind)]

    def check_writable(self) -> None:
        """Raise UsageError if rows could not be kept here; writes no row."""
        try:
            # the first row makes what is missing: the nearest folder there is must let it
            there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise unwritable(self.out, error) from error


def _write_all(file: FileIO, content: bytes) -> None:
    """Add to a file, to the disk; all of it, or nothing where that fails."""
    before = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(content)
        while rest:  # a full disk takes a part before it refuses
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


@dataclass(frozen=True)
class Shared:
    """The fields that all rows of a run share, as RUN.json has them."""

    shared: dict[str, Any] = field(default_factory=dict)
    shared_by_dataset: dict[str, dict[str, Any]] = field(default_factory=dict)
    damage: str = ""  # what is wrong with the file

    def of(self, dataset: object) -> dict[str, Any]:
        """Return the shared fields of rows of a data set; a row's own fields override them."""
        return self.shared | self.shared_by_dataset.get(str(dataset), {})


def shared_by(out: Path, run: str) -> Shared:
    """Read OUT/runs/RUN.json; return no shared fields where it is missing or damaged."""
    if not run.replace("-", "").isalnum():  # it names a file
        return Shared()
    try:
        return TypeAdapter(Shared).validate_json((out / "runs" / f"{run}.json").read_bytes())
    except OSError:
        return Shared()
    except ValueError as error:
        what = " ".join(str(error).split())[:200]
        return Shared(damage=f"runs/{run}.json is damaged, and what its rows share lost: {what}")


@cache  # made when first asked for: it takes half a second
def _adapter() -> TypeAdapter[Row]:
    return TypeAdapter(Annotated[Row, Field(discriminator="kind")])


def _lines(path: Path, texts: Collection[bytes] = (b"",)) -> Iterator[Row | str]:
    """Yield the row of each line with one of the texts, or what is wrong with it, and where."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        yield f"{path}: cannot be read ({error.strerror or error})"
        return
    runs: dict[str, Shared] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or not any(text in line for text in texts):
            continue
        try:
            content = _content(line)
            run = str(content.get("run"))
            if run not in runs:
                runs[run] = shared_by(path.parent.parent, run)
                if runs[run].damage:
                    yield f"{path}: {runs[run].damage}"
            yield parse_row(runs[run].of(content.get("dataset")) | content)
        except ValueError as error:
            yield f"{path}:{number}: damaged row: {str(error)[:300]}"


def _content(line: bytes) -> dict[str, object]:
    content = from_json(line.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    if not isinstance(content, dict):
        raise ValueError("a JSON object was expected")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"of schema {content.get('schema')!r}, this harness reads {SCHEMA}")
    return content


def parse_row(content: dict[str, object]) -> Row:
    """Return the row with these fields, checked. Raises ValueError that names the fault."""
    try:
        row = _adapter().validate_json(to_json(content), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        raise ValueError(f"{where}: {first['msg']}".removeprefix(": ")) from error
    _check(row)
    return row


ITERATION = (1e-7, 3e6)  # seconds: a call that does nothing, and a month


def _check(row: Row) -> None:
    """Raise ValueError where a row makes no sense, of which UsageError is one."""
    case = Case.of(row)
    if datetime.fromisoformat(row.time).tzinfo is None:
        raise ValueError("time: a zone was expected")
    if isinstance(row, IterationRow) and not ITERATION[0] <= row.seconds <= ITERATION[1]:
        raise ValueError(f"seconds: {row.seconds:g}, an iteration takes 1e-7 s to a month")
    if isinstance(row, OfTraining):
        Trained.of(row)
    if isinstance(row, FittedRow):
        System.of(row)
    if isinstance(row, ConfusionRow):
        tables = row.votes, row.confusion
        if {len(each) for table in tables for each in (table, *table)} != {row.classes}:
            raise ValueError(f"votes, confusion: {row.classes} rows of {row.classes} were expected")
    if isinstance(row, OperationsRow):
        layers = len(case.network.stages)
        counts = row.spikes, row.events, row.operations, row.accumulates, row.multiplies
        if {len(each) for each in counts} != {layers}:
            raise ValueError(f"operations: an entry for each of {layers} layers was expected")


# the writing side: rows of a process that measures


class Busy(Exception):
    """Another process has locked this case."""


@dataclass(eq=False)
class Ledger:
    """Rows of a result folder, for a process that measures: it locks cases, reads and appends."""

    store: Store
    say: ProgressCallback  # how far the work is: a sign of life too
    fresh: bool = False  # only what `runs` measured counts
    runs: tuple[str, ...] = ()  # of this command
    patient: bool = False  # waits where another process is at the same case
    kept: list[Row] = field(default_factory=list)  # by this process
    _there: dict[Hashable, object] = field(default_factory=dict)  # the figures of a slot's last row
    _claims: ExitStack = field(default_factory=ExitStack)

    def lock_and_read(self, *rows: Record) -> list[Row]:
        """Lock the rows' keys, as one set; return their stored rows (if `fresh`, those of `runs`).

        Where another process has that lock, waits if `patient`, else raises Busy.
        """
        keys = {str(row.key) for row in rows}
        name = hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:16]
        what = f"{rows[0].dataset} {network_name(rows[0])} seed {rows[0].seed}"
        folder = self.store.out / ".locks"

        def wait() -> None:
            if not self.patient:
                raise Busy(what)
            self.say(0.0, f"{what}: another process is at it; waiting")

        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._claims.enter_context(locked(folder / f"{name}.lock", wait))
        except OSError as error:
            raise unwritable(folder, error) from error
        there = self._counting(self.store.where("key", keys))
        self._there |= {slot_of(row): _figures(row) for row in there if _is_once(row)}
        return there

    def of_kind(self, kind: type[R]) -> list[R]:
        """Return all stored rows of a kind; if `fresh`, only those of `runs`."""
        return self._counting(self.store.of_kind(kind))

    def _counting(self, there: list[R]) -> list[R]:
        return [row for row in there if row.run in self.runs] if self.fresh else there

    def keep(self, *rows: Row) -> None:
        """Append rows; they are on the disk when this returns. Raises UsageError where it cannot.

        A resumed training writes again what it wrote before it was killed: that is kept once. One
        that is trained anew may have other figures: its rows are kept, all of them, and count.
        """
        new = [
            row
            for row in rows
            if not _is_once(row) or self._there.get(slot_of(row)) != _figures(row)
        ]
        self._there |= {slot_of(row): _figures(row) for row in new if _is_once(row)}
        self.store.append(*new)
        self.kept += new

    def release(self) -> None:
        """Release the locks, so that other processes can take these cases."""
        self._claims.close()
        self._there.clear()


def _is_once(row: Row) -> bool:
    """Return whether a training, or another system, has one such row with the same figures."""
    return row.epochs is not None and not isinstance(row, CertificateRow | EndedRow)


def _figures(row: Row) -> dict[str, object]:
    """Return what a row adds to the fields of all rows."""
    return {k: v for k, v in vars(row).items() if k not in Record.__dataclass_fields__}
