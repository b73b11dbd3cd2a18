"""Images: reading one from its file, enlarging it, and its pixels as bytes."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from harness.datasets.samples import check_file, damaged

# A JPEG that is named .png would pass for lossless.
_FORMATS = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",)}

# What Pillow raises for a file that is cut short or not an image, by format and place.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError),
    *(TypeError, OverflowError, zlib.error, Image.DecompressionBombError),
)


def read_image(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (H, W, 3). UsageError unless it is of `size` (H, W)."""
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            with Image.open(path, formats=_FORMATS[path.suffix.lower()]) as image:
                width, height = image.size
                if (height, width) == size:
                    return np.asarray(image.convert("RGB"))
    except _UNREADABLE as error:
        raise damaged(path, error) from error
    raise damaged(path, f"{height}x{width} pixels, expected {size[0]}x{size[1]}")


def pixels(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image in [0, 1] as bytes."""
    return np.rint(image * 255).astype(np.uint8)


def enlarged(image: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """A grey image (H, W), bilinearly interpolated to (size, size)."""
    grey = torch.from_numpy(image.astype(np.float32))[None, None]
    larger = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    return larger[0, 0].numpy()
