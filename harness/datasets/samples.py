"""Samples of a data set before they are read: where they lie, how many, and how to read one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.spec import UsageError
from harness.spec.options import folder
from harness.system.files import printable, user_cache

Split = Literal["train", "test"]
X = TypeVar("X")
Y = TypeVar("Y")

# CIFAR10-DVS and scikit-learn's digits have no official test set: this seed draws ours.
SPLIT_SEED = 0
TRAIN_SHARE = 0.9
LARGEST_FILE = 2**26  # bytes of one image or recording; the largest there are take a tenth


@dataclass(frozen=True)
class Normal:
    """How pixels become a network's inputs: mean and deviation per channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class About:
    """What is known of samples before one is read; see `spec.Source` for the flags."""

    description: str  # in words, without a path
    count: int
    whole: int  # the count of the whole split; fewer make it partial
    folder: Path | None = None  # where they lie; None: they come with a package
    lossy: bool = False
    simulated: bool = False
    substitute: bool = False
    normal: Normal | None = None  # of pixels; None: event counts, which go in as they are
    augmented: bool = False  # while training, by random crop and flip
    split_sha256: str = ""  # of the names in a split of ours; "" where it is official
    left_out: tuple[str, ...] = ()  # a sentence for each file that cannot be a sample

    def __str__(self) -> str:
        place = f", in {printable(self.folder)}" if self.folder else ""
        return f"{self.count:,} of {self.whole:,}: {self.description}{place}"


@dataclass(frozen=True, eq=False)
class Samples(Generic[X]):
    """One split of a data set, listed and not yet read."""

    about: About
    labels: NDArray[np.int64]  # (N,)
    read: Callable[[int], X]  # the sample of an index; raises UsageError if it is damaged
    origin: Callable[[], str]  # a text that changes where what would be read has changed

    def mapped(self, function: Callable[[X], Y]) -> Samples[Y]:
        """The same samples, each passed through `function` when it is read."""
        read = self.read
        return Samples(self.about, self.labels, lambda index: function(read(index)), self.origin)

    def all(self) -> list[X]:
        """Every one of them, read now."""
        return [self.read(index) for index in range(self.about.count)]

    def chosen(self, indices: Sequence[int]) -> Samples[X]:
        """Only these of the samples, in this order."""
        picked = hashlib.sha256(",".join(map(str, indices)).encode()).hexdigest()
        return Samples(
            replace(self.about, count=len(indices)),
            self.labels[list(indices)],
            lambda index: self.read(indices[index]),
            lambda: f"{self.origin()} {picked}",
        )


# files


def state_of(paths: Iterable[Path]) -> str:
    """A hash of files' folders and names, sizes and when each was changed last."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
            known = f"{state.st_size} {state.st_mtime_ns}"
        except OSError as error:  # deleted since it was listed
            known = f"error {error.errno}"
        digest.update(os.fsencode("/".join(path.parts[-2:])) + f" {known}\n".encode())
    return digest.hexdigest()


def list_files(
    folder: Path, classes: Sequence[str], suffixes: tuple[str, ...], about: About
) -> Samples[Path]:
    """Files `folder/<class>/*<suffix>` in the order of class and name, `about` but for how many
    there are; hidden ones are passed over (macOS puts one beside each).

    Raises UsageError where such files lie in a folder that is no class (they would be lost), and
    where all that there are must be left out.
    """
    found: list[tuple[int, str, Path]] = []
    left_out: list[str] = []

    def entries(folder: Path | str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as scanned:  # it knows most kinds without a call for each file
                return sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            left_out.append(f"{folder} cannot be read ({error.strerror})")
            return []

    for entry in entries(folder) if folder.is_dir() else ():
        if not _holds(entry.is_dir):
            if entry.name in classes:
                left_out.append(f"{entry.path} is no folder")
            continue
        for file in entries(entry.path):
            if file.name.startswith(".") or not file.name.lower().endswith(suffixes):
                continue
            if entry.name not in classes:
                known = ", ".join(classes)
                raise UsageError(printable(f"{entry.path} is no class folder, expected {known}"))
            if _holds(file.is_file):
                found.append((classes.index(entry.name), file.name, Path(file.path)))
            else:
                left_out.append(f"{file.path} is no file that can be read")
    left_out = [printable(each) for each in left_out]
    if left_out and not found:
        raise UsageError(f"none of the samples in {printable(folder)} can be used: {left_out[0]}")
    found.sort()
    paths, labels = [path for *_, path in found], np.array([n for n, *_ in found], np.int64)
    about = replace(about, count=len(paths), left_out=tuple(left_out))
    return Samples(about, labels, paths.__getitem__, lambda: state_of(paths))


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads back to itself
        return False


def damaged(path: Path, what: object) -> UsageError:
    """The error of a file or folder that is there and cannot be used."""
    return UsageError(printable(f"{path} is damaged ({what}), delete it or extract it again"))


def check_file(path: Path) -> None:
    """Raises UsageError for a file that is gone, and for one too large to be one sample's."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise damaged(path, error.strerror) from error
    if size > LARGEST_FILE:
        raise damaged(path, f"{size} bytes, of one sample {LARGEST_FILE} at most")


def data_root(given: Path | str | None) -> Path:
    """The folder that holds the data sets: `given`, else HARNESS_DATA, else the user's cache.

    Raises UsageError where a folder was named that is none. The cache folder need not exist, named
    or not, so that what this returns can be given to it again.
    """
    text = given or os.environ.get("HARNESS_DATA") or user_cache()
    if Path(text) == user_cache():
        return user_cache()
    try:
        return folder(Path(text).expanduser())
    except (RuntimeError, UsageError) as error:  # RuntimeError: ~ of a user who is not known
        origin = "--data-root" if given else "HARNESS_DATA"
        raise UsageError(f"the data root {printable(text)} ({origin}): {error}") from error


def home_relative(path: Path) -> str:
    """The path with the home folder as ~: rows are shared and need not name who ran them."""
    inside = path.is_relative_to(home := Path.home())
    return printable(Path("~") / path.relative_to(home) if inside else path)


# choices


def choose(count: int, batch_size: int, seed: int) -> list[int]:
    """`batch_size` of `count` indices, each once. Raises UsageError where they are too few."""
    if count < batch_size:
        raise UsageError(
            f"a batch of {batch_size} was asked for and there are {count} samples, "
            f"use a batch size of {count} or less"
        )
    return np.random.default_rng(seed).choice(count, batch_size, replace=False).tolist()


def split_indices(count: int, split: Split) -> NDArray[np.int64]:
    """A seeded split of a data set that has none: nine tenths train, the rest tests; in order."""
    drawn = np.random.default_rng(SPLIT_SEED).permutation(count)
    train = round(TRAIN_SHARE * count)
    return np.sort(drawn[:train] if split == "train" else drawn[train:])
