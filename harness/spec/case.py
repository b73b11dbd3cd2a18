"""What is measured: a case, one of three types, and the flat form that rows write it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from annotated_types import Interval  # pydantic's, which itself takes a moment to import

from harness.spec import paper
from harness.spec.network import Network, NeuNorm, Reading, UsageError, expect, parse_fraction
from harness.spec.paper import LIF, SGD, Adam

ACCELERATION = "acceleration"  # the suite whose cases are timed; the others train, fit or count
SUITES = (ACCELERATION, "timesteps", "scale", "neunorm", "accuracy", "ablations", "baselines")
SUITES += ("energy",)
Precision = Literal["fp32", "fp64", "bf16"]
Initialisation = Literal["calibrated", "torch", "twice-v_th"]  # for twice the threshold
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Window = Literal["first", "whole"]  # of a recording: its first T bins, or all of it
Effort = Literal["quick", "default", "paper"]  # how large another system is
# What rows may say; more is damage.
Size = Annotated[int, Interval(ge=1, le=10**9)]
Seed = Annotated[int, Interval(ge=0, le=10**9)]
Rate = Annotated[float, Interval(gt=0)]
# The squared error of the votes, eq. (11); cross-entropy of the spikes that they count, or of the
# votes themselves.
Loss = Literal["mse", "cross-entropy", "cross-entropy of votes"]
# Forms that a skilled user switches on without changing the function, named as variants are:
# `snntorch:compiled`. bf16 autocast is no form but a precision.
Form = Literal["channels-last", "compiled"]
FORMS: tuple[Form, ...] = get_args(Form)
# Whose code computes a contender's neuron, as its adapter declares it (adapters/README.md).
NeuronSource = Literal[
    "the framework's own class", "our function in the framework's cell", "ours"
]  # fmt: skip
NEURON_SOURCES: tuple[NeuronSource, ...] = get_args(NeuronSource)
OWN_CLASS: NeuronSource = "the framework's own class"
NOT_DECLARED = "not declared"  # as tables show it where an adapter declares nothing
LOSS: Loss = "mse"  # the paper's
CUSTOM = "custom"  # the `scale` of a network that is none of the paper's
BIN_US = 5000  # the paper accumulates events every 5 ms
DEAD_RATE = 1e-3  # spikes a neuron and step: a layer below it passes on too little to learn from
ANN = "ann"  # the "framework" of the network of the same structure without spikes (Table 5)
FLOOR = "floor"  # a cell's convolutions and products alone, which all ratios are to
REFERENCE = "reference"  # the contender whose time is the yardstick of speedups


@dataclass(frozen=True)
class Source:
    """Where a batch or split came from: what a record must say of its data."""

    description: str  # what was read, in words: "N-MNIST recordings"
    samples: int  # of a batch: found, of which it was taken; of a split: in it
    sha256: str  # of the batch or split itself: samples, then labels
    partial: bool = False  # fewer samples than the whole data set
    lossy: bool = False  # not the original pixels or events
    simulated: bool = False  # no recording: events computed from images
    substitute: bool = False  # another data set stands in for the one asked for
    note: str = ""  # why it is not the real one, and how to get that


@dataclass(frozen=True)
class Training:
    """How a case is trained and tested, except for its optimiser."""

    epochs: int
    samples: int | None = None  # of the training set, validation among them; None: all
    test_samples: int | None = None
    embedded: bool = False  # on the embedded digits, whatever data there are
    tested_at: tuple[int, ...] = ()  # numbers of steps at which the trained network is tested too
    bin_us: int = BIN_US  # of an event frame
    # On simulated events; it is tested on recordings too, of images that it was not trained on.
    simulated: bool = False
    loss: Loss = LOSS
    # Epochs at each rate, a tenth of the one before (spec/schedule.py); (): by Table 7.
    stages: tuple[int, ...] = ()
    # Of rows by an earlier rule: the rate fell when accuracy was flat. They are read, and not run.
    least_epochs: int | None = None

    def __post_init__(self) -> None:
        for n, each in enumerate(self.stages, 1):
            expect(each > 0, f"stage {n}", each, "1 or more")
        whole = sum(self.stages) or self.epochs
        expect(self.epochs == whole, "epochs", self.epochs, f"{whole}, the sum of the stages")


# How a row calls the fields of a training, and those that it leaves out where they are as usual.
_IN_ROWS = {name: name for name in Training.__dataclass_fields__} | {
    **{"samples": "wanted_samples", "test_samples": "wanted_test_samples"},
    **{"simulated": "wants_simulated", "loss": "loss_function"},
}
_UNUSUAL = ("bin_us", "simulated", "loss", "stages", "least_epochs")


@dataclass(frozen=True)
class NamedNetwork:
    """A network, its scale and width, and the hash of its initial weights: fields of a `Case`."""

    scale: str  # the paper's name, or "custom"
    network: Network
    width: Fraction
    weights_sha256: str | None = None  # of the file of its initial weights; None: they are drawn


@dataclass(frozen=True, kw_only=True)
class CaseFields:
    """A case as rows write it: flat, one field for each thing that can differ."""

    suite: str
    dataset: str
    scale: str
    network: str  # in the paper's notation, as it ran
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: Size
    population: Size  # voting neurons per class
    k_tau: float
    v_th: float
    a: float
    neunorm: Reading | None = None  # the reading, where NeuNorm is on
    k_tau2: float | None = None
    neunorm_u: float | None = None  # U's first value; None: uniform within 1 / sqrt(H W)
    dropout: float = 0.0
    width: str  # of the paper's network: "1", "1/8"
    framework: str
    variant: str | None = None
    T: Size
    batch_size: Size
    precision: Precision
    device: str
    seed: Seed
    initialisation: Initialisation
    mode: Mode = "training"
    optimiser: Literal["sgd", "adam"]
    optimiser_lr: Rate
    optimiser_betas: tuple[float, float] | None = None
    optimiser_momentum: float | None = None
    optimiser_step_epochs: Size | None = None
    optimiser_factor: Rate | None = None
    optimiser_fc_factor: Rate | None = None
    epochs: Size | None = None  # that it trains; None: it is timed
    wanted_samples: Size | None = None
    wanted_test_samples: Size | None = None
    embedded: bool = False
    tested_at: tuple[Size, ...] = ()
    effort: Effort | None = None  # of another system; None: the network itself
    window: Window | None = None  # of recordings that another system is given
    bin_us: Size | None = None  # of an event frame, where that is not the paper's 5 ms
    wants_simulated: bool | None = None  # trained on simulated events though there are recordings
    loss_function: Loss | None = None  # where it is not eq. (11)
    stages: tuple[Size, ...] | None = None  # epochs at each rate, where they are not Table 7's
    least_epochs: Size | None = None  # at the first rate, of an earlier rule
    weights_sha256: str | None = None  # where there is one, `initialisation` has no effect


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
        if self.suite not in SUITES:
            raise UsageError(f"unknown suite {self.suite!r}, choose from {', '.join(SUITES)}")
        paper.settings(self.dataset)  # raises UsageError for another

    @classmethod
    def of(cls, row: CaseFields) -> Self:
        """Return the case of a row. Raises UsageError if it is invalid or of another type."""
        case = _case(*_values(row))
        if not isinstance(case, cls):
            raise UsageError(f"a row of a case that is {type(case).__name__}, not {cls.__name__}")
        return case

    @property
    def fields(self) -> CaseFields:
        """The case as rows write it; `Case.of` reads it back."""
        network, norm = self.network, self.network.neunorm
        framework, _, variant = self.framework.partition(":")
        flat = vars(self) | {name: getattr(network, name) for name in _OF_NETWORK}
        flat |= {"network": str(network), "width": str(self.width), **vars(network.lif)}
        flat |= {"framework": framework, "variant": variant or None}
        flat |= {"optimiser": "sgd" if isinstance(self.optimiser, SGD) else "adam"}
        flat |= {f"optimiser_{name}": value for name, value in vars(self.optimiser).items()}
        if norm:
            flat |= {"neunorm": norm.reading, "k_tau2": norm.k_tau2, "neunorm_u": norm.u}
        training = flat.pop("training", None)
        for name, value in vars(training).items() if training else ():
            if name not in _UNUSUAL or value != getattr(Training, name):
                flat[_IN_ROWS[name]] = value
        return CaseFields(**flat)

    @property
    def cell(self) -> Self:
        """The case without its framework, in float32: cases of equal `cell` are timed together."""
        return replace(self, framework="", precision="fp32")

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of the forward pass of one batch, a measure of its work."""
        return float(self.network.macs * self.T * self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Timed(Case):
    """A case whose iterations are timed, or whose operations in inference are counted."""

    mode: Mode = "training"


@dataclass(frozen=True, kw_only=True)
class Trained(Case):
    """A case that is trained and tested."""

    training: Training

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of all epochs' forward passes; `samples` of None are the paper's."""
        training, settings = self.training, paper.SETTINGS[self.dataset]
        samples = training.samples or settings.train_samples
        steps = 1 if self.framework == ANN else self.T
        return float(self.network.macs * steps * training.epochs * samples)


@dataclass(frozen=True, kw_only=True)
class System(Trained):
    """A baseline of Tables 3 to 6, named by `framework`, fitted to the data of a training.

    `network`, `batch_size` and `optimiser` are those of the paper's network that it is compared
    with, and do not describe the baseline.
    """

    effort: Effort
    window: Window | None  # of recordings; None: it is given images


C = TypeVar("C", bound=Case)


def cells(cases: Iterable[C]) -> dict[C, tuple[C, ...]]:
    """Group cases that are timed together; a key is a cell in the precision of its first case."""
    grouped: dict[C, list[C]] = {}
    for case in cases:
        grouped.setdefault(case.cell, []).append(case)
    return {replace(of, precision=g[0].precision): tuple(g) for of, g in grouped.items()}


def contender(framework: str, variant: str | None) -> str:
    """Return a contender's name: "snntorch", or "snntorch:subtract" with a variant."""
    return f"{framework}:{variant}" if variant else framework


def network_name(of: Case | CaseFields | NamedNetwork) -> str:
    """Return the name of a network that users see: the paper's, or its notation without one."""
    return str(of.network) if of.scale == CUSTOM else of.scale


_values = attrgetter(*CaseFields.__dataclass_fields__)
_OF_NETWORK = ("input_shape", "classes", "population", "dropout")


@lru_cache(maxsize=4096)  # a folder has thousands of rows of a few cases
def _case(*values: Any) -> Case:
    row = CaseFields(**dict(zip(CaseFields.__dataclass_fields__, values, strict=True)))
    if row.effort and row.epochs is None:
        raise UsageError("the epochs of another system are missing")
    if row.neunorm and row.k_tau2 is None:
        raise UsageError("NeuNorm is on and its k_tau2 is missing")
    of, parts = Timed, dict[str, Any](vars(row))
    if row.epochs is not None:
        of = System if row.effort else Trained
        parts["training"] = _read(Training, row, _IN_ROWS.__getitem__)
    norm = NeuNorm(row.k_tau2 or 0.0, row.neunorm, row.neunorm_u) if row.neunorm else None
    neurons = {"lif": LIF(row.k_tau, row.v_th, row.a), "neunorm": norm}
    network = {name: parts[name] for name in _OF_NETWORK}
    parts["network"] = Network.parse(row.network, **neurons, **network)
    parts |= {
        "width": parse_fraction(row.width),
        "framework": contender(row.framework, row.variant),
    }
    optimiser = Adam if row.optimiser == "adam" else SGD
    parts["optimiser"] = _read(optimiser, row, "optimiser_{}".format)
    return of(**{name: parts[name] for name in of.__dataclass_fields__})


def _read(of: type[Any], row: CaseFields, name: Callable[[str], str]) -> Any:
    """Return a part of a case; what a row leaves out is as it is by default, or was once."""
    found = {each: getattr(row, name(each)) for each in of.__dataclass_fields__}
    return of(**{each: value for each, value in found.items() if value is not None})
