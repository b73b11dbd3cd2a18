"""What all rows share: the case, the data, the machine and the versions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from harness.spec import CaseFields, contender

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


class Place(NamedTuple):
    """A machine, as far as rows tell them apart; empty where they do not say."""

    cpu: str
    capability: str
    gpu: str
    threads: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        parts = (self.cpu, self.capability, self.gpu, threads)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Record(CaseFields):
    """What all rows of a case share; None where it is not known (yet)."""

    schema: int = SCHEMA
    run: str  # one command's rows share it
    time: str  # UTC, ISO 8601
    # A hash of all that decides the result (identity.py). What has a result of this key is not
    # measured again.
    key: str | None = None
    revision: Count = 0  # of the adapter
    protocol: Count | None = None  # of a timing: the number of the protocol (identity.py)
    code: str | None = None  # a hash of our sources: to look it up, never compared
    iterations_per_epoch: Nth | None = None
    deviations: str | None = None  # where the variant is not the paper's function
    implementation: str | None = None  # which of its kernels ran, where an adapter has several
    layout: str | None = None  # of its convolutions' weights; of the floor, layer by layer
    computed: str | None = None  # how its layers were, where an adapter chooses

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
    data_split_sha256: str | None = None  # of the names in a split of ours, kept in OUT/splits
    data_test_source: str | None = None
    data_test_sha256: str | None = None
    data_test_partial: bool | None = None
    data_test_lossy: bool | None = None
    data_test_simulated: bool | None = None
    data_test_substitute: bool | None = None
    train_samples: Count | None = None
    validation_samples: Count | None = None
    test_samples: Count | None = None

    # machine and versions
    framework_version: str | None = None
    cpu: str | None = None
    capability: str | None = None  # which of its instructions torch uses
    cores: Nth | None = None
    threads: Nth | None = None
    memory_mib: Count | None = None
    gpu: str | None = None
    os: str | None = None
    python: str | None = None
    torch: str | None = None
    harness: str | None = None
    commit: str | None = None
    environment: str | None = None
    allocator: str | None = None  # whether freed memory stays with the process
    contender_threads: Nth | None = None  # that torch has in the contender's own process
    load: Amount | None = None
    clock_mhz: Amount | None = None
    temperature_c: Number | None = None

    @property
    def contender(self) -> str:
        """The framework's form, "snntorch:subtract"."""
        return contender(self.framework, self.variant)

    @property
    def place(self) -> Place:
        """Which machine it was measured on."""
        return Place(self.cpu or "", self.capability or "", self.gpu or "", self.threads or 0)

    @property
    def installation(self) -> tuple[object, ...]:
        """Who computes, as it is installed: the form and its versions, on this machine's device."""
        versions = (self.torch, self.framework_version, self.revision)
        return self.contender, *versions, self.device, self.place

    def to_json(self) -> str:
        """One line, without the fields that are None."""
        present = {name: value for name, value in asdict(self).items() if value is not None}
        front = {name: present.pop(name) for name in ("schema", "run", "time", "kind")}
        return json.dumps({**front, **present}, ensure_ascii=False, allow_nan=False)
