"""STBP of 2018 and Lee et al.: their neurons by hand, their gradients against autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from harness import baselines
from harness.baselines import framed, lee, stbp
from harness.baselines.contract import Answers, Method, Recordings
from harness.baselines.framed import MOST_BINS, Binning
from harness.baselines.lee import Circuit, Parameters
from harness.baselines.progress import silent
from harness.datasets.events import EVENT, Events
from harness.reference import coding
from harness.spec import UsageError

CIRCUIT = Circuit(decay=0.5, kappa=0.0, sigma=0.5, rest=0.0, silent=False)
SMALL = Parameters(hidden=30, lr=5e-3)
METHODS: dict[str, Callable[[], Method]] = {
    "stbp": lambda: stbp.STBP(30, 30),
    "lee": lambda: lee.Lee(SMALL, 20),
}


def joined(parts: list[Events], labels: list[int], sensor: tuple[int, int] = (6, 6)) -> Recordings:
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return Recordings(np.concatenate(parts), starts, np.array(labels, np.int64), sensor, 3)


def striped(number: int, seed: int) -> Recordings:
    """50 ms of 120 events each; a class is the pair of columns in which they are."""
    random = np.random.default_rng(seed)
    labels = [n % 3 for n in range(number)]
    parts = []
    for label in labels:
        events = np.zeros(120, EVENT)
        events["x"] = 2 * label + random.integers(0, 2, 120)
        events["y"], events["p"] = random.integers(0, 6, 120), random.integers(0, 2, 120)
        events["t"] = np.sort(random.integers(0, 50_000, 120))
        events["t"] -= events["t"][0]
        parts.append(events)
    return joined(parts, labels)


def asked(method: Method, seed: int) -> Answers:
    train = striped(60, 1)
    method.fit(train, train.part(np.arange(3)), seed, silent)
    found = method.predict(striped(30, 2))
    assert isinstance(found, Answers)
    return found


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def others(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True) - values


# what both share


@pytest.mark.parametrize("name", METHODS)
def test_a_small_task_is_learned(name: str) -> None:
    found = asked(METHODS[name](), seed=0)
    assert (found.labels == striped(30, 2).labels).mean() > 0.8  # chance is a third
    assert found.spikes is not None and found.spikes > 1


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_the_weights_and_the_answers(name: str) -> None:
    def weights(seed: int) -> list[Tensor]:
        method = METHODS[name]()
        method.fit(striped(12, 1), striped(3, 1), seed, silent)
        assert isinstance(method, stbp.STBP | lee.Lee) and method._network is not None
        return [each.detach() for each in method._network.parameters()]

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", METHODS)
def test_it_says_what_it_is_and_how_far_it_is(name: str) -> None:
    system = baselines.load(name)
    assert system.build("paper", 1).structure == "2312-800-10"
    method, said = METHODS[name](), []
    train = striped(30, 0)
    method.fit(train, train, 0, lambda fraction, doing: said.append((fraction, doing)))
    assert method.structure == "72-30-3" and method.chosen == ""
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] < 1
    assert said[0][1].startswith("epoch 1/")


@pytest.mark.parametrize("name", METHODS)
def test_another_sensor_is_refused(name: str) -> None:
    method = METHODS[name]()
    train = striped(6, 0)
    method.fit(train, train, 0, silent)
    larger = replace(train, sensor=(8, 7))
    with pytest.raises(UsageError, match="recordings of 6x6 pixels and is asked about 8x7"):
        method.predict(larger)


def test_frames_reach_to_the_end_of_the_longest_recording() -> None:
    def lasting(microseconds: int) -> Recordings:
        events = np.zeros(2, EVENT)
        events["t"][1] = microseconds - 1
        return joined([events[:1], events], [0, 1])

    assert Binning.of(lasting(1)).bins == 1
    assert Binning.of(lasting(10_000)).bins == 2
    assert Binning.of(lasting(10_001)).bins == 3
    assert Binning.of(lasting(10**9)).bins == MOST_BINS
    found = Binning.of(lasting(10_001)).frames(lasting(10_001), torch.tensor([1]))
    assert found.shape == (1, 3, 2, 6, 6) and found.dtype == torch.float32
    assert found.nonzero().tolist() == [[0, 0, 0, 0, 0], [0, 2, 0, 0, 0]]
    assert Binning.of(lasting(1)).inputs == 72


def test_the_output_that_fires_most_is_said_and_all_spikes_are_counted() -> None:
    test = joined([np.zeros(1 + n % 3, EVENT) for n in range(150)], [n % 3 for n in range(150)])

    def layers(frames: Tensor) -> list[Tensor]:
        counts = frames.sum((1, 2, 3, 4)).long() - 1  # 0, 1 or 2
        out = torch.nn.functional.one_hot(counts, 3).float()
        return [torch.ones(1, len(frames), 4), torch.stack([out, out])]

    found = framed.answers(layers, Binning((6, 6), 1), test)
    assert found.labels.tolist() == [n % 3 for n in range(150)]
    assert found.labels.dtype == np.int64 and found.spikes == 4 + 2


# STBP


def test_two_layers_of_the_papers_neurons_fire_as_derived_by_hand() -> None:
    network = stbp.Network((2, 1, 1), stbp.SETTINGS.lif)  # decay 0.3, threshold 0.25
    parameters = ([0.2, 0.0], [0.0], [0.3], [0.0])
    with torch.no_grad():
        for each, values in zip(network.parameters(), parameters, strict=True):
            each.copy_(torch.tensor(values).reshape(each.shape))
    frames = torch.zeros(1, 4, 2, 1, 1)
    frames[:, :, 0] = 1  # u is 0.2, then 0.3 x 0.2 + 0.2 = 0.26, which fires and forgets
    first, last = network(frames)
    assert first.flatten().tolist() == [0, 1, 0, 1]
    assert last.flatten().tolist() == [0, 1, 0, 1]  # 0.3 reaches 0.25 at once
    assert coding.vote(last, 1).item() == 0.5  # its rate over T


def test_stbps_gradient_is_the_papers_rectangle() -> None:
    network = stbp.Network((2, 1), stbp.SETTINGS.lif)  # a surrogate 0.25 wide and 4 high
    weight, bias = network.parameters()
    with torch.no_grad():
        weight.copy_(torch.tensor([[0.2, 0.1]]))
        bias.zero_()
    (spikes,) = network(torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1))
    coding.loss(coding.vote(spikes, 1), torch.tensor([0])).backward()
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.tolist() == [[-8, 0]]  # 2 (0 - 1) x 4, of the input that was there
    assert bias.grad.tolist() == [-8]


def test_stbp_has_one_neuron_a_class_and_nothing_between_the_layers() -> None:
    network = stbp.Network((72, 30, 3), stbp.SETTINGS.lif)
    found = [tuple(each.shape) for each in network.parameters()]
    assert found == [(30, 72), (30,), (3, 30), (3,)]


# Lee et al.


def test_a_trace_decays_from_each_spike() -> None:
    spikes = torch.tensor([1.0, 0.0, 2.0]).reshape(3, 1, 1)
    assert lee.trace(spikes, 0.5).item() == 0.25 + 2


def test_a_neuron_loses_its_threshold_and_rests_as_derived_by_hand() -> None:
    currents = torch.full((5, 1, 1), 0.8, dtype=torch.float64)
    circuit = replace(CIRCUIT, rest=2.0)
    spikes, v = lee.scan(currents, torch.ones(1, dtype=torch.float64), circuit)
    # 0.8; 1.2 fires, 0.2 is left; a quarter counts: 0.3; all: 0.95; 1.275 fires
    assert spikes.flatten().tolist() == [0, 1, 0, 0, 1]
    assert v.item() == pytest.approx(0.275)


def test_no_potential_falls_below_minus_its_threshold() -> None:
    currents = torch.tensor([-5.0, 0.5]).reshape(2, 1, 1)
    _, v = lee.scan(currents, torch.ones(1), CIRCUIT)
    assert v.item() == 0.0  # from -1, and not from -5


def test_a_spike_inhibits_others_by_their_own_thresholds() -> None:
    v_th = torch.tensor([1.0, 2.0], dtype=torch.float64)
    currents = torch.tensor([1.0, 0.8], dtype=torch.float64).reshape(1, 1, 2)
    spikes, v = lee.scan(currents, v_th, replace(CIRCUIT, kappa=-0.5))
    assert spikes.flatten().tolist() == [1, 0]
    assert v.flatten().tolist() == pytest.approx([0.0, 0.8 - 0.5 * 2])


def test_what_is_left_of_the_traces_is_the_potential() -> None:
    circuit = replace(CIRCUIT, decay=0.9, kappa=-0.05)
    inputs, w, v_th = (draw(20, 3, 6) > 0.5).double(), draw(4, 6, seed=1), 1 + draw(4, seed=2)
    spikes, v = lee.scan(inputs @ w.T, v_th, circuit)
    assert (spikes.sum(0) > 0).all()
    x, a = lee.trace(inputs, 0.9), lee.trace(spikes, 0.9)
    torch.testing.assert_close(v, x @ w.T - v_th * a + circuit.kappa * v_th * others(a))


def one_layer(circuit: Circuit) -> tuple[Tensor, ...]:
    """Its x, w and v_th, its traces, which neurons fired; of the four the last never does."""
    frames = (draw(12, 3, 5) > 0.4).double()
    x = lee.trace(frames, circuit.decay).requires_grad_()
    w = draw(4, 5, seed=1).requires_grad_()
    v_th = torch.tensor([0.5, 1.0, 2.0, 1e6], dtype=torch.float64, requires_grad=True)
    a, spikes = lee.layer(x, frames, w, v_th, circuit)
    assert not spikes.requires_grad
    fired = spikes.sum(0) > 0
    assert fired[:, :3].all() and not fired[:, 3].any()
    return x, w, v_th, a, fired


@pytest.mark.parametrize("silent_too", [False, True])
def test_gradients_are_autograds_on_the_transfer_function(silent_too: bool) -> None:
    circuit = replace(CIRCUIT, decay=0.9, kappa=-0.1, silent=silent_too)
    x, w, v_th, a, fired = one_layer(circuit)
    upstream = draw(*a.shape, seed=3)
    found = torch.autograd.grad(a, (x, w, v_th), upstream)
    error = upstream * (fired | silent_too)
    frozen = circuit.sigma * circuit.kappa * others(a.detach())
    of_w = x.detach() @ w.T / v_th.detach() + frozen
    s = v_th.detach() * (a.detach() - frozen)  # which leaves no potential
    of_v_th = s / v_th + frozen
    c = circuit.sigma * circuit.kappa
    matrix = torch.eye(4, dtype=torch.float64) * (1 + c) - c
    of_x = torch.linalg.solve(matrix, (x @ w.detach().T / v_th.detach()).T).T
    for ours, twin, leaf in zip(found, (of_x, of_w, of_v_th), (x, w, v_th), strict=True):
        (expected,) = torch.autograd.grad(twin, leaf, error)
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


def test_errors_are_scaled_by_thresholds_and_by_who_fired() -> None:
    spikes, v_th = torch.zeros(3, 2, 4), torch.full((4,), 0.5)
    spikes[1, 0, 2] = 1  # in the first sample one of four, in the second none
    found = lee.gain(spikes, v_th, CIRCUIT)
    assert found.flatten().tolist() == [2 / 2, 2 / 2]  # sqrt(4 / 1) / (1 / 0.5)
    spikes[:, 1] = 1
    assert lee.gain(spikes, v_th, CIRCUIT).flatten().tolist() == [1, 0.5]
    all_taught = replace(CIRCUIT, silent=True)
    assert lee.gain(spikes, v_th, all_taught).flatten().tolist() == [0.5, 0.5]


def test_counts_are_compared_and_traces_get_the_gradient() -> None:
    spikes = torch.zeros(4, 2, 3)
    spikes[:2, 0, 0], spikes[:, 0, 2] = 1, 1  # counts 2, 0, 4; in the second sample none
    a = draw(2, 3).float().requires_grad_()
    found = lee.error(a, spikes, torch.tensor([0, 1]))
    assert found.item() == pytest.approx((0.5**2 + 1 + 1) / 2 / 2)
    found.backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[-0.25, 0, 0.5], [0, -0.5, 0]]


def test_a_network_passes_scaled_errors_back_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    parameters = replace(SMALL, hidden=6, alpha=2.0)
    network = lee.Network((8, 6, 3), parameters).double()
    frames = (draw(5, 9, 2, 2, 2) > 0.3).double()
    a, (first, last) = network(frames)
    lee.error(a, last, torch.tensor([0, 1, 2, 0, 1])).backward()
    wanted = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3)
    counts = last.sum(0)
    error = (counts / counts.amax(1, keepdim=True).clamp(min=9 / 4) - wanted) / 5
    (w, w2), (v_th, v_th2) = network.weights, network.thresholds
    error = error * lee.gain(last, v_th2, network.circuits[1])
    decay = exp(-5 / 200)
    expected = (error / v_th2).T @ lee.trace(first, decay)
    assert w2.grad is not None and w.grad is not None
    torch.testing.assert_close(w2.grad, expected)
    c = -0.5 * parameters.inhibition / 3
    matrix = torch.eye(3, dtype=torch.float64) * (1 + c) - c
    back = torch.linalg.solve(matrix, error.T).T / v_th2 @ w2
    back = back * lee.gain(first, v_th, network.circuits[0]) * (first.sum(0) > 0)
    x = lee.trace(frames.flatten(2).transpose(0, 1), decay)
    torch.testing.assert_close(w.grad, (back / v_th).T @ x)


def test_an_output_that_is_silent_is_taught() -> None:
    torch.manual_seed(0)
    network = lee.Network((8, 6, 3), SMALL)
    with torch.no_grad():
        network.thresholds[1].fill_(1e3)
    a, (first, last) = network((draw(2, 9, 2, 2, 2) > 0.3).float())
    assert not last.any() and first.any()
    lee.error(a, last, torch.tensor([0, 0])).backward()
    assert network.weights[1].grad is not None
    assert network.weights[1].grad.any(1).tolist() == [True, False, False]


def test_first_thresholds_and_weights_go_with_the_number_of_inputs() -> None:
    network = lee.Network((300, 12, 3), replace(SMALL, alpha=4.0))
    assert network.thresholds[0].tolist() == pytest.approx([0.4] * 12)  # 4 sqrt(3 / 300)
    assert 0.09 < network.weights[0].abs().max().item() <= 0.1
    assert network.thresholds[1].tolist() == pytest.approx([2.0] * 3)
    assert [each.kappa for each in network.circuits] == pytest.approx([-2 / 12, -2 / 3])
    assert [each.silent for each in network.circuits] == [False, True]


def test_weights_of_norm_one_cost_half_lambda_a_neuron() -> None:
    network = lee.Network((4, 2, 3), SMALL).double()
    with torch.no_grad():
        network.weights[0].fill_(0.5)
        network.weights[1].fill_(sqrt(0.5))
    cost = network.penalty(0.01, 10.0)
    assert cost.item() == pytest.approx(0.005 * 5)
    cost.backward()
    assert network.weights[0].grad is not None  # lambda beta w
    assert network.weights[0].grad.flatten().tolist() == pytest.approx([0.01 * 10 * 0.5] * 8)


def test_thresholds_move_from_silent_neurons_to_those_that_fire() -> None:
    network = lee.Network((12, 4, 3), replace(SMALL, alpha=2.0))  # first thresholds are 1
    network.fired = torch.tensor([1.0, 0.0, 0.5, 0.5])
    outputs = network.thresholds[1].tolist()
    network.balance(0.1)
    assert network.thresholds[0].tolist() == pytest.approx([1.2, 0.8, 1.0, 1.0])
    for _ in range(10):
        network.balance(0.1)
    assert network.thresholds[0][1].item() == pytest.approx(lee.LOWEST)
    assert network.thresholds[1].tolist() == outputs
