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
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from io import FileIO
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, TypeVar, get_args

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from harness.machine.files import locked, unwritable
from harness.records.current import slot_of
from harness.records.row import (
    KINDS,
    SCHEMA,
    CertificateResult,
    ConfusionResult,
    EndedResult,
    FittedResult,
    IterationResult,
    K,
    OfTraining,
    OperationsResult,
    Result,
    Row,
    TestedResult,
    of_kind,
)
from harness.records.run import RowMaker
from harness.spec import Case, Count, Fit, ProgressCallback, Training, network_name

R = TypeVar("R", bound=Result)


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
        """Files of rows as they are read: those of `published/*` first, then the folder's own."""
        folders = (*sorted((self.out / "published").glob("*/records")), self.folder)
        return [path for folder in folders for path in sorted(folder.glob("*.jsonl"))]

    def append(self, *rows: Row) -> None:
        """Append rows of one suite, all or none; they are on the disk when this returns.

        Raises UsageError where the folder cannot be written.
        """
        if not rows:
            return
        lines = (line_of(row, shared_by(self.out, row.run.id)) + "\n" for row in rows)
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
        files = [path for path in self.files if suite in (None, path.stem)]
        lines = [line for path in files for line in _lines(path)]
        damage = [line for line in lines if isinstance(line, str)]
        return [line for line in lines if not isinstance(line, str)], damage

    def with_keys(self, keys: Collection[str]) -> list[Row]:
        """Return all rows with one of these keys, file by file as written."""
        return [row for row in self._with_texts(keys) if row.key in keys]

    def of_kind(self, kind: type[K]) -> list[Row[K]]:
        """Return all rows of a kind, file by file as written."""
        return of_kind(self._with_texts([kind.kind]), kind)

    def _with_texts(self, values: Iterable[str]) -> Iterator[Row]:
        """Yield the rows whose line has one of these texts; no other line is parsed."""
        texts = [json.dumps(value).encode() for value in values]
        lines = (line for path in self.files for line in _lines(path, texts))
        return (line for line in lines if not isinstance(line, str))

    def check_writable(self) -> None:
        """Raise UsageError if rows could not be kept here; writes no row."""
        try:
            # the first row makes what is missing: the nearest folder there is must let it
            nearest = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            raise unwritable(self.out, error) from error


def _write_all(file: FileIO, content: bytes) -> None:
    """Add to a file, to the disk; all of it, or nothing where that fails."""
    end = file.seek(0, os.SEEK_END)
    try:
        while content:  # a full disk takes a part before it refuses
            content = content[file.write(content) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


Part = dict[str, object]  # an object of JSON: a row, or a part of one
Parts = dict[Literal["run", "installation", "data"], Part]


@dataclass(frozen=True)
class Shared:
    """The parts of rows that all of a run share, as RUN.json has them."""

    shared: Parts = field(default_factory=dict)
    shared_by_dataset: dict[str, Parts] = field(default_factory=dict)
    damage: str = ""  # what is wrong with the file

    def parts_of(self, dataset: object) -> Parts:
        """Return the shared parts of rows of a data set; a row's own fields override them."""
        return self.shared | self.shared_by_dataset.get(str(dataset), {})


def shared_by(out: Path, run: str) -> Shared:
    """Read OUT/runs/RUN.json; return no shared parts where it is missing or damaged."""
    if not run.replace("-", "").isalnum():  # it names a file
        return Shared()
    try:
        return TypeAdapter(Shared).validate_json((out / "runs" / f"{run}.json").read_bytes())
    except OSError:
        return Shared()
    except ValueError as error:
        what = " ".join(str(error).split())[:200]
        return Shared(damage=f"runs/{run}.json is damaged, and what its rows share lost: {what}")


@cache  # made when first asked for: it takes a tenth of a second
def _adapter() -> TypeAdapter[Row]:
    return TypeAdapter(Row[Annotated[Result, Field(discriminator="kind")]])


def line_of(row: Row, shared: Shared = Shared()) -> str:
    """Return a row as a line of JSON, without what is None, empty or in the run's file."""
    content: Part = _adapter().dump_python(row, mode="json", exclude_none=True)
    for name, part in shared.parts_of(row.workload.dataset).items():
        fields = _part(content, name)
        lacking = dict.fromkeys(part.keys() - fields.keys())  # null: not what is shared
        content[name] = lacking | {k: v for k, v in fields.items() if part.get(k) != v}
    present = {name: part for name, part in content.items() if part != {}}
    return json.dumps(present, ensure_ascii=False, allow_nan=False)


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
            run = str(_part(content, "run").get("id"))
            if run not in runs:
                runs[run] = shared_by(path.parent.parent, run)
                if runs[run].damage:
                    yield f"{path}: {runs[run].damage}"
            dataset = _part(content, "case", "workload").get("dataset")
            for name, part in runs[run].parts_of(dataset).items():
                content[name] = part | _part(content, name)
            yield parse_row(content)
        except ValueError as error:
            yield f"{path}:{number}: damaged row: {str(error)[:300]}"


def _part(content: object, *names: str) -> Part:
    """Return a part of a row, {} where it is missing. Raises ValueError where it is no object."""
    for name in names:
        content = _part(content).get(name, {})
    if not isinstance(content, dict):
        raise ValueError(f"{'.'.join(names) or 'a row'}: an object was expected")
    return content


def _content(line: bytes) -> Part:
    """Return a line's row as parts.

    Raises:
        ValueError: if it is no JSON, or of another schema.
    """
    content = _part(from_json(line.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False))
    if content.get("schema") != SCHEMA:
        raise ValueError(f"of schema {content.get('schema')!r}, this harness reads {SCHEMA}")
    return content


TAGS = {*KINDS, *(case.kind for case in get_args(Case))}  # of unions, in a fault's place


def parse_row(content: Part) -> Row:
    """Return the row with these fields, checked. Raises ValueError that names the fault."""
    try:
        row = _adapter().validate_json(to_json(content), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in TAGS)
        raise ValueError(f"{place}: {first['msg']}".removeprefix(": ")) from error
    _check(row)
    return row


ITERATION = (1e-7, 3e6)  # seconds: a call that does nothing, and a month


def _check(row: Row) -> None:
    """Raise ValueError where a row makes no sense, of which UsageError is one."""
    case, result = row.case, row.result
    if datetime.fromisoformat(row.time).tzinfo is None:
        raise ValueError("time: a zone was expected")
    if not isinstance(case, _case_of(result)):
        raise ValueError(f"result: a {case.kind} has no {result.kind}")
    match result:
        case IterationResult() if not ITERATION[0] <= result.seconds <= ITERATION[1]:
            reason = f"{result.seconds:g}, an iteration takes 1e-7 s to a month"
            raise ValueError(f"seconds: {reason}")
        case ConfusionResult():
            tables, classes = (result.votes, result.confusion), row.workload.network.classes
            if {len(line) for table in tables for line in (table, *table)} != {classes}:
                raise ValueError(f"votes, confusion: {classes} rows of {classes} were expected")
        case OperationsResult():
            layers = len(row.workload.network.stages)
            counts = result.spikes, result.events, result.operations
            folded = result.accumulates, result.multiplies
            if {len(count) for count in (*counts, *folded)} != {layers}:
                raise ValueError(f"operations: an entry for each of {layers} layers was expected")
        case _:
            pass


def _case_of(result: Result) -> type[Case] | UnionType:
    """Return the kinds of cases that have such a result."""
    match result:
        case FittedResult():
            return Fit
        case TestedResult():
            return Training | Fit
        case OperationsResult():
            return Training | Count
        case _ if isinstance(result, OfTraining):
            return Training
        case _:
            return Case


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
    append: Callable[..., object] | None = None  # of rows; None: the store's own
    rows: list[Row] = field(default_factory=list)  # that this process appended
    _results: dict[Hashable, Result] = field(default_factory=dict)  # of a slot's last row
    _claims: ExitStack = field(default_factory=ExitStack)

    def lock_and_read(self, *makers: RowMaker) -> list[Row]:
        """Lock the makers' keys, as one set; return their stored rows (if `fresh`, of `runs`).

        Where another process has that lock, waits if `patient`, else raises Busy.
        """
        keys = {str(maker.key) for maker in makers}
        name = hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:16]
        workload = makers[0].case.workload
        what = f"{workload.dataset} {network_name(workload)} seed {workload.seed}"
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
        stored = self._counting(self.store.with_keys(keys))
        self._results |= {slot_of(row): row.result for row in stored}
        return stored

    def of_kind(self, kind: type[K]) -> list[Row[K]]:
        """Return all stored rows of a kind; if `fresh`, only those of `runs`."""
        return self._counting(self.store.of_kind(kind))

    def _counting(self, stored: list[Row[R]]) -> list[Row[R]]:
        return [row for row in stored if row.run.id in self.runs] if self.fresh else stored

    def keep(self, *rows: Row) -> None:
        """Append rows; with the store's own `append`, they are on the disk when this returns.

        Raises UsageError where the folder cannot be written.

        A resumed training writes again what it wrote before it was killed: that is kept once. One
        that is trained anew may have other figures: its rows are kept, all of them, and count.
        """
        stored = self._results
        new = [r for r in rows if not _is_once(r) or stored.get(slot_of(r)) != r.result]
        self._results |= {slot_of(row): row.result for row in new}
        (self.append or self.store.append)(*new)
        self.rows += new

    def release(self) -> None:
        """Release the locks, so that other processes can take these cases."""
        self._claims.close()
        self._results.clear()


def _is_once(row: Row) -> bool:
    """Return whether a training, or a baseline, has one such row with the same result."""
    once = not isinstance(row.result, CertificateResult | EndedResult)
    return isinstance(row.case, Training | Fit) and once
