"""The paper's network in plain PyTorch: a loop over steps, a loop over layers (algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap
from harness.reference import dropout, neunorm, synapses
from harness.reference.neuron import LIFCell
from harness.spec import Network, Stage

# One step of a layer of neurons: forward(current, state) -> (spikes, state), None being rest. One
# that has a parameter `shape` is given its layer's too: (C, H, W) or (N,).
MakeCell = Callable[..., nn.Module]
State = tuple[Any, Tensor | None]  # the cell's own, and x of NeuNorm


class ReferenceLayer(nn.Module):
    """One layer of neurons: synapse, cell, then the pool and NeuNorm on the way to the next."""

    def __init__(self, stage: Stage, network: Network, cell: MakeCell) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        asks = "shape" in signature(cell).parameters
        self.cell = cell(network.lif, shape=stage.output_shape) if asks else cell(network.lif)
        self.tap = SpikeTap()
        self.pool = synapses.pool(stage)
        self.neunorm = neunorm.for_stage(stage, network)
        self.p = network.dropout

    def forward(
        self, current: Tensor, state: State, keys: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Compute one step: the current (B, ...), last state -> the next layer's input, next state.

        The caller applies the synapse. `keys` (B, 2): of its dropout masks; None: no dropout.
        """
        neuron, x = state
        spikes, neuron = self.cell(current, neuron)
        out, x = self.pass_on(self.tap(spikes), x, keys)
        return out, (neuron, x)

    def pass_on(
        self, spikes: Tensor, x: Tensor | None, keys: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Pool, normalise and drop a step's spikes (B, ...); return them and NeuNorm's next x."""
        out = spikes if self.pool is None else self.pool(spikes)
        if self.neunorm is not None:
            out, x = self.neunorm(out, x)
        if keys is not None:
            out = dropout.drop(out, keys, self.p)
        return out, x


class StepNetwork(nn.Module):
    """A network stepped through time around any one-step cell. Keeps nothing between calls."""

    def __init__(self, network: Network, cell: MakeCell) -> None:
        super().__init__()
        self.network = network
        self._layers = nn.ModuleList(
            ReferenceLayer(stage, network, cell) for stage in network.stages
        )

    @property
    def layers(self) -> list[ReferenceLayer]:
        """The layers of neurons, in order."""
        return cast("list[ReferenceLayer]", list(self._layers))

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Run all layers step by step; return the last one's spikes (T, B, N)."""
        layers = self.layers
        states: list[State] = [(None, None)] * len(layers)
        drawn = dropout.stage_keys(self.network, x, training=self.training)
        keys = [[None] * len(x) if by_step is None else by_step for by_step in drawn]
        votes = []
        for t, current in enumerate(synapses.encoding_steps(layers[0].synapse, x)):
            out, states[0] = layers[0](current, states[0], keys[0][t])
            for n, layer in enumerate(layers[1:], 1):
                out, states[n] = layer(layer.synapse(out), states[n], keys[n][t])
            votes.append(out)
        return torch.stack(votes)


class ReferenceNetwork(StepNetwork):
    """The paper's network, with which every adapter is compared."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, LIFCell)
