"""Data sets: what is found and read, what stands in for it, and what a batch says of it."""

from __future__ import annotations

import hashlib
import socket
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import tonic.datasets
import torch
import torchvision
from PIL import Image

from harness.datasets import (
    DOWNLOAD_MIB,
    Request,
    data_root,
    find,
    load_batch,
)
from harness.datasets.samples import split_indices
from harness.spec import UsageError
from harness.spec.paper import SETTINGS

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


ROW = (3, 2, 1000, True)  # x, y, t in microseconds, p


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


def write_mnist(root: Path, labels: list[int], split: str = "train") -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((len(labels), 28, 28), np.uint8)
    pixels[:, 10:18, 10:18] = 255
    header = struct.pack(">4I", 2051, len(labels), 28, 28)
    (folder / f"{split}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    path = folder / f"{split}-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
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
