"""A random forest on counts of events, Table 4's "Random Forest" (Orchard et al. 2015a).

The paper that the table cites is HFirst's, which has no forest; whose number it is is not known. A
forest of 500 trees learns from the numbers of ON and OFF events at each pixel (Breiman 2001), in
the whole recording or in each of a few windows of the same length: the held-out samples choose. A
sensor of 128 x 128 is reduced with stride 3, as for the paper's own networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from harness.baselines.contract import Effort, Labels, Recordings, Samples, Say
from harness.baselines.progress import within

TITLE = "Random Forest"
PAPER = "Orchard et al. 2015a"
DATASETS = ("dvs-cifar10", "nmnist")
INPUT = "frames"
WINDOWS = ("whole", "first")
FIDELITY = "after the description"
DEVIATIONS = (
    "the paper cited has no random forest",
    "event counts",
    "DVS-CIFAR10 on a 42x42 sensor",
    "in quick runs 100 trees, not 500",
)
RANDOM = True
PACKAGES = ("scikit-learn",)

BINS = (1, 4)  # windows of a recording, to choose from
TREES: dict[Effort, int] = {"quick": 100, "default": 500, "paper": 500}
PORTION = 50  # trees that grow before it says how far it is
JOBS = 2
LARGE, STRIDE = 128, 3  # pixels: sensors from this size on are reduced


@dataclass(frozen=True, eq=False)
class _Fitted:
    forest: RandomForestClassifier
    bins: int
    bin_us: int
    features: int


@dataclass(eq=False)
class RandomForest:
    """Trees on counts of events."""

    trees: int
    bins: tuple[int, ...] = BINS
    _fitted: _Fitted | None = field(default=None, init=False)

    @property
    def structure(self) -> str:
        if self._fitted is None:
            return f"{self.trees} trees"
        return f"{self._fitted.features} counts-{self.trees} trees"

    @property
    def chosen(self) -> str:
        return f"time windows: {self._fitted.bins}" if self._fitted else ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings) and isinstance(validation, Recordings)
        best, best_accuracy = None, -1.0
        for n, bins in enumerate(self.bins):
            growing = within(tell, n / len(self.bins), (n + 1) / len(self.bins))
            growing(0, f"counting events, time windows: {bins}")
            bin_us = -(-train.longest_us // bins)
            features = counts(train, bins, bin_us)
            forest = grown(features, train.labels, self.trees, seed, growing)
            found = _Fitted(forest, bins, bin_us, features.shape[1])
            accuracy = float(np.mean(_answers(found, validation) == validation.labels))
            if accuracy > best_accuracy:
                best, best_accuracy = found, accuracy
        self._fitted = best

    def predict(self, test: Samples) -> Labels:
        assert isinstance(test, Recordings) and self._fitted is not None
        return _answers(self._fitted, test)


def counts(recordings: Recordings, bins: int, bin_us: int) -> NDArray[np.float32]:
    """Numbers of events in windows of `bin_us`, of OFF and ON, at each pixel: (N, D)."""
    if min(recordings.sensor) >= LARGE:
        recordings = recordings.reduced(STRIDE)
    frames = recordings.frames(bins, bin_us)
    return frames.reshape(len(frames), -1).astype(np.float32)  # what trees compute with


def grown(
    features: NDArray[np.float32], labels: Labels, trees: int, seed: int, tell: Say
) -> RandomForestClassifier:
    """A forest that is told of as it grows; the same as one that grows at once."""
    forest = RandomForestClassifier(warm_start=True, random_state=seed % 2**32, n_jobs=JOBS)
    for start in range(0, trees, PORTION):
        tell(start / trees, f"tree {start} of {trees}")
        forest.set_params(n_estimators=min(start + PORTION, trees))
        forest.fit(features, labels)
    # Threads would add up their trees' shares in any order, and round in that order.
    forest.set_params(n_jobs=1)
    return forest


def _answers(fitted: _Fitted, recordings: Recordings) -> Labels:
    found = fitted.forest.predict(counts(recordings, fitted.bins, fitted.bin_us))
    return np.asarray(found, np.int64)


def build(effort: Effort, epochs: int) -> RandomForest:
    """500 trees but for "quick"."""
    return RandomForest(TREES[effort])
