"""One iteration of STBP, and the optimisers of Table 7."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.conformance import random_batch, small
from harness.reference import coding
from harness.reference.initialise import initialised
from harness.spec import Loss, paper
from harness.training import step

TEN = step.Objective(10)


def _of_counts(spikes: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of how often each class's ten neurons fired."""
    counts = torch.stack([each.sum((0, 2)) for each in spikes.split(10, dim=2)], dim=1)
    return functional.cross_entropy(counts, labels)


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda spikes, labels: coding.loss(coding.vote(spikes, 10), labels),
    "cross-entropy": _of_counts,
    "cross-entropy of votes": lambda spikes, labels: functional.cross_entropy(
        coding.vote(spikes, 10), labels
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_an_iteration_is_a_step_of_plain_sgd_on_the_loss(name: Loss) -> None:
    network = small("cifar10")
    x = random_batch(network, 3, 4, static=True).double()
    labels = torch.tensor([0, 1, 2, 3])
    module, by_hand = (initialised(network, x, seed=0) for _ in range(2))
    settings = paper.SGD(lr=0.1, momentum=0.0)
    loss = step.iteration(
        module,
        step.optimiser(module.parameters(), settings),
        x,
        labels,
        objective=step.Objective(10, name),
        precision="fp64",
    ).loss
    expected = LOSSES[name](by_hand(x), labels)
    expected.backward()
    assert loss.item() == expected.item()
    for ours, theirs in zip(module.parameters(), by_hand.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad, rtol=1e-12, atol=1e-15)


def test_twenty_iterations_lower_the_loss() -> None:
    network = small("nmnist", neunorm="mean")
    x = random_batch(network, 4, 10, static=False)
    labels = torch.arange(10)
    module = initialised(network, x, seed=0)
    optimise = step.optimiser(module.parameters(), paper.settings("nmnist").optimiser)
    losses = [
        step.iteration(module, optimise, x, labels, objective=TEN, precision="fp32").loss.item()
        for _ in range(20)
    ]
    assert losses[-1] < 0.7 * losses[0]


def test_bf16_runs_under_autocast_and_keeps_float32_weights() -> None:
    network = small("cifar10")
    x = random_batch(network, 2, 2, static=True)
    module = initialised(network, x, seed=0)
    seen: list[torch.dtype] = []
    module.layers[1].synapse.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    optimise = step.optimiser(module.parameters(), paper.SGD())
    step.iteration(module, optimise, x, torch.tensor([0, 1]), objective=TEN, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dataset", ["cifar10", "nmnist"])
def test_a_captured_step_trains_as_the_step_does(dataset: str) -> None:
    network = small(dataset)
    x = random_batch(network, 3, 4, static=dataset == "cifar10").cuda()
    x = x[:1].expand_as(x) if dataset == "cifar10" else x
    labels = torch.tensor([0, 1, 2, 3]).cuda()
    losses = []
    for wrap in (step.captured, lambda given: given):
        module = initialised(network, x, seed=0)
        optimise = step.optimiser(module.parameters(), paper.settings(dataset).optimiser)
        once = partial(_loss_of_a_step, module, optimise, x, labels)
        run = wrap(once)
        if run is once:  # as many as the capture takes first
            for _ in range(step.CAPTURE_AFTER):
                once()
        losses.append([run().item() for _ in range(5)])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-6)


def _loss_of_a_step(
    module: nn.Module, optimise: torch.optim.Optimizer, x: Tensor, labels: Tensor
) -> Tensor:
    return step.iteration(module, optimise, x, labels, objective=TEN, precision="fp32").loss
