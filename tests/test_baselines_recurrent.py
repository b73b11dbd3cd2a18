"""The LSTM on frames and the Phased LSTM on events, other systems of Table 3."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import baselines
from harness.baselines import lstm, phased_lstm
from harness.baselines.contract import Answers, Effort, Method
from harness.baselines.phased_lstm import (
    Parameters,
    PhasedLSTM,
    PhasedUnits,
    evenly,
    openness,
    side_by_side,
)
from harness.datasets.events import EVENT, Events, Recordings

EFFORTS: tuple[Effort, ...] = ("quick", "default", "paper")
ALONE = torch.tensor([0.5])  # the offset of the only recording of a batch


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def recorded(*found: Events, sensor: tuple[int, int] = (3, 4), classes: int = 2) -> Recordings:
    starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
    labels = np.arange(len(found)) % classes
    return Recordings(np.concatenate(found), starts, labels, sensor, classes)


def rows(count: int, seed: int, events: int = 30) -> Recordings:
    """Class n is 60 ms of events around row 2n + 1 of 8x8 pixels, with some anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        each = np.zeros(events, EVENT)
        each["x"], each["t"] = rng.integers(0, 8, events), np.sort(rng.integers(0, 60_000, events))
        noise = rng.random(events) < 0.2
        each["y"] = np.where(noise, rng.integers(0, 8, events), 2 * (n % 4) + 1)
        each["p"], each["t"][0] = rng.random(events) < 0.5, 0
        found.append(each)
    return recorded(*found, sensor=(8, 8), classes=4)


def silent(fraction: float, text: str) -> None:
    assert 0 <= fraction <= 1 and text


def fitted(name: str, epochs: int, seed: int = 0) -> Method:
    method = baselines.load(name).build("quick", epochs)
    method.fit(rows(120, 0), rows(4, 1), seed, silent)
    return method


def answers(method: Method, test: Recordings) -> np.ndarray:
    found = method.predict(test)
    assert not isinstance(found, Answers)
    assert found.dtype == np.int64 and found.shape == (len(test),)
    return found


def weights_of(method: Method) -> Tensor:
    assert isinstance(method, lstm.LSTM | phased_lstm.Classifier) and method._network is not None
    return torch.cat([each.detach().flatten() for each in method._network.parameters()])


@pytest.fixture(scope="module", params=["lstm", "phased-lstm"])
def system(request: pytest.FixtureRequest) -> str:
    return request.param


def test_both_are_systems_of_table_3(system: str) -> None:
    found = baselines.load(system)
    assert found.datasets == ("nmnist",)
    assert set(found.epochs) == set(EFFORTS)
    assert found.windows == ("whole", "first")
    assert all(found.build(effort, 1).structure for effort in EFFORTS)


# the time gate


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


# the units


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


def test_the_units_gradients_are_finite_differences() -> None:
    torch.manual_seed(1)
    units = PhasedUnits(2, 3).double()
    driven = torch.randn(4, 2, 12, dtype=torch.float64, requires_grad=True)
    k = torch.rand(4, 2, 3, dtype=torch.float64).requires_grad_()

    def run(driven: Tensor, k: Tensor, weight_h: Tensor, peepholes: Tensor) -> Tensor:
        replaced = {"weight_h": weight_h, "peepholes": peepholes}
        return torch.func.functional_call(units, replaced, (driven, k))

    assert torch.autograd.gradcheck(run, (driven, k, units.weight_h, units.peepholes))


# the network on events


def network(r_on: float = 0.05) -> PhasedLSTM:
    torch.manual_seed(2)
    return PhasedLSTM(24, 2, Parameters(embedding=5, units=6, r_on=r_on)).eval()


def some_events(count: int, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 50_000, count))
    return events_of(*((int(n) % 4, int(n) % 3, int(t), bool(n % 2)) for n, t in enumerate(times)))


def test_an_events_address_is_its_polarity_row_and_column() -> None:
    recordings = recorded(events_of((3, 2, 0, False), (1, 0, 1500, True), (3, 2, 2000, True)))
    found = side_by_side(recordings, torch.tensor([0]), None, ALONE)
    assert found.addresses[:, 0].tolist() == [11, 13, 23]  # of 2 x 3 x 4
    assert found.ms[:, 0].tolist() == [0, 1.5, 2]


def test_events_outside_the_sensor_have_no_address() -> None:
    recordings = recorded(events_of((4, 0, 0, True), (0, 3, 5, True), (-1, 0, 6, True)))
    found = side_by_side(recordings, torch.tensor([0]), None, ALONE)
    assert found.addresses.shape == (1, 1) and not found.present.any()
    assert torch.isfinite(network()(found)).all()


def test_a_looked_up_drive_is_the_events_embedding_through_the_weights() -> None:
    plain = network()
    x = side_by_side(recorded(some_events(20, 0)), torch.tensor([0]), None, ALONE)
    k = openness(x.ms[..., None], plain.tau, plain.shift, 0.05, 0.0)
    embedded = plain.embedding[x.addresses]
    expected = plain.readout(plain.cell(plain.cell.driven(embedded), k))
    assert torch.allclose(plain(x), expected, rtol=1e-5, atol=1e-6)


def test_a_shorter_recording_is_read_as_if_it_were_alone() -> None:
    both = recorded(some_events(5, 0), some_events(30, 1))
    plain = network(r_on=0.6)
    together = plain(side_by_side(both, torch.tensor([0, 1]), None, torch.rand(2)))
    for n in range(2):
        alone = plain(side_by_side(both, torch.tensor([n]), None, ALONE))
        assert torch.allclose(together[n], alone[0], rtol=1e-5, atol=1e-6)


def test_a_closed_unit_leaks_in_training_and_keeps_its_state_afterwards() -> None:
    plain = network()
    with torch.no_grad():  # no event of the first 50 ms finds a gate open
        plain.tau.fill_(200.0)
        plain.shift.fill_(100.0)
    x = side_by_side(recorded(some_events(20, 0)), torch.tensor([0]), None, ALONE)
    untouched = plain.readout(torch.zeros(1, 6))
    assert torch.equal(plain(x), untouched)
    leaking = plain.train()(x)
    assert not torch.equal(leaking, untouched)
    assert (leaking - untouched).abs().max().item() < 20 * phased_lstm.ALPHA


def test_a_period_below_zero_counts_by_its_size() -> None:
    plain = network(r_on=0.6)
    x = side_by_side(recorded(some_events(20, 0)), torch.tensor([0]), None, ALONE)
    expected = plain(x)
    with torch.no_grad():
        plain.tau.neg_()
    assert torch.equal(plain(x), expected)


def test_the_order_and_times_of_events_matter() -> None:
    events = some_events(20, 0)
    plain = network(r_on=0.6)

    def scores(found: Events) -> Tensor:
        return plain(side_by_side(recorded(found), torch.tensor([0]), None, ALONE))

    later = events.copy()
    later["t"] += 700
    assert not torch.allclose(scores(later), scores(events))


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


def test_the_largest_offset_is_still_within_the_recording() -> None:
    largest = float(np.nextafter(np.float32(1), np.float32(0)))  # of torch.rand
    for count in (257, 4133, 8200):
        events = np.zeros(count, EVENT)
        events["t"] = np.arange(count)
        assert evenly(events, 256, largest)["t"][-1] == count - 1


def test_the_paper_reads_every_event_and_has_the_published_sizes() -> None:
    network = phased_lstm.build("paper", 1)
    assert network.structure == "embedding 40-PLSTM110-10"
    assert Parameters().events is None
    periods = PhasedLSTM(24, 10, Parameters()).tau
    assert periods.min().item() >= 1 and periods.max().item() <= np.exp(3)


# the network on frames


def test_the_class_is_read_from_the_mean_over_all_steps() -> None:
    torch.manual_seed(3)
    plain = lstm.Network(24, 5, 2)
    frames = torch.randint(0, 3, (2, 4, 2, 3, 4), dtype=torch.uint8)
    outputs, _ = plain.lstm(frames.float().flatten(2).transpose(0, 1))
    expected = torch.stack([plain.readout(each) for each in outputs]).mean(0)
    assert torch.allclose(plain(frames), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("last_us", "bins"), [(0, 1), (4999, 1), (5000, 2), (308_000, 62), (900_000, lstm.MOST_BINS)]
)
def test_it_has_as_many_frames_as_the_longest_recording(last_us: int, bins: int) -> None:
    short, long = events_of((0, 0, 0, True)), events_of((0, 0, 0, True), (1, 1, last_us, True))
    assert lstm.bins_of(recorded(short, long)) == bins


def test_its_structure_is_that_of_the_recordings() -> None:
    assert lstm.build("paper", 1).structure == "2312-LSTM512-10"
    assert fitted("lstm", 1).structure == "128-LSTM64-4"


# both


def test_it_learns_which_row_moves(system: str) -> None:
    method, test = fitted(system, 12), rows(60, 2)
    accuracy = (answers(method, test) == test.labels).mean()
    assert accuracy > 0.7, f"{accuracy:.2f} of 4 classes"


def test_the_seed_decides_the_weights(system: str) -> None:
    test = rows(40, 3)
    first, second, other = (fitted(system, 1, seed) for seed in (5, 5, 6))
    assert np.array_equal(answers(first, test), answers(second, test))
    weights, same, different = (weights_of(each) for each in (first, second, other))
    assert torch.equal(weights, same) and not torch.equal(weights, different)


def test_a_recording_of_one_event_gets_a_class(system: str) -> None:
    method = fitted(system, 1)
    one = recorded(events_of((0, 0, 0, True)), sensor=(8, 8), classes=4)
    assert answers(method, one)[0] in range(4)


def test_the_first_t_bins_are_a_window_like_another(system: str) -> None:
    method = baselines.load(system).build("quick", 1)
    train = rows(40, 0).first(10_000)
    method.fit(train, train, 0, silent)
    assert len(answers(method, train)) == 40


def test_it_tells_how_far_it_is(system: str) -> None:
    told: list[tuple[float, str]] = []
    method = baselines.load(system).build("quick", 2)
    method.fit(rows(40, 0), rows(4, 1), 0, lambda fraction, text: told.append((fraction, text)))
    assert told[0] == (0, "epoch 1/2") and told[-1][1] == "epoch 2/2"
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
