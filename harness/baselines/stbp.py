"""Fully connected LIF neurons trained by STBP and read by their rates (Wu et al. 2018).

The paper of this project starts from this network and adds an encoding layer, voting populations
and NeuNorm; here is none of them. The neurons are its own, eqs. (5) and (6), with the rectangular
surrogate of eq. (14); a class is one neuron, whose rate over T stands in the squared error against
the one-hot label, eq. (11). So only the network differs from the paper's rows, and the constants
are those of 2019 (Table 7). How many frames it saw in 2018 is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Recordings, silent
from harness.reference import coding
from harness.reference.neuron import LIFCell
from harness.spec import LIF, paper

SETTINGS = paper.settings("nmnist")
sizes = partial(learn.HiddenSizes, batch_size=20, lr=SETTINGS.optimiser.lr)  # the paper's of 2019


class STBPNetwork(nn.Module):
    """Fully connected layers of the paper's LIF neurons, eqs. (5) and (6)."""

    def __init__(self, sizes: tuple[int, ...], lif: LIF) -> None:
        super().__init__()
        self.synapses = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(sizes))
        self.cell = LIFCell(lif)  # keeps nothing: one serves all layers

    def forward(self, frames: Tensor) -> list[Tensor]:  # (B, T, 2, H, W) -> (T, B, N) of each layer
        """Return each layer's spikes (T, B, N) of frames (B, T, 2, H, W)."""
        spikes = [frames.flatten(2).transpose(0, 1)]
        for synapse in self.synapses:  # no layer waits for another
            spikes.append(learn.run_neurons(self.cell, synapse(spikes[-1])))
        return spikes[1:]


class STBP(learn.FrameLearner[learn.HiddenSizes]):
    """Fully connected LIF neurons trained by STBP (Wu et al. 2018)."""

    TITLE, PAPER = "STBP", "Wu et al. 2018"
    WINDOWS = ("first", "whole")
    FIDELITY = "published equations"
    DEVIATIONS = (
        "constants, learning rate, batches and epochs of the paper of 2019",
        "all frames of 5 ms of the window",
        "by default 200 hidden units, not 800",
    )
    EPOCHS = {"quick": 6, "default": 8, "paper": SETTINGS.epochs}
    SIZES = {"quick": sizes(hidden=100), "default": sizes(hidden=200), "paper": sizes(hidden=800)}

    def build_network(self, train: Recordings) -> STBPNetwork:
        return STBPNetwork(self.layer_sizes(train, self.sizes.hidden), SETTINGS.lif)

    def loss(self, out: Sequence[Tensor], labels: Tensor) -> Tensor:
        rates = coding.vote(out[-1], out[-1].shape[2])  # populations of one
        return coding.loss(rates, labels)

    def predict(self, test: Recordings) -> Answers:
        return learn.predict_by_spikes(self.network, self.inputs(test, silent), len(test))
