"""The networks of Tables 1 and 2 and the settings of Table 7, as data. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from harness.spec.network import LIF, Network, NeuNorm, Reading, UsageError
from harness.spec.training import SGD, Adam


@dataclass(frozen=True)
class Settings:
    """A data set's column of Table 7, with its input and size."""

    title: str
    input_shape: tuple[int, int, int]  # (C, H, W)
    static: bool  # the same image at every step; else one event frame a step
    lif: LIF
    k_tau2: float  # decay of NeuNorm's auxiliary neuron
    dropout: float
    epochs: int
    optimiser: SGD | Adam
    train_samples: int

    def iterations_per_epoch(self, batch_size: int) -> int:
        """Iterations that show every training sample once, the last batch filled or not."""
        return -(-self.train_samples // batch_size)


SETTINGS: dict[str, Settings] = {
    "cifar10": Settings(
        "CIFAR-10", (3, 32, 32), True, LIF(0.25, 0.75, 1.0), 0.9, 0.5, 150, SGD(), 50_000
    ),
    "nmnist": Settings(
        "N-MNIST", (2, 34, 34), False, LIF(0.3, 0.25, 0.25), 0.9, 0.0, 200, Adam(), 60_000
    ),
    "dvs-cifar10": Settings(
        "DVS-CIFAR10", (2, 42, 42), False, LIF(0.35, 0.05, 0.1), 0.9, 0.0, 200, Adam(1e-4), 9_000
    ),
}


@dataclass(frozen=True)
class Structure:
    """One row of Table 1 or 2."""

    table: int
    name: str
    static: bool  # for static images ("non-spiking" in the paper), else for event data
    notation: str


NETWORKS: tuple[Structure, ...] = (
    Structure(1, "Small", False, "128C3(Encoding)-AP2-128C3-AP2-512FC-Voting"),
    # printed "256" between the pools, read as 256C3
    Structure(1, "Middle", False, "128C3(Encoding)-128C3-AP2-256C3-AP2-1024FC-Voting"),
    Structure(1, "Large", False, "128C3(Encoding)-128C3-AP2-384C3-384C3-AP2-1024FC-512FC-Voting"),
    Structure(1, "Small", True, "128C3(Encoding)-AP2-256C3-AP2-256FC-Voting"),
    Structure(1, "Middle", True, "128C3(Encoding)-AP2-256C3-512C3-AP2-512FC-Voting"),
    Structure(
        1,
        "Large",
        True,
        "128C3(Encoding)-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-Voting",
    ),
    Structure(2, "OurModel", False, "128C3(Encoding)-128C3-AP2-128C3-256C3-AP2-1024FC-Voting"),
    Structure(
        2, "AlexNet", True, "96C3(Encoding)-256C3-AP2-384C3-AP2-384C3-256C3-1024FC-1024FC-Voting"
    ),
    Structure(
        2,
        "CIFARNet",
        True,
        "128C3(Encoding)-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-Voting",
    ),
)

SCALES = ("Small", "Middle", "Large")

# CIFAR-10's and DVS-CIFAR10's, in the order of their labels, which is that of the alphabet.
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def paper_order(dataset: str, scale: str) -> tuple[int, int]:
    """Where a cell stands in the paper's order; what it does not have comes last."""
    datasets = list(SETTINGS)
    return (
        datasets.index(dataset) if dataset in datasets else len(datasets),
        SCALES.index(scale) if scale in SCALES else len(SCALES),
    )


def settings(dataset: str) -> Settings:
    """Table 7's column for `dataset`. Raises UsageError where there is none."""
    if dataset not in SETTINGS:
        raise UsageError(f"unknown data set {dataset!r}, choose from {', '.join(SETTINGS)}")
    return SETTINGS[dataset]


def network(
    name: str, dataset: str, *, neunorm: Reading | None = None, width: Fraction = Fraction(1)
) -> tuple[str, Network]:
    """The paper's network `name`, or the one a notation says, for `dataset`: its name and itself.

    A notation's name is "custom". Raises UsageError for a name that the paper does not have for
    this kind of data, NotationError for a wrong notation.
    """
    chosen = settings(dataset)
    title, notation = _structure(name, chosen.static)
    parsed = Network.parse(
        notation,
        input_shape=chosen.input_shape,
        lif=chosen.lif,
        neunorm=NeuNorm(chosen.k_tau2, neunorm) if neunorm else None,
    )
    return title, parsed.scaled(width)


def _structure(name: str, static: bool) -> tuple[str, str]:
    known = {row.name.lower(): row for row in NETWORKS if row.static == static}
    row = known.get(name.strip().lower())
    if row is not None:
        return row.name, row.notation
    if "-" in name or "(" in name:
        return "custom", name
    kind = "static images" if static else "event data"
    names = ", ".join(row.name for row in known.values())
    raise UsageError(
        f"unknown network {name!r} for {kind}, choose from {names}, "
        'or give a notation such as "32C3(Encoding)-AP2-64C3-AP2-128FC-Voting"'
    )
