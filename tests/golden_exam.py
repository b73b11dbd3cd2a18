"""What a proof examines, and by which rules: what `exam.json` keeps. `EXAM` stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import get_args

import contenders
import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap, Variant
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam, exam_weights
from harness.proof.rules import RULES
from harness.reference.network import ReferenceNetwork, StepNetwork
from harness.spec import Network, Precision, paper

NETWORK = Network.parse(
    "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting",
    input_shape=(3, 8, 8),
    lif=paper.settings("cifar10").lif,
)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Examined(ReferenceNetwork):
    """The reference, which notes what it is asked: the input, its weights, the mode, taps."""

    def __init__(self, network: Network, asked: list[str]) -> None:
        super().__init__(network)
        self.asked = asked

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(_asked(self, x))
        return super().forward(x)


class ExaminedSteps(StepNetwork):
    """The same of one around a cell that has a near-tie on every input, so all are tried."""

    def __init__(self, network: Network, asked: list[str]) -> None:
        super().__init__(network, RoundsApart)
        self.asked = asked

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(_asked(self, x))
        return super().forward(x)


class RoundsApart(contenders.TurnsOneAtRest):
    across, samples = 8, (1, 2)


def _another_decay(network: Network, asked: list[str]) -> nn.Module:
    return Examined(replace(network, lif=replace(network.lif, k_tau=0.3)), asked)


Build = Callable[[Network, list[str]], nn.Module]


def made() -> Iterator[tuple[str, object]]:
    """The rules, what exams ask, and what they say of one that is wrong."""
    yield "rules", asdict(RULES)
    yield "required", {each: list(required(each)) for each in PRECISIONS}
    for each in PRECISIONS:
        yield f"asked in {each}", _examined(Examined, each, static=True)[0]
    yield "asked on events", _examined(Examined, "fp64", static=False)[0]
    attempts, _ = _examined(ExaminedSteps, "fp32", static=True)
    yield "attempts at one that rounds apart in fp32", attempts
    yield "of one that is wrong", _said(_examined(_another_decay, "fp64", static=True)[1])
    yield "neurons at the threshold and the edge", _planted()


def _examined(build: Build, precision: Precision, *, static: bool) -> tuple[list[str], Certificate]:
    asked: list[str] = []
    adapter = Variant((), lambda network: build(network, asked))
    return asked, Exam(NETWORK, batch(static=static), precision).certify("examined", adapter)


def _asked(module: nn.Module, x: Tensor) -> str:
    words = ["training" if module.training else "evaluating", str(x.dtype), str(tuple(x.shape))]
    words.append("with gradients" if torch.is_grad_enabled() else "without gradients")
    if torch.is_autocast_enabled("cpu"):
        words.append(f"under autocast to {torch.get_autocast_dtype('cpu')}")
    if any(isinstance(each, SpikeTap) and each.recording for each in module.modules()):
        words.append("taps on")
    digest = hashlib.sha256(x.detach().double().contiguous().numpy().data).hexdigest()
    return ", ".join([*words, f"input {digest[:8]}"])


def batch(*, static: bool) -> Tensor:
    """Inputs that are the same on every processor."""
    generator = torch.Generator().manual_seed(0)
    if static:
        images = torch.rand(12, 3, 8, 8, generator=generator)
        return images.expand(10, *images.shape)
    return (torch.rand(10, 12, 3, 8, 8, generator=generator) < 0.2).float()


def _said(found: Certificate) -> dict[str, object]:
    first = found.divergence
    assert first is not None
    return {
        "failures": len(found.failures),
        "first": [first.step, first.layer, round(first.distance, 4)],
        "layers": [
            [each.layer, each.spikes, each.mismatches, each.rate, each.gradient_error]
            for each in found.layers
        ],
    }


def _planted() -> list[bool]:
    """Of each layer whether its last two neurons have no weights, and the biases they should."""
    weights = exam_weights(NETWORK, batch(static=True)[:4, :2].double(), 0)
    lif = NETWORK.lif
    return [
        not layer.synapse.weight[-2:].any()
        and bias[-2:].tolist() == [lif.v_th + lif.a / 2, lif.v_th]
        for layer in weights.layers
        if (bias := layer.synapse.bias) is not None
    ]
