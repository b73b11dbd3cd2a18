"""The networks of Tables 1 and 2 and the settings of Table 7, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval  # pydantic's, which itself takes a moment to import

from harness.spec.network import LIF, Network, NeuNorm, Reading, UsageError, Voting

Rate = Annotated[float, Interval(gt=0)]


@dataclass(frozen=True)
class SGD:
    """SGD whose rate is multiplied by `factor` every `step_epochs` epochs (appendix B)."""

    lr: Rate = 0.1
    momentum: float = 0.9
    step_epochs: int = 40
    factor: Rate = 0.1
    # of the rate, for fully connected layers, voting too; None: the same, as the paper has it
    fc_factor: Rate | None = None
    kind: Literal["sgd"] = field(default="sgd", repr=False)


@dataclass(frozen=True)
class Adam:
    """Adam. The paper prints its betas and not its rate; 1e-3 is Adam's own default.

    On DVS-CIFAR10 (threshold 0.05, surrogate 0.1 wide) a tenth of that is used: 1e-3 moves every
    potential out of the surrogate's window within an epoch, which leaves no gradient.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    kind: Literal["adam"] = field(default="adam", repr=False)


# Told apart by `kind` where rows are read; a marker of pydantic's, which takes a moment to import.
Optimiser = SGD | Adam


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
        """Return the number of batches with every training sample once; the last may be smaller."""
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


class Structure(NamedTuple):
    """A network of Table 1 or 2, in the paper's notation."""

    table: int
    name: str
    static: bool  # for static images ("non-spiking" in the paper), else for event data
    notation: str


_CIFARNET = "128C3(Encoding)-256C3-AP2-512C3-AP2-1024C3-512C3-1024FC-512FC-Voting"
_ALEXNET = "96C3(Encoding)-256C3-AP2-384C3-AP2-384C3-256C3-1024FC-1024FC-Voting"
NETWORKS: tuple[Structure, ...] = (
    Structure(1, "Small", False, "128C3(Encoding)-AP2-128C3-AP2-512FC-Voting"),
    # printed "256" between the pools, read as 256C3
    Structure(1, "Middle", False, "128C3(Encoding)-128C3-AP2-256C3-AP2-1024FC-Voting"),
    Structure(1, "Large", False, "128C3(Encoding)-128C3-AP2-384C3-384C3-AP2-1024FC-512FC-Voting"),
    Structure(1, "Small", True, "128C3(Encoding)-AP2-256C3-AP2-256FC-Voting"),
    Structure(1, "Middle", True, "128C3(Encoding)-AP2-256C3-512C3-AP2-512FC-Voting"),
    Structure(1, "Large", True, _CIFARNET),
    Structure(2, "OurModel", False, "128C3(Encoding)-128C3-AP2-128C3-256C3-AP2-1024FC-Voting"),
    Structure(2, "AlexNet", True, _ALEXNET),
    Structure(2, "CIFARNet", True, _CIFARNET),
)

SCALES = ("Small", "Middle", "Large")

# CIFAR-10's and DVS-CIFAR10's, in the order of their labels, the alphabet's.
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def paper_order(dataset: str, scale: str) -> tuple[int, int, int]:
    """Return a sort key: data set, then scale, in the paper's order; then layers, by size."""
    places = ((dataset, tuple(SETTINGS)), (scale, SCALES))
    first, second = (names.index(name) if name in names else len(names) for name, names in places)
    return first, second, spike_trains(dataset) or 0


# Not the paper's: what other comparisons of frameworks time, a fully connected layer on random
# spike trains, as many as it has neurons. Its neurons vote for so many classes.
_SPIKES = re.compile(r"spikes-([1-9][0-9]{0,4})")
LAYER_CLASSES = 16


def spike_trains(dataset: str) -> int | None:
    """Return how many random spike trains a data set has: of "spikes-256" 256, of others None."""
    match = _SPIKES.fullmatch(dataset)
    return int(match[1]) if match else None


def layer(neurons: int) -> tuple[str, Network]:
    """Return one fully connected layer of so many neurons, which vote, after its data set's name.

    It has as many inputs as neurons.
    """
    dataset, population = f"spikes-{neurons}", neurons // LAYER_CLASSES
    shape, lif, classes = settings(dataset).input_shape, settings(dataset).lif, LAYER_CLASSES
    return dataset, Network((Voting(),), shape, lif, classes=classes, population=population)


def settings(dataset: str) -> Settings:
    """Return Table 7's column for `dataset`; of random spike trains CIFAR-10's.

    Raises UsageError where there is none.
    """
    if (trains := spike_trains(dataset)) is not None:
        shape = trains, 1, 1
        usual = SETTINGS["cifar10"]
        return replace(
            usual, title="random spikes", input_shape=shape, static=False, train_samples=0
        )
    if dataset not in SETTINGS:
        raise UsageError(f"unknown data set {dataset!r}, choose from {', '.join(SETTINGS)}")
    return SETTINGS[dataset]


def network(
    name: str, dataset: str, *, neunorm: Reading | None = None, width: Fraction = Fraction(1)
) -> tuple[str, Network]:
    """Return the scale and the network that a paper's name or a notation means for `dataset`.

    A notation's scale is "custom". Raises UsageError for a name that the paper does not have for
    this kind of data, NotationError for a wrong notation.
    """
    chosen = settings(dataset)
    rows = {row.name.lower(): row for row in NETWORKS if row.static == chosen.static}
    row = rows.get(name.strip().lower())
    if row is None and "-" not in name and "(" not in name:
        kind = "static images" if chosen.static else "event data"
        names = ", ".join(row.name for row in rows.values())
        raise UsageError(
            f"unknown network {name!r} for {kind}, choose from {names}, "
            'or give a notation such as "32C3(Encoding)-AP2-64C3-AP2-128FC-Voting"'
        )
    parsed = Network.parse(
        row.notation if row else name,
        input_shape=chosen.input_shape,
        lif=chosen.lif,
        neunorm=NeuNorm(chosen.k_tau2, neunorm) if neunorm else None,
    )
    return row.name if row else "custom", parsed.scaled(width)
