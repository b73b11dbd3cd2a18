"""The systems that learn by gradients from recordings, against what their papers say of them, and
against differentiable twins.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recordings import answered, bars, events_of, recorded
from torch import Tensor, nn

from harness.baselines import cnns, hm2_bp, learn, lee, lstm, stbp
from harness.baselines.contract import silent
from harness.baselines.hm2_bp import (
    HIDDEN,
    LONGEST,
    OUTPUT,
    Array,
    NeuronConstants,
    Potentials,
    Raster,
    SpikeTrain,
)
from harness.baselines.lee import LayerConstants, LeeSizes
from harness.baselines.lstm import PaddedEvents, PhasedLSTMCell, openness, pad_events, subsample
from harness.datasets.events import EVENT, Events
from harness.spec import UsageError

SENSOR = (3, 4)
CIRCUIT = LayerConstants(decay=0.5, kappa=0.0, sigma=0.5, refractory=0.0, silent_pass_errors=False)
SMALL = LeeSizes(hidden=30, lr=5e-3)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@torch.no_grad()
def given_weights(network: nn.Module, *values: list[float]) -> None:
    for parameter, one in zip(network.parameters(), values, strict=True):
        parameter.copy_(torch.tensor(one).reshape(parameter.shape))


# what they share


def test_there_are_as_many_frames_as_the_longest_recording_has() -> None:
    for last_us, bins in [(0, 1), (4999, 1), (5000, 2), (308_000, 62), (900_000, learn.MOST_BINS)]:
        short, long = events_of((0, 0, 0, True)), events_of((0, 0, 0, True), (1, 1, last_us, True))
        recordings = recorded(short, long, sensor=(6, 6))
        method = stbp.STBP(learn.HiddenSizes(hidden=2, batch_size=2), epochs=0)
        method.fit(recordings, recordings, 0, silent)
        frames = method.inputs(recordings, silent)(torch.tensor([1]))
        assert frames.shape == (1, bins, 2, 6, 6) and frames.dtype == torch.float32
        assert frames[0, 0, 1, 0, 0] == 1


def test_the_output_that_fires_most_is_said_and_all_spikes_are_counted() -> None:
    def layers(counts: Tensor) -> list[Tensor]:
        out = torch.nn.functional.one_hot(counts, 3).float()
        return [torch.ones(1, len(counts), 4), torch.stack([out, out])]

    answers = learn.predict_by_spikes(layers, lambda chosen: chosen % 3, 150)
    assert answers.labels.tolist() == [n % 3 for n in range(150)]
    assert answers.labels.dtype == np.int64 and answers.spikes == 4 + 2


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    weight = nn.Parameter(torch.ones(1))
    arguments = torch.optim.SGD([weight], 0.1), torch.zeros(4, 1), np.zeros(4, np.int64), 3, 2, 0
    with pytest.raises(UsageError, match="no number any more in epoch 1"):
        learn.train(lambda x, labels: (weight * torch.inf).sum(), *arguments, silent)


# the CNN on summed events, and the one on centred frames


def test_an_image_counts_both_polarities_and_its_brightest_pixel_is_one() -> None:
    events = events_of(
        *((1, 2, 0, True), (1, 2, 10, False), (1, 2, 99_000, True), (1, 2, 300_000, True)),
        *((3, 0, 5, False), (0, 0, 7, True), (0, 0, 8, False)),
    )
    expected = torch.zeros(1, 1, 3, 4)
    expected[0, 0, 2, 1], expected[0, 0, 0, 3], expected[0, 0, 0, 0] = 1, 0.25, 0.5
    assert torch.equal(cnns.event_image(recorded(events, sensor=SENSOR)), expected)


def cut(*recordings: Events, sensor: tuple[int, int] = SENSOR) -> Any:
    return cnns.cut_frames(recorded(*recordings, sensor=sensor))


def test_the_events_of_a_frame_are_moved_to_the_middle_of_the_sensor() -> None:
    events = events_of((0, 0, 0, True), (2, 0, 1, False), (1, 3, 2, True))  # mean (1, 1)
    moved = cnns.centre_events(events, (9, 11))  # its middle is (5, 4)
    assert moved[["x", "y"]].tolist() == [(4, 3), (6, 3), (5, 6)]
    assert np.array_equal(moved[["t", "p"]], events[["t", "p"]])
    assert events[["x", "y"]].tolist()[0] == (0, 0)  # the recording is as it was
    # a digit elsewhere makes the same frames: half a pixel from the middle goes up everywhere
    events = events_of((7, 8, 0, True), (8, 9, 1, False), (8, 8, 2, True), (9, 10, 9, True))
    for x, y in ((1, 0), (-1, 2), (3, -3)):
        moved = events.copy()
        moved["x"] += x
        moved["y"] += y
        frames = cut(events, moved, sensor=(18, 18))[0]
        assert frames[0].sum((1, 2)).tolist() == [1, 3]  # OFF and ON apart
        assert np.array_equal(frames[0], frames[1])


def test_a_recording_is_cut_in_frames_of_a_thousand_events() -> None:
    for events, frames in ((1999, [1999]), (2000, [1000, 1000]), (4133, [1034] + 3 * [1033])):
        long = np.zeros(events, EVENT)
        long["x"], long["y"], long["t"] = np.arange(events) % 64, 20, np.arange(events)
        counts, owners = cut(long, events_of((0, 0, 0, True)), sensor=(64, 64))
        assert counts.sum((1, 2, 3)).tolist() == [*frames, 1]
        assert owners.tolist() == [0] * len(frames) + [1]


def test_a_long_recordings_class_is_the_likeliest_of_all_its_frames() -> None:
    method = cnns.FrameCNN(cnns.FrameCNN.SIZES["quick"], 2)
    method.fit(bars(20, 0), bars(4, 1), 0, silent)
    test = recorded(*(np.tile(events, 13) for events in map(bars(8, 2).__getitem__, range(8))))
    test = replace(test, sensor=(20, 20))
    counts, owners = cnns.cut_frames(test)
    assert owners.tolist() == [n // 2 for n in range(16)]
    scores = method.network(cnns.scale_frames(torch.from_numpy(counts)))
    likelihoods = scores.softmax(1).unflatten(0, (8, 2)).double().prod(1)
    assert np.array_equal(answered(method, test), likelihoods.argmax(1).numpy())


# the Phased LSTM


def alone(events: Events) -> PaddedEvents:
    """All events of one recording."""
    return pad_events(recorded(events, sensor=SENSOR), torch.tensor([0]), None, torch.ones(1) / 2)


def test_a_gate_opens_and_closes_within_its_share_of_the_period() -> None:
    # period 8 ms, of which it is open 4: it rises for 2, falls for 2, then leaks
    t = torch.tensor([0.0, 1, 2, 3, 4, 6, 8, 9, 18])[:, None]
    tau, none = torch.tensor([8.0]), torch.zeros(1)
    k = openness(t, tau, none, 0.5, 0.1)[:, 0]
    assert k.tolist() == pytest.approx([0, 0.5, 1, 0.5, 0.1 * 0.5, 0.1 * 0.75, 0, 0.5, 1])
    shifted = openness(t, tau, torch.tensor([2.0]), 0.5, 0.1)[:, 0]
    assert shifted[:4].tolist() == pytest.approx([1, 0.5, 0.1 * 0.5, 0.1 * 0.625])


def test_the_floor_of_the_remainder_has_no_gradient_and_the_rest_has() -> None:
    tau, shift = double(2.0).requires_grad_(), double(0.25).requires_grad_()
    # phi = 5.25 / 2 - 2 = 0.625: closed
    openness(double(5.0)[:, None], tau, shift, 0.05, 0.1).sum().backward()
    assert tau.grad is not None and shift.grad is not None
    assert tau.grad.item() == pytest.approx(0.1 * -5.25 / 4)  # d/dtau (t + s) / tau - floor
    assert shift.grad.item() == pytest.approx(0.1 / 2)
    for phase in (0.1, 0.35, 0.8):  # rising, falling, leaking: each unit so in its fourth period
        tau, shift = double(1.5, 4.0, 9.0), double(0.2, 1.0, 3.0)
        inputs = [(tau * (3 + phase) - shift).expand(1, 3).clone(), tau, shift]
        assert torch.autograd.gradcheck(
            lambda t, tau, shift: openness(t, tau, shift, 0.5, 1e-3),
            [tensor.requires_grad_() for tensor in inputs],
        )


def test_with_the_gate_held_open_the_units_are_torchs_lstm() -> None:
    torch.manual_seed(0)
    torchs, units = nn.LSTM(5, 7).double(), PhasedLSTMCell(5, 7).double()
    weight_x, weight_h, *biases = torchs.parameters()
    with torch.no_grad():
        units.weight_x.copy_(weight_x)
        units.weight_h.copy_(weight_h)
        units.bias.copy_((biases[0] + biases[1]).view(4, -1))
        units.peepholes.zero_()
    x, k = torch.randn(9, 4, 5, dtype=torch.float64), torch.ones(9, 4, 7, dtype=torch.float64)
    outputs, _ = torchs(x)
    hidden = units(units.project_inputs(x), k)
    assert (hidden - outputs[-1]).abs().max().item() < 1e-14  # float64 rounds in another order


def test_a_unit_half_open_takes_half_of_what_it_computes() -> None:
    units = PhasedLSTMCell(1, 1).double()
    # i = f = o = 1/2, but for the peepholes; g = tanh(1)
    given_weights(units, [0.0] * 4, [0.0] * 4, [0.0, 0.0, 1.0, 0.0], [0.3, -0.2, 0.7])
    half = double(0.5, 0.5).reshape(2, 1, 1)
    hidden = units(units.project_inputs(0 * half), half)

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    g = np.tanh(1)
    c_new = 0.5 * g
    c, h = c_new / 2, sigmoid(0.7 * c_new) * np.tanh(c_new) / 2
    c_new = sigmoid(-0.2 * c) * c + sigmoid(0.3 * c) * g  # the output gate looks at this one
    h = 0.5 * sigmoid(0.7 * c_new) * np.tanh(c_new) + 0.5 * h
    assert hidden.item() == pytest.approx(h, rel=1e-6)  # peepholes are given in float32


def network(r_on: float = 0.05) -> lstm.PhasedLSTMNetwork:
    torch.manual_seed(2)
    sizes = lstm.PhasedLSTMSizes(embedding=5, units=6, r_on=r_on)
    return lstm.PhasedLSTMNetwork(24, 2, sizes).eval()


def some_events(count: int, seed: int) -> Events:
    times = np.sort(np.random.default_rng(seed).integers(0, 50_000, count))
    return events_of(*((int(n) % 4, int(n) % 3, int(t), bool(n % 2)) for n, t in enumerate(times)))


def test_a_shorter_recording_is_read_as_if_it_were_alone() -> None:
    batch = alone(events_of((3, 2, 0, False), (1, 0, 1500, True), (3, 2, 2000, True)))
    assert batch.addresses[:, 0].tolist() == [11, 13, 23]  # polarity, row, column of 2 x 3 x 4
    assert batch.ms[:, 0].tolist() == [0, 1.5, 2]
    both = recorded(some_events(5, 0), some_events(30, 1), sensor=SENSOR)
    plain = network(r_on=0.6)
    together = plain(pad_events(both, torch.tensor([0, 1]), None, torch.rand(2)))
    for n in range(2):
        assert torch.allclose(together[n], plain(alone(both[n]))[0], rtol=1e-5, atol=1e-6)


def test_a_closed_unit_leaks_in_training_and_keeps_its_state_afterwards() -> None:
    plain = network()
    with torch.no_grad():  # no event of the first 50 ms finds a gate open
        plain.tau.fill_(200.0)
        plain.shift.fill_(100.0)
    x, untouched = alone(some_events(20, 0)), plain.readout(torch.zeros(1, 6))
    assert torch.equal(plain(x), untouched)
    leaking = plain.train()(x)
    assert not torch.equal(leaking, untouched)
    assert (leaking - untouched).abs().max().item() < 20 * lstm.ALPHA


def test_events_are_taken_evenly_over_the_whole_recording() -> None:
    for count, limit, offset, expected in (
        (3, 4, 0.5, [0, 1, 2]),  # all of them
        (8, 4, 0.0, [0, 2, 4, 6]),
        (8, 4, 0.5, [1, 3, 5, 7]),
        (7, 3, 0.999, [2, 4, 6]),
        (6, None, 0.5, [0, 1, 2, 3, 4, 5]),
    ):
        events = events_of(*((0, 0, n, True) for n in range(count)))
        assert subsample(events, limit, offset)["t"].tolist() == expected


# Lee et al.


def others(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True) - values


def test_a_neuron_loses_its_threshold_rests_and_leaves_a_trace_as_derived_by_hand() -> None:
    currents = torch.full((5, 1, 1), 0.8, dtype=torch.float64)
    spikes, v = lee.simulate(currents, double(1.0), replace(CIRCUIT, refractory=2.0))
    # 0.8; 1.2 fires, 0.2 is left; a quarter counts: 0.3; all: 0.95; 1.275 fires
    assert spikes.flatten().tolist() == [0, 1, 0, 0, 1] and v.item() == pytest.approx(0.275)
    assert lee.trace(torch.tensor([1.0, 0.0, 2.0]).reshape(3, 1, 1), 0.5).item() == 0.25 + 2


def test_what_is_left_of_the_traces_is_the_potential() -> None:
    circuit = replace(CIRCUIT, decay=0.9, kappa=-0.05)
    inputs, w, v_th = (draw(20, 3, 6) > 0.5).double(), draw(4, 6, seed=1), 1 + draw(4, seed=2)
    spikes, v = lee.simulate(inputs @ w.T, v_th, circuit)
    assert (spikes.sum(0) > 0).all()
    x, a = lee.trace(inputs, 0.9), lee.trace(spikes, 0.9)
    torch.testing.assert_close(v, x @ w.T - v_th * a + circuit.kappa * v_th * others(a))


def inverse(c: float, size: int) -> Tensor:
    """Of 1 - sigma kappa between neurons."""
    return torch.linalg.inv(torch.eye(size, dtype=torch.float64) * (1 + c) - c)


def test_errors_are_scaled_by_thresholds_and_by_who_fired() -> None:
    spikes, v_th = torch.zeros(3, 2, 4), torch.full((4,), 0.5)
    spikes[1, 0, 2] = 1  # in the first sample one of four, in the second all
    spikes[0, 1] = 1
    one, every = lee.error_factor(spikes, v_th, CIRCUIT).tolist()
    assert one == [0, 0, 1, 0]  # sqrt(4 / 1) / (1 / 0.5)
    assert every == [0.5] * 4
    silent_too = lee.error_factor(spikes, v_th, replace(CIRCUIT, silent_pass_errors=True))
    assert silent_too.unique().tolist() == [0.5]


def test_a_network_passes_scaled_errors_back_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    parameters, labels = replace(SMALL, hidden=6, alpha=2.0), torch.tensor([0, 1, 2, 0, 1])
    network = lee.LeeNetwork((8, 6, 3), parameters).double()
    (w, w2), (v_th, v_th2) = network.weights, network.thresholds
    v_th.data[0] = 1e6  # a hidden neuron that is silent passes no error
    frames = (draw(5, 9, 2, 2, 2) > 0.3).double()
    a, (first, last) = network(frames)
    assert not first.requires_grad and not last.requires_grad
    lee.error(a, last, labels).backward()
    counts, targets = last.sum(0), torch.nn.functional.one_hot(labels, 3)
    assert (counts == 0).any()  # an output that is silent does
    error = (counts / counts.amax(1, keepdim=True).clamp(min=9 / 4) - targets) / 5
    error = error * lee.error_factor(last, v_th2, network.constants[1])
    c, c2 = (-parameters.sigma * parameters.inhibition / size for size in (6, 3))
    back = error @ inverse(c2, 3).T / v_th2 @ w2
    back = back * lee.error_factor(first, v_th, network.constants[0])
    assert not back[:, 0].any()
    decay = exp(-5 / 200)
    x = lee.trace(frames.flatten(2).transpose(0, 1), decay)
    a, a2 = lee.trace(first, decay), lee.trace(last, decay)
    for leaf, expected in (
        (w2, (error / v_th2).T @ a),  # da/dw = x / V_th
        (w, (back / v_th).T @ x),
        (v_th2, (error * (c2 * others(a2) - a2)).sum(0) / v_th2),
        (v_th, (back * (c * others(a) - a)).sum(0) / v_th),
    ):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-10, atol=1e-12)


def test_weights_and_thresholds_begin_and_cost_as_the_paper_says() -> None:
    network = lee.LeeNetwork((300, 12, 3), replace(SMALL, alpha=4.0))
    assert network.thresholds[0].tolist() == pytest.approx([0.4] * 12)  # 4 sqrt(3 / 300)
    assert 0.09 < network.weights[0].abs().max().item() <= 0.1
    assert [layer.kappa for layer in network.constants] == pytest.approx([-2 / 12, -2 / 3])
    assert [layer.silent_pass_errors for layer in network.constants] == [False, True]
    network = lee.LeeNetwork((4, 2, 3), SMALL).double()
    with torch.no_grad():  # of norm one
        network.weights[0].fill_(0.5)
        network.weights[1].fill_(sqrt(0.5))
    cost = network.penalty(0.01, 10.0)
    assert cost.item() == pytest.approx(0.005 * 5)  # half lambda a neuron
    cost.backward()
    assert network.weights[0].grad is not None  # lambda beta w
    assert network.weights[0].grad.flatten().tolist() == pytest.approx([0.01 * 10 * 0.5] * 8)


def test_thresholds_move_from_silent_neurons_to_those_that_fire() -> None:
    network = lee.LeeNetwork((12, 4, 3), replace(SMALL, alpha=2.0))  # first thresholds are 1
    network.fired = torch.tensor([1.0, 0.0, 0.5, 0.5])
    outputs = network.thresholds[1].tolist()
    network.adapt_thresholds(0.1)
    assert network.thresholds[0].tolist() == pytest.approx([1.2, 0.8, 1.0, 1.0])
    for _ in range(10):
        network.adapt_thresholds(0.1)
    assert network.thresholds[0][1].item() == pytest.approx(lee.LOWEST_THRESHOLD)
    assert network.thresholds[1].tolist() == outputs


# HM2-BP

QUICK = NeuronConstants(v_th=1.0, refractory=2, tau_m=4.0, tau_s=2.0, inhibition=0.0)


def train(*spikes: tuple[int, int]) -> SpikeTrain:
    """Of (time, owner)."""
    times, owners = np.array(sorted(spikes), np.int64).reshape(-1, 2).T
    return SpikeTrain(times.copy(), owners.copy())


def raster(steps: int, *times: tuple[int, ...]) -> Raster:
    """The times at which each neuron fires."""
    fires = np.zeros((steps, len(times)), np.bool_)
    for n, moments in enumerate(times):
        fires[list(moments), n] = True
    return fires


def times(fires: Raster) -> list[list[int]]:
    return [np.flatnonzero(neuron).tolist() for neuron in fires.T]


def test_events_are_spikes_of_pixels_and_polarities_one_a_step() -> None:
    events = events_of(
        (1, 0, 0, True),  # step 1
        (1, 0, 599, True),  # the same step and pixel: no other spike
        (1, 0, 599, False),
        (2, 1, 600, False),  # step 2
        (0, 0, 2999, False),  # step 5, the last
        (0, 0, 3000, False),
        (3, 0, 10, True),  # outside a sensor 3 wide
        (0, 2, 20, True),  # and 2 high
    )
    spikes = hm2_bp.events_to_spikes(events, (2, 3), 6)
    assert (spikes.times.tolist(), spikes.owners.tolist()) == ([1, 1, 2, 5], [1, 7, 5, 0])


def test_a_neuron_fires_above_its_threshold_as_derived_by_hand() -> None:
    for weights, spikes, neuron, expected in (
        # v is 8 at 2, which fires; two steps of rest; ep is 2 at 5, so v is 1, not above 1; at 6 it
        # is 1 - 1/4 + 1/2
        ([[16.0]], [(1, 0)], QUICK, [[2, 6]]),
        ([[3.0]], [(1, 0)], QUICK, [[2]]),  # 1.5 at 2; after the rest 0.19 and 0.23, no more
        # spikes of all inputs act in the step after
        ([[2.0, 0.0], [2.0, 2.5]], [(3, 0), (3, 1), (3, 1)], QUICK, [[4], [4]]),
        ([[2.0, 0.0], [2.0, 2.5]], [(8, 0), (8, 1)], QUICK, [[], []]),
        # the second is at 1 - 1/4 + 1/2 a step later, unless the first inhibits it
        ([[3.0, 2.0]], [(1, 0)], QUICK, [[2], [3]]),
        ([[3.0, 2.0]], [(1, 0)], QUICK._replace(inhibition=1.0), [[2], []]),
    ):
        assert times(hm2_bp.simulate(np.array(weights), train(*spikes), 9, neuron)) == expected


def trail(t: float, s: float, neuron: NeuronConstants) -> float:
    u = min(s, t)
    rise = exp(-u / neuron.tau_m) - exp(-u / neuron.tau_s)
    return exp(-max(t - s, 0) / neuron.tau_s) * rise / (1 - neuron.tau_s / neuron.tau_m)


def test_each_spike_of_an_input_counts_at_each_later_spike_until_it_is_forgotten() -> None:
    e = hm2_bp.sum_potentials(
        train((3, 0), (9, 0), (20, 0), (30, 1)), raster(40, (10, 25)), 2, HIDDEN
    )
    at_10 = trail(10 - 3 - 2, 9, HIDDEN)  # 9 is too late for 10: it acts after a rest of 2
    at_25 = trail(25 - 3 - 2, 13, HIDDEN) + trail(25 - 9 - 2, 13, HIDDEN) + trail(3, 13, HIDDEN)
    assert e.tolist() == [[pytest.approx(at_10 + at_25)], [0]]
    neuron = QUICK._replace(refractory=0)  # forgotten after four time constants
    e = hm2_bp.sum_potentials(train((1, 0), (2, 1)), raster(30, (18,)), 2, neuron)
    assert e[0].item() == 0 and e[1].item() == pytest.approx(trail(16, 17, neuron))


def passed(e: Array, input_counts: NDArray[np.int64], counts: NDArray[np.int64]) -> Potentials:
    return Potentials(e.copy(), input_counts.astype(np.float64), counts.astype(np.float64))


def counted(w: Tensor, potentials: Potentials, inputs: Tensor, v_th: float) -> Tensor:
    """Counts as the method sees them: V_th o = sum of w e, and e as both counts."""
    e, counts = torch.from_numpy(potentials.e), torch.from_numpy(potentials.counts)
    learnt = counts + ((w - w.detach()) * e).sum(0) / v_th  # what the weights alone do to them
    unit = e / torch.from_numpy(potentials.input_counts)[:, None] / counts
    potential = (w * unit * inputs[:, None] * learnt).sum(0)
    return counts + (potential - potential.detach()) / v_th


def test_gradients_are_autograds_on_the_counts_with_frozen_potentials() -> None:
    random = np.random.default_rng(1)
    counts = [random.integers(1, 9, n) for n in (5, 4, 3)]
    first = passed(random.uniform(0, 2, (5, 4)), counts[0], counts[1])
    last = passed(random.uniform(0, 2, (4, 3)), counts[1], counts[2])
    weights = [random.uniform(-1, 1, layer.e.shape) for layer in (first, last)]
    w, w2 = (torch.from_numpy(array).clone().requires_grad_() for array in weights)
    targets = np.array([9.0, 1.0, 1.0])
    hidden = counted(w, first, torch.from_numpy(first.input_counts), 15.0)
    outputs = counted(w2, last, hidden, 15.0)
    ((outputs - torch.from_numpy(targets)).square().sum() / 2).backward()

    delta = (last.counts - targets) / 15
    back = (weights[1] * last.per_spike()) @ delta / 15
    assert w.grad is not None and w2.grad is not None
    for gradient, expected in (
        (last.e * last.gradient_factor(weights[1], delta, 15.0), w2.grad),
        (first.e * first.gradient_factor(weights[0], back, 15.0), w.grad),
    ):
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-10)


def test_silent_neurons_have_the_codes_numbers() -> None:
    layer = Potentials.of_layer(train((1, 0), (4, 0), (2, 1)), raster(9, (6,), ()), 3, QUICK)
    assert layer.input_counts.tolist() == [2, 1, 0] and layer.counts.tolist() == [1, 0]
    assert layer.e[:, 1].tolist() == [0.1, 0.1, 0]  # of a silent neuron, by inputs that fired
    assert layer.e[2, 0] == 0 and (layer.e[:2, 0] > 0).all()
    ratio = layer.per_spike()
    assert ratio[:, 1].tolist() == [1, 1, 1] and ratio[2, 0] == 1
    assert ratio[0, 0] == layer.e[0, 0] / 2
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    gradient = layer.e * layer.gradient_factor(weights, np.array([0.0, 1.0]), QUICK.v_th)
    assert gradient[:, 1].tolist() == pytest.approx([0.1 * (1 + 0.5 * 6)] * 2 + [0])


def test_counts_that_are_wanted_go_with_the_length_and_a_silent_class_is_given_spikes() -> None:
    errors = hm2_bp.count_errors(np.array([31.0, 0.0, 11.0]), 0, LONGEST)
    assert errors.tolist() == [0, 0, 6]
    errors = hm2_bp.count_errors(np.array([12.0, 5.0, 6.0]), 0, LONGEST // 2)
    assert errors.tolist() == [-5.5, 0, 3.5]  # wanted are 17.5 and 2.5, the margin is 2.5
    silent = raster(LONGEST, (3,), ())
    taught = times(hm2_bp.with_target_spikes(silent, 1))
    assert taught == [[3], list(range(15, 540, 15))] and len(taught[1]) == 35
    assert times(silent) == [[3], []]
    assert hm2_bp.with_target_spikes(silent, 0) is silent


def test_inhibition_between_outputs_that_answer_scales_their_gradients() -> None:
    fires = raster(40, (5, 20), (), ())
    factors = hm2_bp.inhibition_factor(fires, 1)  # the class's counts though it is silent
    assert factors.tolist() == pytest.approx([1 / (1 - 1 / 225), 1 / (1 - 1 / 225), 1])
    assert hm2_bp.inhibition_factor(fires, 0).tolist() == [1, 1, 1]
    both = raster(40, (5, 20), (12,))
    there = trail(20 - 12 - 2, 13, OUTPUT) / 1  # of the second's count at the first
    back = trail(12 - 5 - 2, 11, OUTPUT) / 2
    expected = 1 / (1 - there * back / 225)
    assert hm2_bp.inhibition_factor(both, 0).tolist() == pytest.approx([expected] * 2)


def test_a_layer_moves_as_torchs_adam_against_gradient_and_decay() -> None:
    random = np.random.default_rng(2)
    first = random.uniform(-4, 4, (4, 3))
    layer = hm2_bp.Hm2BpLayer(first.copy(), HIDDEN)
    weights = torch.from_numpy(first.copy()).requires_grad_()
    optimiser = torch.optim.Adam([weights], 0.01)
    for _ in range(3):
        counts = random.integers(1, 9, 7)
        seen = passed(random.uniform(0, 2, (4, 3)), counts[:4], counts[4:])
        delta = random.uniform(-1, 1, 3)
        g = seen.e * seen.gradient_factor(weights.detach().numpy(), delta, HIDDEN.v_th)
        optimiser.zero_grad()
        # lambda beta w / 8 exp(beta (mean of (w / 8)^2 - 1)) is this one's gradient
        excess = 0.01 * ((weights / 8).square().mean(0) - 1)
        ((weights * torch.from_numpy(g)).sum() + 10 * 8 * 4 / 2 * excess.exp().sum()).backward()
        optimiser.step()
        layer.update(seen, delta, 0.01)
    np.testing.assert_allclose(layer.weights, weights.detach().numpy(), rtol=1e-5)
    assert not np.allclose(layer.weights, first, atol=1e-3)


def test_recordings_that_are_too_short_are_refused() -> None:
    recordings = bars(20, 0).first(3000)
    with pytest.raises(UsageError, match=r"recordings of 0.4 ms are too short"):
        hm2_bp.HM2BP.build("quick", 1).fit(recordings, recordings, 0, silent)
