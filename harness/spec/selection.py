"""What a command selects, and what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path

from harness.spec import paper
from harness.spec.case import Initialisation, Mode, Precision
from harness.spec.errors import UsageError
from harness.spec.given import NamedNetwork, NetworkFile
from harness.spec.network import Reading

Say = Callable[[float, str], None]  # how far a piece of work is, in [0, 1], and what it does


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
