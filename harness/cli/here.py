"""What this machine would make of recorded cases: their keys now, and why one cannot run."""

from __future__ import annotations

from collections.abc import Callable

import torch

import adapters
from harness.proof.subject import subject_of
from harness.records import Row
from harness.records.identity import timing_key, training_key
from harness.spec import ANN, FLOOR, Case
from harness.system import machine


def key_now(device: str) -> Callable[[Case, Row], str | None]:
    """The key that a case would have here, on the data of a row; None where that cannot be said."""
    here = machine.describe(torch.device(device))

    def key(case: Case, row: Row) -> str | None:
        if lacks(case) is not None or row.data_sha256 is None:
            return None
        software = subject_of(case).software
        if case.training is None:
            return timing_key(case, row.data_sha256, software, here, row.allocator or "")
        return training_key(case, row.data_sha256, row.data_test_sha256 or "", software)

    return key


def lacks(case: Case) -> str | None:
    """Why a case cannot run here; None where it can."""
    if case.device != "cpu" and not torch.cuda.is_available():
        return f"it ran on {case.device}, and there is none here"
    if case.framework in (ANN, FLOOR):
        return None
    if case.framework.partition(":")[0] not in adapters.names():
        return f"its adapter {case.framework} is not here"
    return adapters.missing(case.framework)
