"""What a row says of where and when it was measured, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a row was measured. Every field is what the system told; None where it did not."""

    cpu: str
    # which of its instructions torch uses, as torch names them; processors of one name differ
    capability: str | None = None
    cores: int
    threads: int  # that torch used
    memory_mib: int
    gpu: str | None = None
    os: str
    python: str
    torch: str
    harness: str
    commit: str | None = None  # of the harness, with "+dirty" where the tree had changes
    environment: str | None = None  # variables set that change speed: "OMP_NUM_THREADS=2"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The machine's state beside one measurement, where the system tells."""

    load: float | None = None  # of the last minute
    clock_mhz: float | None = None
    temperature_c: float | None = None
