"""The convolutions, pools and products that all adapters share: they differ in the neuron alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch
from torch import Tensor, nn

from harness.spec import Conv, Stage


class FlatLinear(nn.Linear):
    """A fully connected layer that flattens all but the batch dimension."""

    def forward(self, input: Tensor) -> Tensor:  # (B, ...) -> (B, N)
        return super().forward(input.flatten(1))


def synapse(stage: Stage) -> nn.Conv2d | FlatLinear:
    """Return the stage's synapse, eq. (8): same-size convolution or fully connected, with bias."""
    if isinstance(stage.synapse, Conv):
        maps, kernel = stage.synapse.channels, stage.synapse.kernel
        return nn.Conv2d(stage.input_shape[0], maps, kernel, padding=kernel // 2)
    return FlatLinear(stage.input_shape[0], stage.neurons)


def pool(stage: Stage) -> nn.AvgPool2d | None:
    """Return the pool behind a stage, if any; rows and columns that fill no window are dropped."""
    return nn.AvgPool2d(stage.pool.size) if stage.pool else None


def is_static(x: Tensor) -> bool:
    """Return whether x (T, B, C, H, W) is one image expanded over the steps, by its zero stride."""
    return x.shape[0] > 1 and x.stride(0) == 0


def encoding_steps(convolution: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Yield the encoding layer's current of each step: (T, B, C, H, W) -> T times (B, C, H, W).

    A static image has the same current at every step, so its convolution is computed once. That is
    exact; every adapter here does it, so none gains by it.
    """
    if is_static(x):
        return repeat(convolution(x[0]), x.shape[0])
    return (convolution(frame) for frame in x.unbind())


def encoding_sequence(convolution: nn.Module, x: Tensor) -> Tensor:
    """Convolve all steps in one call, a static image once: (T, B, ...) -> (T, B, ...)."""
    if is_static(x):
        current = convolution(x[0])
        return current.expand(x.shape[0], *current.shape)
    return over_steps(convolution, x)


def over_steps(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a stateless layer to all steps at once: (T, B, ...) -> (T, B, ...)."""
    return torch.unflatten(layer(x.flatten(0, 1)), 0, x.shape[:2])
