"""The network of the same structure without spikes: rectified units, one pass (Table 5)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap
from harness.reference import dropout, synapses
from harness.reference.initialise import as_drawn
from harness.spec import Initialisation, Network, Stage, Voting


class Units(nn.Module):
    """One layer: synapse, rectification (except in the voting layer), pool."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.rectified = not isinstance(stage.synapse, Voting)
        self.tap = SpikeTap(multi_step=True)
        self.pool = synapses.pool(stage)

    def forward(self, x: Tensor) -> Tensor:  # (B, ...) -> (B, ...)
        """Return the units' activations, rectified and pooled as the layer says."""
        out = self.synapse(x)
        out = torch.relu(out) if self.rectified else out
        if self.tap.recording:  # a unit that is active counts as one that fires
            self.tap((out > 0).to(out.dtype)[None])
        return out if self.pool is None else self.pool(out)


class ANN(nn.Module):
    """The network without spikes, time or NeuNorm: same layers and dropout, linear voting layer.

    While it trains it computes each image under that many masks of dropout, as a network with
    spikes does in its T steps.
    """

    def __init__(self, network: Network, masks: int = 1) -> None:
        super().__init__()
        self.network, self.masks = network, masks
        self.layers = nn.ModuleList(Units(stage) for stage in network.stages)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (masks, B, N)
        """Compute one pass on x; event frames are summed first, so that none is left out."""
        out = x[0] if synapses.is_static(x) else x.sum(0)
        masks = self.masks if self.training and self.network.dropout else 1
        out = out.expand(masks, *out.shape).flatten(0, 1)
        drawn = dropout.stage_keys(self.network, out[None], training=self.training)
        for layer, keys in zip(self.layers, drawn, strict=True):
            out = layer(out)
            if keys is not None:
                out = dropout.drop(out, keys[0], self.network.dropout)
        return out.unflatten(0, (masks, -1))


@torch.no_grad()
def initialised_ann(
    network: Network, x: Tensor, *, seed: int, scheme: Initialisation, masks: int = 1
) -> ANN:
    """Return the network with PyTorch's weights, scaled on batch `x` unless the scheme is `torch`.

    The scale gives each layer's sums a standard deviation of 1 on x (T, B, C, H, W); the voting
    layer stays as drawn.
    """
    module = as_drawn(partial(ANN, masks=masks), network, seed).to(x.device, x.dtype).eval()
    for layer in list(module.layers)[:-1] if scheme != "torch" else ():
        assert isinstance(layer, Units)
        sums: list[Tensor] = []
        hook = layer.synapse.register_forward_hook(lambda *call, sums=sums: sums.append(call[2]))
        module(x)
        hook.remove()
        deviation = float(sums[0].std())
        if deviation > 0:
            for parameter in layer.synapse.parameters():
                parameter.div_(deviation)
    return module.train()
