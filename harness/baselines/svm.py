"""A linear support vector machine whose C is chosen on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from harness.baselines.contract import Labels, Say
from harness.spec import UsageError

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)  # values of C for samples of norm 1
MAX_ITER = 10_000  # far more than it takes
TOLERANCE = 1e-6  # scikit-learn's 1e-4 leaves weights half a percent off at C = 100, more above
# What its users' DEVIATIONS say of it; a linear SVM's loss is usually left unsaid.
LOSS = "squared hinge loss"


@dataclass(frozen=True, eq=False)
class Labelled:
    """What was computed of samples, and their classes."""

    features: NDArray[np.float32]  # (N, D)
    labels: Labels


@dataclass(frozen=True, eq=False)
class LinearSVM:
    """One hyperplane through the origin a class; the highest score wins."""

    weight: NDArray[np.float64]  # (classes, D)
    classes: Labels
    c: float

    def predict(self, features: NDArray[np.float32]) -> Labels:
        """The class of each sample (N, D)."""
        return self.classes[(_unit(features) @ self.weight.T).argmax(1)]


def fitted(train: Labelled, held: Labelled, tell: Say, grid: tuple[float, ...] = GRID) -> LinearSVM:
    """One against all others on samples scaled to L2 norm 1, with the C of `grid` that names most
    of the samples `held` rightly; of equals the first.

    Raises UsageError where there is one class alone.
    """
    if len(np.unique(train.labels)) < 2:
        raise UsageError("a support vector machine needs two classes: use more with --samples")
    basis, seen = _within_its_span(_unit(train.features))
    best, best_accuracy = None, -1.0
    for n, c in enumerate(grid):
        tell(n / len(grid), f"linear SVM, C = {c:g}")
        found = _with(c, basis, seen, train.labels)
        accuracy = float(np.mean(found.predict(held.features) == held.labels))
        if accuracy > best_accuracy:
            best, best_accuracy = found, accuracy
    assert best is not None
    return best


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with L2 norm 1, or left as it is where it is 0."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    norms[norms == 0] = 1
    return features / norms


def _with(
    c: float, basis: NDArray[np.float64] | None, seen: NDArray[np.floating], labels: Labels
) -> LinearSVM:
    machine = LinearSVC(C=c, fit_intercept=False, dual="auto", tol=TOLERANCE, max_iter=MAX_ITER)
    machine.fit(seen, labels)
    weight = machine.coef_ if basis is None else machine.coef_ @ basis.T
    if len(weight) == 1:  # of two classes it gives the second's score alone
        weight = np.concatenate([-weight, weight])
    return LinearSVM(weight, machine.classes_, c)


def _within_its_span(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float64] | None, NDArray[np.floating]]:
    """An orthonormal basis (D, N) of a space that holds the N samples, and the samples in it.

    The best hyperplane is a sum of samples and its size is the same in any such basis, so nothing
    changes but the time, where samples are fewer than features. None, and they as they are, where
    they are not.
    """
    if len(features) >= features.shape[1]:
        return None, features
    basis, inside = np.linalg.qr(features.T.astype(np.float64))
    return basis, np.ascontiguousarray(inside.T)
