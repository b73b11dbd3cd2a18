"""What an adapter offers to be timed: a module with torch's optimiser, or a trainer."""

from __future__ import annotations

from harness.adapter import Adapter, trainer_of
from harness.reference.network import ReferenceNetwork
from harness.speed.foreign import of_trainer
from harness.speed.iteration import Ready, Workload
from harness.speed.module import of_module


def built(adapter: Adapter, work: Workload) -> Ready:
    """Builds what is timed. Raises Unsupported."""
    make = trainer_of(adapter)
    return of_module(adapter, work) if make is None else of_trainer(make, work)


def loaded(adapter: Adapter, work: Workload) -> Ready:
    """Builds what is tried and not judged: with weights as the reference draws them."""
    ready = built(adapter, work)
    reference = ReferenceNetwork(work.case.network).to(work.dtype)
    weights = [each.detach() for each in reference.parameters()]
    ready.load(weights, work.inputs.to(work.dtype), work.labels)
    return ready
