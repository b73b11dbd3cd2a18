"""Trainers of Octave and JAX in all forms: shapes that Table 1 has not, and whole iterations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import compare, needs_octave

import adapters
from harness.adapter import TrainerSettings, trainer_of
from harness.conformance import random_batch, small
from harness.reference import coding
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import LIF, SGD, Adam, Network, NeuNorm
from harness.training import step

MEAN = NeuNorm(0.9, "mean")
OCTAVE = ("octave", "octave:convn", "octave:conv2")
FORMS = ["jax", "jax:nchw", *(pytest.param(form, marks=needs_octave) for form in OCTAVE)]
READINGS = [  # of NeuNorm; to compile another takes JAX seconds
    *(("jax", MEAN), ("jax:nchw", MEAN)),
    *(
        pytest.param(form, neunorm, marks=needs_octave)
        for form in OCTAVE
        for neunorm in (None, MEAN, NeuNorm(0.9, "literal"))
    ),
]
NETWORKS = (
    # odd maps, whose pools drop a row; kernels of 1 and 5
    Network.parse(
        "3C5(Encoding)-AP2-4C1-AP2-5FC-Voting", input_shape=(2, 7, 9), lif=LIF(0.3, 0.25, 0.5)
    ),
    # maps of which there is one alone
    Network.parse(
        "2C3(Encoding)-AP3-3C3-1C3-Voting", input_shape=(1, 8, 7), lif=LIF(0.25, 0.5, 1.0)
    ),
)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize(("form", "neunorm"), READINGS)
def test_shapes_that_table_1_has_not(form: str, neunorm: NeuNorm | None, network: Network) -> None:
    network = replace(network, neunorm=neunorm)
    module = adapters.load(form).build(network).double()
    for static in (False, True):
        x = random_batch(network, 4, 3, static=static).double()
        x = x[:1].expand_as(x) if static else x
        reference = initialised(network, x, seed=0)
        copy_parameters(reference, module)
        module.zero_grad()
        compare(module, reference, x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimiser", [SGD(), Adam(1e-3)], ids=["SGD", "Adam"])
def test_four_iterations_are_torch_s(optimiser: Any, form: str) -> None:
    network = small("cifar10", "Small", "mean")
    x, labels = random_batch(network, 3, 4, static=True).double(), torch.tensor([0, 3, 9, 3])
    module = initialised(network, x, seed=0)
    make = trainer_of(adapters.load(form))
    assert make is not None
    trainer = make(network, TrainerSettings("fp64", "training", optimiser, 1))
    trainer.load([each.detach() for each in module.parameters()])
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
    trainer.close()
