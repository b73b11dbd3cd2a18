"""A CNN on one image of all events of a recording, its time thrown away (Iyer et al. 2018).

All events are summed by pixel, ON and OFF alike, and divided by the largest sum; a CNN learns the
digit from that image. It knows nothing of when an event came: what it reaches needs no time.

The published layers (their table 2) and training were not at hand: the layers here are a usual CNN
for images of this size, and the batches, epochs and learning rate are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Recordings, Say


@dataclass(frozen=True, kw_only=True)
class Sizes(learn.Sizes):
    """Of the network and its training, all ours."""

    kernels: tuple[int, int] = (32, 64)
    hidden: int = 128
    dropout: float = 0.5
    batch_size: int = 50


def summed(recordings: Recordings) -> Tensor:  # -> (N, 1, H, W) in [0, 1]
    """All events of each recording by pixel, divided by the largest sum."""
    # one bin as long as the longest; it counts to 255 of each polarity
    counts = recordings.frames(1, recordings.longest_us)
    image = torch.from_numpy(counts[:, 0].sum(1, keepdims=True, dtype=np.float32))
    return image / image.amax((1, 2, 3), keepdim=True).clamp(min=1)


class EventCNN(learn.Learner[Recordings, Sizes]):
    TITLE, PAPER = "CNN on summed events", "Iyer et al. 2018"
    DATASETS, INPUT = ("nmnist",), "events"
    FIDELITY = "after the description"
    DEVIATIONS = ("no public code", "layers, batches, epochs and learning rate are ours")
    EPOCHS = {"quick": 12, "default": 20, "paper": 30}
    SIZES = dict.fromkeys(("quick", "default", "paper"), Sizes())
    TOGETHER = 500

    def made(self, train: Recordings) -> nn.Module:
        first, second = self.sizes.kernels
        hidden, classes = self.sizes.hidden, train.classes
        self.structure = f"{first}C5-MP2-{second}C5-MP2-{hidden}-{classes}"
        # 34 pixels -> 30 -> 15 -> 11 -> 5
        height, width = (((size - 4) // 2 - 4) // 2 for size in train.sensor)
        return nn.Sequential(
            *(nn.Conv2d(1, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(second * height * width, hidden), nn.ReLU()),
            *(nn.Dropout(self.sizes.dropout), nn.Linear(hidden, classes)),
        )

    def inputs(self, samples: Recordings, tell: Say) -> learn.Pick:
        tell(0.0, "summing events")
        return summed(samples).__getitem__
