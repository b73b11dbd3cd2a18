"""The one place through which every convolution and product of the engine goes.

Its three parts, the forward pass and the gradients of the weight and of the input, are chosen per
layer: dense ones here; event-driven ones, which skip what did not spike, can take their place. The
bias's gradient is not among them: the neurons' kernel sums it on its way.
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
    input_gradient: Callable[[Tensor, Tensor, Tensor], Tensor]  # dy, x, weight -> dx


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
    margin = weight.shape[-1] // 2
    return torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], [1, 1], [margin] * 2, [1, 1], False, [0, 0], 1, mask
    )


def _convolution_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _backward(dy, x, weight, [False, True, False])[1]


def _convolution_input(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return _backward(dy, x, weight, [True, False, False])[0]


def _product_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return dy.t() @ x


def _product_input(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return dy @ weight


DENSE_CONVOLUTION = Parts(_convolve, _convolution_weight, _convolution_input)
DENSE_PRODUCT = Parts(torch.nn.functional.linear, _product_weight, _product_input)
