"""Planted faults: each must fail the certificate, or it would certify anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import contenders
import pytest
import torch
from contenders import DetachedReset, off_by
from torch import Tensor, nn

import adapters
from harness.adapter import SpikeTap, Variant, examined
from harness.conformance import random_batch, small
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam, Questions, Sitting, edge_potential, exam_input, sit
from harness.reference import neuron
from harness.reference.network import StepNetwork
from harness.reference.neuron import LIFCell, fire, potential
from harness.spec import LIF, Network, Precision

NETWORK = small("cifar10", neunorm="mean")
BATCH = random_batch(NETWORK, 4, 8, static=True)


class FiresAbove(LIFCell):
    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        u = current if state is None else potential(*state, current, self.lif.k_tau)
        distance = u - self.lif.v_th
        o = fire(distance - (distance == 0).to(u.dtype) * 1e-30, self.lif.a)
        return o, (u, o)


class StaleState(LIFCell):
    """Starts each call from where the last one ended."""

    left: tuple[Tensor, Tensor] | None = None

    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None and self.left is not None and self.left[0].shape == current.shape:
            state = self.left
        o, after = super().forward(current, state)
        self.left = (after[0].detach(), o.detach())
        return o, after


class WidePotential(LIFCell):
    """The paper's neuron with its potential in float32 under autocast."""

    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return super().forward(current.float(), state)


def certify(
    cell: Callable[[LIF], nn.Module], precision: Precision = "fp64", batch: Tensor = BATCH
) -> Certificate:
    adapter = Variant((), lambda network: StepNetwork(network, cell))
    return Exam(NETWORK, batch, precision).certify("planted", adapter)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_the_reference_itself_passes(precision: Precision) -> None:
    assert certify(LIFCell, precision).passed


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize(
    ("cell", "failure"),
    [
        (DetachedReset, "gradients differ by"),
        (FiresAbove, "abs(u - V_th) = 0.0e+00"),
        (StaleState, "spikes differ, first at step 1"),
        (off_by(k_tau=NETWORK.lif.k_tau + 1e-3), "spikes differ"),
        (off_by(a=NETWORK.lif.a * 1.001), "gradients differ by"),
        (off_by(v_th=NETWORK.lif.v_th + 1e-4), "spikes differ"),
    ],
    ids=["detached-reset", "fires-above", "stale-state", "decay", "surrogate-width", "threshold"],
)
def test_a_planted_fault_is_not_certified(
    cell: Callable[[LIF], nn.Module], failure: str, precision: Precision
) -> None:
    certificate = certify(cell, precision)
    assert not certificate.passed
    assert any(failure in text for text in certificate.failures), certificate.failures


def test_a_detached_reset_has_every_spike_right() -> None:
    # so a certificate of spikes alone would pass it
    certificate = certify(DetachedReset)
    assert certificate.mismatches == 0
    assert certificate.gradient_error > 0.1


def test_a_silent_network_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.proof import exam
    from harness.reference.initialise import initialised

    def drawn(network: Network, x: Tensor, seed: int, precision: Precision) -> nn.Module:
        return initialised(network, x, seed=seed, scheme="torch")

    monkeypatch.setattr(exam, "exam_weights", drawn)
    network = small("cifar10", "Large")
    batch = random_batch(network, 4, 4, static=True)
    adapter = Variant((), lambda network: StepNetwork(network, LIFCell))
    certificate = Exam(network, batch, "fp64").certify("dead", adapter)
    assert certificate.mismatches == 0 and certificate.gradient_error != certificate.gradient_error
    assert not certificate.passed
    assert any(
        text.startswith("silent: layer 8 Voting fires at a rate of")
        for text in certificate.failures
    )


def test_a_cell_that_never_fires_is_not_certified() -> None:
    class Mute(LIFCell):
        def forward(
            self, current: Tensor, state: tuple[Tensor, Tensor] | None
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            o, after = super().forward(current, state)
            return o * 0, after

    assert not certify(Mute).passed


def test_an_adapter_that_names_a_deviation_is_never_passed() -> None:
    adapter = Variant(("it says so",), lambda network: StepNetwork(network, LIFCell))
    certificate = Exam(NETWORK, BATCH, "fp64").certify("modest", adapter)
    assert not certificate.failures
    assert not certificate.passed


def test_parameters_in_another_order_are_said() -> None:
    class Backwards(StepNetwork):
        def parameters(self, recurse: bool = True):
            return reversed(list(super().parameters(recurse)))

    adapter = Variant((), lambda network: Backwards(network, LIFCell))
    certificate = Exam(NETWORK, BATCH, "fp64").certify("backwards", adapter)
    assert "layer order" in certificate.failures[0]


def test_a_missing_tap_is_said() -> None:
    def build(network: Network) -> nn.Module:
        module = StepNetwork(network, LIFCell)
        module.layers[1].tap = nn.Identity()  # type: ignore[assignment]
        return module

    certificate = Exam(NETWORK, BATCH, "fp64").certify("untapped", Variant((), build))
    assert "one tap a layer" in certificate.failures[0]


def test_a_float32_near_tie_is_decided_on_another_input() -> None:
    certificate = certify(contenders.TurnsOneAtRest, "fp32")
    assert certificate.passed, certificate.failures
    assert certificate.attempts == 2
    assert not certify(contenders.TurnsOneAtRest, "fp64").passed


def test_what_a_replay_refuses_is_not_tried_on_another_input() -> None:
    adapter = Variant((), contenders.FirstSampleTimesB)  # it is right where there is one sample
    certificate = Exam(NETWORK, BATCH, "fp32").certify("cheat", adapter)
    assert not certificate.passed and certificate.attempts == 1


@pytest.mark.parametrize("cell", [LIFCell, WidePotential])
def test_bf16_is_judged_by_replay_and_its_distance_stated(cell: Callable[[LIF], nn.Module]) -> None:
    certificate = certify(cell, "bf16")
    assert certificate.passed, certificate.failures
    assert certificate.mismatches > 0  # free-running, it is not float32's
    assert all(0 < (layer.gradient_cosine or 0) < 1 for layer in certificate.layers)


@pytest.mark.parametrize(
    ("cell", "failure"),
    [
        (DetachedReset, "within bf16's rounding"),
        (off_by(a=NETWORK.lif.a * 1.4), "within bf16's rounding"),
        (off_by(v_th=NETWORK.lif.v_th * 1.1), "not what its inputs make them"),
        (off_by(k_tau=NETWORK.lif.k_tau * 1.5), "not what its inputs make them"),
    ],
    ids=["detached-reset", "surrogate-width", "threshold", "decay"],
)
def test_a_planted_fault_is_refused_in_bf16(cell: Callable[[LIF], nn.Module], failure: str) -> None:
    certificate = certify(cell, "bf16")
    assert any(failure in text for text in certificate.failures), certificate.failures


PRECISIONS: tuple[Precision, ...] = ("fp64", "fp32", "bf16")
EXACT: tuple[Precision, ...] = ("fp64", "fp32")
CHEATS: dict[str, tuple[Callable[[Network], nn.Module], str]] = {
    "out + 1": (contenders.OutPlusOne, "entries of the output are neither 0 nor 1"),
    "packs weights": (contenders.PacksWeights, "with no tap recording"),
    "NaN in a bias": (contenders.NoNumber, "entries of the gradient of the bias of layer 1"),
    "NaN in U": (
        lambda network: contenders.NoNumber(network, "neunorm.U"),
        "entries of the gradient of U of layer 1 16C3(Encoding) are not finite",
    ),
    "mute in eval mode": (contenders.MuteInEval, "the output is not the voting layer's spikes"),
    "stale in eval mode": (contenders.StaleAtEval, "output spikes"),
    "one step unseen": (contenders.OneStepUnseen, "with no tap recording"),
    "from memory": (contenders.FromMemory, "the output is not the voting layer's spikes"),
    "first sample times B": (contenders.FirstSampleTimesB, "gradient"),
    "no gradient": (contenders.NoGradient, "the output carries no gradient"),
    "changes its weights": (contenders.ChangesParameters, "changes its parameters in place"),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_refused_with_a_sentence_that_names_it(cheat: str, precision: Precision) -> None:
    build, sentence = CHEATS[cheat]
    certificate = Exam(NETWORK, BATCH, precision).certify(cheat, Variant((), build))
    assert not certificate.passed
    assert any(sentence in text for text in certificate.failures), certificate.failures


@pytest.mark.parametrize("precision", EXACT)
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (contenders.NearlyOne, "entries of the output are neither 0 nor 1"),
        (contenders.RoundedWeights, "spikes differ"),
        (contenders.stepped(contenders.WideEdge), "gradients differ by"),
    ],
    ids=["nearly-one", "rounded-weights", "wide-edge"],
)
def test_what_bf16_rounds_away_is_refused_in_exact_precisions(
    build: Callable[[Network], nn.Module], sentence: str, precision: Precision
) -> None:
    certificate = Exam(NETWORK, BATCH, precision).certify("cheat", Variant((), build))
    assert any(sentence in text for text in certificate.failures), certificate.failures


def test_garbage_under_autocast_is_refused() -> None:
    adapter = Variant((), contenders.GarbageUnderAutocast)
    assert Exam(NETWORK, BATCH, "fp32").certify("garbage", adapter).passed
    certificate = Exam(NETWORK, BATCH, "bf16").certify("garbage", adapter)
    assert any("not what its inputs make" in text for text in certificate.failures)


def test_an_input_changed_in_place_is_named() -> None:
    network = small("nmnist")
    batch = random_batch(network, 4, 2, static=False)
    adapter = Variant((), contenders.ChangesInput)
    certificate = Exam(network, batch, "fp64").certify("changes", adapter)
    assert certificate.failures == ("it changes its input in place",)


@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neuron_lies_exactly_at_the_edge_of_the_surrogate(
    dataset: str, dtype: torch.dtype
) -> None:
    lif = small(dataset).lif
    found = edge_potential(lif, dtype)
    assert found is not None and found > lif.v_th
    u = torch.tensor(found, dtype=dtype)
    assert (u - lif.v_th).abs() <= lif.a / 2
    assert not neuron.surrogate(u - lif.v_th, lif.a)


def test_where_none_lies_above_the_threshold_one_does_below_or_none() -> None:
    found = [
        edge_potential(LIF(0.25, v_th / 100, a / 100), torch.float32)
        for v_th in range(5, 105, 7)
        for a in range(5, 205, 13)
    ]
    assert None in found and sum(each is not None for each in found) > len(found) / 2


def test_the_judge_needs_the_answers_alone() -> None:
    module = StepNetwork(NETWORK, LIFCell)
    exam = Exam(NETWORK, BATCH, "fp64")
    asked: list[Questions] = []

    def elsewhere(questions: Questions) -> Sitting:
        asked.append(questions)
        return sit(module, questions)

    assert exam.judge("far", (), elsewhere).passed
    (questions,) = asked
    assert questions.first.parameters[0].ne(questions.asked.parameters[0]).any()
    assert questions.first.x.ne(questions.asked.x).any()

    def forged(questions: Questions) -> Sitting:
        sitting = sit(module, questions)
        return replace(sitting, tapped=replace(sitting.tapped, spikes=()))

    assert "one tap a layer" in exam.judge("forged", (), forged).failures[0]


def test_what_compiles_is_examined_before_it_is_compiled() -> None:
    assert examined(adapters.load("reference:compiled"))(NETWORK)._compiled_call_impl is None
    plain = adapters.load("reference")
    assert examined(plain) is plain.build


def test_the_exam_sees_the_whole_recording_and_other_samples_each_time() -> None:
    batch = torch.arange(10 * 6).reshape(10, 6, 1, 1, 1).float()
    first, second, third = (exam_input(batch, attempt) for attempt in range(3))
    assert first[:, 0].flatten().tolist() == [0, 18, 36, 54]
    assert [each[0].flatten().tolist() for each in (first, second, third)] == [[0, 1], [2], [3]]
    assert exam_input(batch[:1, :1]).shape == (4, 1, 1, 1, 1)


def test_a_tap_is_the_identity() -> None:
    spikes = torch.ones(2, 3)
    assert SpikeTap()(spikes) is spikes
