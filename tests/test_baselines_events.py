"""Systems on events: HOTS and HFirst by hand and event by event; those of fixed features and a
classifier, HATS, Gabor-SNN and the random forest, and their SVM.
"""

from __future__ import annotations

from math import cos, exp, pi, sin, sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recordings import bars, events_of, recorded
from sklearn.svm import LinearSVC
from tonic.functional import denoise_numpy, to_averaged_timesurface_numpy

from harness.baselines import gabor, hats, hfirst, hots, random_forest, svm
from harness.baselines.contract import Labels, silent
from harness.baselines.events import NEXT_4, NEXT_8, Rows, denoise, rows_of
from harness.baselines.hats import HatsParameters
from harness.baselines.hots import (
    first_surface,
    learn_prototypes,
    majority_vote,
    neighbours,
    relabel_events,
)
from harness.datasets.events import EVENT, Events
from harness.spec import LIF

# HOTS

NEAR = hots.HotsLayer(2, radius=1, tau_us=10.0)


def rows(*events: tuple[int, int, int, int]) -> Rows:
    return np.array(events, np.int64).reshape(-1, 4)


ROW = rows((1, 2, 0, 0), (3, 2, 0, 0), (2, 2, 0, 0))  # the last one sees all three
SEEN = 3, 4, 5  # the entries that are 1 in its surface


def test_the_winner_moves_towards_the_surface_by_alpha_beta() -> None:
    prototypes, wins = np.zeros((9, 2)), np.array([1, 1])
    prototypes[4, 0], prototypes[0, 1] = 2.0, 1.0
    learn_prototypes(ROW, NEAR, prototypes, wins)
    beta = 1 / sqrt(3)  # of (1, 1, 1) / sqrt(3) and (0, 1, 0)
    step = 0.01 / (1 + 1 / 20_000) * beta
    expected = np.zeros(9)
    expected[[3, 5]] = step / sqrt(3)
    expected[4] = 2 + step * (1 / sqrt(3) - 2)
    assert prototypes[:, 0] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert prototypes[:, 1].tolist() == [1.0] + 8 * [0.0] and wins.tolist() == [2, 1]


@pytest.mark.parametrize(("start", "seen"), [(0, SEEN), (2, SEEN), (3, (0, 1, 2, 4))])
def test_an_example_is_the_first_surface_not_skipped(start: int, seen: tuple[int, ...]) -> None:
    # the event at 4, 2 sees one other and is skipped; the last sees the three of ROW above it
    events, dense = np.concatenate([ROW, rows((4, 2, 0, 0), (2, 3, 1, 0))]), np.zeros(9)
    assert first_surface(events, NEAR, start, dense) and not first_surface(
        events, NEAR, 5, np.zeros(9)
    )
    assert tuple(np.flatnonzero(dense)) == seen and (dense**2).sum() == pytest.approx(1)


def test_an_event_is_forgotten_after_five_tau() -> None:
    earlier = (1, 2, 0, 0), (3, 2, 1, 0), (2, 1, 41, 0), (2, 3, 51, 0)  # 51, 50, 10 and 0 us old
    dense, expected = np.zeros(9), np.zeros(9)
    assert first_surface(rows(*earlier, (2, 2, 51, 0)), NEAR, 4, dense)
    expected[[1, 4, 5, 7]] = exp(-1), 1, exp(-5), 1
    assert dense == pytest.approx(expected / np.linalg.norm(expected))


def test_an_event_is_named_by_the_nearest_prototype_and_a_lonely_one_is_dropped() -> None:
    events = rows(
        (1, 1, 0, 0),  # alone
        (2, 1, 0, 0),  # with one other
        (1, 2, 2, 0),  # with two, all OFF
        (2, 2, 2, 1),  # ON among these three
        (3, 2, 20, 1),  # with faint ones
        (3, 3, 20, 1),  # with the last and a faint one, all ON
        (2, 3, 20, 1),
    )
    prototypes = np.zeros((9, 2, 2))
    prototypes[:, 0, 0] = prototypes[:, 1, 1] = 1  # of OFF, of ON
    for every in (1, 3):  # all are remembered
        relabelled = relabel_events(events, NEAR._replace(every=every), prototypes.reshape(18, 2))
        named = {n: k for n, k in {2: 0, 3: 0, 5: 1, 6: 1}.items() if n % every == 0}
        assert relabelled.tolist() == [[*events[n, :3], k] for n, k in named.items()]


def test_the_nearest_and_the_most_frequent_win_and_of_equals_the_first() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    queries = np.array([[1.0, 1.0], [0.4, 0.0]])
    assert neighbours(points, queries, 3).tolist() == [[1, 2, 0], [0, 1, 2]]
    labels = np.array([[2, 1, 2, 0], [2, 1, 1, 2], [1, 1, 1, 1]])
    assert majority_vote(labels, 3).tolist() == [2, 1, 1]
    assert majority_vote(labels[:, :1], 3).tolist() == [2, 2, 1]


def test_a_long_recording_is_thinned_in_the_last_layer_and_a_short_one_is_not() -> None:
    train, prototypes = bars(10, 0, 12), []
    longest = int(np.diff(train.starts).max())
    for events in (None, longest, longest // 2):
        method = hots.HOTS(hots.HOTSSizes(5, None, events))
        method.fit(train, bars(4, 5, 12), 0, silent)
        prototypes.append(method.prototypes)
    whole, just, half = prototypes
    assert (whole[0] == just[0]).all() and (whole[0] == half[0]).all()
    assert (whole[1] == just[1]).all() and (whole[1] != half[1]).any()


def test_events_outside_the_sensor_are_left_out() -> None:
    events = events_of((0, 0, 0, True), (-1, 0, 1, True), (4, 2, 2, False), (3, 2, 3, False))
    assert rows_of(events, (3, 4)).tolist() == [[0, 0, 0, 1], [3, 2, 3, 0]]


# HFirst


def test_events_without_a_neighbour_in_time_are_noise() -> None:
    events = rows(
        (5, 5, 0, 1),  # the first has none
        (6, 6, 9_999, 1),
        (5, 5, 12_000, 1),
        (5, 5, 13_000, 1),  # repeats the one before it
        (5, 5, 13_500, 0),
        (8, 8, 14_000, 1),  # too far from the others
        (8, 8, 14_500, 0),  # its own pixel does not count
        (7, 7, 24_500, 1),  # 10 ms after (8, 8)
    )
    signal = denoise(hfirst.without_repeats(events), (10, 10), 10_000, NEXT_8)
    assert signal.tolist() == events[[1, 2, 4]].tolist()


def test_times_are_rounded_to_milliseconds() -> None:
    method = hfirst.HFirst(None)
    method.fit(bars(2, 0, 16), bars(2, 0, 16), 0, silent)
    for us, ms in ((499, 0), (500, 1), (1499, 1), (1500, 2)):
        spikes, _ = method.c1(events_of(*((8, y, us, True) for y in (8, 7, 9, 6, 10, 5) * 2)))
        assert len(spikes) and set(spikes[:, 2].tolist()) == {ms}


def test_s1_has_a_neuron_for_each_place_and_polarity_and_the_first_orientation_fires() -> None:
    filters = np.zeros((3, 3, 2), np.float32)
    filters[1, 1] = 80, 10  # at the neuron's own place
    filters[1, 2] = 0, 160  # to the right of it
    filters[0, 1] = -60, 0  # above it
    events = rows(
        (3, 2, 0, 1),  # 160 at 2, 2, and 80 at 3, 2
        (3, 2, 1, 1),  # 2, 2 rests; 80 - 25 + 80
        (3, 2, 1, 0),  # of the other polarity
        (3, 2, 2, 1),  # 135 - 25 + 80
        (3, 2, 6, 1),  # 2, 2 has rested, 3, 2 has not
        (3, 2, 8, 1),
        (3, 1, 30, 1),  # 3, 2 has forgotten: -60; 2, 1 fires
        *((3, 2, t, 1) for t in (31, 32, 33)),  # -60 + 25 + 80, 45 - 25 + 80, 100 - 25 + 80
    )
    spikes = [(2, 2, 0, 1), (2, 2, 1, 1), (3, 2, 2, 0), (2, 2, 6, 1)]
    spikes += [(2, 1, 30, 1), (2, 2, 31, 1), (3, 2, 33, 0)]
    assert list(hfirst.s1(events, filters, (4, 6))) == spikes
    both = np.full((1, 1, 2), 151, np.float32)
    assert list(hfirst.s1(events[:1], both, (4, 6))) == [(3, 2, 0, 0)]


def test_of_the_spikes_of_4x4_places_one_in_5_ms_passes_whatever_its_orientation() -> None:
    spikes = rows((0, 0, 10, 3), (3, 3, 12, 5), (4, 0, 12, 5), (1, 2, 15, 1), (1, 2, 16, 1))
    passed = list(hfirst.pool(spikes, 4, (1, 2)))
    assert passed == [(0, 0, 10, 3), (1, 0, 12, 5), (0, 0, 16, 1)]


def test_s2_charges_all_classes_by_place_and_orientation_and_who_fires_sets_them_back() -> None:
    by_orientation = np.array([[1000, 200], [-10, 900]], np.float32)
    seen = by_orientation.reshape(1, 1, 2, 2)
    peak = np.zeros(2, np.float32)
    spikes = rows(
        (0, 0, 0, 0),  # 1000, 200
        (0, 0, 2, 0),  # 1980, 380: class 0 fires
        (0, 0, 7, 1),  # in its rest
        (0, 0, 8, 1),  # -10, 900
        (0, 0, 18, 1),  # 100 nearer to 0, then -10, 1700: class 1 fires
    )
    assert list(hfirst.s2(spikes, seen, peak)) == [(0, 0, 2, 0), (0, 0, 18, 1)]
    assert peak.tolist() == [1000, 900]
    seen, peak = np.full((2, 3, 2, 2), -10, np.float32), np.zeros(2, np.float32)
    seen[1, 2, 1, 0] = 1501
    assert not list(hfirst.s2(rows((1, 1, 0, 1), (2, 1, 1, 0)), seen, peak))
    assert list(hfirst.s2(rows((2, 1, 1, 1)), seen, peak)) == [(0, 0, 1, 0)]


def test_weights_are_counts_of_norm_100_mv_and_small_ones_inhibit() -> None:
    counts = np.array([[3.0, 200.0, 0.0], [4.0, 1.0, 0.0]]).reshape(1, 1, 2, 3)
    weights = hfirst.s2_weights(counts)[0, 0]
    # 3 and 4 of 5; 200 and 1 of 200.0025, the second below 1 mV; a class that has no spike
    assert weights.T.tolist() == [[600, 800], [1000, -10], [-10, -10]]


def test_most_spikes_decide() -> None:
    for classes, peak, expected in (
        ((1, 2, 2), (9, 0, 0), 2),  # the most
        ((2, 1, 1, 2), (9, 0, 0), 2),  # of equal ones the first to fire
        ((), (0, 5, 5), 1),  # no spike: the highest potential
        ((), (0, 0, 0), 0),
    ):
        spikes = rows(*((0, 0, t, k) for t, k in enumerate(classes)))
        assert hfirst.class_of_spikes(spikes, np.array(peak, np.float32)) == expected


# HATS: two cells of 4 x 4 pixels beside each other; an event counts for 100 us

SENSOR = (4, 8)
SMALL = HatsParameters(cell=4, radius=1, reach_us=100, tau_us=50.0)


def test_an_earlier_event_near_by_adds_its_decay_at_its_offset() -> None:
    for rows, where, value in (
        ([(1, 1, 0, True), (2, 1, 50, True)], (0, 1, 1, 0), exp(-1)),  # one to the left
        ([(6, 3, 0, False), (6, 3, 100, False)], (1, 0, 1, 1), exp(-2)),  # as old as may be
        ([(1, 1, 0, True), (1, 1, 101, True)], None, 0),  # too old
        ([(1, 1, 7, True), (1, 1, 7, True)], None, 0),  # of the same time: [t - dt, t) is half open
    ):
        events = rows_of(events_of(*rows), SENSOR)
        sums = 2 * hats.histograms(events, SENSOR, SMALL)  # of two events
        assert np.count_nonzero(sums) == (where is not None)
        assert where is None or sums[where] == pytest.approx(value)


def noise(number: int, sensor: tuple[int, int], seed: int) -> Events:
    """Events anywhere, no two at one time."""
    rng = np.random.default_rng(seed)
    events = np.empty(number, EVENT)
    events["x"], events["y"] = (rng.integers(0, size, number) for size in sensor[::-1])
    events["p"] = rng.random(number) < 0.4
    events["t"] = np.cumsum(rng.integers(1, 900, number))
    events["t"] -= events["t"][0]
    return events


@pytest.mark.parametrize(
    ("sensor", "form"),
    [
        ((34, 34), hats.NMNIST),
        ((30, 45), hats.CIFAR10_DVS),  # cells cut by both edges
        ((13, 7), HatsParameters(cell=7, radius=3, reach_us=5_000, tau_us=3_000.0)),
    ],
)
def test_histograms_are_tonics_but_for_two_things(
    sensor: tuple[int, int], form: HatsParameters
) -> None:
    """tonic adds the event at the centre of its own surface and divides by the events of the cell
    and the polarity, n(cell, polarity); the paper's surface holds earlier events alone and is
    divided by the cell's events, n(cell). So ours x n(cell) = (tonic's - 1 at the centre) x
    n(cell, polarity), where there is any event.
    """
    events, size = noise(500, sensor, 0), (sensor[1], sensor[0], 2)
    settings = (
        form.cell,
        2 * form.radius + 1,
        form.reach_us,
        form.tau_us,
        "exp",
    )
    expected = to_averaged_timesurface_numpy(events, size, *settings).astype(np.float64)
    rows, columns = form.cells(sensor)
    cell = events["y"] // form.cell * columns + events["x"] // form.cell
    count = np.zeros((rows * columns, 2))
    np.add.at(count, (cell, events["p"].astype(np.int64)), 1)
    expected[:, :, form.radius, form.radius] -= count > 0
    expected *= count[:, :, None, None]
    ours = hats.histograms(rows_of(events, sensor), sensor, form)
    assert ours.shape == expected.shape and ours.max() > 0
    sums = ours * count.sum(1)[:, None, None, None]
    assert np.allclose(sums, expected, rtol=1e-5, atol=1e-4)  # tonic sums in float32


@pytest.mark.parametrize("window_us", [500, 10_000])
def test_the_events_kept_are_those_of_tonics_denoise(window_us: int) -> None:
    for seed in range(3):
        events = noise(600, (12, 15), seed)
        signal = denoise(rows_of(events, (12, 15)), (12, 15), window_us, NEXT_4, first=0)
        assert np.array_equal(signal, rows_of(denoise_numpy(events, window_us), (12, 15)))
        assert 0 < len(signal) < len(events)


# the random forest


def test_a_forest_sees_how_many_events_of_which_polarity_are_where_and_when() -> None:
    recording = events_of((1, 0, 0, True), (1, 0, 40, True), (2, 1, 50, False), (2, 1, 99, True))
    counts = random_forest.counts(recorded(recording, sensor=(2, 3)), 2, 50)
    expected = np.zeros((1, 2, 2, 2, 3), np.float32)
    expected[0, 0, 1, 0, 1] = 2
    expected[0, 1, 0, 1, 2] = expected[0, 1, 1, 1, 2] = 1
    assert np.array_equal(counts, expected.reshape(1, -1))


@pytest.mark.parametrize("window", [1, 4])
def test_held_out_samples_choose_how_many_windows_a_forest_sees(window: int) -> None:
    """A class is known by where its event is, or by when alone."""

    def recording(n: int) -> Events:
        x, t = (n % 2, 20) if window == 1 else (0, 20 + 60 * (n % 2))
        return events_of((5, 0, 0, True), (x, 1, t, True), (5, 0, 100, True))

    train, held = (recorded(*map(recording, range(n)), sensor=(2, 6)) for n in (40, 20))
    method = random_forest.RandomForest(20)
    method.fit(train, held, 0, silent)
    assert method.chosen == f"time windows: {window}"


# the Gabor filters, and the layer that they drive


def test_gabor_filters_are_waves_under_envelopes_of_mean_0_and_norm_1() -> None:
    bank = gabor.bank()
    assert bank.shape == (12, 7, 7)
    for k, filter_ in enumerate(bank):
        c, s = cos(pi * k / 12), sin(pi * k / 12)
        expected = np.zeros((7, 7))
        for row, column in np.ndindex(7, 7):
            y, x = row - 3, column - 3
            across, along = x * c + y * s, y * c - x * s
            envelope = exp(-(across**2 + (0.3 * along) ** 2) / (2 * 2.8**2))
            expected[row, column] = envelope * cos(2 * pi * across / 5)
        expected -= expected.mean()
        assert np.allclose(filter_, expected / np.linalg.norm(expected))


def test_the_neurons_are_the_papers_and_fire_at_the_rate_that_the_threshold_is_set_for() -> None:
    # u = 1, 1.5: a spike; 1, 1.5: a spike; ...; and one that a half never lifts to 1.5
    currents = [torch.tensor([1.0, 0.5], dtype=torch.float64)] * 6
    assert gabor.spike_counts(currents, LIF(0.5, 1.5, 1.0)).tolist() == [3, 0]
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(20, 40, 10, generator=generator) for _ in range(8)]
    for rate in (0.02, 0.1):
        lif = LIF(gabor.K_TAU, gabor.threshold(steps, rate), 1.0)
        mean = gabor.spike_counts(steps, lif).mean().item() / 8
        assert mean == pytest.approx(rate, abs=1e-3)


# the linear SVM


def labelled(number: int, features: int, classes: int, seed: int) -> tuple[svm.Features, Labels]:
    labels = np.arange(number, dtype=np.int64) % classes
    centres = np.random.default_rng(99).random((classes, features))
    spread: NDArray[np.float64] = np.random.default_rng(seed).random((number, features))
    return (centres[labels] + spread).astype(np.float32), labels


@pytest.mark.parametrize("c", [2.0, 1000.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_within_the_span_of_few_samples_the_svm_is_the_same(classes: int, c: float) -> None:
    train, held = labelled(18, 60, classes, 0), labelled(9, 60, classes, 1)
    machine = svm.fit_linear_svm(train, held, silent, (c,))
    norms = np.linalg.norm(train[0], axis=1, keepdims=True)
    whole = LinearSVC(C=c, fit_intercept=False, dual="auto", tol=1e-8, max_iter=1_000_000)
    whole.fit(train[0] / norms, train[1])
    expected = whole.coef_ if classes > 2 else np.concatenate([-whole.coef_, whole.coef_])
    assert np.abs(machine.weight - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.array_equal(machine.predict(held[0]), whole.predict(held[0]))
    # nor does the size of a sample matter, or that it has none
    sizes = np.random.default_rng(2).uniform(0.5, 9, (18, 1)).astype(np.float32)
    scaled = svm.fit_linear_svm((sizes * train[0], train[1]), held, silent, (c,))
    assert np.abs(machine.weight - scaled.weight).max() < 2e-3 * np.abs(expected).max()
    assert machine.predict(np.zeros((1, 60), np.float32)).shape == (1,)


def test_held_out_samples_choose_c_and_of_equals_the_first() -> None:
    train, held, grid = labelled(40, 12, 4, 0), labelled(40, 12, 4, 1), (1e-6, 1.0, 100.0)
    alone = [svm.fit_linear_svm(train, held, silent, (c,)) for c in grid]
    accuracies = [np.mean(machine.predict(held[0]) == held[1]) for machine in alone]
    assert svm.fit_linear_svm(train, held, silent, grid).c == grid[int(np.argmax(accuracies))]
    assert svm.fit_linear_svm(train, train, silent, (50.0, 50.0 + 1e-9)).c == 50.0
