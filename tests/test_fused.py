"""The fused kernels against the plain form, which is the reference's equations written out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from conftest import compare
from torch import Tensor

import adapters
from adapters import fused as fused_adapter
from adapters.fused import plain
from adapters.fused.form import Form
from harness.conformance import random_batch, small
from harness.reference import dropout
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import LIF, NeuNorm, Reading

numba = pytest.importorskip("numba", reason="needs numba, the extra `fused`")
from adapters.fused import compiled, neurons  # noqa: E402
from adapters.fused import network as fused_network  # noqa: E402

LIF_ = LIF(0.3, 0.25, 0.25)


def made(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers in memory as channels last: (T, B, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4
    return values.to(dtype).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def form(steps: int, maps: int, pool: int, reading: Reading | None, dtype: torch.dtype) -> Form:
    return Form(steps, LIF_, pool, NeuNorm(0.9, reading) if reading else None, maps, dtype)


def dropping(chosen: Form, batch: int, p: float) -> Form:
    keys = dropout.keys(torch.tensor(11), chosen.steps, batch)
    return replace(chosen, p=p, keys=keys) if p > 0 else chosen


SHAPES = [
    (6, 6, 2, 8, 6, 6, 2),  # T, steps of the current, B, C, H, W, pool
    (4, 1, 3, 5, 7, 9, 2),  # an image that stands still, odd sizes
    (1, 1, 1, 3, 4, 4, 1),  # one step, one sample
    (5, 5, 2, 16, 1, 1, 1),  # a flat layer
    (3, 3, 1, 7, 8, 7, 3),  # another pool
    (10, 10, 2, 1, 5, 5, 2),  # a single feature map
    (3, 3, 1, 16, 2, 70, 2),  # lines of 35 windows, of which 16 are taken together
]


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reading", [None, "mean", "literal"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_give_what_the_plain_form_gives(
    shape: tuple[int, ...], reading: Reading | None, dtype: torch.dtype, p: float
) -> None:
    steps, moving, batch, maps, height, width, pool = shape
    current = made((moving, batch, maps, height, width), dtype=dtype)
    h, w = height // pool, width // pool
    U = made((1, 1, maps, h, w), 1, dtype)[0, 0] if reading else None
    chosen = dropping(form(steps, maps, pool, reading, dtype), batch, p)
    back = made((steps, batch, maps, h, w), 2, dtype)
    expected, got = (kernels.spikes(current, U, chosen) for kernels in (plain, neurons))
    if pool != 3:  # a ninth is no binary fraction: sums of them round
        assert torch.equal(got, expected)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    expected = plain.gradients(current, U, back, chosen)
    got = neurons.gradients(current, U, back, chosen)  # last: it takes the current's memory
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    for ours, theirs in zip(got, expected, strict=True):
        if theirs is None:
            assert ours is None
            continue
        scale = max(theirs.abs().max().item(), 1e-30)
        assert ours is not None and ours.shape == theirs.shape
        assert (ours - theirs).abs().max().item() <= tolerance * scale


def test_it_fires_exactly_at_the_threshold() -> None:
    lif = LIF(0.25, 0.625, 1.0)
    current = torch.full((4, 1, 1, 1, 1), 0.5)
    out = neurons.spikes(current, None, Form(4, lif, 1, None, 1, torch.float32))
    assert out.flatten().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    before = torch.get_num_threads()
    current, U = made((5, 3, 8, 6, 6)), made((1, 1, 8, 3, 3), 1)[0, 0]
    back, chosen = made((5, 3, 8, 3, 3), 2), form(5, 8, 2, "mean", torch.float64)

    def run() -> tuple[Tensor | None, ...]:
        out = neurons.spikes(current, U, chosen)
        return out, *neurons.gradients(current.clone(), U, back, chosen)

    expected = run()
    try:
        torch.set_num_threads(threads)
        got = run()
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-15)


def test_bf16_stores_bf16_and_computes_in_float32() -> None:
    exact = made((6, 2, 8, 6, 6), dtype=torch.float32)
    current = exact.to(torch.bfloat16)
    chosen = form(6, 8, 2, None, torch.float32)
    out = neurons.spikes(current, None, chosen)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out.float(), neurons.spikes(current.float(), None, chosen))
    back = made((6, 2, 8, 3, 3), 2, torch.float32).to(torch.bfloat16)
    expected = neurons.gradients(current.float(), None, back.float(), chosen)
    got = neurons.gradients(current, None, back, chosen)
    assert torch.equal(got.bias, expected.bias)
    assert torch.equal(
        got.current, expected.current.to(torch.bfloat16)
    )  # rounded to nearest even, as torch does


@pytest.mark.parametrize("neunorm", [None, "mean"])
@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
@pytest.mark.parametrize(("T", "B"), [(1, 1), (4, 2), (10, 1)])
def test_a_network_is_the_reference(dataset: str, T: int, B: int, neunorm: Reading | None) -> None:
    network = small(dataset, "Large", neunorm)
    x = random_batch(network, T, B, static=dataset == "cifar10").double()
    x = x[:1].expand_as(x) if dataset == "cifar10" else x
    reference = initialised(network, x, seed=0)
    module = adapters.load("fused").build(network).double()
    copy_parameters(reference, module)
    compare(module, reference, x)


def test_a_non_contiguous_input_is_taken() -> None:
    network = small("nmnist")
    x = random_batch(network, 4, 4, static=False)
    module = adapters.load("fused").build(network)
    flipped = x.transpose(-1, -2)
    assert torch.equal(module(flipped), module(flipped.contiguous()))
    assert torch.equal(module(x[:, ::2]), module(x[:, ::2].contiguous()))


def test_inference_keeps_nothing() -> None:
    network = small("nmnist")
    module = adapters.load("fused").build(network)
    with torch.no_grad():
        assert module(random_batch(network, 2, 2, static=False)).grad_fn is None


def test_without_numba_it_says_so_and_runs_in_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adapters.fused.neurons", None)
    fused_network.kernels_for.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="pip install 'snn-harness\\[fused\\]'"):
            assert fused_adapter.implementation("cpu") == "plain torch"
        network = small("nmnist", "Small", "mean")
        x = random_batch(network, 3, 2, static=False)
        module = adapters.load("fused").build(network)
        reference = adapters.load("reference").build(network)
        copy_parameters(reference, module)
        assert torch.equal(module(x), reference(x))
    finally:
        fused_network.kernels_for.cache_clear()


def test_the_record_says_what_ran() -> None:
    assert adapters.implementation("fused", "cpu") == f"numba {numba.__version__}"
    assert adapters.implementation("reference", "cpu") is None


def test_going_backward_twice_is_refused_and_not_wrong() -> None:
    network = small("nmnist")
    out = adapters.load("fused").build(network)(random_batch(network, 2, 2, static=False))
    out.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="call the network again instead of retain_graph"):
        out.sum().backward()


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
    kept = list(tmp_path.rglob("*spikes*.nb?"))
    assert kept
    for path in kept:
        assert path.is_relative_to(folder / compiled.sources_sha256())


def test_kernels_of_other_sources_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(Path(compiled.__file__).parent, tmp_path / "fused")
    monkeypatch.setattr(compiled, "__file__", str(copy / "compiled.py"))
    name = compiled.sources_sha256.__wrapped__
    assert name() == compiled.sources_sha256()
    kernel = (copy / "neurons.py").read_text()
    assert "k * state[e]" in kernel
    (copy / "neurons.py").write_text(kernel.replace("k * state[e]", "k * k * state[e]"))
    assert name() != compiled.sources_sha256()


@pytest.mark.parametrize("openmp", [True, False])
def test_threads_of_our_own_give_the_same(openmp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if openmp and compiled._openmp() is None:
        pytest.skip("torch has no GNU OpenMP here")
    monkeypatch.setattr(compiled, "_openmp", (lambda: None) if not openmp else compiled._openmp)
    compiled._start.cache_clear()
    current, chosen = made((5, 3, 8, 6, 6)), form(5, 8, 2, None, torch.float64)
    try:
        assert torch.equal(
            neurons.spikes(current, None, chosen), plain.spikes(current, None, chosen)
        )
    finally:
        compiled._start.cache_clear()


def test_width_that_fills_no_vector() -> None:
    network = small("cifar10", "Middle", "mean").scaled(Fraction(3, 16))
    x = random_batch(network, 3, 2, static=True)
    reference = initialised(network, x, seed=0)
    module = adapters.load("fused").build(network)
    copy_parameters(reference, module)
    assert torch.equal(module(x), reference(x))
