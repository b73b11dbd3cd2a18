"""Whatever lies in a data set's folder, the sound samples are used, the rest is named in a sentence
that can be printed and stored, and no process is left behind.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_datasets import ROW, write_aedat4, write_bin, write_image, write_mnist
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
    mnist,
    nmnist,
)
from harness.datasets.files import list_files
from harness.datasets.images import read_image
from harness.spec import UsageError
from harness.system.files import printable

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine", "nothing_waits_for_ever")


def quiet(fraction: float, doing: str) -> None:
    assert 0 <= fraction <= 1 and doing


# what is no sample


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def looping(path: Path) -> None:
    path.symlink_to(path)


def device(path: Path) -> None:
    path.symlink_to(os.devnull)


def bound(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's address is short
    try:
        with socket.socket(socket.AF_UNIX) as each:
            each.bind(path.name)
    finally:
        os.chdir(here)


ODD: list[tuple[Callable[[Path], object], str]] = [
    (dangling, "a broken link (No such file or directory)"),
    (looping, "a broken link (Too many levels of symbolic links)"),
    (os.mkfifo, "a pipe"),
    (bound, "a socket"),
    (device, "a device"),
]


@pytest.mark.parametrize(("make", "kind"), ODD)
def test_what_is_no_file_is_named_and_the_others_are_read(
    make: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cifar10" / "train" / "cat"
    write_image(folder / "1.png")
    make(folder / "0.png")
    make(folder.parent / "dog")  # the name of a class
    make(folder.parent / "notes")  # of none
    whole = load_split(Wanted("cifar10", T=1, root=tmp_path), "train", quiet)
    batch = load_batch(Request("cifar10", 1, 1, root=tmp_path))
    assert whole.labels.tolist() == batch.labels.tolist() == [3]
    expected = (
        f"2 samples were left out: {folder}/0.png is {kind}, expected a file; "
        f"{folder.parent}/dog is {kind}, expected a folder"
    )
    for note in (whole.source.note, batch.source.note, find("cifar10", tmp_path).problem):
        assert note.count(expected) == 1


@pytest.mark.parametrize("dataset", ["cifar10", "nmnist", "dvs-cifar10"])
def test_a_name_that_is_no_utf8_is_escaped_and_the_others_are_read(
    dataset: str, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"\xff")
    for name in (odd, "1"):
        write_image(tmp_path / "cifar10" / "train" / "cat" / f"{name}.png")
        write_bin(tmp_path / "NMNIST" / "Train" / "3" / f"{name}.bin", ROW)
        write_aedat4(tmp_path / "CIFAR10DVS" / "cat" / f"{name}.aedat4", ROW)
    found = load_split(Wanted(dataset, T=1, root=tmp_path), "train", quiet)
    assert found.labels.tolist() == [3]
    assert r"1 samples were left out: the name " in found.source.note
    assert r"/\udcff." in found.source.note
    assert json.loads(json.dumps(found.source.note).encode()) == found.source.note
    found.source.note.encode()  # no lone surrogates


def test_a_data_root_that_is_no_utf8_can_be_named(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"\xfe")
    bad = write_image(root / "cifar10" / "train" / "cat" / "1.png", side=16)
    write_image(root / "cifar10" / "train" / "cat" / "2.png")
    found = load_split(Wanted("cifar10", T=1, root=root), "train", quiet)
    assert len(found) == 1 and printable(bad) in found.source.note
    for text in (found.source.note, str(find("cifar10", root).train), find("nmnist", root).problem):
        text.encode()
    write_bin(root / "NMNIST" / "Train" / "ten" / "1.bin", ROW)
    with pytest.raises(UsageError, match=r"\\udcfe/NMNIST/Train/ten is no class folder"):
        load_split(Wanted("nmnist", T=1, root=root), "train", quiet)


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    path = write_image(tmp_path / "\x1b[2J\n.png", side=16)
    with pytest.raises(UsageError, match=r"/\\x1b\[2J\\n\.png is damaged"):
        read_image(path, (32, 32))


def test_where_nothing_can_be_used_that_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "NMNIST" / "Train" / "3"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "1.bin")
    expected = f"none of the samples in {folder.parent} can be used: {folder}/1.bin is a pipe"
    with pytest.raises(UsageError, match=expected):
        load_split(Wanted("nmnist", T=1, root=tmp_path), "train", quiet)
    assert expected in find("nmnist", tmp_path).problem


def test_a_class_folder_that_must_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.bin", "b/1.bin"):
        write_bin(tmp_path / name)
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path == tmp_path / "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listed = list_files(tmp_path, "ab", (".bin",))
    assert [each.label for each in listed.samples] == [0]
    assert listed.left_out == (f"{tmp_path / 'b'} cannot be read (Permission denied)",)


def test_a_file_that_goes_or_becomes_a_pipe_after_it_was_listed(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "train" / "cat"
    for name in "123":
        write_image(folder / f"{name}.png")
    images = cifar10.images(tmp_path, "train")
    assert images is not None
    before = images.origin()
    for name in "12":
        (folder / f"{name}.png").unlink()
    os.mkfifo(folder / "2.png")
    assert images.origin() != before
    with pytest.raises(UsageError, match="1.png is damaged .No such file"):
        images.read(0)
    with pytest.raises(UsageError, match="2.png is damaged .it is a pipe"):
        images.read(1)
    assert images.read(2)[1] == 3


def test_no_reader_opens_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    readers = (nmnist.read_recording, dvs_cifar10.read_recording)
    for read in (*readers, lambda path: read_image(path, (32, 32))):
        with pytest.raises(UsageError, match="it is a pipe, expected a file"):
            read(path)


def test_an_image_that_is_postscript_starts_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 10\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it has not looked for it yet
    path = tmp_path / "1.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n%%EOF\n")
    with pytest.raises(UsageError, match="1.png is damaged .cannot identify"):
        read_image(path, (32, 32))
    assert not (tmp_path / "started").exists()


# the data root


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
    with pytest.raises(UsageError, match=said) as error:
        data_root(root)
    assert "(--data-root)" in str(error.value)
    monkeypatch.setenv("HARNESS_DATA", root)
    with pytest.raises(UsageError, match=said) as error:
        data_root(None)
    assert "(HARNESS_DATA)" in str(error.value)


# MNIST's files


HUGE = 2**32 - 1


@pytest.mark.parametrize(
    "header",
    [
        *((2051, HUGE, 28, 28), (2051, HUGE, HUGE, HUGE), (2051, 0, 28, 28), (2051, 2, 28, 27)),
        *((2051, 3, 28, 28), (2051, 1, 28, 28), (2051, 1, 56, 28), (2049, 2 * 28 * 28 + 8)),
        *((2048 + 256 * 6 + 3, 2, 28, 28), (2**31 + 2051, 2, 28, 28), (2054, 2, 28, 28), (0,), ()),
    ],
)
def test_a_header_of_mnist_that_lies_is_damage(header: tuple[int, ...], tmp_path: Path) -> None:
    write_mnist(tmp_path, [8, 1])
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(f">{len(header)}I", *header) + path.read_bytes()[16:])
    with pytest.raises(UsageError, match=f"{path} is damaged|labels.* is damaged .2 labels of 0"):
        mnist.images(tmp_path, "train")


@settings(steady, max_examples=60)
@given(name=st.sampled_from(["images-idx3", "labels-idx1"]), data=st.data())
def test_spoilt_files_of_mnist(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("mnist")
    write_mnist(root, [8, 1])
    path = root / "MNIST" / "raw" / f"train-{name}-ubyte"
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        found = mnist.images(root, "train")
    except UsageError as error:
        assert "-ubyte is damaged" in str(error)
    else:
        assert found is not None and found.read(0)[0].shape == (28, 28)


def test_mnist_too_large_for_it_is_not_read(tmp_path: Path) -> None:
    labels = write_mnist(tmp_path, [8])
    with labels.open("r+b") as file:
        file.truncate(2**40)  # it is sparse
    with pytest.raises(UsageError, match=f"{labels} is damaged .{2**40} bytes"):
        mnist.images(tmp_path, "train")
