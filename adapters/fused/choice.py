"""Whether a layer's work is done by events or densely, by the density of what it is sent.

Below which density events pay is measured on this machine, once for each shape, and kept in the
user's cache folder. The first measurement stands: all processes choose alike, now and later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Literal, NamedTuple

import numba
import torch
from torch import Tensor

from adapters.fused import forward, input_gradient, weight_gradient, winograd
from adapters.fused.compiled import sources_sha256
from adapters.fused.form import MARK, Events, Made, Ran
from adapters.fused.intrinsics import BYTES
from adapters.fused.neurons import values
from adapters.fused.plain import DENSE_CONVOLUTION, DENSE_PRODUCT
from harness.system import clock
from harness.system.kept import Shelf

TRIED = (0.1, 0.4)  # densities at which events are timed; between and beyond, time is a line
ROUNDS, MOST_ROUNDS, AT_LEAST = 5, 20, 0.1  # of which each part is timed; seconds of all of them
# Of the images that are timed, or as many as have so many numbers, which fill the second cache: the
# largest shapes take a second or two.
PIXELS, NUMBERS = 2**12, 2**20
NEVER, ALWAYS = 0.0, 1.0
Work = Callable[[], object]


class ByEvents(NamedTuple):
    """How a synapse is computed by events, as `plain.Parts` are computed densely."""

    forward: Callable[[Events, Tensor, Tensor, Made], Tensor]  # events, weight, bias -> y
    weight_gradient: Callable[[Tensor, Events, Tensor], Tensor]  # dy, events, weight -> d_weight
    input_gradient: Callable[[Tensor, Events, Tensor], Tensor] | None  # of what is marked


CONVOLUTION = ByEvents(forward.convolve, weight_gradient.convolved, input_gradient.convolved)
PRODUCT = ByEvents(forward.multiply, weight_gradient.multiplied, None)


@dataclass(frozen=True)
class Shape:
    """What the time of a layer's work depends on."""

    kind: Literal["convolution", "product"]
    maps: int
    height: int
    width: int
    outputs: int
    valued: bool  # counts of a pool's window, not spikes
    precision: str
    threads: int

    @classmethod
    def of(cls, events: Events, weight: Tensor) -> Shape:
        """Of one call."""
        _, height, width, maps = events.counts.shape
        return cls(
            "convolution" if weight.dim() == 4 else "product",
            maps, height, width, len(weight), events.most > 1,
            str(weight.dtype).removeprefix("torch."), torch.get_num_threads(),
        )  # fmt: skip


@dataclass(frozen=True)
class BreakEven:
    """The densities below which events are faster than the dense form."""

    forward: float
    weight_gradient: float
    input_gradient: float  # of marks: the share of neurons inside the surrogate's window
    tiles: bool = False  # where all are read, Winograd's tiles are faster than the dense form


KEPT = Shelf("break-even", lambda kept: BreakEven(**kept), BreakEven(0.5, 0.5, 0.5, True))


def chosen(events: Events, weight: Tensor) -> Ran:
    """How a layer's work on these events is to be done."""
    limits = break_even(Shape.of(events, weight))
    density, window = events.density, events.window
    return Ran(
        density, window, density < limits.forward, density < limits.weight_gradient,
        window is not None and window < limits.input_gradient,
        limits.tiles and weight.dim() == 4,
    )  # fmt: skip


@cache
def break_even(shape: Shape) -> BreakEven:
    """Of one shape, as it is kept, else as it is measured now."""
    return KEPT.get((numba.__version__, BYTES, sources_sha256(), shape), partial(_measured, shape))


def _measured(shape: Shape) -> BreakEven:
    """Where the line through two densities' times meets the dense form's time, for each part."""
    wanted = max(PIXELS, NUMBERS // shape.maps) // (shape.height * shape.width)
    images = max(shape.threads, wanted)
    low, high = (parts_of(shape, images, density) for density in TRIED)
    found, tiles = {}, 1.0
    if "tiles" in high:
        work, dense = high.pop("tiles")
        [tiles] = over([work], dense)
    for part, (_, dense) in high.items():
        by_events = [each[part][0] for each in (low, high)]
        all_of_it = min(1.0, tiles) if part == "input gradient" else 1.0
        found[part] = _crossing(over(by_events, dense), all_of_it)
    of_marks = found.get("input gradient", NEVER)
    return BreakEven(found["forward"], found["weight gradient"], of_marks, tiles < 1)


def parts_of(shape: Shape, images: int, density: float) -> dict[str, tuple[Work, Work]]:
    """Each part of a layer's work on random events, by events and densely.

    Winograd's tiles are no events, but another way to gradients that are all read.
    """
    dtype = getattr(torch, shape.precision)
    events = random_events(shape, images, density, dtype)
    weight, bias, dy = random_tensors(shape, images, dtype)
    convolution = shape.kind == "convolution"
    dense = DENSE_CONVOLUTION if convolution else DENSE_PRODUCT
    by_events = CONVOLUTION if convolution else PRODUCT
    sent = values(events, dtype)
    sent = sent if convolution else sent.flatten(1)
    parts: dict[str, tuple[Work, Work]] = {
        "forward": (
            lambda: by_events.forward(events, weight, bias, None),
            lambda: dense.forward(sent, weight, bias),
        ),
        "weight gradient": (
            lambda: by_events.weight_gradient(dy, events, weight),
            lambda: dense.weight_gradient(dy, sent, weight),
        ),
    }
    if not convolution:
        return parts

    def densely() -> Tensor:
        return dense.input_gradient(dy, sent.shape, weight)

    parts["tiles"] = lambda: winograd.convolved(dy, weight), densely
    marked = by_events.input_gradient
    if marked is not None and events.marked is not None:
        parts["input gradient"] = lambda: marked(dy, events, weight), densely
    return parts


def _crossing(seconds: list[float], dense: float) -> float:
    """The density at which events take as long as the dense form, from 0 to 1."""
    (low, high), (first, last) = TRIED, seconds
    slope = (last - first) / (high - low)
    if slope <= 0:  # noise: too small to matter
        return ALWAYS if last < dense else NEVER
    return min(ALWAYS, max(NEVER, low + (dense - first) / slope))


def over(works: Sequence[Work], dense: Work) -> list[float]:
    """What each takes over what the dense form does: the median of rounds in which all run once.

    What runs beside them slows all of a round about alike. The shortest times of each, taken one
    after the other, were off by a factor of two on a busy machine, and stand for good.
    """
    device, rounds, spent = torch.device("cpu"), list[list[float]](), 0.0
    for work in (*works, dense):
        work()
    while len(rounds) < ROUNDS or (spent < AT_LEAST and len(rounds) < MOST_ROUNDS):
        *by_events, densely = (clock.seconds(work, device) for work in (*works, dense))
        spent += sum(by_events) + densely
        rounds.append([each / densely for each in by_events])
    return [median(each) for each in zip(*rounds, strict=True)]


def random_events(shape: Shape, images: int, density: float, dtype: torch.dtype) -> Events:
    """Random counts of a density, and as many marks where there is no pool.

    They come from a generator of their own, so that nobody's numbers move.
    """
    generator = torch.Generator().manual_seed(0)
    size = (images, shape.height, shape.width, shape.maps)
    spiked = torch.rand(size, generator=generator) < density
    counts, spiking = spiked.to(torch.uint8), int(spiked.sum())
    if shape.valued:
        return Events(counts, 1 / 4, 4, spiking)
    marked = torch.rand(size, generator=generator) < density
    return Events(counts + MARK * marked.byte(), 1.0, 1, spiking, marked=int(marked.sum()))


def random_tensors(shape: Shape, images: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, a bias and a gradient of the output."""
    generator = torch.Generator().manual_seed(1)

    def made(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=dtype)

    if shape.kind == "product":
        inputs = shape.maps * shape.height * shape.width
        weight = made(inputs, shape.outputs).t()
        return weight, made(shape.outputs), made(images, shape.outputs)
    last = torch.channels_last
    weight = made(shape.outputs, shape.maps, 3, 3).contiguous(memory_format=last)
    dy = made(images, shape.outputs, shape.height, shape.width).contiguous(memory_format=last)
    return weight, made(shape.outputs), dy
