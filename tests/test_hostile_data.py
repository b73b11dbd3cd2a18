"""Whatever lies in a data set's folder, the sound samples are used and the rest is named in a
sentence that can be printed and stored.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_datasets import ROW, quiet, write_aedat4, write_bin, write_image, write_mnist
from test_hostile import spoilt, steady

from harness.datasets import (
    Request,
    Wanted,
    cifar10,
    data_root,
    dvs_cifar10,
    find,
    load_batch,
    load_split,
    loading,
    mnist,
    nmnist,
)
from harness.datasets.images import read_image
from harness.datasets.loading import Arrays
from harness.spec import UsageError
from harness.system.files import printable

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine", "nothing_waits_for_ever")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.parent / "nowhere"),
        lambda path: path.symlink_to(path),
        os.mkfifo,
    ],
)
def test_what_is_no_file_is_named_and_the_others_are_read(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    folder = tmp_path / "cifar10" / "train" / "cat"
    write_image(folder / "1.png")
    make(folder / "0.png")
    make(folder.parent / "dog")  # the name of a class
    make(folder.parent / "notes")  # of none
    whole = load_split(Wanted("cifar10", T=1, root=tmp_path), "train", quiet)
    batch = load_batch(Request("cifar10", 1, 1, root=tmp_path))
    assert whole.labels.tolist() == batch.labels.tolist() == [3]
    for note in (whole.source.note, batch.source.note, find("cifar10", tmp_path).problem):
        assert "left out: 2 of the samples" in note
        assert note.count(f"{folder}/0.png") == note.count(f"{folder.parent}/dog") == 1


def test_where_nothing_can_be_used_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "NMNIST" / "Train" / "3" / "1.bin"
    path.mkdir(parents=True)
    with pytest.raises(UsageError, match=f"none of the samples .* can be used: {path}"):
        load_split(Wanted("nmnist", T=1, root=tmp_path), "train", quiet)
    assert str(path) in find("nmnist", tmp_path).problem


@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
def test_a_name_that_is_no_utf8_is_a_name(dataset: str, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    for name, label in ((odd, 3), ("1", 4)):
        kind = cifar10.CLASSES[label]
        write_image(tmp_path / "cifar10" / "train" / kind / f"{name}.png")
        write_bin(tmp_path / "NMNIST" / "Train" / str(label) / f"{name}.bin", ROW)
        for n in range(5):  # one of them is in the test split
            write_aedat4(tmp_path / "CIFAR10DVS" / kind / f"{n}{name}.aedat4", ROW)
    found = load_split(Wanted(dataset, T=1, root=tmp_path), "train", quiet)
    assert 4 in found.labels.tolist()
    assert (3 in found.labels.tolist()) or r"\udcff" in found.source.note
    assert json.loads(json.dumps(found.source.note).encode()) == found.source.note


def test_a_data_root_that_is_no_utf8_can_be_named(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"\xfe")
    bad = write_image(root / "cifar10" / "train" / "cat" / "1.png", side=16)
    write_image(root / "cifar10" / "train" / "cat" / "2.png")
    found = load_split(Wanted("cifar10", T=1, root=root), "train", quiet)
    assert len(found) == 1 and printable(bad) in found.source.note
    for text in (found.source.note, str(find("cifar10", root).train), find("nmnist", root).problem):
        text.encode()


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    path = write_image(tmp_path / "\x1b[2J\n.png", side=16)
    with pytest.raises(UsageError, match=r"/\\x1b\[2J\\n\.png is damaged"):
        read_image(path, (32, 32))


def test_a_file_that_goes_after_it_was_listed(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "train" / "cat"
    for name in "13":
        write_image(folder / f"{name}.png")
    images = cifar10.images(tmp_path, "train")
    assert images is not None
    before = images.origin()
    (folder / "1.png").unlink()
    assert images.origin() != before
    with pytest.raises(UsageError, match="1.png is damaged"):
        images.read(0)
    assert images.read(1).shape == (32, 32, 3)


def test_files_too_large_for_one_sample_are_not_read(tmp_path: Path) -> None:
    path = write_mnist(tmp_path, [8])
    with path.open("r+b") as file:
        file.truncate(2**40)  # it is sparse
    readers = (nmnist.read_recording, dvs_cifar10.read_recording)
    for read in (*readers, lambda path: read_image(path, (32, 32))):
        with pytest.raises(UsageError, match="of one sample"):
            read(path)
    with pytest.raises(UsageError, match="of one sample"):
        mnist.images(tmp_path, "train")


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("~nobody-of-that-name", "is in no known home, name a folder"),
        ("/" + "x" * 300, "cannot be read .File name too long., name a folder"),
        ("/" + "x/" * 5000, "cannot be read .File name too long., name a folder"),
        (os.fsdecode(b"/\xff"), r"root /\\udcff .* does not exist"),
    ],
)
def test_a_data_root_that_cannot_be_is_one_sentence(
    root: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=said):
        data_root(root)
    monkeypatch.setenv("HARNESS_DATA", root)
    with pytest.raises(UsageError, match=said):
        data_root(None)


# files that were cut short or changed


@pytest.mark.parametrize(
    "header",
    [
        *((2051, 2**32 - 1, 28, 28), (2051, 0, 28, 28), (2051, 2, 28, 27), (2051, 3, 28, 28)),
        *((2051, 1, 28, 28), (2049, 2 * 28 * 28 + 8), (2**31 + 2051, 2, 28, 28), (0,), ()),
    ],
)
def test_a_header_of_mnist_that_is_wrong_is_damage(header: tuple[int, ...], tmp_path: Path) -> None:
    write_mnist(tmp_path, [8, 1])
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(f">{len(header)}I", *header) + path.read_bytes()[16:])
    with pytest.raises(UsageError, match=f"{path} is damaged|labels.* is damaged .2 labels of 0"):
        mnist.images(tmp_path, "train")


def png(folder: Path) -> Path:
    path = folder / "1.png"
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(path)
    return path


def read_mnist(path: Path) -> object:
    found = mnist.images(path.parents[2], "train")
    assert found is not None
    return found.read(0)


READERS = {
    "recording": (
        lambda folder: write_bin(folder / "1.bin", ROW, (4, 4, 9000, True)),
        nmnist.read_recording,
    ),
    "aedat4": (
        lambda folder: write_aedat4(folder / "1.aedat4", ROW, (126, 5, 9000, False)),
        dvs_cifar10.read_recording,
    ),
    "image": (png, lambda path: read_image(path, (32, 32))),
    "mnist": (lambda folder: write_mnist(folder, [8, 1]), read_mnist),
}


@pytest.mark.parametrize("kind", READERS)
@settings(steady, max_examples=40)
@given(data=st.data())
def test_a_spoilt_file_is_read_or_named(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write, read = READERS[kind]
    path = write(tmp_path_factory.mktemp("spoilt"))
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        read(path)
    except UsageError as error:
        assert str(path) in str(error) and "is damaged" in str(error)


@settings(steady, max_examples=60)
@given(data=st.data())
def test_a_spoilt_cache_is_the_same_or_made_again(data: st.DataObject, tmp_path: Path) -> None:
    def made() -> Arrays:
        parts = np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4), np.array([3, 1])
        return Arrays(parts, loading.sha256(*parts))

    for former in (tmp_path / "cache").rglob("*.npz"):  # of the last example
        former.unlink()
    loading.cached("key", made)
    (path,) = (tmp_path / "cache").rglob("*.npz")
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    found = loading.cached("key", made)
    for one, other in zip(found.parts, made().parts, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
