"""What the file of another system offers, and what it is given.

A file is a module with these names:

    TITLE        the system, as a table names it: "HATS"
    PAPER        who published it: "Sironi et al. 2018"
    DATASETS     the data sets that it can run on, that of the paper's table first
    INPUT        what it takes: "events", "frames" or "images"
    WINDOWS      of events and frames, how much of a recording it is given: "whole", "first"
                 (T bins, as the paper's networks have), the published one first; () of images
    FIDELITY     whose parameters these are, see `system.Fidelity`
    DEVIATIONS   what is not as published, in words; () where nothing is known to differ
    RANDOM       whether the seed decides anything
    EPOCHS       of each effort, where it trains by epochs; absent where it does not
    STEPS        the numbers of steps after which it answers, where it has steps; absent otherwise
    REVISION     raised by hand when what it computes changes; absent: 0
    PACKAGES     distributions that compute beside torch and numpy; absent: none

and `build(effort, epochs) -> Method`. Numpy arrays go in and out; no clock, no file, no data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import Recordings
from harness.spec import Effort, Say, Window

__all__ = [
    "Answers",
    "Effort",
    "Images",
    "Method",
    "Recordings",
    "Samples",
    "Say",
    "Window",
    "joined",
]

Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images."""

    pixels: NDArray[np.uint8]  # (N, 3, H, W)
    labels: Labels
    classes: int
    augmented: bool  # whether training may crop and flip them (appendix B)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: NDArray[np.integer]) -> Images:
        """The images of those indices, in their order."""
        return Images(self.pixels[indices], self.labels[indices], self.classes, self.augmented)


Samples = Recordings | Images


@dataclass(frozen=True, eq=False)
class Answers:
    """What a system says of test samples."""

    labels: Labels
    # after so many steps, where it has steps; the most of them gives `labels`
    at_steps: Mapping[int, Labels] = field(default_factory=dict)
    spikes: float | None = None  # of all its neurons, a sample; None: not counted
    source: Labels | None = None  # of the network without spikes that it was converted from


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers to some test samples and then to others, as those to all."""
    first, counts = parts[0], [len(each.labels) for each in parts]
    sources = [each.source for each in parts if each.source is not None]
    spikes = [each.spikes for each in parts if each.spikes is not None]
    return Answers(
        np.concatenate([each.labels for each in parts]),
        {T: np.concatenate([each.at_steps[T] for each in parts]) for T in first.at_steps},
        float(np.average(spikes, weights=counts)) if spikes else None,
        np.concatenate(sources) if sources else None,
    )


class Method(Protocol):
    """A system with its parameters: as scikit-learn's estimators, fitted once, then asked."""

    @property
    def structure(self) -> str:
        """What it is made of, in words or in a network's notation: "2312-800-10"."""
        ...

    @property
    def chosen(self) -> str:
        """What the held-out samples decided, once it is fitted: "C = 0.1"; "" where nothing."""
        ...

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        """Learns from `train`; what has to be chosen is chosen on `validation`.

        Raises UsageError, a sentence that says what to do, for samples that it cannot learn from.
        """
        ...

    def predict(self, test: Samples) -> Labels | Answers:
        """The class of each sample; it is asked for some of the test samples at a time."""
        ...
