"""Simulate an event camera: the events of a still image that moves over the sensor.

Each pixel sends an event each time the logarithm of its intensity differs from a reference by the
contrast threshold: ON upwards, OFF downwards; the reference then moves by that threshold
(Lichtsteiner et al. 2008). Between two steps of the movement the log intensity changes linearly,
which gives each event its time. A pixel's first reference is off by up to one threshold, by a
seeded pattern, as after an earlier scene. There is no other noise and no refractory period.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.datasets.events import EVENT, Events
from harness.datasets.samples import Samples

Image = NDArray[np.floating]  # (H, W), in [0, 1]
Trajectory = NDArray[np.float64]  # (steps + 1, 2): how far the image is moved, (x, y) in pixels


@dataclass(frozen=True)
class Camera:
    """Constants of the simulated event camera."""

    threshold: float  # change of the log intensity that makes one event
    eps: float  # added to intensities in [0, 1]: the light of a black pixel
    spread: float = 1.0  # how far first references may be off, in thresholds; 0: not at all
    step_us: int = 1000  # between two positions of the trajectory


PATTERN_SEED = 0
MODEL = 2  # raise when the events change: cached events are then computed again

# Bins start at the first event, so a simulation runs a little longer than its bins.
SPARE_US = 50_000

# These and saccades() were fitted to real N-MNIST recordings of the same digits: number, times,
# places and polarities of events.
NMNIST_CAMERA = Camera(threshold=0.265, eps=0.3)
# When x and y begin and end to move in the first saccade, as shares of its duration.
FIRST_SACCADE = np.array([(36 / 105, 0.0), (1.0, 93 / 105)])
# Not fitted, for want of a recording of CIFAR10-DVS: a usual contrast threshold.
DVS_CAMERA = Camera(threshold=0.25, eps=0.1, step_us=2000)


def simulate(image: Image, trajectory: Trajectory, camera: Camera) -> Events:
    """Simulate the events, ordered by time from 0 us, of `image` moved along `trajectory`.

    The image has the sensor's size.
    """
    previous = np.log(shifted(image, trajectory[0]) + camera.eps)
    pattern = np.random.default_rng(PATTERN_SEED).uniform(-1, 1, previous.shape)
    reference = previous + camera.spread * camera.threshold * pattern
    chunks: list[Events] = []
    for step, place in enumerate(trajectory[1:]):
        current = np.log(shifted(image, place) + camera.eps)
        events = _crossings(previous, current, reference, camera)
        events["t"] += step * camera.step_us
        chunks.append(events)
        previous = current
    events = np.concatenate(chunks)
    return events[np.argsort(events["t"], kind="stable")]


def simulate_moved(
    images: Samples[NDArray[np.float32]], movement: str, trajectory: Trajectory, camera: Camera
) -> Samples[Events]:
    """Return samples that simulate the events of an image, of the sensor's size, when read.

    `movement` names the trajectory in their description.
    """
    events = images.mapped(lambda image: simulate(image, trajectory, camera))
    description = f"simulated {movement} events of {images.info.description}"
    info = replace(images.info, description=description, simulated=True, normalisation=None)
    path = hashlib.sha256(trajectory.tobytes()).hexdigest()
    return replace(
        events,
        info=replace(info, augmented=False),
        fingerprint=lambda: f"{images.fingerprint()} {camera} {path} model {MODEL}, {PATTERN_SEED}",
    )


def shifted(image: Image, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move `image` right and down by `place`, (x, y) in pixels, bilinearly; repeat its border."""

    def along(image: NDArray[np.floating], distance: float) -> NDArray[np.float64]:
        """Move an image along its first axis by `distance` pixels."""
        last = len(image) - 1
        source = np.clip(np.arange(len(image)) - distance, 0, last)
        low = np.floor(source).astype(np.int64)
        weight = (source - low)[:, None]
        return image[low] * (1 - weight) + image[np.minimum(low + 1, last)] * weight

    x, y = place
    return along(along(image, y).T, x).T


def saccades(steps: int = 105) -> Trajectory:
    """Return the positions (3 steps + 1, 2) of N-MNIST's three saccades (Orchard et al. 2015b).

    They are the sides of a triangle, `steps` each. The image moves down and right, up and right,
    and straight back. Its speed over a saccade is sin^2, which gives the events per 5 ms the bell
    shape of the recordings. In the first saccade it moves down first and right later, as ON and OFF
    events of recordings show.
    """
    corners = np.array([(-3.0, -1.75), (0.0, 3.75), (3.0, -1.75), (-3.0, -1.75)])
    whole = np.array([(0.0, 0.0), (1.0, 1.0)])
    windows = (FIRST_SACCADE, whole, whole)
    now = np.arange(steps)[:, None] / steps
    legs = []
    for start, end, (begins, ends) in zip(corners, corners[1:], windows, strict=False):
        tau = np.clip((now - begins) / (ends - begins), 0, 1)
        travelled = tau - np.sin(2 * np.pi * tau) / (2 * np.pi)
        legs.append(start + (end - start) * travelled)
    return np.concatenate([*legs, corners[-1:]])


def closed_loop(steps: int, period: int = 100, radius: float = 5.0) -> Trajectory:
    """Return positions (steps + 1, 2), (x, y) in pixels, on a circle of `period` steps a turn.

    Li et al. 2017 moved the images of CIFAR10-DVS on a closed path; circle, radius and period are
    our choice.
    """
    angle = 2 * np.pi * np.arange(steps + 1) / period
    return radius * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)


def _crossings(
    previous: NDArray[np.float64],
    current: NDArray[np.float64],
    reference: NDArray[np.float64],
    camera: Camera,
) -> Events:
    """Return the events of one step, in us from its start.

    Moves `reference` to the last level crossed.
    """
    levels = (current - reference) / camera.threshold
    # Without the margin, rounding decides whether a pixel that returns to a level reaches it.
    crossed = np.trunc(levels + np.copysign(1e-9, levels))
    y, x = np.nonzero(crossed)
    signed = crossed[y, x]
    number = np.abs(signed).astype(np.int64)
    pixel = np.repeat(np.arange(len(number)), number)  # of each event
    nth = 1 + np.arange(len(pixel)) - np.repeat(np.cumsum(number) - number, number)
    level = reference[y, x][pixel] + np.sign(signed)[pixel] * nth * camera.threshold
    start = previous[y, x][pixel]
    change = current[y, x][pixel] - start
    # A pixel within the margin of a level can cross it without any further change.
    fraction = np.divide(level - start, change, out=np.zeros_like(level), where=change != 0)
    reference += crossed * camera.threshold
    events = np.empty(len(pixel), EVENT)
    events["x"], events["y"], events["p"] = x[pixel], y[pixel], signed[pixel] > 0
    events["t"] = np.rint(np.clip(fraction, 0, 1) * camera.step_us)
    return events
