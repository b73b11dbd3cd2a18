"""The embedded default: the 1,797 handwritten digits of 8x8 pixels that scikit-learn ships."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.datasets.images import enlarged, pixels
from harness.datasets.samples import About, Normal, Samples, Split, split_indices

BRIGHTEST = 16  # scikit-learn's pixels are 0..16


def images(split: Split, size: int) -> Samples[NDArray[np.float32]]:
    """The digits as grey images (size, size) in [0, 1], interpolated from 8x8."""
    digits, labels = _digits()
    indices = split_indices(len(digits), split)
    return Samples(
        About("scikit-learn's digits", len(indices), len(indices), substitute=True),
        labels[indices],
        lambda index: enlarged(digits[indices[index]], size),
        lambda: f"scikit-learn digits, {len(digits)}, {split}, {size}",
    )


def inputs(split: Split, size: int) -> Samples[NDArray[np.uint8]]:
    """The digits as pixels (3, size, size): three equal channels."""
    mean, std = _statistics(size)
    found = images(split, size).mapped(lambda image: np.stack([pixels(image)] * 3))
    return replace(found, about=replace(found.about, normal=Normal((mean,) * 3, (std,) * 3)))


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # takes seconds to import, needed by few

    flat, labels = load_digits(return_X_y=True)
    grey = np.asarray(flat).reshape(-1, 8, 8)
    return (grey / BRIGHTEST).astype(np.float32), np.asarray(labels).astype(np.int64)


@lru_cache(maxsize=4)
def _statistics(size: int) -> tuple[float, float]:
    """Mean and standard deviation of the training digits' pixels."""
    training = images("train", size)
    grey = np.stack([training.read(index) for index in range(training.about.count)])
    return float(grey.mean(dtype=np.float64)), float(grey.std(dtype=np.float64))
