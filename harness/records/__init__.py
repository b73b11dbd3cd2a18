"""What comes out: rows, the folder they are kept in, and what a result depends on. No torch."""

from harness.records.record import (
    SCHEMA,
    CertificateRow,
    ConfusionRow,
    EndedRow,
    EpochRow,
    IterationRow,
    MemoryRow,
    Outcome,
    Record,
    Row,
    TestedRow,
    TimedRow,
    TrainedRow,
    WarmupRow,
    WarningRow,
)
from harness.records.store import Damage, Store

__all__ = [
    "SCHEMA",
    "CertificateRow",
    "ConfusionRow",
    "Damage",
    "EndedRow",
    "EpochRow",
    "IterationRow",
    "MemoryRow",
    "Outcome",
    "Record",
    "Row",
    "Store",
    "TestedRow",
    "TimedRow",
    "TrainedRow",
    "WarmupRow",
    "WarningRow",
]
