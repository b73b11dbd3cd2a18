"""The paper's network in plain PyTorch, as the contender everybody can read."""

from harness.reference.network import ReferenceNetwork as build

NEURON = "ours"
DEVIATIONS: tuple[str, ...] = ()
__all__ = ["DEVIATIONS", "NEURON", "build"]
