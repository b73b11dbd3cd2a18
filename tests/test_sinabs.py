"""sinabs: what it depends on and must not be imported."""

from __future__ import annotations

import subprocess
import sys

import torch

import adapters
from harness.conformance import random_batch, small

CODE = """
import sys
import adapters
from harness.conformance import small
adapters.load("sinabs").build(small("cifar10"))
print(sorted(name for name in sys.modules if name.partition(".")[0] == "samna"))
"""


def test_samna_is_never_imported() -> None:
    asked = [sys.executable, "-P", "-W", "ignore", "-c", CODE]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_its_constants_are_no_parameters_and_take_any_type() -> None:
    network = small("nmnist", "Small", "mean")
    module = adapters.load("sinabs").build(network)
    shapes = [tuple(each.shape) for each in adapters.load("reference").build(network).parameters()]
    assert [tuple(each.shape) for each in module.parameters()] == shapes
    x = random_batch(network, 3, 2, static=False)
    assert module(x).dtype == torch.float32
    assert module.double()(x.double()).dtype == torch.float64
