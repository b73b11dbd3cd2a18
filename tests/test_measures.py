"""What gradients are measured by."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from harness.proof import measures
from harness.proof.rules import RULES

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
