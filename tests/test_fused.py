"""The fused kernels against the plain form, which is the reference's equations written out; the
engine by events: the reference's function, whatever is chosen, and how it is chosen.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import steady
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight
from torch_modules import close, compare, pair, threads

import adapters
from adapters import facts
from adapters import fused as fused_adapter
from adapters.fused import plain
from adapters.fused.form import MARK, Dispatch, Events, Form
from harness.conformance import random_batch, small
from harness.machine import host
from harness.reference import dropout
from harness.spec import LIF, Network, NeuNorm, Reading

numba = pytest.importorskip("numba", reason="needs numba, the extra `fused`")
from adapters.fused import (  # noqa: E402
    choice,
    compiled,
    forward,
    input_gradient,
    neurons,
    weight_gradient,
    winograd,
)
from adapters.fused import network as fused_network  # noqa: E402
from adapters.fused.network import FusedLayer  # noqa: E402
from adapters.fused.synapse import Synapse  # noqa: E402

LIF_ = LIF(0.3, 0.25, 0.25)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers in memory as channels last: (T, B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4
    return values.to(dtype).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def form(
    steps: int, maps: int, pool: int, reading: Reading | None, dtype: torch.dtype,
    p: float = 0.0, batch: int = 1,
) -> Form:  # fmt: skip
    keys = dropout.keys(torch.tensor(11), steps, batch) if p else None
    neunorm = NeuNorm(0.9, reading) if reading else None
    return Form(steps, LIF_, pool, neunorm, maps, dtype, p=p, keys=keys)


SHAPES = [
    (6, 6, 2, 8, 6, 6, 2),  # T, steps of the current, B, C, H, W, pool
    (4, 1, 3, 5, 7, 9, 2),  # an image that stands still, odd sizes
    (1, 1, 1, 3, 4, 4, 1),  # one step, one sample
    (5, 5, 2, 16, 1, 1, 1),  # a flat layer
    (3, 3, 1, 7, 8, 7, 3),  # another pool
    (10, 10, 2, 1, 5, 5, 2),  # a single feature map
    (3, 3, 1, 64, 2, 70, 2),  # lines of 35 windows, of which 16 are taken together
]


DEVICE = {"neurons": "cpu", "cuda": "cuda" if torch.cuda.is_available() else "cpu"}  # interpreted
DTYPES = (torch.float64, torch.float32)
CASES = [
    ("neurons", shape, reading, dtype, p)
    for shape in SHAPES
    for reading in (None, "mean", "literal")
    for dtype in DTYPES
    for p in (0.0, 0.4)
]
# each pair of settings once: interpreted, one of them takes seconds
CASES += [
    ("cuda", shape, reading, DTYPES[(n + m) % 2], 0.4 * (n // 2 % 2))
    for n, shape in enumerate(SHAPES[:5])
    for m, reading in enumerate((None, "mean"))
]


@pytest.mark.parametrize(("kernels", "shape", "reading", "dtype", "p"), CASES)
def test_kernels_compute_the_plain_form(
    kernels: str, shape: tuple[int, ...], reading: Reading | None, dtype: torch.dtype, p: float
) -> None:
    if kernels == "cuda":
        pytest.importorskip("triton", reason="needs triton: builds for Linux on x86_64 alone")
    ours = importlib.import_module(f"adapters.fused.{kernels}")
    steps, moving, batch, maps, height, width, pool = shape
    device, h, w = DEVICE[kernels], height // pool, width // pool
    current = noise((moving, batch, maps, height, width), dtype=dtype).to(device)
    current[:, :, 0, 0, 0] = LIF_.v_th  # it fires there, and has no gradient at the window's edge
    current[:, :, 0, 0, -1] = LIF_.v_th + LIF_.a / 2
    U = noise((1, 1, maps, h, w), 1, dtype)[0, 0].to(device) if reading else None
    layer = form(steps, maps, pool, reading, dtype, p, batch)
    back = noise((steps, batch, maps, h, w), 2, dtype).to(device)
    expected, got = (module.spikes(current, U, layer) for module in (plain, ours))
    # a ninth is no binary fraction: sums of them round; nor does Triton add in our order
    if pool != 3 and (kernels == "neurons" or reading is None):
        assert torch.equal(got, expected)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    expected = plain.gradients(current, U, back, layer)
    got = ours.gradients(current, U, back, layer)  # last: it may take the current's memory
    close(got, expected, 1e-13 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize(("count", "start"), [(1, "OpenMP"), (3, "OpenMP"), (2, "ours")])
def test_threads_change_nothing(count: int, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if start == "OpenMP" and compiled._openmp() is None:
        pytest.skip("torch has no GNU OpenMP here")
    current, U = noise((5, 3, 8, 6, 6)), noise((1, 1, 8, 3, 3), 1)[0, 0]
    back, layer = noise((5, 3, 8, 3, 3), 2), form(5, 8, 2, "mean", torch.float64)
    expected = plain.spikes(current, U, layer), *plain.gradients(current, U, back, layer)
    if start == "ours":
        monkeypatch.setattr(compiled, "_openmp", lambda: None)
        monkeypatch.setattr(compiled, "_start", compiled._start.__wrapped__)
    with threads(count):
        got = neurons.spikes(current, U, layer), *neurons.gradients(current, U, back, layer)
    close(got, expected, 1e-13)


def test_bf16_stores_bf16_and_computes_in_float32() -> None:
    exact = noise((6, 2, 8, 6, 6), dtype=torch.float32)
    current = exact.to(torch.bfloat16)
    layer = form(6, 8, 2, None, torch.float32)
    out = neurons.spikes(current, None, layer)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out.float(), neurons.spikes(current.float(), None, layer))
    back = noise((6, 2, 8, 3, 3), 2, torch.float32).to(torch.bfloat16)
    expected = neurons.gradients(current.float(), None, back.float(), layer)
    got = neurons.gradients(current, None, back, layer)
    assert torch.equal(got.bias, expected.bias)
    assert expected.current is not None and got.current is not None
    assert torch.equal(got.current, expected.current.to(torch.bfloat16))  # as torch rounds


def test_a_non_contiguous_input_is_taken_and_inference_keeps_nothing() -> None:
    network = small("nmnist")
    x = random_batch(network, 4, 4, static=False)
    module = adapters.load("fused").build(network)
    flipped = x.transpose(-1, -2)
    assert torch.equal(module(flipped), module(flipped.contiguous()))
    assert torch.equal(module(x[:, ::2]), module(x[:, ::2].contiguous()))
    with torch.no_grad():
        assert module(x).grad_fn is None


def test_fused_without_numba_warns_and_runs_in_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adapters.fused.neurons", None)
    fused_network.kernels_for.cache_clear()
    try:
        assert facts.look_up("fused").implementations["cpu"] == f"numba {numba.__version__}"
        with pytest.warns(RuntimeWarning, match="pip install 'snn-harness\\[fused\\]'"):
            assert fused_adapter.implementation("cpu") == "plain torch"
        module, reference, x = pair("fused", small("nmnist", "Small", "mean"), 3, 2, static=False)
        compare(module, reference, x)
    finally:
        fused_network.kernels_for.cache_clear()


def test_going_backward_twice_is_refused_and_not_wrong() -> None:
    network = small("nmnist")
    out = adapters.load("fused").build(network)(random_batch(network, 2, 2, static=False))
    out.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="call the network again instead of retain_graph"):
        out.sum().backward()


def test_changed_sources_are_recompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(Path(compiled.__file__).parent, tmp_path / "fused")
    monkeypatch.setattr(compiled, "__file__", str(copy / "compiled.py"))
    name = compiled.sources_sha256.__wrapped__
    assert name() == compiled.sources_sha256()
    with (copy / "neurons.py").open("a") as kernels:
        kernels.write("another = 1\n")
    assert name() != compiled.sources_sha256()


def test_each_specialisation_of_a_kernel_has_its_own_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba numbers the forms that lie in one folder: two processes at once would mix them up."""

    def form(zero: Any) -> Callable[[], int]:
        @compiled.callback
        def kernel(address):
            numba.carray(address, (1,), np.float64)[0] = zero

        return kernel

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert fused_adapter.compiles("cpu")
    for zero in (np.float32(0), np.float64(0)):
        form(zero)()
        assert not fused_adapter.compiles("cpu")
    folders = [path.parent for path in tmp_path.rglob("*.nbc")]
    assert len(folders) == len({*folders}) == 2


# By events.

Choose = Callable[[bool, bool, bool], None]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Has all forward passes, weights' and inputs' gradients done sparsely or densely."""

    def set_parts(forward: bool, weights: bool, inputs: bool) -> None:
        def dispatch(events: Events, weight: Tensor) -> Dispatch:
            window = events.window
            marked = inputs and window is not None
            return Dispatch(events.density, window, forward, weights, marked, inputs)

        monkeypatch.setattr(choice, "choose", dispatch)
        monkeypatch.setattr(neurons, "LEAST_OUTPUTS", 1 if forward else 10**6)

    return set_parts


# steps, batch, input maps, maps, height, width, pool; and NeuNorm's reading
ENCODED = (
    ((3, 2, 2, 16, 9, 11, 2), None),
    ((4, 1, 1, 5, 6, 6, 1), "mean"),
    ((2, 3, 3, 7, 7, 8, 3), "literal"),
)


def works(module: torch.nn.Module) -> list[Synapse]:
    """Of its convolutions."""
    layers = [layer.work for layer in module.modules() if isinstance(layer, FusedLayer)]
    return [work for work in layers if not work.product]


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("neunorm", [None, "mean", "literal"])
@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (3, 2)])
def test_the_event_engine_computes_the_reference(
    dataset: str, T: int, B: int, neunorm: Reading | None, p: float, choose: Choose
) -> None:
    network = replace(small(dataset, "Large", neunorm), dropout=p)
    module, reference, x = pair("fused", network, T, B, static=dataset == "cifar10")
    choose(True, True, True)
    compare(module, reference, x)
    by_events = [work.ran is not None for work in works(module)]
    inputs = [work.ran is not None and work.ran.input_gradient for work in works(module)]
    # NeuNorm and a pool read the gradient everywhere
    assert any(inputs) == (neunorm is None)
    # with dropout behind NeuNorm nothing can be sent as counts
    assert not by_events[0]
    assert all(by_events[1:]) != (neunorm is not None and p > 0)


@pytest.mark.parametrize(
    ("forward", "gradient"),
    [(True, False), (False, True), (False, False)],
    ids=["forward", "weight gradient", "neither"],
)
def test_each_part_is_chosen_separately(forward: bool, gradient: bool, choose: Choose) -> None:
    module, reference, x = pair("fused", small("nmnist", "Middle", "mean"), 3, 2, static=False)
    choose(forward, gradient, False)
    compare(module, reference, x)
    first, *others = fused_network.computed(module).split("; ")
    assert first == ("layer 1: by events, with its neurons" if forward else "layer 1: dense")
    for layer in others[: len(works(module)) - 1]:
        assert ("forward" in layer, "weight gradient" in layer) == (forward, gradient)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "reading"), ENCODED, ids=["plain", "mean", "literal"])
def test_an_encoding_layer_computes_its_convolution(
    shape: tuple[int, ...], reading: Reading | None, dtype: torch.dtype, choose: Choose
) -> None:
    steps, batch, inputs, maps, height, width, pool = shape
    wide = torch.promote_types(dtype, torch.float32)
    x = functional.relu(noise((steps, batch, inputs, height, width))).to(dtype)
    taps = noise((1, maps, inputs, 3, 3), 1)[0].to(dtype)
    size = maps, height // pool, width // pool
    U = noise((1, 1, *size), 2, wide)[0, 0] if reading else None
    back, bias = noise((steps, batch, *size), 3).to(dtype), noise((1, 1, maps, 1, 1), 4).flatten()
    layer = form(steps, maps, pool, reading, wide)
    choose(True, True, True)
    ours = neurons.encoding(x, taps, bias.to(dtype), layer)
    assert ours is not None
    frames, taps, bias = x.flatten(0, 1).to(wide), taps.to(wide), bias.to(dtype).to(wide)
    current = functional.conv2d(frames, taps, bias, padding=1).unflatten(0, (steps, batch))
    expected = plain.spikes(current, U, layer).to(dtype)
    torch.testing.assert_close(neurons.spikes(ours, U, layer), expected)
    expected = plain.gradients(current, U, back, layer)
    got = neurons.gradients(ours, U, back, layer)
    assert expected.current is not None and got.weight is not None and got.current is None
    d_taps = conv2d_weight(frames, list(taps.shape), expected.current.flatten(0, 1), padding=1)
    d_taps = d_taps.permute(2, 3, 1, 0).reshape(got.weight.shape)
    theirs, mine = (d_taps, expected.U, expected.bias), (got.weight, got.U, got.bias)
    close(mine, theirs, 1e-13 if wide == torch.float64 else 1e-5)


def test_an_inference_in_parts_equals_the_whole(choose: Choose) -> None:
    choose(True, True, True)
    module, _, x = pair("fused", small("cifar10"), 4, 5, static=True)
    whole = module(x)
    with torch.no_grad():
        for at_once in (1, 8, 1000):
            module.at_once = at_once
            assert torch.equal(module(x), whole)


def test_the_density_chooses_events_or_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "break_even", lambda shape: choice.BreakEven(0.2, 0.6, 0.4))
    weight, counts = torch.zeros(16, 8, 3, 3), torch.zeros(1, 5, 4, 5, dtype=torch.uint8)
    for spiking, ahead, back in ((3, True, True), (30, False, True), (70, False, False)):
        events = Events(counts, 0.25, 4, spiking)
        assert choice.choose(events, weight) == Dispatch(spiking / 100, None, ahead, back, False)
    for marked, inputs in ((39, True), (40, False)):
        events = Events(counts, 1.0, 1, 30, marked=marked)
        assert choice.choose(events, weight) == Dispatch(0.3, marked / 100, False, True, inputs)


# The event kernels against dense convolutions in float64.


def numbers(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_events(
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
    wide = torch.promote_types(dtype, torch.float32)  # that of the potential
    if events.x is None or events.U is None:
        return events
    return replace(events, x=events.x.to(wide), U=events.U.to(wide))


# images, height, width, maps, outputs; density; the most of a count; type; threads; NeuNorm
WORK = (
    st.tuples(st.integers(1, 7), *[st.integers(1, 20)] * 2, *[st.integers(1, 70)] * 2),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from([*DTYPES, torch.bfloat16]),
    st.integers(1, 3),
    st.booleans(),
)


def near(got: Tensor, exact: Tensor, dense: Tensor, size: Tensor) -> None:
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


def examine(events: Events, operands: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    """Holds the kernels' answers to a weight, a bias and a gradient against the dense ones."""
    typed = as_type(events, dtype)
    weight, bias, dy = (tensor.to(dtype) for tensor in operands)
    rounded = neurons.values(as_type(typed, torch.float64), torch.float64)
    inputs = (rounded, weight.double(), bias.double(), dy.double())
    exact, sizes = convolved(*inputs), convolved(*(tensor.abs() for tensor in inputs))
    dense = convolved(neurons.values(typed, dtype), weight, bias, dy)
    weight = weight.contiguous(memory_format=torch.channels_last)
    near(winograd.input_gradient(dy, weight), exact[2], dense[2], sizes[2])
    got = [forward.convolve(typed, weight, bias), weight_gradient.compute(dy, typed, weight)]
    if typed.marked is not None:
        read = ((typed.counts & MARK) > 0).permute(0, 3, 1, 2)
        got.append(input_gradient.compute(dy, typed, weight))
        assert not got[-1][~read].any()
        exact, dense = ((*parts[:2], parts[2] * read) for parts in (exact, dense))
    for compared in zip(got, exact, dense, sizes, strict=False):  # inputs only where marked
        near(*compared)


@settings(steady, deadline=None)  # the first ones compile
@given(st.tuples(*WORK))
@example(((1, 1, 1, 1, 1), 1.0, 1, torch.float32, 2, False))
@example(((3, 42, 42, 17, 33), 0.2, 4, torch.float32, 2, True))
@example(((2, 34, 34, 130, 65), 0.1, 1, torch.float32, 2, False))
@example(((9, 8, 8, 64, 128), 0.2, 4, torch.float64, 2, False))
def test_event_kernels_compute_the_dense_convolution(work: Any) -> None:
    shape, density, most, dtype, count, normalised = work
    images, height, width, maps, outputs = shape
    generator = torch.Generator().manual_seed(sum(shape))
    events = random_events(generator, shape[:4], most, density, normalised)
    weight, bias = numbers(generator, outputs, maps, 3, 3), numbers(generator, outputs)
    dy = numbers(generator, images, outputs, height, width)
    with threads(count):
        examine(events, (weight, bias, dy), dtype)


# Processors that numba and torch are forced to by variables, and a register's bytes.
HASWELL = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+f16c,+avx2,+bmi,+bmi2,+fma"
PROCESSORS = {
    "AVX2": (
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}
        | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        32,
    ),
    "SSE2": ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}, 16),
}
OF_KERNELS = ("test_fused", "test_adapters")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="forces processors of x86-64")
@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_registers_compute_the_same(processor: str) -> None:
    """And the tests of `fused`'s kernels pass with them."""
    forced, size = PROCESSORS[processor]
    of_kernels = OF_KERNELS if processor == "AVX2" else OF_KERNELS[:1]  # the others go through them
    files = [str(Path(__file__).with_name(f"{name}.py")) for name in of_kernels]
    of_fused = ["-q", "-m", "not slow", "-k", "(not test_adapters or fused) and not cuda"]
    code = (
        "import sys, pytest; from adapters.fused import intrinsics; "
        f"assert intrinsics.BYTES == {size}; "
        f"sys.exit(pytest.main({[*of_fused, *files]!r}))"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **forced}, check=True)


def test_lines_too_long_for_lists_of_events_are_done_densely() -> None:
    network = Network.parse(
        "4C3(Encoding)-4C3-Voting", input_shape=(1, 1, 2**15), lif=LIF_, classes=2, population=1
    )
    module, reference, x = pair("fused", network, 2, 1, static=False)
    assert torch.equal(module(x), reference(x))


def test_the_event_engine_agrees_with_dense_kernels_in_bf16(choose: Choose) -> None:
    # of one step: a spike that turns takes few with it
    module, _, x = pair("fused", small("cifar10"), 1, 4, static=True)
    module.float()
    gradients = []
    for by_events in (False, True):
        choose(by_events, by_events, by_events)
        with torch.autocast("cpu", torch.bfloat16):
            out = module(x.float())
        gradients.append(torch.autograd.grad(out.sum(), list(module.parameters())))
    assert all(work.ran is not None and work.ran.forward for work in works(module)[1:])
    for dense, ours in zip(*gradients, strict=True):
        assert ours.dtype == torch.float32
        assert torch.cosine_similarity(dense.flatten(), ours.flatten(), 0) > 0.99


@pytest.mark.parametrize("parts", [plain.DENSE_CONVOLUTION, plain.DENSE_PRODUCT])
def test_bf16_without_instructions_is_float32_rounded_once(
    parts: plain.Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "has_bf16", lambda device: False)
    product = parts is plain.DENSE_PRODUCT
    sizes = ((3, 8), (5, 8), (3, 5)) if product else ((3, 8, 6, 6), (5, 8, 3, 3), (3, 5, 6, 6))
    generator = torch.Generator().manual_seed(0)
    x, weight, dy = (torch.randn(size, generator=generator).bfloat16() for size in sizes)
    bias = weight.flatten(1).sum(1)
    for part, operands in (
        (parts.forward, (x, weight, bias)),
        (parts.weight_gradient, (dy, x, weight)),
        (parts.input_gradient, (dy, x.shape, weight)),
    ):
        wide = [operand.float() if isinstance(operand, Tensor) else operand for operand in operands]
        exact, got = part(*wide), part(*operands)  # type: ignore[arg-type]
        assert exact.dtype == torch.float32
        assert torch.equal(got, exact.bfloat16())


SHAPE = choice.Shape(8, 6, 6, 16, True, "float32", 1)


@pytest.mark.usefixtures("no_data_of_the_machine")
@pytest.mark.parametrize("shape", [SHAPE, replace(SHAPE, valued=False, precision="float64")])
def test_a_measured_break_even_is_a_density_that_later_processes_find(shape: choice.Shape) -> None:
    choice.break_even.cache_clear()
    densities = choice.break_even(shape)
    assert all(0 <= density <= 1 for density in vars(densities).values())
    choice.break_even.cache_clear()
    assert choice.break_even(shape) == densities


@pytest.mark.slow
def test_kernels_are_kept_in_the_users_cache_folder(tmp_path: Path) -> None:
    code = (
        "import torch, adapters; from harness.spec import paper; "
        "network = paper.network('8C3(Encoding)-8FC-Voting', 'nmnist')[1]; "
        "adapters.load('fused').build(network)(torch.rand(2, 1, 2, 34, 34))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True)
    folder = tmp_path / "snn-harness" / "numba"
    assert folder.parent.stat().st_mode & 0o777 == 0o700  # numba reads pickles there
    compiled_files, place = list(tmp_path.rglob("*spikes*.nb?")), folder / compiled.sources_sha256()
    assert compiled_files and all(path.is_relative_to(place) for path in compiled_files)
