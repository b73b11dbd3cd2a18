"""The rows of a result folder: appended as JSON lines, never rewritten."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import count
from pathlib import Path

from filelock import FileLock

from harness.records.record import Record
from harness.records.record import parse as _parse
from harness.spec import UsageError

LONGEST_LINE = 2**20  # bytes; a row takes a thousandth


@dataclass(frozen=True)
class Damage:
    """A line that is no row of this schema."""

    path: Path
    line: int  # from 1
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class Store:
    """The rows of a result folder, `OUT/records/*.jsonl`."""

    out: Path

    @property
    def folder(self) -> Path:
        return self.out / "records"

    def append(self, *records: Record) -> None:
        """Adds rows of one suite as whole lines that are on the disk when this returns.

        Raises UsageError where the folder cannot be written.
        """
        if not records:
            return
        lines = "".join(record.to_json() + "\n" for record in records).encode()
        path = self.folder / f"{records[0].suite}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"), path.open("ab", buffering=0) as file:
                if file.tell() and not _ends_with_newline(path):
                    lines = b"\n" + lines  # a line torn by a crash stays apart from ours
                _write_all(file, lines)
        except OSError as error:
            raise UsageError(
                f"cannot write {path} ({error.strerror or error}): give a folder that can be "
                "written with --out"
            ) from error

    def read(self, suite: str | None = None) -> tuple[list[Record], list[Damage]]:
        """All rows of a suite (None: of all), in the order written, and the lines that are none."""
        rows: list[Record] = []
        damaged: list[Damage] = []
        for path in sorted(self.folder.glob(f"{suite or '*'}.jsonl")):
            for number, row in _lines(path):
                if isinstance(row, Record):
                    rows.append(row)
                else:
                    damaged.append(Damage(path, number, row))
        return rows, damaged

    def of_keys(self, keys: set[str]) -> list[Record]:
        """All rows of these keys, in the order written; only what may be one of them is parsed."""
        needles = [key.encode() for key in keys]
        found = (
            row
            for path in sorted(self.folder.glob("*.jsonl"))
            for _, row in _lines(path, lambda line: any(each in line for each in needles))
        )
        return [row for row in found if isinstance(row, Record) and row.key in keys]

    @classmethod
    def around(cls, path: Path) -> Store:
        """The store of a result folder, or of its folder or a file of records."""
        if path.suffix == ".jsonl":
            path = path.parent
        return cls(path.parent if path.name == "records" else path)

    def check_writable(self) -> None:
        """Raises UsageError, and leaves nothing behind, where rows could not be kept here."""
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.out} ({error.strerror or error}): "
                "give a folder that can be written with --out"
            ) from error
        finally:
            for path in missing:  # the first row makes them
                if path.is_dir():
                    path.rmdir()


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
) -> Iterator[tuple[int, Record | str]]:
    """Each wanted line's number, and its row or what is wrong with it."""
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(LONGEST_LINE)
            if not line:
                return
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                yield number, f"damaged row: longer than {LONGEST_LINE} bytes"
            elif line.strip() and wanted(line):
                yield number, _parse(line)
