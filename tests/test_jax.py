"""JAX: both layouts, its optimisers, and what it compiles."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

import adapters
from harness.adapter import TrainerSettings
from harness.conformance import random_batch, small
from harness.reference.initialise import initialised
from harness.spec import Adam


@pytest.fixture
def xla() -> ModuleType:
    adapters.load("jax")
    import adapters.jax as module

    return module


def test_sizes_are_compiled_once_and_before_the_clock_starts(
    xla: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small("nmnist")
    trainer = xla.trainer(network, TrainerSettings("fp64", "training", Adam(), 1))
    x = random_batch(network, 2, 3, static=False).double()
    trainer.load(list(initialised(network, x, seed=0).parameters()))
    batch = trainer.put(x, torch.zeros(3, dtype=torch.int64))
    assert len(trainer._programs) == 1
    trainer.step(batch)
    trainer.put(x + 1, torch.ones(3, dtype=torch.int64))
    assert len(trainer._programs) == 1
    trainer.put(x[:1], torch.ones(3, dtype=torch.int64))
    assert len(trainer._programs) == 2


def test_it_says_what_computes() -> None:
    assert (adapters.implementation("jax", "cpu") or "").startswith("XLA of jaxlib ")
    assert {"jax", "jaxlib", "optax"} <= {name for name, _ in adapters.packages("jax")}
