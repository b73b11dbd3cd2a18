"""Files that hold samples: which there are, which of them can be used, and how one is named.

Whatever lies in a data set's folder, listing it neither waits nor fails: only regular files are
samples. What else has a sample's name is left out, with a sentence that says what it is.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.spec import UsageError
from harness.system.files import printable

LARGEST_FILE = 2**26  # bytes of one image or recording; the largest there are take a tenth

_FILE, _FOLDER = "a file", "a folder"
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class Sample:
    """One file and the label of its folder."""

    label: int
    path: Path


@dataclass(frozen=True)
class Listed:
    """The files of a split, and a sentence of each entry that is left out."""

    samples: list[Sample]
    left_out: tuple[str, ...] = ()


def damaged(path: Path, what: object) -> UsageError:
    """The error of a file or folder that is there and cannot be used."""
    return UsageError(printable(f"{path} is damaged ({what}), delete it or extract it again"))


def check_file(path: Path) -> None:
    """Raises UsageError for what is no regular file, and for one too large to be one sample's.

    A sample is read as a whole; to open a pipe would wait for ever.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise damaged(path, error.strerror) from error
    if not stat.S_ISREG(state.st_mode):
        raise damaged(path, f"it is {_kind_of(state.st_mode)}, expected a file")
    if state.st_size > LARGEST_FILE:
        raise damaged(path, f"{state.st_size} bytes, of one sample {LARGEST_FILE} at most")


def files_origin(folder: Path, files: Iterable[Path]) -> str:
    """A hash of the names of files under `folder`, their sizes and when each was changed last."""
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
            known = f"{state.st_size} {state.st_mtime_ns}"
        except OSError as error:  # a broken link, or deleted since it was listed
            known = f"error {error.errno}"
        digest.update(os.fsencode(file.relative_to(folder).as_posix()) + f" {known}\n".encode())
    return digest.hexdigest()


def list_files(folder: Path, classes: Sequence[str], suffixes: tuple[str, ...]) -> Listed:
    """Files `folder/<class>/*<suffix>` in the order of class and name.

    Raises UsageError where such files lie in a folder that is no class (they would be lost), and
    where all that there are must be left out.
    """
    if not folder.is_dir():
        return Listed([])
    labels = {name: label for label, name in enumerate(classes)}
    samples: list[Sample] = []
    left_out: list[str] = []
    for entry in _entries(folder, left_out):
        kind = _kind(entry)
        if kind == _FOLDER:
            names = _names(Path(entry.path), suffixes, left_out)
            if names and entry.name not in labels:
                place, known = printable(entry.path), ", ".join(classes)
                raise UsageError(f"{place} is no class folder, expected {known}")
            samples += [Sample(labels[entry.name], folder / entry.name / name) for name in names]
        elif entry.name in labels:
            left_out.append(printable(f"{entry.path} is {kind}, expected a folder"))
    if left_out and not samples:
        raise UsageError(f"none of the samples in {printable(folder)} can be used: {left_out[0]}")
    return Listed(sorted(samples, key=lambda each: (each.label, each.path.name)), tuple(left_out))


def _names(folder: Path, suffixes: tuple[str, ...], left_out: list[str]) -> list[str]:
    """Names of the files in `folder`; of what cannot be used, a sentence in `left_out`.

    Hidden files are passed over: macOS puts a second one beside each.
    """
    names: list[str] = []
    for entry in _entries(folder, left_out):
        if entry.name.startswith(".") or not entry.name.lower().endswith(suffixes):
            continue
        kind = _kind(entry)
        if kind != _FILE:
            left_out.append(printable(f"{entry.path} is {kind}, expected a file"))
        elif not _is_text(entry.name):
            left_out.append(printable(f"the name {entry.path} is no UTF-8"))
        else:
            names.append(entry.name)
    return names


def _entries(folder: Path, left_out: list[str]) -> list[os.DirEntry[str]]:
    """What is in `folder`, by name."""
    try:
        with os.scandir(folder) as entries:  # it knows most kinds without a call for each file
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        left_out.append(printable(f"{folder} cannot be read ({error.strerror})"))
        return []


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry is, or what a link leads to, in words."""
    try:
        if entry.is_file():
            return _FILE
        return _FOLDER if entry.is_dir() else _kind_of(entry.stat().st_mode)
    except OSError as error:  # it leads nowhere, or back to itself
        what = "a broken link" if entry.is_symlink() else "out of reach"
        return f"{what} ({error.strerror})"


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return _FOLDER
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no file")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 are lone surrogates
        return False
    return True
