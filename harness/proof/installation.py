"""What computes a case here: its adapter's version, revision, kernels and deviations."""

from __future__ import annotations

from dataclasses import replace

import torch

from adapters import Missing, facts
from harness.records.identity import Installation
from harness.spec import ANN, FLOOR, MASKED_ANN, Case

TORCH = str(torch.__version__)
NOTHING_KNOWN = Installation(torch=TORCH)  # of the floor, the ANN, and missing frameworks
MASKED = "trained on T masks of dropout an image, averaged"


def installation_of(case: Case) -> Installation:
    """Return what computes the case on this machine, without importing it here.

    Raises what `adapters.load` raises.
    """
    contender = case.contender
    if contender.name == MASKED_ANN:
        return replace(NOTHING_KNOWN, deviations=MASKED)
    if contender.framework in (ANN, FLOOR):
        return NOTHING_KNOWN
    package = facts.look_up(contender.package)
    if package.missing:
        raise Missing(package.missing)
    kernels = package.implementations.get(case.device)
    versions = [package.version]
    for name, version in package.packages.items():  # of those that its kernels are compiled by
        if (kernels is None or name in kernels) and version != package.version:
            versions.append(f"{name} {version}")
    suffix = contender.suffix or ""
    return Installation(
        torch=TORCH,
        framework_version=", ".join(filter(None, versions)) or None,
        revision=package.revision,
        deviations="; ".join(package.deviations_of(suffix)) or None,
        neuron=package.neuron_of(suffix),
        implementation=kernels,
    )
