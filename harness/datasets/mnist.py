"""MNIST's digits, of which N-MNIST was recorded; here to simulate it where no recording is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.samples import About, Samples, Split, damaged, files_origin

SIZE = 28
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}

_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049


def images(root: Path, split: Split) -> Samples[NDArray[np.float32]] | None:
    """The digits in `root/MNIST/raw`, (28, 28) in [0, 1].

    None unless the split's two files are both there. Raises UsageError where one is damaged.
    """
    folder = root / "MNIST" / "raw"
    pixels_file = folder / f"{_PREFIX[split]}-images-idx3-ubyte"
    labels_file = folder / f"{_PREFIX[split]}-labels-idx1-ubyte"
    if not (pixels_file.is_file() and labels_file.is_file()):
        return None
    pixels = _read_idx(pixels_file, _IMAGES_MAGIC, (SIZE, SIZE))
    labels = _read_idx(labels_file, _LABELS_MAGIC, ())
    if len(pixels) != len(labels):
        raise damaged(labels_file, f"{len(labels)} labels of {len(pixels)} images")
    about = About("MNIST's digits", len(pixels), WHOLE[split], folder)
    return Samples(
        about,
        lambda index: (pixels[index].astype(np.float32) / 255, int(labels[index])),
        lambda: files_origin(folder, (pixels_file, labels_file)),
    )


def _read_idx(path: Path, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes: big-endian magic, sizes, then the data."""
    content = path.read_bytes()
    header = 4 * (2 + len(shape))
    if len(content) < header:
        raise damaged(path, f"{len(content)} bytes")
    found, count, *sizes = np.frombuffer(content, ">u4", 2 + len(shape)).tolist()
    expected = header + count * int(np.prod(shape, dtype=np.int64))
    if found != magic or tuple(sizes) != shape or len(content) != expected:
        raise damaged(path, f"{len(content)} bytes, header {found, count, *sizes}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, *shape)
