"""Dense convolutions and products, in three parts: forward, and the two gradients.

The bias's gradient is not among them: the neurons' kernel sums it on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """How a synapse is computed. Shapes: x (N, C, H, W) or (N, C), the weight and y alike."""

    forward: Callable[[Tensor, Tensor, Tensor], Tensor]  # x, weight, bias -> y
    weight_gradient: Callable[[Tensor, Tensor, Tensor], Tensor]  # dy, x, weight -> d_weight
    input_gradient: Callable[[Tensor, torch.Size, Tensor], Tensor]  # dy, x's shape, weight -> dx


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
    margin = weight.shape[-1] // 2
    return torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], [1, 1], [margin] * 2, [1, 1], False, [0, 0], 1, mask
    )


def _convolution_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _backward(dy, x, weight, [False, True, False])[1]


def _convolution_input(dy: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
    # only its shape and layout are read: its memory is never touched
    last = torch.channels_last
    x = torch.empty(shape, dtype=dy.dtype, device=dy.device, memory_format=last)
    return _backward(dy, x, weight, [True, False, False])[0]


def _product_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    if weight.stride(0) == 1:  # each input's together: the gradient as well
        return (x.t() @ dy).t()
    return dy.t() @ x


def _product_input(dy: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
    return dy @ weight


DENSE_CONVOLUTION = Parts(_convolve, _convolution_weight, _convolution_input)
DENSE_PRODUCT = Parts(torch.nn.functional.linear, _product_weight, _product_input)
