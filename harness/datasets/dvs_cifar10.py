"""DVS-CIFAR10, also CIFAR10-DVS: event recordings of moved CIFAR-10 images (Li et al. 2017)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import EVENT, Bins, DataSet, Events, checked_events, require_packages
from harness.datasets.images import cifar10, digits, enlarged
from harness.datasets.samples import (
    SPLIT_SEED,
    SampleInfo,
    Samples,
    Split,
    choose,
    damaged,
    list_files,
    split_indices,
)
from harness.datasets.simulated import DVS_CAMERA, SPARE_US, closed_loop, simulate_moved
from harness.spec import paper

SIZE = 128  # pixels of the sensor
WHOLE: dict[Split, int] = {"train": 9_000, "test": 1_000}
TURN = Bins(40)  # one turn of the simulated movement: the length of a recording

# Weights of red, green and blue in grey (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """List the recordings that our seed puts into `split`; None if none. Raises MissingReader."""
    folder = root / "CIFAR10DVS"
    info = SampleInfo("DVS-CIFAR10 recordings", 0, WHOLE[split], folder)
    files = list_files(folder, paper.CIFAR10_CLASSES, (".aedat4",), info)
    files = files.subset(split_indices(files.info.count, split).tolist())
    if not files.info.count:
        return None
    require_packages("aedat")
    names = "\n".join("/".join(path.parts[-2:]) for path in files.all())
    info = replace(files.info, split_sha256=hashlib.sha256(names.encode()).hexdigest())
    return replace(files, info=info).mapped(read_recording)


def read_recording(path: Path) -> Events:
    """Read the events of one .aedat4 file. Raises UsageError if it is damaged."""
    import aedat

    try:
        decoder = aedat.Decoder(str(path))
        streams = decoder.id_to_stream().items()
        numbers = sorted(number for number, stream in streams if stream["type"] == "events")
        of_stream = (p for p in decoder if p["stream_id"] == numbers[0])
        packets = [packet["events"] for packet in of_stream] if numbers else []
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 a panic in Rust is no Exception
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if not sum(map(len, packets)):
        raise damaged(path, "it holds no events")
    rows = np.concatenate(packets)
    events = np.empty(len(rows), EVENT)
    events[["t", "x", "y", "p"]] = rows  # by order: aedat names its fourth field "p" or "on"
    return checked_events(path, events, (SIZE, SIZE))


def simulated(
    root: Path | None, split: Split, bins: Bins | None, samples: int | None
) -> Samples[Events]:
    """Simulate events of moved CIFAR-10 images if `root` has them, else of moved digits.

    A recording covers `bins` (None: one turn of the movement). At most as many images as
    DVS-CIFAR10 has, or `samples` if that is more, are used: a seeded choice.
    """
    most, bins = max(WHOLE[split], samples or 0), bins or TURN
    steps = (bins.count * bins.us + SPARE_US) // DVS_CAMERA.step_us
    pictures = cifar10(root, split) if root else None
    images = digits(split, SIZE) if pictures is None else pictures.mapped(_grey)
    count = images.info.count
    if count > most:
        images = images.subset(sorted(choose(count, most, SPLIT_SEED)))
    images = replace(images, info=replace(images.info, whole=min(images.info.whole, most)))
    return simulate_moved(images, "closed-loop", closed_loop(steps), DVS_CAMERA)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert a colour image (3, H, W) to the sensor's grey input, (128, 128) in [0, 1]."""
    colours = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
    return enlarged(colours @ np.array(_LUMA, np.float32) / 255, SIZE)


def _download(root: Path, split: Split) -> None:
    """Download the recordings by tonic; both splits are in one archive."""
    require_packages("tonic", "aedat")
    import tonic.datasets  # GPL, optional

    tonic.datasets.CIFAR10DVS(save_to=str(root))


DVS_CIFAR10 = DataSet(
    title="DVS-CIFAR10",
    layout="CIFAR10DVS/<class>/*.aedat4",
    how_to_get="let tonic.datasets.CIFAR10DVS(root) fetch and unpack it (packages tonic and aedat)",
    download_mib=7900,
    classes=paper.CIFAR10_CLASSES,
    find=recordings,
    stand_in=simulated,
    download=_download,
    sensor=(SIZE, SIZE),  # reduced to 42x42: the last two rows and columns are dropped
)
