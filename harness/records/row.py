"""What comes out: one flat, typed row a measurement, written as JSON. Units are in the names.

All rows share the fields of `Record`: the case, the data, the machine and the versions. Each kind
adds what it measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field

from harness.records.identity import settings_of
from harness.spec import CaseFields, NeuronSource, Precision, contender
from harness.system.installed import Machine, Moment

SCHEMA = 3

# JSON has no NaN, and no counter reaches what floats cannot tell apart.
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
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

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return ", ".join(filter(None, (self.cpu, self.capability, self.gpu, threads)))


@dataclass(frozen=True, kw_only=True)
class Record(Moment, Machine, CaseFields):
    """The fields that every row has: case, machine, versions, data; None where unknown (yet)."""

    schema: int = SCHEMA
    run: str  # one command's rows share it
    time: str  # UTC, ISO 8601
    key: str | None = None  # of all that decides the result (identity.py)
    revision: Count = 0  # of the adapter
    protocol: Count | None = None  # of a timing: the number of the protocol (identity.py)
    code: str | None = None  # a hash of our sources: to look it up, never compared
    framework_version: str | None = None
    iterations_per_epoch: Nth | None = None
    deviations: str | None = None  # where the variant is not the paper's function
    neuron: NeuronSource | None = None  # whose code it is; None: not declared, or no adapter's
    implementation: str | None = None  # which of its kernels ran, where an adapter has several
    layout: str | None = None  # of its convolutions' weights; of the floor, layer by layer
    computed: str | None = None  # how its layers were, where an adapter chooses
    allocator: str | None = None  # whether freed memory stays with the process
    contender_threads: Nth | None = None  # that torch has in the contender's own process

    # data: those of the batch, or those trained on; accuracies are of the test data
    data_source: str | None = None
    data_sha256: str | None = None
    data_samples: Count | None = None  # found, of which the batch was taken
    data_partial: bool | None = None
    data_lossy: bool | None = None
    data_simulated: bool | None = None
    data_substitute: bool | None = None
    data_note: str | None = None
    data_augmented: bool | None = None  # random crop and flip
    data_split_sha256: str | None = None  # of the names in a split of ours
    data_test_source: str | None = None
    data_test_sha256: str | None = None
    data_test_partial: bool | None = None
    data_test_lossy: bool | None = None
    data_test_simulated: bool | None = None
    data_test_substitute: bool | None = None
    train_samples: Count | None = None
    validation_samples: Count | None = None
    test_samples: Count | None = None

    @property
    def contender(self) -> str:
        """Name of the framework and its variant, "snntorch:subtract"."""
        return contender(self.framework, self.variant)

    @property
    def full_name(self) -> str:
        """The contender with its precision, "norse:compiled bf16"; float32 is left out."""
        return self.contender + ("" if self.precision == "fp32" else f" {self.precision}")

    @property
    def place(self) -> Place:
        """Machine that the row was measured on."""
        shown = self.cpu or "", self.capability or "", self.gpu or "", self.threads or 0
        return Place(*shown, self.cores, self.os, self.torch, tuple(settings_of(self)))

    @property
    def installation(self) -> tuple[object, ...]:
        """What a check of bf16 training holds for: contender, versions, device and machine."""
        return self.contender, self.framework_version, self.revision, self.device, self.place

    def to_json(self, shared: dict[str, Any] | None = None) -> str:
        """Return the row as a line of JSON, without values as in `shared`, else as by default."""
        usual = {k: each.default for k, each in self.__dataclass_fields__.items()} | (shared or {})
        every = asdict(self)
        front = {name: every.pop(name) for name in ("schema", "run", "time", "kind")}
        present = {name: value for name, value in every.items() if value != usual[name]}
        return json.dumps({**front, **present}, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class CertificateRow(Record):
    """An exam of an adapter in one precision: of all layers if `layer` is None, else of one."""

    kind: Literal["certificate"] = "certificate"
    exam: Count  # the number of the exam; a proof by an older one counts as none
    examined_network: str | None = None  # where it was a narrower one than the row's
    certified: bool
    certificate_precision: Precision
    reason: str | None = None
    layer: str | None = None
    spike_rate: Share | None = None
    spikes: Count | None = None  # neuron-steps compared
    mismatches: Count | None = None
    gradient_error: Amount | None = None  # relative to the largest entry
    gradient_cosine: Number | None = None
    first_step: Count | None = None  # of the first divergence, from 0
    first_layer: str | None = None
    threshold_distance: Amount | None = None  # abs(u - V_th) there
    attempts: Count | None = None


@dataclass(frozen=True, kw_only=True)
class WarmupRow(Record):
    """The first iteration of a contender's process, which is in no round."""

    kind: Literal["warmup"] = "warmup"
    seconds: Amount  # of a compiled form with the time that compiling took
    steps: Nth  # that it ran
    # seconds of compiling before the first iteration (trainers only)
    compile_seconds: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class IterationRow(Record):
    """One timed iteration of a contender, in one round."""

    kind: Literal["iteration"] = "iteration"
    round: Nth
    seconds: Amount  # synchronised
    start: Nth = 1  # of the contender's process: all of a cell are started anew half-way
    twin: bool = False  # the second instance of the contender that runs twice (A/A)
    loss: Number | None = None  # of the batch, in training
    part: Share | None = None  # of samples and steps, where all take too long; seconds are scaled


@dataclass(frozen=True, kw_only=True)
class TimedRow(Record):
    """A contender whose rounds are over: its timing is done."""

    kind: Literal["timed"] = "timed"
    rounds: Count
    converged: bool  # whether all ratios of its cell are known, `Cell.known`
    budget_seconds: Amount | None = None  # of the run; None: no limit (--paper)


@dataclass(frozen=True, kw_only=True)
class MemoryRow(Record):
    """Peak memory of a contender's process in its first iteration, above its base (`Meter`)."""

    kind: Literal["memory"] = "memory"
    peak_memory_mib: Number


@dataclass(frozen=True, kw_only=True)
class AuditRow(Record):
    """An audit: an iteration of the timed object compared with the reference, at full size."""

    kind: Literal["audit"] = "audit"
    exam: Count  # the number of the exam and the audit
    when: When
    round: Nth | None = None
    way: Literal["direct", "replay"]  # of its own spikes (proof/audit.py)
    passed: bool
    reason: str | None = None  # where it did not pass, in a sentence
    spikes: Count  # neuron-steps compared
    mismatches: Count  # that are not the reference's
    near_ties: Count  # of these, those that rounding decides
    gradient_error: Amount | None = None  # relative to the largest entry; of training alone
    gradient_cosine: Number | None = None  # the lowest over the layers; of bf16 alone


@dataclass(frozen=True, kw_only=True)
class Bf16TrainingRow(Record):
    """Whether a contender learns in bf16 as in float32: one row for each `installation`."""

    kind: Literal["descent"] = "descent"
    exam: Count  # the number of the exam, the audit and this
    setting: str  # what was trained, the same for all, in words
    steps: Nth  # of the optimiser
    seeds: tuple[Count, ...]  # of float32; bf16 has the first of them
    first_loss: Amount | None = None  # of float32, mean over its seeds' first steps
    fp32_losses: tuple[Number | None, ...]  # mean over each seed's last steps; null: not finite
    bf16_losses: tuple[Number | None, ...]
    finished: bool  # whether all trainings came to their end; else another run tries again
    passed: bool
    reason: str | None = None  # where it did not pass, in a sentence


@dataclass(frozen=True, kw_only=True)
class UnmeasuredRow(Record):
    """A figure of a case that could not be measured, and why; its other figures stand."""

    kind: Literal["unmeasured"] = "unmeasured"
    figure: Literal["memory"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class EpochRow(Record):
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
class TestedRow(Record):
    """Test accuracy, in [0, 1], of a trained network that is run over `tested_T` steps."""

    __test__ = False  # it is no test, whatever pytest thinks of its name
    kind: Literal["tested"] = "tested"
    tested_T: Nth
    test_accuracy: Share


@dataclass(frozen=True, kw_only=True)
class TransferRow(Record):
    """A network trained on simulated events, tested on real recordings of images it never saw."""

    kind: Literal["transfer"] = "transfer"
    recorded_source: str
    recorded_sha256: str
    recorded_samples: Count
    recorded_partial: bool
    test_accuracy: Share  # after the last epoch


@dataclass(frozen=True, kw_only=True)
class ConfusionRow(Record):
    """A trained network's votes and decisions on random test samples, (K, K); a row is a label."""

    kind: Literal["confusion"] = "confusion"
    confusion_samples: Count
    votes: tuple[tuple[Number, ...], ...]  # mean votes
    confusion: tuple[tuple[Count, ...], ...]  # samples decided so


@dataclass(frozen=True, kw_only=True)
class TrainedRow(Record):
    """The end of a training: accuracies, in [0, 1], after the last, best and chosen epoch."""

    kind: Literal["trained"] = "trained"
    test_accuracy: Share  # after the last epoch
    best_test_accuracy: Share  # of all epochs, as papers tell it
    best_test_epoch: Nth
    chosen_test_accuracy: Share  # at the epoch that validates best
    chosen_epoch: Nth
    trained_epochs: Nth | None = None  # where it learnt nothing and ended; None: all `epochs`
    seconds: Amount  # of all training passes
    kept_weights_sha256: str | None = None  # of the weights it ended with, kept in OUT/weights


@dataclass(frozen=True, kw_only=True)
class FittedRow(Record):
    """Another system of Tables 3 to 6, fitted and tested: it is done. Accuracies are in [0, 1]."""

    kind: Literal["fitted"] = "fitted"
    structure: str  # of the system; the row's network is the paper's, for comparison
    fidelity: str  # where its parameters come from
    chosen: str = ""  # what the held-out samples decided
    random: bool  # whether its seed decides anything
    sensor: tuple[Nth, Nth] | None = None  # (H, W) in pixels of the recordings it was given
    window_us: Count | None = None  # the longest of them
    test_accuracy: Share
    source_accuracy: Share | None = None  # of the network without spikes that it was made from
    spikes: Amount | None = None  # of all its neurons, a test sample
    seconds: Amount  # of fitting
    test_seconds: Amount  # of all test samples


@dataclass(frozen=True, kw_only=True)
class OperationsRow(Record):
    """Operations of inference by layer, in total over all samples and steps; its case is done."""

    kind: Literal["operations"] = "operations"
    counted_samples: Nth  # test samples
    spikes: tuple[Count, ...]  # of its neurons; of units without spikes: those that are not zero
    events: tuple[Count, ...]  # values that are not zero and enter its synapse
    operations: tuple[Count, ...]  # by value: these times the synapses that each drives
    accumulates: tuple[Count, ...]  # folded: spikes times synapses
    multiplies: tuple[Count, ...]  # folded: what stays a product


@dataclass(frozen=True, kw_only=True)
class EndedRow(Record):
    """A case that failed, and why."""

    kind: Literal["case"] = "case"
    status: Outcome
    reason: str


@dataclass(frozen=True, kw_only=True)
class WarningRow(Record):
    """A warning about the figures of its cell."""

    kind: Literal["warning"] = "warning"
    reason: str


_Proof = CertificateRow | AuditRow | Bf16TrainingRow
_OfTiming = WarmupRow | IterationRow | TimedRow | MemoryRow | UnmeasuredRow
OfTraining = EpochRow | TestedRow | TransferRow | ConfusionRow | TrainedRow | FittedRow
Row = _Proof | _OfTiming | OfTraining | OperationsRow | EndedRow | WarningRow
KINDS: Mapping[str, type[Row]] = {each.kind: each for each in get_args(Row)}
