"""The only training loop: one iteration of STBP, and the optimisers of Table 7."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.reference import coding
from harness.reference.precision import DTYPES, autocast
from harness.reference.synapses import is_static
from harness.spec import LOSS, Case, Loss, Precision
from harness.spec.paper import SGD, Adam


def optimiser(parameters: Iterable[nn.Parameter], settings: SGD | Adam) -> torch.optim.Optimizer:
    """Return the optimiser of these settings, in torch's fused form (one pass over the weights)."""
    parameters = list(parameters)
    if isinstance(settings, SGD):
        groups = parameters if settings.fc_factor is None else _groups(parameters, settings)
        return torch.optim.SGD(groups, settings.lr, settings.momentum, fused=True)
    return torch.optim.Adam(parameters, settings.lr, settings.betas, fused=True)


def _groups(parameters: list[nn.Parameter], settings: SGD) -> list[dict[str, Any]]:
    """Fully connected layers separately, since they have a rate of their own."""
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "factor": settings.fc_factor}]
    is_fc = False
    for parameter in parameters:
        is_fc = parameter.ndim == 2 or (is_fc and parameter.ndim == 1)  # a bias follows its weight
        groups[is_fc]["params"].append(parameter)
    return groups


def placed(x: Tensor, case: Case) -> Tensor:
    """Return x (T, B, C, H, W) on the case's device, in its precision; static stays expanded."""
    moment = x[:1] if is_static(x) else x
    return moment.to(case.device, DTYPES[case.contender.precision]).expand(x.shape)


class Outcome(NamedTuple):
    """The outcome of an iteration, still on the device."""

    loss: Tensor  # ()
    votes: Tensor  # (B, classes)
    spikes: Tensor  # (T, B, N), of the voting layer


def iteration(
    module: nn.Module,
    optimise: torch.optim.Optimizer,
    x: Tensor,
    labels: Tensor,
    *,
    classes: int,
    precision: Precision,
    loss_function: Loss = LOSS,
) -> Outcome:
    """Run one iteration on batch x (T, B, C, H, W): zero_grad, forward, loss, backward, step.

    In bf16 the pass runs under autocast with float32 weights; the vote and the loss are float32.
    """
    optimise.zero_grad(set_to_none=True)
    with autocast(precision, x.device):
        spikes = module(x)
    fired = spikes.to(x.dtype)
    votes = coding.vote(fired, classes)
    match loss_function:
        case "mse":
            loss = coding.loss(votes, labels)
        case "cross-entropy":
            loss = coding.cross_entropy(fired, labels, classes)
        case "cross-entropy of votes":
            loss = functional.cross_entropy(votes, labels)
    loss.backward()
    optimise.step()
    return Outcome(loss.detach(), votes.detach(), spikes.detach())


@torch.inference_mode()
def inference(module: nn.Module, x: Tensor, precision: Precision) -> Tensor:
    """Run the forward pass without autograd: x (T, B, C, H, W) -> voting spikes (T, B, N)."""
    with autocast(precision, x.device):
        return module(x)
