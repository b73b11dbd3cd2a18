"""A network's synaptic operations on samples, counted from its taps, as a row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from harness.adapter import record_spikes
from harness.records import OperationsRow, Record
from harness.reference.operations import LayerOperations, ann_operations, spiking_operations
from harness.reference.precision import DTYPES
from harness.spec import ANN, Case, Network
from harness.training import step

BATCH = 10  # samples at a time: the spikes of all layers and steps are kept

Layers = tuple[LayerOperations, ...]


def placed(x: Tensor, case: Case) -> Tensor:
    """The input x (T, B, C, H, W) as the case computes; a static image stays expanded."""
    return step.placed(x, DTYPES[case.precision], torch.device(case.device))


def counted(case: Case, module: nn.Module, batches: Iterable[Tensor]) -> Layers:
    """The operations of each layer, added up over batches x (T, B, C, H, W), at least one."""
    module.eval()
    parts = (_counted(case, module, placed(x, case)) for x in batches)
    return reduce(lambda one, other: tuple(map(add, one, other)), parts)


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
