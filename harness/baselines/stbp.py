"""Fully connected LIF neurons trained by STBP and read by their rates (Wu et al. 2018).

The paper of this project starts from this network and adds an encoding layer, voting populations
and NeuNorm; here is none of them. The neurons are its own, eqs. (5) and (6), with the rectangular
surrogate of eq. (14); a class is one neuron, whose rate over T stands in the squared error against
the one-hot label, eq. (11). So what differs from the paper's rows is the network alone.

The constants and Adam's rate are therefore those of 2019 (Table 7), as are the batches of 20 and
the 200 epochs. How many frames it saw in 2018 is not known here; later code of the same laboratory
(He et al. 2020) has 15 frames of 5 ms, the decay 0.3, the threshold 0.3, a surrogate 0.5 wide, and
fires above the threshold alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from harness.baselines import framed, learn
from harness.baselines.contract import Answers, Effort, Recordings, Samples, Say, Window
from harness.baselines.framed import Binning
from harness.baselines.system import Fidelity
from harness.reference import coding
from harness.reference.neuron import LIFCell
from harness.spec import LIF, Adam, paper

SETTINGS = paper.settings("nmnist")

TITLE = "STBP"
PAPER = "Wu et al. 2018"
DATASETS = ("nmnist",)
INPUT = "frames"
WINDOWS: tuple[Window, ...] = ("first", "whole")
FIDELITY: Fidelity = "published equations"
DEVIATIONS = (
    "constants, learning rate, batches and epochs of the paper of 2019",
    "all frames of 5 ms of the window",
    "by default 200 hidden units, not 800",
)
RANDOM = True
EPOCHS: Mapping[Effort, int] = {"quick": 6, "default": 8, "paper": SETTINGS.epochs}

BATCH_SIZE = 20  # the paper's
HIDDEN: Mapping[Effort, int] = {"quick": 100, "default": 200, "paper": 800}


class Network(nn.Module):
    """Fully connected layers of the reference's neurons."""

    def __init__(self, sizes: tuple[int, ...], lif: LIF) -> None:
        super().__init__()
        self.synapses = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(sizes))
        self.cell = LIFCell(lif)  # keeps nothing: one serves all layers

    def forward(self, frames: Tensor) -> list[Tensor]:  # (B, T, 2, H, W) -> (T, B, N) of each layer
        """The spikes of each layer."""
        out = frames.flatten(2).transpose(0, 1)
        layers = []
        for synapse in self.synapses:
            out = self._fired(synapse(out))  # no layer waits for the next: all steps at once
            layers.append(out)
        return layers

    def _fired(self, currents: Tensor) -> Tensor:  # (T, B, N) -> (T, B, N)
        state, spikes = None, []
        for current in currents:
            o, state = self.cell(current, state)
            spikes.append(o)
        return torch.stack(spikes)


class STBP:
    """Fitted on the frames of recordings."""

    def __init__(self, hidden: int, epochs: int) -> None:
        self._epochs = epochs
        self._sizes = (2312, hidden, 10)  # N-MNIST's, until it is fitted
        self._network: Network | None = None
        self._binning = Binning((34, 34), 0)

    @property
    def structure(self) -> str:
        return "-".join(map(str, self._sizes))

    @property
    def chosen(self) -> str:
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Recordings)
        binning = self._binning = Binning.of(train)
        self._sizes = (binning.inputs, self._sizes[1], train.classes)
        learn.seeded(seed)
        network = self._network = Network(self._sizes, SETTINGS.lif)

        def loss(chosen: Tensor, labels: Tensor) -> Tensor:
            *_, spikes = network(binning.frames(train, chosen))
            return coding.loss(coding.vote(spikes, train.classes), labels)  # populations of one

        adam = SETTINGS.optimiser
        assert isinstance(adam, Adam)
        optimiser = torch.optim.Adam(network.parameters(), adam.lr, adam.betas)
        course = learn.Course(self._epochs, BATCH_SIZE, seed)
        learn.train(loss, optimiser, torch.arange(len(train)), train.labels, course, tell)

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Recordings)
        network = self._network
        assert network is not None, "it is asked before it is fitted"
        return framed.answers(network, self._binning, test)


def build(effort: Effort, epochs: int) -> STBP:
    return STBP(HIDDEN[effort], epochs)
