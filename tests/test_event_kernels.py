"""The event kernels against dense convolutions and products in float64."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import threads
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

pytest.importorskip("numba", reason="needs numba, the extra `fused`")
from adapters.fused import forward, input_gradient, neurons, weight_gradient  # noqa: E402
from adapters.fused.form import MARK, Events  # noqa: E402

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def numbers(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sent(
    generator: torch.Generator, shape: tuple[int, ...], most: int, density: float, normalised: bool
) -> Events:
    """Random events (N, h, w, C), with NeuNorm's x where it is on, else with marks for spikes."""
    images, height, width, maps = shape
    spiked = torch.rand(shape, generator=generator) < density
    counts = torch.randint(1, most + 1, shape, generator=generator) * spiked
    x = numbers(generator, images, height, width) if normalised else None
    U = numbers(generator, maps, height, width) if normalised else None
    events = Events(counts.to(torch.uint8), 1 / most, most, int(spiked.sum()), x, U)
    if normalised or most > 1:
        return events
    marked = torch.rand(shape, generator=generator) < density
    return replace(events, counts=events.counts + MARK * marked.byte(), marked=int(marked.sum()))


def as_type(events: Events, dtype: torch.dtype) -> Events:
    dtype = torch.float32 if dtype == torch.bfloat16 else dtype  # that of the potential
    if events.x is None or events.U is None:
        return events
    return replace(events, x=events.x.to(dtype), U=events.U.to(dtype))


# images, height, width, maps, outputs; density; the most of a count; type; threads; NeuNorm
WORK = (
    st.tuples(st.integers(1, 7), *[st.integers(1, 20)] * 2, *[st.integers(1, 70)] * 2),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from(DTYPES),
    st.integers(1, 3),
    st.booleans(),
)


@given(st.tuples(*WORK))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_values_are_gain_times_counts_less_what_neunorm_takes(work: Any) -> None:
    shape, density, most, dtype, count, normalised = work
    generator = torch.Generator().manual_seed(sum(shape))
    events = as_type(sent(generator, shape[:4], most, density, normalised), dtype)
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    spiked = (events.counts & (1 if events.marked is not None else 255)).to(computed)
    expected = spiked * torch.tensor(events.gain, dtype=computed)
    if events.x is not None and events.U is not None:
        expected = expected - events.U.permute(1, 2, 0) * events.x[..., None]
    with threads(count):
        got = neurons.values(events, dtype)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got, expected.to(dtype).permute(0, 3, 1, 2))


def close(got: Tensor, exact: Tensor, dense: Tensor, size: Tensor) -> None:
    """Within twice of what dense arithmetic in the same type is off, or a few roundings.

    `size`: the sum of what is summed without its signs.
    """
    rounding = torch.finfo(got.dtype).eps * max(size.max().item(), 1.0)
    allowed = 2 * (dense.double() - exact).abs().max().item() + 4 * rounding
    assert got.shape == exact.shape
    assert (got.double() - exact).abs().max().item() <= allowed


def convolved(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    y = functional.conv2d(x, weight, bias, padding=1)
    gradient = conv2d_weight(x, list(weight.shape), dy, padding=1)
    return y, gradient, conv2d_input(list(x.shape), weight, dy, padding=1)


def multiplied(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    x = x.flatten(1)
    return functional.linear(x, weight, bias), dy.t() @ x


def examine(events: Events, given: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    """Holds the kernels' answers to a weight, a bias and a gradient against the dense ones."""
    product = given[0].dim() == 2
    densely = multiplied if product else convolved
    own = as_type(events, dtype)
    weight, bias, dy = (each.to(dtype) for each in given)
    rounded = neurons.values(as_type(own, torch.float64), torch.float64)
    asked = (rounded, weight.double(), bias.double(), dy.double())
    exact, sizes = densely(*asked), densely(*(each.abs() for each in asked))
    dense = densely(neurons.values(own, dtype), weight, bias, dy)
    if product:
        weight = weight.t().contiguous().t()
        got = [forward.multiply(own, weight, bias), weight_gradient.multiplied(dy, own, weight)]
    else:
        weight = weight.contiguous(memory_format=torch.channels_last)
        got = [forward.convolve(own, weight, bias), weight_gradient.convolved(dy, own, weight)]
        if own.marked is not None:
            read = ((own.counts & MARK) > 0).permute(0, 3, 1, 2)
            got.append(input_gradient.convolved(dy, own, weight))
            assert not got[-1][~read].any()
            exact, dense = ((*each[:2], each[2] * read) for each in (exact, dense))
    for compared in zip(got, exact, dense, sizes, strict=False):  # of an input only what is asked
        close(*compared)


def as_the_dense_one(product: bool, work: Any) -> None:
    shape, density, most, dtype, count, normalised = work
    images, height, width, maps, outputs = shape
    generator = torch.Generator().manual_seed(sum(shape))
    events = sent(generator, shape[:4], most, density, normalised)
    if product:
        weight = numbers(generator, outputs, maps * height * width)
        bias, dy = numbers(generator, outputs), numbers(generator, images, outputs)
    else:
        weight, bias = numbers(generator, outputs, maps, 3, 3), numbers(generator, outputs)
        dy = numbers(generator, images, outputs, height, width)
    with threads(count):
        examine(events, (weight, bias, dy), dtype)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(*WORK))
@example(((1, 1, 1, 1, 1), 1.0, 1, torch.float32, 2, False))
@example(((3, 42, 42, 17, 33), 0.2, 4, torch.float32, 2, True))
@example(((2, 34, 34, 130, 65), 0.1, 1, torch.float32, 2, False))
@example(((9, 8, 8, 64, 128), 0.2, 4, torch.float64, 2, False))
def test_a_convolution_is_the_dense_one(work: Any) -> None:
    as_the_dense_one(False, work)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(*WORK))
@example(((1, 1, 1, 1, 1), 1.0, 1, torch.float32, 2, False))
@example(((200, 8, 8, 130, 10), 0.2, 4, torch.float32, 2, True))
@example(((3, 1, 1, 600, 300), 0.2, 1, torch.float32, 2, False))
def test_a_product_is_the_dense_one(work: Any) -> None:
    as_the_dense_one(True, work)


def test_one_event_reaches_its_nine_neighbours_and_no_further() -> None:
    counts = torch.zeros(1, 5, 5, 3, dtype=torch.uint8)
    counts[0, 2, 2, 1] = 1
    weight = torch.arange(2 * 3 * 9, dtype=torch.float32).view(2, 3, 3, 3)
    y = forward.convolve(Events(counts, 1.0, 1, 1), weight, torch.zeros(2))
    assert torch.equal(y[0, :, 1:4, 1:4], weight[:, 1].flip(1, 2))
    y[0, :, 1:4, 1:4] = 0
    assert not y.any()


# What numba and torch are told to compute with, by their own variables, and a register's bytes.
HASWELL = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+f16c,+avx2,+bmi,+bmi2,+fma"
PROCESSORS = {
    "AVX2": (
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}
        | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        32,
    ),
    "SSE2": ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}, 16),
}
OF_KERNELS = ("test_event_kernels", "test_fused", "test_adapters")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="forces processors of x86-64")
@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_registers_compute_the_same(processor: str) -> None:
    """And the tests of `fused`'s kernels pass with them."""
    forced, size = PROCESSORS[processor]
    files = [str(Path(__file__).with_name(f"{name}.py")) for name in OF_KERNELS]
    of_fused = ["-q", "-m", "not slow", "-k", "not test_adapters or fused"]
    code = (
        "import sys, pytest; from adapters.fused import intrinsics; "
        f"assert intrinsics.BYTES == {size}; "
        f"sys.exit(pytest.main({[*of_fused, *files]!r}))"
    )
    environment = {**os.environ, **forced}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
