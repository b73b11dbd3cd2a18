"""Tuned forms: the same function, named as variants are, compiled for real or said not to be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TORCH
from contenders import question
from torch._dynamo.exc import BackendCompilerFailed

import adapters
from harness.adapter import Variant
from harness.conformance import random_batch, small
from harness.proof.answer import plain_pass, tapped_pass
from harness.proof.audit import Audit
from harness.proof.certificate import required
from harness.proof.exam import Exam
from harness.spec import Options
from harness.suites import timings

# the compiler warns of itself: parts of torch that are deprecated, tensors it looks at twice
pytestmark = pytest.mark.filterwarnings("ignore")


def test_they_are_variants_of_every_framework() -> None:
    for name in adapters.available():
        for form in ("channels-last", "compiled", "cuda-graph"):
            adapter = adapters.load(f"{name}:{form}")
            assert isinstance(adapter, Variant) and adapter.DEVIATIONS == ()
            assert adapter.compiled == (form == "compiled")
            assert adapter.captured == (form == "cuda-graph")


def test_channels_last_is_what_its_name_says_and_certified() -> None:
    network = small("cifar10")
    adapter = adapters.load("reference:channels-last")
    weights = [p for p in adapter.build(network).parameters() if p.dim() == 4]
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    batch = random_batch(network, 4, 2, static=True)
    for precision in required("fp32"):
        assert Exam(network, batch, precision).certify("reference", adapter).passed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
# torch 2.13 compiles sinabs to a backward pass that fails on a view: in a run that is a row
@pytest.mark.parametrize("name", [name for name in TORCH if name not in ("fused", "sinabs")])
def test_what_compiles_is_audited_as_it_is_timed(name: str) -> None:
    network = small("cifar10")
    for precision in required("fp32"):
        asked = question(network, precision, T=4, B=2, static=True)
        module = adapters.load(f"{name}:compiled").build(network).to(asked.x.dtype)
        given = plain_pass(module, asked)
        assert Audit(network, asked).replay(given, tapped_pass(module, asked)).passed


def test_what_does_not_compile_is_an_error_and_never_runs_uncompiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small("cifar10")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    module = adapters.load("reference:compiled").build(network)
    with pytest.raises(BackendCompilerFailed):
        module(random_batch(network, 1, 1, static=True))
    torch.compiler.reset()


def test_the_suite_runs_each_framework_in_each_form_where_asked() -> None:
    plain = Options(
        suite="acceleration", frameworks=("fused", "norse"), datasets=("cifar10",),
        networks=("Small",), device="cpu",
    )  # fmt: skip
    found = [(case.framework, case.precision) for case in timings.acceleration(plain)]
    assert found == [("fused", "fp32"), ("norse", "fp32"), ("fused", "bf16")]
    tuned = timings.acceleration(replace(plain, tuned=True))
    found = [f"{case.framework} {case.precision}" for case in tuned]
    forms = ("channels-last", "compiled")
    assert found[3:] == [f"norse:{form} {each}" for each in ("fp32", "bf16") for form in forms]
