"""sinabs: `LIFSqueeze`, the steps folded into the batch of every synapse, samples first.

`samna`, which sinabs depends on, is never imported: its package is a stub that runs pip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from sinabs import layers as sl
from sinabs.activation import SingleSpike
from torch import Tensor, nn

from harness.adapter import SpikeTap, Variant
from harness.reference import dropout, neunorm, synapses
from harness.reference.neuron import fire
from harness.spec import LIF, Network, Stage


@dataclass(frozen=True)
class Fire:
    """The paper's spike as a `spike_fn`: those of sinabs give float32 whatever goes in."""

    a: float
    required_states: ClassVar[list[str]] = ["v_mem"]

    def apply(self, v_mem: Tensor, spike_threshold: Tensor, surrogate_grad_fn: object) -> Tensor:
        return fire(v_mem - spike_threshold, self.a)


def reset(spikes: Tensor, state: dict[str, Tensor], spike_threshold: Tensor) -> dict[str, Tensor]:
    """Reset potentials to zero; unlike in sinabs' `MembraneReset`, spikes carry gradient."""
    return {**state, "v_mem": state["v_mem"] * (1 - spikes)}


def _layer(lif: LIF, **chosen: Any) -> sl.LIFSqueeze:
    """Return `LIFSqueeze` with the paper's decay and threshold, none of which is a parameter.

    They are float64 numbers of no dimension: a tensor's own type stands. As sinabs keeps them, they
    are float32 parameters, and the decay is trained.
    """
    layer = sl.LIFSqueeze(tau_mem=1.0, train_alphas=True, num_timesteps=1, **chosen)
    for name, value in (("alpha_mem", lif.k_tau), ("spike_threshold", lif.v_th)):
        delattr(layer, name)  # a parameter's name takes no tensor
        setattr(layer, name, torch.tensor(value, dtype=torch.float64))
    return layer


def faithful(lif: LIF) -> sl.LIFSqueeze:
    """Return the paper's neuron."""
    return _layer(lif, norm_input=False, spike_fn=Fire(lif.a), reset_fn=reset)


def default(lif: LIF) -> sl.LIFSqueeze:
    """Return sinabs' default neuron, but with this decay and threshold, and one spike a step.

    Its default emits several spikes a step, and the paper's are 0 or 1.
    """
    return _layer(lif, spike_fn=SingleSpike)


class SinabsLayer(nn.Module):
    """One layer, all steps at once: synapse, neurons, pool, NeuNorm, dropout."""

    def __init__(self, stage: Stage, network: Network, make_neuron: Any) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.lif = make_neuron(network.lif)
        self.tap = SpikeTap(multi_step=True)
        self.pool = synapses.pool(stage)
        self.neunorm = neunorm.for_stage(stage, network)
        self.p = network.dropout

    def forward(self, current: Tensor, steps: int, keys: Tensor | None) -> Tensor:
        """Compute current -> output, both (B T, ...); `keys` (T, B, 2) draw dropout's masks."""
        samples = len(current) // steps
        # a new batch size without this draws states of the old one at random
        self.lif.init_state_with_shape((samples, *current.shape[1:]))
        self.lif.num_timesteps = steps
        out = self.lif(current).to(current.dtype)
        self.tap(_in_time(out, steps))
        if self.pool is not None:
            out = self.pool(out)
        if self.neunorm is not None:
            x, sent = None, []
            for spikes in _in_time(out, steps):
                normalised, x = self.neunorm(spikes, x)
                sent.append(normalised)
            out = torch.stack(sent, 1).flatten(0, 1)
        if keys is None:
            return out
        return dropout.drop(out, keys.transpose(0, 1).flatten(0, 1), self.p)


def _in_time(x: Tensor, steps: int) -> Tensor:  # (B T, ...) -> (T, B, ...)
    return x.unflatten(0, (-1, steps)).transpose(0, 1)


class SinabsNetwork(nn.Module):
    """The paper's network, layer by layer over all steps; each call starts from zero state."""

    def __init__(self, network: Network, make_neuron: Any) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(
            SinabsLayer(stage, network, make_neuron) for stage in network.stages
        )

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Return the last layer's spikes (T, B, N); steps and samples share an axis within."""
        first, *others = cast("list[SinabsLayer]", list(self.layers))
        keys = dropout.stage_keys(self.network, x, training=self.training)
        steps, current = len(x), synapses.encoding_sequence(first.synapse, x)
        out = first(current.transpose(0, 1).flatten(0, 1), steps, keys[0])
        for following, layer_keys in zip(others, keys[1:], strict=True):
            out = following(following.synapse(out), steps, layer_keys)
        return _in_time(out, steps)


NEURON = "our function in the framework's cell"
DEVIATIONS: tuple[str, ...] = ()
build = partial(SinabsNetwork, make_neuron=faithful)
VARIANTS = {
    "defaults": Variant(
        (
            "the input is scaled by 1 - k_tau (norm_input=True, sinabs' default)",
            "the reset subtracts V_th, and carries no gradient (MembraneSubtract, sinabs' default)",
            "the surrogate is an exponential (sinabs' default), not a rectangle",
        ),
        partial(SinabsNetwork, make_neuron=default),
        NEURON="the framework's own class",
    ),
}
