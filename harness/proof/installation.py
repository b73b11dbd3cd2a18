"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

import torch

from adapters import Missing, facts
from harness.records.identity import Software
from harness.records.run import Installation
from harness.spec import ANN, FLOOR, Case

TORCH = str(torch.__version__)
NOTHING_KNOWN = Installation(Software(torch=TORCH))  # of the floor, the ANN, and missing frameworks


def installation_of(case: Case) -> Installation:
    """Return what computes the case on this machine, without importing it here.

    Raises what `adapters.load` raises.
    """
    if case.framework in (ANN, FLOOR):
        return NOTHING_KNOWN
    framework, _, variant = case.framework.partition(":")
    known = facts.of(framework)
    if known.missing:
        raise Missing(known.missing)
    kernels = known.implementations.get(case.device)
    versions = [known.version]
    for name, each in known.packages.items():  # of those that its kernels are compiled by
        if (kernels is None or name in kernels) and each != known.version:
            versions.append(f"{name} {each}")
    version = ", ".join(filter(None, versions)) or None
    return Installation(
        Software(torch=TORCH, framework_version=version, revision=known.revision),
        deviations="; ".join(known.deviations_of(variant)) or None,
        neuron=known.neuron_of(variant),
        implementation=kernels,
    )
