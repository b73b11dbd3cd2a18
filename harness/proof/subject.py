"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

import torch

import adapters
from harness.records.build import Subject
from harness.records.identity import Software
from harness.spec import ANN, FLOOR, Case


def subject_of(case: Case) -> Subject:
    """What computes the case on this machine. Raises what `adapters.load` raises."""
    if case.framework in (ANN, FLOOR):
        return Subject(Software(torch=torch.__version__))
    adapter = adapters.load(case.framework)
    framework = case.framework.partition(":")[0]
    return Subject(
        software_of(framework),
        deviations="; ".join(adapter.DEVIATIONS) or None,
        implementation=adapters.implementation(framework, case.device),
    )


def software_of(framework: str) -> Software:
    """The versions behind a framework's name, installed or not."""
    return Software(
        torch=torch.__version__,
        framework_version=adapters.version(framework),
        revision=adapters.revision(framework),
    )
