"""Our own engine: the reference's function with neuron, pool and NeuNorm in one kernel a layer."""

from __future__ import annotations

from functools import partial

from torch import nn

from adapters.fused.network import FusedNetwork, kernels_for, said
from harness.adapter import Variant
from harness.spec import Network

DEVIATIONS: tuple[str, ...] = ()
REVISION = 1  # 1: convolutions and products by events
PACKAGES: tuple[str, ...] = ("numba", "triton")  # they compile the kernels, where they are


VARIANTS = {
    # convolutions and products as any framework has them: what events gain is the difference
    "dense": Variant(DEVIATIONS, partial(FusedNetwork, dense=True)),
    # what snnTorch does by default, and SpikingJelly where it is asked to
    "detached-reset": Variant(
        ("the reset carries no gradient",), partial(FusedNetwork, detached=True)
    ),
}


def build(network: Network) -> nn.Module:
    """The paper's function over all steps at once."""
    return FusedNetwork(network)


def computed(module: nn.Module) -> str:
    """Which layers' work was done by events in the last call, and the density of what they got."""
    return said(module)


def implementation(device: str) -> str:
    """What runs there: numba's kernels, Triton's, or plain torch where they are missing."""
    return kernels_for(device).NAME
