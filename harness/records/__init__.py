"""What comes out: rows, the folder they are kept in, and what a result depends on. No torch."""

from harness.records.record import (
    SCHEMA,
    AuditRow,
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
    UnmeasuredRow,
    WarmupRow,
    WarningRow,
)
from harness.records.store import Damage, Store

__all__ = [
    "SCHEMA",
    "AuditRow",
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
    "UnmeasuredRow",
    "WarmupRow",
    "WarningRow",
]
