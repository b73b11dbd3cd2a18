"""What a result depends on, as its key: what has a result of a key is not measured again.

A key is a hash of a case's own fields, its data, the versions of what computes, for timings the
machine, and numbers that are raised by hand when what they stand for changes. Golden files
(tests/goldens, written by tests/golden.py) see to it that they are: one that moves without its
number fails a test. So moving or renaming a file dates no row.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from harness.spec import Case
from harness.system.installed import Machine

NUMERICS = 1  # what a training computes: its steps, draws, initial weights, augmentation
PROTOCOL = 3  # how a time is taken: what is timed, warm-ups, rounds, layouts
EXAM = 3  # what a proof examines, the audit's too, and their tolerances

# Fields of a case that do not affect the weights a training ends with: names, what is asked of the
# trained network, and how many samples were wanted, which is in the data's hash.
IDLE = ("suite", "scale", "width", "tested_at")
IDLE += ("wanted_samples", "wanted_test_samples", "embedded")
# Fields that came after keys had been made: where nothing is in them, they are in no key.
_LATER = (
    *("effort", "window", "bin_us", "wants_simulated", "loss_function", "weights_sha256"),
    *("least_epochs", "optimiser_fc_factor", "stages", "neunorm_u"),
)
# Of the machine, what is in no key as it stands. Its torch is the software's; a harness of another
# version or commit may time the same; another kernel keeps another MiB for itself.
_ELSEWHERE = ("torch", "harness", "commit", "environment", "memory_mib")
# Their effect is in `threads`, and a cluster sets them to what they would have been.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Software:
    """Versions of what computes a case's result."""

    torch: str
    framework_version: str | None = None  # of the package behind the adapter
    revision: int = 0  # the adapter's REVISION


def training_identity(
    case: Case, train_sha256: str, test_sha256: str, software: Software
) -> dict[str, object]:
    """Return all that decides the weights a training ends with, by name."""
    data = {"training data": train_sha256, "test data": test_sha256}
    return {**fields_that_train(case), **data, **asdict(software), "NUMERICS": NUMERICS}


def training_key(case: Case, train_sha256: str, test_sha256: str, software: Software) -> str:
    """Return the key of a training: hash of case, data and software, without its suite."""
    return _key(training_identity(case, train_sha256, test_sha256, software))


def timing_key(
    case: Case, data_sha256: str, software: Software, machine: Machine, allocator: str
) -> str:
    """Return the key of a contender in a cell: hash of case, data, software and machine."""
    place = {k: value for k, value in asdict(machine).items() if k not in _ELSEWHERE}
    place["environment"] = settings_of(machine)
    place |= {"memory_gib": round((machine.memory_mib or 0) / 1024), "allocator": allocator}
    # cases had that field once: keys of timings stay as they were
    place["wants_confusion"] = False
    of = {"data": data_sha256, **asdict(software), "PROTOCOL": PROTOCOL}
    return _key({**_fields(case), **of, **place})


def settings_of(machine: Machine) -> list[str]:
    """Return the environment that changes a machine's speed, as `NAME=value`, but thread counts."""
    variables = (machine.environment or "").split()
    return [each for each in variables if each.partition("=")[0] not in _THREADS]


def fields_that_train(case: Case) -> dict[str, object]:
    """Return the fields of a case that, with the data, decide the trained weights."""
    return {k: value for k, value in _fields(case).items() if k not in IDLE}


def _fields(case: Case) -> dict[str, object]:
    fields = asdict(case.fields)
    return {k: v for k, v in fields.items() if k not in _LATER or v is not None}


def _key(decisive: dict[str, object]) -> str:
    """Sixteen hex digits of all that decides a result."""
    text = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
