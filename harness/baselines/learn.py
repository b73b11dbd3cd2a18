"""What the systems that learn by gradients share: epochs over batches in a seeded order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.datasets.augment import cropped_and_flipped
from harness.spec import Say, UsageError

# What of a batch is to fall: inputs (B, ...) and labels (B,) to a number.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Course:
    """How long something is trained, and in what batches."""

    epochs: int
    batch_size: int
    seed: int
    augmented: bool = False  # images uint8 (B, C, H, W) are cropped and flipped at random


def train(
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    labels: NDArray[np.int64],
    course: Course,
    tell: Say,
) -> None:
    """Steps through the samples, in an order and with draws that the seed and the epoch decide.

    `loss` is given a batch of `inputs` (N, ...) as they are. Raises UsageError where it becomes no
    number.
    """
    expected, value = torch.from_numpy(labels), torch.zeros(())
    for epoch in range(1, course.epochs + 1):
        seed = _seed(course.seed, epoch)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(labels), generator=generator)
        for n, chosen in enumerate(order.split(course.batch_size)):
            x = inputs[chosen]
            if course.augmented:
                x = cropped_and_flipped(x, generator)
            optimiser.zero_grad()
            value = loss(x, expected[chosen])
            value.backward()
            optimiser.step()
            done = (epoch - 1 + (n * course.batch_size) / len(labels)) / course.epochs
            tell(done, f"epoch {epoch}/{course.epochs}")
        if not isfinite(float(value.detach())):
            raise UsageError(f"the loss is no number any more in epoch {epoch}: use fewer epochs")


def _seed(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"baseline {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.inference_mode()
def scores(module: nn.Module | Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> Tensor:
    """What it says of each sample, (N, classes), a batch at a time."""
    return torch.cat([module(part) for part in inputs.split(batch)])


def seeded(seed: int) -> None:
    """First weights and what is drawn from here on are the seed's."""
    torch.manual_seed(_seed(seed, 0))
