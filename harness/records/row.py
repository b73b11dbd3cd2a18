"""Rows: one for each measurement, with its run, case, contender, data and result.

The result is one of the classes below, told apart by `kind`. Units are in the names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, NamedTuple, TypeGuard, get_args

from pydantic import Field
from typing_extensions import TypeVar

from harness.machine.installed import Machine, Moment
from harness.records.identity import Installation, settings_of
from harness.spec import Case, Contender, Precision, Source, Timing, Training, Workload

SCHEMA = 4

# JSON has no NaN, and no counter reaches what floats cannot tell apart.
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Natural = Annotated[int, Field(ge=0, le=2**53)]
Nth = Annotated[int, Field(ge=1, le=2**53)]
Outcome = Literal[
    "failed",  # it was tried and did not hold, or ended with an error
    "not comparable",  # it is not the reference's function, and claims to be
    "unsupported",  # the framework cannot express this network
    "missing",  # the framework is not installed
]
# What is audited.
When = Literal[
    "before",  # the first iteration
    "round",  # the iteration of a round that was drawn once it was over
    "late",  # the first of a process started anew: another batch, weights three times as large
    "after",  # the last one of a training
]


class Place(NamedTuple):
    """A machine, as finely as timings' keys distinguish it; unknown fields are empty or None.

    Its `str` names the first four, so unlike machines may share it.
    """

    cpu: str
    capability: str
    gpu: str
    threads: int
    cores: int | None
    os: str | None
    torch: str | None
    variables: tuple[str, ...]

    @classmethod
    def of_machine(cls, machine: Machine) -> Place:
        """Return the place of a machine."""
        shared = (
            machine.cpu or "",
            machine.capability or "",
            machine.gpu or "",
            machine.threads or 0,
        )
        finer = machine.cores, machine.os, machine.torch, tuple(settings_of(machine))
        return cls(*shared, *finer)

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return ", ".join(filter(None, (self.cpu, self.capability, self.gpu, threads)))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command, or one process of it, whose rows share the machine."""

    id: str
    machine: Machine = Machine()
    code: str | None = None  # a hash of our sources: to look it up, never compared
    allocator: str | None = None  # whether freed memory stays with the process
    protocol: Natural | None = None  # of its timings (identity.py)


@dataclass(frozen=True, kw_only=True)
class Build:
    """How the object that computes was built in its process; None where unknown."""

    layout: str | None = None  # of its convolutions' weights; of the floor, layer by layer
    computed: str | None = None  # how its layers were, where an adapter chooses
    threads: Nth | None = None  # that torch has there


@dataclass(frozen=True, kw_only=True)
class Data:
    """The samples of a row; None where unknown (yet)."""

    source: Source | None = None  # of the batch, or of what it trains on
    test: Source | None = None  # of what accuracies are of
    augmented: bool | None = None  # random crop and flip
    split_sha256: str | None = None  # of the names in a split of ours
    train_samples: Natural | None = None
    validation_samples: Natural | None = None
    test_samples: Natural | None = None
    iterations_per_epoch: Nth | None = None

    @property
    def note(self) -> str:
        """Why the samples are not the real ones, and how to get those; "" where they are."""
        notes = (source.note for source in (self.source, self.test) if source and source.note)
        return "; ".join(dict.fromkeys(notes))


R = TypeVar("R", default="Result", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Row(Generic[R]):
    """One measurement. A bare `Row` has any result, `Row[EpochResult]` an epoch's."""

    schema: Literal[4] = SCHEMA
    run: Run
    time: str  # UTC, ISO 8601
    moment: Moment = Moment()
    key: str | None = None  # of all that decides the result (identity.py)
    case: Annotated[Case, Field(discriminator="kind")]
    installation: Installation = Installation()
    build: Build = Build()
    data: Data = Data()
    result: R

    @property
    def suite(self) -> str:
        """Suite of the case."""
        return self.case.suite

    @property
    def workload(self) -> Workload:
        """Network, data set and batch of the case."""
        return self.case.workload

    @property
    def contender(self) -> Contender:
        """Contender that computed it."""
        return self.case.contender

    @property
    def is_timing(self) -> bool:
        """Whether the case is timed; the check of bf16 training holds for all cells."""
        return isinstance(self.case, Timing)

    @property
    def training(self) -> Training:
        """The case of a training. Raises TypeError where it is another kind."""
        if not isinstance(self.case, Training):
            raise TypeError(f"a row of a {self.case.kind}, not of a training")
        return self.case

    @property
    def place(self) -> Place:
        """Machine that the row was measured on."""
        return Place.of_machine(self.run.machine)

    @property
    def installed(self) -> tuple[object, ...]:
        """What a check of bf16 training holds for: contender, versions, device and machine."""
        return installed(self.case, self.installation, self.run.machine)


@dataclass(frozen=True, kw_only=True)
class CertificateResult:
    """An exam of an adapter in one precision: of all layers if `layer` is None, else of one."""

    kind: Literal["certificate"] = "certificate"
    exam: Natural  # the number of the exam; a proof by an older one counts as none
    examined_network: str | None = None  # where it was a narrower one than the row's
    certified: bool
    certificate_precision: Precision
    reason: str | None = None
    layer: str | None = None
    spike_rate: Share | None = None
    spikes: Natural | None = None  # neuron-steps compared
    mismatches: Natural | None = None
    gradient_error: Amount | None = None  # relative to the largest entry
    gradient_cosine: Number | None = None
    first_step: Natural | None = None  # of the first divergence, from 0
    first_layer: str | None = None
    threshold_distance: Amount | None = None  # abs(u - V_th) there
    attempts: Natural | None = None


@dataclass(frozen=True, kw_only=True)
class WarmupResult:
    """The first iteration of a contender's process, which is in no round."""

    kind: Literal["warmup"] = "warmup"
    seconds: Amount  # of a compiled form with the time that compiling took
    steps: Nth  # that it ran
    # seconds of compiling before the first iteration (trainers only)
    compile_seconds: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class IterationResult:
    """One timed iteration of a contender, in one round."""

    kind: Literal["iteration"] = "iteration"
    round: Nth
    seconds: Amount  # synchronised
    start: Nth = 1  # of the contender's process: all of a cell are started anew half-way
    twin: bool = False  # the second instance of the contender that runs twice (A/A)
    loss: Number | None = None  # of the batch, in training
    part: Share | None = None  # of samples and steps, where all take too long; seconds are scaled


@dataclass(frozen=True, kw_only=True)
class TimedResult:
    """A contender whose rounds are over: its timing is done."""

    kind: Literal["timed"] = "timed"
    rounds: Natural
    converged: bool  # whether all ratios of its cell are known, `Cell.known`
    budget_seconds: Amount | None = None  # of the run; None: no limit (--paper)


@dataclass(frozen=True, kw_only=True)
class MemoryResult:
    """Peak memory of a contender's process in its first iteration, above its base (`Meter`)."""

    kind: Literal["memory"] = "memory"
    peak_memory_mib: Number


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """An audit: an iteration of the timed object compared with the reference, at full size."""

    kind: Literal["audit"] = "audit"
    exam: Natural  # the number of the exam and the audit
    when: When
    round: Nth | None = None
    way: Literal["direct", "replay"]  # of its own spikes (proof/audit.py)
    passed: bool
    reason: str | None = None  # where it did not pass, in a sentence
    spikes: Natural  # neuron-steps compared
    mismatches: Natural  # that are not the reference's
    near_ties: Natural  # of these, those that rounding decides
    gradient_error: Amount | None = None  # relative to the largest entry; of training alone
    gradient_cosine: Number | None = None  # the lowest over the layers; of bf16 alone


@dataclass(frozen=True, kw_only=True)
class Bf16TrainingResult:
    """Whether a contender learns in bf16 as in float32: one for each `Row.installed`."""

    kind: Literal["bf16-training"] = "bf16-training"
    exam: Natural  # the number of the exam, the audit and this
    setting: str  # what was trained, the same for all, in words
    steps: Nth  # of the optimiser
    seeds: tuple[Natural, ...]  # of float32; bf16 has the first of them
    first_loss: Amount | None = None  # of float32, mean over its seeds' first steps
    fp32_losses: tuple[Number | None, ...]  # mean over each seed's last steps; null: not finite
    bf16_losses: tuple[Number | None, ...]
    finished: bool  # whether all trainings came to their end; else another run tries again
    passed: bool
    reason: str | None = None  # where it did not pass, in a sentence


@dataclass(frozen=True, kw_only=True)
class UnmeasuredResult:
    """A figure of a case that could not be measured, and why; its other figures stand."""

    kind: Literal["unmeasured"] = "unmeasured"
    figure: Literal["memory"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """One epoch of training. Accuracies are in [0, 1]."""

    kind: Literal["epoch"] = "epoch"
    epoch: Nth
    loss: Number  # mean over the epoch
    train_accuracy: Share  # of the votes as they came while the weights changed
    validation_accuracy: Share
    test_accuracy: Share
    rates: tuple[Share, ...]  # spikes per neuron and step of each layer
    inside: tuple[Share, ...] = ()  # of each layer's potentials, in the surrogate's window
    gradient_norm: Amount  # mean over the iterations
    learning_rate: Amount
    seconds: Amount  # of the training pass
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TestedResult:
    """Test accuracy, in [0, 1], of a trained network that is run over `tested_T` steps."""

    __test__ = False  # it is no test, whatever pytest thinks of its name
    kind: Literal["tested"] = "tested"
    tested_T: Nth
    test_accuracy: Share


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """A network trained on simulated events, tested on real recordings of images it never saw."""

    kind: Literal["transfer"] = "transfer"
    recorded_source: str
    recorded_sha256: str
    recorded_samples: Natural
    recorded_partial: bool
    test_accuracy: Share  # after the last epoch


@dataclass(frozen=True, kw_only=True)
class ConfusionResult:
    """A trained network's votes and decisions on random test samples, (K, K); a row is a label."""

    kind: Literal["confusion"] = "confusion"
    confusion_samples: Natural
    votes: tuple[tuple[Number, ...], ...]  # mean votes
    confusion: tuple[tuple[Natural, ...], ...]  # samples decided so


@dataclass(frozen=True, kw_only=True)
class TrainedResult:
    """The end of a training: accuracies, in [0, 1], after the last, best and chosen epoch."""

    kind: Literal["trained"] = "trained"
    test_accuracy: Share  # after the last epoch
    best_test_accuracy: Share  # of all epochs, as papers report it
    best_test_epoch: Nth
    chosen_test_accuracy: Share  # at the epoch that validates best
    chosen_epoch: Nth
    trained_epochs: Nth | None = None  # where it learnt nothing and ended; None: all `epochs`
    seconds: Amount  # of all training passes
    kept_weights_sha256: str | None = None  # of the weights it ended with, kept in OUT/weights


@dataclass(frozen=True, kw_only=True)
class FittedResult:
    """A baseline of Tables 3 to 6, fitted and tested: it is done. Accuracies are in [0, 1]."""

    kind: Literal["fitted"] = "fitted"
    structure: str  # of the system; the row's network is the paper's, for comparison
    fidelity: str  # where its parameters come from
    chosen: str = ""  # what the held-out samples decided
    random: bool  # whether its seed decides anything
    sensor: tuple[Nth, Nth] | None = None  # (H, W) in pixels of the recordings it was given
    window_us: Natural | None = None  # the longest of them
    test_accuracy: Share
    source_accuracy: Share | None = None  # of the network without spikes that it was made from
    spikes: Amount | None = None  # of all its neurons, a test sample
    seconds: Amount  # of fitting
    test_seconds: Amount  # of all test samples


@dataclass(frozen=True, kw_only=True)
class OperationsResult:
    """Operations of inference by layer, in total over all samples and steps; its case is done."""

    kind: Literal["operations"] = "operations"
    counted_samples: Nth  # test samples
    spikes: tuple[Natural, ...]  # of its neurons; of units without spikes: those that are not zero
    events: tuple[Natural, ...]  # values that are not zero and enter its synapse
    operations: tuple[Natural, ...]  # by value: these times the synapses that each drives
    accumulates: tuple[Natural, ...]  # folded: spikes times synapses
    multiplies: tuple[Natural, ...]  # folded: what stays a product


@dataclass(frozen=True, kw_only=True)
class EndedResult:
    """A case that failed, and why."""

    kind: Literal["ended"] = "ended"
    status: Outcome
    reason: str


@dataclass(frozen=True, kw_only=True)
class WarningResult:
    """A warning about the figures of its cell."""

    kind: Literal["warning"] = "warning"
    reason: str


Proof = CertificateResult | AuditResult | Bf16TrainingResult
_OfTiming = WarmupResult | IterationResult | TimedResult | MemoryResult | UnmeasuredResult
OfTraining = (
    EpochResult | TestedResult | TransferResult | ConfusionResult | TrainedResult | FittedResult
)
Result = Proof | _OfTiming | OfTraining | OperationsResult | EndedResult | WarningResult
KINDS: dict[str, type[Result]] = {result.kind: result for result in get_args(Result)}
K = TypeVar("K", bound=Result)


def installed(case: Case, by: Installation, machine: Machine) -> tuple[object, ...]:
    """Return what a check of bf16 training holds for: contender, versions, device and machine."""
    place = Place.of_machine(machine)
    return case.contender.name, by.framework_version, by.revision, case.device, place


def has(row: Row, kind: type[K]) -> TypeGuard[Row[K]]:
    """Return whether a row's result is of a kind."""
    return isinstance(row.result, kind)


def of_kind(rows: Iterable[Row], kind: type[K]) -> list[Row[K]]:
    """Return the rows whose result is of a kind, in their order."""
    return [row for row in rows if has(row, kind)]
