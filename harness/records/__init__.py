"""What comes out: rows, the folder they are kept in, and what a result depends on. No torch."""

from harness.records.fields import SCHEMA, Outcome, Record
from harness.records.record import (
    AuditRow,
    CertificateRow,
    ConfusionRow,
    DescentRow,
    EndedRow,
    EpochRow,
    FittedRow,
    IterationRow,
    MemoryRow,
    Row,
    TestedRow,
    TimedRow,
    TrainedRow,
    TransferRow,
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
    "DescentRow",
    "EndedRow",
    "EpochRow",
    "FittedRow",
    "IterationRow",
    "MemoryRow",
    "Outcome",
    "Record",
    "Row",
    "Store",
    "TestedRow",
    "TimedRow",
    "TrainedRow",
    "TransferRow",
    "UnmeasuredRow",
    "WarmupRow",
    "WarningRow",
]
