"""The only training loop: one iteration of STBP, and the optimisers of Table 7."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import assert_never

import torch
from torch import Tensor, nn

from harness.networks import SGD, Adam
from harness.reference import coding
from harness.spec import Precision


def optimiser(parameters: Iterable[nn.Parameter], settings: SGD | Adam) -> torch.optim.Optimizer:
    """The data set's optimiser, in torch's fused form (one pass over the weights)."""
    match settings:
        case SGD():
            return torch.optim.SGD(
                parameters, lr=settings.lr, momentum=settings.momentum, fused=True
            )
        case Adam():
            return torch.optim.Adam(parameters, lr=settings.lr, betas=settings.betas, fused=True)
        case _:
            assert_never(settings)


def iteration(
    module: nn.Module,
    optimise: torch.optim.Optimizer,
    x: Tensor,
    labels: Tensor,
    *,
    classes: int,
    precision: Precision,
) -> Tensor:
    """One iteration on batch x (T, B, C, H, W): zero_grad, forward, loss, backward, step; its loss.

    In bf16 the pass runs under autocast with float32 weights; the vote and the loss are float32.
    """
    optimise.zero_grad(set_to_none=True)
    cast = torch.autocast(x.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with cast:
        spikes = module(x)
    loss = coding.loss(coding.vote(spikes.to(x.dtype), classes), labels)
    loss.backward()
    optimise.step()
    return loss.detach()
