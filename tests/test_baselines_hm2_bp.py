"""HM2-BP: its neurons on hand-made spike trains, its gradients against differentiable twins."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recordings import events_of, striped
from torch import Tensor

from harness.baselines import hm2_bp
from harness.baselines.contract import silent
from harness.baselines.hm2_bp import (
    HIDDEN,
    LONGEST,
    OUTPUT,
    Array,
    Neuron,
    Passed,
    Raster,
    Sizes,
    Train,
)
from harness.spec import UsageError

QUICK = Neuron(v_th=1.0, rest=2, tau_m=4.0, tau_s=2.0, inhibition=0.0)
PUBLISHED = Sizes()


def train(*spikes: tuple[int, int]) -> Train:
    """Of (time, owner)."""
    times, owners = np.array(sorted(spikes), np.int64).reshape(-1, 2).T
    return Train(times.copy(), owners.copy())


def raster(steps: int, *times: tuple[int, ...]) -> Raster:
    """The times at which each neuron fires."""
    found = np.zeros((steps, len(times)), np.bool_)
    for n, each in enumerate(times):
        found[list(each), n] = True
    return found


def times(found: Raster) -> list[list[int]]:
    return [np.flatnonzero(each).tolist() for each in found.T]


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
    found = hm2_bp.train_of(events, (2, 3), 6)
    assert (found.times.tolist(), found.owners.tolist()) == ([1, 1, 2, 5], [1, 7, 5, 0])


@pytest.mark.parametrize(
    ("weights", "spikes", "neuron", "expected"),
    [
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
    ],
)
def test_a_neuron_fires_above_its_threshold_as_derived_by_hand(
    weights: list[list[float]],
    spikes: list[tuple[int, int]],
    neuron: Neuron,
    expected: list[list[int]],
) -> None:
    assert times(hm2_bp.fired(np.array(weights), train(*spikes), 9, neuron)) == expected


def left(t: float, s: float, neuron: Neuron) -> float:
    u = min(s, t)
    rise = exp(-u / neuron.tau_m) - exp(-u / neuron.tau_s)
    return exp(-max(t - s, 0) / neuron.tau_s) * rise / (1 - neuron.tau_s / neuron.tau_m)


def test_each_spike_of_an_input_counts_at_each_later_spike_until_it_is_forgotten() -> None:
    found = hm2_bp.summed(train((3, 0), (9, 0), (20, 0), (30, 1)), raster(40, (10, 25)), 2, HIDDEN)
    at_10 = left(10 - 3 - 2, 9, HIDDEN)  # 9 is too late for 10: it acts after a rest of 2
    at_25 = left(25 - 3 - 2, 13, HIDDEN) + left(25 - 9 - 2, 13, HIDDEN) + left(3, 13, HIDDEN)
    assert found.tolist() == [[pytest.approx(at_10 + at_25)], [0]]
    neuron = QUICK._replace(rest=0)  # forgotten after four time constants
    found = hm2_bp.summed(train((1, 0), (2, 1)), raster(30, (18,)), 2, neuron)
    assert found[0].item() == 0 and found[1].item() == pytest.approx(left(16, 17, neuron))


def test_the_sums_are_autograds_on_a_simulation_with_frozen_spikes() -> None:
    slow = Neuron(v_th=1.0, rest=2, tau_m=1600.0, tau_s=200.0, inhibition=0.0)  # steps are short
    random = np.random.default_rng(0)
    spikes = train(*((int(t), n) for n in range(3) for t in random.integers(1, 1100, 8)))
    frozen = raster(1200, (250, 700, 1150), (600,))
    weights = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    v, ep = torch.zeros(2, 2, dtype=torch.float64)
    total, rest = torch.zeros((), dtype=torch.float64), np.zeros(2)
    for t in range(1, 1200):
        ep = ep - ep / slow.tau_s
        for owner in spikes.owners[spikes.times == t - 1]:
            ep = ep + weights[owner]
        v = v - v / slow.tau_m + ep / slow.tau_s
        v = v * torch.from_numpy(rest == 0)
        rest = np.maximum(rest - 1, 0)
        total = total + (v * torch.from_numpy(frozen[t])).sum()
        v = v * torch.from_numpy(~frozen[t])
        rest[frozen[t]] = slow.rest
    total.backward()
    assert weights.grad is not None
    expected = weights.grad.numpy()
    found = hm2_bp.summed(spikes, frozen, 3, slow)
    # steps of a two-hundredth of the shorter constant, and a delay that is a step off
    assert np.abs(found - expected).max() < 0.02 * expected.max()


def passed(e: Array, before: NDArray[np.int64], after: NDArray[np.int64]) -> Passed:
    return Passed(e.copy(), before.astype(np.float64), after.astype(np.float64))


def counted(w: Tensor, found: Passed, before: Tensor, v_th: float) -> Tensor:
    """Counts as the method sees them: V_th o = sum of w e, and e as both counts."""
    e, after = torch.from_numpy(found.e), torch.from_numpy(found.after)
    own = after + ((w - w.detach()) * e).sum(0) / v_th  # what the weights alone do to them
    unit = e / torch.from_numpy(found.before)[:, None] / after
    potential = (w * unit * before[:, None] * own).sum(0)
    return after + (potential - potential.detach()) / v_th


def test_gradients_are_autograds_on_the_counts_with_frozen_potentials() -> None:
    random = np.random.default_rng(1)
    counts = [random.integers(1, 9, n) for n in (5, 4, 3)]
    first = passed(random.uniform(0, 2, (5, 4)), counts[0], counts[1])
    last = passed(random.uniform(0, 2, (4, 3)), counts[1], counts[2])
    weights = [random.uniform(-1, 1, each.e.shape) for each in (first, last)]
    w, w2 = (torch.from_numpy(each).clone().requires_grad_() for each in weights)
    wanted = np.array([9.0, 1.0, 1.0])
    hidden = counted(w, first, torch.from_numpy(first.before), 15.0)
    outputs = counted(w2, last, hidden, 15.0)
    ((outputs - torch.from_numpy(wanted)).square().sum() / 2).backward()

    delta = (last.after - wanted) / 15
    back = (weights[1] * hm2_bp.by_input(last)) @ delta / 15
    assert w.grad is not None and w2.grad is not None
    for found, expected in (
        (last.e * hm2_bp.pushed(weights[1], last, delta, OUTPUT), w2.grad),
        (first.e * hm2_bp.pushed(weights[0], first, back, HIDDEN), w.grad),
    ):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10)


def test_silent_neurons_have_the_codes_numbers() -> None:
    found = hm2_bp.passed(train((1, 0), (4, 0), (2, 1)), raster(9, (6,), ()), 3, QUICK)
    assert found.before.tolist() == [2, 1, 0] and found.after.tolist() == [1, 0]
    assert found.e[:, 1].tolist() == [0.1, 0.1, 0]  # of a silent neuron, by inputs that fired
    assert found.e[2, 0] == 0 and (found.e[:2, 0] > 0).all()
    ratio = hm2_bp.by_input(found)
    assert ratio[:, 1].tolist() == [1, 1, 1] and ratio[2, 0] == 1
    assert ratio[0, 0] == found.e[0, 0] / 2
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    gradient = found.e * hm2_bp.pushed(weights, found, np.array([0.0, 1.0]), QUICK)
    assert gradient[:, 1].tolist() == pytest.approx([0.1 * (1 + 0.5 * 6)] * 2 + [0])


def test_counts_that_are_wanted_go_with_the_length_and_a_silent_class_is_given_spikes() -> None:
    assert hm2_bp.errors(np.array([31.0, 0.0, 11.0]), 0, PUBLISHED, LONGEST).tolist() == [0, 0, 6]
    found = hm2_bp.errors(np.array([12.0, 5.0, 6.0]), 0, PUBLISHED, LONGEST // 2)
    assert found.tolist() == [-5.5, 0, 3.5]  # wanted are 17.5 and 2.5, the margin is 2.5
    before = raster(LONGEST, (3,), ())
    given = times(hm2_bp.roused(before, 1, PUBLISHED.distance))
    assert given == [[3], list(range(15, 540, 15))] and len(given[1]) == 35
    assert times(before) == [[3], []]
    assert hm2_bp.roused(before, 0, PUBLISHED.distance) is before


def test_inhibition_between_outputs_that_answer_scales_their_gradients() -> None:
    fires = raster(40, (5, 20), (), ())
    found = hm2_bp.returned(fires, 1, OUTPUT)  # the class's output counts though it is silent
    assert found.tolist() == pytest.approx([1 / (1 - 1 / 225), 1 / (1 - 1 / 225), 1])
    assert hm2_bp.returned(fires, 0, OUTPUT).tolist() == [1, 1, 1]
    assert hm2_bp.returned(fires, 1, HIDDEN).tolist() == [1, 1, 1]
    both = raster(40, (5, 20), (12,))
    there = left(20 - 12 - 2, 13, OUTPUT) / 1  # of the second's count at the first
    back = left(12 - 5 - 2, 11, OUTPUT) / 2
    expected = 1 / (1 - there * back / 225)
    assert hm2_bp.returned(both, 0, OUTPUT).tolist() == pytest.approx([expected] * 2)


def test_a_layer_moves_as_torchs_adam_against_gradient_and_decay() -> None:
    random = np.random.default_rng(2)
    first = random.uniform(-4, 4, (4, 3))
    layer = hm2_bp.Layer(first.copy(), HIDDEN)
    weights = torch.from_numpy(first.copy()).requires_grad_()
    optimiser = torch.optim.Adam([weights], 0.01)
    for _ in range(3):
        counts = random.integers(1, 9, 7)
        found = passed(random.uniform(0, 2, (4, 3)), counts[:4], counts[4:])
        delta = random.uniform(-1, 1, 3)
        own = found.e * hm2_bp.pushed(weights.detach().numpy(), found, delta, HIDDEN)
        optimiser.zero_grad()
        # lambda beta w / 8 exp(beta (mean of (w / 8)^2 - 1)) is this one's gradient
        excess = 0.01 * ((weights / 8).square().mean(0) - 1)
        ((weights * torch.from_numpy(own)).sum() + 10 * 8 * 4 / 2 * excess.exp().sum()).backward()
        optimiser.step()
        layer.move(found, delta, PUBLISHED, 0.01)
    np.testing.assert_allclose(layer.weights, weights.detach().numpy(), rtol=1e-5)
    assert not np.allclose(layer.weights, first, atol=1e-3)


def test_a_step_teaches_both_layers_towards_the_wanted_counts() -> None:
    spikes = train(*((t, n) for t in range(1, 500, 4) for n in range(8)))
    network = hm2_bp.Network((8, 10, 3), seed=0)
    layers = network.hidden, network.output
    before = [each.weights.copy() for each in layers]

    def missing() -> float:
        counts = network.fired(spikes, LONGEST)[1].sum(0)
        return float(np.abs(hm2_bp.errors(counts, 2, PUBLISHED, LONGEST)).sum())

    first = missing()
    for _ in range(100):
        network.learn(spikes, 2, LONGEST, PUBLISHED, 0.02)
    assert first > 20 and missing() < first / 2
    assert all((each.weights != was).any() for each, was in zip(layers, before, strict=True))


def test_recordings_that_are_too_short_are_refused() -> None:
    recordings = striped(3, 0)
    with pytest.raises(UsageError, match=r"recordings of [23]\.\d ms are too short"):
        hm2_bp.HM2BP(Sizes(hidden=5)).fit(recordings.first(3000), recordings, 0, silent)
