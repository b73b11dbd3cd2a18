"""Small recordings and images, in memory and as files of the data sets."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from harness.baselines.contract import Answers, Baseline, Images, Labels, Recordings
from harness.datasets.events import EVENT, Events


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def quiet(fraction: float, doing: str) -> None:
    assert 0 <= fraction <= 1 and doing


def recorded(
    *recordings: Events, sensor: tuple[int, int] = (34, 34), classes: int = 2
) -> Recordings:
    """Of classes 0, 1, ... in turn."""
    starts = np.cumsum([0, *map(len, recordings)], dtype=np.int64)
    labels = np.arange(len(recordings), dtype=np.int64) % classes
    return Recordings(np.concatenate(recordings), starts, labels, sensor, classes)


def bar(label: int, rng: np.random.Generator, size: int = 20) -> Events:
    """A vertical bar that moves to the right, or a level one that moves down: 30 ms, and noise."""
    step, along = (grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(size)))
    across = rng.integers(3, 6) + step
    events = np.zeros(len(step), EVENT)
    events["x"], events["y"] = (along, across) if label else (across, along)
    events["t"] = 4000 * step + rng.integers(0, 400, len(step))
    events["p"] = rng.random(len(step)) < 0.8
    noise = rng.random(len(step)) < 0.05
    events["x"][noise] = rng.integers(0, size, noise.sum())
    events = events[np.argsort(events["t"], kind="stable")]
    events["t"] -= events["t"][0]
    return events


def bars(count: int, seed: int, size: int = 20) -> Recordings:
    rng = np.random.default_rng(seed)
    return recorded(*(bar(n % 2, rng, size) for n in range(count)), sensor=(size, size))


def squares(count: int, seed: int, augmented: bool = False) -> Images:
    """Images whose class is the quarter that is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pixels = rng.integers(0, 60, (count, 3, 32, 32), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 150
    return Images(pixels, labels, 4, augmented)


def answered(baseline: Baseline, test: Recordings | Images) -> Labels:
    answer = baseline.predict(test)
    return answer.labels if isinstance(answer, Answers) else answer


def striped(count: int, seed: int) -> Recordings:
    """60 ms of 600 events each; a class is the pair of columns in which they are."""
    random = np.random.default_rng(seed)
    events = np.zeros((count, 600), EVENT)
    events["x"] = 2 * (np.arange(count) % 3)[:, None] + random.integers(0, 2, events.shape)
    events["y"] = random.integers(0, 6, events.shape)
    events["p"] = random.integers(0, 2, events.shape)
    events["t"] = np.sort(random.integers(0, 60_000, events.shape), axis=1)
    events["t"] -= events["t"][:, :1]
    return recorded(*events, sensor=(6, 6), classes=3)


# files

ROW = (3, 2, 1000, True)  # x, y, t in microseconds, p


def write_bin(path: Path, *rows: tuple[int, int, int, bool]) -> Path:
    """N-MNIST's format: 5 bytes an event, x, y, then one bit of polarity and 23 bits of time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(bytes((x, y)) + (t | p << 23).to_bytes(3, "big") for x, y, t, p in rows)
    )
    return path


def write_image(path: Path, colour: tuple[int, int, int] = (255, 0, 51), side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path


def _flatbuffer(name: bytes, slots: int, slot: int, payload: bytes) -> bytes:
    """A size-prefixed flatbuffer: a table that holds `payload` in one of its slots."""
    entries = [4 if index == slot else 0 for index in range(slots)]
    vtable = struct.pack(f"<HH{slots}H", 4 + 2 * slots, 8, *entries)
    padding = bytes(-(8 + len(vtable)) % 8)
    table = struct.pack("<iI", len(vtable), 4)
    root = struct.pack("<I4s", 8 + len(padding) + len(vtable), name)
    content = root + padding + vtable + table + payload
    return struct.pack("<I", len(content)) + content


def write_aedat4(path: Path, *rows: tuple[int, int, int, bool], stream: str = "EVTS") -> Path:
    attributes = {"compression": "NONE", "originalModuleName": "m", "originalOutputName": "events"}
    attributes |= {"typeDescription": "d", "typeIdentifier": stream}
    texts = (f'<attr key="{k}" type="string">{v}</attr>' for k, v in attributes.items())
    size = "".join(f'<attr key="size{axis}" type="int">128</attr>' for axis in "XY")
    source = '<attr key="source" type="string">s</attr>'
    info = f'<node name="info" path="/o/0/info/">{size}{source}</node>'
    xml = (
        f'<dv version="2.0"><node name="outInfo" path="/o/"><node name="0" path="/o/0/">'
        f"{''.join(texts)}{info}</node></node></dv>"
    ).encode()
    header = _flatbuffer(b"IOHE", 3, 2, struct.pack("<I", len(xml)) + xml + b"\0")
    packed = b"".join(struct.pack("<qhh?3x", t, x, y, p) for x, y, t, p in rows)
    packet = _flatbuffer(b"EVTS", 1, 0, struct.pack("<I", len(rows)) + packed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet)
    return path


def write_mnist(root: Path, labels: list[int], split: str = "train") -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((len(labels), 28, 28), np.uint8)
    pixels[:, 10:18, 10:18] = 255
    for n, pixel in enumerate(pixels):  # no two are alike
        pixel[20 if split == "train" else 7, n % 28] = 255
    header = struct.pack(">4I", 2051, len(labels), 28, 28)
    (folder / f"{split}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    path = folder / f"{split}-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
    return path


def recording(root: Path, label: int = 3, name: str = "9", split: str = "Train") -> Path:
    return root / "NMNIST" / split / str(label) / f"{name}.bin"


LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 0, 7]


def with_mnist(root: Path) -> Path:
    """MNIST of a few digits, recordings of the second and the fifth to train, of one to test."""
    write_mnist(root, LABELS)
    write_mnist(root, LABELS[::-1], "t10k")
    for split, label, name in (("Train", 1, "00002"), ("Train", 5, "00005"), ("Test", 3, "00001")):
        write_bin(recording(root, label, name, split), ROW, (4, 4, 9000, True))
    return root
