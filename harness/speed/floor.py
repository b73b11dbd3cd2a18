"""The floor: a network's convolutions and products alone, forward and backward, and nothing else.

Same shapes and precision as the contenders, all steps folded into the batch (the encoding layer of
a static image once), no neuron, pool or optimiser. What a contender takes above it are its neurons
and its pools, but also the layout of its maps, whether it folds the steps into the batch, its
optimiser and what it allocates. A ratio to the floor is no constant of a contender: it moves with
the machine, since a faster convolution leaves a larger part to all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness.adapter import channels_last
from harness.reference import synapses
from harness.reference.precision import SYNAPSE_DTYPES
from harness.spec import Conv, Network, Precision, Stage

Layout = Literal["channels_last", "contiguous"]
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")


@dataclass(frozen=True)
class Product:
    """One convolution or product, its input and the gradient that comes back to it."""

    layer: nn.Module
    x: Tensor
    gradient: Tensor
    wanted: tuple[Tensor, ...]  # weight, bias and, but for the first layer, the input

    @torch.inference_mode()
    def infer(self) -> None:
        """Forward once."""
        self.layer(self.x)

    def train(self) -> None:
        """Forward and backward once."""
        torch.autograd.grad(self.layer(self.x), self.wanted, self.gradient)


@dataclass(frozen=True)
class Shape:
    """How much the floor computes: steps, batch, and whether the image stands still."""

    T: int
    batch_size: int
    static: bool


def products(
    network: Network, shape: Shape, layout: Layout, *, precision: Precision, device: torch.device
) -> list[Product]:
    """The products of all layers, in order, with inputs of their own."""
    return [
        _product(
            stage,
            shape.batch_size * (1 if n == 0 and shape.static else shape.T),
            layout,
            SYNAPSE_DTYPES[precision],
            device,
            first=n == 0,
        )
        for n, stage in enumerate(network.stages)
    ]


def _product(
    stage: Stage,
    images: int,
    layout: Layout,
    dtype: torch.dtype,
    device: torch.device,
    *,
    first: bool,
) -> Product:
    layer = synapses.synapse(stage).to(device=device, dtype=dtype)
    shape = stage.input_shape
    x = torch.rand(images, *shape, device=device, dtype=dtype)
    gradient = torch.rand(images, *stage.output_shape, device=device, dtype=dtype)
    if isinstance(stage.synapse, Conv) and layout == "channels_last":
        channels_last(layer)
        x = x.contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    if not first:
        x.requires_grad_()
    wanted = (*layer.parameters(), *(() if first else (x,)))
    return Product(layer, x, gradient, wanted)
