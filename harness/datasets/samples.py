"""Samples of a data set before they are read: where they lie, how many, and how to read one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.spec import UsageError
from harness.system.files import printable, user_cache

Split = Literal["train", "test"]
X = TypeVar("X")
Y = TypeVar("Y")

# CIFAR10-DVS and scikit-learn's digits have no official test set: this seed draws ours.
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
    left_out: tuple[str, ...] = ()  # a sentence of each entry of the folder that is no sample

    @property
    def split_sha256(self) -> str:
        """A hash of `names`; "" where the split is official."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest() if self.names else ""

    def __str__(self) -> str:
        place = f", in {printable(self.folder)}" if self.folder else ""
        return f"{self.count:,} of {self.whole:,}: {self.description}{place}"


def _nothing() -> None: ...


@dataclass(frozen=True)
class Samples(Generic[X]):
    """One split of a data set, listed and not yet read."""

    about: About
    read: Callable[[int], tuple[X, int]]  # index -> sample, label; raises UsageError if damaged
    origin: Callable[[], str]  # a text that changes where what would be read has changed
    close: Callable[[], None] = _nothing  # ends what reading has started

    def mapped(self, function: Callable[[X], Y]) -> Samples[Y]:
        """The same samples, each passed through `function` when it is read."""

        def read(index: int) -> tuple[Y, int]:
            sample, label = self.read(index)
            return function(sample), label

        return Samples(self.about, read, self.origin, self.close)

    def chosen(self, indices: Sequence[int]) -> Samples[X]:
        """Only these of the samples, in this order."""
        picked = ",".join(map(str, indices))
        return Samples(
            replace(self.about, count=len(indices)),
            lambda index: self.read(indices[index]),
            lambda: f"{self.origin()} {hashlib.sha256(picked.encode()).hexdigest()}",
            self.close,
        )


def data_root(given: Path | str | None) -> Path:
    """The folder that holds the data sets: `given`, else HARNESS_DATA, else the user's cache.

    Raises UsageError where a folder was named that is none. The cache folder need not exist, named
    or not, so that what this returns can be given to it again.
    """
    for origin, text in (("--data-root", given), ("HARNESS_DATA", os.environ.get("HARNESS_DATA"))):
        if text:
            return _named_root(str(text), f"the data root {printable(text)} ({origin})")
    return user_cache()


def _named_root(text: str, called: str) -> Path:
    try:
        root = Path(text).expanduser()
        if root == user_cache() or root.is_dir():
            return root
        lack = "is not a folder" if root.exists() else "does not exist"
    except RuntimeError as error:  # ~ of a user whom the system does not know
        raise UsageError(f"{called} is in no known home, name a folder") from error
    except OSError as error:  # a name too long, a folder that must not be entered
        raise UsageError(f"{called} cannot be read ({error.strerror}), name a folder") from error
    raise UsageError(f"{called} {lack}, name a folder")


def home_relative(path: Path) -> str:
    """The path with the home folder as ~: rows are shared and need not name who ran them."""
    home = Path.home()
    inside = path.is_relative_to(home)
    return printable(Path("~") / path.relative_to(home) if inside else path)


def left_out(sentences: tuple[str, ...]) -> str:
    """How many samples were left out, and why the first of them; "" where none was."""
    if not sentences:
        return ""
    more = f" and {len(sentences) - 3} more" if len(sentences) > 3 else ""
    return f"{len(sentences)} samples were left out: {'; '.join(sentences[:3])}{more}"


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
