"""What gradients are measured by."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from harness.proof import gradients as measures
from harness.proof.answer import Question
from harness.proof.audit import allowed
from harness.proof.certificate import RULES
from harness.spec import Precision, paper

SYNAPSES = {
    "convolution": (nn.Conv2d(5, 7, 3, padding=1), (10, 8, 5, 34, 34), (10, 8, 7, 34, 34)),
    "still image": (nn.Conv2d(5, 7, 3, padding=1), (1, 8, 5, 34, 34), (10, 8, 7, 34, 34)),
    "product": (nn.Linear(90, 7), (10, 30, 90), (10, 30, 7)),
}


@pytest.mark.parametrize("kind", SYNAPSES)
def test_a_replayed_weight_gradient_is_nearer_than_what_is_allowed(kind: str) -> None:
    synapse, of_inputs, of_currents = SYNAPSES[kind]
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.rand(of_inputs, generator=generator) < 0.2).float()
    du = torch.randn(of_currents, generator=generator)
    double = deepcopy(synapse).double()
    current = double(inputs.double().expand(10, *of_inputs[1:]).flatten(0, 1))
    (exact,) = torch.autograd.grad(current, [double.weight], du.double().flatten(0, 1))
    found = measures.weight_gradient(synapse, inputs, du)
    assert found.dtype == torch.float32
    off = (found.double() - exact).abs().max() / exact.abs().max()
    assert off < RULES.fp32.gradient_error / 5


def asked(precision: Precision) -> Question:
    """As a default run asks it: ten steps of 20 samples."""
    x = torch.zeros(10, 20, 2, 34, 34)
    return Question((), x, 10, static=False, precision=precision, classes=10, population=10)


def test_a_gradient_may_be_off_by_what_one_float32_sum_of_its_products_is() -> None:
    _, network = paper.network("Middle", "nmnist")
    bounds = allowed(network.stages, asked("fp32"))
    weights, biases = bounds[::2], bounds[1::2]
    places = [34**2, 34**2, 17**2, 1, 1]  # of each layer's neurons in one image and map
    of_sums = [2**-24 * (200 * each) ** 0.5 for each in places]
    assert list(weights) == pytest.approx([max(1e-5, each) for each in of_sums])
    assert set(biases) == {RULES.bias_fp32}
    assert set(allowed(network.stages, asked("fp64"))) == {RULES.replayed_fp64}

    products = np.random.default_rng(0).standard_normal((200 * 34**2, 16)).astype(np.float32)
    in_a_row = np.add.accumulate(products, axis=0, dtype=np.float32)[-1]
    exact = products.sum(0, dtype=np.float64)
    off = abs(in_a_row - exact).max() / abs(exact).max()
    assert weights[1] / 5 < off < weights[1]
