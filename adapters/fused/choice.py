"""Whether a convolution is done by events or densely, by the density of what it is sent.

Below which density events pay is measured on this machine, once for each shape, and kept in the
user's cache folder. The first measurement stands, as long as these sources and numba's version do,
until a timing with `--fresh`: all timed processes choose alike, now and later. A training takes
fixed densities, so that a later commit repeats it bit for bit on the same kind of processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import numba
import torch
from torch import Tensor

from adapters.fused import forward, input_gradient, weight_gradient, winograd
from adapters.fused.compiled import sources_sha256
from adapters.fused.form import MARK, Events, Dispatch
from adapters.fused.intrinsics import BYTES
from adapters.fused.neurons import values
from adapters.fused.plain import DENSE_CONVOLUTION
from harness.machine import clock, host
from harness.machine.kept import MeasurementCache

TRIED = (0.1, 0.4)  # densities at which events are timed; between and beyond, time is a line
ROUNDS, MOST_ROUNDS, AT_LEAST = 5, 20, 0.1  # of which each part is timed; seconds of all of them
# Of the images that are timed, or as many as have so many numbers, which are more than the second
# cache holds: the largest shapes take a second or two.
PIXELS, NUMBERS = 2**12, 2**21
NEVER, ALWAYS = 0.0, 1.0
Work = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """What the time of a convolution depends on, besides the density of its input."""

    maps: int
    height: int
    width: int
    outputs: int
    valued: bool  # counts of a pool's window, not spikes
    precision: str
    threads: int

    @classmethod
    def of_convolution(cls, events: Events, weight: Tensor) -> Shape:
        """Return the shape of a convolution of these events with this weight."""
        _, height, width, maps = events.counts.shape
        return cls(
            maps, height, width, len(weight), events.most > 1,
            str(weight.dtype).removeprefix("torch."), torch.get_num_threads(),
        )  # fmt: skip


@dataclass(frozen=True)
class BreakEven:
    """The density, for each part of a convolution, below which events are faster than dense."""

    forward: float
    weight_gradient: float
    input_gradient: float  # of marks: the share of neurons inside the surrogate's window
    tiles: bool = False  # above `input_gradient`, Winograd's tiles are faster than dense

    @property
    def in_words(self) -> str:
        """The densities in words: "by events below 0.50, 0.70, 0.25"."""
        below = self.forward, self.weight_gradient, self.input_gradient
        return f"by events below {', '.join(f'{density:.2f}' for density in below)}"


KEPT = MeasurementCache("break-even", lambda densities: BreakEven(**densities))
# Of trainings, and of processes that may not measure. With AMX nothing that walks lists keeps up
# with a bf16 product. Another value changes how sums round: raise `REVISION`.
FIXED, FIXED_AMX_BF16 = BreakEven(0.5, 0.7, 0.25, True), BreakEven(NEVER, NEVER, NEVER, False)


WIDEST = 2**15 - 2  # pixels of a line: places in lists of events are 16-bit numbers


def choose(events: Events, weight: Tensor) -> Dispatch:
    """Choose by events or densely for each part of a convolution: forward and two gradients."""
    if events.counts.shape[2] > WIDEST:
        return Dispatch(events.density, events.window, False, False, False)
    limits = break_even(Shape.of_convolution(events, weight))
    density, window = events.density, events.window
    return Dispatch(
        density, window, density < limits.forward, density < limits.weight_gradient,
        window is not None and window < limits.input_gradient,
        limits.tiles, limits.in_words,
    )  # fmt: skip


@cache
def break_even(shape: Shape) -> BreakEven:
    """Return a shape's break-even densities: cached, measured if `share_with` lets, else fixed."""
    key = numba.__version__, BYTES, sources_sha256(), shape
    return KEPT.get(key, partial(_measure, shape), fixed_break_even(shape.precision))


def fixed_break_even(precision: str) -> BreakEven:
    """Return the break-even densities of trainings, for synapses in "bfloat16" or another dtype."""
    return FIXED_AMX_BF16 if precision == "bfloat16" and host.has_amx() else FIXED


def _measure(shape: Shape) -> BreakEven:
    """Measure, for each part, the density at which events take as long as the dense form.

    The time of events is taken for a line through two densities.
    """
    count = max(PIXELS, NUMBERS // shape.maps) // (shape.height * shape.width)
    images = max(shape.threads, count)
    low, high = (parts_of(shape, images, density) for density in TRIED)
    tiles, dense = high.pop("tiles")
    [of_tiles] = ratios_to_dense([tiles], dense)
    densities = {}
    for part, (_, dense) in high.items():
        by_events = [times[part][0] for times in (low, high)]
        all_of_it = min(1.0, of_tiles) if part == "input gradient" else 1.0
        densities[part] = _crossing(ratios_to_dense(by_events, dense), all_of_it)
    of_marks = densities.get("input gradient", NEVER)
    return BreakEven(densities["forward"], densities["weight gradient"], of_marks, of_tiles < 1)


def parts_of(shape: Shape, images: int, density: float) -> dict[str, tuple[Work, Work]]:
    """Return functions that run each part of a random convolution: (by events, densely).

    The part "tiles" is the input gradient by Winograd's tiles; counts of a pool's windows have no
    "input gradient" by events, since all of it is read.
    """
    dtype = getattr(torch, shape.precision)
    events = random_events(shape, images, density)
    weight, bias, dy = random_tensors(shape, images, dtype)
    inputs, dense = values(events, dtype), DENSE_CONVOLUTION

    def input_gradient_densely() -> Tensor:
        return dense.input_gradient(dy, inputs.shape, weight)

    parts: dict[str, tuple[Work, Work]] = {
        "forward": (
            lambda: forward.convolve(events, weight, bias),
            lambda: dense.forward(inputs, weight, bias),
        ),
        "weight gradient": (
            lambda: weight_gradient.compute(dy, events, weight),
            lambda: dense.weight_gradient(dy, inputs, weight),
        ),
        "tiles": (lambda: winograd.input_gradient(dy, weight), input_gradient_densely),
    }
    if events.marked is not None:
        parts["input gradient"] = (
            lambda: input_gradient.compute(dy, events, weight),
            input_gradient_densely,
        )
    return parts


def _crossing(seconds: list[float], dense: float) -> float:
    """Return the density at which events take as long as the dense form, from 0 to 1."""
    (low, high), (first, last) = TRIED, seconds
    slope = (last - first) / (high - low)
    if slope <= 0:  # noise: too small to matter
        return ALWAYS if last < dense else NEVER
    return min(ALWAYS, max(NEVER, low + (dense - first) / slope))


def ratios_to_dense(works: Sequence[Work], dense: Work) -> list[float]:
    """Return the time of each of `works` divided by `dense`'s, the median over rounds.

    A round runs each once, so that other processes slow all alike. Shortest times, taken one
    after the other, were off by a factor of two on a busy machine; what is found is kept for good.
    """
    device, rounds, spent = torch.device("cpu"), list[list[float]](), 0.0
    for work in (*works, dense):
        work()
    while len(rounds) < ROUNDS or (spent < AT_LEAST and len(rounds) < MOST_ROUNDS):
        *by_events, densely = (clock.seconds(work, device) for work in (*works, dense))
        spent += sum(by_events) + densely
        rounds.append([seconds / densely for seconds in by_events])
    return [median(ratios) for ratios in zip(*rounds, strict=True)]


def random_events(shape: Shape, images: int, density: float) -> Events:
    """Return random counts of a density and, where there is no pool, marks of the same density.

    A generator of their own leaves torch's random state as it was.
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
    """Return a random weight (K, C, 3, 3), bias and gradient dy (N, K, H, W), channels last."""
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=dtype)

    last = torch.channels_last
    weight = draw(shape.outputs, shape.maps, 3, 3).contiguous(memory_format=last)
    dy = draw(images, shape.outputs, shape.height, shape.width).contiguous(memory_format=last)
    return weight, draw(shape.outputs), dy
