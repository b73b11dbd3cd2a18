"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

import torch

import adapters
from harness.records.build import Subject
from harness.records.identity import Software
from harness.spec import ANN, FLOOR, Case

TORCH = str(torch.__version__)
NOTHING_KNOWN = Subject(Software(torch=TORCH))  # of the floor, the ANN, and what is not installed


def subject_of(case: Case) -> Subject:
    """What computes the case on this machine. Raises what `adapters.load` raises."""
    if case.framework in (ANN, FLOOR):
        return NOTHING_KNOWN
    adapter = adapters.load(case.framework)
    framework = case.framework.partition(":")[0]
    implementation = adapters.implementation(framework, case.device)
    return Subject(
        Software(
            torch=TORCH,
            framework_version=_version(framework, implementation),
            revision=adapters.revision(framework),
        ),
        deviations="; ".join(adapter.DEVIATIONS) or None,
        implementation=implementation,
    )


def _version(framework: str, implementation: str | None) -> str | None:
    """The version of the framework's package, and of those its kernels are compiled by."""
    found = [adapters.version(framework)]
    for name, version in adapters.packages(framework):
        compiles = implementation is None or name in implementation
        if compiles and version != found[0]:
            found.append(f"{name} {version}")
    return ", ".join(each for each in found if each) or None
