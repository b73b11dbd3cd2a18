"""Data sets: what is found and read, what stands in for it, and what a batch says of it."""

from __future__ import annotations

import hashlib
import pickle
import re
import socket
import struct
import sys
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tonic.datasets
import torch
import torchvision
from conftest import SHARED, needs_shared
from PIL import Image

from harness.datasets import (
    DOWNLOAD_MIB,
    Request,
    cifar10,
    data_root,
    dvs_cifar10,
    find,
    load_batch,
    mnist,
    nmnist,
)
from harness.datasets.events import EVENT, Events, bin_events
from harness.datasets.files import list_files
from harness.datasets.samples import split_indices
from harness.datasets.simulated import Camera, closed_loop, saccades, shifted, simulate
from harness.spec import UsageError
from harness.spec.paper import SETTINGS


@pytest.fixture(autouse=True)
def _no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


def events_of(*rows: tuple[int, int, int, bool]) -> Events:
    return np.array(list(rows), EVENT)  # x, y, t in microseconds, p


def write_bin(path: Path, *rows: tuple[int, int, int, bool]) -> Path:
    """N-MNIST's format: 5 bytes an event, x, y, then one bit of polarity and 23 bits of time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(bytes((x, y)) + (t | p << 23).to_bytes(3, "big") for x, y, t, p in rows)
    )
    return path


def write_image(path: Path, colour: tuple[int, int, int] = (255, 0, 51), side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)
    return path


def _flatbuffer(name: bytes, slots: int, slot: int, payload: bytes) -> bytes:
    """A size-prefixed flatbuffer: a table that holds `payload` in one of its slots."""
    entries = [4 if index == slot else 0 for index in range(slots)]
    vtable = struct.pack(f"<HH{slots}H", 4 + 2 * slots, 8, *entries)
    padding = bytes(-(8 + len(vtable)) % 8)
    table = struct.pack("<iI", len(vtable), 4)
    root = struct.pack("<I4s", 8 + len(padding) + len(vtable), name)
    content = root + padding + vtable + table + payload
    return struct.pack("<I", len(content)) + content


def write_aedat4(path: Path, *rows: tuple[int, int, int, bool], stream: str = "EVTS") -> Path:
    attributes = {"compression": "NONE", "originalModuleName": "m", "originalOutputName": "events"}
    attributes |= {"typeDescription": "d", "typeIdentifier": stream}
    texts = (f'<attr key="{k}" type="string">{v}</attr>' for k, v in attributes.items())
    size = "".join(f'<attr key="size{axis}" type="int">128</attr>' for axis in "XY")
    source = '<attr key="source" type="string">s</attr>'
    info = f'<node name="info" path="/o/0/info/">{size}{source}</node>'
    xml = (
        f'<dv version="2.0"><node name="outInfo" path="/o/"><node name="0" path="/o/0/">'
        f"{''.join(texts)}{info}</node></node></dv>"
    ).encode()
    header = _flatbuffer(b"IOHE", 3, 2, struct.pack("<I", len(xml)) + xml + b"\0")
    packed = b"".join(struct.pack("<qhh?3x", t, x, y, p) for x, y, t, p in rows)
    packet = _flatbuffer(b"EVTS", 1, 0, struct.pack("<I", len(rows)) + packed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet)
    return path


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError("the network was touched")


# the data root


def test_data_root_is_the_argument_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_root(None) == tmp_path / "cache" / "snn-harness"
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    (tmp_path / "other").mkdir()
    assert data_root(str(tmp_path / "other")) == tmp_path / "other"


def test_the_cache_need_not_exist_even_when_it_is_named() -> None:
    cache = data_root(None)
    assert not cache.exists()
    assert load_batch(Request("cifar10", 1, 1, root=cache)).source.substitute


def test_a_named_data_root_must_be_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file.*is not a folder"):
        data_root(str(tmp_path / "file"))
    with pytest.raises(UsageError, match="none.*does not exist"):
        load_batch(Request("cifar10", 1, 1, root=tmp_path / "none"))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="gone.*HARNESS_DATA.*does not exist"):
        data_root(None)


@pytest.mark.parametrize(("field", "value"), [("T", 0), ("batch_size", 0), ("seed", -1)])
def test_request_says_what_is_out_of_range(field: str, value: int) -> None:
    numbers = {"T": 1, "batch_size": 1, "seed": 0} | {field: value}
    with pytest.raises(UsageError, match=f"{field} is {value}"):
        Request("cifar10", numbers["T"], numbers["batch_size"], numbers["seed"])


def test_unknown_data_set_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'mnist', choose from cifar10, nmnist, dvs-cifar10"):
        load_batch(Request("mnist", 1, 1))
    assert set(DOWNLOAD_MIB) == set(SETTINGS)


# without any data


@pytest.mark.parametrize("dataset", SETTINGS)
def test_without_data_the_digits_stand_in(dataset: str, tmp_path: Path) -> None:
    settings = SETTINGS[dataset]
    batch = load_batch(Request(dataset, 10, 20, root=tmp_path))
    assert batch.inputs.shape == (10, 20, *settings.input_shape)
    assert batch.inputs.dtype == torch.float32
    assert (batch.inputs.stride(0) == 0) == settings.static
    assert batch.labels.dtype == torch.int64
    assert batch.labels.shape == (20,)
    source = batch.source
    assert (source.name, source.samples) == (dataset, 1617)  # nine tenths of 1,797
    assert source.substitute
    assert source.simulated != settings.static
    assert "scikit-learn's digits" in source.description
    assert str(tmp_path) in source.note
    assert str(tmp_path) not in source.description
    assert f"{DOWNLOAD_MIB[dataset]:,} MiB" in source.note


@pytest.mark.parametrize("dataset", SETTINGS)
def test_the_seed_alone_decides_the_batch(dataset: str) -> None:
    one, same, other = (load_batch(Request(dataset, 2, 3, seed)) for seed in (0, 0, 1))
    assert one.source.sha256 == same.source.sha256 != other.source.sha256
    assert torch.equal(one.inputs, same.inputs)


def test_hash_is_of_one_image_and_then_the_labels(tmp_path: Path) -> None:
    batch = load_batch(Request("cifar10", 4, 2, root=tmp_path))
    content = batch.inputs[0].numpy().tobytes() + batch.labels.numpy().tobytes()
    assert batch.source.sha256 == hashlib.sha256(content).hexdigest()


def test_digits_as_images_are_normalised_and_grey() -> None:
    inputs = load_batch(Request("cifar10", 1, 1617)).inputs[0]
    assert inputs.mean().item() == pytest.approx(0, abs=1e-4)
    assert inputs.std().item() == pytest.approx(1, abs=1e-4)
    assert torch.equal(inputs[:, 0], inputs[:, 2])


def test_a_batch_larger_than_the_data_says_how_many_there_are() -> None:
    with pytest.raises(UsageError, match="batch of 181 .* 180 samples"):
        load_batch(Request("cifar10", 1, 181, split="test"))


def test_our_split_shares_no_sample_between_training_and_test() -> None:
    train, test = split_indices(10_000, "train"), split_indices(10_000, "test")
    assert (len(train), len(test)) == (9_000, 1_000)
    assert sorted([*train, *test]) == list(range(10_000))


# downloads


@pytest.mark.parametrize(
    ("dataset", "downloader", "error"),
    [
        ("cifar10", "torchvision.datasets.CIFAR10", urllib.error.URLError("no route")),
        ("nmnist", "tonic.datasets.NMNIST", RuntimeError("no route: hash")),
        ("dvs-cifar10", "tonic.datasets.CIFAR10DVS", TimeoutError("no route, timed out")),
    ],
)
def test_a_failed_download_is_a_note(
    dataset: str, downloader: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float | None] = []

    def fail(*arguments: object, **options: object) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr(downloader, fail)
    source = load_batch(Request(dataset, 1, 1, download=True)).source
    assert timeouts == [10]
    assert socket.getdefaulttimeout() is None
    assert source.substitute
    assert source.note.startswith(f"the download failed: {type(error).__name__}: ")
    assert "no route" in source.note


def test_the_network_is_not_touched_unless_asked_or_where_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CIFAR10DVS", "NMNIST"):
        monkeypatch.setattr(tonic.datasets, name, refuse)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    for dataset in SETTINGS:
        load_batch(Request(dataset, 1, 1))
    write_image(tmp_path / "cifar10" / "train" / "cat" / "1.png")
    assert not load_batch(Request("cifar10", 1, 1, root=tmp_path, download=True)).source.substitute


def test_a_download_that_succeeds_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(save_to: str, train: bool) -> None:
        print("Downloading")
        write_bin(Path(save_to) / "NMNIST" / ("Train" if train else "Test") / "7" / "1.bin", ROW)

    monkeypatch.setattr(tonic.datasets, "NMNIST", fetch)
    batch = load_batch(Request("nmnist", 1, 1, split="test", download=True))
    assert batch.labels.tolist() == [7]
    assert not batch.source.substitute


# CIFAR-10


def test_images_are_normalised_per_channel(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar10" / "train" / "truck" / "1.png", (255, 0, 51))
    batch = load_batch(Request("cifar10", 3, 1, root=tmp_path))
    red, green, blue = (1 - 0.4914) / 0.2470, -0.4822 / 0.2435, (0.2 - 0.4465) / 0.2616
    expected = torch.tensor([red, green, blue])[:, None, None].expand(3, 32, 32)
    torch.testing.assert_close(batch.inputs[2, 0], expected)  # float32 of the same sums
    assert batch.labels.tolist() == [9]
    assert batch.source.partial
    assert not (batch.source.lossy or batch.source.substitute)
    assert "1 of 50,000 train samples" in batch.source.note


def test_jpeg_is_a_lossy_copy_and_wins_over_the_lossless_part(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar10-lossless" / "train" / "cat" / "1.png")
    lossless = load_batch(Request("cifar10", 1, 1, root=tmp_path)).source
    assert (lossless.description, lossless.lossy) == ("CIFAR-10 images", False)
    write_image(tmp_path / "cifar10" / "train" / "cat" / "1.JPG")
    lossy = load_batch(Request("cifar10", 1, 1, root=tmp_path)).source
    assert (lossy.description, lossy.lossy) == ("CIFAR-10 images (lossy copy)", True)


def test_only_the_images_of_the_batch_are_read(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar10" / "train" / "cat" / "1.png")
    (tmp_path / "cifar10" / "train" / "cat" / "2.png").write_text("no image")
    outcomes: set[str] = set()
    for seed in range(10):
        try:
            load_batch(Request("cifar10", 1, 1, seed, root=tmp_path))
            outcomes.add("read")
        except UsageError as error:
            assert "2.png is damaged" in str(error)
            outcomes.add("damaged")
    assert outcomes == {"read", "damaged"}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(suffix: str, tmp_path: Path) -> None:
    path = write_image(tmp_path / "cifar10" / "train" / "cat" / f"1.{suffix}")
    path.write_bytes(path.read_bytes()[:-30])  # the last 20 of a PNG are no pixels
    with pytest.raises(UsageError, match=rf"{path} is damaged.*delete it or extract it again"):
        load_batch(Request("cifar10", 1, 1, root=tmp_path))
    write_image(path, side=16)
    with pytest.raises(UsageError, match="16x16 pixels, expected 32x32"):
        load_batch(Request("cifar10", 1, 1, root=tmp_path))


def test_files_are_listed_by_class_and_name_and_none_is_lost(tmp_path: Path) -> None:
    for name in ("b/2.bin", "b/10.bin", "a/3.bin", "a/._3.bin", "a/3.txt"):
        write_bin(tmp_path / name)
    listed = list_files(tmp_path, "ab", (".bin",))
    found = [(sample.label, sample.path.name) for sample in listed.samples]
    assert listed.left_out == ()
    assert found == [(0, "3.bin"), (1, "10.bin"), (1, "2.bin")]
    write_bin(tmp_path / "c" / "1.bin")
    with pytest.raises(UsageError, match="c is no class folder, expected a, b"):
        list_files(tmp_path, "ab", (".bin",))


@pytest.mark.parametrize("base", [".", "cifar10"])
def test_torchvision_folder_is_read_and_checked(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / base / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    # numpy of 2009 pickled align=0, of which numpy 2.4 warns
    content = pickle.dumps({"data": pixels, "labels": [4, 6]}, protocol=2)
    content, replaced = re.subn(rb"(?s)(u1q.)\x89\x88\x87", b"\\1K\0K\x01\x87", content)
    assert replaced == 1
    meta = pickle.dumps({"label_names": list(cifar10.CLASSES)})
    for name, text in (("data_batch_1", content), ("test_batch", content), ("batches.meta", meta)):
        (folder / name).write_bytes(text)
    md5 = hashlib.md5(content).hexdigest()
    known = torchvision.datasets.CIFAR10
    monkeypatch.setattr(known, "train_list", [["data_batch_1", md5]])
    monkeypatch.setattr(known, "test_list", [["test_batch", md5]])
    hashed = hashlib.md5(meta).hexdigest()
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": hashed})
    batch = load_batch(Request("cifar10", 1, 2, root=tmp_path))
    assert sorted(batch.labels.tolist()) == [4, 6]
    images = cifar10.images(tmp_path, "train")
    assert images is not None
    assert images.read(1)[0][0, :2, 0].tolist() == [0, 1]  # 3072 is 0 modulo 256
    (folder / "data_batch_1").write_bytes(content[:-1])
    with pytest.raises(UsageError, match="cifar-10-batches-py is damaged"):
        load_batch(Request("cifar10", 1, 2, root=tmp_path))
    assert "cifar-10-batches-py is damaged" in find("cifar10", tmp_path).problem


# events


ROW = (3, 2, 1000, True)


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


def write_mnist(root: Path, labels: list[int]) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = np.zeros((len(labels), 28, 28), np.uint8)
    pixels[:, 10:18, 10:18] = 255
    header = struct.pack(">4I", 2051, len(labels), 28, 28)
    (folder / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
    return path


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
    for path in (tmp_path / "NMNIST").rglob("*.bin"):
        real = nmnist.read_recording(path)
        events, label = simulated.read(int(path.stem) - 1)  # 00001.bin is MNIST's digit 0
        assert str(label) == path.parent.name
        assert 300_000 < events["t"][-1] < 315_000
        places, expected = (
            bin_events(each, 64, (34, 34)).sum((0, 1)).flatten() for each in (events, real)
        )
        correlations.append(float(np.corrcoef(places, expected)[0, 1]))
        real_counts.append(len(real))
        simulated_counts.append(len(events))
    assert np.mean(simulated_counts) == pytest.approx(np.mean(real_counts), rel=0.15)
    assert np.mean(correlations) > 0.85


# what the doctor says


def test_find_says_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    nothing = find("nmnist", tmp_path)
    assert (nothing.train, nothing.test) == (None, None)
    assert "NMNIST/{Train,Test}/<label>/*.bin" in nothing.problem
    write_bin(tmp_path / "NMNIST" / "Train" / "3" / "9.bin", ROW)
    found = find("nmnist", tmp_path)
    assert found.train is not None
    assert (found.train.count, found.train.folder) == (1, tmp_path / "NMNIST")
    place = f"in {tmp_path / 'NMNIST'}"
    assert str(found.train) == f"1 of 60,000: N-MNIST recordings, 5 ms bins, {place}"
    assert "1 of 60,000 train samples found, no test samples" in found.problem


def test_a_row_does_not_name_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    note = load_batch(Request("cifar10", 1, 1, root=tmp_path)).source.note
    assert "not found under ~" in note and str(tmp_path) not in note
