"""An LSTM on frames of 5 ms (Neil et al. 2016), in the form that He et al. (2020) trained.

A recording's frames of OFF and ON counts go through one layer of LSTM units; a linear layer reads
each step, and its mean over all steps is fitted to one-hot labels by the squared error.

Table 3 calls its row of Neil et al. 2016 "LSTM"; the number is that of their Phased LSTM, which is
the baseline `phased-lstm`. No code or size of their plain LSTM on N-MNIST is public. He et al., of
the same laboratory as the paper of this project, published theirs: 2312-512, Adam 5e-4, batches of
50 and the squared error, on 15 frames of 5 ms. Here it is given all frames of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Effort, Labels, Recordings, Samples, Say, Window
from harness.baselines.system import Fidelity
from harness.datasets.events import BIN_US

TITLE = "LSTM"
PAPER = "Neil et al. 2016"
DATASETS = ("nmnist",)
INPUT = "frames"
WINDOWS: tuple[Window, ...] = ("whole", "first")
FIDELITY: Fidelity = "after the description"
DEVIATIONS = (
    "no public code",
    "frames of 5 ms instead of events",
    "units, loss and optimiser of He et al. 2020",
    "all frames of the window, not 15",
    "100 epochs are ours",
    "by default 128 units, not 512, batches of 25, not 50, a learning rate of 2e-3, not 5e-4",
)
RANDOM = True
EPOCHS: Mapping[Effort, int] = {"quick": 6, "default": 6, "paper": 100}

MOST_BINS = 70  # 350 ms: recordings of N-MNIST last about 308 ms


@dataclass(frozen=True)
class Parameters:
    """Of the network and its training; He et al. 2020."""

    units: int = 512
    lr: float = 5e-4
    batch_size: int = 50


_PARAMETERS: Mapping[Effort, Parameters] = {
    "quick": Parameters(64, 3e-3, 15),
    "default": Parameters(128, 2e-3, 25),
    "paper": Parameters(),
}


class Network(nn.Module):
    """LSTM units, and what a linear layer reads of them, averaged over the steps."""

    def __init__(self, inputs: int, units: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units)
        self.readout = nn.Linear(units, classes)

    def forward(self, frames: Tensor) -> Tensor:  # uint8 (B, T, 2, H, W) -> (B, classes)
        hidden, _ = self.lstm(frames.flatten(2).float().transpose(0, 1))
        return self.readout(hidden.mean(0))  # of a linear layer, the mean of what it reads


class LSTM:
    """Fitted on the frames of recordings."""

    def __init__(self, parameters: Parameters, epochs: int) -> None:
        self._parameters, self._epochs = parameters, epochs
        self._network: Network | None = None
        self._bins = 0
        self._structure = f"2312-LSTM{parameters.units}-10"

    @property
    def structure(self) -> str:
        return self._structure

    @property
    def chosen(self) -> str:
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        parameters, classes = self._parameters, train.classes
        inputs = 2 * train.sensor[0] * train.sensor[1]
        learn.seeded(seed)
        network = Network(inputs, parameters.units, classes)
        self._network, self._bins = network, bins_of(train)
        self._structure = f"{inputs}-LSTM{parameters.units}-{classes}"

        def loss(chosen: Tensor, labels: Tensor) -> Tensor:
            wanted = F.one_hot(labels, classes).float()
            return F.mse_loss(network(self._frames(train, chosen)), wanted)

        optimiser = torch.optim.Adam(network.parameters(), parameters.lr)
        course = learn.Course(self._epochs, parameters.batch_size, seed)
        learn.train(loss, optimiser, torch.arange(len(train)), train.labels, course, tell)
        network.eval()

    def predict(self, test: Samples) -> Labels:
        assert isinstance(test, Recordings)
        network = self._network
        assert network is not None, "it is asked before it is fitted"
        everything = torch.arange(len(test))
        scores = learn.scores(lambda part: network(self._frames(test, part)), everything, 100)
        return scores.argmax(1).numpy()

    def _frames(self, recordings: Recordings, chosen: Tensor) -> Tensor:
        """Of those recordings, binned when they are needed: all at once may not fit in memory."""
        return torch.from_numpy(recordings.part(chosen.numpy()).frames(self._bins))


def bins_of(recordings: Recordings) -> int:
    """How many frames the longest of them has, cut where N-MNIST's recordings have ended."""
    return min(-(-recordings.longest_us // BIN_US), MOST_BINS)


def build(effort: Effort, epochs: int) -> LSTM:
    return LSTM(_PARAMETERS[effort], epochs)
