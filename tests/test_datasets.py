"""Data sets: what is found and read, what stands in for it, what is refused, what is cached."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import socket
import struct
import urllib.error
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
    Wanted,
    cifar10,
    data_root,
    find,
    load_batch,
    load_recordings,
    load_split,
    load_splits,
    loading,
)
from harness.datasets.augment import cropped_and_flipped
from harness.datasets.loading import Arrays
from harness.datasets.samples import Split, list_files, split_indices
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


def quiet(fraction: float, doing: str) -> None:
    assert 0 <= fraction <= 1 and doing


def refuse(*arguments: object, **options: object) -> None:
    raise AssertionError("the network was touched")


# the data root


def test_data_root_is_the_argument_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = data_root(None)
    assert cache == tmp_path / "cache" / "snn-harness" and not cache.exists()
    assert load_batch(Request("cifar10", 1, 1, root=cache)).source.substitute
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    (tmp_path / "other").mkdir()
    assert data_root(str(tmp_path / "other")) == tmp_path / "other"


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
    for lack in (
        "1 of 60,000 train samples found",
        "no test samples",
        "no train sample is of class",
    ):
        assert lack in found.problem


def test_a_row_does_not_name_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    note = load_batch(Request("cifar10", 1, 1, root=tmp_path)).source.note
    assert "not found under ~" in note and str(tmp_path) not in note


# images


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


def test_a_jpeg_does_not_pass_for_lossless(tmp_path: Path) -> None:
    lossy = write_image(tmp_path / "cifar10" / "train" / "cat" / "1.jpg")
    lossy.rename(lossy.with_suffix(".png"))
    with pytest.raises(UsageError, match="1.png is damaged .cannot identify image file"):
        load_batch(Request("cifar10", 1, 1, root=tmp_path))


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
    assert [path.name for path in listed.paths] == ["3.bin", "10.bin", "2.bin"]
    assert listed.labels.tolist() == [0, 1, 1] and listed.left_out == ()
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
    assert images.read(1)[0, :2, 0].tolist() == [0, 1]  # 3072 is 0 modulo 256
    (folder / "data_batch_1").write_bytes(content[:-1])
    with pytest.raises(UsageError, match="cifar-10-batches-py is damaged"):
        load_batch(Request("cifar10", 1, 2, root=tmp_path))
    assert "cifar-10-batches-py is damaged" in find("cifar10", tmp_path).problem


# whole splits


def digits(count: int, dataset: str = "cifar10") -> Wanted:
    return Wanted(dataset, T=3, samples=count, embedded=True)


def test_digits_as_images_are_bytes_that_batches_normalise() -> None:
    found = load_split(digits(20), "train", quiet)
    assert found.source.partial  # a choice of samples
    assert found.raw.dtype == torch.uint8 and found.raw.shape == (20, 3, 32, 32)
    assert found.source.substitute and not found.about.augmented
    (x, labels), (rest, _) = found.batches(5, 16)
    assert x.shape == (5, 16, 3, 32, 32) and x.stride(0) == 0 and rest.shape[1] == 4
    assert torch.equal(labels, found.labels[:16])
    assert abs(x.mean().item()) < 0.3 and 0.5 < x.std().item() < 1.5


@pytest.mark.parametrize("dataset", ["nmnist", "dvs-cifar10"])
def test_simulated_recordings_are_counted_once_and_then_come_from_the_cache(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_split(digits(3, dataset), "train", quiet)
    assert made.raw.dtype == torch.uint8 and made.raw.shape[:3] == (3, 3, 2)
    assert made.source.simulated and made.raw.sum() > 0
    monkeypatch.setattr("harness.datasets.simulated.simulate", None)  # it is not called again
    again = load_split(digits(3, dataset), "train", quiet)
    assert torch.equal(made.raw, again.raw) and made.source == again.source
    x, _ = next(again.batches(2, 3))  # the first steps of those that were kept
    assert torch.equal(x, made.raw[:, :2].transpose(0, 1).float())


def test_a_damaged_recording_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "NMNIST" / "Train"
    write_bin(folder / "1" / "00001.bin", (3, 2, 0, True))
    bad = write_bin(folder / "2" / "00002.bin", (3, 2, 0, True))
    bad.write_bytes(b"123")
    wanted = Wanted("nmnist", T=2, root=tmp_path)
    for _ in range(2):  # read, then from the cache
        found = load_split(wanted, "train", quiet)
        assert found.labels.tolist() == [1]
        assert f"left out: 1 of the samples: {bad} is damaged" in found.source.note
    write_bin(bad, (0, 0, 0, False))  # mended: the cache does not keep the damage
    mended = load_split(wanted, "train", quiet)
    assert mended.labels.tolist() == [1, 2] and "left out" not in mended.source.note


def test_where_nothing_can_be_read_the_first_reason_is_said(tmp_path: Path) -> None:
    bad = write_image(tmp_path / "cifar10" / "train" / "cat" / "1.png", side=31)
    with pytest.raises(UsageError, match=f"none of 1 samples could be read: {bad} is damaged"):
        load_split(Wanted("cifar10", T=1, root=tmp_path), "train", quiet)


def test_our_split_of_dvs_cifar10_is_kept_by_name(tmp_path: Path) -> None:
    names = [f"airplane/{n}.aedat4" for n in range(10)]
    for name in names:
        write_aedat4(tmp_path / "CIFAR10DVS" / name, (0, 0, 0, True))
    parts = [
        load_split(Wanted("dvs-cifar10", T=1, root=tmp_path), split, quiet)
        for split in ("train", "test")
    ]
    assert sorted([*parts[0].about.names, *parts[1].about.names]) == sorted(names)
    assert len(parts[1]) == 1 and len(parts[0].about.split_sha256) == 64


def recorded(root: Path, split: str, classes: str = "0123456789") -> None:
    """A recording and an image of each class, of which no other split has the same."""
    for n in map(int, classes):
        row = (n, 2 + (split == "test"), 1000, True)
        write_bin(root / "NMNIST" / split.title() / str(n) / "1.bin", row)
        colour = (20 * n, 255 * (split == "test"), 0)
        write_image(root / "cifar10" / split / cifar10.CLASSES[n] / "1.png", colour)


@pytest.mark.parametrize("dataset", ["nmnist", "cifar10", "dvs-cifar10"])
@pytest.mark.parametrize(("there", "missing"), [("train", "test"), ("test", "train")])
def test_a_network_is_not_tested_on_another_kind_of_data(
    dataset: str, there: str, missing: str, tmp_path: Path
) -> None:
    recorded(tmp_path, there)

    def read(fraction: float, doing: str) -> None:
        raise AssertionError("it was read")

    expected = f"the {there} samples are .*, and no such {missing} samples are under .*{tmp_path}"
    with pytest.raises(UsageError, match=expected) as error:
        load_splits(Wanted(dataset, T=1, root=tmp_path), 1, read)
    said = str(error.value)
    assert f"{find(dataset, tmp_path).title}: " in said and "was looked for" in said
    assert "to get the whole original" in said and "MiB" in said and "digits" in said
    embedded = Wanted(dataset, T=1, samples=3, root=tmp_path, embedded=True)
    assert [len(part) for part in load_splits(embedded, 2, quiet)] == [3, 2]


def test_recordings_are_not_tested_on_events_simulated_of_the_same_digits(tmp_path: Path) -> None:
    write_mnist(tmp_path, [8])  # the training images, here beside the recordings of the test
    recorded(tmp_path, "test")
    with pytest.raises(UsageError, match="no such train samples .* of MNIST's digits"):
        load_splits(Wanted("nmnist", T=1, root=tmp_path), None, quiet)


@pytest.mark.parametrize("dataset", ["nmnist", "cifar10"])
def test_splits_of_one_kind_are_read_each_with_its_source(dataset: str, tmp_path: Path) -> None:
    digits = load_splits(Wanted(dataset, T=1, samples=3, root=tmp_path), 2, quiet)
    assert [len(part) for part in digits] == [3, 2]
    for split in ("train", "test"):
        recorded(tmp_path, split)
    train, test = load_splits(Wanted(dataset, T=1, root=tmp_path), None, quiet)
    assert train.labels.tolist() == test.labels.tolist() == [*range(10)]
    assert not train.source.substitute and not test.source.substitute
    assert "10 of 10,000 test samples" in test.source.note


@pytest.mark.parametrize("dataset", ["nmnist", "cifar10"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_a_split_lacks_is_named_and_not_trained_without(
    dataset: str, split: Split, tmp_path: Path
) -> None:
    for each in ("train", "test"):
        recorded(tmp_path, each, "01245689" if each == split else "0123456789")
    names = "3, 7" if dataset == "nmnist" else "cat, horse"
    lacking = f"no {split} sample is of class {names}"
    with pytest.raises(UsageError, match=lacking):
        load_splits(Wanted(dataset, T=1, root=tmp_path), None, quiet)
    assert lacking in find(dataset, tmp_path).problem
    batch = load_batch(Request(dataset, 1, 2, split=split, root=tmp_path))  # it is timed
    assert lacking in batch.source.note


@pytest.mark.parametrize("copied", [10, 7])
def test_a_test_split_of_training_samples_is_refused(copied: int, tmp_path: Path) -> None:
    for split in ("train", "test"):
        recorded(tmp_path, split)
    for n in range(copied):
        for train, name in (
            ("NMNIST/Train", f"{n}/1.bin"),
            ("cifar10/train", f"{cifar10.CLASSES[n]}/1.png"),
        ):
            test = train.replace("Train", "Test").replace("train", "test")
            (tmp_path / test / name).write_bytes((tmp_path / train / name).read_bytes())
    for dataset in ("nmnist", "cifar10"):
        said = f"{copied} of 10 test samples are training samples too"
        with pytest.raises(UsageError, match=said):
            load_splits(Wanted(dataset, T=1, root=tmp_path), None, quiet)
    with pytest.raises(UsageError, match=f"{copied} of 10 test samples"):
        load_recordings(Wanted("nmnist", T=1, root=tmp_path), None, quiet)


def test_frames_of_few_events_that_are_alike_by_chance_are_no_copies(tmp_path: Path) -> None:
    for split in ("Train", "Test"):
        for n in range(40):
            row = (3, 2, 1000 * n, True)  # of every class, one pixel in the first 5 ms
            write_bin(tmp_path / "NMNIST" / split / str(n % 10) / f"{n}.bin", row)
    load_splits(Wanted("nmnist", T=1, root=tmp_path), None, quiet)  # it refuses nothing


def entry(value: int = 7) -> Arrays:
    parts = np.full((2, 1, 2, 2), value, np.uint8), np.array([0, 1], np.int64)
    return Arrays(parts, loading.sha256(*parts), ("one was damaged",))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle"])
def test_a_damaged_cache_is_named_and_made_again(damage: str, tmp_path: Path) -> None:
    assert loading.cached("key", entry).note == ""
    (file,) = (tmp_path / "cache").rglob("*.npz")
    content = file.read_bytes()
    if damage == "pickle":
        np.savez(file, np.array([print], object))
    elif damage == "flipped":
        place = content.index(bytes([7] * 8))
        file.write_bytes(content[:place] + b"\x08" + content[place + 1 :])
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    found = loading.cached("key", entry)
    assert "was damaged" in found.note and str(tmp_path) in found.note
    assert (found.parts[0] == 7).all()
    again = loading.cached("key", lambda: entry(9))  # sound again, and not made
    assert (again.parts[0] == 7).all()
    assert (again.note, again.damaged) == ("", ("one was damaged",))
    assert (loading.cached("other", lambda: entry(9)).parts[0] == 9).all()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    assert "not cached" in loading.cached("key", entry).note


def test_crops_show_black_borders_and_flips_mirror() -> None:
    image = torch.arange(1, 3 * 32 * 32 + 1, dtype=torch.int32).reshape(3, 32, 32) % 255 + 1
    images = image.to(torch.uint8).expand(64, 3, 32, 32)
    out = cropped_and_flipped(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape and out.dtype == torch.uint8
    again = cropped_and_flipped(images, torch.Generator().manual_seed(0))
    assert torch.equal(out, again)
    padded = torch.nn.functional.pad(images[0], (4,) * 4)
    both = [padded.unfold(1, 32, 1).unfold(2, 32, 1)[:, y, x] for y in range(9) for x in range(9)]
    both += [each.flip(2) for each in both]
    assert all(any(torch.equal(one, each) for each in both) for one in out)
    assert len({one.numpy().tobytes() for one in out}) > 30


@needs_shared
def test_real_recordings_are_all_read(tmp_path: Path) -> None:
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, SHARED / "data" / "unpack.py", tmp_path / "data"],
        check=True,
        capture_output=True,
    )
    wanted = Wanted("nmnist", T=10, root=tmp_path / "data")
    found = load_split(wanted, "test", quiet)
    assert len(found) == 100 and found.source.partial and not found.source.simulated
    assert found.raw.max() < 255  # no count is cut
