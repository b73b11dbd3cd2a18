"""The floor: a network's convolutions and products alone, forward and backward, and nothing else.

Same shapes and precision as the contenders, all steps folded into the batch (the encoding layer of
a static image once), each layer in the layout that is faster here. It has no neuron, pool, vote,
loss or optimiser, and allocates little: a contender's ratio to it holds all of these, with its own
layout and its way over time. It moves with the machine as each of them does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from harness.adapter import channels_last
from harness.reference import synapses
from harness.reference.precision import SYNAPSE_DTYPES
from harness.spec import Conv, Mode, Network, Precision, Stage
from harness.system import clock
from harness.system.kept import Shelf

Layout = Literal["channels_last", "contiguous"]
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")
ROUNDS = 5  # of which each layout has one turn


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

    def images(self, network: Network) -> list[int]:
        """Of each layer, how many images it is given: all steps at once, a still image once."""
        every = self.batch_size * self.T
        first = self.batch_size if self.static else every
        return [first, *[every] * (len(network.stages) - 1)]


@dataclass(frozen=True)
class Work:
    """How a product is computed."""

    mode: Mode
    precision: Precision
    device: torch.device

    def once(self, product: Product) -> None:
        """Forward, and in training backward."""
        if self.mode == "training":
            product.train()
        else:
            product.infer()


def fastest(network: Network, shape: Shape, work: Work) -> tuple[Layout, ...]:
    """The layout of each layer that is faster here, at full size: the minimum of several.

    A product has one layout alone. What was found is kept: a later run's floor is the same one, at
    once.
    """
    images = shape.images(network)
    return tuple(
        _kept(stage, count, work, first=n == 0)
        for n, (stage, count) in enumerate(zip(network.stages, images, strict=True))
    )


def _read(kept: object) -> Layout:
    for each in LAYOUTS:
        if each == kept:
            return each
    raise ValueError(kept)


KEPT: Shelf[Layout] = Shelf("layouts", _read, str)


def _kept(stage: Stage, images: int, work: Work, *, first: bool) -> Layout:
    if not isinstance(stage.synapse, Conv):
        return "contiguous"
    measure = partial(_fastest, stage, images, work, first=first)
    if work.device.type != "cpu":  # what is kept names the processor alone
        return measure()
    size = ROUNDS, stage.synapse, stage.input_shape, images, "first" if first else "later"
    return KEPT.get((*size, work.mode, work.precision, torch.get_num_threads()), measure)


def _fastest(stage: Stage, images: int, work: Work, *, first: bool) -> Layout:
    """One turn each, where that seemed clear, told differently from run to run."""
    products = {each: _product(stage, images, each, work, first=first) for each in LAYOUTS}
    runs = {each: partial(work.once, product) for each, product in products.items()}
    for run in runs.values():  # the first pays for what is set up once
        run()
    rounds = [
        {each: clock.seconds(run, work.device) for each, run in runs.items()} for _ in range(ROUNDS)
    ]
    return min(LAYOUTS, key=lambda each: min(spent[each] for spent in rounds))


def products(
    network: Network, shape: Shape, layouts: tuple[Layout, ...], work: Work
) -> list[Product]:
    """The products of all layers, in order, with inputs of their own."""
    stages = zip(network.stages, shape.images(network), layouts, strict=True)
    return [
        _product(stage, count, layout, work, first=n == 0)
        for n, (stage, count, layout) in enumerate(stages)
    ]


def iteration(products: list[Product], work: Work) -> Callable[[], None]:
    """One iteration of the floor."""

    def once() -> None:
        for product in products:
            work.once(product)

    return once


def said(layouts: tuple[Layout, ...]) -> str:
    """Layouts in words: of all layers where they share one, else of each."""
    return layouts[0] if len(set(layouts)) == 1 else ", ".join(layouts)


def _product(stage: Stage, images: int, layout: Layout, work: Work, *, first: bool) -> Product:
    dtype, device = SYNAPSE_DTYPES[work.precision], work.device
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
