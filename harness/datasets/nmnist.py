"""N-MNIST: MNIST's digits, recorded by an event camera in three saccades (Orchard et al. 2015b)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.events import EVENT, Bins, DataSet, Events, checked_events, require_packages
from harness.datasets.images import digits
from harness.datasets.samples import (
    SampleInfo,
    Samples,
    Split,
    damaged,
    files_fingerprint,
    home_relative,
    list_files,
)
from harness.datasets.simulated import NMNIST_CAMERA, SPARE_US, saccades, simulate_moved
from harness.spec import UsageError

CLASSES = tuple("0123456789")
SIZE, MNIST_SIZE = 34, 28  # pixels; SIZE is the recorded part of the sensor
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}  # as MNIST
MNIST_LAYOUT = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"

_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_EVENT_BYTES = 5


def _files(root: Path, split: Split) -> Samples[Path]:
    info = SampleInfo("N-MNIST recordings", 0, WHOLE[split], root / "NMNIST")
    return list_files(root / "NMNIST" / split.title(), CLASSES, (".bin",), info)


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """List the recordings under `root`; None if the split has none. Raises MissingReader."""
    files = _files(root, split)
    if not files.info.count:
        return None
    require_packages("tonic")
    return files.mapped(read_recording)


def read_recording(path: Path) -> Events:
    """Read the events of one .bin file. Raises UsageError if it is damaged."""
    import tonic.io  # GPL, optional

    try:
        size = path.stat().st_size
        if size == 0 or size % _EVENT_BYTES:
            raise damaged(path, f"{size} bytes, expected a multiple of {_EVENT_BYTES}")
        events = tonic.io.read_mnist_file(str(path), dtype=EVENT)
    except OSError as error:
        raise damaged(path, error) from error
    return checked_events(path, events, (SIZE, SIZE))


def mnist(root: Path, split: Split) -> Samples[NDArray[np.float32]] | None:
    """Read the digits in `root/MNIST/raw`, (28, 28) in [0, 1].

    Returns None unless the split's two files exist. Raises UsageError if one is damaged.
    """
    folder = root / "MNIST" / "raw"
    pixels_file = folder / f"{_PREFIX[split]}-images-idx3-ubyte"
    labels_file = folder / f"{_PREFIX[split]}-labels-idx1-ubyte"
    if not (pixels_file.is_file() and labels_file.is_file()):
        return None
    from torchvision.datasets import mnist as idx  # takes seconds to import

    labels = _read(labels_file, idx.read_label_file)
    pixels = _read(pixels_file, idx.read_image_file)
    if pixels.shape != (expected := (len(labels), MNIST_SIZE, MNIST_SIZE)):
        raise damaged(pixels_file, f"pixels {pixels.shape}, expected {expected}")
    return Samples(
        SampleInfo("MNIST's digits", len(pixels), WHOLE[split], folder),
        labels,
        lambda index: pixels[index].astype(np.float32) / 255,
        lambda: files_fingerprint((pixels_file, labels_file)),
    )


def _read(path: Path, read: Callable[[str], Tensor]) -> NDArray[Any]:
    """Return a file's array by torchvision's reader `read`.

    Raises:
        UsageError: if the file is damaged.
    """
    try:
        return read(str(path)).numpy()
    except Exception as error:  # noqa: BLE001 torchvision raises any type for a damaged file
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def simulated(root: Path | None, split: Split, bins: Bins | None = None) -> Samples[Events]:
    """Simulate recordings of MNIST's digits if `root` has them, else of scikit-learn's.

    They cover `bins`, but at most the three saccades.
    """
    images = mnist(root, split) if root else None
    return _simulate_saccades(images or digits(split, MNIST_SIZE), bins)


def simulate_unrecorded(root: Path, split: Split, bins: Bins) -> Samples[Events]:
    """Simulate recordings of MNIST's digits, in the training split only of unrecorded ones.

    So the recordings under `root` show digits that were not trained on. A recording's file name is
    its digit's place in MNIST, from 1. Raises UsageError if MNIST is missing, or the digit at that
    place has another label.
    """
    images = mnist(root, split)
    if images is None:
        raise UsageError(
            f"simulated recordings are made of MNIST's digits, and {MNIST_LAYOUT} is not under "
            f"{home_relative(root)}: lay MNIST there"
        )
    if split == "train":
        files = _files(root, split)
        recorded = set[int]()
        for path, label in zip(files.all(), files.labels, strict=True):
            index = int(path.stem) - 1 if path.stem.isdecimal() else -1
            if not (0 <= index < len(images.labels) and images.labels[index] == label):
                raise damaged(path, "its name is not the place of its digit in MNIST, from 1")
            recorded.add(index)
        images = images.subset([n for n in range(images.info.count) if n not in recorded])
    return _simulate_saccades(images, bins)


def _simulate_saccades(images: Samples[NDArray[np.float32]], bins: Bins | None) -> Samples[Events]:
    """Return samples that simulate, as they are read, the saccades over digits that N-MNIST has."""
    trajectory = saccades()
    if bins is not None:
        steps = (bins.count * bins.us + SPARE_US) // NMNIST_CAMERA.step_us
        trajectory = trajectory[: steps + 1]
    # dark on bright: in recordings ON events are where MNIST's bright digit leaves
    dark = images.mapped(lambda digit: 1 - np.pad(digit, (SIZE - MNIST_SIZE) // 2))
    return simulate_moved(dark, "saccade", trajectory, NMNIST_CAMERA)


def _download(root: Path, split: Split) -> None:
    """Download a split's recordings by tonic. Raises MissingReader without it."""
    require_packages("tonic")
    import tonic.datasets  # GPL, optional

    # only for download: tonic takes any 10,000 recordings for the complete data set
    tonic.datasets.NMNIST(save_to=str(root), train=split == "train")


NMNIST = DataSet(
    title="N-MNIST",
    layout="NMNIST/{Train,Test}/<label>/*.bin",
    how_to_get="unpack Train.zip and Test.zip of https://www.garrickorchard.com/datasets/n-mnist "
    "into NMNIST/, or let tonic.datasets.NMNIST(root) do it",
    download_mib=1150,
    classes=CLASSES,
    find=recordings,
    stand_in=lambda root, split, bins, samples: simulated(root, split, bins),
    download=_download,
    sensor=(SIZE, SIZE),
)
