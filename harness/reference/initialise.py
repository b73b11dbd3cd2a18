"""Initial weights: PyTorch's own, or scaled on a batch so that every layer fires (`calibrated`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.adapter import record_spikes
from harness.reference import synapses
from harness.reference.network import ReferenceNetwork
from harness.spec import DEAD_RATE, Initialisation, Network

# 15 % of a layer's first potentials reach the threshold; rates of 0.15-0.18 follow in all layers.
FIRING_FRACTION = 0.15
WINDOW = 0.01  # of the values on either side of that quantile: where the threshold may lie
ROUNDING = 1e-7  # relative: values this close may be the same but for how they were summed
_DRAWS = RLock()
Module = TypeVar("Module", bound=nn.Module)


def as_drawn(build: Callable[[Network], Module], network: Network, seed: int = 0) -> Module:
    """Build a network with the weights that PyTorch draws from the seed.

    The global generator is left as it was. All threads share it, so they draw one after the other.
    """
    with _DRAWS, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(network)


def initialised(
    network: Network, x: Tensor, *, seed: int, scheme: Initialisation = "calibrated"
) -> ReferenceNetwork:
    """Return the reference network with initial weights, of the dtype and device of `x`.

    The paper does not state its initialisation. `torch` is PyTorch's, which leaves CIFARNet dead
    from the third layer on at the paper's threshold. `calibrated` then scales each layer's weight
    and bias so that on x (T, B, C, H, W) about `FIRING_FRACTION` of its first potentials reach
    V_th; `twice-v_th` does so for a network of twice the threshold. The same seed and batch give
    the same weights; the global generator is left alone.
    """
    module = as_drawn(ReferenceNetwork, network, seed).to(x.device, x.dtype)
    if scheme == "calibrated":
        _calibrate(module, network, x)
    elif scheme == "twice-v_th":
        twice = replace(network, lif=replace(network.lif, v_th=2 * network.lif.v_th))
        copy_parameters(initialised(twice, x, seed=seed), module)
    return module


@torch.no_grad()
def _calibrate(module: ReferenceNetwork, network: Network, x: Tensor) -> None:
    """Scale the weights of `module` in place, layer by layer.

    For a static image the first potential is the first step's current. Event frames can be empty at
    first, so for them it is the current of every step.
    """
    out = x[:1] if synapses.is_static(x) else x
    for layer in module.layers:
        current = synapses.over_steps(layer.synapse, out)
        top = _upper_quantile(current, FIRING_FRACTION)
        if top > 0:  # else no positive factor lifts that many to the threshold; left as drawn
            factor = network.lif.v_th / top
            for parameter in layer.synapse.parameters():
                parameter.mul_(factor)
            current = current * factor
        state, outputs = (None, None), []
        for step in current:  # what the layer hands to the next
            output, state = layer(step, state)
            outputs.append(output)
        out = torch.stack(outputs)


def _upper_quantile(values: Tensor, fraction: float) -> float:
    """Return a value that about `fraction` of them exceed, in the middle of the widest gap near.

    A picture with an even background gives a whole feature map the same current: a threshold at
    that value would leave its spikes to rounding, which differs between convolutions.
    """
    flat = values.flatten().cpu().numpy()
    if flat.size == 1:
        return float(flat[0]) / 2  # it fires, and does not lie at the threshold
    rank = min(max(1, int((1 - fraction) * flat.size)), flat.size - 1)
    reach = int(WINDOW * flat.size)
    while True:
        low, high = max(0, rank - 1 - reach), min(flat.size - 1, rank + reach)
        near = np.sort(np.partition(flat, (low, high))[low : high + 1].astype(np.float64))
        widest = int(np.argmax(np.diff(near)))
        below, above = near[widest : widest + 2]
        if above - below > ROUNDING * abs(above) or high - low == flat.size - 1:
            return float(below + above) / 2
        reach = 2 * reach + 1


@torch.no_grad()
def dead_layers(module: ReferenceNetwork, network: Network, x: Tensor) -> tuple[str, ...]:
    """Return "NAME (rate 0.0001)" of layers that fire below DEAD_RATE on x (T, B, C, H, W)."""
    with record_spikes(module) as taps:
        module(x)
        return hardly_firing(network, [tap.collected().double().mean().item() for tap in taps])


def hardly_firing(network: Network, rates: Sequence[float]) -> tuple[str, ...]:
    """Return "NAME (rate 0.0001)" of layers below DEAD_RATE, in spikes per neuron and step."""
    pairs = zip(network.stages, rates, strict=True)
    return tuple(f"{stage.name} (rate {rate:.4f})" for stage, rate in pairs if rate < DEAD_RATE)


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters in layer order, the order of the adapter contract.

    Raises ValueError where `target` does not have the same shapes in the same order.
    """
    expected, actual = ([tuple(p.shape) for p in net.parameters()] for net in (source, target))
    if expected != actual:
        raise ValueError(
            "parameters are not the reference's in layer order (weight, bias, U): "
            f"expected shapes {expected}, found {actual}"
        )
    with torch.no_grad():
        for ours, theirs in zip(source.parameters(), target.parameters(), strict=True):
            theirs.copy_(ours)
