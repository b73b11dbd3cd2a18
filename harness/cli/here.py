"""What this machine would make of recorded cases: their keys now, and why one cannot run."""

from __future__ import annotations

from collections.abc import Callable

import torch

import adapters
from harness import baselines
from harness.baselines.trial import software_of
from harness.proof.subject import subject_of
from harness.records import Row
from harness.records.identity import Software, timing_key, training_key
from harness.spec import ANN, FLOOR, Case, System, Timed, UsageError
from harness.system import machine


def key_now(device: str) -> Callable[[Case, Row], str | None]:
    """The key that a case would have here, on the data of a row; None where that cannot be said."""
    here = machine.describe(torch.device(device))

    def key(case: Case, row: Row) -> str | None:
        if lacks(case) is not None or row.data_sha256 is None:
            return None
        software = _software(case)
        if isinstance(case, Timed):
            return timing_key(case, row.data_sha256, software, here, row.allocator or "")
        return training_key(case, row.data_sha256, row.data_test_sha256 or "", software)

    return key


def _software(case: Case) -> Software:
    if isinstance(case, System):
        return software_of(baselines.load(case.framework))
    return subject_of(case).software


def _lacks_system(name: str) -> str | None:
    if name not in baselines.names():
        return f"the baseline {name} is not here"
    try:
        baselines.load(name)
    except UsageError as error:
        return str(error)
    return None


def lacks(case: Case) -> str | None:
    """Why a case cannot run here; None where it can."""
    if case.device != "cpu" and not torch.cuda.is_available():
        return f"it ran on {case.device}, and there is none here"
    if isinstance(case, System):
        return _lacks_system(case.framework)
    if case.framework in (ANN, FLOOR):
        return None
    if case.framework.partition(":")[0] not in adapters.names():
        return f"its adapter {case.framework} is not here"
    return adapters.missing(case.framework)
