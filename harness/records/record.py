"""What comes out: one flat, typed row per measurement, appended as JSON lines, never rewritten."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from harness.spec import Mode

SCHEMA = 2

Kind = Literal[
    "certificate",  # one adapter, precision and layer; `layer` None: the outcome over all layers
    "warmup",  # the first iteration, apart
    "iteration",  # one iteration in one round
    "timed",  # a contender that has all the rounds it gets: it is done
    "memory",  # peak over the base, in a process of its own
    "epoch",  # one epoch of training; `reason` holds its warnings
    "tested",  # a trained network over `tested_T` steps
    "confusion",  # its votes and decisions on random test samples
    "trained",  # a training that is done, with its three figures
    "case",  # a case that came to nothing; `status` and `reason` say why
    "warning",  # something to know of the figures of the same cell; `reason` says what
]
Status = Literal[
    "ok",
    "failed",  # it was tried and did not hold, or ended with an error
    "unsupported",  # the framework cannot express this network
    "missing",  # the framework is not installed
]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement with all that one must know to read it. Units are in the names."""

    schema: int = SCHEMA
    run: str  # one command's rows share it; it sorts by time
    time: str  # UTC, ISO 8601
    kind: Kind
    status: Status = "ok"
    reason: str | None = None

    # the case
    suite: str
    dataset: str
    scale: str
    network: str  # in the paper's notation, as it ran
    neunorm: str | None = None  # the reading, where NeuNorm is on
    width: str  # of the paper's network: "1", "1/8"
    framework: str
    variant: str | None = None
    deviations: str | None = None  # where the variant is not the paper's function
    T: int
    batch_size: int
    precision: str
    device: str
    seed: int
    initialisation: str
    mode: Mode = "training"
    # a hash of all that decides the result: settings, code, versions, data; of timings the machine
    # too. What has a result of this key is not measured again.
    key: str | None = None
    code: str | None = None  # version of the code that decides it (versions.py)

    # what was measured
    round: int | None = None  # from 1
    seconds: float | None = None  # one iteration, synchronised
    steps: int | None = None  # that it ran, where fewer than T (warm-up)
    iterations_per_epoch: int | None = None
    rounds: int | None = None  # that it got
    converged: bool | None = None  # whether all ratios of its cell are known within 5 %
    budget_seconds: float | None = None  # of the run; None: as many rounds as in the paper
    peak_memory_mib: float | None = None  # over the process's base
    layout: str | None = None  # of the floor
    implementation: str | None = None  # which of its kernels ran, where an adapter has several
    twin: bool = False  # the second name of the contender that runs twice (A/A)

    # training: accuracies are in [0, 1]
    epoch: int | None = None  # from 1
    epochs: int | None = None  # that it trains
    optimiser: str | None = None
    dropout: float | None = None
    learning_rate: float | None = None
    train_samples: int | None = None
    validation_samples: int | None = None
    test_samples: int | None = None
    loss: float | None = None  # mean over the epoch
    train_accuracy: float | None = None  # of the votes as they came while the weights changed
    validation_accuracy: float | None = None
    test_accuracy: float | None = None  # after this epoch; of a training, after its last
    best_test_accuracy: float | None = None  # of all epochs, as papers tell it
    best_test_epoch: int | None = None
    chosen_test_accuracy: float | None = None  # at the epoch that validates best
    chosen_epoch: int | None = None
    rates: tuple[float, ...] | None = None  # spikes per neuron and step of each layer
    gradient_norm: float | None = None  # mean over the iterations
    tested_T: int | None = None
    votes: tuple[tuple[float, ...], ...] | None = None  # mean votes; rows are the labels
    confusion: tuple[tuple[int, ...], ...] | None = None  # samples decided so

    # certificate
    certified: bool | None = None
    certificate_precision: str | None = None
    layer: str | None = None
    spike_rate: float | None = None
    spikes: int | None = None  # neuron-steps compared
    mismatches: int | None = None
    gradient_error: float | None = None  # relative to the largest entry
    gradient_cosine: float | None = None
    first_step: int | None = None  # of the first divergence, from 0
    first_layer: str | None = None
    threshold_distance: float | None = None  # abs(u - V_th) there
    attempts: int | None = None

    # data
    data_source: str | None = None
    data_sha256: str | None = None  # of the batch
    data_samples: int | None = None  # found, of which the batch was taken
    data_partial: bool | None = None
    data_lossy: bool | None = None
    data_simulated: bool | None = None
    data_substitute: bool | None = None
    data_note: str | None = None
    data_test_sha256: str | None = None
    data_split_sha256: str | None = None  # of the names in a split of ours, kept in OUT/splits
    data_augmented: bool | None = None  # random crop and flip

    # machine and versions
    framework_version: str | None = None
    cpu: str | None = None
    cores: int | None = None
    threads: int | None = None
    memory_mib: int | None = None
    gpu: str | None = None
    os: str | None = None
    python: str | None = None
    torch: str | None = None
    harness: str | None = None
    commit: str | None = None
    environment: str | None = None
    allocator: str | None = None  # whether freed memory stays with the process
    load: float | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None

    @classmethod
    def of_json(cls, line: str | bytes) -> Record:
        """The row of one line. Raises ValueError with what is wrong with it."""
        row = parse(line.encode() if isinstance(line, str) else line)
        if isinstance(row, str):
            raise ValueError(row)
        return row

    def to_json(self) -> str:
        """One line, without the fields that are None."""
        present = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(present, ensure_ascii=False, allow_nan=False)


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def parse(line: bytes) -> Record | str:
    try:
        record = _adapter().validate_json(line, strict=True, extra="forbid")
    except ValidationError as error:
        schema = _schema_of(line)
        if schema is not None and schema > SCHEMA:
            return f"written by a newer harness (schema {schema}, this one reads {SCHEMA})"
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"damaged row: {where + ': ' if where else ''}{first['msg']}"
    if record.schema > SCHEMA:
        return f"written by a newer harness (schema {record.schema}, this one reads {SCHEMA})"
    return record


def _schema_of(line: bytes) -> int | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    schema = value.get("schema") if isinstance(value, dict) else None
    return schema if isinstance(schema, int) else None
