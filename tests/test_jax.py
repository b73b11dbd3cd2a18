"""JAX: both layouts, its optimisers, and what it compiles."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import compare

import adapters
from harness.adapter import TrainerSettings
from harness.conformance import random_batch, small
from harness.reference import coding
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import LIF, SGD, Adam, Network, NeuNorm
from harness.training import step

NETWORKS = (  # odd maps, whose pools drop a row; kernels of 1 and 5; maps that are one alone
    Network.parse(
        "3C5(Encoding)-AP2-4C1-AP2-5FC-Voting", input_shape=(2, 7, 9), lif=LIF(0.3, 0.25, 0.5)
    ),
    Network.parse(
        "2C3(Encoding)-AP3-3C3-1C3-Voting", input_shape=(1, 8, 7), lif=LIF(0.25, 0.5, 1.0)
    ),
)


@pytest.fixture
def xla() -> ModuleType:
    adapters.load("jax")
    import adapters.jax as module

    return module


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("form", ["jax", "jax:nchw"])
def test_shapes_that_table_1_has_not(form: str, network: Network) -> None:
    network = replace(network, neunorm=NeuNorm(0.9, "mean"))
    module = adapters.load(form).build(network).double()
    for static in (False, True):
        x = random_batch(network, 4, 3, static=static).double()
        x = x[:1].expand_as(x) if static else x
        reference = initialised(network, x, seed=0)
        copy_parameters(reference, module)
        module.zero_grad()
        compare(module, reference, x)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("optimiser", [SGD(), Adam(1e-3)], ids=["SGD", "Adam"])
def test_four_iterations_are_torch_s(xla: ModuleType, optimiser: Any, layout: str) -> None:
    network = small("cifar10", "Small", "mean")
    x, labels = random_batch(network, 3, 4, static=True).double(), torch.tensor([0, 3, 9, 3])
    module = initialised(network, x, seed=0)
    settings = TrainerSettings("fp64", "training", optimiser, 1)
    trainer = xla._made(network, settings, layout=layout)
    trainer.load(list(module.parameters()))
    batch = trainer.put(x, labels)
    optimise = step.optimiser(module.parameters(), optimiser)
    for _ in range(4):
        optimise.zero_grad()
        loss = coding.loss(coding.vote(module(x), network.classes), labels)
        loss.backward()
        optimise.step()
        assert trainer.step(batch) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(trainer.parameters(), module.parameters(), strict=True):
        assert (ours - theirs).abs().max().item() <= 1e-12 * theirs.abs().max().item()


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
