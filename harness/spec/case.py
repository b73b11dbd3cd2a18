"""What is measured: cases, how they are trained, the data they are of, what a command selects."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from harness.spec.network import Network, Reading

Precision = Literal["fp32", "fp64", "bf16"]
Initialisation = Literal["calibrated", "torch"]
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Allocator = Literal["keep", "system"]  # whether the process keeps the memory it has freed

# The "framework" of the network of the same structure without spikes (Table 5's baseline).
ANN = "ann"
# A cell's convolutions and products alone, which all ratios are to.
FLOOR = "floor"
# The contender whose time is the yardstick of speedups.
REFERENCE = "reference"


@dataclass(frozen=True)
class Source:
    """Where a batch came from: what a record must say of its data."""

    name: str  # the data set that was asked for
    description: str  # what was read, in words: "N-MNIST recordings"
    samples: int  # found, of which the batch was taken
    sha256: str  # of the batch itself: inputs, then labels
    partial: bool = False  # fewer samples than the whole data set
    lossy: bool = False  # not the original pixels or events
    simulated: bool = False  # no recording: events computed from images
    substitute: bool = False  # another data set stands in for the one asked for
    note: str = ""  # why it is not the real one, and how to get that


@dataclass(frozen=True)
class Training:
    """How a case is trained and tested, beside the settings of Table 7."""

    epochs: int
    samples: int | None = None  # of the training set, validation among them; None: all
    test_samples: int | None = None
    embedded: bool = False  # on the embedded digits, whatever data there are
    tested_at: tuple[int, ...] = ()  # numbers of steps at which the trained network is tested too
    confusion: bool = False  # whether Fig. 6's matrix is wanted


@dataclass(frozen=True)
class Case:
    """One framework on one network and data set: timed, or trained where `training` says how.

    Timed cases that differ in the framework and the precision alone are timed together.
    """

    suite: str
    dataset: str
    scale: str  # the paper's name of the network, or "custom"
    network: Network  # as it runs: `width` is applied
    width: Fraction
    framework: str  # an adapter's name, "snntorch" or "snntorch:subtract"
    T: int
    batch_size: int
    precision: Precision
    device: str
    seed: int
    initialisation: Initialisation = "calibrated"
    mode: Mode = "training"
    training: Training | None = None


@dataclass(frozen=True)
class Selection:
    """What the command line selects of a suite; None leaves it to the suite."""

    frameworks: tuple[str, ...]
    datasets: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None  # names or notations
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
    paper: bool = False
    mode: Mode = "training"
    tuned: bool = False  # each framework in the forms that a skilled user switches on as well
