"""A random forest on counts, and counts of a Gabor layer's spikes under a linear SVM."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, pi

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import LinearSVC
from torch import Tensor

from harness.baselines import gabor, gabor_snn, random_forest, svm
from harness.baselines.contract import Answers, Method, Recordings
from harness.baselines.progress import silent, within
from harness.datasets.events import EVENT, Events
from harness.spec import LIF, UsageError

SENSOR = (34, 34)
EVENTS = 300  # of a bar


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def recordings_of(*each: Events, sensor: tuple[int, int] = SENSOR) -> Recordings:
    """Of classes 0, 1, 0, ..."""
    starts = np.cumsum([0, *map(len, each)], dtype=np.int64)
    labels = np.arange(len(each), dtype=np.int64) % 2
    return Recordings(np.concatenate(each), starts, labels, sensor, 2)


def bars(number: int, seed: int = 0, sensor: tuple[int, int] = SENSOR) -> Recordings:
    """Of class 0 a vertical bar that trembles about the middle, of class 1 a horizontal one."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(number):
        events = np.empty(EVENTS, EVENT)
        along = rng.integers(0, min(sensor), EVENTS)
        across = min(sensor) // 2 + rng.integers(-2, 3, EVENTS)
        events["x"], events["y"] = (along, across) if n % 2 else (across, along)
        events["t"] = np.cumsum(rng.integers(1, 400, EVENTS))  # 60 ms
        events["t"] -= events["t"][0]
        events["p"] = rng.random(EVENTS) < 0.5
        found.append(events)
    return recordings_of(*found, sensor=sensor)


def answered(method: Method, recordings: Recordings) -> np.ndarray:
    found = method.predict(recordings)
    return found.labels if isinstance(found, Answers) else found


@pytest.fixture(params=["random-forest", "gabor-snn"])
def make(request: pytest.FixtureRequest) -> Callable[[], Method]:
    found = {"random-forest": random_forest.build, "gabor-snn": gabor_snn.build}[request.param]
    return lambda: found("quick", 1)


def test_bars_are_told_apart_and_the_same_seed_gives_the_same_labels(
    make: Callable[[], Method],
) -> None:
    train, held, test = bars(40), bars(10, seed=1), bars(20, seed=2)
    told: list[float] = []
    labels = []
    for _ in range(2):
        method = make()
        assert method.structure and not method.chosen
        method.fit(train, held, 3, lambda fraction, doing: told.append(fraction))
        labels.append(answered(method, test))
        assert method.structure and method.chosen
    assert np.mean(labels[0] == test.labels) >= 0.9
    assert labels[0].dtype == np.int64 and np.array_equal(*labels)
    half = told[: len(told) // 2]
    assert half == sorted(half) and half[0] == 0 and half[-1] <= 1 and len(half) >= 5


def test_the_sensor_of_dvs_cifar10_is_reduced_to_42_x_42(make: Callable[[], Method]) -> None:
    method = make()
    method.fit(bars(20, sensor=(128, 128)), bars(6, 1, (128, 128)), 0, silent)
    expected = {2 * 42 * 42, 2 * 4 * 42 * 42, 24 * 9 * 9}  # a window, four, or pooled spikes
    assert any(str(number) in method.structure for number in expected)
    test = bars(10, 2, (128, 128))
    assert np.mean(answered(method, test) == test.labels) >= 0.8


# the random forest


def test_a_forest_sees_how_many_events_of_which_polarity_are_where_and_when() -> None:
    recording = events_of((1, 0, 0, True), (1, 0, 40, True), (2, 1, 50, False), (2, 1, 99, True))
    found = random_forest.counts(recordings_of(recording, sensor=(2, 3)), 2, 50)
    expected = np.zeros((1, 2, 2, 2, 3), np.float32)
    expected[0, 0, 1, 0, 1] = 2
    expected[0, 1, 0, 1, 2] = expected[0, 1, 1, 1, 2] = 1
    assert np.array_equal(found, expected.reshape(1, -1))


def test_a_forest_that_grows_in_portions_is_the_one_that_grows_at_once() -> None:
    rng = np.random.default_rng(0)
    features = rng.poisson(1.0, (40, 12)).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    forest = random_forest.grown(features, labels, 120, 5, silent)
    at_once = RandomForestClassifier(120, random_state=5).fit(features, labels)
    assert len(forest.estimators_) == 120
    assert np.array_equal(forest.predict_proba(features), at_once.predict_proba(features))
    other = random_forest.grown(features, labels, 120, 6, silent)
    assert not np.array_equal(forest.predict_proba(features), other.predict_proba(features))


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
        return recordings_of(*found, sensor=(2, 6))

    method = random_forest.RandomForest(20)
    method.fit(split(40), split(20), 0, silent)
    assert method.chosen == f"time windows: {window}"


# the Gabor filters


def test_a_gabor_filter_is_a_wave_under_an_envelope() -> None:
    """Of the 0th filter's middle row, of which a mean and a scale are free: a ratio of steps."""
    filters = gabor.bank()
    assert filters.shape == (12, 7, 7) and filters.dtype == np.float64

    def wave(x: int) -> float:
        return exp(-(x**2) / (2 * 2.8**2)) * cos(2 * pi * x / 5)

    middle = filters[0, 3]
    ratio = (middle[3] - middle[4]) / (middle[3] - middle[5])
    assert ratio == pytest.approx((wave(0) - wave(1)) / (wave(0) - wave(2)))
    assert ratio == pytest.approx(0.4365, abs=1e-4)
    # along the stripe the envelope falls as if the distance were 0.3 of it
    fall = (filters[0, 3, 3] - filters[0, 6, 3]) / (middle[3] - middle[5])
    assert fall == pytest.approx((1 - exp(-(0.9**2) / (2 * 2.8**2))) / (1 - wave(2)))


@pytest.mark.parametrize(("orientations", "size"), [(12, 7), (4, 5), (6, 9)])
def test_gabor_filters_have_mean_0_and_norm_1_and_turn_with_k(orientations: int, size: int) -> None:
    filters = gabor.bank(orientations, size)
    assert np.allclose(filters.mean((1, 2)), 0, atol=1e-15)
    assert np.allclose((filters**2).sum((1, 2)), 1)
    half = orientations // 2  # from k pi / K to a right angle more
    for k in range(half):
        assert np.allclose(filters[k + half], np.rot90(filters[k], -1))
    # at half a right angle the stripes run along x = -y, one of them through the middle
    diagonal = filters[orientations // 4] if orientations % 4 == 0 else None
    if diagonal is not None:
        assert np.allclose(diagonal, diagonal.T)
        centre = size // 2
        assert diagonal[centre - 1, centre + 1] > diagonal[centre + 1, centre + 1]


# the Gabor layer


def filters_of(bank: np.ndarray) -> Tensor:
    return torch.from_numpy(bank)[:, None]


def test_an_event_drives_each_place_by_the_filters_value_there() -> None:
    bank = gabor.bank(3, 5)
    frames = torch.zeros(1, 2, 8, 9, dtype=torch.float64)
    frames[0, 1, 4, 6] = 2.0  # two ON events at x = 6, y = 4
    found = gabor_snn.currents(frames, filters_of(bank)).numpy()
    assert found.shape == (1, 6, 4, 5)
    assert not found[0, :3].any()  # the maps of OFF come first
    for k in range(3):
        for y in range(4):
            for x in range(5):
                inside = 0 <= 4 - y < 5 and 0 <= 6 - x < 5
                expected = 2 * bank[k, 4 - y, 6 - x] if inside else 0.0
                assert found[0, 3 + k, y, x] == pytest.approx(expected, abs=1e-15)


def test_the_neurons_are_the_papers() -> None:
    """u = 1, 1.5: a spike; 1, 1.5: a spike; ...; and one that a half never lifts to 1.5."""
    steps = [torch.tensor([1.0, 0.5], dtype=torch.float64)] * 6
    assert gabor_snn.spike_counts(steps, LIF(0.5, 1.5, 1.0)).tolist() == [3, 0]


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_threshold_is_the_one_at_which_neurons_fire_at_the_rate(rate: float) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(20, 40, 10, generator=generator) for _ in range(8)]
    v_th = gabor_snn.threshold(steps, rate)
    found = gabor_snn.spike_counts(steps, LIF(gabor_snn.K_TAU, v_th, 1.0)).mean().item() / 8
    assert found == pytest.approx(rate, abs=1e-3)


def test_the_trained_layer_fires_near_its_rate_and_its_spikes_are_counted() -> None:
    train = bars(30)
    method = gabor_snn.build("default", 1)
    method.fit(train, bars(6, seed=1), 0, silent)
    answers = method.predict(train)
    assert answers.spikes is not None
    neurons, steps = 24 * 28 * 28, -(-train.longest_us // 5000)
    assert answers.spikes / (neurons * steps) == pytest.approx(gabor_snn.RATE, rel=0.25)
    alone = method.predict(train.part(np.array([4])))
    both = method.predict(train.part(np.array([4, 4])))
    assert alone.spikes == both.spikes


def test_at_most_so_many_frames_are_seen() -> None:
    method = gabor_snn.GaborSNN(gabor_snn.Size(3, True))
    train = bars(20)
    method.fit(train, bars(4, seed=1), 0, silent)
    early = train.first(15_000)
    assert method.predict(train).spikes == method.predict(early).spikes
    assert method.predict(train).spikes != method.predict(train.first(14_000)).spikes


def test_the_paper_sized_layer_sees_the_whole_sensor() -> None:
    method = gabor_snn.build("paper", 1)
    method.fit(bars(12, sensor=(128, 128)).first(10_000), bars(4, 1, (128, 128)), 0, silent)
    assert f"-{24 * 30 * 30}-2" in method.structure


def test_a_sensor_too_small_for_filters_and_pools_is_refused() -> None:
    method = gabor_snn.build("quick", 1)
    with pytest.raises(UsageError, match="need 10x10 pixels, and the sensor has 12x9: use"):
        method.fit(bars(4, sensor=(9, 12)), bars(4, sensor=(9, 12)), 0, silent)
    method.fit(bars(4, sensor=(10, 12)), bars(4, sensor=(10, 12)), 0, silent)


def test_events_that_no_filter_sees_are_refused() -> None:
    edge = events_of((127, 0, 0, True), (127, 9, 8000, False))  # 42 x 3 leaves that column out
    recordings = recordings_of(edge, edge, sensor=(128, 128))
    with pytest.raises(UsageError, match="no event lies where Gabor filters can see it: use more"):
        gabor_snn.build("quick", 1).fit(recordings, recordings, 0, silent)


# the linear SVM


def labelled(number: int, features: int, classes: int, seed: int) -> svm.Labelled:
    rng = np.random.default_rng(seed)
    labels = np.arange(number, dtype=np.int64) % classes
    centres = np.random.default_rng(99).random((classes, features))
    noise = rng.random((number, features))
    return svm.Labelled((centres[labels] + noise).astype(np.float32), labels)


@pytest.mark.parametrize("c", [2.0, 1000.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_within_the_span_of_few_samples_the_svm_is_the_same(classes: int, c: float) -> None:
    train, held = labelled(18, 60, classes, 0), labelled(9, 60, classes, 1)
    found = svm.fitted(train, held, silent, (c,))
    norms = np.linalg.norm(train.features, axis=1, keepdims=True)
    whole = LinearSVC(C=c, fit_intercept=False, dual="auto", tol=1e-8, max_iter=1_000_000)
    whole.fit(train.features / norms, train.labels)
    expected = whole.coef_ if classes > 2 else np.concatenate([-whole.coef_, whole.coef_])
    assert np.abs(found.weight - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.array_equal(found.predict(held.features), whole.predict(held.features))


def test_the_size_of_a_sample_does_not_matter_to_the_svm() -> None:
    train, held = labelled(30, 8, 3, 0), labelled(30, 8, 3, 1)
    sizes = np.random.default_rng(2).uniform(0.5, 9, (30, 1)).astype(np.float32)
    found = svm.fitted(train, held, silent, (1.0,))
    scaled = svm.fitted(svm.Labelled(sizes * train.features, train.labels), held, silent, (1.0,))
    assert np.allclose(found.weight, scaled.weight, rtol=1e-3, atol=1e-3)
    expected = found.predict(held.features)
    assert np.array_equal(found.predict(sizes * held.features), expected)
    assert found.predict(np.zeros((1, 8), np.float32)).shape == (1,)  # nor that it has none


def test_held_out_samples_choose_c_and_of_equals_the_first() -> None:
    train, held = labelled(40, 12, 4, 0), labelled(40, 12, 4, 1)
    grid = (1e-6, 1.0, 100.0)
    found = svm.fitted(train, held, silent, grid)
    accuracies = [
        np.mean(svm.fitted(train, held, silent, (c,)).predict(held.features) == held.labels)
        for c in grid
    ]
    assert found.c == grid[int(np.argmax(accuracies))]
    assert svm.fitted(train, train, silent, (50.0, 50.0 + 1e-9)).c == 50.0


def test_one_class_alone_is_refused() -> None:
    one = labelled(6, 4, 1, 0)
    with pytest.raises(UsageError, match="needs two classes: use more with --samples"):
        svm.fitted(one, one, silent)


def test_a_part_of_the_work_is_told_as_a_share_of_the_whole() -> None:
    told: list[tuple[float, str]] = []
    within(lambda fraction, doing: told.append((fraction, doing)), 0.5, 0.75)(0.5, "here")
    assert told == [(0.625, "here")]
