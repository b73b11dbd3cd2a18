"""Events: recordings as frames, and those that are simulated where no recording is."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from test_datasets import ROW, write_aedat4, write_bin, write_image, write_mnist

from harness.datasets import (
    Request,
    dvs_cifar10,
    find,
    load_batch,
    mnist,
    nmnist,
)
from harness.datasets.events import EVENT, Events, bin_events
from harness.datasets.simulated import Camera, closed_loop, saccades, shifted, simulate
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def test_events_are_counted_by_5_ms_polarity_and_pixel() -> None:
    events = events_of(
        ROW,
        (3, 2, 5999, True),  # still within 5 ms of the first
        (3, 2, 6000, True),
        (0, 1, 6000, False),
        (4, 0, 1000, True),  # outside a sensor 4 wide
        (0, 3, 1000, True),  # and 3 high
        (0, 0, 11000, True),  # after the last of two windows
    )
    expected = np.zeros((2, 2, 3, 4), np.uint8)
    expected[0, 1, 2, 3] = 2
    expected[1, 1, 2, 3] = 1
    expected[1, 0, 1, 0] = 1
    frames = bin_events(events, 2, (3, 4))
    assert frames.dtype == np.uint8 and np.array_equal(frames, expected)
    assert not bin_events(events[:0], 2, (3, 4)).any()
    assert bin_events(np.repeat(events[:1], 300), 1, (3, 4)).max() == 255  # it does not wrap


def test_recordings_become_frames(tmp_path: Path) -> None:
    write_bin(tmp_path / "NMNIST" / "Train" / "3" / "9.bin", ROW, (33, 0, 7000, False))
    batch = load_batch(Request("nmnist", 2, 1, root=tmp_path))
    assert batch.inputs.nonzero().tolist() == [[0, 0, 1, 2, 3], [1, 0, 0, 0, 33]]
    assert batch.labels.tolist() == [3]
    assert batch.source.description == "N-MNIST recordings, 5 ms bins"
    assert batch.source.partial
    assert not (batch.source.simulated or batch.source.substitute)


@pytest.mark.parametrize("content", [b"", b"123456"])
def test_a_damaged_recording_is_named(content: bytes, tmp_path: Path) -> None:
    path = write_bin(tmp_path / "NMNIST" / "Train" / "3" / "9.bin")
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"{path} is damaged.*delete it or extract it again"):
        load_batch(Request("nmnist", 2, 1, root=tmp_path))


@pytest.mark.parametrize(("dataset", "package"), [("nmnist", "tonic"), ("dvs-cifar10", "aedat")])
def test_without_their_reader_events_are_simulated_and_the_note_says_why(
    dataset: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = write_bin(tmp_path / "NMNIST" / "Train" / "3" / "9.bin", ROW)
    moved = write_aedat4(tmp_path / "CIFAR10DVS" / "cat" / "1.aedat4", ROW)
    monkeypatch.setitem(sys.modules, package, None)
    source = load_batch(Request(dataset, 1, 1, root=tmp_path)).source
    assert source.simulated
    for note in (source.note, find(dataset, tmp_path).problem):
        assert f"package {package}" in note
        assert "pip install 'snn-harness[events]'" in note
    with pytest.raises(UsageError, match=r"snn-harness\[events\]"):
        if dataset == "nmnist":
            nmnist.read_recording(recording)
        else:
            dvs_cifar10.read_recording(moved)


def test_dvs_recordings_are_reduced_with_stride_3(tmp_path: Path) -> None:
    edge = events_of((125, 3, 0, True), (126, 3, 0, True), (3, 126, 0, True), (3, 127, 0, True))
    assert dvs_cifar10.reduced(edge)[["x", "y"]].tolist() == [(41, 1)]
    rows = [(1, 2, 9000, True), (126, 5, 9000, False), (5, 126, 9000, True)]
    path = write_aedat4(
        tmp_path / "CIFAR10DVS" / "dog" / "1.aedat4", *rows, (125, 123, 14000, False)
    )
    batch = load_batch(Request("dvs-cifar10", 2, 1, root=tmp_path))
    assert batch.inputs.nonzero().tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 41, 41]]
    assert batch.labels.tolist() == [5]
    assert batch.source.description == "DVS-CIFAR10 recordings, 5 ms bins"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match=f"{path} is damaged"):
        load_batch(Request("dvs-cifar10", 2, 1, root=tmp_path))
    write_aedat4(path, stream="IMUS")
    with pytest.raises(UsageError, match=f"{path} is damaged .it holds no events"):
        load_batch(Request("dvs-cifar10", 2, 1, root=tmp_path))


# simulated events


def test_an_edge_that_moves_a_pixel_makes_its_log_ratio_of_events() -> None:
    image = np.array([[1.0, 1.0, 0.0, 0.0]] * 2)
    camera = Camera(threshold=1.0, eps=0.1, spread=0)  # log(1.1 / 0.1) = 2.398: two events
    right = simulate(image, np.array([(0.0, 0.0), (1.0, 0.0)]), camera)
    assert right[["x", "y", "p"]].tolist() == [(2, 0, True), (2, 1, True)] * 2
    # thresholds are crossed at 1 / 2.398 and 2 / 2.398 of the millisecond
    assert right["t"].tolist() == [417, 417, 834, 834]
    left = simulate(image, np.array([(0.0, 0.0), (-1.0, 0.0)]), camera)
    assert left[["x", "p"]].tolist() == [(1, False)] * 4
    there_and_back = simulate(image, np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 0.0)]), camera)
    assert there_and_back["p"].tolist() == [True] * 4 + [False] * 4
    # 2.398 above the first level, the last reference at 2: down to 1 and to 0
    assert there_and_back["t"].tolist() == [417, 417, 834, 834, 1583, 1583, 2000, 2000]


def test_images_move_by_parts_of_a_pixel_down_and_right() -> None:
    image = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert shifted(image, np.array([1.0, 0.0]))[1].tolist() == [0, 0, 1]
    assert shifted(image, np.array([0.0, 0.25]))[:, 1].tolist() == [0, 0.75, 0.25]


def test_paths_are_closed_and_smooth() -> None:
    for path, largest in ((saccades(), 0.15), (closed_loop(200), 0.32)):
        assert path[0] == pytest.approx(path[-1], abs=1e-9)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < largest
    assert len(saccades()) == 316  # three of 105 ms


def test_a_closed_path_takes_every_pixel_back_to_its_level() -> None:
    image = np.random.default_rng(0).uniform(size=(16, 16))
    events = simulate(image, saccades(), Camera(0.1, 0.1, spread=0))
    assert events["p"].sum() * 2 == len(events) > 1000


def test_a_blank_image_makes_no_event() -> None:
    assert len(simulate(np.full((8, 8), 0.5), saccades(), Camera(0.1, 0.1, spread=0))) == 0


def test_without_recordings_events_are_simulated_from_the_same_images(tmp_path: Path) -> None:
    write_mnist(tmp_path, [8])
    write_image(tmp_path / "cifar10" / "train" / "ship" / "1.jpg")
    digit = load_batch(Request("nmnist", 4, 1, root=tmp_path))
    ship = load_batch(Request("dvs-cifar10", 4, 1, root=tmp_path))
    assert digit.source.description == "simulated saccade events of MNIST's digits, 5 ms bins"
    assert "closed-loop events of CIFAR-10 images (lossy copy)" in ship.source.description
    assert (digit.labels.item(), ship.labels.item()) == (8, 8)
    for source in (digit.source, ship.source):
        assert source.simulated
        assert not source.substitute
    assert ship.source.lossy
    assert digit.inputs.sum() > 0


def test_damaged_mnist_is_named(tmp_path: Path) -> None:
    labels = write_mnist(tmp_path, [8, 1])
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(UsageError, match=f"{labels} is damaged"):
        mnist.images(tmp_path, "train")
    labels.write_bytes(struct.pack(">2I", 2049, 1) + b"\1")
    with pytest.raises(UsageError, match=f"{labels} is damaged .1 labels of 2 images"):
        mnist.images(tmp_path, "train")


@needs_shared
def test_simulated_saccades_resemble_the_recordings(tmp_path: Path) -> None:
    with zipfile.ZipFile(SHARED / "data" / "nmnist" / "train.zip") as archive:
        for name in [name for name in archive.namelist() if name.endswith(".bin")][:30]:
            archive.extract(name, tmp_path / "NMNIST")
    with zipfile.ZipFile(SHARED / "data" / "mnist_raw.zip") as archive:
        for name in [name for name in archive.namelist() if "/train-" in f"/{name}"]:
            target = tmp_path / "MNIST" / "raw" / Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    digits = mnist.images(tmp_path, "train")
    simulated = nmnist.simulated(tmp_path, "train")
    assert digits is not None
    real_counts, simulated_counts, correlations = [], [], []
    windows = {"a recording": (12, 25_000), "its first 50 ms": (10, 5_000)}
    moving: dict[str, list[float]] = {window: [] for window in windows}
    for path in (tmp_path / "NMNIST").rglob("*.bin"):
        real = nmnist.read_recording(path)
        index = int(path.stem) - 1  # 00001.bin is MNIST's digit 0
        events, label = (
            simulated.read(index),
            simulated.labels[index],
        )  # 00001.bin is MNIST's digit 0
        assert str(label) == path.parent.name
        assert 300_000 < events["t"][-1] < 315_000
        places, expected = (
            bin_events(each, 64, (34, 34)).sum((0, 1)).flatten() for each in (events, real)
        )
        correlations.append(float(np.corrcoef(places, expected)[0, 1]))
        for window, (count, us) in windows.items():  # not only where: when, and of which polarity
            frames, expected = (
                bin_events(each, count, (34, 34), us).flatten() for each in (events, real)
            )
            moving[window].append(float(np.corrcoef(frames, expected)[0, 1]))
        real_counts.append(len(real))
        simulated_counts.append(len(events))
    assert np.mean(simulated_counts) == pytest.approx(np.mean(real_counts), rel=0.15)
    assert np.mean(correlations) > 0.85
    assert np.mean(moving["a recording"]) > 0.7  # 0.0 with ON for OFF
    assert np.mean(moving["its first 50 ms"]) > 0.55  # 0.5 where x and y move as one
