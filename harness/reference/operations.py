"""How many synaptic operations a pass takes, counted from the spikes of its layers.

The count is exact: a value drives as many synapses as there are outputs within its kernel's reach,
fewer at a border. Biases are no synapses. There are two readings of a value between two layers that
is no spike, since a pool or NeuNorm made it:

- by value: each value that is not zero is multiplied by a weight (NeuroBench's rule);
- folded: the pool's 1 / size**2 is part of the weights, so that each spike behind it is accumulated
  by itself. NeuNorm's `o - U x` is split too: the spikes are accumulated, and x, which all maps of
  a pixel share, is multiplied by `V = sum_c W_c U_c`, which is made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.reference.neunorm import auxiliary, normalise
from harness.reference.synapses import is_static
from harness.spec import Conv, Network, Stage
from harness.spec.network import reach


@dataclass(frozen=True)
class LayerOperations:
    """Operations of one layer, summed over samples and steps."""

    spikes: int  # of its own neurons; of units without spikes: those that are not zero
    events: int  # nonzero values that enter its synapse
    operations: int  # by value: events times the synapses that each drives
    accumulates: int  # folded: spikes times synapses
    multiplies: int  # folded: what stays a product, of real inputs and of NeuNorm's x

    def __add__(self, other: LayerOperations) -> LayerOperations:
        return LayerOperations(*map(add, vars(self).values(), vars(other).values()))


class _Entering(NamedTuple):
    """What enters a synapse."""

    values: Tensor  # that it multiplies, (T, B, ...)
    spikes: Tensor | None = None  # how many are in each value; None: it is made of none
    x: Tensor | None = None  # of NeuNorm's auxiliary neurons, (T, B, 1, H, W)


def spiking_operations(
    network: Network, x: Tensor, spikes: Sequence[Tensor], U: Sequence[Tensor | None]
) -> tuple[LayerOperations, ...]:
    """Count each layer's operations on x (T, B, C, H, W), from its spikes (T, B, ...) and U.

    The convolution of a static image is counted once a sample, as it is computed; that of event
    frames at each step.
    """
    entering = [_Entering(x[:1] if is_static(x) else x)]
    for stage, fired, weights in zip(network.stages[:-1], spikes[:-1], U[:-1], strict=True):
        entering.append(_next_input(stage, network, fired, weights))
    return _by_layer(network, entering, spikes)


def ann_operations(
    network: Network, x: Tensor, active: Sequence[Tensor]
) -> tuple[LayerOperations, ...]:
    """Count each layer's multiply-accumulates in the network without spikes on x (T, B, C, H, W).

    `active` (1, B, ...): which of each layer's units are not zero. Event frames are summed first.
    """
    below = zip(network.stages, active[:-1], strict=False)
    entering = [x[:1] if is_static(x) else x.sum(0, keepdim=True)]
    entering += [_pooled(stage, units.float()) for stage, units in below]
    return _by_layer(network, [_Entering(values) for values in entering], active)


def _by_layer(
    network: Network, entering: Sequence[_Entering], spikes: Sequence[Tensor]
) -> tuple[LayerOperations, ...]:
    """Count each layer's operations from what enters it and what it fires."""
    layers = []
    for stage, (values, folded, x), fired in zip(network.stages, entering, spikes, strict=True):
        by_value = multiplies = _driven(stage, values != 0)
        accumulates = 0
        if folded is not None:
            accumulates = _driven(stage, folded)
            multiplies = 0 if x is None else _driven(stage, x != 0)
        counts = int(fired.count_nonzero()), int(values.count_nonzero())
        layers.append(LayerOperations(*counts, by_value, accumulates, multiplies))
    return tuple(layers)


def _driven(stage: Stage, amounts: Tensor) -> int:
    """Return the amounts (T, B, ...), each times the synapses that it drives. Exact below 2**53."""
    if not isinstance(stage.synapse, Conv):
        return round(float(amounts.sum(dtype=torch.float64))) * stage.neurons
    maps, *sides = stage.output_shape
    places = amounts.flatten(0, 2).sum(0, dtype=torch.float64).cpu()  # (H, W)
    reached = (reach(size, stage.synapse.kernel) for size in sides)
    rows, columns = (torch.tensor(counts, dtype=torch.float64) for counts in reached)
    return round(float(rows @ places @ columns)) * maps


def _next_input(stage: Stage, network: Network, fired: Tensor, U: Tensor | None) -> _Entering:
    """Return what the spikes of a layer become on the way to the next."""
    counts = _pooled(stage, fired.float())
    if network.neunorm is None or U is None:
        return _Entering(counts, spikes=counts)
    size = stage.pool.size if stage.pool else 1
    k_tau2, c = network.neunorm.k_tau2, network.neunorm.scale(stage.output_shape[0])
    x = torch.zeros_like(counts[0, :, :1])
    values, states = [], []
    for step in counts / size**2:
        x = auxiliary(x, step, k_tau2, c)
        values.append(normalise(step, x, U))
        states.append(x)
    return _Entering(torch.stack(values), spikes=counts, x=torch.stack(states))


def _pooled(stage: Stage, values: Tensor) -> Tensor:  # (T, B, ...) -> (T, B, ...)
    """Return the sum of each window; what does not fill one is dropped."""
    if stage.pool is None:
        return values
    summed = functional.avg_pool2d(values.flatten(0, 1), stage.pool.size, divisor_override=1)
    return summed.unflatten(0, values.shape[:2])
