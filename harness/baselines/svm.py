"""A linear support vector machine whose C is chosen on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from harness.baselines.contract import Labels, ProgressCallback

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)  # values of C for samples of norm 1
MAX_ITER = 10_000  # far more than it takes
TOLERANCE = 1e-6  # scikit-learn's 1e-4 leaves weights half a percent off at C = 100, more above
# For DEVIATIONS: publications seldom name the loss of a linear SVM.
LOSS = "squared hinge loss"

Features = NDArray[np.float32]  # (N, D)


@dataclass(frozen=True, eq=False)
class LinearSVM:
    """A linear SVM on samples scaled to norm 1: a hyperplane through the origin for each class."""

    weight: NDArray[np.float64]  # (classes, D)
    classes: Labels
    c: float

    def predict(self, features: Features) -> Labels:
        return self.classes[(_unit(features) @ self.weight.T).argmax(1)]


def fit_linear_svm(
    train: tuple[Features, Labels],
    held: tuple[Features, Labels],
    tell: ProgressCallback,
    grid: tuple[float, ...] = GRID,
) -> LinearSVM:
    """Fit a linear SVM, one-vs-rest, with the C of `grid` that is best on `held`, first of ties."""
    features, labels = train
    unit = _unit(features)
    basis, inside = None, unit
    if len(unit) < unit.shape[1]:
        # The best hyperplane is a sum of samples and its size is the same in any orthonormal basis
        # of a space that holds them, so nothing changes but the time.
        basis, inside = np.linalg.qr(unit.T.astype(np.float64))
        inside = np.ascontiguousarray(inside.T)
    machines = []
    for n, c in enumerate(grid):
        tell(n / len(grid), f"linear SVM, C = {c:g}")
        machine = LinearSVC(C=c, fit_intercept=False, dual="auto", tol=TOLERANCE, max_iter=MAX_ITER)
        machine.fit(inside, labels)
        weight = machine.coef_ if basis is None else machine.coef_ @ basis.T
        if len(weight) == 1:  # of two classes it gives the second's score alone
            weight = np.concatenate([-weight, weight])
        machines.append(LinearSVM(weight, machine.classes_, c))
    return max(machines, key=lambda svm: (svm.predict(held[0]) == held[1]).sum())


def _unit(features: Features) -> Features:
    """Scale each row to L2 norm 1; a row of zeros stays."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    norms[norms == 0] = 1
    return features / norms
