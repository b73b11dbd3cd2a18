"""DVS-CIFAR10, also CIFAR10-DVS: event recordings of moved CIFAR-10 images (Li et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets import cifar10, digits, events
from harness.datasets.events import EVENT, Bins, Events, framed, require
from harness.datasets.images import enlarged
from harness.datasets.samples import (
    SPLIT_SEED,
    About,
    Samples,
    Split,
    check_file,
    choose,
    damaged,
    home_relative,
    list_files,
    split_indices,
)
from harness.datasets.simulated import DVS_CAMERA, SPARE_US, closed_loop, moved
from harness.spec import UsageError
from harness.system.files import printable

TITLE: str = "DVS-CIFAR10"
DOWNLOAD_MIB: int = 7900
LAYOUT: str = "CIFAR10DVS/<class>/*.aedat4"
HOW: str = "let tonic.datasets.CIFAR10DVS(root) fetch and unpack it (packages tonic and aedat)"

CLASSES = cifar10.CLASSES
SENSOR: tuple[int, int] = (128, 128)
STRIDE = 3  # 128x128 pixels are reduced to 42x42; the last two rows and columns are dropped
SIZE = (SENSOR[0] // STRIDE, SENSOR[1] // STRIDE)
WHOLE: dict[Split, int] = {"train": 9_000, "test": 1_000}
TURN = Bins(40)  # one turn of the movement that is simulated: a whole recording

# Red, green and blue in what a camera that sees no colour sees (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """The recordings of our split found under `root`; None where there are none.

    Raises MissingReader without aedat.
    """
    folder = root / "CIFAR10DVS"
    files = list_files(folder, CLASSES, (".aedat4",))
    files = files.part(split_indices(len(files.paths), split))
    if not files.paths:
        return None
    require("aedat")
    about = About(
        "DVS-CIFAR10 recordings",
        len(files.paths),
        WHOLE[split],
        folder,
        names=tuple(printable(path.relative_to(folder).as_posix()) for path in files.paths),
        left_out=files.left_out,
    )
    return Samples(
        about, files.labels, lambda index: read_recording(files.paths[index]), files.origin
    )


def read_recording(path: Path) -> Events:
    """The events of one .aedat4 file.

    Raises MissingReader without aedat, UsageError for a damaged file.
    """
    require("aedat")
    import aedat

    check_file(path)
    try:
        decoder = aedat.Decoder(str(path))
        streams = decoder.id_to_stream().items()
        numbers = sorted(number for number, each in streams if each["type"] == "events")
        every = decoder if numbers else ()
        packets = [each["events"] for each in every if each["stream_id"] == numbers[0]]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 Rust's panics are no Exception
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if not sum(map(len, packets)):
        raise damaged(path, "it holds no events")
    found = np.concatenate(packets)
    # aedat's fourth field has two names, "p" and "on": the order is what stays
    t, x, y, p = (found[name] for name in found.dtype.names or ())
    read = np.empty(len(found), EVENT)
    read["t"], read["x"], read["y"], read["p"] = t, x, y, p
    return read


def reduced(recording: Events) -> Events:
    """Events of the 128x128 sensor on 42x42: every STRIDE x STRIDE pixels become one."""
    return events.reduced(recording, STRIDE, SIZE)


def simulated(root: Path | None, split: Split, bins: Bins = TURN) -> Samples[Events]:
    """Moved CIFAR-10 images where those are under `root`, else moved digits, for so many bins.

    Of more images than DVS-CIFAR10 has recordings, a seeded choice of as many.
    """
    steps = (bins.count * bins.us + SPARE_US) // DVS_CAMERA.step_us
    pictures = cifar10.images(root, split) if root else None
    images = digits.images(split, SENSOR[0]) if pictures is None else pictures.mapped(_grey)
    count = images.about.count
    if count > WHOLE[split]:
        images = images.chosen(sorted(choose(count, WHOLE[split], SPLIT_SEED)))
    about = replace(
        images.about,
        description=f"simulated closed-loop events of {images.about.description}",
        whole=min(images.about.whole, WHOLE[split]),
        simulated=True,
        normal=None,
        augmented=False,
    )
    return replace(moved(images, closed_loop(steps), DVS_CAMERA), about=about)


def inputs(root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]] | None:
    """Recordings as frames (T, 2, 42, 42). Raises MissingReader without aedat."""
    found = recordings(root, split)
    return found and framed(found.mapped(reduced), bins, SIZE)


def stand_in(root: Path | None, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
    """Simulated events as frames."""
    return framed(simulated(root, split, bins).mapped(reduced), bins, SIZE)


def unrecorded(root: Path, split: Split, bins: Bins) -> Samples[NDArray[np.uint8]]:
    """Simulated events as frames, where there are no recordings. Raises UsageError where there are:
    their names do not tell which images of CIFAR-10 they are of.
    """
    folder = root / "CIFAR10DVS"
    if list_files(folder, CLASSES, (".aedat4",)).paths:
        raise UsageError(
            f"{home_relative(folder)} has recordings, and which images they are of is not known: "
            "move them away to train on simulated ones"
        )
    return stand_in(root, split, bins)


def download(root: Path, split: Split) -> None:
    """Fetches both splits into `root`. Raises MissingReader without tonic and aedat."""
    require("tonic", "aedat")
    import tonic.datasets  # GPL, optional

    tonic.datasets.CIFAR10DVS(save_to=str(root))


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A colour image as the sensor sees it: (128, 128) in [0, 1]."""
    return enlarged(image.astype(np.float32) @ np.array(_LUMA, np.float32) / 255, SENSOR[0])
