"""Input and output of a baseline: numpy arrays; no clock, no file, no data set.

`BaselineInfo` of this package has the names with which a baseline describes itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import Recordings
from harness.spec import Effort, ProgressCallback, Window

Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one split."""

    pixels: NDArray[np.uint8]  # (N, 3, H, W)
    labels: Labels
    classes: int
    augmented: bool  # whether training may crop and flip them (appendix B)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: NDArray[np.integer]) -> Images:
        """Return the images of these indices, in their order."""
        return Images(self.pixels[indices], self.labels[indices], self.classes, self.augmented)


Samples = Recordings | Images


@dataclass(frozen=True, eq=False)
class Answers:
    """The classes predicted for test samples, and what else a baseline reports of them."""

    labels: Labels
    # by number of time steps, if it has steps; `labels` are those of the largest number
    at_steps: Mapping[int, Labels] = field(default_factory=dict)
    spikes: float | None = None  # of all its neurons, mean over samples; None: not counted
    source: Labels | None = None  # predicted by the network without spikes that was converted


S = TypeVar("S", bound=Samples)
P = TypeVar("P")  # its parameters


class Baseline(ABC, Generic[S, P]):
    """A baseline with its parameters; like a scikit-learn estimator it is fitted, then predicts.

    A baseline of another package need not inherit from it.
    """

    WINDOWS: ClassVar[tuple[Window, ...]] = ("whole", "first")
    RANDOM: ClassVar[bool] = True
    SIZES: ClassVar[Mapping[Effort, Any]]  # the parameters of each effort

    # set by `fit`
    structure = ""  # in words or in a notation: "2312-800-10"
    chosen = ""  # parameters chosen on the held-out samples: "C = 0.1"

    def __init__(self, sizes: P, epochs: int = 1) -> None:
        self.sizes, self.epochs = sizes, epochs

    @classmethod
    def build(cls, effort: Effort, epochs: int) -> Self:
        """Create the baseline with an effort's parameters, to be trained for `epochs`."""
        return cls(cls.SIZES[effort], epochs)

    def layer_sizes(self, train: Recordings, hidden: int) -> tuple[int, int, int]:
        """Return the sizes of input, hidden and output layer; set `structure`, "2312-800-10"."""
        sizes = train.input_neurons, hidden, train.classes
        self.structure = "-".join(map(str, sizes))
        return sizes

    @abstractmethod
    def fit(self, train: S, validation: S, seed: int, tell: ProgressCallback) -> None:
        """Learn from `train`; choose hyperparameters on `validation`. `tell` reports progress.

        Raises UsageError, with a remedy, if the baseline cannot learn from these samples.
        """

    @abstractmethod
    def predict(self, test: S) -> Labels | Answers:
        """Predict the class of each sample; called with a part of the test samples at a time."""


def silent(fraction: float, doing: str) -> None:
    """Ignore a report of progress."""


def progress_part(tell: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """Return a callback that maps a part's progress to `start` to `end` of the whole, in [0, 1]."""
    return lambda fraction, doing: tell(start + (end - start) * fraction, doing)


def indices(samples: Samples, tell: ProgressCallback, doing: str) -> Iterator[int]:
    """Yield the index of each sample, and report progress before each."""
    for n in range(len(samples)):
        tell(n / len(samples), f"{doing} {n:,} of {len(samples):,}")
        yield n
