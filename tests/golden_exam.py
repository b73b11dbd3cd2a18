"""What a proof examines, and by which rules: what `exam.json` keeps. `EXAM` stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import get_args

import contenders
import torch
from golden_calls import Calls
from torch import Tensor, nn

from harness.adapter import Adapter, Variant
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
    """The reference under another name: its calls are told from the reference's own."""


def _another_decay(network: Network) -> nn.Module:
    return Examined(replace(network, lif=replace(network.lif, k_tau=0.3)))


class ExaminedSteps(StepNetwork):
    """The same of one around another cell."""


class RoundsApart(contenders.TurnsOneAtRest):
    """It has a near-tie on every input, so all of them are tried."""

    across, samples = 8, (1, 2)


EQUAL = Variant((), Examined)
WRONG = Variant((), _another_decay)
APART = Variant((), lambda network: ExaminedSteps(network, RoundsApart))


def made() -> Iterator[tuple[str, object]]:
    """The rules, the calls of exams, and what they say of one that is wrong."""
    yield "rules", asdict(RULES)
    yield "required", {each: list(required(each)) for each in PRECISIONS}
    for each in PRECISIONS:
        yield f"calls in {each}", _calls(EQUAL, each, static=True)[0]
    yield "calls on events", _calls(EQUAL, "fp64", static=False)[0]
    calls, _ = _calls(APART, "fp32", static=True)
    examined = [each for each in calls if each.startswith("Examined")]
    yield "attempts at one that rounds apart in fp32", examined
    yield "of one that is wrong", _said(_calls(WRONG, "fp64", static=True)[1])
    yield "neurons at the threshold and the edge", _planted()


def _calls(
    adapter: Adapter, precision: Precision, *, static: bool
) -> tuple[list[str], Certificate]:
    calls = Calls(_content)
    with calls.recorded():
        certificate = Exam(NETWORK, batch(static=static), precision).certify("examined", adapter)
    # the reference is scaled and examined part by part: what counts is what it is asked for whole
    kept = [each for each in calls.lines if each.startswith(("Examined", "Reference", "backward"))]
    return kept, certificate


def batch(*, static: bool) -> Tensor:
    """Inputs that are the same on every processor."""
    generator = torch.Generator().manual_seed(0)
    if static:
        images = torch.rand(12, 3, 8, 8, generator=generator)
        return images.expand(10, *images.shape)
    return (torch.rand(10, 12, 3, 8, 8, generator=generator) < 0.2).float()


def _content(x: Tensor) -> str:
    digest = hashlib.sha256(x.detach().double().contiguous().numpy().data).hexdigest()
    return f"content {digest[:8]}"


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
