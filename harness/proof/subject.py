"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

import torch

from adapters import Missing, facts
from adapters.facts import Facts
from harness.records.identity import Software
from harness.records.run import Subject
from harness.spec import ANN, FLOOR, Case

TORCH = str(torch.__version__)
NOTHING_KNOWN = Subject(Software(torch=TORCH))  # of the floor, the ANN, and what is not installed


def subject_of(case: Case) -> Subject:
    """What computes the case on this machine, without importing it here.

    Raises what `adapters.load` raises.
    """
    if case.framework in (ANN, FLOOR):
        return NOTHING_KNOWN
    framework, _, variant = case.framework.partition(":")
    known = facts.of(framework)
    if known.missing:
        raise Missing(known.missing)
    implementation = known.implementation(case.device)
    return Subject(
        Software(
            torch=TORCH,
            framework_version=_version(known, implementation),
            revision=known.revision,
        ),
        deviations="; ".join(known.form(variant).deviations) or None,
        implementation=implementation,
    )


def _version(known: Facts, implementation: str | None) -> str | None:
    """The version of the framework's package, and of those its kernels are compiled by."""
    found = [known.version]
    for name, version in known.packages:
        compiles = implementation is None or name in implementation
        if compiles and version != found[0]:
            found.append(f"{name} {version}")
    return ", ".join(each for each in found if each) or None
