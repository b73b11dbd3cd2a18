"""What is measured: a case, one of three types, and the flat form that rows write it in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Self, TypeVar

from harness.spec import paper
from harness.spec.network import (
    LIF,
    Network,
    NeuNorm,
    Reading,
    UsageError,
    checked,
    expect,
    fraction,
)
from harness.spec.paper import SGD, Adam

SUITES = (
    *("acceleration", "timesteps", "scale", "neunorm", "accuracy", "ablations", "baselines"),
    "energy",
)
Precision = Literal["fp32", "fp64", "bf16"]
# "twice-v_th": calibrated for twice the threshold.
Initialisation = Literal["calibrated", "torch", "twice-v_th"]
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Window = Literal["first", "whole"]  # of a recording: its first T bins, or all of it
Effort = Literal["quick", "default", "paper"]  # how large another system is
# The squared error of the votes, eq. (11); cross-entropy of the spikes that they count, or of the
# votes themselves.
Loss = Literal["mse", "cross-entropy", "cross-entropy of votes"]
LOSS: Loss = "mse"  # the paper's
BIN_US = 5000  # the paper accumulates events every 5 ms
# Spikes a neuron and step: a layer below it passes on too little to learn from.
DEAD_RATE = 1e-3
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


@dataclass(frozen=True)
class Training:
    """How a case is trained and tested, beside its optimiser."""

    epochs: int
    samples: int | None = None  # of the training set, validation among them; None: all
    test_samples: int | None = None
    embedded: bool = False  # on the embedded digits, whatever data there are
    tested_at: tuple[int, ...] = ()  # numbers of steps at which the trained network is tested too
    confusion: bool = False  # whether Fig. 6's matrix is wanted
    bin_us: int = BIN_US  # of an event frame
    # On simulated events whatever recordings there are; what is trained is tested on those too,
    # none of which is of an image that it was trained on.
    simulated: bool = False
    loss: Loss = LOSS
    # The first rate stays for so many epochs at least, until held-out accuracy has stopped rising
    # (spec/schedule.py); `epochs` are the most. None: it falls as Table 7 has it.
    least_epochs: int | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("epochs", "bin_us", "least_epochs")}
        given |= {"samples": self.samples, "test samples": self.test_samples}
        given |= {f"tested T {n}": steps for n, steps in enumerate(self.tested_at, 1)}
        for name, value in given.items():
            if value is not None:
                checked(name, value)


# How a row calls the fields of a training, and those that it leaves out where they are as usual.
_IN_ROWS = {
    "samples": "wanted_samples",
    "test_samples": "wanted_test_samples",
    "confusion": "wants_confusion",
    "simulated": "wants_simulated",
    "loss": "loss_function",
}
_UNUSUAL = ("bin_us", "simulated", "loss", "least_epochs")


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
    optimiser_fc_factor: float | None = None
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
    least_epochs: int | None = None  # at the first rate, where that falls when accuracy is flat
    # Of the file of its initial weights, kept in OUT/weights; None: they are drawn. Where there is
    # one, `initialisation` says nothing.
    weights_sha256: str | None = None


# Fields of a case that a row has under the same name, as they are; the network's too.
_SAME = (
    *("suite", "dataset", "scale", "T", "batch_size", "precision", "device", "seed"),
    *("initialisation", "weights_sha256"),
)
_OF_NETWORK = ("input_shape", "classes", "population", "dropout")


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
        sha256, suites = self.weights_sha256, ", ".join(SUITES)
        holds = sha256 is None or bool(_SHA256.fullmatch(sha256))
        expect(holds, "weights_sha256", sha256, "a hash of 64 hexadecimal digits")
        if self.suite not in SUITES:
            raise UsageError(f"unknown suite {self.suite!r}, choose from {suites}")
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
        network, norm = self.network, self.network.neunorm
        same: dict[str, Any] = {name: getattr(self, name) for name in _SAME}
        same |= {name: getattr(network, name) for name in _OF_NETWORK}
        same |= {f"optimiser_{name}": value for name, value in vars(self.optimiser).items()}
        return CaseFields(
            **same,
            **vars(network.lif),
            network=str(network),
            neunorm=norm.reading if norm else None,
            k_tau2=norm.k_tau2 if norm else None,
            width=str(self.width),
            framework=framework,
            variant=variant or None,
            optimiser="sgd" if isinstance(self.optimiser, SGD) else "adam",
        )

    @property
    def cell(self) -> Self:
        """What cases share that differ in the framework and the precision; its own is float32."""
        return replace(self, framework="", precision="fp32")

    @property
    def pace(self) -> float:
        """How much work the case is, in multiply-accumulates of forward passes."""
        return float(self.network.macs * self.T * self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Timed(Case):
    """A case whose iterations are timed, or whose inferences are counted.

    Cases that differ in the framework and the precision alone are timed together, as a cell.
    """

    mode: Mode = "training"

    @property
    def fields(self) -> CaseFields:
        return replace(super().fields, mode=self.mode)


@dataclass(frozen=True, kw_only=True)
class Trained(Case):
    """A case that is trained and tested."""

    training: Training

    @property
    def fields(self) -> CaseFields:
        said = {
            _IN_ROWS.get(name, name): value
            for name, value in vars(self.training).items()
            if name not in _UNUSUAL or value != getattr(Training, name)
        }
        return replace(super().fields, **said)

    @property
    def pace(self) -> float:
        """Where it takes all samples, these are as many as the paper has. A training that ends when
        accuracy is flat is taken to end half way between the fewest epochs and the most.
        """
        training, settings = self.training, paper.SETTINGS[self.dataset]
        samples = training.samples or settings.train_samples
        epochs = (training.epochs + (training.least_epochs or training.epochs)) / 2
        return float(self.network.macs * self.T * epochs * samples)


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
    shared: dict[str, Any] = {name: getattr(row, name) for name in _SAME}
    shared |= {"network": _network(row), "width": fraction(row.width)}
    shared |= {"framework": contender(row.framework, row.variant)}
    # what older rows leave out of the optimiser is as it was then
    of: type[SGD | Adam] = Adam if row.optimiser == "adam" else SGD
    named = {name: f"optimiser_{name}" for name in of.__dataclass_fields__}
    shared["optimiser"] = of(**_said(row, named))
    if row.epochs is None:
        if row.effort is not None:
            raise UsageError("the epochs of another system are missing")
        return Timed(mode=row.mode, **shared)
    named = {name: _IN_ROWS.get(name, name) for name in Training.__dataclass_fields__}
    shared["training"] = Training(**_said(row, named))
    if row.effort is None:
        return Trained(**shared)
    return System(effort=row.effort, window=row.window, **shared)


def _said(row: CaseFields, names: dict[str, str]) -> dict[str, Any]:
    """What a row says, by the names that it goes by elsewhere."""
    found = {name: getattr(row, each) for name, each in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _network(row: CaseFields) -> Network:
    if row.neunorm is not None and row.k_tau2 is None:
        raise UsageError("NeuNorm is on and its k_tau2 is missing")
    parsed = Network.parse(
        row.network,
        input_shape=row.input_shape,
        lif=LIF(row.k_tau, row.v_th, row.a),
        neunorm=NeuNorm(row.k_tau2, row.neunorm)
        if row.neunorm and row.k_tau2 is not None
        else None,
        classes=row.classes,
        population=row.population,
    )
    return replace(parsed, dropout=row.dropout)
