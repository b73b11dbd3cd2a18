"""Our own engine: the reference's function with neuron, pool and NeuNorm in one kernel a layer."""

from __future__ import annotations

from torch import nn

from harness.fused.network import FusedNetwork, kernels_for
from harness.spec import Network

DEVIATIONS: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ("numba", "triton")  # they compile the kernels, where they are


def build(network: Network) -> nn.Module:
    """The paper's function over all steps at once."""
    return FusedNetwork(network)


def implementation(device: str) -> str:
    """What runs there: numba's kernels, Triton's, or plain torch where they are missing."""
    return kernels_for(device).NAME
