"""How many synapses a value drives: those of its kernel's taps that reach an output."""

from __future__ import annotations

from math import prod

from harness.spec.layers import Conv, Stage


def reach(size: int, kernel: int) -> tuple[int, ...]:
    """How many outputs each place along one side of a map reaches: fewer at a border."""
    half = kernel // 2
    return tuple(min(size - 1, place + half) - max(0, place - half) + 1 for place in range(size))


def dense(stage: Stage) -> int:
    """Operations of one pass of one sample if no input is zero; what reaches over a border is none.

    `Stage.macs` counts the padding too.
    """
    if not isinstance(stage.synapse, Conv):
        return prod(stage.input_shape) * stage.neurons
    channels, height, width = stage.input_shape
    kernel = stage.synapse.kernel
    taps = sum(reach(height, kernel)) * sum(reach(width, kernel))
    return channels * taps * stage.output_shape[0]
