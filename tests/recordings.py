"""Small recordings and images that tests of the other systems are run on."""

from __future__ import annotations

import numpy as np

from harness.baselines.contract import Answers, Images, Labels, Method, Recordings
from harness.datasets.events import EVENT, Events


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def recorded(*found: Events, sensor: tuple[int, int] = (34, 34), classes: int = 2) -> Recordings:
    """Of classes 0, 1, ... in turn."""
    starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
    labels = np.arange(len(found), dtype=np.int64) % classes
    return Recordings(np.concatenate(found), starts, labels, sensor, classes)


def bar(label: int, rng: np.random.Generator, size: int = 20) -> Events:
    """A vertical bar that moves to the right, or a level one that moves down: 30 ms, and noise."""
    step, along = (each.ravel() for each in np.meshgrid(np.arange(8), np.arange(size)))
    across = rng.integers(3, 6) + step
    found = np.zeros(len(step), EVENT)
    found["x"], found["y"] = (along, across) if label else (across, along)
    found["t"] = 4000 * step + rng.integers(0, 400, len(step))
    found["p"] = rng.random(len(step)) < 0.8
    noise = rng.random(len(step)) < 0.05
    found["x"][noise] = rng.integers(0, size, noise.sum())
    found = found[np.argsort(found["t"], kind="stable")]
    found["t"] -= found["t"][0]
    return found


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


def answered(method: Method, test: Recordings | Images) -> Labels:
    found = method.predict(test)
    return found.labels if isinstance(found, Answers) else found


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
