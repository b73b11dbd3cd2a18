"""N-MNIST: MNIST's digits recorded by an event camera in three saccades (Orchard et al. 2015b)."""

from __future__ import annotations

import struct
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import EVENT, Bins, DataSet, Events, checked_events, require
from harness.datasets.images import digits
from harness.datasets.samples import (
    About,
    Samples,
    Split,
    check_file,
    damaged,
    home_relative,
    list_files,
    state_of,
)
from harness.datasets.simulated import NMNIST_CAMERA, SPARE_US, moved, saccades
from harness.spec import UsageError

CLASSES = tuple("0123456789")
SIZE, MNIST_SIZE = 34, 28  # pixels; of the sensor the part that was recorded
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}  # of MNIST too
MNIST_LAYOUT = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"

_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_EVENT_BYTES = 5


def _files(root: Path, split: Split) -> Samples[Path]:
    about = About("N-MNIST recordings", 0, WHOLE[split], root / "NMNIST")
    return list_files(root / "NMNIST" / split.title(), CLASSES, (".bin",), about)


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """The recordings found under `root`; None where there are none of that split.

    Raises MissingReader without tonic.
    """
    files = _files(root, split)
    if not files.about.count:
        return None
    require("tonic")
    return files.mapped(read_recording)


def read_recording(path: Path) -> Events:
    """The events of one .bin file. Raises UsageError for a damaged file."""
    import tonic.io  # GPL, optional

    check_file(path)
    try:
        size = path.stat().st_size
        if size == 0 or size % _EVENT_BYTES:
            raise damaged(path, f"{size} bytes, expected a multiple of {_EVENT_BYTES}")
        events = tonic.io.read_mnist_file(str(path), dtype=EVENT)
    except OSError as error:
        raise damaged(path, error) from error
    return checked_events(path, events, (SIZE, SIZE))


def mnist(root: Path, split: Split) -> Samples[NDArray[np.float32]] | None:
    """The digits in `root/MNIST/raw`, (28, 28) in [0, 1].

    None unless the split's two files are both there. Raises UsageError where one is damaged.
    """
    folder = root / "MNIST" / "raw"
    pixels_file = folder / f"{_PREFIX[split]}-images-idx3-ubyte"
    labels_file = folder / f"{_PREFIX[split]}-labels-idx1-ubyte"
    if not (pixels_file.is_file() and labels_file.is_file()):
        return None
    pixels = _read(pixels_file, (MNIST_SIZE, MNIST_SIZE))
    labels = _read(labels_file, ()).astype(np.int64)
    if len(pixels) != len(labels):
        raise damaged(labels_file, f"{len(labels)} labels of {len(pixels)} images")
    return Samples(
        About("MNIST's digits", len(pixels), WHOLE[split], folder),
        labels,
        lambda index: pixels[index].astype(np.float32) / 255,
        lambda: state_of((pixels_file, labels_file)),
    )


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An idx file of bytes: items of that shape, behind its kind, their number and their shape."""
    check_file(path)
    content = path.read_bytes()
    start = 4 * (2 + len(shape))
    count = (len(content) - start) // prod(shape)
    if content[:start] != struct.pack(f">{start // 4}i", 2049 + len(shape), count, *shape):
        raise damaged(path, f"its header does not fit {count} items of {shape}")
    return np.frombuffer(content, np.uint8, count * prod(shape), start).reshape(count, *shape)


def simulated(root: Path | None, split: Split, bins: Bins | None = None) -> Samples[Events]:
    """Saccades before MNIST's digits where those are under `root`, else before scikit-learn's.

    As long as a recording, or as so many bins show.
    """
    found = mnist(root, split) if root else None
    return _saccades_before(found or digits(split, MNIST_SIZE), bins)


def unrecorded(root: Path, split: Split, bins: Bins) -> Samples[Events]:
    """Simulated events of MNIST's digits; to train on, of those of which there is no recording.

    A recording is named by its digit's place in MNIST, from 1. Raises UsageError without MNIST, and
    where a recording is of another digit than its name says.
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
            index = int(path.stem) - 1 if path.stem.isdecimal() and len(path.stem) < 7 else -1
            if not (0 <= index < len(images.labels) and images.labels[index] == label):
                raise damaged(path, "its name is not the place of its digit in MNIST, from 1")
            recorded.add(index)
        images = images.chosen([n for n in range(images.about.count) if n not in recorded])
    return _saccades_before(images, bins)


def _saccades_before(images: Samples[NDArray[np.float32]], bins: Bins | None) -> Samples[Events]:
    description = f"simulated saccade events of {images.about.description}"
    about = replace(images.about, description=description, simulated=True)
    way = saccades()
    if bins is not None:
        way = way[: 1 - (-(bins.count * bins.us + SPARE_US) // NMNIST_CAMERA.step_us)]
    # dark on a bright ground: in recordings ON events are where MNIST's bright digit leaves
    dark = images.mapped(lambda digit: 1 - np.pad(digit, (SIZE - MNIST_SIZE) // 2))
    return replace(moved(dark, way, NMNIST_CAMERA), about=about)


def _download(root: Path, split: Split) -> None:
    require("tonic")
    import tonic.datasets  # GPL, optional

    # It takes any 10,000 recordings for the whole: for fetching only, never for reading.
    tonic.datasets.NMNIST(save_to=str(root), train=split == "train")


NMNIST = DataSet(
    title="N-MNIST",
    layout="NMNIST/{Train,Test}/<label>/*.bin",
    how="unpack Train.zip and Test.zip of https://www.garrickorchard.com/datasets/n-mnist into "
    "NMNIST/, or let tonic.datasets.NMNIST(root) do it",
    download_mib=1150,
    whole=WHOLE,
    classes=CLASSES,
    found=recordings,
    stand_in=lambda root, split, bins, wanted: simulated(root, split, bins),
    download=_download,
    sensor=(SIZE, SIZE),
    unrecorded=unrecorded,
)
