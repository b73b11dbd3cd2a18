"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

import torch

from adapters import Missing, facts
from harness.records.identity import Installation
from harness.spec import ANN, FLOOR, Case

TORCH = str(torch.__version__)
NOTHING_KNOWN = Installation(torch=TORCH)  # of the floor, the ANN, and missing frameworks


def installation_of(case: Case) -> Installation:
    """Return what computes the case on this machine, without importing it here.

    Raises what `adapters.load` raises.
    """
    contender = case.contender
    if contender.framework in (ANN, FLOOR):
        return NOTHING_KNOWN
    known = facts.of(contender.package)
    if known.missing:
        raise Missing(known.missing)
    kernels = known.implementations.get(case.device)
    versions = [known.version]
    for name, version in known.packages.items():  # of those that its kernels are compiled by
        if (kernels is None or name in kernels) and version != known.version:
            versions.append(f"{name} {version}")
    suffix = contender.suffix or ""
    return Installation(
        torch=TORCH,
        framework_version=", ".join(filter(None, versions)) or None,
        revision=known.revision,
        deviations="; ".join(known.deviations_of(suffix)) or None,
        neuron=known.neuron_of(suffix),
        implementation=kernels,
    )
