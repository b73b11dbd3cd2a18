"""A CNN on one image of all events of a recording, its time thrown away (Iyer et al. 2018).

All events are summed by pixel, ON and OFF alike, and divided by the largest sum; a CNN learns the
digit from that image. It knows nothing of when an event came: what it reaches needs no time.

The published layers (their table 2) and training were not at hand: the layers here are a usual CNN
for images of this size, and the batches, epochs and learning rate are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Effort, Labels, Recordings, Samples, Say, Window
from harness.baselines.system import Fidelity
from harness.spec import UsageError

TITLE = "CNN on summed events"
PAPER = "Iyer et al. 2018"
DATASETS = ("nmnist",)
INPUT = "events"
WINDOWS: tuple[Window, ...] = ("whole", "first")
FIDELITY: Fidelity = "after the description"
DEVIATIONS = (
    "no public code",
    "layers, batches, epochs and learning rate are ours",
)
RANDOM = True
EPOCHS: Mapping[Effort, int] = {"quick": 12, "default": 20, "paper": 30}

SMALLEST = 16  # pixels, of which two filters and pools leave one


@dataclass(frozen=True)
class Parameters:
    """Of the network and its training, all ours."""

    kernels: tuple[int, int] = (32, 64)
    hidden: int = 128
    dropout: float = 0.5
    lr: float = 1e-3
    batch_size: int = 50


def summed(recordings: Recordings) -> Tensor:  # -> (N, 1, H, W) in [0, 1]
    """All events of each recording by pixel, divided by the largest sum."""
    # one bin as long as the longest; it counts to 255 of each polarity
    counts = recordings.frames(1, recordings.longest_us)
    image = torch.from_numpy(counts[:, 0].sum(1, keepdims=True, dtype=np.float32))
    return image / image.amax((1, 2, 3), keepdim=True).clamp(min=1)


def layers(sensor: tuple[int, int], classes: int, parameters: Parameters) -> nn.Sequential:
    """The network. Raises UsageError where filters and pools leave nothing of the sensor."""
    if min(sensor) < SMALLEST:
        raise UsageError(
            f"two filters and pools leave nothing of a sensor of {sensor[0]}x{sensor[1]} pixels: "
            f"use one of at least {SMALLEST}x{SMALLEST}"
        )
    first, second = parameters.kernels
    height, width = (((size - 4) // 2 - 4) // 2 for size in sensor)  # 34 -> 30 -> 15 -> 11 -> 5
    return nn.Sequential(
        *(nn.Conv2d(1, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(second * height * width, parameters.hidden), nn.ReLU()),
        *(nn.Dropout(parameters.dropout), nn.Linear(parameters.hidden, classes)),
    )


class CNN:
    """Fitted on images of summed events."""

    def __init__(self, parameters: Parameters, epochs: int) -> None:
        self._parameters, self._epochs = parameters, epochs
        self._network: nn.Sequential | None = None
        self._classes = 10  # N-MNIST's, until it is fitted

    @property
    def structure(self) -> str:
        first, second = self._parameters.kernels
        return f"{first}C5-MP2-{second}C5-MP2-{self._parameters.hidden}-{self._classes}"

    @property
    def chosen(self) -> str:
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        parameters, self._classes = self._parameters, train.classes
        learn.seeded(seed)
        network = self._network = layers(train.sensor, train.classes, parameters)
        tell(0.0, "summing events")

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(images), labels)

        optimiser = torch.optim.Adam(network.parameters(), parameters.lr)
        course = learn.Course(self._epochs, parameters.batch_size, seed)
        learn.train(loss, optimiser, summed(train), train.labels, course, tell)
        network.eval()  # no dropout from here on

    def predict(self, test: Samples) -> Labels:
        assert isinstance(test, Recordings)
        assert self._network is not None, "it is asked before it is fitted"
        return learn.scores(self._network, summed(test), 500).argmax(1).numpy()


def build(effort: Effort, epochs: int) -> CNN:
    return CNN(Parameters(), epochs)
