"""The paper's network in mysnn, for snn-harness: only its neuron differs from the reference."""

from functools import partial

import torch
from torch import nn

from harness.reference.network import StepNetwork
from mysnn import Neuron

CONTRACT = 1  # of harness.adapter, for which this file is written
NEURON = "the framework's own class"  # whose code is timed
DEVIATIONS = ()  # it is the paper's function


class Cell(nn.Module):
    """One step of a layer: (current, state) -> (spikes, state); the first state is None."""

    def __init__(self, lif):
        super().__init__()
        self.neuron = Neuron(decay=lif.k_tau, threshold=lif.v_th, width=lif.a)

    def forward(self, current, state):
        return self.neuron(current, torch.zeros_like(current) if state is None else state)


build = partial(StepNetwork, cell=Cell)
