"""Two CNNs on event counts, which see little or nothing of the events' times.

On one image of all events (Iyer et al. 2018): they are summed by pixel, ON and OFF alike, and
divided by the largest sum. It sees no times: its accuracy needs none.

On centred frames (Neil & Liu 2016): a recording is cut into frames of 1,000 to 1,999
events, one frame where it has fewer. The events of a frame are moved so that their mean position is
the middle of the sensor, counted by pixel and polarity, and divided by the largest count. The
network learns the recording's label from each frame; a recording's class is the one of the largest
sum of log probabilities over its frames. The layers are those that the same authors describe with
their Phased LSTM, from memory.
"""

from __future__ import annotations

from math import floor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Labels, Recordings, silent
from harness.datasets.events import Events, bin_events
from harness.spec import ProgressCallback

FRAME = 1000  # events


def scale_frames(counts: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W) in [0, 1]
    """Divide each frame by its largest count."""
    x = counts.float()
    return x / x.amax((1, 2, 3), keepdim=True).clamp(min=1)


def event_image(recordings: Recordings) -> Tensor:  # -> (N, 1, H, W) in [0, 1]
    """Sum ON and OFF events by pixel, and divide by the recording's largest sum."""
    # one bin as long as the longest; it counts to 255 of each polarity
    counts = torch.from_numpy(recordings.frames(1, recordings.longest_us))
    return scale_frames(counts.float().sum(2))


_SIZES = dict.fromkeys(("quick", "default", "paper"), learn.LearnerSizes(batch_size=50))


class EventCNN(learn.GradientLearner[Recordings, learn.LearnerSizes]):
    """A CNN on one image of all events (Iyer et al. 2018)."""

    TITLE, PAPER = "CNN on summed events", "Iyer et al. 2018"
    DATASETS, INPUT = ("nmnist",), "events"
    FIDELITY = "after the description"
    DEVIATIONS = ("no public code", "layers, batches, epochs and learning rate are ours")
    EPOCHS = {"quick": 12, "default": 20, "paper": 30}
    SIZES = _SIZES
    PREDICT_BATCH = 500

    def build_network(self, train: Recordings) -> nn.Module:
        """Build two convolutions with pools, and a hidden layer with dropout."""
        self.structure = f"32C5-MP2-64C5-MP2-128-{train.classes}"
        # 34 pixels -> 30 -> 15 -> 11 -> 5
        height, width = (((size - 4) // 2 - 4) // 2 for size in train.sensor)
        return nn.Sequential(
            *(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * height * width, 128), nn.ReLU()),
            *(nn.Dropout(0.5), nn.Linear(128, train.classes)),
        )

    def inputs(self, samples: Recordings, tell: ProgressCallback) -> learn.BatchInput:
        tell(0.0, "summing events")
        return event_image(samples).__getitem__


def centre_events(events: Events, sensor: tuple[int, int]) -> Events:
    """Move events by whole pixels so that their mean position is the middle of the sensor."""
    moved = events.copy()
    for axis, size in zip("yx", sensor, strict=True):
        # not round(), which goes to even numbers: a digit that is moved would change its frame
        moved[axis] += floor((size - 1) / 2 - events[axis].mean() + 0.5)
    return moved


def cut_frames(recordings: Recordings) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Cut recordings into frames (F, 2, H, W); also return the recording of each frame, (F,).

    A frame has FRAME to 2 FRAME - 1 events; a recording of fewer events is one frame.
    """
    counts, owners = [], []
    window = recordings.longest_us  # one bin that holds all events of a frame
    for n in range(len(recordings)):
        events = recordings[n]
        for part in np.array_split(events, max(1, len(events) // FRAME)):
            moved = centre_events(part, recordings.sensor)
            counts.append(bin_events(moved, 1, recordings.sensor, window)[0])
            owners.append(n)
    return np.stack(counts), np.array(owners, np.int64)


class FrameCNN(learn.GradientLearner[Recordings, learn.LearnerSizes]):
    """A CNN on centred frames of 1,000 to 1,999 events (Neil & Liu 2016)."""

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
    SIZES = _SIZES

    def build_network(self, train: Recordings) -> nn.Module:
        """Build three convolutions with pools, and a hidden layer, for frames of any sensor."""
        self.structure = "8C5-MP2-" * 3 + f"256-{train.classes}"
        layers: list[nn.Module] = []
        for channels in (2, 8, 8):
            layers += [nn.Conv2d(channels, 8, 5, padding=2), nn.LeakyReLU(), nn.MaxPool2d(2)]
        features = 8 * (train.sensor[0] // 8) * (train.sensor[1] // 8)
        layers += [nn.Flatten(), nn.Linear(features, 256), nn.LeakyReLU()]
        return nn.Sequential(*layers, nn.Linear(256, train.classes))

    def inputs(self, samples: Recordings, tell: ProgressCallback) -> learn.BatchInput:
        """Cut the recordings into frames; return the function that picks frames by index."""
        tell(0.0, "cutting frames")
        counts, self.owners = cut_frames(samples)
        return lambda chosen: scale_frames(torch.from_numpy(counts)[chosen])

    def learn(
        self, pick: learn.BatchInput, labels: Labels, seed: int, tell: ProgressCallback
    ) -> None:
        """Train on single frames, each with the label of the recording that it was cut from."""
        super().learn(pick, labels[self.owners], seed, tell)

    def predict(self, test: Recordings) -> Labels:
        """Predict the class whose log probability, summed over a recording's frames, is largest."""
        pick = self.inputs(test, silent)

        def log_probabilities(counts: Tensor) -> Tensor:
            return F.log_softmax(self.network(counts), 1)

        scores = learn.scores(log_probabilities, pick, len(self.owners), 500)
        total = torch.zeros(len(test), scores.shape[1])
        return total.index_add(0, torch.from_numpy(self.owners), scores).argmax(1).numpy()
