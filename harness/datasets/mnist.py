"""MNIST's digits, of which N-MNIST was recorded; here to simulate it where no recording is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.samples import About, Files, Samples, Split, check_file, damaged

SIZE = 28
LAYOUT = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}

_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
# What torchvision raises for a header that is cut short or wrong; asserts are off under -O.
_UNREADABLE = (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError)


def images(root: Path, split: Split) -> Samples[NDArray[np.float32]] | None:
    """The digits in `root/MNIST/raw`, (28, 28) in [0, 1].

    None unless the split's two files are both there. Raises UsageError where one is damaged.
    """
    folder = root / "MNIST" / "raw"
    pixels_file = folder / f"{_PREFIX[split]}-images-idx3-ubyte"
    labels_file = folder / f"{_PREFIX[split]}-labels-idx1-ubyte"
    if not (pixels_file.is_file() and labels_file.is_file()):
        return None
    import torchvision.datasets.mnist as idx  # takes seconds to import, needed by few

    pixels = _read(idx.read_image_file, pixels_file, (SIZE, SIZE))
    labels = _read(idx.read_label_file, labels_file, ()).astype(np.int64)
    if len(pixels) != len(labels):
        raise damaged(labels_file, f"{len(labels)} labels of {len(pixels)} images")
    return Samples(
        About("MNIST's digits", len(pixels), WHOLE[split], folder),
        labels,
        lambda index: pixels[index].astype(np.float32) / 255,
        Files((pixels_file, labels_file), labels).origin,
    )


def _read(
    reader: Callable[[str], Tensor], path: Path, shape: tuple[int, ...]
) -> NDArray[np.integer]:
    """An idx file of items of that shape."""
    check_file(path)
    try:
        content = reader(str(path)).numpy()
    except _UNREADABLE as error:
        raise damaged(path, f"its header does not fit: {type(error).__name__} {error}") from error
    if content.shape[1:] != shape:
        raise damaged(path, f"its items are {content.shape[1:]}, expected {shape}")
    return content
