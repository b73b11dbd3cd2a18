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
from harness.spec import NeuNorm as NeuNormSpec

# torch warns at the first step that it finds no Triton kernels; this neuron does not use any
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)

Neuron = Callable[[LIF], neuron.LIFNode]


def tau(lif: LIF) -> float:
    """The time constant whose v - v / tau is k_tau v."""
    if not 0 < lif.k_tau < 1:
        raise Unsupported(
            f"LIFNode needs tau > 1 and finite, so 0 < k_tau < 1, not {lif.k_tau}; "
            "use the adapter reference"
        )
    return 1 / (1 - lif.k_tau)


def faithful(lif: LIF) -> neuron.LIFNode:
    """The paper's neuron: v - v / tau + x, hard reset, the reset's gradient kept."""
    return neuron.LIFNode(
        tau=tau(lif),
        decay_input=False,
        v_threshold=lif.v_th,
        v_reset=0.0,
        surrogate_function=surrogate.Rect(alpha=1 / lif.a),
        detach_reset=False,
        step_mode="m",
    )


def detached_reset(lif: LIF) -> neuron.LIFNode:
    """The paper's neuron without the reset's gradient, as SpikingJelly's tutorials train it."""
    node = faithful(lif)
    node.detach_reset = True
    return node


def default(lif: LIF) -> neuron.LIFNode:
    """`LIFNode` with this tau and threshold and every other argument as it comes."""
    return neuron.LIFNode(tau=tau(lif), v_threshold=lif.v_th, step_mode="m")


def neunorm(spec: NeuNormSpec, shape: tuple[int, int, int]) -> layer.NeuNorm:
    """SpikingJelly's own NeuNorm; its constant k1 is the literal reading's: it is set to ours."""
    module = layer.NeuNorm(*shape, k=spec.k_tau2, step_mode="m")
    module.k1 = spec.scale(shape[0])
    return module


class Layer(nn.Module):
    """One layer: synapse, `LIFNode`, then the pool and NeuNorm; all steps at once."""

    def __init__(self, stage: Stage, network: Network, make_neuron: Neuron) -> None:
        super().__init__()
        self.synapse = synapses.synapse(stage)
        self.node = make_neuron(network.lif)
        self.tap = SpikeTap(multi_step=True)
        after: list[nn.Module] = []
        if stage.pool is not None:
            after.append(layer.AvgPool2d(stage.pool.size, step_mode="m"))
        if network.neunorm is not None and stage.neunorm_shape is not None:
            after.append(neunorm(network.neunorm, stage.neunorm_shape))
        self.after = nn.Sequential(*after)
        self.p = network.dropout

    def forward(self, current: Tensor, keys: Tensor | None) -> Tensor:  # (T, B, ...) -> the same
        out = self.after(self.tap(self.node(current)))
        if keys is None:
            return out
        dropped = dropout.drop(out.flatten(0, 1), keys.flatten(0, 1), self.p)
        return dropped.unflatten(0, out.shape[:2])


class SpikingJellyNetwork(nn.Module):
    """Layer by layer over all steps; the state is cleared before every call."""

    def __init__(self, network: Network, make_neuron: Neuron) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(Layer(stage, network, make_neuron) for stage in network.stages)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, N)
        functional.reset_net(self)
        layers = cast("list[Layer]", list(self.layers))
        keys = dropout.stage_keys(self.network, x, training=self.training)
        out = layers[0](synapses.encoding_sequence(layers[0].synapse, x), keys[0])
        for following, layer_keys in zip(layers[1:], keys[1:], strict=True):
            out = following(synapses.over_steps(following.synapse, out), layer_keys)
        return out


DEVIATIONS: tuple[str, ...] = ()


def build(network: Network) -> nn.Module:
    """The paper's function in SpikingJelly."""
    return SpikingJellyNetwork(network, faithful)


VARIANTS = {
    "detached-reset": Variant(
        ("the reset carries no gradient (detach_reset=True)",),
        partial(SpikingJellyNetwork, make_neuron=detached_reset),
    ),
    "defaults": Variant(
        (
            "the input is scaled by 1 / tau (decay_input=True, SpikingJelly's default)",
            "the surrogate is the sigmoid's derivative (SpikingJelly's default), not a rectangle",
        ),
        partial(SpikingJellyNetwork, make_neuron=default),
    ),
}
