"""Rows for tests: one of each kind, of a small case; a test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from harness.records import (
    CertificateRow,
    ConfusionRow,
    EndedRow,
    EpochRow,
    IterationRow,
    MemoryRow,
    Record,
    Row,
    TestedRow,
    TimedRow,
    TrainedRow,
    WarmupRow,
    WarningRow,
)
from harness.records.identity import EXAM
from harness.spec import Case, Training, paper

R = TypeVar("R", bound=Row)

CASE = Case(
    suite="acceleration",
    dataset="cifar10",
    scale="Small",
    network=paper.network("8C3(Encoding)-Voting", "cifar10")[1],
    width=Fraction(1),
    framework="reference",
    T=10,
    batch_size=20,
    precision="fp32",
    device="cpu",
    seed=0,
    optimiser=paper.settings("cifar10").optimiser,
)
RUN = "20260101T000000-abcdef"
TIME = "2026-01-01T00:00:00+00:00"

VOTES = tuple(tuple(0.5 if a == b else 0.1 for a in range(10)) for b in range(10))
COUNTS = tuple(tuple(5 if a == b else 0 for a in range(10)) for b in range(10))

# What each kind adds, where a test does not say.
_ADDED: dict[type[Any], dict[str, object]] = {
    CertificateRow: {"exam": EXAM, "certified": True, "certificate_precision": "fp64"},
    WarmupRow: {"seconds": 0.6, "steps": 2},
    IterationRow: {"round": 1, "seconds": 0.5},
    TimedRow: {"rounds": 3, "converged": True},
    MemoryRow: {"peak_memory_mib": 607.0},
    EpochRow: {
        "epoch": 1,
        "loss": 0.09,
        "train_accuracy": 0.4,
        "validation_accuracy": 0.3,
        "test_accuracy": 0.3,
        "rates": (0.1, 0.2),
        "gradient_norm": 1.0,
        "learning_rate": 0.1,
        "seconds": 1.0,
    },
    TestedRow: {"tested_T": 1, "test_accuracy": 0.3},
    ConfusionRow: {"confusion_samples": 50, "votes": VOTES, "confusion": COUNTS},
    TrainedRow: {
        "test_accuracy": 0.3,
        "best_test_accuracy": 0.3,
        "best_test_epoch": 1,
        "chosen_test_accuracy": 0.3,
        "chosen_epoch": 1,
        "seconds": 10.0,
    },
    EndedRow: {"status": "failed", "reason": "why"},
    WarningRow: {"reason": "mind"},
}
KINDS = tuple(_ADDED)


def base(case: Case = CASE, **fields: object) -> Record:
    """What all rows of a case share."""
    return Record(**{**vars(case.fields), "run": RUN, "time": TIME, **fields})  # pyright: ignore


def row(kind: type[R], case: Case = CASE, **fields: object) -> R:
    """A row of that kind; `fields` are those of the row."""
    shared = {name: fields.pop(name) for name in list(fields) if name in _SHARED}
    return kind(**{**vars(base(case, **shared)), **_ADDED[kind], **fields})


_SHARED = frozenset(Record.__dataclass_fields__)


def timed_case(**changes: Any) -> Case:
    """The small case, with changes."""
    return replace(CASE, **changes)


def trained_case(epochs: int = 2, **changes: Any) -> Case:
    """The small case as one that is trained."""
    given = replace(CASE, suite="timesteps", training=Training(epochs))
    return replace(given, **changes)


ROW = row(IterationRow, iterations_per_epoch=2500)
