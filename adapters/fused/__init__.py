"""Our own engine: the reference's function with neuron, pool and NeuNorm in one kernel a layer."""

from __future__ import annotations

from functools import partial

from adapters.fused.network import FusedNetwork, computed, kernels_for
from harness.adapter import Variant

__all__ = [
    "DEVIATIONS", "NEURON", "PACKAGES", "REVISION", "VARIANTS", "build", "compiles", "computed",
    "implementation",
]  # fmt: skip

NEURON = "ours"
DEVIATIONS: tuple[str, ...] = ()
REVISION = 2  # 1: by events; 2: Winograd's tiles, and an encoding layer with its neurons
PACKAGES = ("numba", "triton")  # they compile the kernels, where they are
VARIANTS = {
    # what snnTorch does by default, and SpikingJelly where it is asked to
    "detached-reset": Variant(
        ("the reset carries no gradient",), partial(FusedNetwork, detached=True)
    ),
}
build = FusedNetwork


def implementation(device: str) -> str:
    """Return what computes on a device, such as "numba 0.62", "triton 3.2" or "plain torch"."""
    return kernels_for(device).NAME


def compiles(device: str) -> bool:
    """Return whether a first call on a device compiles numba kernels, since none are cached."""
    if not implementation(device).startswith("numba"):
        return False
    from adapters.fused import compiled  # it needs numba

    return not compiled.has_kernels()
