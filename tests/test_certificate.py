"""Planted faults: each must fail the certificate, or it would certify anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conftest import random_batch, small
from torch import Tensor, nn

from harness.adapter import SpikeTap, Variant
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam, exam_input
from harness.reference.network import StepNetwork
from harness.reference.neuron import LIFCell, fire, potential
from harness.spec import LIF, Network, Precision

NETWORK = small("cifar10", neunorm="mean")
BATCH = random_batch(NETWORK, 4, 8, static=True)


class DetachedReset(LIFCell):
    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None:
            state = (state[0], state[1].detach())
        return super().forward(current, state)


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


def off_by(**changes: float) -> Callable[[LIF], LIFCell]:
    return lambda lif: LIFCell(replace(lif, **changes))


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

    def drawn(network: Network, x: Tensor, seed: int) -> nn.Module:
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
    class FlipsOnce(LIFCell):
        """Two equal networks that rounded apart once: one spike in the first exam."""

        calls = 0

        def forward(
            self, current: Tensor, state: tuple[Tensor, Tensor] | None
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            o, after = super().forward(current, state)
            FlipsOnce.calls += 1
            if FlipsOnce.calls == 4 * 4 + 1:  # past the four layers and steps of the first call
                o = o.clone()
                o.view(-1)[0] = 1 - o.view(-1)[0]
            return o, after

    certificate = certify(FlipsOnce, "fp32")
    assert certificate.passed
    assert certificate.attempts == 2


def test_lower_precision_is_measured_and_not_judged() -> None:
    certificate = certify(LIFCell, "bf16")
    assert certificate.passed
    assert certificate.mismatches > 0
    assert all(0 < (layer.gradient_cosine or 0) < 1 for layer in certificate.layers)


def test_the_exam_sees_the_whole_recording_and_other_samples_each_time() -> None:
    batch = torch.arange(10 * 6).reshape(10, 6, 1, 1, 1).float()
    first, second, third = (exam_input(batch, attempt) for attempt in range(3))
    assert first[:, 0].flatten().tolist() == [0, 18, 36, 54]
    assert [each[0].flatten().tolist() for each in (first, second, third)] == [[0, 1], [2], [3]]
    assert exam_input(batch[:1, :1]).shape == (4, 1, 1, 1, 1)


def test_a_tap_is_the_identity() -> None:
    spikes = torch.ones(2, 3)
    assert SpikeTap()(spikes) is spikes
