"""Images: reading one from its file, random crops, and the embedded default: the 1,797 handwritten
digits of 8x8 pixels that scikit-learn ships.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.datasets.samples import (
    About,
    Normal,
    Samples,
    Split,
    check_file,
    damaged,
    split_indices,
)

PADDING = 4  # black pixels on each side, of which the crop may show
BRIGHTEST = 16  # scikit-learn's pixels are 0..16
# A JPEG that is named .png would pass for lossless.
_FORMATS = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",)}

# What Pillow raises for a file that is cut short or not an image, by format and place.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError),
    *(TypeError, OverflowError, zlib.error, Image.DecompressionBombError),
)


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (size, size, 3). UsageError unless it is of that size."""
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(path, formats=_FORMATS[path.suffix.lower()]) as image:
                width, height = image.size
                if height == width == size:
                    return np.asarray(image.convert("RGB"))
    except _UNREADABLE as error:
        raise damaged(path, error) from error
    raise damaged(path, f"{height}x{width} pixels, expected {size}x{size}")


def enlarged(image: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """A grey image (H, W), bilinearly interpolated to (size, size)."""
    grey = torch.from_numpy(image.astype(np.float32))[None, None]
    larger = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    return larger[0, 0].numpy()


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image uint8 (B, C, H, W) moved by up to PADDING pixels, and mirrored or not.

    The generator is of the CPU, so that all devices draw the same.
    """
    count, _, height, width = images.shape
    place = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
    mirrored = torch.randint(0, 2, (count,), generator=generator).bool()
    rows = place[0][:, None] + torch.arange(height)  # (B, H)
    columns = place[1][:, None] + torch.arange(width)  # (B, W)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    padded = F.pad(images, (PADDING,) * 4)
    sample = torch.arange(count, device=images.device)[:, None, None]
    # indices around the channels' slice put the channels last
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


# the embedded default


def digits(split: Split, size: int) -> Samples[NDArray[np.float32]]:
    """The digits as grey images (size, size) in [0, 1], interpolated from 8x8."""
    images, labels = _digits()
    indices = split_indices(len(images), split)
    return Samples(
        About("scikit-learn's digits", len(indices), len(indices), substitute=True),
        labels[indices],
        lambda index: enlarged(images[indices[index]], size),
        lambda: f"scikit-learn digits, {len(images)}, {split}, {size}",
    )


def colour_digits(split: Split, size: int) -> Samples[NDArray[np.uint8]]:
    """The digits as pixels (3, size, size): three equal channels."""
    mean, std = _statistics(size)
    found = digits(split, size).mapped(
        lambda image: np.stack([np.rint(image * 255).astype(np.uint8)] * 3)
    )
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
    training = digits("train", size)
    grey = np.stack([training.read(index) for index in range(training.about.count)])
    return float(grey.mean(dtype=np.float64)), float(grey.std(dtype=np.float64))
