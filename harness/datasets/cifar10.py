"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes (Krizhevsky 2009)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import DataSet
from harness.datasets.images import colour_digits, read_image
from harness.datasets.samples import About, Files, Normal, Samples, Split, damaged, list_files
from harness.spec import paper

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
    found = (_image_folder(root / name, split) for name in ("cifar10", "cifar10-lossless"))
    return next((each for each in found if each is not None), None)


def _about(count: int, split: Split, folder: Path) -> About:
    return About("CIFAR-10 images", count, WHOLE[split], folder, normal=NORMAL, augmented=True)


def _image_folder(folder: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    files = list_files(folder / split, paper.CIFAR10_CLASSES, (".png", *_LOSSY))
    if not files.paths:
        return None
    about = _about(0, split, folder)
    if any(path.suffix.lower() in _LOSSY for path in files.paths):
        about = replace(about, description=f"{about.description} (lossy copy)", lossy=True)
    return files.samples(about, lambda path: read_image(path, SIZE))


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
    labels = np.array(data.targets, np.int64)
    about = _about(len(labels), split, folder)
    origin = Files(tuple(sorted(folder.iterdir())), labels).origin
    return Samples(about, labels, lambda index: data.data[index], origin)


def _found(root: Path, split: Split) -> Samples[NDArray[np.uint8]] | None:
    found = images(root, split)
    return found and found.mapped(lambda image: image.transpose(2, 0, 1))


def _download(root: Path, split: Split) -> None:
    import torchvision.datasets  # takes seconds to import, needed by few

    torchvision.datasets.CIFAR10(root, download=True)


CIFAR10 = DataSet(
    title="CIFAR-10",
    layout="cifar-10-batches-py/ (torchvision's folder, also under cifar10/), or the image folder "
    "cifar10/{train,test}/<class>/*.png or *.jpg, or cifar10-lossless/{train,test}/<class>/*.png",
    how="unpack cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html there, "
    "or let torchvision.datasets.CIFAR10(root, download=True) do it",
    download_mib=163,
    whole=WHOLE,
    classes=paper.CIFAR10_CLASSES,
    found=_found,
    stand_in=lambda root, split, bins: colour_digits(split, SIZE),
    download=_download,
)
