"""DVS-CIFAR10, also CIFAR10-DVS: event recordings of moved CIFAR-10 images (Li et al. 2017)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import EVENT, Bins, DataSet, Events, checked_events, require
from harness.datasets.images import cifar10, digits, enlarged
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
from harness.spec import UsageError, paper
from harness.system.files import printable

SIZE = 128  # pixels of the sensor
WHOLE: dict[Split, int] = {"train": 9_000, "test": 1_000}
TURN = Bins(40)  # one turn of the movement that is simulated: a whole recording

# Red, green and blue in what a camera that sees no colour sees (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def _files(root: Path, split: Split) -> Samples[Path]:
    folder = root / "CIFAR10DVS"
    about = About("DVS-CIFAR10 recordings", 0, WHOLE[split], folder)
    return list_files(folder, paper.CIFAR10_CLASSES, (".aedat4",), about)


def recordings(root: Path, split: Split) -> Samples[Events] | None:
    """The recordings of our split found under `root`; None where there are none.

    Raises MissingReader without aedat.
    """
    files = _files(root, split)
    files = files.chosen(split_indices(files.about.count, split).tolist())
    if not files.about.count:
        return None
    require("aedat")
    names = "\n".join(printable("/".join(path.parts[-2:])) for path in files.all())
    about = replace(files.about, split_sha256=hashlib.sha256(names.encode()).hexdigest())
    return replace(files, about=about).mapped(read_recording)


def read_recording(path: Path) -> Events:
    """The events of one .aedat4 file. Raises UsageError for a damaged file."""
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
    return checked_events(path, read, (SIZE, SIZE))


def simulated(
    root: Path | None, split: Split, bins: Bins | None = None, wanted: int | None = None
) -> Samples[Events]:
    """Moved CIFAR-10 images where those are under `root`, else moved digits: for one turn, or for
    so many bins. Of more images than DVS-CIFAR10 has recordings, or than are wanted where that is
    more, a seeded choice of as many.
    """
    most = max(WHOLE[split], wanted or 0)
    bins = bins or TURN
    steps = (bins.count * bins.us + SPARE_US) // DVS_CAMERA.step_us
    pictures = cifar10(root, split) if root else None
    images = digits(split, SIZE) if pictures is None else pictures.mapped(_grey)
    count = images.about.count
    if count > most:
        images = images.chosen(sorted(choose(count, most, SPLIT_SEED)))
    about = replace(
        images.about,
        description=f"simulated closed-loop events of {images.about.description}",
        whole=min(images.about.whole, most),
        simulated=True,
        normal=None,
        augmented=False,
    )
    return replace(moved(images, closed_loop(steps), DVS_CAMERA), about=about)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A colour image as the sensor sees it: (128, 128) in [0, 1]."""
    return enlarged(image.astype(np.float32) @ np.array(_LUMA, np.float32) / 255, SIZE)


def unrecorded(root: Path, split: Split, bins: Bins) -> Samples[Events]:
    """Simulated events, where there are no recordings. Raises UsageError where there are: their
    names do not tell which images of CIFAR-10 they are of.
    """
    if _files(root, split).about.count:
        raise UsageError(
            f"{home_relative(root / 'CIFAR10DVS')} has recordings, and which images they are of is "
            "not known: move them away to train on simulated ones"
        )
    return simulated(root, split, bins)


def _download(root: Path, split: Split) -> None:
    require("tonic", "aedat")
    import tonic.datasets  # GPL, optional

    tonic.datasets.CIFAR10DVS(save_to=str(root))


DVS_CIFAR10 = DataSet(
    title="DVS-CIFAR10",
    layout="CIFAR10DVS/<class>/*.aedat4",
    how="let tonic.datasets.CIFAR10DVS(root) fetch and unpack it (packages tonic and aedat)",
    download_mib=7900,
    whole=WHOLE,
    classes=paper.CIFAR10_CLASSES,
    found=recordings,
    stand_in=simulated,
    download=_download,
    sensor=(SIZE, SIZE),  # reduced to 42x42; the last two rows and columns are dropped
    unrecorded=unrecorded,
)
