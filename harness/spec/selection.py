"""What a command selects, and what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Literal

from harness.spec import paper
from harness.spec.case import Initialisation, Mode, Precision
from harness.spec.network import Network, Reading, UsageError

Say = Callable[[float, str], None]  # how far a piece of work is, in [0, 1], and what it does
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


@dataclass(frozen=True)
class Selection:
    """What the command line selects of a suite; None leaves it to the suite."""

    frameworks: tuple[str, ...]
    datasets: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None  # names, notations or files
    files: tuple[NetworkFile, ...] = ()  # those among them, read
    steps: tuple[int, ...] | None = None  # each T to run
    seeds: tuple[int, ...] | None = None
    epochs: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    precision: Precision | None = None
    device: str = "cpu"
    width: Fraction | None = None
    neunorm: Reading | None = None
    initialisation: Initialisation = "calibrated"
    quick: bool = False
    long: bool = False  # trainings that converge: hours
    paper: bool = False
    mode: Mode = "training"
    baselines: tuple[str, ...] | None = None  # systems of Tables 3 to 6
    tuned: bool = False  # each framework in the forms that a skilled user switches on as well

    def network(
        self, name: str, dataset: str, *, neunorm: Reading | None, width: Fraction
    ) -> NamedNetwork:
        """A network of the paper by name, of a notation, or of a file, which has its own NeuNorm
        and width.

        Raises UsageError for what there is not, NotationError for a wrong notation.
        """
        for file in self.files:
            if file.name == name:
                for option, given in (("--width", self.width), ("--neunorm", self.neunorm)):
                    if given is not None:
                        raise UsageError(f"{name} has its own: leave {option} out")
                return file.on(dataset)
        scale, found = paper.network(name, dataset, neunorm=neunorm)
        if scale == "custom" and self.width is None:  # what is written out runs as written
            width = Fraction(1)
        return NamedNetwork(scale, found.scaled(width), width)


@dataclass(frozen=True)
class Access:
    """Where data are, which may be fetched, and whether what was measured before counts."""

    root: Path
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    fresh: bool = False  # measure anew what is done or begun
    keep_weights: bool = False  # of what is trained, in OUT/weights


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What timing may cost."""

    seconds: float = inf  # for all cells together; infinite: as many rounds as in the paper
    rounds: int = 5  # that each cell gets even so; fewer are no figure that is ranked
