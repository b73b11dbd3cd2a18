"""Whether an answer is one at all: its shapes, finite numbers, spikes of 0 and 1.

Who judges has it from another process, so nothing is taken for granted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.proof.answer import Answer, Incomparable, Question, as_spikes
from harness.spec import Network


def check(answer: Answer, network: Network, question: Question) -> None:
    """Raises Incomparable, with a sentence, where there is nothing that could be compared."""
    if tuple(answer.out.shape) != question.out_shape:
        raise Incomparable(
            f"the output is {tuple(answer.out.shape)}, expected a tensor of {question.out_shape}"
        )
    as_spikes(answer.out, "the output")
    shapes = [tuple(each.shape) for each in question.parameters]
    found = [tuple(each.shape) for each in answer.gradients]
    if found != (shapes if question.mode == "training" else []):
        raise Incomparable(f"gradients of shapes {found}, expected {shapes}")
    for name, gradient in zip(parameters_of(network), answer.gradients, strict=False):
        _check_finite(name, gradient)


def check_tapped(answer: Answer, network: Network, question: Question) -> None:
    """The same of an answer with every layer's spikes; the last layer's are its output."""
    check(answer, network, question)
    steps, batch = question.out_shape[:2]
    expected = [(steps, batch, *stage.output_shape) for stage in network.stages]
    found = [tuple(each.shape) for each in answer.spikes]
    if found != expected:
        raise Incomparable(
            f"spikes of shapes {found} were exposed, expected one tap a layer: {expected}"
        )
    for stage, each in zip(network.stages, answer.spikes, strict=True):
        as_spikes(each, f"the spikes of layer {stage.name}")
    differ = int((answer.out.bool() != answer.spikes[-1].bool()).sum())
    if differ:
        raise Incomparable(
            f"the output is not the voting layer's spikes: {differ:,} of {answer.out.numel():,} "
            "entries differ"
        )


def parameters_of(network: Network) -> tuple[str, ...]:
    """What the parameters are called in sentences, in layer order."""
    return tuple(
        f"{kind} of layer {stage.name}"
        for stage in network.stages
        for kind in ("the weights", "the bias", *(["U"] if stage.neunorm_shape else []))
    )


def _check_finite(name: str, gradient: Tensor) -> None:
    wrong = int((~torch.isfinite(gradient)).sum())
    if wrong:
        raise Incomparable(
            f"{wrong:,} of {gradient.numel():,} entries of the gradient of {name} are not finite"
        )
