"""What a proof examines, and by which rules: what `exam.json` keeps. `EXAM` stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import get_args

import contenders
import torch
from torch import Tensor, nn

from harness.adapter import SpikeTap, Variant
from harness.proof.certificate import RULES, Certificate, required
from harness.proof.exam import Exam, exam_weights
from harness.reference.network import MakeCell, StepNetwork
from harness.reference.neuron import LIFCell
from harness.spec import Network, Precision, paper

NETWORK = Network.parse(
    "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting",
    input_shape=(3, 8, 8),
    lif=paper.settings("cifar10").lif,
)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Examined(StepNetwork):
    """The reference, which notes what it is asked: the input, its weights, the mode, taps."""

    def __init__(self, network: Network, asked: list[str], cell: MakeCell = LIFCell) -> None:
        super().__init__(network, cell)
        self.asked = asked

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(_asked(self, x))
        return super().forward(x)


class RoundsApart(contenders.TurnsOneAtRest):
    """It has a near-tie on every input, so all are tried."""

    across, samples = 8, (1, 2)


def made() -> Iterator[tuple[str, object]]:
    """The rules, what exams ask, and what they say of one that is wrong."""
    yield "rules", asdict(RULES)
    yield "required", {each: list(required(each)) for each in PRECISIONS}
    for each in PRECISIONS:
        yield f"asked in {each}", _examined(each)[0]
    yield "asked on events", _examined("fp64", static=False)[0]
    attempts, _ = _examined("fp32", RoundsApart)
    yield "attempts at one that rounds apart in fp32", attempts
    yield "of one that is wrong", _said(_examined("fp64", contenders.off_by(k_tau=0.3))[1])
    yield "neurons at the threshold and the edge", _planted()


def _examined(
    precision: Precision, cell: MakeCell = LIFCell, *, static: bool = True
) -> tuple[list[str], Certificate]:
    asked: list[str] = []
    adapter = Variant((), lambda network: Examined(network, asked, cell))
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
