"""A network as a case has it: of the paper by name, of a notation, or out of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from harness.spec import paper
from harness.spec.errors import UsageError
from harness.spec.network import Network

SUFFIX = ".nir"  # of a file that describes a network
Tie = Literal["at", "above"]  # where a neuron fires whose potential is exactly its threshold
CLASSES = 10  # of all three data sets


@dataclass(frozen=True)
class NamedNetwork:
    """A network, and what its rows call it."""

    scale: str  # the paper's name, or "custom"
    network: Network
    width: Fraction
    weights_sha256: str | None = None  # of the file of its initial weights; None: they are drawn


@dataclass(frozen=True)
class NetworkFile:
    """What a file says of a network, and the hash of its weights."""

    name: str  # as it was given on the command line
    network: Network
    weights_sha256: str
    says_a: bool  # whether the surrogate's width is the file's; else it is the data set's

    def on(self, dataset: str) -> NamedNetwork:
        """The network on a data set. Raises UsageError where it is of other data."""
        settings = paper.settings(dataset)
        network = self.network
        if network.input_shape != settings.input_shape:
            raise UsageError(
                f"{self.name} is of inputs {network.input_shape}, {settings.title} has "
                f"{settings.input_shape}: choose another data set with --datasets"
            )
        if network.classes != CLASSES:
            raise UsageError(
                f"{self.name} has {network.classes} classes, {settings.title} has {CLASSES}"
            )
        if not self.says_a:
            network = replace(network, lif=replace(network.lif, a=settings.lif.a))
        return NamedNetwork("custom", network, Fraction(1), self.weights_sha256)
