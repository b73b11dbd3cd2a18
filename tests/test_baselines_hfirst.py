"""HFirst: its filters and its layers neuron by neuron, by hand, and what bars do in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recordings import bar, bars, recorded

from harness.baselines import gabor
from harness.baselines.contract import silent
from harness.baselines.events import NEVER, Rows
from harness.baselines.hfirst import (
    PUBLISHED,
    HFirst,
    Neuron,
    Parameters,
    Potentials,
    decided,
    denoised,
    in_milliseconds,
    pooled,
    s1,
    s1_filters,
    s2,
    s2_weights,
)
from harness.datasets.events import EVENT, Events

HIGH: Neuron = (1000.0, 25.0, 5)  # a threshold that no test reaches


def rows(*each: tuple[int, int, int, int]) -> Rows:
    return np.array(each, np.int64).reshape(-1, 4)


def weights(*each: float) -> Potentials:
    """Filters of one pixel."""
    return np.array(each, np.float32).reshape(1, 1, -1)


def blank(height: int, width: int, orientations: int) -> Potentials:
    return np.zeros((2, height, width, orientations), np.float32)


# the filter against noise


def test_events_without_a_neighbour_in_time_are_noise_and_times_are_rounded() -> None:
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
    kept = denoised(events, 10_000, np.full((12, 12), NEVER))
    assert kept.tolist() == events[[1, 2, 4]].tolist()
    times = [in_milliseconds(rows((1, 2, t, 0)))[0, 2] for t in (499, 500, 1499, 1500)]
    assert times == [0, 1, 1, 2]


# S1


def test_an_event_charges_the_neurons_around_it_by_their_weights_and_its_polarity() -> None:
    filters = np.arange(1, 10, dtype=np.float32).reshape(3, 3, 1)
    potential = blank(8, 10, 1)
    assert len(s1(rows((5, 4, 0, 1)), filters, HIGH, potential)) == 0
    # the neuron above the event sees it below itself
    assert potential[1, 3, 5, 0] == filters[2, 1, 0] == 8
    assert (potential[1, 3:6, 4:7] == filters[::-1, ::-1]).all()
    assert potential.sum() == 45
    corner = blank(8, 10, 1)
    s1(rows((0, 0, 0, 0)), filters, HIGH, corner)
    assert corner[0, :2, :2, 0].tolist() == [[5, 4], [2, 1]] and corner.sum() == 12
    potential = blank(1, 1, 1)
    assert len(s1(rows((0, 0, 0, 1), (0, 0, 0, 0)), weights(100), PUBLISHED.s1, potential)) == 0
    assert potential.ravel().tolist() == [100, 100]


def test_potentials_fall_towards_zero_by_25_mv_a_millisecond_and_not_past_it() -> None:
    potential = blank(1, 1, 2)
    s1(rows((0, 0, 0, 1), (0, 0, 1, 1)), weights(100, -60), HIGH, potential)
    assert potential[1, 0, 0].tolist() == [100 - 25 + 100, -60 + 25 - 60]
    potential = blank(1, 1, 2)
    s1(rows((0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 11, 1)), weights(100, -60), HIGH, potential)
    assert potential[1, 0, 0].tolist() == [100, -60]


def test_a_neuron_fires_above_its_threshold_and_of_orientations_the_first() -> None:
    events = rows((2, 1, 7, 1), (2, 1, 7, 1), (2, 1, 7, 1))
    assert len(s1(events[:2], weights(75), PUBLISHED.s1, blank(2, 3, 1))) == 0
    assert s1(events, weights(75), PUBLISHED.s1, blank(2, 3, 1)).tolist() == [[2, 1, 7, 0]]
    spikes = s1(rows((0, 0, 3, 0)), weights(40, 160, 170), PUBLISHED.s1, blank(1, 1, 3))
    assert spikes.tolist() == [[0, 0, 3, 1]]


def test_the_orientation_that_fires_sets_all_of_its_place_back() -> None:
    potential = blank(2, 3, 3)
    events = rows((2, 1, 7, 1), (0, 0, 7, 1))
    spikes = s1(events, weights(160, 170, 40), (165.0, 25.0, 5), potential)
    assert spikes.tolist() == [[2, 1, 7, 1], [0, 0, 7, 1]]
    assert not potential.any()


def test_a_place_that_fired_rests_for_5_ms_and_many_can_fire_at_once() -> None:
    times = (3, 8, 9)
    fired = s1(rows(*((0, 0, t, 1) for t in times)), weights(160), PUBLISHED.s1, blank(1, 1, 1))
    assert fired[:, 2].tolist() == [3, 9]
    potential = blank(1, 1, 1)
    sent = rows((0, 0, 0, 1), (0, 0, 0, 1), (0, 0, 5, 1), (0, 0, 6, 1))
    assert len(s1(sent, weights(100), PUBLISHED.s1, potential)) == 1
    assert potential[1, 0, 0, 0] == 100
    filters = np.full((3, 3, 1), 200, np.float32)
    spikes = s1(rows((2, 2, 1, 1)), filters, PUBLISHED.s1, blank(5, 5, 1))
    around = [[x, y, 1, 0] for y in (1, 2, 3) for x in (1, 2, 3)]
    assert spikes.tolist() == around


def by_neuron(events: Rows, filters: Potentials, size: tuple[int, int]) -> Rows:
    """S1 once more: one neuron's place after another, each over all events."""
    threshold, decay, refractory = PUBLISHED.s1
    reach = len(filters) // 2
    found = []
    for p, y, x in np.ndindex(2, *size):
        v, before, fired = np.zeros(filters.shape[2]), 0, NEVER
        for n, (ex, ey, t, ep) in enumerate(events.tolist()):
            far = max(abs(ex - x), abs(ey - y)) > reach
            if ep != p or far or t - fired <= refractory:
                continue
            v = np.sign(v) * np.maximum(np.abs(v) - decay * (t - before), 0)
            v, before = v + filters[ey - y + reach, ex - x + reach], t
            if v.max() > threshold:
                found.append((n, y, x, t, int((v > threshold).argmax())))
                v, fired = np.zeros_like(v), t
    return rows(*((x, y, t, k) for _, y, x, t, k in sorted(found)))


def test_s1_is_what_its_neurons_are_one_by_one() -> None:
    rng = np.random.default_rng(0)
    count = 600
    columns = rng.integers(0, 8, count), rng.integers(0, 8, count)
    times = np.sort(rng.integers(0, 12, count))
    events = np.stack([*columns, times, rng.integers(0, 2, count)], 1)
    filters = s1_filters(PUBLISHED)
    found = s1(events, filters, PUBLISHED.s1, blank(8, 8, gabor.ORIENTATIONS))
    expected = by_neuron(events, filters, (8, 8))
    assert len(expected) > 20
    assert found.tolist() == expected.tolist()


def test_a_vertical_bar_makes_the_first_orientation_fire_and_a_level_one_the_seventh() -> None:
    filters = s1_filters(PUBLISHED)
    assert filters.shape == (7, 7, 12) and (filters == np.rint(filters)).all()
    vertical, level = filters[:, 3].sum(0), filters[3].sum(0)
    threshold = PUBLISHED.s1[0]
    assert vertical.argmax() == 0 and (vertical > threshold).any()
    assert level.argmax() == 6 and (level > threshold).any()


# C1, S2, C2


def test_of_the_spikes_of_4x4_places_one_in_5_ms_passes_whatever_its_orientation() -> None:
    spikes = rows((0, 0, 10, 3), (3, 3, 12, 5), (4, 0, 12, 5), (1, 2, 15, 1), (1, 2, 16, 1))
    passed = pooled(spikes, 4, 5, np.full((1, 2), NEVER))
    assert passed.tolist() == [[0, 0, 10, 3], [1, 0, 12, 5], [0, 0, 16, 1]]


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
    assert s2(spikes, seen, PUBLISHED.s2, peak).tolist() == [[0, 0, 2, 0], [0, 0, 18, 1]]
    assert peak.tolist() == [1000, 900]
    seen, peak = np.full((2, 3, 2, 2), -10, np.float32), np.zeros(2, np.float32)
    seen[1, 2, 1, 0] = 1501
    assert len(s2(rows((1, 1, 0, 1), (2, 1, 1, 0)), seen, PUBLISHED.s2, peak)) == 0
    assert s2(rows((2, 1, 1, 1)), seen, PUBLISHED.s2, peak).tolist() == [[0, 0, 1, 0]]


def test_weights_are_counts_of_norm_100_mv_and_small_ones_inhibit() -> None:
    counts = np.array([[3.0, 200.0, 0.0], [4.0, 1.0, 0.0]]).reshape(1, 1, 2, 3)
    found = s2_weights(counts, PUBLISHED)[0, 0]
    # 3 and 4 of 5; 200 and 1 of 200.0025, the second below 1 mV; a class that has no spike
    assert found.T.tolist() == [[600, 800], [1000, -10], [-10, -10]]


@pytest.mark.parametrize(
    ("classes", "peak", "expected"),
    [
        ((1, 2, 2), (9, 0, 0), 2),  # the most
        ((2, 1, 1, 2), (9, 0, 0), 2),  # of equal ones the first to fire
        ((), (0, 5, 5), 1),  # no spike: the highest potential
        ((), (0, 0, 0), 0),
    ],
)
def test_most_spikes_decide(classes: tuple[int, ...], peak: tuple[int, ...], expected: int) -> None:
    spikes = rows(*((0, 0, t, k) for t, k in enumerate(classes)))
    assert decided(spikes, np.array(peak, np.float32)) == expected


# the whole


def fitted(events: int | None, parameters: Parameters = PUBLISHED) -> HFirst:
    method = HFirst(events)
    method.parameters = parameters
    method.fit(bars(8, 0, 16), bars(8, 0, 16), 0, silent)
    return method


def spikes_of(method: HFirst, *found: Events) -> float:
    spikes = method.predict(recorded(*found, sensor=(16, 16))).spikes
    assert spikes is not None
    return spikes


def test_bars_make_c2_spikes_and_a_mean_of_all_spikes_is_said() -> None:
    events = [bar(n % 2, np.random.default_rng(n), 16) for n in range(4)]
    heard = [spikes_of(fitted(None), each) for each in events]
    unheard = spikes_of(fitted(None, replace(PUBLISHED, s2=(1e9, 10.0, 5))), *events)
    assert np.mean(heard) - unheard >= 2  # S2's and C2's
    assert spikes_of(fitted(None), *events) == pytest.approx(np.mean(heard))


def test_events_outside_the_sensor_are_left_out() -> None:
    events = bar(0, np.random.default_rng(4), 16)
    more = np.concatenate([np.array([(99, 0, 0, True), (-1, 5, 0, True)], EVENT), events])
    assert spikes_of(fitted(None), more) == spikes_of(fitted(None), events)
