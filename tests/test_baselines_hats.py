"""HATS: averaged time surfaces by hand and beside tonic's, and what a linear SVM learns of them."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from numpy.typing import NDArray
from test_baselines_features import bars, events_of, recordings_of
from tonic.functional import denoise_numpy, to_averaged_timesurface_numpy

from harness.baselines import hats, svm
from harness.baselines.hats import Parameters
from harness.baselines.progress import silent
from harness.datasets.events import EVENT, Events
from harness.spec import UsageError

# Two cells of 4 x 4 pixels beside each other; an event counts for 100 us.
SENSOR = (4, 8)
SMALL = Parameters(cell=4, radius=1, reach_us=100, tau_us=50.0)


def surfaces(*rows: tuple[int, int, int, bool]) -> NDArray[np.float64]:
    """The sums of surfaces, [cell, polarity, y, x]: histograms times their divisors."""
    events = events_of(*rows)
    cell = events["x"] // 4
    count = np.bincount(cell, minlength=2)
    return hats.histograms(events, SENSOR, SMALL) * count[:, None, None, None]


def test_an_event_that_is_alone_adds_nothing() -> None:
    assert not surfaces((1, 1, 0, True)).any()


@pytest.mark.parametrize(
    ("rows", "where", "value"),
    [
        ([(1, 1, 0, True), (2, 1, 50, True)], (0, 1, 1, 0), exp(-1)),  # one to the left
        ([(2, 1, 0, True), (1, 1, 25, True)], (0, 1, 1, 2), exp(-0.5)),  # to the right
        ([(1, 0, 0, True), (1, 1, 50, True)], (0, 1, 0, 1), exp(-1)),  # above
        ([(2, 2, 0, False), (1, 1, 50, False)], (0, 0, 2, 2), exp(-1)),  # below and right, OFF
        ([(6, 3, 0, True), (6, 3, 50, True)], (1, 1, 1, 1), exp(-1)),  # where it is; 2nd cell
        ([(1, 1, 0, True), (1, 1, 100, True)], (0, 1, 1, 1), exp(-2)),  # as old as may be
    ],
)
def test_an_earlier_event_near_by_adds_its_decay_at_its_offset(
    rows: list[tuple[int, int, int, bool]], where: tuple[int, int, int, int], value: float
) -> None:
    found = surfaces(*rows)
    assert found[where] == pytest.approx(value)
    assert np.count_nonzero(found) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 1, 0, True), (1, 1, 101, True)],  # too old
        [(1, 1, 7, True), (1, 1, 7, True)],  # of the same time: [t - dt, t) is half open
        [(0, 1, 0, True), (2, 1, 50, True)],  # two pixels away
        [(1, 0, 0, True), (1, 2, 50, True)],
        [(1, 1, 0, True), (2, 1, 50, False)],  # of the other polarity
        [(3, 1, 0, True), (4, 1, 50, True)],  # of the next cell
    ],
)
def test_other_events_add_nothing(rows: list[tuple[int, int, int, bool]]) -> None:
    assert not surfaces(*rows).any()


def test_each_earlier_event_adds_to_each_later_one() -> None:
    """Three at one pixel: 2 on 1, 3 on 2 and 3 on 1; what is too old for one is not for another."""
    found = surfaces((1, 1, 0, True), (1, 1, 50, True), (1, 1, 100, True))
    assert found[0, 1, 1, 1] == pytest.approx(2 * exp(-1) + exp(-2))
    found = surfaces((1, 1, 0, True), (1, 1, 60, True), (1, 1, 120, True))
    assert found[0, 1, 1, 1] == pytest.approx(2 * exp(-60 / 50))


def test_a_histogram_is_divided_by_the_cells_events_of_both_polarities() -> None:
    rows = [(1, 1, 0, True), (1, 1, 50, True), (1, 2, 60, False), (6, 1, 70, True)]
    found = hats.histograms(events_of(*rows), SENSOR, SMALL)
    assert found.shape == (2, 2, 3, 3)
    assert found[0, 1, 1, 1] == pytest.approx(exp(-1) / 3)
    assert np.isfinite(hats.histograms(events_of(*rows)[:0], SENSOR, SMALL)).all()


# beside tonic


def noise(number: int, sensor: tuple[int, int], seed: int) -> Events:
    """Events anywhere, no two at one time."""
    rng = np.random.default_rng(seed)
    events = np.empty(number, EVENT)
    events["x"] = rng.integers(0, sensor[1], number)
    events["y"] = rng.integers(0, sensor[0], number)
    events["p"] = rng.random(number) < 0.4
    events["t"] = np.cumsum(rng.integers(1, 900, number))
    events["t"] -= events["t"][0]
    return events


@pytest.mark.parametrize(
    ("sensor", "parameters"),
    [
        ((34, 34), hats.NMNIST),
        ((34, 34), Parameters(cell=6, radius=2, reach_us=40_000, tau_us=20_000.0)),
        ((30, 45), hats.CIFAR10_DVS),  # cells cut by both edges
        ((13, 7), Parameters(cell=7, radius=3, reach_us=5_000, tau_us=3_000.0)),
    ],
)
def test_histograms_are_tonics_but_for_the_event_itself_and_the_divisor(
    sensor: tuple[int, int], parameters: Parameters
) -> None:
    """tonic adds the event at the centre of its own surface and divides by the events of the cell
    and the polarity, n(cell, polarity); the paper's surface holds earlier events alone and is
    divided by the cell's events, n(cell). So ours x n(cell) = (tonic's - 1 at the centre) x
    n(cell, polarity), where there is any event.
    """
    for seed in range(2):
        events = noise(500, sensor, seed)
        height, width = sensor
        theirs = to_averaged_timesurface_numpy(
            events,
            (width, height, 2),
            parameters.cell,
            2 * parameters.radius + 1,
            parameters.reach_us,
            parameters.tau_us,
            "exp",
        )
        rows, columns = parameters.cells(sensor)
        cell = events["y"] // parameters.cell * columns + events["x"] // parameters.cell
        count = np.zeros((rows * columns, 2))
        np.add.at(count, (cell, events["p"].astype(np.int64)), 1)
        expected = theirs.astype(np.float64)
        expected[:, :, parameters.radius, parameters.radius] -= count > 0
        expected *= count[:, :, None, None]
        ours = hats.histograms(events, sensor, parameters)
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
    kept = hats.denoised(events_of(*rows), (4, 8), 1000)
    assert kept["t"].tolist() == [2999, 3998]
    # as in tonic, at first all pixels count as having fired, but those outside are none
    assert len(hats.denoised(events_of((0, 0, 999, True)), (4, 8), 1000)) == 1
    assert len(hats.denoised(events_of((0, 0, 1000, True)), (4, 8), 1000)) == 0
    assert len(hats.denoised(events_of((0, 0, 999, True)), (1, 1), 1000)) == 0


def test_events_outside_the_sensor_are_left_out() -> None:
    rows = [(8, 0, 0, True), (0, 4, 0, True), (-1, 0, 0, True), (0, -1, 0, True), (7, 3, 0, True)]
    kept = hats.denoised(events_of(*rows), (4, 8), 1000)
    assert kept[["x", "y"]].tolist() == [(7, 3)]


# the whole system


@pytest.mark.parametrize(
    ("sensor", "expected"),
    [
        ((34, 34), hats.NMNIST),
        ((42, 42), hats.NMNIST),
        ((5, 9), hats.NMNIST),
        ((128, 128), hats.CIFAR10_DVS),
        ((64, 100), hats.CIFAR10_DVS),
    ],
)
def test_the_sensor_decides_whose_parameters(sensor: tuple[int, int], expected: Parameters) -> None:
    assert hats.parameters_of(sensor) == expected


def test_a_sensor_without_a_whole_cell_is_refused() -> None:
    few = bars(4, sensor=(4, 9))
    with pytest.raises(UsageError, match="cells of 5x5 pixels, and the sensor has 9x4: use record"):
        hats.build("quick", 1).fit(few, few, 0, silent)


@pytest.mark.parametrize("sensor", [(34, 34), (128, 128)])
def test_bars_are_told_apart_and_another_fit_gives_the_same_labels(
    sensor: tuple[int, int],
) -> None:
    train, held, test = bars(40, 0, sensor), bars(10, 1, sensor), bars(20, 2, sensor)
    told: list[float] = []
    labels = []
    for seed in range(2):  # which decides nothing
        method = hats.build("quick", 1)
        assert method.structure and not method.chosen
        method.fit(train, held, seed, lambda fraction, doing: told.append(fraction))
        labels.append(method.predict(test))
    assert np.mean(labels[0] == test.labels) >= 0.9
    assert labels[0].dtype == np.int64 and np.array_equal(*labels)
    assert told[0] == 0 and 0.7 <= max(told) <= 1
    assert told[: len(told) // 2] == sorted(told[: len(told) // 2])


def test_the_structure_names_cells_and_features_and_chosen_the_c() -> None:
    method = hats.build("default", 1)
    method.fit(bars(20), bars(6, 1), 0, silent)
    assert method.structure == "7x7 cells of 5x5, 2 surfaces of 5x5 each: 2450-2"
    assert method.chosen in {f"C = {c:g}" for c in svm.GRID}


def test_features_are_of_what_denoising_leaves() -> None:
    alone = events_of((9, 9, 20_000, True), (20, 20, 40_000, True))
    found = hats.features(recordings_of(alone), hats.NMNIST, silent)
    assert found.shape == (1, 2450) and found.dtype == np.float32 and not found.any()
    pair = events_of((9, 9, 20_000, True), (9, 8, 20_500, True), (9, 9, 21_000, True))
    assert hats.features(recordings_of(pair), hats.NMNIST, silent).any()


def test_a_recording_that_denoising_empties_is_answered_too() -> None:
    method = hats.build("quick", 1)
    method.fit(bars(20), bars(6, 1), 0, silent)
    assert len(method.predict(recordings_of(events_of((9, 9, 20_000, True))))) == 1
