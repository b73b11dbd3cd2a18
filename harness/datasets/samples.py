"""Samples of a data set before they are read: where they lie, how many, and how to read one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import platformdirs
from numpy.typing import NDArray

from harness.spec import UsageError

Split = Literal["train", "test"]
X = TypeVar("X")
Y = TypeVar("Y")

# CIFAR10-DVS and scikit-learn's digits have no official test set: this seed draws ours.
LARGEST_FILE = 2**26  # bytes of one image or recording; the largest there are take a tenth
SPLIT_SEED = 0
TRAIN_SHARE = 0.9


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
    names: tuple[str, ...] = ()  # of the samples of a split that is ours; () where it is official

    @property
    def split_sha256(self) -> str:
        """A hash of `names`; "" where the split is official."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest() if self.names else ""

    def __str__(self) -> str:
        place = f", in {self.folder}" if self.folder else ""
        return f"{self.count:,} of {self.whole:,}: {self.description}{place}"


@dataclass(frozen=True)
class Samples(Generic[X]):
    """One split of a data set, listed and not yet read."""

    about: About
    read: Callable[[int], tuple[X, int]]  # index -> sample, label; raises UsageError if damaged
    origin: Callable[[], str]  # a text that changes where what would be read has changed

    def mapped(self, function: Callable[[X], Y]) -> Samples[Y]:
        """The same samples, each passed through `function` when it is read."""

        def read(index: int) -> tuple[Y, int]:
            sample, label = self.read(index)
            return function(sample), label

        return Samples(self.about, read, self.origin)

    def chosen(self, indices: Sequence[int]) -> Samples[X]:
        """Only these of the samples, in this order."""
        picked = ",".join(map(str, indices))
        return Samples(
            replace(self.about, count=len(indices)),
            lambda index: self.read(indices[index]),
            lambda: f"{self.origin()} {hashlib.sha256(picked.encode()).hexdigest()}",
        )


@dataclass(frozen=True)
class Sample:
    """One file and the label of its folder."""

    label: int
    path: Path


def data_root(given: Path | str | None) -> Path:
    """The folder that holds the data sets: `given`, else HARNESS_DATA, else the user's cache.

    Raises UsageError where a folder was named that is none. The cache folder need not exist, named
    or not, so that what this returns can be given to it again.
    """
    cache = Path(platformdirs.user_cache_dir("snn-harness"))
    for origin, text in (("--data-root", given), ("HARNESS_DATA", os.environ.get("HARNESS_DATA"))):
        if not text:
            continue
        root = Path(text).expanduser()
        if root == cache:
            return cache
        if not root.exists():
            raise UsageError(f"the data root {text} ({origin}) does not exist, name a folder")
        if not root.is_dir():
            raise UsageError(f"the data root {text} ({origin}) is not a folder, name a folder")
        return root
    return cache


def home_relative(path: Path) -> str:
    """The path with the home folder as ~: rows are shared and need not name who ran them."""
    home = Path.home()
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)


def files_origin(folder: Path, files: Iterable[Path]) -> str:
    """A hash of the names of files under `folder`, their sizes and when each was changed last."""
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def damaged(path: Path, what: object) -> UsageError:
    """The error of a file or folder that is there and cannot be used."""
    return UsageError(f"{path} is damaged ({what}), delete it or extract it again")


def check_size(path: Path) -> None:
    """Raises UsageError for a file too large to be one sample's: it would be read as a whole."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise damaged(path, error) from error
    if size > LARGEST_FILE:
        raise damaged(path, f"{size} bytes, of one sample {LARGEST_FILE} at most")


def list_files(folder: Path, classes: Sequence[str], suffixes: tuple[str, ...]) -> list[Sample]:
    """Files `folder/<class>/*<suffix>` in the order of class and name; [] where there are none.

    Raises UsageError where such files lie in a folder that is no class: they would be lost.
    """
    if not folder.is_dir():
        return []
    names = {entry.name: _names(entry, suffixes) for entry in folder.iterdir() if entry.is_dir()}
    for name in sorted(names.keys() - set(classes)):
        if names[name]:
            raise UsageError(f"{folder / name} is no class folder, expected {', '.join(classes)}")
    return [
        Sample(label, folder / name / file)
        for label, name in enumerate(classes)
        for file in names.get(name, [])
    ]


def _names(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Names of the files in `folder`, hidden ones left out: macOS puts a second one beside each."""
    names = (file.name for file in folder.iterdir())
    return sorted(
        name for name in names if name.lower().endswith(suffixes) and not name.startswith(".")
    )


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
