"""CIFAR-10 (Krizhevsky 2009), random crops, and the embedded default: scikit-learn's digits.

CIFAR-10 has 60,000 colour images of 32x32 pixels in ten classes. scikit-learn ships 1,797
handwritten digits of 8x8 pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.datasets.events import DataSet
from harness.datasets.samples import (
    Normalisation,
    SampleInfo,
    Samples,
    Split,
    damaged,
    files_fingerprint,
    list_files,
    split_indices,
)
from harness.spec import paper

PADDING = 4  # black pixels on each side of an image that is cropped
BRIGHTEST = 16  # scikit-learn's pixels are 0..16
# Pillow must not detect the format: a JPEG named .png would count as lossless.
_FORMATS = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",)}


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Read a file as RGB, uint8 (size, size, 3). Raises UsageError if damaged or of other size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata
            with Image.open(path, formats=_FORMATS[path.suffix.lower()]) as image:
                width, height = image.size
                if height == width == size:
                    return np.asarray(image.convert("RGB"))
    except Exception as error:  # noqa: BLE001 Pillow raises any type for a file cut short
        raise damaged(path, error) from error
    raise damaged(path, f"{height}x{width} pixels, expected {size}x{size}")


def enlarged(image: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Interpolate a grey image (H, W) bilinearly to (size, size)."""
    grey = torch.from_numpy(image.astype(np.float32))[None, None]
    larger = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    return larger[0, 0].numpy()


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift images, uint8 (B, C, H, W), by up to PADDING pixels, and mirror each with chance 1/2.

    The generator is on the CPU, so that all devices draw the same.
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
    # indexing around the slice puts the channels last
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


# the embedded default


def digits(split: Split, size: int) -> Samples[NDArray[np.float32]]:
    """Return the digits as grey images (size, size) in [0, 1], interpolated from 8x8."""
    images, labels = _digits()
    indices = split_indices(len(images), split)
    return Samples(
        SampleInfo("scikit-learn's digits", len(indices), len(indices), substitute=True),
        labels[indices],
        lambda index: enlarged(images[indices[index]], size),
        lambda: f"scikit-learn digits, {len(images)}, {split}, {size}",
    )


def colour_digits(split: Split, size: int) -> Samples[NDArray[np.uint8]]:
    """Return the digits as uint8 pixels (3, size, size) with three equal channels."""
    mean, std = _statistics(size)
    normalisation = Normalisation((mean,) * 3, (std,) * 3)
    colour = digits(split, size).mapped(
        lambda image: np.stack([np.rint(image * 255).astype(np.uint8)] * 3)
    )
    return replace(colour, info=replace(colour.info, normalisation=normalisation))


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's digits (N, 8, 8) in [0, 1], and their labels."""
    from sklearn.datasets import load_digits  # takes seconds to import

    flat, labels = load_digits(return_X_y=True)
    grey = np.asarray(flat).reshape(-1, 8, 8)
    return (grey / BRIGHTEST).astype(np.float32), np.asarray(labels).astype(np.int64)


@lru_cache(maxsize=4)
def _statistics(size: int) -> tuple[float, float]:
    """Return mean and standard deviation of the training digits' pixels."""
    grey = np.stack(digits("train", size).all())
    return float(grey.mean(dtype=np.float64)), float(grey.std(dtype=np.float64))


# CIFAR-10

SIZE = 32
WHOLE: dict[Split, int] = {"train": 50_000, "test": 10_000}

# Mean and standard deviation of red, green and blue over the training images, pixels in [0, 1].
NORMAL = Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def cifar10(root: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    """List the images under `root`, uint8 (3, 32, 32). Returns None if the split has none."""
    for base in (root, root / "cifar10"):
        if (base / "cifar-10-batches-py").is_dir():
            return _batches(base, split)
    splits = (_image_folder(root / name, split) for name in ("cifar10", "cifar10-lossless"))
    return next((samples for samples in splits if samples is not None), None)


def _info(count: int, split: Split, folder: Path) -> SampleInfo:
    """Return what a row says of a split of CIFAR-10: how many of its images are here, and where."""
    return SampleInfo(
        "CIFAR-10 images", count, WHOLE[split], folder, normalisation=NORMAL, augmented=True
    )


def _image_folder(folder: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    """List a split's images in folders by class; None where there are none."""
    info = _info(0, split, folder)
    files = list_files(folder / split, paper.CIFAR10_CLASSES, tuple(_FORMATS), info)
    if not files.info.count:
        return None
    if any(path.suffix.lower() != ".png" for path in files.all()):
        lossy = f"{info.description} (lossy copy)"
        files = replace(files, info=replace(files.info, description=lossy, lossy=True))
    return files.mapped(lambda path: read_image(path, SIZE).transpose(2, 0, 1))


def _batches(base: Path, split: Split) -> Samples[NDArray[np.uint8]]:
    """Read torchvision's folder under `base`. Raises UsageError if it is damaged."""
    import torchvision.datasets  # takes seconds to import

    folder = base / "cifar-10-batches-py"
    try:
        with warnings.catch_warnings():
            # The pickles of 2009 say align=0, for which numpy 2.4 wants align=False.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            data = torchvision.datasets.CIFAR10(base, train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise damaged(folder, error) from error
    labels = np.array(data.targets, np.int64)
    info, files = _info(len(labels), split, folder), sorted(folder.iterdir())
    pixels = data.data.transpose(0, 3, 1, 2)
    return Samples(info, labels, pixels.__getitem__, lambda: files_fingerprint(files))


def _download(root: Path, split: Split) -> None:
    """Download CIFAR-10 by torchvision; both splits are in one archive."""
    import torchvision.datasets  # takes seconds to import

    torchvision.datasets.CIFAR10(root, download=True)


CIFAR10 = DataSet(
    title="CIFAR-10",
    layout="cifar-10-batches-py/ (torchvision's folder, also under cifar10/), or the image folder "
    "cifar10/{train,test}/<class>/*.png or *.jpg, or cifar10-lossless/{train,test}/<class>/*.png",
    how_to_get="unpack cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html "
    "there, or let torchvision.datasets.CIFAR10(root, download=True) do it",
    download_mib=163,
    classes=paper.CIFAR10_CLASSES,
    find=cifar10,
    stand_in=lambda root, split, bins, samples: colour_digits(split, SIZE),
    download=_download,
)
