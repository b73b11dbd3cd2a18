"""The systems that learn by gradients from recordings, against what their papers say of them."""

from __future__ import annotations

from dataclasses import replace
from math import exp, sqrt

import numpy as np
import pytest
import torch
from recordings import answered, bars, events_of, recorded
from torch import Tensor, nn

from harness.baselines import cnn_events, cnn_frames, learn, lee, phased_lstm, stbp
from harness.baselines.contract import Recordings, silent
from harness.baselines.lee import Circuit, Sizes
from harness.baselines.phased_lstm import PhasedUnits, Sequences, evenly, openness, side_by_side
from harness.datasets.events import EVENT, Events
from harness.reference import coding
from harness.spec import UsageError

SENSOR = (3, 4)


# what they share


@pytest.mark.parametrize(
    ("last_us", "bins"), [(0, 1), (4999, 1), (5000, 2), (308_000, 62), (900_000, learn.MOST_BINS)]
)
def test_there_are_as_many_frames_as_the_longest_recording_has(last_us: int, bins: int) -> None:
    short, long = events_of((0, 0, 0, True)), events_of((0, 0, 0, True), (1, 1, last_us, True))
    recordings = recorded(short, long, sensor=(6, 6))
    method = stbp.STBP(stbp.Sizes(hidden=2), epochs=0)
    method.fit(recordings, recordings, 0, silent)
    found = method.inputs(recordings, silent)(torch.tensor([1]))
    assert found.shape == (1, bins, 2, 6, 6) and found.dtype == torch.float32
    assert found[0, 0, 1, 0, 0] == 1


def test_the_output_that_fires_most_is_said_and_all_spikes_are_counted() -> None:
    def layers(counts: Tensor) -> list[Tensor]:
        out = torch.nn.functional.one_hot(counts, 3).float()
        return [torch.ones(1, len(counts), 4), torch.stack([out, out])]

    found = learn.most_spikes(layers, lambda chosen: chosen % 3, 150)
    assert found.labels.tolist() == [n % 3 for n in range(150)]
    assert found.labels.dtype == np.int64 and found.spikes == 4 + 2


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(UsageError, match="no number any more in epoch 1"):
        learn.train(
            lambda x, labels: (weight * torch.inf).sum(),
            torch.optim.SGD([weight], 0.1),
            torch.zeros(4, 1),
            np.zeros(4, np.int64),
            learn.Course(3, 2, 0),
            silent,
        )


# the CNN on summed events, and the one on centred frames


def test_an_image_counts_both_polarities_and_its_brightest_pixel_is_one() -> None:
    events = events_of(
        *((1, 2, 0, True), (1, 2, 10, False), (1, 2, 99_000, True), (1, 2, 300_000, True)),
        *((3, 0, 5, False), (0, 0, 7, True), (0, 0, 8, False)),
    )
    image = cnn_events.summed(recorded(events, sensor=SENSOR))
    expected = torch.zeros(1, 1, 3, 4)
    expected[0, 0, 2, 1], expected[0, 0, 0, 3], expected[0, 0, 0, 0] = 1, 0.25, 0.5
    assert torch.equal(image, expected)


def test_the_events_of_a_frame_are_moved_to_the_middle_of_the_sensor() -> None:
    events = events_of((0, 0, 0, True), (2, 0, 1, False), (1, 3, 2, True))  # mean (1, 1)
    moved = cnn_frames.centred(events, (9, 11))  # its middle is (5, 4)
    assert moved[["x", "y"]].tolist() == [(4, 3), (6, 3), (5, 6)]
    assert np.array_equal(moved[["t", "p"]], events[["t", "p"]])
    assert events[["x", "y"]].tolist()[0] == (0, 0)  # the recording is as it was


@pytest.mark.parametrize("by", [(1, 0), (-1, 2), (3, -3)])
def test_a_digit_elsewhere_makes_the_same_frames(by: tuple[int, int]) -> None:
    # the middle is half a pixel from their mean in x: halves go up wherever it is
    events = events_of((7, 8, 0, True), (8, 9, 1, False), (8, 8, 2, True), (9, 10, 9, True))
    moved = events.copy()
    moved["x"] += by[0]
    moved["y"] += by[1]
    frames = cut(events, moved, sensor=(18, 18)).counts
    assert frames.sum() == 8 and np.array_equal(frames[0], frames[1])


def test_a_frame_counts_off_and_on_events_apart() -> None:
    events = events_of((1, 1, 0, False), (1, 1, 4, True), (2, 1, 6, True), (2, 1, 7, True))
    counts = cut(events).counts
    assert counts[0, :, 1].tolist() == [[0, 1, 0, 0], [0, 1, 2, 0]]
    assert not counts[0, :, [0, 2]].any()


def test_frames_vote_by_their_log_probabilities() -> None:
    # two frames lean to class 0, the one that is sure is of class 1
    scores = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.01, 0.99], [0.9, 0.1]]).log()
    assert cnn_frames.voted(scores, np.array([0, 0, 0, 1]), 2).tolist() == [1, 0]


def cut(*found: Events, sensor: tuple[int, int] = SENSOR) -> cnn_frames.Frames:
    return cnn_frames.cut(recorded(*found, sensor=sensor), silent)


@pytest.mark.parametrize(
    ("events", "frames"),
    [(1, [1]), (1999, [1999]), (2000, [1000, 1000]), (4133, [1034, 1033, 1033, 1033])],
)
def test_a_recording_is_cut_in_frames_of_a_thousand_events(events: int, frames: list[int]) -> None:
    found = np.zeros(events, EVENT)
    found["x"], found["y"], found["t"] = np.arange(events) % 64, 20, np.arange(events)
    cut_up = cut(found, events_of((0, 0, 0, True)), sensor=(64, 64))
    assert cut_up.counts.sum((1, 2, 3)).tolist() == [*frames, 1]
    assert cut_up.owners.tolist() == [0] * len(frames) + [1]


def test_a_long_recordings_class_is_the_likeliest_of_all_its_frames() -> None:
    method = cnn_frames.FrameCNN(cnn_frames.Sizes(), 2)
    method.fit(bars(20, 0), bars(4, 1), 0, silent)
    test = recorded(*(np.tile(each, 13) for each in map(bars(8, 2).__getitem__, range(8))))
    test = replace(test, sensor=(20, 20))
    frames = cnn_frames.cut(test, silent)
    assert frames.owners.tolist() == [n // 2 for n in range(16)]
    scores = method.network(cnn_frames.scaled(torch.from_numpy(frames.counts)))
    likelihoods = scores.softmax(1).unflatten(0, (8, 2)).double().prod(1)
    assert np.array_equal(answered(method, test), likelihoods.argmax(1).numpy())


def test_when_an_event_came_does_not_matter_to_the_sum_and_nothing_is_dropped_out() -> None:
    method, test = cnn_events.EventCNN(cnn_events.Sizes(), 1), bars(20, 2)
    method.fit(bars(20, 0), bars(4, 1), 0, silent)
    moved = test.events.copy()
    for n in range(len(test)):
        part = moved[test.starts[n] : test.starts[n + 1]]
        part[["x", "y", "p"]] = part[["x", "y", "p"]][::-1].copy()  # times stay, in their order
    backwards = Recordings(moved, test.starts, test.labels, test.sensor, test.classes)
    assert torch.equal(cnn_events.summed(backwards), cnn_events.summed(test))
    assert np.array_equal(answered(method, backwards), answered(method, test))
    assert not method.network.training


# the LSTM and the Phased LSTM


def alone(events: Events) -> Sequences:
    """All events of one recording."""
    recordings = recorded(events, sensor=SENSOR)
    return side_by_side(recordings, torch.tensor([0]), None, torch.tensor([0.5]))


def test_a_gate_opens_and_closes_within_its_share_of_the_period() -> None:
    # period 8 ms, of which it is open 4: it rises for 2, falls for 2, then leaks
    t = torch.tensor([0.0, 1, 2, 3, 4, 6, 8, 9, 18])[:, None]
    tau, none = torch.tensor([8.0]), torch.zeros(1)
    k = openness(t, tau, none, 0.5, 0.1)[:, 0]
    assert k.tolist() == pytest.approx([0, 0.5, 1, 0.5, 0.1 * 0.5, 0.1 * 0.75, 0, 0.5, 1])
    shifted = openness(t, tau, torch.tensor([2.0]), 0.5, 0.1)[:, 0]
    assert shifted[:4].tolist() == pytest.approx([1, 0.5, 0.1 * 0.5, 0.1 * 0.625])


def test_the_floor_of_the_remainder_has_no_gradient_and_the_rest_has() -> None:
    tau = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([0.25], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[5.0]], dtype=torch.float64)  # phi = 5.25 / 2 - 2 = 0.625: closed
    openness(t, tau, shift, 0.05, 0.1).sum().backward()
    assert tau.grad is not None and shift.grad is not None
    assert tau.grad.item() == pytest.approx(0.1 * -5.25 / 4)  # d/dtau (t + s) / tau - floor
    assert shift.grad.item() == pytest.approx(0.1 / 2)


@pytest.mark.parametrize("phase", [0.1, 0.35, 0.8])  # rising, falling, leaking
def test_the_gates_gradient_is_the_finite_difference(phase: float) -> None:
    tau = torch.tensor([1.5, 4.0, 9.0], dtype=torch.float64)
    shift = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    # each unit at that phase, in its fourth period
    t = (tau * (3 + phase) - shift).expand(1, 3)
    inputs = tuple(each.requires_grad_() for each in (t.clone(), tau.clone(), shift.clone()))

    def gate(t: Tensor, tau: Tensor, shift: Tensor) -> Tensor:
        return openness(t, tau, shift, 0.5, 1e-3)

    assert torch.autograd.gradcheck(gate, inputs)


def units_of(torchs: nn.LSTM) -> PhasedUnits:
    """The same weights, no peepholes."""
    units = PhasedUnits(torchs.input_size, torchs.hidden_size).double()
    weight_x, weight_h, *biases = torchs.parameters()
    with torch.no_grad():
        units.weight_x.copy_(weight_x)
        units.weight_h.copy_(weight_h)
        units.bias.copy_((biases[0] + biases[1]).view(4, -1))
        units.peepholes.zero_()
    return units


def test_with_the_gate_held_open_the_units_are_torchs_lstm() -> None:
    torch.manual_seed(0)
    torchs = nn.LSTM(5, 7).double()
    units, x = units_of(torchs), torch.randn(9, 4, 5, dtype=torch.float64)
    outputs, _ = torchs(x)
    k = torch.ones(9, 4, 7, dtype=torch.float64)
    steps = [units(units.driven(x[:n]), k[:n]) for n in range(1, 10)]
    for ours, theirs in zip(steps, outputs, strict=True):
        # float64 rounds in another order
        assert (ours - theirs).abs().max().item() < 1e-14
    steps[-1].square().sum().backward()
    outputs[-1].square().sum().backward()
    weights = (units.weight_x, units.weight_h)
    for mine, theirs in zip(weights, torchs.parameters(), strict=False):
        assert mine.grad is not None and theirs.grad is not None
        assert (mine.grad - theirs.grad).abs().max().item() < 1e-13


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_a_unit_half_open_takes_half_of_what_it_computes() -> None:
    units = PhasedUnits(1, 1).double()
    with torch.no_grad():
        for each in (units.weight_x, units.weight_h, units.bias):
            each.zero_()
        units.bias[2] = 1.0  # i = f = o = 1/2, but for the peepholes; g = tanh(1)
        peepholes = torch.tensor([[0.3], [-0.2], [0.7]], dtype=torch.float64)
        units.peepholes.copy_(peepholes)
    half = torch.full((2, 1, 1), 0.5, dtype=torch.float64)
    found = units(units.driven(torch.zeros(2, 1, 1, dtype=torch.float64)), half)
    g = np.tanh(1)
    c_new = 0.5 * g
    c, h = c_new / 2, sigmoid(0.7 * c_new) * np.tanh(c_new) / 2
    c_new = sigmoid(-0.2 * c) * c + sigmoid(0.3 * c) * g  # the output gate looks at this one
    h = 0.5 * sigmoid(0.7 * c_new) * np.tanh(c_new) + 0.5 * h
    assert found.item() == pytest.approx(h, rel=1e-12)


def network(r_on: float = 0.05) -> phased_lstm.Network:
    torch.manual_seed(2)
    return phased_lstm.Network(24, 2, phased_lstm.Sizes(embedding=5, units=6, r_on=r_on)).eval()


def some_events(count: int, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 50_000, count))
    return events_of(*((int(n) % 4, int(n) % 3, int(t), bool(n % 2)) for n, t in enumerate(times)))


def test_an_events_address_is_its_polarity_row_and_column() -> None:
    found = alone(events_of((3, 2, 0, False), (1, 0, 1500, True), (3, 2, 2000, True)))
    assert found.addresses[:, 0].tolist() == [11, 13, 23]  # of 2 x 3 x 4
    assert found.ms[:, 0].tolist() == [0, 1.5, 2]


def test_a_shorter_recording_is_read_as_if_it_were_alone() -> None:
    both = recorded(some_events(5, 0), some_events(30, 1), sensor=SENSOR)
    plain = network(r_on=0.6)
    together = plain(side_by_side(both, torch.tensor([0, 1]), None, torch.rand(2)))
    for n in range(2):
        apart = plain(alone(both[n]))
        assert torch.allclose(together[n], apart[0], rtol=1e-5, atol=1e-6)


def test_a_closed_unit_leaks_in_training_and_keeps_its_state_afterwards() -> None:
    plain = network()
    with torch.no_grad():  # no event of the first 50 ms finds a gate open
        plain.tau.fill_(200.0)
        plain.shift.fill_(100.0)
    x = alone(some_events(20, 0))
    untouched = plain.readout(torch.zeros(1, 6))
    assert torch.equal(plain(x), untouched)
    leaking = plain.train()(x)
    assert not torch.equal(leaking, untouched)
    assert (leaking - untouched).abs().max().item() < 20 * phased_lstm.ALPHA


@pytest.mark.parametrize(
    ("count", "limit", "offset", "expected"),
    [
        (3, 4, 0.5, [0, 1, 2]),  # all of them
        (8, 4, 0.0, [0, 2, 4, 6]),
        (8, 4, 0.5, [1, 3, 5, 7]),
        (7, 3, 0.999, [2, 4, 6]),
        (6, None, 0.5, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_events_are_taken_evenly_over_the_whole_recording(
    count: int, limit: int | None, offset: float, expected: list[int]
) -> None:
    events = events_of(*((0, 0, n, True) for n in range(count)))
    assert evenly(events, limit, offset)["t"].tolist() == expected


def test_the_published_periods_are_between_1_and_exp_3_ms() -> None:
    periods = phased_lstm.Network(24, 10, phased_lstm.Sizes()).tau
    assert periods.min().item() >= 1 and periods.max().item() <= np.exp(3)
    assert phased_lstm.PhasedLSTM.SIZES["paper"].events is None  # it reads every event


# STBP


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def others(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True) - values


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


# Lee et al.

CIRCUIT = Circuit(decay=0.5, kappa=0.0, sigma=0.5, rest=0.0, silent=False)
SMALL = Sizes(hidden=30, lr=5e-3)


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
