"""A CNN on centred frames of a fixed number of events (Neil & Liu 2016).

A recording is cut into frames of 1,000 events or somewhat more, one frame where it has fewer. The
events of a frame are moved so that their mean position is the middle of the sensor, counted by
pixel and polarity, and divided by the largest count. The network learns the recording's label from
each frame; a recording's class is the one of the largest sum of log probabilities over its frames.

What is known is little: a CNN on frames made of events, 98.30 % where a tracker centres the digit
and 95.30 % where nothing does. The layers are those that the same authors describe beside their
Phased LSTM, as far as they are remembered: three times 8 kernels of 5x5, leaky rectification and
pooling, then 256 units. The tracker is not described here by more than its purpose; the mean
position of a frame's events stands for it. The number of events in a frame is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Effort, Labels, Recordings, Samples, Say, Window
from harness.baselines.system import Fidelity
from harness.datasets.events import Events, bin_events
from harness.spec import UsageError

TITLE = "CNN on frames"
PAPER = "Neil & Liu 2016"
DATASETS = ("nmnist",)
INPUT = "frames"
WINDOWS: tuple[Window, ...] = ("whole", "first")
FIDELITY: Fidelity = "after the description"
DEVIATIONS = (
    "no public code",
    "centred by a frame's mean position instead of a tracker",
    "layers after another paper of the same authors",
    "frames of 1,000 events, batches, epochs and learning rate are ours",
)
RANDOM = True
EPOCHS: Mapping[Effort, int] = {"quick": 8, "default": 12, "paper": 20}

FRAME = 1000  # events
SMALLEST = 8  # pixels, of which three pools leave one


@dataclass(frozen=True)
class Parameters:
    """Of the network and its training; Neil et al. 2016 from memory, and ours."""

    kernels: int = 8
    hidden: int = 256
    lr: float = 1e-3  # ours, as the batch
    batch_size: int = 50


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of recordings, and whose they are."""

    counts: NDArray[np.uint8]  # (F, 2, H, W)
    owners: NDArray[np.int64]  # (F,): the recording's index


def centred(events: Events, sensor: tuple[int, int]) -> Events:
    """Moved by whole pixels so that their mean position is the middle of the sensor."""
    moved = events.copy()
    for axis, size in (("y", sensor[0]), ("x", sensor[1])):
        # not round(), which goes to even numbers: a digit that is moved would change its frame
        moved[axis] += floor((size - 1) / 2 - events[axis].mean() + 0.5)
    return moved


def cut(recordings: Recordings, tell: Say | None = None) -> Frames:
    """The recordings in frames of FRAME events or somewhat more."""
    counts, owners = [], []
    window = recordings.longest_us  # one bin that holds all events of a frame
    for n in range(len(recordings)):
        events = recordings[n]
        for part in np.array_split(events, max(1, len(events) // FRAME)):
            moved = centred(part, recordings.sensor)
            counts.append(bin_events(moved, 1, recordings.sensor, window)[0])
            owners.append(n)
        if tell is not None and n % 1000 == 0:
            tell(0.0, f"frames of recording {n:,} of {len(recordings):,}")
    return Frames(np.stack(counts), np.array(owners, np.int64))


def scaled(counts: Tensor) -> Tensor:  # uint8 (B, 2, H, W) -> (B, 2, H, W) in [0, 1]
    """Divided by the largest count of each frame."""
    x = counts.float()
    return x / x.amax((1, 2, 3), keepdim=True).clamp(min=1)


def layers(sensor: tuple[int, int], classes: int, parameters: Parameters) -> nn.Sequential:
    """The network. Raises UsageError where the pools leave nothing of the sensor."""
    height, width = sensor
    if min(sensor) < SMALLEST:
        raise UsageError(
            f"three pools leave nothing of a sensor of {height}x{width} pixels: "
            f"use one of at least {SMALLEST}x{SMALLEST}"
        )
    found: list[nn.Module] = []
    channels = 2
    for _ in range(3):
        found += [nn.Conv2d(channels, parameters.kernels, 5, padding=2), nn.LeakyReLU()]
        found += [nn.MaxPool2d(2)]
        channels = parameters.kernels
    left = channels * (height // 8) * (width // 8)
    found += [nn.Flatten(), nn.Linear(left, parameters.hidden), nn.LeakyReLU()]
    return nn.Sequential(*found, nn.Linear(parameters.hidden, classes))


def voted(scores: Tensor, owners: NDArray[np.int64], recordings: int) -> Labels:
    """The class of each recording by the log probabilities (F, classes) of its frames."""
    total = torch.zeros(recordings, scores.shape[1])
    return total.index_add(0, torch.from_numpy(owners), scores).argmax(1).numpy()


class CNN:
    """Fitted on centred frames."""

    def __init__(self, parameters: Parameters, epochs: int) -> None:
        self._parameters, self._epochs = parameters, epochs
        self._network: nn.Sequential | None = None
        self._classes = 10  # N-MNIST's, until it is fitted

    @property
    def structure(self) -> str:
        convolutions = f"{self._parameters.kernels}C5-MP2-" * 3
        return f"{convolutions}{self._parameters.hidden}-{self._classes}"

    @property
    def chosen(self) -> str:
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        parameters, self._classes = self._parameters, train.classes
        learn.seeded(seed)
        network = self._network = layers(train.sensor, train.classes, parameters)
        frames = cut(train, tell)

        def loss(counts: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(scaled(counts)), labels)

        optimiser = torch.optim.Adam(network.parameters(), parameters.lr)
        course = learn.Course(self._epochs, parameters.batch_size, seed)
        inputs, labels = torch.from_numpy(frames.counts), train.labels[frames.owners]
        learn.train(loss, optimiser, inputs, labels, course, tell)

    def predict(self, test: Samples) -> Labels:
        assert isinstance(test, Recordings)
        network = self._network
        assert network is not None, "it is asked before it is fitted"
        frames = cut(test)

        def asked(counts: Tensor) -> Tensor:
            return F.log_softmax(network(scaled(counts)), 1)

        scores = learn.scores(asked, torch.from_numpy(frames.counts), 500)
        return voted(scores, frames.owners, len(test))


def build(effort: Effort, epochs: int) -> CNN:
    return CNN(Parameters(), epochs)
