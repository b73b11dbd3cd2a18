"""Dropout from a counter: how much it drops, and that every engine draws the same masks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import TORCH

import adapters
from harness.conformance import random_batch, small
from harness.reference import dropout
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import Network, UsageError


def dropping(neunorm: bool = False) -> Network:
    return replace(small("cifar10", "Large", "mean" if neunorm else None), dropout=0.5)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_that_share_and_scales_the_rest(p: float) -> None:
    keys = dropout.keys(torch.tensor(3), 5, 4)
    dropped = torch.stack([dropout.drop(torch.ones(4, 16, 12, 12), key, p) for key in keys])
    share = (dropped == 0).double().mean().item()
    assert abs(share - p) < 4 * (p * (1 - p) / dropped.numel()) ** 0.5  # four deviations
    assert dropped.max().item() == pytest.approx(1 / (1 - p))


def test_masks_of_steps_samples_neighbours_and_seeds_are_independent() -> None:
    def masks(seed: int) -> torch.Tensor:
        stack = [
            dropout.kept(key, (16, 12, 12), 0.5) for key in dropout.keys(torch.tensor(seed), 3, 2)
        ]
        return torch.stack(stack).double() * 2 - 1

    mask = masks(0)
    others = (mask.roll(1, 0), mask.roll(1, 1), mask.roll(1, 2), mask.roll(1, -1), masks(1))
    for other in others:
        assert abs((mask * other).mean().item()) < 4 / mask.numel() ** 0.5


def test_the_mask_does_not_depend_on_how_much_is_drawn_at_once() -> None:
    keys = dropout.keys(torch.tensor(7), 4, 3)
    assert torch.equal(dropout.keys(torch.tensor(7), 2, 3), keys[:2])
    one = dropout.kept(keys[1][2:], (8, 5, 5), 0.3)
    assert torch.equal(one[0], dropout.kept(keys[1], (8, 5, 5), 0.3)[2])


def test_neither_the_encoding_nor_the_voting_layer_sees_dropped_inputs() -> None:
    drops = [stage.drops for stage in dropping().stages]
    assert (
        drops == [True] * 6 + [False] * 2
    )  # of what goes to the next layer; the last but one votes


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_a_probability_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(UsageError, match=f"dropout is {p}, expected a probability below 1"):
        replace(small("cifar10"), dropout=p)


@pytest.mark.parametrize("neunorm", [False, True])
@pytest.mark.parametrize("name", TORCH)
def test_every_adapter_draws_the_references_masks(name: str, neunorm: bool) -> None:
    network = dropping(neunorm)
    x = random_batch(network, 4, 2, static=True).double()
    x = x[:1].expand_as(x)
    reference = initialised(network, x, seed=0)
    module = adapters.load(name).build(network).double()
    copy_parameters(reference, module)
    outputs = []
    for each in (reference, module):
        torch.manual_seed(5)
        out = each(x)
        out.sum().backward()
        outputs.append(out)
    assert torch.equal(*outputs)
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        largest = theirs.grad.abs().max().item()
        assert (ours.grad - theirs.grad).abs().max().item() <= 1e-12 * largest
    torch.manual_seed(6)
    assert not torch.equal(module(x), outputs[0])  # a fresh mask each call
    plain = adapters.load(name).build(replace(network, dropout=0.0)).double()
    copy_parameters(reference, plain)
    assert torch.equal(module.eval()(x), plain(x))  # none where it is not trained
