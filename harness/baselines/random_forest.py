"""A random forest on counts of events, Table 4's "Random Forest" (Orchard et al. 2015a).

The paper that the table cites is HFirst's; the origin of the number is unknown. A forest of 500
trees (Breiman 2001) learns from the numbers of ON and OFF events at each pixel, in the whole
recording or in each of a few windows of the same length: the held-out samples choose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from harness.baselines.contract import Baseline, Labels, ProgressCallback, Recordings, progress_part

BINS = (1, 4)  # windows of a recording, to choose from
PORTION = 50  # trees between two reports of progress
JOBS = 2


class RandomForest(Baseline[Recordings, int]):
    """A random forest on counts of events."""

    TITLE, PAPER = "Random Forest", "Orchard et al. 2015a"
    DATASETS, INPUT = ("dvs-cifar10", "nmnist"), "frames"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "the paper cited has no random forest",
        "event counts",
        "DVS-CIFAR10 on a 42x42 sensor",
        "in quick runs 100 trees, not 500",
    )
    PACKAGES = ("scikit-learn",)
    SIZES = {"quick": 100, "default": 500, "paper": 500}  # trees

    def fit(
        self, train: Recordings, validation: Recordings, seed: int, tell: ProgressCallback
    ) -> None:
        """Grow a forest for each number of time windows; keep the best on held-out recordings."""
        forests, accuracies = [], []
        for n, bins in enumerate(BINS):
            growing = progress_part(tell, n / len(BINS), (n + 1) / len(BINS))
            growing(0, f"counting events, time windows: {bins}")
            self.windows = bins, -(-train.longest_us // bins)
            features = counts(train, *self.windows)
            self.forest = grow_forest(features, train.labels, self.sizes, seed, growing)
            forests.append((self.windows, self.forest))
            accuracies.append(np.mean(self.predict(validation) == validation.labels))
        self.windows, self.forest = forests[int(np.argmax(accuracies))]
        self.structure = f"{self.forest.n_features_in_} counts-{self.sizes} trees"
        self.chosen = f"time windows: {self.windows[0]}"

    def predict(self, test: Recordings) -> Labels:
        return np.asarray(self.forest.predict(counts(test, *self.windows)), np.int64)


def counts(recordings: Recordings, bins: int, bin_us: int) -> NDArray[np.float32]:
    """Count OFF and ON events, at most 255, by reduced pixel and window of `bin_us` us: (N, D)."""
    frames = recordings.reduced().frames(bins, bin_us)
    return frames.reshape(len(frames), -1).astype(np.float32)  # the dtype of trees


def grow_forest(
    features: NDArray[np.float32], labels: Labels, trees: int, seed: int, tell: ProgressCallback
) -> RandomForestClassifier:
    """Grow a forest in portions, reporting progress; it equals one that grows at once."""
    forest = RandomForestClassifier(warm_start=True, random_state=seed % 2**32, n_jobs=JOBS)
    for start in range(0, trees, PORTION):
        tell(start / trees, f"tree {start} of {trees}")
        forest.set_params(n_estimators=min(start + PORTION, trees))
        forest.fit(features, labels)
    # Threads would add up their trees' shares in any order, and round in that order.
    forest.set_params(n_jobs=1)
    return forest
