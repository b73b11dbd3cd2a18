"""What is measured: a case, one of four kinds, each of a contender on a workload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Literal, TypeVar, get_args

from annotated_types import Interval, Predicate  # pydantic's, which takes a moment to import

from harness.spec import paper
from harness.spec.contender import ANN, Contender
from harness.spec.network import Network, expect
from harness.spec.paper import Optimiser

Initialisation = Literal["calibrated", "torch", "twice-v_th"]  # for twice the threshold
Mode = Literal["training", "inference"]  # what an iteration is: a step, or a forward pass
Window = Literal["first", "whole"]  # of a recording: its first T bins, or all of it
Effort = Literal["quick", "default", "paper"]  # how large a baseline is
# What rows may say; more is damage.
SuiteName = Annotated[str, Predicate(str.isalpha)]  # it names a file too
Size = Annotated[int, Interval(ge=1, le=10**9)]
Seed = Annotated[int, Interval(ge=0, le=10**9)]
# The squared error of the votes, eq. (11); cross-entropy of the spikes that they count, or of the
# votes themselves.
Loss = Literal["mse", "cross-entropy", "cross-entropy of votes"]
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
class NamedNetwork:
    """A network, its scale and width, and the hash of its initial weights."""

    scale: str  # the paper's name, or "custom"
    network: Network
    width: Fraction
    weights_sha256: str | None = None  # of the file of its initial weights; None: they are drawn

    def on(
        self, dataset: str, *, T: int, batch_size: int, seed: int, initialisation: Initialisation
    ) -> Workload:
        """Return the network as a workload."""
        return Workload(
            dataset=dataset, scale=self.scale, network=self.network, width=self.width, T=T,
            batch_size=batch_size, seed=seed, initialisation=initialisation,
            weights_sha256=self.weights_sha256,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network with its initial weights, on batches of a data set over T steps."""

    dataset: str
    scale: str  # the paper's name of the network, the size of a lone layer, or "custom"
    network: Network  # as it runs: `width` is applied
    width: Fraction
    T: Size
    batch_size: Size
    seed: Seed
    initialisation: Initialisation = "calibrated"
    # of the file of its initial weights, kept in OUT/weights; None: they are drawn
    weights_sha256: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        paper.settings(self.dataset)  # raises UsageError for another
        expect(0 < self.width <= 16, "width", self.width, "a fraction above 0 and up to 16")

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of the forward pass of one batch."""
        return float(self.network.macs * self.T * self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which samples of a data set are trained on and tested; None: all."""

    train: Size | None = None  # validation among them
    test: Size | None = None
    embedded: bool = False  # of the embedded digits, whatever data there are
    bin_us: Size = BIN_US  # of an event frame
    # Of simulated events; a network is tested on recordings too, of images it was not trained on.
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A contender whose iterations are timed."""

    kind: Literal["timing"] = "timing"
    suite: SuiteName
    workload: Workload
    contender: Contender
    device: str
    optimiser: Optimiser
    mode: Mode = "training"

    @property
    def cell(self) -> Timing:
        """The case without its contender: cases of equal cells are timed together."""
        return replace(self, contender=Contender(""))

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of an iteration's forward pass."""
        return self.workload.forward_macs


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network that is trained, with spikes or as an ANN, and tested."""

    kind: Literal["training"] = "training"
    suite: SuiteName
    workload: Workload
    contender: Contender
    device: str
    optimiser: Optimiser
    sampling: Sampling
    epochs: Size
    tested_at: tuple[Size, ...] = ()  # numbers of steps at which the trained network is tested too
    loss: Loss = LOSS
    # Epochs at each rate, a tenth of the one before (spec/schedule.py); (): by Table 7.
    stages: tuple[Size, ...] = ()
    # Of rows by an earlier rule: the rate fell when accuracy was flat. They are read, and not run.
    least_epochs: Size | None = None
    # What a deviation costs is the question: a contender that is not the paper's function trains.
    may_deviate: bool = False

    def __post_init__(self) -> None:
        for number, epochs in enumerate(self.stages, 1):
            expect(epochs > 0, f"stage {number}", epochs, "1 or more")
        whole = sum(self.stages) or self.epochs
        expect(self.epochs == whole, "epochs", self.epochs, f"{whole}, the sum of the stages")

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of all epochs' forward passes; of all samples, the paper's."""
        steps = 1 if self.contender.name == ANN else self.workload.T
        return _epochs_macs(self.workload, self.sampling, self.epochs, steps)


@dataclass(frozen=True, kw_only=True)
class Count:
    """A network whose operations in inference are counted."""

    kind: Literal["count"] = "count"
    suite: SuiteName
    workload: Workload
    contender: Contender
    device: str

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of one batch."""
        return self.workload.forward_macs


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A baseline of Tables 3 to 6, fitted to the data of a training and tested.

    Its workload's network and batch are those of the paper's network that it is compared with.
    """

    kind: Literal["fit"] = "fit"
    suite: SuiteName
    workload: Workload
    contender: Contender  # the baseline
    device: Literal["cpu"] = "cpu"
    sampling: Sampling
    epochs: Size
    tested_at: tuple[Size, ...] = ()  # numbers of steps at which it answers too
    effort: Effort
    window: Window | None = None  # of recordings; None: it is given images

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of a training with these samples, for the share of progress."""
        return _epochs_macs(self.workload, self.sampling, self.epochs, self.workload.T)


Case = Timing | Training | Count | Fit
C = TypeVar("C", bound=Case)


def _epochs_macs(workload: Workload, sampling: Sampling, epochs: int, steps: int) -> float:
    samples = sampling.train or paper.SETTINGS[workload.dataset].train_samples
    return float(workload.network.macs * steps * epochs * samples)


def cells(cases: Iterable[Timing]) -> dict[Timing, tuple[Timing, ...]]:
    """Group cases that are timed together; a key is a cell in the precision of its first case."""
    grouped: dict[Timing, list[Timing]] = {}
    for case in cases:
        grouped.setdefault(case.cell, []).append(case)
    return {
        replace(cell, contender=Contender("", precision=group[0].contender.precision)): (*group,)
        for cell, group in grouped.items()
    }


def network_name(named: Workload | NamedNetwork) -> str:
    """Return the name of a network that users see: the paper's, or its notation without one."""
    return str(named.network) if named.scale == CUSTOM else named.scale
