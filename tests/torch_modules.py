"""Modules of frameworks: their names, and each compared with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adapters
from adapters import facts
from harness.conformance import random_batch
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import Network

# Foreign runtimes have no dropout, no bf16 and no tuned form of a module.
TORCH = [name for name in adapters.available() if not facts.look_up(name).foreign]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with that many threads."""
    count = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def pair(
    name: str, network: Network, T: int, B: int, *, static: bool
) -> tuple[Any, nn.Module, Tensor]:
    """An adapter's module and the reference with the same weights, and an input; in float64."""
    x = random_batch(network, T, B, static=static).double()
    x = x[:1].expand_as(x) if static else x
    reference = initialised(network, x, seed=0)
    module = adapters.load(name).build(network).double()
    copy_parameters(reference, module)
    return module, reference, x


def compare(module: nn.Module, reference: nn.Module, x: Tensor) -> None:
    """Assert equal spikes and gradients, with the same dropout masks, in float64."""
    torch.manual_seed(3)
    out = module(x)
    torch.manual_seed(3)
    expected = reference(x)
    assert torch.equal(out, expected)
    back = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    out.backward(back)
    expected.backward(back)
    gradients = (
        [parameter.grad for parameter in module_.parameters()] for module_ in (module, reference)
    )
    close(*gradients, within=1e-12)


def close(got: Iterable[Tensor | None], expected: Iterable[Tensor | None], within: float) -> None:
    """Assert that they differ by no more than this share of the largest entry."""
    for actual, right in zip(got, expected, strict=True):
        assert (actual is None) == (right is None)
        if actual is not None and right is not None:
            scale = max(right.abs().max().item(), 1e-30)
            assert actual.shape == right.shape
            assert (actual - right).abs().max().item() <= within * scale


def all_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fused` compute by events wherever it can; otherwise the machine decides."""
    choice = pytest.importorskip("adapters.fused.choice")
    always = choice.BreakEven(1.1, 1.1, 1.1, True)
    monkeypatch.setattr(choice, "break_even", lambda shape: always)
