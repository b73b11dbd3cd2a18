"""Whether an optimiser of a contender's own has done what torch's does with the same gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.proof.answer import Question
from harness.spec import SGD, Adam
from harness.training import step

# Of the largest change of a parameter; and of the largest weight, which the sum is rounded to.
OF_CHANGE = {"fp64": 1e-9, "fp32": 1e-4}
OF_WEIGHT = {"fp64": 2.0**-51, "fp32": 2.0**-22}


def wrong_update(
    question: Question,
    settings: SGD | Adam,
    gradients: Sequence[Tensor],
    updated: Sequence[Tensor],
) -> str | None:
    """What is wrong with the first update of a contender's weights, in a sentence; else None."""
    shapes = [tuple(each.shape) for each in question.parameters]
    if [tuple(each.shape) for each in updated] != shapes:
        return f"its new weights have the shapes {[tuple(each.shape) for each in updated]}"
    expected = [nn.Parameter(each.clone()) for each in question.parameters]
    for parameter, gradient in zip(expected, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    step.optimiser(expected, settings).step()
    for n, (old, new, given) in enumerate(
        zip(question.parameters, expected, updated, strict=True), 1
    ):
        change = (new.detach() - old).abs().max()
        bound = OF_CHANGE[question.precision] * change
        bound = bound + OF_WEIGHT[question.precision] * old.abs().max()
        off = (given - new.detach()).abs().max()
        if not bool(torch.isfinite(off)) or off > bound:
            return (
                f"its optimiser does not do what {settings} does: of its parameters the "
                f"{n}th is off by {float(off):.1e}, the largest change is {float(change):.1e}"
            )
    return None
