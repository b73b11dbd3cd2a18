"""N-MNIST: MNIST's digits recorded by an event camera in three saccades (Orchard et al. 2015b)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets import digits, mnist
from harness.datasets.events import EVENT, Bins, Events, framed, require
from harness.datasets.samples import (
    About,
    Samples,
    Split,
    check_file,
    damaged,
    home_relative,
    list_files,
)
from harness.datasets.simulated import NMNIST_CAMERA, beginning, moved, saccades
from harness.spec import UsageError

TITLE: str = "N-MNIST"
DOWNLOAD_MIB: int = 1150
LAYOUT: str = "NMNIST/{Train,Test}/<label>/*.bin"
HOW: str = (
    "unpack Train.zip and Test.zip of https://www.garrickorchard.com/datasets/n-mnist "
    "into NMNIST/, "
    "or let tonic.datasets.NMNIST(root) do it"
)

CLASSES = tuple("0123456789")
SIZE = 34  # pixels of the sensor's part that was recorded
SENSOR: tuple[int, int] = (SIZE, SIZE)
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}

_FOLDER: dict[Split, str] = {"train": "Train", "test": "Test"}
_EVENT_BYTES = 5
_BORDER = (SIZE - mnist.SIZE) // 2


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """The recordings found under `root`; None where there are none of that split.

    Raises MissingReader without tonic.
    """
    folder = root / "NMNIST"
    files = list_files(folder / _FOLDER[split], CLASSES, (".bin",))
    if not files.paths:
        return None
    require("tonic")
    count = len(files.paths)
    return Samples(
        About("N-MNIST recordings", count, WHOLE[split], folder, left_out=files.left_out),
        files.labels,
        lambda index: read_recording(files.paths[index]),
        files.origin,
    )


def read_recording(path: Path) -> Events:
    """The events of one .bin file.

    Raises MissingReader without tonic, UsageError for a damaged file.
    """
    require("tonic")
    import tonic.io  # GPL, optional

    check_file(path)
    try:
        size = path.stat().st_size
        if size == 0 or size % _EVENT_BYTES:
            raise damaged(path, f"{size} bytes, expected a multiple of {_EVENT_BYTES}")
        return tonic.io.read_mnist_file(str(path), dtype=EVENT)
    except OSError as error:
        raise damaged(path, error) from error


def simulated(root: Path | None, split: Split, bins: Bins | None = None) -> Samples[Events]:
    """Saccades before MNIST's digits where those are under `root`, else before scikit-learn's.

    As long as a recording, or as so many bins show.
    """
    found = mnist.images(root, split) if root else None
    return _saccades_before(found or digits.images(split, mnist.SIZE), bins)


def unrecorded(root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
    """Simulated events of MNIST's digits as frames; to train on, of those alone of which no
    recording is under `root`.

    A recording is named by its digit's place in MNIST, from 1. Raises UsageError without MNIST, and
    where a recording is of another digit than its name says.
    """
    images = mnist.images(root, split)
    if images is None:
        raise UsageError(
            f"simulated recordings are made of MNIST's digits, and {mnist.LAYOUT} is not under "
            f"{home_relative(root)}: lay MNIST there"
        )
    if split == "train":
        files = list_files(root / "NMNIST" / _FOLDER[split], CLASSES, (".bin",))
        recorded = {
            _place(path, label, images.labels)
            for path, label in zip(files.paths, files.labels, strict=True)
        }
        images = images.chosen([n for n in range(images.about.count) if n not in recorded])
    return framed(_saccades_before(images, bins), bins, SENSOR)


def _place(path: Path, label: int, digits: NDArray[np.int64]) -> int:
    """Which of MNIST's digits a recording is of, from 0."""
    index = int(path.stem) - 1 if path.stem.isdecimal() and len(path.stem) < 7 else -1
    if 0 <= index < len(digits) and digits[index] == label:
        return index
    raise damaged(path, "its name is not the place of its digit in MNIST, from 1")


def _saccades_before(images: Samples[NDArray[np.float32]], bins: Bins | None) -> Samples[Events]:
    description = f"simulated saccade events of {images.about.description}"
    about = replace(images.about, description=description, simulated=True)
    way = saccades() if bins is None else beginning(saccades(), NMNIST_CAMERA, bins)
    return replace(moved(images.mapped(_on_sensor), way, NMNIST_CAMERA), about=about)


def inputs(root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]] | None:
    """Recordings as frames (T, 2, 34, 34). Raises MissingReader without tonic."""
    found = recordings(root, split)
    return found and framed(found, bins, SENSOR)


def stand_in(root: Path | None, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
    """Simulated events as frames."""
    return framed(simulated(root, split, bins), bins, SENSOR)


def download(root: Path, split: Split) -> None:
    """Fetches one split into `root`. Raises MissingReader without tonic."""
    require("tonic")
    import tonic.datasets  # GPL, optional

    # It takes any 10,000 recordings for the whole: for fetching only, never for reading.
    tonic.datasets.NMNIST(save_to=str(root), train=split == "train")


def _on_sensor(digit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dark on a bright ground: in recordings ON events are where MNIST's bright digit leaves."""
    return 1 - np.pad(digit, _BORDER)
