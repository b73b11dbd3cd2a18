"""HOTS: surfaces, prototypes and layers by hand, and what decides its prototypes."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from recordings import bars, events_of

from harness.baselines.contract import Recordings, silent
from harness.baselines.events import NEVER, Rows, rows_of
from harness.baselines.hots import (
    HOTS,
    Memory,
    Reach,
    Size,
    Values,
    clustered,
    example,
    nearest,
    neighbours,
    normalised,
    passed_on,
    surface,
    voted,
)

NEAR: Reach = (1, 10.0, 1)  # R = 1, tau = 10 us, every event


def rows(*each: tuple[int, int, int, int]) -> Rows:
    return np.array(each, np.int64).reshape(-1, 4)


def blank(height: int = 5, width: int = 6, polarities: int = 1, radius: int = 1) -> Memory:
    return np.full((height + 2 * radius, width + 2 * radius, polarities), NEVER)


def remembered(events: Rows, polarities: int = 1, radius: int = 1) -> Memory:
    memory = blank(polarities=polarities, radius=radius)
    for x, y, t, p in events.tolist():
        memory[y + radius, x + radius, p] = t
    return memory


def surface_of(events: Rows, polarities: int = 1, reach: Reach = NEAR) -> dict[int, float]:
    """The entries of the last event's surface that are not 0."""
    memory = remembered(events, polarities, reach[0])
    size = (2 * reach[0] + 1) ** 2 * polarities
    entries, values = np.zeros(size, np.int64), np.zeros(size)
    found = surface(events[-1], memory, reach, entries, values)
    return dict(zip(entries[:found].tolist(), values[:found].tolist(), strict=True))


# time surfaces


def test_a_surface_has_how_long_ago_each_pixel_and_polarity_had_an_event() -> None:
    found = surface_of(rows((2, 2, 0, 0), (3, 3, 5, 1), (3, 2, 10, 1)), polarities=2)
    # entries (row * 3 + column) * 2 + polarity: to the left, itself, below
    assert found == pytest.approx({6: exp(-1), 9: 1.0, 15: exp(-0.5)})


def test_what_is_older_than_5_tau_farther_than_r_or_outside_is_0() -> None:
    assert surface_of(rows((2, 2, 0, 0), (3, 2, 50, 0))) == pytest.approx({3: exp(-5), 4: 1.0})
    assert surface_of(rows((2, 2, 0, 0), (3, 2, 51, 0))) == {4: 1.0}
    assert surface_of(rows((1, 2, 0, 0), (3, 2, 1, 0))) == {4: 1.0}
    assert surface_of(rows((1, 2, 0, 0), (3, 2, 0, 0)), reach=(2, 10.0, 1)) == {10: 1.0, 12: 1.0}
    assert surface_of(rows((1, 1, 0, 0), (5, 4, 0, 0), (0, 0, 0, 0))) == {4: 1.0, 8: 1.0}


def test_a_surface_whose_sum_is_not_above_2_r_is_skipped() -> None:
    values = np.array([1.0, 0.5, 0.5])
    assert not normalised(values, 1) and values.tolist() == [1.0, 0.5, 0.5]
    values = np.array([2.0, 1.0, 2.0])
    assert normalised(values, 2)
    assert values == pytest.approx(np.array([2, 1, 2]) / 3)


# prototypes

ROW = rows((1, 2, 0, 0), (3, 2, 0, 0), (2, 2, 0, 0))  # the last one sees all three
SEEN = 3, 4, 5  # the entries that are 1 in its surface


def test_the_winner_is_nearest_by_cosine_not_by_product() -> None:
    prototypes = np.zeros((9, 2))
    prototypes[[0, 3], 0] = 100.0, 10.0
    prototypes[SEEN, 1] = 0.1
    norms = np.sqrt((prototypes**2).sum(0))
    winner, cosine = nearest(np.array(SEEN), np.full(3, 1 / sqrt(3)), prototypes, norms)
    assert winner == 1 and cosine == pytest.approx(1)
    away = nearest(np.array([0]), np.ones(1), prototypes, norms)
    assert away == (0, pytest.approx(100 / sqrt(10_100)))


def test_events_go_on_with_their_prototype_as_polarity_every_so_many_th_alone() -> None:
    prototypes = np.zeros((9, 3))
    prototypes[0, 0] = prototypes[8, 1] = 1.0
    prototypes[SEEN, 2] = 1.0
    assert passed_on(ROW, blank(), NEAR, prototypes).tolist() == [[2, 2, 0, 2]]
    prototypes = np.ones((9, 1))
    assert len(passed_on(ROW, blank(), (1, 10.0, 2), prototypes)) == 1
    assert len(passed_on(ROW, blank(), (1, 10.0, 3), prototypes)) == 0


def test_the_winner_moves_towards_the_surface_by_alpha_beta() -> None:
    prototypes = np.zeros((9, 2))
    prototypes[4, 0] = 2.0
    prototypes[0, 1] = 1.0
    wins = np.array([1, 1])
    clustered(ROW, blank(), NEAR, prototypes, wins)
    beta = 1 / sqrt(3)  # of (1, 1, 1) / sqrt(3) and (0, 1, 0)
    step = 0.01 / (1 + 1 / 20_000) * beta
    expected = np.zeros(9)
    expected[[3, 5]] = step / sqrt(3)
    expected[4] = 2 + step * (1 / sqrt(3) - 2)
    assert prototypes[:, 0] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert prototypes[:, 1].tolist() == [1.0] + 8 * [0.0]
    assert wins.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("start", "seen"), [(0, SEEN), (2, SEEN), (3, (0, 1, 2, 4)), (4, (0, 1, 2, 4))]
)
def test_an_example_is_the_first_surface_from_there_on_that_is_not_skipped(
    start: int, seen: tuple[int, ...]
) -> None:
    # the event at 4, 2 sees one other and is skipped; the last sees the three of ROW above it
    events = np.concatenate([ROW, rows((4, 2, 0, 0), (2, 3, 1, 0))])
    dense = np.zeros(9)
    assert example(events, blank(), NEAR, start, dense)
    assert tuple(np.flatnonzero(dense)) == seen and (dense**2).sum() == pytest.approx(1)


def densely(events: Rows, size: tuple[int, int], reach: Reach, prototypes: Values) -> Rows:
    """A layer once more: whole surfaces of all events that came before, without a memory."""
    radius, tau, every = reach
    polarities = len(prototypes) // (2 * radius + 1) ** 2
    height, width = size
    found = []
    for n, (x, y, t, _) in enumerate(events.tolist()):
        newest = np.full((height + 2 * radius, width + 2 * radius, polarities), -np.inf)
        for ex, ey, et, ep in events[: n + 1].tolist():
            newest[ey + radius, ex + radius, ep] = et
        around = newest[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        seen = np.exp((around - t) / tau).ravel()
        seen[seen < exp(-5)] = 0
        if n % every == 0 and seen.sum() > 2 * radius:
            cosines = seen @ prototypes / np.linalg.norm(prototypes, axis=0)
            found.append((x, y, t, int(cosines.argmax())))
    return rows(*found)


@pytest.mark.parametrize("every", [1, 3])
def test_a_layer_is_what_whole_surfaces_give(every: int) -> None:
    rng = np.random.default_rng(0)
    count, size, reach = 200, (6, 7), (2, 300.0, every)
    columns = rng.integers(0, size[1], count), rng.integers(0, size[0], count)
    times = np.sort(rng.integers(0, 5000, count))
    events = np.stack([*columns, times, rng.integers(0, 3, count)], 1)
    prototypes = rng.random((75, 5))
    expected = densely(events, size, reach, prototypes)
    assert 20 < len(expected) < count / every and len(set(expected[:, 3].tolist())) > 2
    found = passed_on(events, blank(*size, polarities=3, radius=2), reach, prototypes)
    assert found.tolist() == expected.tolist()


# neighbours


def test_the_nearest_and_the_most_frequent_win_and_of_equals_the_first() -> None:
    known = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    asked = np.array([[1.0, 1.0], [0.4, 0.0]])
    assert neighbours(known, asked, 3).tolist() == [[1, 2, 0], [0, 1, 2]]
    labels = np.array([[2, 1, 2, 0], [2, 1, 1, 2], [1, 1, 1, 1]])
    assert voted(labels, 3).tolist() == [2, 1, 1]
    assert voted(labels[:, :1], 3).tolist() == [2, 2, 1]


# the whole


def prototypes(size: Size, train: Recordings, seed: int = 0) -> list[NDArray[np.float64]]:
    method = HOTS(size)
    method.fit(train, bars(4, 5, 12), seed, silent)
    return [stage.prototypes for stage in method.stages]


def test_a_long_recording_is_thinned_in_the_last_layer_and_a_short_one_is_not() -> None:
    train = bars(10, 0, 12)
    longest = int(np.diff(train.starts).max())
    whole, just, half = (
        prototypes(Size(5, None, events), train) for events in (None, longest, longest // 2)
    )
    assert (whole[0] == just[0]).all() and (whole[0] == half[0]).all()
    assert (whole[1] == just[1]).all() and (whole[1] != half[1]).any()


def test_events_outside_the_sensor_are_left_out() -> None:
    events = events_of((0, 0, 0, True), (-1, 0, 1, True), (4, 2, 2, False), (3, 2, 3, False))
    assert rows_of(events, (3, 4)).tolist() == [[0, 0, 0, 1], [3, 2, 3, 0]]
