"""What is measured: a case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any

from harness.spec import paper
from harness.spec.errors import UsageError
from harness.spec.fields import (
    Beside,
    CaseFields,
    Initialisation,
    Mode,
    Precision,
    network_of,
    optimiser_of,
    training_of,
    width_of,
    with_optimiser,
    with_training,
)
from harness.spec.network import Network
from harness.spec.training import SGD, Adam, Training, checked

SUITES = (
    *("acceleration", "timesteps", "scale", "neunorm", "accuracy", "ablations", "baselines"),
    "energy",
)
# The "framework" of the network of the same structure without spikes (Table 5's baseline).
ANN = "ann"
_SHA256 = re.compile("[0-9a-f]{64}")  # it names a file
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
class Case:
    """One framework on one network and data set: timed, or trained where `training` says how.

    Timed cases that differ in the framework and the precision alone are timed together, as a cell.
    Of another system, `framework` is its name; the network is the paper's that it stands beside,
    and says nothing of it, nor do its batch and its optimiser.
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
    optimiser: SGD | Adam
    initialisation: Initialisation = "calibrated"
    mode: Mode = "training"
    training: Training | None = None
    # how the system that `framework` is runs, where it is another one; a cell has none, and its
    # `repr` draws the order of its rounds
    beside: Beside | None = field(default=None, repr=False)
    # of the file of its initial weights, kept in OUT/weights; None: they are drawn
    weights_sha256: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.weights_sha256 is not None and not _SHA256.fullmatch(self.weights_sha256):
            raise UsageError("weights_sha256 is no hash of 64 hexadecimal digits")
        if self.suite not in SUITES:
            raise UsageError(f"unknown suite {self.suite!r}, choose from {', '.join(SUITES)}")
        paper.settings(self.dataset)  # raises UsageError for another
        checked("T", self.T)
        checked("batch_size", self.batch_size)
        checked("seed", self.seed, least=0)

    @classmethod
    def of(cls, row: CaseFields) -> Case:
        """The case that a row is of. Raises UsageError where there can be no such case."""
        return _case(*_values(row))

    @property
    def fields(self) -> CaseFields:
        """The case as rows write it; `Case.of` reads it back."""
        framework, _, variant = self.framework.partition(":")
        network, training = self.network, self.training
        flat = CaseFields(
            suite=self.suite,
            dataset=self.dataset,
            scale=self.scale,
            network=str(network),
            input_shape=network.input_shape,
            classes=network.classes,
            population=network.population,
            k_tau=network.lif.k_tau,
            v_th=network.lif.v_th,
            a=network.lif.a,
            neunorm=network.neunorm.reading if network.neunorm else None,
            k_tau2=network.neunorm.k_tau2 if network.neunorm else None,
            dropout=network.dropout,
            width=str(self.width),
            framework=framework,
            variant=variant or None,
            T=self.T,
            batch_size=self.batch_size,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
            initialisation=self.initialisation,
            mode=self.mode,
            optimiser="sgd" if isinstance(self.optimiser, SGD) else "adam",
            optimiser_lr=self.optimiser.lr,
            weights_sha256=self.weights_sha256,
        )
        if self.beside:
            flat = replace(flat, effort=self.beside.effort, window=self.beside.window)
        return with_training(with_optimiser(flat, self.optimiser), training)

    @property
    def cell(self) -> Case:
        """What the cases share that are timed together; the cell's own precision is float32."""
        return replace(self, framework="", precision="fp32")

    @property
    def pace(self) -> float:
        """How much work the case is, in multiply-accumulates of forward passes.

        Where it takes all samples, these are as many as the paper has.
        """
        training = self.training
        if training is None:
            return float(self.network.macs * self.T * self.batch_size)
        known = paper.SETTINGS.get(self.dataset, paper.SETTINGS["cifar10"])
        samples = training.samples or known.train_samples
        return float(self.network.macs * self.T * training.epochs * samples)

    @property
    def trained(self) -> Training:
        """How the case of a suite that trains is trained."""
        assert self.training is not None
        return self.training


def cells(cases: Iterable[Case]) -> dict[Case, tuple[Case, ...]]:
    """Cases that are timed together, by their cell; its precision is that of the first."""
    grouped: dict[Case, list[Case]] = {}
    for case in cases:
        grouped.setdefault(case.cell, []).append(case)
    return {
        replace(cell, precision=group[0].precision): tuple(group) for cell, group in grouped.items()
    }


def contender(framework: str, variant: str | None) -> str:
    """The name of a framework's form, "snntorch:subtract"."""
    return f"{framework}:{variant}" if variant else framework


_NAMES = tuple(CaseFields.__dataclass_fields__)


_values = attrgetter(*_NAMES)


@lru_cache(maxsize=4096)  # a folder has thousands of rows of a few cases
def _case(*values: Any) -> Case:
    row = CaseFields(**dict(zip(_NAMES, values, strict=True)))
    return Case(
        suite=row.suite,
        dataset=row.dataset,
        scale=row.scale,
        network=network_of(row),
        width=width_of(row.width),
        framework=contender(row.framework, row.variant),
        T=row.T,
        batch_size=row.batch_size,
        precision=row.precision,
        device=row.device,
        seed=row.seed,
        optimiser=optimiser_of(row),
        initialisation=row.initialisation,
        mode=row.mode,
        training=training_of(row),
        beside=Beside(row.effort, row.window) if row.effort else None,
        weights_sha256=row.weights_sha256,
    )
