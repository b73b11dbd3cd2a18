"""N-MNIST: MNIST's digits recorded by an event camera in three saccades (Orchard et al. 2015b)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets import digits, mnist
from harness.datasets.events import BINNED, EVENT, Events, bin_events, require
from harness.datasets.files import check_file, damaged, files_origin, list_files
from harness.datasets.recordings import Camera
from harness.datasets.samples import About, Samples, Split
from harness.datasets.simulated import NMNIST_CAMERA, moved, saccades

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
WHOLE: dict[Split, int] = {"train": 60_000, "test": 10_000}
CAMERA = Camera((SIZE, SIZE), len(CLASSES))

_FOLDER: dict[Split, str] = {"train": "Train", "test": "Test"}
_EVENT_BYTES = 5
_BORDER = (SIZE - mnist.SIZE) // 2


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """The recordings found under `root`; None where there are none of that split.

    Raises MissingReader without tonic.
    """
    folder = root / "NMNIST"
    listed = list_files(folder / _FOLDER[split], CLASSES, (".bin",))
    files = listed.samples
    if not files:
        return None
    require("tonic")
    about = About(
        f"N-MNIST recordings{BINNED}",
        len(files),
        WHOLE[split],
        folder,
        left_out=listed.left_out,
    )
    return Samples(
        about,
        lambda index: (read_recording(files[index].path), files[index].label),
        lambda: files_origin(folder, (file.path for file in files)),
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


def simulated(root: Path | None, split: Split) -> Samples[Events]:
    """Saccades before MNIST's digits where those are under `root`, else before scikit-learn's."""
    found = mnist.images(root, split) if root else None
    images = found or digits.images(split, mnist.SIZE)
    description = f"simulated saccade events of {images.about.description}{BINNED}"
    about = replace(images.about, description=description, simulated=True)
    return replace(moved(images.mapped(_framed), saccades(), NMNIST_CAMERA), about=about)


def inputs(root: Path, split: Split, T: int) -> Samples[NDArray[np.uint8]] | None:
    """Recordings as frames (T, 2, 34, 34). Raises MissingReader without tonic."""
    found = recordings(root, split)
    return found and found.mapped(lambda events: bin_events(events, T, (SIZE, SIZE)))


def stand_in(root: Path | None, split: Split, T: int) -> Samples[NDArray[np.uint8]]:
    """Simulated events as frames."""
    return simulated(root, split).mapped(lambda events: bin_events(events, T, (SIZE, SIZE)))


def download(root: Path, split: Split) -> None:
    """Fetches one split into `root`. Raises MissingReader without tonic."""
    require("tonic")
    import tonic.datasets  # GPL, optional

    # It takes any 10,000 recordings for the whole: for fetching only, never for reading.
    tonic.datasets.NMNIST(save_to=str(root), train=split == "train")


def _framed(digit: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(digit, _BORDER)
