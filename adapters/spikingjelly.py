"""SpikingJelly: `LIFNode` in multi-step mode, the steps folded into the batch of every synapse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import cast

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from harness.adapter import SpikeTap, Unsupported, Variant
from harness.reference import dropout, synapses
from harness.spec import LIF, Network, Stage

# torch warns at the first step that it finds no Triton kernels; this neuron does not use any
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)

Neuron = Callable[[LIF], neuron.LIFNode]


def tau(lif: LIF) -> float:
    """Return the tau whose v - v / tau is k_tau v. Raises Unsupported unless 0 < k_tau < 1."""
    if not 0 < lif.k_tau < 1:
        raise Unsupported(
            f"LIFNode needs tau > 1 and finite, so 0 < k_tau < 1, not {lif.k_tau}; "
            "use the adapter reference"
        )
    return 1 / (1 - lif.k_tau)


def faithful(lif: LIF, *, detach_reset: bool = False) -> neuron.LIFNode:
    """Return the paper's neuron: v - v / tau + x, hard reset.

    `detach_reset`, as in tutorials, stops the reset's gradient: not the paper's function.
    """
    return neuron.LIFNode(
        tau=tau(lif),
        decay_input=False,
        v_threshold=lif.v_th,
        v_reset=0.0,
        surrogate_function=surrogate.Rect(alpha=1 / lif.a),
        detach_reset=detach_reset,
        step_mode="m",
    )


def default(lif: LIF) -> neuron.LIFNode:
    """Return a `LIFNode` with this decay and threshold, and SpikingJelly's defaults otherwise."""
    return neuron.LIFNode(tau=tau(lif), v_threshold=lif.v_th, step_mode="m")


class SpikingJellyLayer(nn.Module):
    """One layer, all steps at once: synapse, `LIFNode`, pool, NeuNorm, dropout."""

    def __init__(self, stage: Stage, network: Network, make_neuron: Neuron) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.node = make_neuron(network.lif)
        self.tap = SpikeTap(multi_step=True)
        self.output = nn.Sequential()  # pool and NeuNorm
        if stage.pool is not None:
            self.output.append(layer.AvgPool2d(stage.pool.size, step_mode="m"))
        if network.neunorm is not None and stage.neunorm_shape is not None:
            norm = layer.NeuNorm(*stage.neunorm_shape, k=network.neunorm.k_tau2, step_mode="m")
            norm.k1 = network.neunorm.scale(stage.neunorm_shape[0])  # made for the literal reading
            self.output.append(norm)
        self.p = network.dropout

    def forward(self, current: Tensor, keys: Tensor | None) -> Tensor:  # (T, B, ...) -> the same
        """Return the pooled spikes of the currents, with dropout where keys are given."""
        out = self.output(self.tap(self.node(current)))
        if keys is None:
            return out
        dropped = dropout.drop(out.flatten(0, 1), keys.flatten(0, 1), self.p)
        return dropped.unflatten(0, out.shape[:2])


class SpikingJellyNetwork(nn.Module):
    """The paper's network, layer by layer over all steps; each call starts from zero state."""

    def __init__(self, network: Network, make_neuron: Neuron) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(
            SpikingJellyLayer(stage, network, make_neuron) for stage in network.stages
        )

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        """Reset the neurons and run each layer over all steps; return the spikes (T, B, N)."""
        functional.reset_net(self)
        first, *others = cast("list[SpikingJellyLayer]", list(self.layers))
        keys = dropout.stage_keys(self.network, x, training=self.training)
        out = first(synapses.encoding_sequence(first.synapse, x), keys[0])
        for following, layer_keys in zip(others, keys[1:], strict=True):
            out = following(synapses.over_steps(following.synapse, out), layer_keys)
        return out


NEURON = "the framework's own class"
DEVIATIONS: tuple[str, ...] = ()
build = partial(SpikingJellyNetwork, make_neuron=faithful)
VARIANTS = {
    "detached-reset": Variant(
        ("the reset carries no gradient (detach_reset=True)",),
        partial(SpikingJellyNetwork, make_neuron=partial(faithful, detach_reset=True)),
    ),
    "defaults": Variant(
        (
            "the input is scaled by 1 / tau (decay_input=True, SpikingJelly's default)",
            "the surrogate is the sigmoid's derivative (SpikingJelly's default), not a rectangle",
        ),
        partial(SpikingJellyNetwork, make_neuron=default),
    ),
}
