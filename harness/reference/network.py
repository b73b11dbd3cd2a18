"""The paper's network in plain PyTorch: a loop over steps, a loop over layers (algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness import synapses
from harness.adapter import SpikeTap
from harness.reference.neunorm import NeuNorm
from harness.reference.neuron import LIFCell
from harness.spec import LIF, Network, Stage

# One step of a layer of neurons: forward(current, state) -> (spikes, state), None being rest.
Cell = Callable[[LIF], nn.Module]
State = tuple[Any, Tensor | None]  # the cell's own, and x of NeuNorm


class Layer(nn.Module):
    """One layer of neurons: synapse, cell, then the pool and NeuNorm on the way to the next."""

    def __init__(self, stage: Stage, network: Network, cell: Cell) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.cell = cell(network.lif)
        self.tap = SpikeTap()
        self.pool = synapses.pool(stage.pool) if stage.pool else None
        self.neunorm = None
        if network.neunorm and stage.neunorm_shape:
            self.neunorm = NeuNorm(network.neunorm, stage.neunorm_shape)

    def forward(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: the current (B, ...) and last state give the next layer's input and state."""
        neuron, x = state
        out, neuron = self.cell(current, neuron)
        out = self.tap(out)
        if self.pool is not None:
            out = self.pool(out)
        if self.neunorm is not None:
            out, x = self.neunorm(out, x)
        return out, (neuron, x)


class StepNetwork(nn.Module):
    """A network stepped through time around any one-step cell. Keeps nothing between calls."""

    def __init__(self, network: Network, cell: Cell) -> None:
        super().__init__()
        self._layers = nn.ModuleList(Layer(stage, network, cell) for stage in network.stages)

    @property
    def layers(self) -> list[Layer]:
        """The layers of neurons, in order."""
        return list(self._layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        layers = self.layers
        states: list[State] = [(None, None)] * len(layers)
        votes = []
        for current in synapses.encoding_steps(layers[0].synapse, x):
            out, states[0] = layers[0](current, states[0])
            for n, layer in enumerate(layers[1:], 1):
                out, states[n] = layer(layer.synapse(out), states[n])
            votes.append(out)
        return torch.stack(votes)


class ReferenceNetwork(StepNetwork):
    """The function that every adapter is compared with."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, LIFCell)
