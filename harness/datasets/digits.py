"""The embedded default: the 1,797 handwritten digits of 8x8 pixels that scikit-learn ships."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.images import enlarged
from harness.datasets.samples import About, Samples, Split, split_indices

BRIGHTEST = 16  # scikit-learn's pixels are 0..16


def images(split: Split, size: int) -> Samples[NDArray[np.float32]]:
    """The digits as grey images (size, size) in [0, 1], interpolated from 8x8."""
    pixels, labels = _pixels()
    indices = split_indices(len(pixels), split)
    about = About("scikit-learn's digits", len(indices), len(indices), substitute=True)

    def read(index: int) -> tuple[NDArray[np.float32], int]:
        chosen = int(indices[index])
        return enlarged(pixels[chosen], size), int(labels[chosen])

    return Samples(about, read)


def inputs(split: Split, size: int) -> Samples[Tensor]:
    """The digits as float32 (3, size, size): three equal channels, of mean 0 and deviation 1."""
    mean, std = _statistics(size)

    def normalised(image: NDArray[np.float32]) -> Tensor:
        return ((torch.from_numpy(image) - mean) / std).expand(3, size, size)

    return images(split, size).mapped(normalised)


@lru_cache(maxsize=1)
def _pixels() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # takes seconds to import, needed by few

    digits = load_digits()
    return (digits.images / BRIGHTEST).astype(np.float32), digits.target.astype(np.int64)  # pyright: ignore


@lru_cache(maxsize=4)
def _statistics(size: int) -> tuple[float, float]:
    """Mean and standard deviation of the training digits' pixels."""
    training = images("train", size)
    pixels = np.stack([training.read(index)[0] for index in range(training.about.count)])
    return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
