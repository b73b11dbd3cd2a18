"""What the layers of a network in training do, and what is warned of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.adapter import record_spikes
from harness.reference.initialise import hardly_firing
from harness.spec import DEAD_RATE, Case, Precision
from harness.training import step

UNMOVED = 0.01  # relative change of the loss over the first epoch below which it has not moved


@dataclass(frozen=True)
class Activity:
    """What a layer does on some samples."""

    rate: float  # spikes per neuron and step
    same: bool  # whether its spikes are the same for every sample

    @classmethod
    def of(cls, spikes: Tensor) -> Activity:
        """Of a layer's spikes (T, B, ...)."""
        same = spikes.shape[1] > 1 and bool((spikes == spikes[:, :1]).all())
        return cls(float(spikes.double().mean()), same)


@torch.inference_mode()
def activity(module: nn.Module, x: Tensor, precision: Precision) -> tuple[Activity, ...]:
    """What each layer does on the samples x (T, B, ...), without dropout."""
    module.eval()
    with record_spikes(module) as taps:
        step.inference(module, x, precision)
        return tuple(Activity.of(tap.collected()) for tap in taps)


def warnings(
    case: Case, number: int, layers: Sequence[Activity], losses: Sequence[float]
) -> Iterator[str]:
    """What is to be said of a network after that epoch, whose iterations had these losses."""
    remedy = "use --init calibrated" if case.initialisation != "calibrated" else "lower V_th"
    dead = hardly_firing(case.network, [at.rate for at in layers])
    if dead:
        yield f"dead layers after epoch {number}: {', '.join(dead)}; they cannot learn: {remedy}"
    pairs = zip(case.network.stages, layers, strict=True)
    blind = [stage.name for stage, at in pairs if at.same and at.rate >= DEAD_RATE]
    if blind:
        yield (
            f"after epoch {number} the spikes of {', '.join(blind)} are the same for every sample: "
            "far from their threshold neurons cannot learn; --seeds shows how often this happens"
        )
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]), sum(losses[-tenth:])
    if number == 1 and abs(last - first) < UNMOVED * abs(first):
        yield f"the loss has not moved in the first epoch (mean {first / tenth:.4f}): {remedy}"
