"""Systems of fixed features and a classifier: HATS, Gabor-SNN, the random forest, and their SVM."""

from __future__ import annotations

from dataclasses import replace
from math import cos, exp, pi

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recordings import bars, events_of, recorded
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import LinearSVC
from tonic.functional import denoise_numpy, to_averaged_timesurface_numpy

from harness.baselines import gabor, hats, random_forest, svm
from harness.baselines.contract import Effort, Labels, Recordings, silent
from harness.baselines.hats import Parameters
from harness.datasets.events import EVENT, Events
from harness.spec import LIF, UsageError

# HATS: two cells of 4 x 4 pixels beside each other; an event counts for 100 us

SENSOR = (4, 8)
SMALL = Parameters(cell=4, radius=1, reach_us=100, tau_us=50.0)
Rows = list[tuple[int, int, int, bool]]


@pytest.mark.parametrize(
    ("rows", "where", "value"),
    [
        ([(1, 1, 0, True), (2, 1, 50, True)], (0, 1, 1, 0), exp(-1)),  # one to the left
        ([(2, 1, 0, True), (1, 1, 25, True)], (0, 1, 1, 2), exp(-0.5)),  # to the right
        ([(1, 0, 0, True), (1, 1, 50, True)], (0, 1, 0, 1), exp(-1)),  # above
        ([(2, 2, 0, False), (1, 1, 50, False)], (0, 0, 2, 2), exp(-1)),  # below and right, OFF
        ([(6, 3, 0, True), (6, 3, 50, True)], (1, 1, 1, 1), exp(-1)),  # where it is; 2nd cell
        ([(1, 1, 0, True), (1, 1, 100, True)], (0, 1, 1, 1), exp(-2)),  # as old as may be
        # 2 on 1, 3 on 2 and 3 on 1; what is too old for one is not for another
        ([(1, 1, t, True) for t in (0, 50, 100)], (0, 1, 1, 1), 2 * exp(-1) + exp(-2)),
        ([(1, 1, t, True) for t in (0, 60, 120)], (0, 1, 1, 1), 2 * exp(-60 / 50)),
        ([(1, 1, 0, True)], None, 0),  # alone
        ([(1, 1, 0, True), (1, 1, 101, True)], None, 0),  # too old
        ([(1, 1, 7, True), (1, 1, 7, True)], None, 0),  # of the same time: [t - dt, t) is half open
        ([(0, 1, 0, True), (2, 1, 50, True)], None, 0),  # two pixels away
        ([(1, 0, 0, True), (1, 2, 50, True)], None, 0),
        ([(1, 1, 0, True), (2, 1, 50, False)], None, 0),  # of the other polarity
        ([(3, 1, 0, True), (4, 1, 50, True)], None, 0),  # of the next cell
    ],
)
def test_an_earlier_event_near_by_adds_its_decay_at_its_offset(
    rows: Rows, where: tuple[int, ...] | None, value: float
) -> None:
    events = events_of(*rows)
    count = np.bincount(events["x"] // 4, minlength=2)
    sums = hats.histograms(events, SENSOR, SMALL) * count[:, None, None, None]
    assert np.count_nonzero(sums) == (where is not None)
    assert where is None or sums[where] == pytest.approx(value)


def test_a_histogram_is_divided_by_the_cells_events_of_both_polarities() -> None:
    rows = [(1, 1, 0, True), (1, 1, 50, True), (1, 2, 60, False), (6, 1, 70, True)]
    found = hats.histograms(events_of(*rows), SENSOR, SMALL)
    assert found.shape == (2, 2, 3, 3) and found[0, 1, 1, 1] == pytest.approx(exp(-1) / 3)
    assert np.isfinite(hats.histograms(events_of(*rows)[:0], SENSOR, SMALL)).all()


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
    ("sensor", "of"),
    [
        ((34, 34), hats.NMNIST),
        ((34, 34), Parameters(cell=6, radius=2, reach_us=40_000, tau_us=20_000.0)),
        ((30, 45), hats.CIFAR10_DVS),  # cells cut by both edges
        ((13, 7), Parameters(cell=7, radius=3, reach_us=5_000, tau_us=3_000.0)),
    ],
)
def test_histograms_are_tonics_but_for_the_event_itself_and_the_divisor(
    sensor: tuple[int, int], of: Parameters
) -> None:
    """tonic adds the event at the centre of its own surface and divides by the events of the cell
    and the polarity, n(cell, polarity); the paper's surface holds earlier events alone and is
    divided by the cell's events, n(cell). So ours x n(cell) = (tonic's - 1 at the centre) x
    n(cell, polarity), where there is any event.
    """
    events, size = noise(500, sensor, 0), (sensor[1], sensor[0], 2)
    given = of.cell, 2 * of.radius + 1, of.reach_us, of.tau_us, "exp"
    expected = to_averaged_timesurface_numpy(events, size, *given).astype(np.float64)
    rows, columns = of.cells(sensor)
    cell = events["y"] // of.cell * columns + events["x"] // of.cell
    count = np.zeros((rows * columns, 2))
    np.add.at(count, (cell, events["p"].astype(np.int64)), 1)
    expected[:, :, of.radius, of.radius] -= count > 0
    expected *= count[:, :, None, None]
    ours = hats.histograms(events, sensor, of)
    assert ours.shape == expected.shape and ours.max() > 0
    found = ours * count.sum(1)[:, None, None, None]
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-4)  # tonic sums in float32


@pytest.mark.parametrize("window_us", [500, 10_000])
def test_the_events_kept_are_those_of_tonics_denoise(window_us: int) -> None:
    for seed in range(3):
        events = noise(600, (12, 15), seed)
        kept = hats.denoised(events, (12, 15), window_us)
        assert np.array_equal(kept, denoise_numpy(events, window_us))
        assert 0 < len(kept) < len(events)


def test_an_event_needs_a_neighbour_that_has_just_fired() -> None:
    rows = [
        (2, 2, 2000, True),  # alone
        (3, 2, 2999, True),  # beside it, in time: kept
        (3, 3, 3998, False),  # below that, of the other polarity: kept
        (3, 3, 4500, True),  # its own pixel is no neighbour, and (3, 2) is too long ago
        (2, 2, 5000, True),  # diagonal
        (0, 0, 6000, True),  # the corner
    ]
    assert hats.denoised(events_of(*rows), SENSOR, 1000)["t"].tolist() == [2999, 3998]
    # as in tonic, at first all pixels count as having fired, but those outside are none
    for t, sensor, kept in ((999, SENSOR, 1), (1000, SENSOR, 0), (999, (1, 1), 0)):
        assert len(hats.denoised(events_of((0, 0, t, True)), sensor, 1000)) == kept
    outside = [(8, 0, 0, True), (0, 4, 0, True), (-1, 0, 0, True), (0, -1, 0, True)]
    assert len(hats.denoised(events_of(*outside), SENSOR, 1000)) == 0


def test_a_recording_that_denoising_empties_is_answered_too() -> None:
    method = hats.HATS(None)
    method.fit(bars(20, 0), bars(6, 1), 0, silent)
    one = replace(recorded(events_of((9, 9, 20_000, True))), sensor=(20, 20))
    assert not hats.features(one, hats.NMNIST, silent).any() and len(method.predict(one)) == 1


# the random forest


def test_a_forest_sees_how_many_events_of_which_polarity_are_where_and_when() -> None:
    recording = events_of((1, 0, 0, True), (1, 0, 40, True), (2, 1, 50, False), (2, 1, 99, True))
    found = random_forest.counts(recorded(recording, sensor=(2, 3)), 2, 50)
    expected = np.zeros((1, 2, 2, 2, 3), np.float32)
    expected[0, 0, 1, 0, 1] = 2
    expected[0, 1, 0, 1, 2] = expected[0, 1, 1, 1, 2] = 1
    assert np.array_equal(found, expected.reshape(1, -1))


def test_a_forest_that_grows_in_portions_is_the_one_that_grows_at_once() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.poisson(1.0, (40, 12)).astype(np.float32), rng.integers(0, 3, 40)
    forest = random_forest.grown(features, labels, 120, 5, silent)
    at_once = RandomForestClassifier(120, random_state=5).fit(features, labels)
    assert len(forest.estimators_) == 120
    assert np.array_equal(forest.predict_proba(features), at_once.predict_proba(features))


@pytest.mark.parametrize("window", [1, 4])
def test_held_out_samples_choose_how_many_windows_a_forest_sees(window: int) -> None:
    """Of two classes with the same events one has them late; or every event is as late as any."""
    rng = np.random.default_rng(0)

    def split(number: int) -> Recordings:
        found = []
        for n in range(number):
            x = rng.integers(0, 6, 40) if window == 4 else rng.integers(0, 3, 40) + 3 * (n % 2)
            late = 80 * (n % 2) if window == 4 else 0
            rows = zip(x.tolist(), sorted(rng.integers(0, 20, 39)), strict=False)
            first = events_of((0, 0, 0, True), *((i, 1, int(t) + late, True) for i, t in rows))
            found.append(np.concatenate([first, events_of((5, 1, 100, True))]))
        return recorded(*found, sensor=(2, 6))

    method = random_forest.RandomForest(20)
    method.fit(split(40), split(20), 0, silent)
    assert method.chosen == f"time windows: {window}"


# the Gabor filters, and the layer that they drive


def test_a_gabor_filter_is_a_wave_under_an_envelope() -> None:
    """Of the 0th filter's middle row, of which a mean and a scale are free: a ratio of steps."""
    filters = gabor.bank()
    assert filters.shape == (12, 7, 7) and filters.dtype == np.float64

    def wave(x: int) -> float:
        return exp(-(x**2) / (2 * 2.8**2)) * cos(2 * pi * x / 5)

    middle = filters[0, 3]
    ratio = (middle[3] - middle[4]) / (middle[3] - middle[5])
    assert ratio == pytest.approx((wave(0) - wave(1)) / (wave(0) - wave(2)))
    # along the stripe the envelope falls as if the distance were 0.3 of it
    fall = (filters[0, 3, 3] - filters[0, 6, 3]) / (middle[3] - middle[5])
    assert fall == pytest.approx((1 - exp(-(0.9**2) / (2 * 2.8**2))) / (1 - wave(2)))


@pytest.mark.parametrize(("orientations", "size"), [(12, 7), (4, 5), (6, 9)])
def test_gabor_filters_have_mean_0_and_norm_1_and_turn_with_k(orientations: int, size: int) -> None:
    filters = gabor.bank(orientations, size)
    assert np.allclose(filters.mean((1, 2)), 0, atol=1e-15)
    assert np.allclose((filters**2).sum((1, 2)), 1)
    half, centre = orientations // 2, size // 2
    for k in range(half):  # from k pi / K to a right angle more
        assert np.allclose(filters[k + half], np.rot90(filters[k], -1))
    if orientations % 4 == 0:
        # at half a right angle the stripes run along x = -y, one of them through the middle
        diagonal = filters[orientations // 4]
        assert np.allclose(diagonal, diagonal.T)
        assert diagonal[centre - 1, centre + 1] > diagonal[centre + 1, centre + 1]


def test_an_event_drives_each_place_by_the_filters_value_there() -> None:
    bank = gabor.bank(3, 5)
    frames = torch.zeros(1, 2, 8, 9, dtype=torch.float64)
    frames[0, 1, 4, 6] = 2.0  # two ON events at x = 6, y = 4
    found = gabor.currents(frames, torch.from_numpy(bank)[:, None]).numpy()
    assert found.shape == (1, 6, 4, 5) and not found[0, :3].any()  # the maps of OFF come first
    for k, y, x in np.ndindex(3, 4, 5):
        inside = 0 <= 4 - y < 5 and 0 <= 6 - x < 5
        expected = 2 * bank[k, 4 - y, 6 - x] if inside else 0.0
        assert found[0, 3 + k, y, x] == pytest.approx(expected, abs=1e-15)


def test_the_neurons_are_the_papers_and_fire_at_the_rate_that_the_threshold_is_set_for() -> None:
    # u = 1, 1.5: a spike; 1, 1.5: a spike; ...; and one that a half never lifts to 1.5
    given = [torch.tensor([1.0, 0.5], dtype=torch.float64)] * 6
    assert gabor.spike_counts(given, LIF(0.5, 1.5, 1.0)).tolist() == [3, 0]
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(20, 40, 10, generator=generator) for _ in range(8)]
    for rate in (0.02, 0.1):
        lif = LIF(gabor.K_TAU, gabor.threshold(steps, rate), 1.0)
        found = gabor.spike_counts(steps, lif).mean().item() / 8
        assert found == pytest.approx(rate, abs=1e-3)


def test_the_trained_layer_fires_near_its_rate_and_its_spikes_are_counted() -> None:
    train = bars(30, 0)
    method = gabor.GaborSNN.build("default", 1)
    method.fit(train, bars(6, 1), 0, silent)
    spikes, neurons, steps = (
        method.predict(train).spikes,
        24 * 14 * 14,
        -(-train.longest_us // 5000),
    )
    assert spikes and spikes / (neurons * steps) == pytest.approx(gabor.RATE, rel=0.25)
    both = method.predict(train.part(np.array([4, 4])))
    assert method.predict(train.part(np.array([4]))).spikes == both.spikes


@pytest.mark.parametrize(("effort", "side"), [("quick", 9), ("paper", 30)])
def test_the_paper_sized_layer_sees_the_whole_sensor(effort: Effort, side: int) -> None:
    method = gabor.GaborSNN.build(effort, 1)
    method.fit(bars(8, 0, 128).first(10_000), bars(4, 1, 128), 0, silent)
    assert f"-{24 * side * side}-2" in method.structure


def test_events_that_no_filter_sees_are_refused() -> None:
    edge = events_of((127, 0, 0, True), (127, 9, 8000, False))  # 42 x 3 leaves that column out
    recordings = recorded(edge, edge, sensor=(128, 128))
    with pytest.raises(UsageError, match="no event lies where Gabor filters can see it: use more"):
        gabor.GaborSNN.build("quick", 1).fit(recordings, recordings, 0, silent)


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
    found = svm.fitted(train, held, silent, (c,))
    norms = np.linalg.norm(train[0], axis=1, keepdims=True)
    whole = LinearSVC(C=c, fit_intercept=False, dual="auto", tol=1e-8, max_iter=1_000_000)
    whole.fit(train[0] / norms, train[1])
    expected = whole.coef_ if classes > 2 else np.concatenate([-whole.coef_, whole.coef_])
    assert np.abs(found.weight - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.array_equal(found.predict(held[0]), whole.predict(held[0]))
    # nor does the size of a sample matter, or that it has none
    sizes = np.random.default_rng(2).uniform(0.5, 9, (18, 1)).astype(np.float32)
    scaled = svm.fitted((sizes * train[0], train[1]), held, silent, (c,))
    assert np.abs(found.weight - scaled.weight).max() < 2e-3 * np.abs(expected).max()
    assert found.predict(np.zeros((1, 60), np.float32)).shape == (1,)


def test_held_out_samples_choose_c_and_of_equals_the_first() -> None:
    train, held, grid = labelled(40, 12, 4, 0), labelled(40, 12, 4, 1), (1e-6, 1.0, 100.0)
    alone = [svm.fitted(train, held, silent, (c,)) for c in grid]
    accuracies = [np.mean(each.predict(held[0]) == held[1]) for each in alone]
    assert svm.fitted(train, held, silent, grid).c == grid[int(np.argmax(accuracies))]
    assert svm.fitted(train, train, silent, (50.0, 50.0 + 1e-9)).c == 50.0
    one = labelled(6, 4, 1, 0)
    with pytest.raises(UsageError, match="needs two classes: use more with --samples"):
        svm.fitted(one, one, silent)
