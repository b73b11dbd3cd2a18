"""The CNN on centred frames and the CNN on summed events, other systems of Table 3."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness import baselines
from harness.baselines import cnn_events, cnn_frames
from harness.baselines.contract import Answers, Effort, Method
from harness.datasets.events import EVENT, Events, Recordings
from harness.spec import UsageError

EFFORTS: tuple[Effort, ...] = ("quick", "default", "paper")


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def recorded(*found: Events, sensor: tuple[int, int] = (3, 4), classes: int = 2) -> Recordings:
    starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
    labels = np.arange(len(found)) % classes
    return Recordings(np.concatenate(found), starts, labels, sensor, classes)


def lines(count: int, seed: int, events: int = 150) -> Recordings:
    """Class n is a line at n * 45 degrees through about the middle of 20x20 pixels."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        angle, along = np.pi / 4 * (n % 4), rng.uniform(-6, 6, events)
        across = rng.normal(0, 0.7, events)
        middle = 9.5 + rng.uniform(-2, 2, 2)
        each = np.zeros(events, EVENT)
        each["x"] = middle[0] + along * np.cos(angle) - across * np.sin(angle)
        each["y"] = middle[1] + along * np.sin(angle) + across * np.cos(angle)
        each["t"], each["p"] = np.sort(rng.integers(0, 60_000, events)), rng.random(events) < 0.5
        each["t"][0] = 0
        found.append(each)
    return recorded(*found, sensor=(20, 20), classes=4)


def silent(fraction: float, text: str) -> None:
    assert 0 <= fraction <= 1 and text


def fitted(name: str, epochs: int, seed: int = 0) -> Method:
    method = baselines.load(name).build("quick", epochs)
    method.fit(lines(80, 0), lines(4, 1), seed, silent)
    return method


def answers(method: Method, test: Recordings) -> np.ndarray:
    found = method.predict(test)
    assert not isinstance(found, Answers)
    assert found.dtype == np.int64 and found.shape == (len(test),)
    return found


def weights_of(method: Method) -> torch.Tensor:
    assert isinstance(method, cnn_frames.CNN | cnn_events.CNN) and method._network is not None
    return torch.cat([each.detach().flatten() for each in method._network.parameters()])


@pytest.fixture(scope="module", params=["cnn-frames", "cnn-events"])
def system(request: pytest.FixtureRequest) -> str:
    return request.param


def test_both_are_systems_of_table_3_and_see_the_whole_recording_first(system: str) -> None:
    found = baselines.load(system)
    assert found.datasets == ("nmnist",)
    assert found.windows == ("whole", "first")
    assert set(found.epochs) == set(EFFORTS)
    structure = {"cnn-frames": "8C5-MP2-8C5-MP2-8C5-MP2-256-10"}
    expected = structure.get(system, "32C5-MP2-64C5-MP2-128-10")
    assert {found.build(effort, 1).structure for effort in EFFORTS} == {expected}


# summed events


def test_an_image_counts_both_polarities_and_its_brightest_pixel_is_one() -> None:
    events = events_of(
        *((1, 2, 0, True), (1, 2, 10, False), (1, 2, 99_000, True), (1, 2, 300_000, True)),
        *((3, 0, 5, False), (0, 0, 7, True), (0, 0, 8, False)),
    )
    image = cnn_events.summed(recorded(events))
    expected = torch.zeros(1, 1, 3, 4)
    expected[0, 0, 2, 1], expected[0, 0, 0, 3], expected[0, 0, 0, 0] = 1, 0.25, 0.5
    assert torch.equal(image, expected)


def test_each_image_has_its_own_brightest_pixel() -> None:
    once, thrice = (events_of(*[(n, 0, t, True) for t in range(n)]) for n in (1, 3))
    assert cnn_events.summed(recorded(once, thrice)).amax((1, 2, 3)).tolist() == [1, 1]


def test_when_an_event_came_does_not_matter() -> None:
    method, test = fitted("cnn-events", 2), lines(40, 2)
    moved = test.events.copy()
    for n in range(len(test)):
        part = moved[test.starts[n] : test.starts[n + 1]]
        part[["x", "y", "p"]] = part[["x", "y", "p"]][::-1].copy()  # times stay, in their order
    backwards = Recordings(moved, test.starts, test.labels, test.sensor, test.classes)
    assert torch.equal(cnn_events.summed(backwards), cnn_events.summed(test))
    assert np.array_equal(answers(method, backwards), answers(method, test))


def test_nothing_is_dropped_out_of_what_it_is_asked() -> None:
    method, test = fitted("cnn-events", 2), lines(40, 2)
    assert np.array_equal(answers(method, test), answers(method, test))
    assert isinstance(method, cnn_events.CNN)
    network = method._network
    assert network is not None and not network.training


# centred frames


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
    frames = cnn_frames.cut(recorded(events, moved, sensor=(18, 18))).counts
    assert frames.sum() == 8 and np.array_equal(frames[0], frames[1])


def test_events_that_are_moved_off_the_sensor_are_dropped() -> None:
    events = events_of(*((0, 1, n, True) for n in range(9)), (3, 1, 9, True))  # mean 0.3: +1
    counts = cnn_frames.cut(recorded(events)).counts
    assert counts[0, 1, 1].tolist() == [0, 9, 0, 0]


def test_a_frame_counts_off_and_on_events_apart() -> None:
    events = events_of((1, 1, 0, False), (1, 1, 4, True), (2, 1, 6, True), (2, 1, 7, True))
    counts = cnn_frames.cut(recorded(events)).counts
    assert counts[0, :, 1].tolist() == [[0, 1, 0, 0], [0, 1, 2, 0]]
    assert not counts[0, :, [0, 2]].any()


@pytest.mark.parametrize(
    ("events", "frames"),
    [
        (1, [1]),
        (999, [999]),
        (1999, [1999]),
        (2000, [1000, 1000]),
        (4133, [1034, 1033, 1033, 1033]),
    ],
)
def test_a_recording_is_cut_in_frames_of_a_thousand_events(
    events: int, frames: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[Events] = []

    def seen(part: Events, sensor: tuple[int, int]) -> Events:
        cut.append(part)
        return part

    monkeypatch.setattr(cnn_frames, "centred", seen)
    found = np.zeros(events, EVENT)
    found["t"] = np.arange(events)
    other = events_of((0, 0, 0, True))
    owners = cnn_frames.cut(recorded(found, other)).owners
    assert [len(part) for part in cut] == [*frames, 1]
    assert np.array_equal(np.concatenate(cut[:-1]), found)  # none lost, in their order
    assert owners.tolist() == [0] * len(frames) + [1]


def test_a_frame_is_divided_by_its_largest_count() -> None:
    counts = torch.zeros(2, 2, 2, 2, dtype=torch.uint8)
    counts[0, 0, 0, 0], counts[0, 1, 1, 1] = 2, 8
    scaled = cnn_frames.scaled(counts)
    assert scaled[0].flatten().tolist() == [0.25, 0, 0, 0, 0, 0, 0, 1]
    assert not scaled[1].any()  # a frame of nothing is nothing


def test_frames_vote_by_their_log_probabilities() -> None:
    # two frames lean to class 0, the one that is sure is of class 1
    scores = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.01, 0.99], [0.9, 0.1]]).log()
    assert cnn_frames.voted(scores, np.array([0, 0, 0, 1]), 2).tolist() == [1, 0]


def test_a_long_recordings_class_is_the_likeliest_of_all_its_frames() -> None:
    method, test = fitted("cnn-frames", 3), lines(8, 4, events=3000)
    assert isinstance(method, cnn_frames.CNN) and method._network is not None
    frames = cnn_frames.cut(test)
    assert frames.owners.tolist() == [n // 3 for n in range(24)]
    scores = method._network(cnn_frames.scaled(torch.from_numpy(frames.counts)))
    likelihoods = scores.softmax(1).unflatten(0, (8, 3)).double().prod(1)
    assert np.array_equal(answers(method, test), likelihoods.argmax(1).numpy())


# both


@pytest.mark.parametrize(("name", "size"), [("cnn-frames", 8), ("cnn-events", 16)])
def test_a_sensor_smaller_than_the_network_is_refused(name: str, size: int) -> None:
    def small(size: int) -> Recordings:
        event = events_of((0, 0, 0, True))
        return recorded(event, event, sensor=(size, 34))

    method = baselines.load(name).build("quick", 1)
    method.fit(small(size), small(size), 0, silent)
    message = f"{size - 1}x34 pixels: use one of at least {size}x{size}"
    with pytest.raises(UsageError, match=message):
        method.fit(small(size - 1), small(size - 1), 0, silent)


def test_it_learns_the_direction_of_a_line(system: str) -> None:
    method, test = fitted(system, 12), lines(60, 2)
    accuracy = (answers(method, test) == test.labels).mean()
    assert accuracy > 0.8, f"{accuracy:.2f} of 4 classes"
    assert method.structure.endswith("-4") and method.chosen == ""


def test_the_seed_decides_the_weights(system: str) -> None:
    test = lines(60, 3)
    first, second, other = (fitted(system, 1, seed) for seed in (5, 5, 6))
    assert np.array_equal(answers(first, test), answers(second, test))
    weights, same, different = (weights_of(each) for each in (first, second, other))
    assert torch.equal(weights, same) and not torch.equal(weights, different)


def test_a_recording_of_one_event_gets_a_class(system: str) -> None:
    one = recorded(events_of((0, 0, 0, True)), sensor=(20, 20), classes=4)
    assert answers(fitted(system, 1), one)[0] in range(4)


def test_it_tells_how_far_it_is(system: str) -> None:
    told: list[str] = []
    method = baselines.load(system).build("quick", 2)
    method.fit(lines(60, 0), lines(4, 1), 0, lambda fraction, text: told.append(text))
    assert "epoch" not in told[0] and told[-1] == "epoch 2/2"
