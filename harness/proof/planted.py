"""Neurons that an exam plants in every layer, where a wrong comparison would show."""

from __future__ import annotations

from math import inf

import torch

from harness.reference.network import ReferenceNetwork
from harness.spec import LIF


def count_planted(neurons: int) -> int:
    """How many of a layer's neurons (of a convolution: maps) are planted, the last ones."""
    return min(2, neurons - 1)  # a single neuron is the layer's whole signal


@torch.no_grad()
def plant(reference: ReferenceNetwork, *, edge: bool) -> None:
    """Sets the last neurons' weights to zero, and their biases to what their potential is to be.

    The last lies exactly at the threshold. The one before it, with `edge`, at the surrogate's edge.
    """
    lif = reference.network.lif
    for layer in reference.layers:
        weight, bias = layer.synapse.weight, layer.synapse.bias
        assert bias is not None
        count = count_planted(len(bias))
        if count > 0:
            weight[-1], bias[-1] = 0, lif.v_th
        at_edge = edge_potential(lif, bias.dtype)
        if edge and count > 1 and at_edge is not None:
            weight[-2], bias[-2] = 0, at_edge


def edge_potential(lif: LIF, dtype: torch.dtype) -> float | None:
    """A u whose abs(u - V_th) is a / 2 in that type, to the last bit; None where there is none.

    Above the threshold where there is one: it fires, is reset, and is there again at every step.
    """
    for side in (1, -1):
        about = torch.tensor(lif.v_th + side * lif.a / 2, dtype=dtype)
        for u in (about, *(torch.nextafter(about, about.new_tensor(to)) for to in (inf, -inf))):
            if (u - lif.v_th).abs() == lif.a / 2:
                return u.item()
    return None
