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

from dataclasses import dataclass
from math import floor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Labels, Recordings, Say, counted, silent, within
from harness.datasets.events import Events, bin_events

FRAME = 1000  # events
TOLD = 1000  # after so many recordings it says how far it is


@dataclass(frozen=True, kw_only=True)
class Sizes(learn.Sizes):
    """Of the network and its training; Neil et al. 2016 from memory, and ours."""

    kernels: int = 8
    hidden: int = 256
    batch_size: int = 50  # ours


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


def cut(recordings: Recordings, tell: Say) -> Frames:
    """The recordings in frames of FRAME events or somewhat more."""
    counts, owners = [], []
    window = recordings.longest_us  # one bin that holds all events of a frame
    at_start = within(tell, 0, 0)  # it takes no time beside the training
    for n in counted(recordings, at_start, "frames of recording", TOLD):
        events = recordings[n]
        for part in np.array_split(events, max(1, len(events) // FRAME)):
            moved = centred(part, recordings.sensor)
            counts.append(bin_events(moved, 1, recordings.sensor, window)[0])
            owners.append(n)
    return Frames(np.stack(counts), np.array(owners, np.int64))


def scaled(counts: Tensor) -> Tensor:  # uint8 (B, 2, H, W) -> (B, 2, H, W) in [0, 1]
    """Divided by the largest count of each frame."""
    x = counts.float()
    return x / x.amax((1, 2, 3), keepdim=True).clamp(min=1)


def voted(scores: Tensor, owners: NDArray[np.int64], recordings: int) -> Labels:
    """The class of each recording by the log probabilities (F, classes) of its frames."""
    total = torch.zeros(recordings, scores.shape[1])
    return total.index_add(0, torch.from_numpy(owners), scores).argmax(1).numpy()


class FrameCNN(learn.Learner[Recordings, Sizes]):
    TITLE, PAPER = "CNN on frames", "Neil & Liu 2016"
    DATASETS, INPUT = ("nmnist",), "frames"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "centred by a frame's mean position instead of a tracker",
        "layers after another paper of the same authors",
        "frames of 1,000 events, batches, epochs and learning rate are ours",
    )
    EPOCHS = {"quick": 8, "default": 12, "paper": 20}
    SIZES = dict.fromkeys(("quick", "default", "paper"), Sizes())

    def made(self, train: Recordings) -> nn.Module:
        kernels, hidden = self.sizes.kernels, self.sizes.hidden
        self.structure = f"{kernels}C5-MP2-" * 3 + f"{hidden}-{train.classes}"
        layers: list[nn.Module] = []
        for channels in (2, kernels, kernels):
            layers += [nn.Conv2d(channels, kernels, 5, padding=2), nn.LeakyReLU(), nn.MaxPool2d(2)]
        left = kernels * (train.sensor[0] // 8) * (train.sensor[1] // 8)
        layers += [nn.Flatten(), nn.Linear(left, hidden), nn.LeakyReLU()]
        return nn.Sequential(*layers, nn.Linear(hidden, train.classes))

    def inputs(self, samples: Recordings, tell: Say) -> learn.Pick:
        frames = cut(samples, tell)
        counts, self.owners = torch.from_numpy(frames.counts), frames.owners
        return lambda chosen: scaled(counts[chosen])

    def learn(self, pick: learn.Pick, labels: Labels, seed: int, tell: Say) -> None:
        """Learns the recording's class from each of its frames."""
        super().learn(pick, labels[self.owners], seed, tell)

    def predict(self, test: Recordings) -> Labels:
        """The class of the largest sum of log probabilities over the frames of a recording."""
        pick = self.inputs(test, silent)

        def asked(counts: Tensor) -> Tensor:
            return F.log_softmax(self.network(counts), 1)

        scores = learn.scores(asked, pick, len(self.owners), 500)
        return voted(scores, self.owners, len(test))
