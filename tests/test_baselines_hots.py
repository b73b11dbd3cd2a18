"""HOTS, another system of Table 4: surfaces, prototypes and layers by hand, and what it learns."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import baselines
from harness.baselines.contract import Effort, Recordings
from harness.baselines.hots import HOTS, SIZES, Layer, Size, build, neighbours, voted
from harness.baselines.hots_layers import (
    NEVER,
    Memory,
    Reach,
    Values,
    clustered,
    example,
    nearest,
    normalised,
    passed_on,
    surface,
)
from harness.baselines.rows import Rows, rows_of
from harness.datasets.events import EVENT, Events
from harness.spec import UsageError

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


def silent(fraction: float, text: str) -> None:
    assert 0 <= fraction <= 1 and text


# time surfaces


def test_a_surface_has_how_long_ago_each_pixel_and_polarity_had_an_event() -> None:
    found = surface_of(rows((2, 2, 0, 0), (3, 3, 5, 1), (3, 2, 10, 1)), polarities=2)
    # entries (row * 3 + column) * 2 + polarity: to the left, itself, below
    assert found == pytest.approx({6: exp(-1), 9: 1.0, 15: exp(-0.5)})


def test_the_newest_event_of_a_pixel_counts() -> None:
    found = surface_of(rows((2, 2, 0, 0), (2, 2, 8, 0), (3, 2, 10, 0)))
    assert found == pytest.approx({3: exp(-0.2), 4: 1.0})


def test_what_is_older_than_5_tau_or_farther_than_r_is_0() -> None:
    assert surface_of(rows((2, 2, 0, 0), (3, 2, 50, 0))) == pytest.approx({3: exp(-5), 4: 1.0})
    assert surface_of(rows((2, 2, 0, 0), (3, 2, 51, 0))) == {4: 1.0}
    assert surface_of(rows((1, 2, 0, 0), (3, 2, 1, 0))) == {4: 1.0}
    assert surface_of(rows((1, 2, 0, 0), (3, 2, 0, 0)), reach=(2, 10.0, 1)) == {10: 1.0, 12: 1.0}


def test_a_surface_at_the_sensors_corner_has_nothing_outside() -> None:
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


def test_events_go_on_with_their_prototype_as_polarity_and_the_skipped_do_not() -> None:
    prototypes = np.zeros((9, 3))
    prototypes[0, 0] = prototypes[8, 1] = 1.0
    prototypes[SEEN, 2] = 1.0
    assert passed_on(ROW, blank(), NEAR, prototypes).tolist() == [[2, 2, 0, 2]]


def test_only_every_so_many_th_event_makes_a_surface_but_all_are_remembered() -> None:
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


def test_a_prototype_that_has_won_often_moves_less() -> None:
    moves = []
    for won in (0, 20_000):
        prototypes = np.zeros((9, 1))
        prototypes[4] = 1.0
        clustered(ROW, blank(), NEAR, prototypes, np.array([won]))
        moves.append(prototypes[3, 0])
    assert moves[0] == pytest.approx(2 * moves[1])


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


def test_there_is_no_example_where_all_surfaces_are_skipped() -> None:
    dense = np.zeros(9)
    assert not example(ROW[:2], blank(), NEAR, 0, dense) and not dense.any()


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


def test_the_nearest_come_first_and_of_equally_near_the_first() -> None:
    known = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    asked = np.array([[1.0, 1.0], [0.4, 0.0]])
    assert neighbours(known, asked, 3).tolist() == [[1, 2, 0], [0, 1, 2]]


def test_the_most_frequent_class_wins_and_of_equals_the_first() -> None:
    labels = np.array([[2, 1, 2, 0], [2, 1, 1, 2], [1, 1, 1, 1]])
    assert voted(labels, 3).tolist() == [2, 1, 1]
    assert voted(labels[:, :1], 3).tolist() == [2, 2, 1]


# the whole


def stripes(label: int, rng: np.random.Generator) -> Events:
    """Vertical stripes that move to the right, or level ones that move down, and noise."""
    step, line, along = (each.ravel() for each in np.mgrid[:10, :3, :12])
    across = (4 * line + step + rng.integers(0, 4)) % 12
    each = np.zeros(len(step), EVENT)
    each["x"], each["y"] = (across, along) if label == 0 else (along, across)
    each["t"] = 5000 * step + rng.integers(0, 4000, len(step))
    each["p"] = rng.random(len(step)) < 0.5
    noise = rng.random(len(each)) < 0.2
    each["x"][noise] = rng.integers(0, 12, noise.sum())
    each = each[np.argsort(each["t"], kind="stable")]
    each["t"] -= each["t"][0]
    return each


def recorded(*found: Events, sensor: tuple[int, int] = (12, 12)) -> Recordings:
    starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Recordings(np.concatenate(found), starts, np.arange(len(found)) % 2, sensor, 2)


def moving(count: int, seed: int) -> Recordings:
    rng = np.random.default_rng(seed)
    return recorded(*(stripes(n % 2, rng) for n in range(count)))


def fitted(method: HOTS, train: Recordings, seed: int = 0) -> HOTS:
    method.fit(train, moving(10, 5), seed, silent)
    return method


def prototypes_of(method: HOTS) -> list[NDArray[np.float64]]:
    assert method._fitted is not None
    return [stage.prototypes for stage in method._fitted.stages]


def test_it_is_a_system_of_table_4() -> None:
    system = baselines.load("hots")
    assert system.datasets == ("dvs-cifar10", "nmnist") and system.random
    assert "Lagorce" in system.about and system.packages == ("numba",)


@pytest.mark.parametrize("effort", SIZES)
def test_stripes_are_told_apart(effort: Effort) -> None:
    method = fitted(build(effort, 0), moving(40, 0))
    test = moving(40, 1)
    labels = method.predict(test)
    assert labels.dtype == np.int64 and (labels == test.labels).mean() > 0.8
    assert method.structure == ("16-32 prototypes (R = 2, 4; tau = 20, 160 ms), nearest neighbours")
    assert method.chosen in {f"k = {k}" for k in (1, 3, 6, 12, 24)}


def test_the_seed_decides_all_that_is_random() -> None:
    train, test = moving(20, 0), moving(20, 1)
    once, twice, other = (fitted(build("quick", 0), train, seed) for seed in (3, 3, 4))
    assert (once.predict(test) == twice.predict(test)).all()
    for ours, theirs, others in zip(*map(prototypes_of, (once, twice, other)), strict=True):
        assert (ours == theirs).all() and (ours != others).any()


def test_a_long_recording_is_thinned_in_the_last_layer_and_a_short_one_is_not() -> None:
    train = moving(10, 0)
    longest = int(np.diff(train.starts).max())
    whole, just, half = (
        prototypes_of(fitted(HOTS(Size(5, None, events)), train))
        for events in (None, longest, longest // 2)
    )
    assert (whole[0] == just[0]).all() and (whole[0] == half[0]).all()
    assert (whole[1] == just[1]).all() and (whole[1] != half[1]).any()


def test_what_comes_after_the_first_events_does_not_count() -> None:
    train = moving(6, 0)
    cut = recorded(*(train[n][:200] for n in range(6)))
    found = [
        prototypes_of(fitted(HOTS(Size(5, seen, None)), given))
        for seen, given in ((200, train), (200, cut), (None, train))
    ]
    assert all((ours == theirs).all() for ours, theirs in zip(*found[:2], strict=True))
    assert all((ours != theirs).any() for ours, theirs in zip(*found[1:], strict=True))


def test_prototypes_come_from_as_many_recordings_as_it_says() -> None:
    train = moving(12, 0)
    rng = np.random.default_rng(7)
    used = rng.permutation(12)[:4]
    other = [train[n] if n in used else stripes(0, rng) for n in range(12)]
    first, second = (
        fitted(HOTS(Size(4, None, None)), each, 7) for each in (train, recorded(*other))
    )
    for ours, theirs in zip(prototypes_of(first), prototypes_of(second), strict=True):
        assert (ours == theirs).all()


def test_k_is_chosen_on_held_out_samples_among_those_that_there_are() -> None:
    method = fitted(build("quick", 0), moving(4, 0))
    assert method.chosen in ("k = 1", "k = 3")


def test_it_tells_how_far_it_is_and_never_goes_back() -> None:
    told: list[float] = []
    train = moving(12, 0)
    build("quick", 0).fit(train, train, 0, lambda fraction, text: told.append(fraction))
    assert told == sorted(told) and told[0] == 0 and told[-1] <= 1


def test_a_sensor_smaller_than_a_surface_is_refused() -> None:
    with pytest.raises(UsageError, match="surfaces of 9x9 pixels, and the sensor has 9x8: use"):
        fitted(build("quick", 0), recorded(*[np.zeros(5, EVENT)] * 4, sensor=(8, 9)))


def test_few_events_are_no_harm() -> None:
    few = recorded(*(np.zeros(n, EVENT) for n in (1, 2, 3, 0)))
    labels = fitted(HOTS(Size(4, None, None), (Layer(2, 1, 1000.0),)), few).predict(few)
    assert labels.shape == (4,)


def test_events_outside_the_sensor_are_left_out() -> None:
    events = np.array(
        [(0, 0, 0, 1), (-1, 0, 1, 1), (4, 2, 2, 0), (3, 2, 3, 0), (3, 3, 4, 0)], EVENT
    )
    assert rows_of(events, (3, 4)).tolist() == [[0, 0, 0, 1], [3, 2, 3, 0]]
