"""The floor: a network's convolutions and products alone, forward and backward, and nothing else.

Same shapes and precision as the contenders, all steps folded into the batch (the encoding layer of
a static image once), each layer in the layout that is faster here. It has no neuron, pool, vote,
loss or optimiser, and allocates little: a contender's ratio to it holds all of these, with its own
layout and its way over time. It moves with the machine as each of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness.adapter import channels_last
from harness.machine import clock
from harness.machine.kept import MeasurementCache
from harness.reference import synapses
from harness.reference.precision import SYNAPSE_DTYPES
from harness.spec import Conv, Mode, Stage, Timing, paper

Layout = Literal["channels_last", "contiguous"]
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")
ROUNDS = 5  # of which each layout has one turn


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product, with its input and the gradient of its output."""

    layer: nn.Module
    x: Tensor
    gradient: Tensor
    sources: tuple[Tensor, ...]  # weight, bias and, but for the first layer, the input
    mode: Mode

    def run(self) -> tuple[Tensor, ...]:
        """Run it once; return the gradients of `sources`, in inference the output."""
        if self.mode == "training":
            return torch.autograd.grad(self.layer(self.x), self.sources, self.gradient)
        with torch.inference_mode():
            return (self.layer(self.x),)


def iteration(case: Timing, layouts: tuple[Layout, ...]) -> Callable[[], None]:
    """Return a function that runs one iteration of a case's floor, on random inputs.

    It copies as many numbers to the CPU as a contender: gradients of weights, or the output.
    """
    layers = products(case, layouts)

    def run() -> None:
        """Run each layer's product once and copy its results to the CPU."""
        results = ()
        for product in layers:
            results = product.run()
            if case.mode == "training":
                plain(results[:2])
        if case.mode == "inference":
            plain(results)

    return run


def plain(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Copy tensors to the CPU, which waits for work that a runtime has deferred."""
    return [tensor.detach().to("cpu", copy=True) for tensor in tensors]


def products(case: Timing, layouts: tuple[Layout, ...]) -> list[Product]:
    """Return the products of all layers, in layer order."""
    stages = zip(case.workload.network.stages, images(case), layouts, strict=True)
    return [_product(case, *layer, first=n == 0) for n, layer in enumerate(stages)]


def images(case: Timing) -> list[int]:
    """Return each layer's number of input images: T * B, but B for a static image's first layer."""
    workload = case.workload
    every = workload.batch_size * workload.T
    first = workload.batch_size if paper.settings(workload.dataset).static else every
    return [first, *[every] * (len(workload.network.stages) - 1)]


def fastest_layouts(case: Timing) -> tuple[Layout, ...]:
    """Return each layer's faster layout here, measured at full size; on a CPU it is cached."""
    stages = zip(case.workload.network.stages, images(case), strict=True)
    return tuple(_fastest(case, *layer, first=n == 0) for n, layer in enumerate(stages))


def in_words(layouts: tuple[Layout, ...]) -> str:
    """Return layouts as text: one if all layers share it, else each."""
    return layouts[0] if len(set(layouts)) == 1 else ", ".join(layouts)


def _product(case: Timing, stage: Stage, images: int, layout: Layout, *, first: bool) -> Product:
    """Return a layer's convolution or product on random numbers, with its inputs in this layout."""
    dtype, device = SYNAPSE_DTYPES[case.contender.precision], torch.device(case.device)
    layer = synapses.synapse(stage).to(device=device, dtype=dtype)
    x = torch.rand(images, *stage.input_shape, device=device, dtype=dtype)
    gradient = torch.rand(images, *stage.output_shape, device=device, dtype=dtype)
    if isinstance(stage.synapse, Conv) and layout == "channels_last":
        channels_last(layer)
        x = x.contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    if not first:
        x.requires_grad_()
    sources = (*layer.parameters(), *(() if first else (x,)))
    return Product(layer, x, gradient, sources, case.mode)


KEPT: MeasurementCache[Layout] = MeasurementCache(
    "layouts", lambda name: LAYOUTS[LAYOUTS.index(name)]
)


def _fastest(case: Timing, stage: Stage, images: int, *, first: bool) -> Layout:
    """Return the layout in which a layer's product is fastest here, measured once and kept."""
    if not isinstance(stage.synapse, Conv):
        return "contiguous"

    def measure() -> Layout:  # one turn each gave another layout each time
        """Time the layouts in turn, several rounds; return the one with the shortest time."""
        runs = [_product(case, stage, images, name, first=first).run for name in LAYOUTS]
        for run in runs:  # the first run pays for one-time set-up
            run()
        device = torch.device(case.device)
        rounds = [[clock.seconds(run, device) for run in runs] for _ in range(ROUNDS)]
        least = map(min, zip(*rounds, strict=True))
        return min(zip(least, LAYOUTS, strict=True))[1]

    if case.device != "cpu":  # a kept measurement names only the processor
        return measure()
    size = ROUNDS, stage.synapse, stage.input_shape, images, "first" if first else "later"
    factors = *size, case.mode, case.contender.precision, torch.get_num_threads()
    return KEPT.get(factors, measure, LAYOUTS[0])
