"""Samples of a data set before they are read: their number, labels, and how to read one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.machine.files import printable, user_cache
from harness.spec import UsageError
from harness.spec.options import parse_folder

Split = Literal["train", "test"]
X = TypeVar("X")
Y = TypeVar("Y")

# CIFAR10-DVS and scikit-learn's digits have no official test set: this seed draws ours.
SPLIT_SEED = 0
TRAIN_SHARE = 0.9


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class SampleInfo:
    """Description and number of a split's samples, unread; `spec.Source` explains the flags."""

    description: str  # in words, without a path
    count: int
    whole: int  # samples of the complete split; a smaller `count` makes it partial
    folder: Path | None = None  # None: they come with a package
    lossy: bool = False
    simulated: bool = False
    substitute: bool = False
    normalisation: Normalisation | None = None  # of pixels; None: event counts
    augmented: bool = False  # training crops and flips them at random
    split_sha256: str = ""  # of the file names, if we drew the split; "": it is official
    note: str = ""  # why they are not the whole original, what is left out, why nothing is cached

    def __str__(self) -> str:
        place = f", in {printable(self.folder)}" if self.folder else ""
        return f"{self.count:,} of {self.whole:,}: {self.description}{place}"


@dataclass(frozen=True, eq=False)
class Samples(Generic[X]):
    """One split of a data set, listed but not yet read."""

    info: SampleInfo
    labels: NDArray[np.int64]  # (N,)
    read: Callable[[int], X]  # reads the sample of an index; raises UsageError if it is damaged
    fingerprint: Callable[[], str]  # a text that changes with the samples

    def mapped(self, function: Callable[[X], Y]) -> Samples[Y]:
        """Return the same samples, each passed through `function` when it is read."""
        return Samples(
            self.info, self.labels, lambda index: function(self.read(index)), self.fingerprint
        )

    def all(self) -> list[X]:
        """Read all samples."""
        return [self.read(index) for index in range(self.info.count)]

    def subset(self, indices: Sequence[int]) -> Samples[X]:
        """Return only the samples of these indices, in this order."""
        picked = hashlib.sha256(",".join(map(str, indices)).encode()).hexdigest()
        return Samples(
            replace(self.info, count=len(indices)),
            self.labels[list(indices)],
            lambda index: self.read(indices[index]),
            lambda: f"{self.fingerprint()} {picked}",
        )


# files


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Hash the files' folders, names, sizes and times of last change."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
            status = f"{state.st_size} {state.st_mtime_ns}"
        except OSError as error:  # deleted since it was listed
            status = f"error {error.errno}"
        digest.update(os.fsencode("/".join(path.parts[-2:])) + f" {status}\n".encode())
    return digest.hexdigest()


def list_files(
    folder: Path, classes: Sequence[str], suffixes: tuple[str, ...], info: SampleInfo
) -> Samples[Path]:
    """List the files `folder/<class>/*<suffix>` by class and name; `info` gets their number.

    `classes` are in alphabetical order. Hidden files are skipped: macOS makes one for each file.
    Entries that are no files, such as broken links, are left out; `info.note` names one.

    Raises UsageError if a folder cannot be read, if one with such files is not among `classes`
    (they would be lost), or if all are no files.
    """
    try:
        listed = [path for inside in _inside(folder) for path in _inside(inside)]
        listed = [path for path in listed if path.name.lower().endswith(suffixes)]
        listed = [path for path in listed if not path.name.startswith(".")]
        paths = [path for path in listed if path.is_file()]
    except OSError as error:
        name, why = error.filename, error.strerror
        raise UsageError(printable(f"{name} cannot be read ({why})")) from error
    for path in listed:
        if path.parent.name not in classes:
            expected = ", ".join(classes)
            raise UsageError(printable(f"{path.parent} is no class folder, expected {expected}"))
    labels = np.array([classes.index(path.parent.name) for path in paths], np.int64)
    if lost := sorted(set(listed) - set(paths)):
        note = f"left out: {len(lost)} that are no files, such as {home_relative(lost[0])}"
        if not paths:
            raise UsageError(f"no sample in {home_relative(folder)} can be used: {note}")
        info = replace(info, note=note)
    info = replace(info, count=len(paths))
    return Samples(info, labels, paths.__getitem__, lambda: files_fingerprint(paths))


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def damaged(path: Path, reason: object) -> UsageError:
    """Build the error for a file or folder that exists but cannot be used."""
    return UsageError(printable(f"{path} is damaged ({reason}), delete it or extract it again"))


def data_root(path: Path | str | None) -> Path:
    """Return the folder of the data sets: `path`, else HARNESS_DATA, else the user's cache.

    Raises UsageError if that folder does not exist; only the cache's need not.
    """
    text = path or os.environ.get("HARNESS_DATA") or user_cache()
    if Path(text) == user_cache():
        return user_cache()
    try:
        return parse_folder(Path(text).expanduser())
    except (RuntimeError, UsageError) as error:  # RuntimeError: ~ of an unknown user
        source = "--data-root" if path else "HARNESS_DATA"
        raise UsageError(f"the data root {printable(text)} ({source}): {error}") from error


def home_relative(path: Path) -> str:
    """Return a path as text, ~ for the home folder: rows are shared, without the user's name."""
    with suppress(RuntimeError):  # no home folder is known
        home = Path.home()
        if path.is_relative_to(home):
            return printable(Path("~") / path.relative_to(home))
    return printable(path)


# choices


def choose(count: int, batch_size: int, seed: int) -> list[int]:
    """Draw `batch_size` different indices below `count`. Raises UsageError if there are fewer."""
    if count < batch_size:
        raise UsageError(
            f"a batch of {batch_size} was asked for and there are {count} samples, "
            f"use a batch size of {count} or less"
        )
    return np.random.default_rng(seed).choice(count, batch_size, replace=False).tolist()


def split_indices(count: int, split: Split) -> NDArray[np.int64]:
    """Return the indices of `split` where a data set has no official one: 90 % train, by a seed."""
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    train = round(TRAIN_SHARE * count)
    return np.sort(order[:train] if split == "train" else order[train:])
