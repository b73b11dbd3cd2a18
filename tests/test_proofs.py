"""Slow proofs: the certificate at the paper's own width, and equality over a whole training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from conftest import TORCH
from torch import Tensor

import adapters
from harness.conformance import random_batch, small
from harness.proof.exam import Exam
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import Precision, Reading, paper
from harness.training import step


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """These networks are large enough for all cores, unlike other tests' networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


# CIFARNet is the Large network of static images
STRUCTURES = [(row.name, row.static) for row in paper.NETWORKS if row.name != "CIFARNet"]


@pytest.mark.slow
@pytest.mark.parametrize("neunorm", [None, "mean"])
@pytest.mark.parametrize(("name", "static"), STRUCTURES)
def test_certified_at_full_width(name: str, static: bool, neunorm: Reading | None) -> None:
    """In float32, where width tells: float64 is proved of narrow ones, and by each run at full."""
    network = paper.network(name, "cifar10" if static else "nmnist", neunorm=neunorm)[1]
    exam = Exam(network, random_batch(network, 4, 4, static=static), "fp32")
    for adapter in adapters.available() if name == "Small" else TORCH:  # others take minutes
        certificate = exam.certify(adapter, adapters.load(adapter))
        assert certificate.passed, (adapter, certificate.failures)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("neunorm", [None, "mean", "literal"])
@pytest.mark.parametrize(("name", "static"), STRUCTURES)
def test_fused_is_certified_at_one_four_and_ten_steps(
    name: str, static: bool, neunorm: Reading | None, precision: Precision
) -> None:
    dataset = "cifar10" if static else "nmnist"
    network = paper.network(name, dataset, neunorm=neunorm, width=Fraction(1, 8))[1]
    batch = random_batch(network, 10, 8, static=static)
    for steps in (1, 4, 10):
        exam = Exam(network, batch, precision, steps=steps)
        certificate = exam.certify("fused", adapters.load("fused"))
        assert certificate.passed, (steps, certificate.failures)


def weights_after(name: str, x: Tensor, labels: Tensor, steps: int) -> Iterator[Tensor]:
    network = small("cifar10", "Middle", "mean")
    reference = initialised(network, x, seed=0)
    module = adapters.load(name).build(network).double()
    copy_parameters(reference, module)
    settings = paper.settings("cifar10").optimiser
    optimise = step.optimiser(module.parameters(), settings)
    for _ in range(steps):
        step.iteration(module, optimise, x, labels, objective=step.Objective(10), precision="fp64")
    return (parameter.detach() for parameter in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TORCH if name != "reference"])
def test_the_same_weights_after_sixty_steps_in_float64(name: str) -> None:
    network = small("cifar10", "Middle", "mean")
    x = random_batch(network, 4, 10, static=True).double()
    x = x[:1].expand_as(x)
    labels = torch.arange(10)
    for ours, theirs in zip(
        weights_after(name, x, labels, 60), weights_after("reference", x, labels, 60), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
