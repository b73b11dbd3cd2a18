"""The rows of a result folder: appended as JSON lines, never rewritten."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader, FileIO
from itertools import count
from pathlib import Path

from filelock import FileLock

from harness.records.reading import parse
from harness.records.record import CertificateRow, DescentRow, Row
from harness.spec import SUITES
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
        # a lone surrogate, of a file name that is no text, has no place in JSON
        lines = "".join(row.to_json() + "\n" for row in rows).encode(errors="replace")
        path = self.folder / f"{rows[0].suite}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"), path.open("ab", buffering=0) as file:
                if file.tell() and not _ends_with_newline(path):
                    lines = b"\n" + lines  # a line torn by a crash stays apart from ours
                _write_all(file, lines)
        except OSError as error:
            raise unwritable(path, error) from error

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
            yield from _rows(file, wanted)
    except OSError as error:
        yield 0, f"cannot be read ({error.strerror or error})"


def _rows(file: BufferedReader, wanted: Callable[[bytes], bool]) -> Iterator[tuple[int, Row | str]]:
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield number, f"damaged row: longer than {LONGEST_LINE} bytes"
        elif line.strip() and wanted(line):
            yield number, parse(line)
