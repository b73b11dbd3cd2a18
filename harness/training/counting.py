"""A network's synaptic operations on samples, counted from its taps: of one that was trained, and
of one with its initial weights (the suite `energy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from harness import datasets
from harness.adapter import record_spikes
from harness.proof.subject import subject_of
from harness.records import OperationsRow, Record
from harness.records.identity import timing_key
from harness.records.run import Failed, of_case, with_source
from harness.reference.operations import LayerOperations, ann_operations, spiking_operations
from harness.reference.precision import DTYPES
from harness.spec import ANN, Case, Network, Timed
from harness.system import memory
from harness.training import epoch, step
from harness.training.runner import Trial, fails_alone

BATCH = 10  # samples at a time: the spikes of all layers and steps are kept
CALIBRATION_SAMPLES = 20  # the first of the batch

Layers = tuple[LayerOperations, ...]


def count(trial: Trial[Timed]) -> bool:
    """Counts the operations of a network with its initial weights on a batch of test samples.

    Returns whether an earlier command had done it.
    """
    case, run = trial.case, trial.run
    subject = subject_of(case)
    trial.row = of_case(case, run, subject)
    with fails_alone():
        batch = datasets.load_batch(
            datasets.Request(
                case.dataset,
                case.T,
                case.batch_size,
                seed=case.seed,
                split="test",
                root=trial.access.root,
                download=case.dataset in trial.access.download,
            )
        )
    row = trial.row = replace(
        with_source(trial.row, batch.source),
        key=timing_key(case, batch.source.sha256, subject.software, run.machine, run.allocator),
    )
    too_large = memory.too_large(replace(case, batch_size=BATCH))
    if too_large is not None:
        raise Failed(too_large)
    written = trial.ledger.begin(row)
    if any(isinstance(each, OperationsRow) and each.suite == "energy" for each in written):
        return True
    trial.say(0.5, f"{case.dataset} {case.scale} T={case.T} {case.framework}: operations")
    with fails_alone():  # the initial weights that the case names may not be here
        few = _placed(batch.inputs[:, :CALIBRATION_SAMPLES], case)
        module = epoch.built(case, few, trial.out)
    layers = counted(case, module, batch.inputs.split(BATCH, dim=1))
    trial.keep(row_of(row, layers, len(batch.labels)))
    return False


def counted(case: Case, module: nn.Module, batches: Iterable[Tensor]) -> Layers:
    """The operations of each layer, added up over batches x (T, B, C, H, W), at least one."""
    module.eval()
    parts = (_counted(case, module, _placed(x, case)) for x in batches)
    return reduce(lambda one, other: tuple(map(add, one, other)), parts)


def _placed(x: Tensor, case: Case) -> Tensor:
    return step.placed(x, DTYPES[case.precision], torch.device(case.device))


@torch.inference_mode()
def _counted(case: Case, module: nn.Module, x: Tensor) -> Layers:
    with record_spikes(module) as taps:
        step.inference(module, x, case.precision)
        spikes = [tap.collected() for tap in taps]
    if case.framework == ANN:
        return ann_operations(case.network, x, spikes)
    return spiking_operations(case.network, x, spikes, _U(case.network, module))


def _U(network: Network, module: nn.Module) -> list[Tensor | None]:
    """NeuNorm's U behind each layer: parameters come in layer order."""
    parameters = iter(module.parameters())
    found: list[Tensor | None] = []
    for stage in network.stages:
        for _ in ("weight", "bias"):
            next(parameters)
        found.append(next(parameters) if stage.neunorm_shape else None)
    return found


def row_of(row: Record, layers: Layers, samples: int) -> OperationsRow:
    """What was counted on that many samples, as a row."""
    return OperationsRow(
        **vars(row),
        counted_samples=samples,
        spikes=tuple(each.spikes for each in layers),
        events=tuple(each.events for each in layers),
        operations=tuple(each.operations for each in layers),
        accumulates=tuple(each.accumulates for each in layers),
        multiplies=tuple(each.multiplies for each in layers),
    )
