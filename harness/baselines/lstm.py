"""An LSTM on frames of 5 ms (Neil et al. 2016), in the form that He et al. (2020) trained.

A recording's frames of OFF and ON counts go through one layer of LSTM units; a linear layer reads
each step, and its mean over all steps is fitted to one-hot labels by the squared error.

Table 3 calls its row of Neil et al. 2016 "LSTM"; the number is that of their Phased LSTM, which is
the baseline `phased-lstm`. No code or size of their plain LSTM on N-MNIST is public. He et al., of
the same laboratory as the paper of this project, published theirs: 2312-512, Adam 5e-4, batches of
50 and the squared error, on 15 frames of 5 ms. Here it is given all frames of the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Recordings


@dataclass(frozen=True, kw_only=True)
class Sizes(learn.Sizes):
    """Of the network and its training; He et al. 2020."""

    units: int = 512
    lr: float = 5e-4
    batch_size: int = 50


class Network(nn.Module):
    """LSTM units, and what a linear layer reads of them, averaged over the steps."""

    def __init__(self, inputs: int, units: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units)
        self.readout = nn.Linear(units, classes)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 2, H, W) -> (B, classes)
        hidden, _ = self.lstm(frames.flatten(2).transpose(0, 1))
        return self.readout(hidden.mean(0))  # of a linear layer, the mean of what it reads


class LSTM(learn.OnFrames[Sizes]):
    TITLE, PAPER = "LSTM", "Neil et al. 2016"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "frames of 5 ms instead of events",
        "units, loss and optimiser of He et al. 2020",
        "all frames of the window, not 15",
        "100 epochs are ours",
        "by default 128 units, not 512, batches of 25, not 50, a learning rate of 2e-3, not 5e-4",
    )
    EPOCHS = {"quick": 6, "default": 6, "paper": 100}
    SIZES = {
        "quick": Sizes(units=64, lr=3e-3, batch_size=15),
        "default": Sizes(units=128, lr=2e-3, batch_size=25),
        "paper": Sizes(),
    }

    def made(self, train: Recordings) -> Network:
        inputs, units = learn.pixels(train), self.sizes.units
        self.structure = f"{inputs}-LSTM{units}-{train.classes}"
        return Network(inputs, units, train.classes)

    def loss(self, out: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(out, F.one_hot(labels, out.shape[1]).float())
