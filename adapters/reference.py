"""The paper's network in plain PyTorch, as the contender everybody can read."""

from __future__ import annotations

from torch import nn

from harness.reference.network import ReferenceNetwork
from harness.spec import Network

DEVIATIONS: tuple[str, ...] = ()


def build(network: Network) -> nn.Module:
    """The reference network itself."""
    return ReferenceNetwork(network)
