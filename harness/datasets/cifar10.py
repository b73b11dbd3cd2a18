"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes (Krizhevsky 2009)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets import digits
from harness.datasets.events import Bins
from harness.datasets.images import read_image
from harness.datasets.samples import About, Files, Normal, Samples, Split, damaged, list_files
from harness.spec import paper

TITLE: str = "CIFAR-10"
DOWNLOAD_MIB: int = 163
LAYOUT: str = (
    "cifar-10-batches-py/ (torchvision's folder, also under cifar10/), or the image folder "
    "cifar10/{train,test}/<class>/*.png or *.jpg, or cifar10-lossless/{train,test}/<class>/*.png"
)
HOW: str = (
    "unpack cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html there, "
    "or let torchvision.datasets.CIFAR10(root, download=True) do it"
)

CLASSES = paper.CIFAR10_CLASSES
SIZE = 32
WHOLE: dict[Split, int] = {"train": 50_000, "test": 10_000}

# Mean and standard deviation of red, green and blue over the training images, pixels in [0, 1].
NORMAL = Normal((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

_LOSSY = (".jpg", ".jpeg")


def images(root: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    """The images found under `root`, uint8 (32, 32, 3); None where there are none of that split."""
    for base in (root, root / "cifar10"):
        if (base / "cifar-10-batches-py").is_dir():
            return _batches(base, split)
    for name in ("cifar10", "cifar10-lossless"):
        found = _image_folder(root / name, split)
        if found is not None:
            return found
    return None


def inputs(root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]] | None:
    """Pixels (3, 32, 32); bins do not matter to them."""
    found = images(root, split)
    return None if found is None else found.mapped(lambda image: image.transpose(2, 0, 1))


def stand_in(root: Path | None, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
    """scikit-learn's digits in the shape of CIFAR-10."""
    return digits.inputs(split, SIZE)


def download(root: Path, split: Split) -> None:
    """Fetches both splits into `root`."""
    import torchvision.datasets  # takes seconds to import, needed by few

    torchvision.datasets.CIFAR10(root, download=True)


def _batches(base: Path, split: Split) -> Samples[NDArray[np.uint8]]:
    """torchvision's folder under `base`, read as a whole. Raises UsageError if it is damaged."""
    import torchvision.datasets  # takes seconds to import, needed by few

    folder = base / "cifar-10-batches-py"
    try:
        with warnings.catch_warnings():
            # The pickles of 2009 say align=0, for which numpy 2.4 wants align=False.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            data = torchvision.datasets.CIFAR10(base, train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise damaged(folder, error) from error
    about = About(
        "CIFAR-10 images", len(data.data), WHOLE[split], folder, normal=NORMAL, augmented=True
    )
    labels = np.array(data.targets, np.int64)
    origin = Files(tuple(sorted(folder.iterdir())), labels).origin
    return Samples(about, labels, lambda index: data.data[index], origin)


def _image_folder(folder: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    files = list_files(folder / split, CLASSES, (".png", *_LOSSY))
    if not files.paths:
        return None
    lossy = any(path.suffix.lower() in _LOSSY for path in files.paths)
    about = About(
        "CIFAR-10 images (lossy copy)" if lossy else "CIFAR-10 images",
        len(files.paths),
        WHOLE[split],
        folder,
        lossy,
        normal=NORMAL,
        augmented=True,
        left_out=files.left_out,
    )
    size = (SIZE, SIZE)
    return Samples(
        about, files.labels, lambda index: read_image(files.paths[index], size), files.origin
    )
