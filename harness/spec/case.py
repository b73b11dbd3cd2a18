"""What is measured: a case, one of three types, and the flat form that rows write it in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Self, TypeVar

from harness.spec import paper
from harness.spec.network import LIF, Network, NeuNorm, Reading, UsageError
from harness.spec.training import BIN_US, LOSS, SGD, Adam, Loss, Training, checked

SUITES = (
    *("acceleration", "timesteps", "scale", "neunorm", "accuracy", "ablations", "baselines"),
    "energy",
)
Precision = Literal["fp32", "fp64", "bf16"]
Initialisation = Literal["calibrated", "torch"]
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Window = Literal["first", "whole"]  # of a recording: its first T bins, or all of it
Effort = Literal["quick", "default", "paper"]  # how large another system is
# The "framework" of the network of the same structure without spikes (Table 5's baseline).
ANN = "ann"
# A cell's convolutions and products alone, which all ratios are to.
FLOOR = "floor"
# The contender whose time is the yardstick of speedups.
REFERENCE = "reference"
_SHA256 = re.compile("[0-9a-f]{64}")  # it names a file


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
    effort: Effort | None = None  # of another system; None: the network itself
    window: Window | None = None  # of recordings that another system is given
    bin_us: int | None = None  # of an event frame, where that is not the paper's 5 ms
    wants_simulated: bool | None = None  # trained on simulated events though there are recordings
    loss_function: Loss | None = None  # where it is not that of eq. (11)
    # Of the file of its initial weights, kept in OUT/weights; None: they are drawn. Where there is
    # one, `initialisation` says nothing.
    weights_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One contender on one network and data set. Each case is `Timed`, `Trained` or a `System`."""

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
    def of(cls, row: CaseFields) -> Self:
        """The case of a row. Raises UsageError where there can be no such case of this type."""
        case = _case(*_values(row))
        if not isinstance(case, cls):
            raise UsageError(f"a row of a case that is {type(case).__name__}, not {cls.__name__}")
        return case

    @property
    def fields(self) -> CaseFields:
        """The case as rows write it; `Case.of` reads it back."""
        framework, _, variant = self.framework.partition(":")
        network, optimiser = self.network, self.optimiser
        sgd = isinstance(optimiser, SGD)
        return CaseFields(
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
            optimiser="sgd" if sgd else "adam",
            optimiser_lr=optimiser.lr,
            optimiser_betas=None if sgd else optimiser.betas,
            optimiser_momentum=optimiser.momentum if sgd else None,
            optimiser_step_epochs=optimiser.step_epochs if sgd else None,
            optimiser_factor=optimiser.factor if sgd else None,
            weights_sha256=self.weights_sha256,
        )

    @property
    def cell(self) -> Self:
        """What cases share that differ in the framework and the precision; its own is float32."""
        return replace(self, framework="", precision="fp32")

    @property
    def pace(self) -> float:
        """How much work the case is, in multiply-accumulates of forward passes."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Timed(Case):
    """A case whose iterations are timed, or whose inferences are counted.

    Cases that differ in the framework and the precision alone are timed together, as a cell.
    """

    mode: Mode = "training"

    @property
    def fields(self) -> CaseFields:
        return replace(super().fields, mode=self.mode)

    @property
    def pace(self) -> float:
        return float(self.network.macs * self.T * self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Trained(Case):
    """A case that is trained and tested."""

    training: Training

    @property
    def fields(self) -> CaseFields:
        given = self.training
        return replace(
            super().fields,
            epochs=given.epochs,
            wanted_samples=given.samples,
            wanted_test_samples=given.test_samples,
            embedded=given.embedded,
            tested_at=given.tested_at,
            wants_confusion=given.confusion,
            bin_us=None if given.bin_us == BIN_US else given.bin_us,
            wants_simulated=given.simulated or None,
            loss_function=None if given.loss == LOSS else given.loss,
        )

    @property
    def pace(self) -> float:
        """Where it takes all samples, these are as many as the paper has."""
        training, settings = self.training, paper.SETTINGS[self.dataset]
        samples = training.samples or settings.train_samples
        return float(self.network.macs * self.T * training.epochs * samples)


@dataclass(frozen=True, kw_only=True)
class System(Trained):
    """Another system of Tables 3 to 6, `framework`, fitted to the data of a training.

    The network is the paper's that stands beside it in the table. It says nothing of the system,
    nor do its batch and its optimiser.
    """

    effort: Effort
    window: Window | None  # of recordings; None: it is given images

    @property
    def fields(self) -> CaseFields:
        return replace(super().fields, effort=self.effort, window=self.window)


C = TypeVar("C", bound=Case)


def cells(cases: Iterable[C]) -> dict[C, tuple[C, ...]]:
    """Cases that are timed together, by their cell; its precision is that of the first."""
    grouped: dict[C, list[C]] = {}
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
    shared: dict[str, Any] = {
        "suite": row.suite,
        "dataset": row.dataset,
        "scale": row.scale,
        "network": _network(row),
        "width": _width(row.width),
        "framework": contender(row.framework, row.variant),
        "T": row.T,
        "batch_size": row.batch_size,
        "precision": row.precision,
        "device": row.device,
        "seed": row.seed,
        "optimiser": _optimiser(row),
        "initialisation": row.initialisation,
        "weights_sha256": row.weights_sha256,
    }
    if row.epochs is None:
        if row.effort is not None:
            raise UsageError("the epochs of another system are missing")
        return Timed(mode=row.mode, **shared)
    training = Training(
        epochs=row.epochs,
        samples=row.wanted_samples,
        test_samples=row.wanted_test_samples,
        embedded=row.embedded,
        tested_at=row.tested_at,
        confusion=row.wants_confusion,
        bin_us=row.bin_us or BIN_US,
        simulated=bool(row.wants_simulated),
        loss=row.loss_function or LOSS,
    )
    if row.effort is None:
        return Trained(training=training, **shared)
    return System(training=training, effort=row.effort, window=row.window, **shared)


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
    """The optimiser; what older rows leave out is as it was then."""
    given = {
        "lr": row.optimiser_lr,
        "betas": row.optimiser_betas,
        "momentum": row.optimiser_momentum,
        "step_epochs": row.optimiser_step_epochs,
        "factor": row.optimiser_factor,
    }
    of: type[SGD | Adam] = Adam if row.optimiser == "adam" else SGD
    named = {k: v for k, v in given.items() if v is not None and k in of.__dataclass_fields__}
    return of(**named)
