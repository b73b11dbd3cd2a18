"""What is measured: a case, and a case as the fields of a row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, assert_never

from harness.spec import paper
from harness.spec.errors import UsageError
from harness.spec.network import LIF, Network, NeuNorm, Reading
from harness.spec.training import SGD, Adam, Training, checked

Precision = Literal["fp32", "fp64", "bf16"]
Initialisation = Literal["calibrated", "torch"]
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Allocator = Literal["keep", "system"]  # whether the process keeps the memory it has freed

SUITES = ("acceleration", "timesteps", "scale", "neunorm", "accuracy")
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


@dataclass(frozen=True, kw_only=True)
class CaseFields:
    """A case as rows write it: flat, one field for each thing that can differ."""

    suite: str
    dataset: str
    scale: str
    network: str  # in the paper's notation, as it ran
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: int
    population: int  # voting neurons per class
    k_tau: float
    v_th: float
    a: float
    neunorm: Reading | None = None  # the reading, where NeuNorm is on
    k_tau2: float | None = None
    dropout: float = 0.0
    width: str  # of the paper's network: "1", "1/8"
    framework: str
    variant: str | None = None
    T: int
    batch_size: int
    precision: Precision
    device: str
    seed: int
    initialisation: Initialisation
    mode: Mode = "training"
    optimiser: Literal["sgd", "adam"]
    optimiser_lr: float
    optimiser_betas: tuple[float, float] | None = None
    optimiser_momentum: float | None = None
    optimiser_step_epochs: int | None = None
    optimiser_factor: float | None = None
    epochs: int | None = None  # that it trains; None: it is timed
    wanted_samples: int | None = None
    wanted_test_samples: int | None = None
    embedded: bool = False
    tested_at: tuple[int, ...] = ()
    wants_confusion: bool = False


@dataclass(frozen=True)
class Case:
    """One framework on one network and data set: timed, or trained where `training` says how.

    Timed cases that differ in the framework and the precision alone are timed together, as a cell.
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

    def __post_init__(self) -> None:
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
        )
        return _with_training(_with_optimiser(flat, self.optimiser), training)

    @property
    def cell(self) -> Case:
        """What the cases share that are timed together; the cell's own precision is float32."""
        return replace(self, framework="", precision="fp32")

    @property
    def pace(self) -> float:
        """How much work the case's training is, in multiply-accumulates of forward passes.

        A data set that is not known yet counts as a large one.
        """
        training = self.trained
        return float(self.network.macs * self.T * training.epochs * (training.samples or 50_000))

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


def _with_optimiser(flat: CaseFields, optimiser: SGD | Adam) -> CaseFields:
    match optimiser:
        case SGD():
            return replace(
                flat,
                optimiser_momentum=optimiser.momentum,
                optimiser_step_epochs=optimiser.step_epochs,
                optimiser_factor=optimiser.factor,
            )
        case Adam():
            return replace(flat, optimiser_betas=optimiser.betas)
        case _:
            assert_never(optimiser)


def _with_training(flat: CaseFields, training: Training | None) -> CaseFields:
    if training is None:
        return flat
    return replace(
        flat,
        epochs=training.epochs,
        wanted_samples=training.samples,
        wanted_test_samples=training.test_samples,
        embedded=training.embedded,
        tested_at=training.tested_at,
        wants_confusion=training.confusion,
    )


_NAMES = tuple(CaseFields.__dataclass_fields__)


_values = attrgetter(*_NAMES)


@lru_cache(maxsize=4096)  # a folder has thousands of rows of a few cases
def _case(*values: object) -> Case:
    named: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    row = CaseFields(**named)
    return Case(
        suite=row.suite,
        dataset=row.dataset,
        scale=row.scale,
        network=_network(row),
        width=_width(row.width),
        framework=contender(row.framework, row.variant),
        T=row.T,
        batch_size=row.batch_size,
        precision=row.precision,
        device=row.device,
        seed=row.seed,
        optimiser=_optimiser(row),
        initialisation=row.initialisation,
        mode=row.mode,
        training=_training(row),
    )


def _network(row: CaseFields) -> Network:
    neunorm = None
    if row.neunorm is not None:
        if row.k_tau2 is None:
            raise UsageError("NeuNorm is on and its k_tau2 is missing")
        neunorm = NeuNorm(row.k_tau2, row.neunorm)
    parsed = Network.parse(
        row.network,
        input_shape=row.input_shape,
        lif=LIF(row.k_tau, row.v_th, row.a),
        neunorm=neunorm,
        classes=row.classes,
        population=row.population,
    )
    return replace(parsed, dropout=row.dropout)


def _width(text: str) -> Fraction:
    value = Fraction(0)
    if re.fullmatch(r"[0-9]{1,20}([./][0-9]{1,20})?", text):  # no exponent: 1e9999999 takes hours
        with suppress(ZeroDivisionError):
            value = Fraction(text)
    if value <= 0:
        raise UsageError(f"width {text[:30]!r}, expected a fraction above 0 such as 1/8")
    return value


def _optimiser(row: CaseFields) -> SGD | Adam:
    if row.optimiser == "adam":
        return Adam(row.optimiser_lr, row.optimiser_betas or Adam().betas)
    usual, steps = SGD(), row.optimiser_step_epochs
    return SGD(
        lr=row.optimiser_lr,
        momentum=usual.momentum if row.optimiser_momentum is None else row.optimiser_momentum,
        step_epochs=usual.step_epochs if steps is None else steps,
        factor=usual.factor if row.optimiser_factor is None else row.optimiser_factor,
    )


def _training(row: CaseFields) -> Training | None:
    if row.epochs is None:
        return None
    return Training(
        epochs=row.epochs,
        samples=row.wanted_samples,
        test_samples=row.wanted_test_samples,
        embedded=row.embedded,
        tested_at=row.tested_at,
        confusion=row.wants_confusion,
    )
