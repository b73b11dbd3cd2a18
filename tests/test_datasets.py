"""Data sets: what is found and read, what stands in for it, what is refused, what is cached.

Whatever lies in a data set's folder, the sound samples are used and the rest is named in a sentence
that can be printed and stored.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import socket
import struct
import sys
import urllib.error
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tonic.datasets
import torch
import torchvision
from fuzzing import spoilt, steady
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from recordings import (
    LABELS,
    ROW,
    events_of,
    quiet,
    recording,
    with_mnist,
    write_aedat4,
    write_bin,
    write_image,
    write_mnist,
)
from surroundings import SHARED, needs_shared

from harness.datasets import (
    DATASETS,
    DOWNLOAD_MIB,
    CachedArrays,
    SplitRequest,
    cached_arrays,
    data_root,
    dvs_cifar10,
    find,
    load_batch,
    load_recorded_frames,
    load_recordings,
    load_split,
    load_splits,
    nmnist,
    sha256,
)
from harness.datasets.events import Bins, bin_events, reduced
from harness.datasets.images import cifar10, cropped_and_flipped, read_image
from harness.datasets.samples import SampleInfo, Split, list_files, split_indices
from harness.datasets.simulated import Camera, closed_loop, saccades, shifted, simulate
from harness.spec import UsageError
from harness.spec.paper import CIFAR10_CLASSES, SETTINGS

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def images(root: Path, name: str = "1.png", kind: str = "cat", split: str = "train") -> Path:
    return root / "cifar10" / split / kind / name


# the data root, and what is asked for


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        pytest.param("/etc/passwd", "passwd.*is no folder", id="a file"),
        pytest.param("~nobody-of-that-name", "home", id="of no user"),
    ],
)
def test_the_data_root_is_the_argument_then_the_variable_then_the_cache_and_a_folder(
    root: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = data_root(None)
    assert cache == tmp_path / "cache" / "snn-harness" and not cache.exists()
    with pytest.raises(UsageError, match=reason):
        load_batch("cifar10", 1, 1, root=Path(root))
    monkeypatch.setenv("HARNESS_DATA", root)
    with pytest.raises(UsageError, match=f"HARNESS_DATA.*{reason}"):
        data_root(None)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    (tmp_path / "other").mkdir()
    assert data_root(str(tmp_path / "other")) == tmp_path / "other"


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(UsageError, match="'mnist', choose from cifar10, nmnist, dvs-cifar10"):
        load_batch("mnist", 1, 1)
    with pytest.raises(UsageError, match="batch of 181 .* 180 samples"):
        load_batch("cifar10", 1, 181, split="test")
    with pytest.raises(UsageError, match="cifar10 has no recordings"):
        load_recordings(SplitRequest("cifar10", 1), None, quiet)


# without any data


@pytest.mark.parametrize("dataset", SETTINGS)
def test_without_data_the_digits_stand_in_and_the_seed_draws_the_batch(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS[dataset]
    batch, same, other = (load_batch(dataset, 4, 5, seed, root=tmp_path) for seed in (0, 0, 1))
    assert batch.inputs.shape == (4, 5, *settings.input_shape)
    assert batch.inputs.dtype == torch.float32 and batch.labels.dtype == torch.int64
    assert (batch.inputs.stride(0) == 0) == settings.static
    source = batch.source
    assert source.samples == 1617  # nine tenths of 1,797
    assert source.substitute and source.simulated != settings.static
    assert "scikit-learn's digits" in source.description
    assert str(tmp_path) in source.note and str(tmp_path) not in source.description
    assert f"{DOWNLOAD_MIB[dataset]:,} MiB" in source.note
    assert source.sha256 == same.source.sha256 != other.source.sha256
    once = batch.inputs[0].contiguous() if settings.static else batch.inputs
    content = once.numpy().tobytes() + batch.labels.numpy().tobytes()
    assert source.sha256 == hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("HOME", str(tmp_path))  # which no row names
    note = load_batch(dataset, 4, 5, root=tmp_path).source.note
    assert "not found under ~" in note and str(tmp_path) not in note


# downloads


@pytest.mark.parametrize(
    ("dataset", "downloader", "error"),
    [
        ("cifar10", "torchvision.datasets.CIFAR10", urllib.error.URLError("no route")),
        ("nmnist", "tonic.datasets.NMNIST", RuntimeError("no route: hash")),
        ("dvs-cifar10", "tonic.datasets.CIFAR10DVS", TimeoutError("no route, timed out")),
    ],
    ids=SETTINGS,
)
def test_a_failed_download_is_a_note_and_none_is_tried_unasked(
    dataset: str, downloader: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float | None] = []

    def fail(*arguments: object, **options: object) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr(downloader, fail)
    load_batch(dataset, 1, 1)
    assert timeouts == []
    source = load_batch(dataset, 1, 1, download=True).source
    assert timeouts == [10] and socket.getdefaulttimeout() is None and source.substitute
    assert re.match(f"the download failed: {type(error).__name__}: .*no route", source.note)


def test_a_download_is_read_and_what_is_there_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_image(images(tmp_path))
    assert not load_batch("cifar10", 1, 1, root=tmp_path, download=True).source.substitute

    def fetch(save_to: str, train: bool) -> None:
        print("Downloading")
        write_bin(recording(Path(save_to), 7, split="Train" if train else "Test"), ROW)

    monkeypatch.setattr(tonic.datasets, "NMNIST", fetch)
    batch = load_batch("nmnist", 1, 1, split="test", download=True)
    assert batch.labels.tolist() == [7] and not batch.source.substitute


# what the doctor says


def test_find_says_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    nothing = find("nmnist", tmp_path)
    assert (nothing.train, nothing.test) == (None, None)
    assert "NMNIST/{Train,Test}/<label>/*.bin" in nothing.problem
    write_bin(recording(tmp_path), ROW)
    present = find("nmnist", tmp_path)
    assert str(present.train) == f"1 of 60,000: N-MNIST recordings, in {tmp_path / 'NMNIST'}"
    for lack in ("1 of 60,000 train samples", "no test samples", "no train sample is of class"):
        assert lack in present.problem


# images


def test_images_are_normalised_by_channel_and_a_jpeg_is_lossy_and_wins(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar10-lossless" / "train" / "truck" / "1.png", (255, 0, 51))
    batch = load_batch("cifar10", 3, 1, root=tmp_path)
    red, green, blue = (1 - 0.4914) / 0.2470, -0.4822 / 0.2435, (0.2 - 0.4465) / 0.2616
    expected = torch.tensor([red, green, blue])[:, None, None].expand(3, 32, 32)
    torch.testing.assert_close(batch.inputs[2, 0], expected)  # float32 of the same sums
    source = batch.source
    assert batch.labels.tolist() == [9] and source.description == "CIFAR-10 images"
    assert source.partial and not (source.lossy or source.substitute)
    assert "1 of 50,000 train samples" in source.note
    path = write_image(images(tmp_path, "1.JPG"))
    lossy = load_batch("cifar10", 1, 1, root=tmp_path).source
    assert (lossy.description, lossy.lossy) == ("CIFAR-10 images (lossy copy)", True)
    path.rename(path.with_suffix(".png"))  # which does not pass for lossless
    with pytest.raises(UsageError, match="1.png is damaged .cannot identify image file"):
        load_batch("cifar10", 1, 1, root=tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_and_one_of_another_size_are_named(suffix: str, tmp_path: Path) -> None:
    path = write_image(images(tmp_path, f"1.{suffix}"))
    path.write_bytes(path.read_bytes()[:-30])  # the last 20 of a PNG are no pixels
    damaged = rf"1\.{suffix} is damaged"
    for match in (rf"{damaged}.*delete it or extract it again", "16x16 pixels, expected 32x32"):
        with pytest.raises(UsageError, match=match):
            load_batch("cifar10", 1, 1, root=tmp_path)
        write_image(path, side=16)
    with pytest.raises(UsageError, match=rf"none of 1 samples could be read: .*{damaged}"):
        load_split(SplitRequest("cifar10", T=1, root=tmp_path), "train", quiet)


def test_files_are_listed_by_class_and_name_and_one_that_goes_then_is_named(tmp_path: Path) -> None:
    for name in ("b/2.bin", "b/10.bin", "a/3.bin", "a/._3.bin", "a/3.txt"):
        write_bin(tmp_path / name)
    listed = list_files(tmp_path, "ab", (".bin",), SampleInfo("bins", 0, 3))
    assert [path.name for path in listed.all()] == ["3.bin", "10.bin", "2.bin"]
    assert listed.labels.tolist() == [0, 1, 1] and listed.info == SampleInfo("bins", 3, 3)
    write_bin(tmp_path / "c" / "1.bin")
    with pytest.raises(UsageError, match="c is no class folder, expected a, b"):
        list_files(tmp_path, "ab", (".bin",), SampleInfo("bins", 0, 3))
    first, _ = (write_image(images(tmp_path, f"{n}.png")) for n in (1, 3))
    train = cifar10(tmp_path, "train")
    assert train is not None
    fingerprint = train.fingerprint()
    first.unlink()
    assert train.fingerprint() != fingerprint and train.read(1).shape == (3, 32, 32)
    with pytest.raises(UsageError, match="1.png is damaged"):
        train.read(0)


@pytest.mark.parametrize("base", [".", "cifar10"])
def test_torchvisions_folder(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / base / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    # numpy of 2009 pickled align=0, of which numpy 2.4 warns
    content = pickle.dumps({"data": pixels, "labels": [4, 6]}, protocol=2)
    content, replaced = re.subn(rb"(?s)(u1q.)\x89\x88\x87", b"\\1K\0K\x01\x87", content)
    assert replaced == 1
    meta = pickle.dumps({"label_names": list(CIFAR10_CLASSES)})
    for name, text in (("data_batch_1", content), ("test_batch", content), ("batches.meta", meta)):
        (folder / name).write_bytes(text)
    md5 = hashlib.md5(content).hexdigest()
    dataset = torchvision.datasets.CIFAR10
    monkeypatch.setattr(dataset, "train_list", [["data_batch_1", md5]])
    monkeypatch.setattr(dataset, "test_list", [["test_batch", md5]])
    hashed = hashlib.md5(meta).hexdigest()
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": hashed})
    assert sorted(load_batch("cifar10", 1, 2, root=tmp_path).labels.tolist()) == [4, 6]
    samples = cifar10(tmp_path, "train")
    assert samples and samples.read(1)[0, 0, :2].tolist() == [0, 1]  # 3072 is 0 modulo 256
    (folder / "data_batch_1").write_bytes(content[:-1])
    with pytest.raises(UsageError, match="cifar-10-batches-py is damaged"):
        load_batch("cifar10", 1, 2, root=tmp_path)
    assert "cifar-10-batches-py is damaged" in find("cifar10", tmp_path).problem


def test_crops_show_black_borders_and_flips_mirror() -> None:
    image = torch.arange(1, 3 * 32 * 32 + 1, dtype=torch.int32).reshape(3, 32, 32) % 255 + 1
    images = image.to(torch.uint8).expand(64, 3, 32, 32)
    out, again = (cropped_and_flipped(images, torch.Generator().manual_seed(0)) for _ in range(2))
    assert out.shape == images.shape and out.dtype == torch.uint8 and torch.equal(out, again)
    padded = torch.nn.functional.pad(images[0], (4,) * 4)
    crops = [padded.unfold(1, 32, 1).unfold(2, 32, 1)[:, y, x] for y in range(9) for x in range(9)]
    plain = [any(torch.equal(picture, crop) for crop in crops) for picture in out]
    mirrored = [any(torch.equal(picture, crop.flip(2)) for crop in crops) for picture in out]
    assert all(a != b for a, b in zip(plain, mirrored, strict=True))
    assert any(plain) and any(mirrored)
    assert len({picture.numpy().tobytes() for picture in out}) > 30


# events


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
    expected[1, 1, 2, 3] = expected[1, 0, 1, 0] = 1
    frames = bin_events(events, 2, (3, 4))
    assert frames.dtype == np.uint8 and np.array_equal(frames, expected)
    assert not bin_events(events[:0], 2, (3, 4)).any()
    assert bin_events(np.repeat(events[:1], 300), 1, (3, 4)).max() == 255  # it does not wrap


def test_recordings_become_frames(tmp_path: Path) -> None:
    write_bin(recording(tmp_path), ROW, (33, 0, 7000, False))
    batch = load_batch("nmnist", 2, 1, root=tmp_path)
    assert batch.inputs.nonzero().tolist() == [[0, 0, 1, 2, 3], [1, 0, 0, 0, 33]]
    assert batch.labels.tolist() == [3]
    source = batch.source
    assert source.description == "N-MNIST recordings, 5 ms bins" and source.partial
    assert not (source.simulated or source.substitute)


def test_dvs_recordings_are_reduced_with_stride_3(tmp_path: Path) -> None:
    edge = events_of((125, 3, 0, True), (126, 3, 0, True), (3, 126, 0, True), (3, 127, 0, True))
    assert reduced(edge, (128, 128))[["x", "y"]].tolist() == [(41, 1)]
    rows = [(1, 2, 9000, True), (126, 5, 9000, False), (5, 126, 9000, True)]
    path = tmp_path / "CIFAR10DVS" / "dog" / "1.aedat4"
    write_aedat4(path, *rows, (125, 123, 14000, False))
    batch = load_batch("dvs-cifar10", 2, 1, root=tmp_path)
    assert batch.inputs.nonzero().tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 41, 41]]
    assert batch.labels.tolist() == [5]
    assert batch.source.description == "DVS-CIFAR10 recordings, 5 ms bins"
    write_aedat4(path, stream="IMUS")
    with pytest.raises(UsageError, match=f"{path} is damaged .it holds no events"):
        load_batch("dvs-cifar10", 2, 1, root=tmp_path)


@pytest.mark.parametrize(("dataset", "package"), [("nmnist", "tonic"), ("dvs-cifar10", "aedat")])
def test_without_their_reader_events_are_simulated_and_the_note_says_why(
    dataset: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bin(recording(tmp_path), ROW)
    write_aedat4(tmp_path / "CIFAR10DVS" / "cat" / "1.aedat4", ROW)
    monkeypatch.setitem(sys.modules, package, None)
    source = load_batch(dataset, 1, 1, root=tmp_path).source
    assert source.simulated
    for note in (source.note, find(dataset, tmp_path).problem):
        assert f"package {package}" in note and "pip install 'snn-harness[events]'" in note


# simulated events


def test_an_edge_that_moves_a_pixel_makes_its_log_ratio_of_events() -> None:
    image = np.array([[1.0, 1.0, 0.0, 0.0]] * 2)
    camera = Camera(threshold=1.0, eps=0.1, spread=0)  # log(1.1 / 0.1) = 2.398: two events
    rightward = simulate(image, np.array([(0.0, 0.0), (1.0, 0.0)]), camera)
    assert rightward[["x", "y", "p"]].tolist() == [(2, 0, True), (2, 1, True)] * 2
    # thresholds are crossed at 1 / 2.398 and 2 / 2.398 of the millisecond
    assert rightward["t"].tolist() == [417, 417, 834, 834]
    leftward = simulate(image, np.array([(0.0, 0.0), (-1.0, 0.0)]), camera)
    assert leftward[["x", "p"]].tolist() == [(1, False)] * 4
    there_and_back = simulate(image, np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 0.0)]), camera)
    assert there_and_back["p"].tolist() == [True] * 4 + [False] * 4
    # 2.398 above the first level, the last reference at 2: down to 1 and to 0
    assert there_and_back["t"].tolist() == [417, 417, 834, 834, 1583, 1583, 2000, 2000]


def test_images_move_by_parts_of_a_pixel_on_closed_smooth_paths() -> None:
    image = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert shifted(image, np.array([1.0, 0.0]))[1].tolist() == [0, 0, 1]
    assert shifted(image, np.array([0.0, 0.25]))[:, 1].tolist() == [0, 0.75, 0.25]
    for path, largest in ((saccades(), 0.15), (closed_loop(200), 0.32)):
        assert path[0] == pytest.approx(path[-1], abs=1e-9)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < largest
    assert len(saccades()) == 316  # three of 105 ms
    # a closed path takes every pixel back, and a blank image makes no event
    camera = Camera(0.1, 0.1, spread=0)
    events = simulate(np.random.default_rng(0).uniform(size=(16, 16)), saccades(), camera)
    assert events["p"].sum() * 2 == len(events) > 1000
    assert len(simulate(np.full((8, 8), 0.5), saccades(), camera)) == 0


def test_without_recordings_events_are_simulated_from_the_same_images(tmp_path: Path) -> None:
    write_mnist(tmp_path, [8])
    write_image(images(tmp_path, "1.jpg", "ship"))
    digit, ship = (load_batch(name, 4, 1, root=tmp_path) for name in ("nmnist", "dvs-cifar10"))
    assert digit.source.description == "simulated saccade events of MNIST's digits, 5 ms bins"
    assert "closed-loop events of CIFAR-10 images (lossy copy)" in ship.source.description
    assert (digit.labels.item(), ship.labels.item()) == (8, 8) and digit.inputs.sum() > 0
    assert all(batch.source.simulated and not batch.source.substitute for batch in (digit, ship))
    assert ship.source.lossy


@needs_shared
def test_real_recordings_are_read_and_simulated_ones_resemble_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(SHARED / "data" / "nmnist" / "train.zip") as archive:
        archive.extractall(tmp_path / "NMNIST", archive.namelist()[:30])
    with zipfile.ZipFile(SHARED / "data" / "mnist_raw.zip") as archive:
        archive.extractall(tmp_path / "MNIST" / "raw")
    simulated = nmnist.simulated(tmp_path, "train")
    counts: list[tuple[int, int]] = []
    # how alike they are: where, when and of which polarity
    windows = {"whole": (12, 25_000), "first 50 ms": (10, 5_000)}
    alike: dict[str, list[float]] = {window: [] for window in windows}
    for path in (tmp_path / "NMNIST").rglob("*.bin"):
        real, index = nmnist.read_recording(path), int(path.stem) - 1  # 00001.bin is digit 0
        events = simulated.read(index)
        assert str(simulated.labels[index]) == path.parent.name
        assert 300_000 < events["t"][-1] < 315_000
        for window, (count, us) in windows.items():
            both = [bin_events(part, count, (34, 34), us) for part in (events, real)]
            assert both[1].max() < 255  # no count is cut
            ours, theirs = (part.flatten() for part in both)
            alike[window].append(np.corrcoef(ours, theirs)[0, 1])
        counts.append((len(events), len(real)))
    ours, theirs = np.mean(counts, axis=0)
    assert ours == pytest.approx(theirs, rel=0.15)
    assert np.mean(alike["whole"]) > 0.7  # 0.0 with ON for OFF
    assert np.mean(alike["first 50 ms"]) > 0.55  # 0.5 where x and y move as one


# trained on simulated events, tested on recordings


def test_no_digit_is_trained_on_of_which_there_is_a_recording(tmp_path: Path) -> None:
    request = SplitRequest("nmnist", 3, simulated=True, root=with_mnist(tmp_path))
    train, test = load_splits(request, None, quiet)
    unrecorded = [label for n, label in enumerate(LABELS) if n not in (1, 4)]
    assert train.labels.tolist() == unrecorded and test.labels.tolist() == LABELS[::-1]
    assert train.info.simulated and not train.info.substitute
    assert train.source.partial  # of MNIST's 60,000
    frames = load_recorded_frames(request, quiet)
    assert frames and frames.labels.tolist() == [1, 5, 3] and not frames.info.simulated
    assert frames.source.description == "N-MNIST recordings, 5 ms bins"
    assert frames.raw.shape == (3, 3, 2, 34, 34) and frames.raw.sum() == 6
    assert frames.info.count == 3 and frames.info.whole == 70_000
    write_bin(recording(tmp_path, 7, "00003"), ROW)  # of another digit
    (tmp_path / "empty").mkdir()
    for root, reason in (
        (tmp_path, "its name is not the place of its digit in MNIST"),
        (tmp_path / "empty", "lay MNIST there"),
    ):
        with pytest.raises(UsageError, match=reason):
            load_splits(replace(request, root=root), None, quiet)
    assert load_recorded_frames(replace(request, root=tmp_path / "empty"), quiet) is None


@pytest.mark.parametrize("bins", [Bins(3), Bins(2, 30_000)], ids=["5 ms", "30 ms"])
def test_a_simulation_as_long_as_its_bins_has_all_frames(tmp_path: Path, bins: Bins) -> None:
    whole = nmnist.simulated(with_mnist(tmp_path), "train").read(0)
    short = DATASETS["nmnist"].frames(nmnist.simulated(tmp_path, "train", bins), bins)
    frames, ms = short.read(0), bins.us // 1000
    assert short.labels.tolist() == LABELS and frames.sum() > 0
    assert np.array_equal(frames, bin_events(whole, bins.count, (34, 34), bins.us))
    assert short.info.description == f"simulated saccade events of MNIST's digits, {ms} ms bins"


# whole splits


@pytest.mark.parametrize("dataset", ["nmnist", "dvs-cifar10"])
def test_simulations_are_counted_once(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = SplitRequest(dataset, T=3, samples=3, embedded=True)
    first = load_split(request, "train", quiet)
    assert first.raw.dtype == torch.uint8 and first.raw.shape[:3] == (3, 3, 2)
    assert first.source.simulated and first.raw.sum() > 0
    monkeypatch.setattr("harness.datasets.simulated.simulate", None)  # it is not called again
    again = load_split(request, "train", quiet)
    assert torch.equal(first.raw, again.raw) and first.source == again.source
    x, _ = next(again.batches(2, 3))  # the first steps of those that were kept
    assert torch.equal(x, first.raw[:, :2].transpose(0, 1).float())


def test_our_split_is_named_by_a_hash_and_its_parts_share_no_sample(tmp_path: Path) -> None:
    parts = split_indices(10_000, "train"), split_indices(10_000, "test")
    assert [*map(len, parts)] == [9_000, 1_000]
    assert sorted([*parts[0], *parts[1]]) == list(range(10_000))
    for n in range(10):
        write_aedat4(tmp_path / f"CIFAR10DVS/airplane/{n}.aedat4", (0, 0, 0, True))
    request = SplitRequest("dvs-cifar10", T=1, root=tmp_path)
    train, test = load_split(request, "train", quiet), load_split(request, "test", quiet)
    assert (len(train), len(test)) == (9, 1)
    named = {part.info.split_sha256 for part in (train, test)}
    assert len(named) == 2 and {*map(len, named)} == {64}


def recorded(root: Path, split: str, classes: str = "0123456789") -> None:
    """A recording and an image of each class, of which no other split has the same."""
    for n in map(int, classes):
        rows = [(n, k + (split == "test"), 100 * k, True) for k in range(20)]
        write_bin(recording(root, n, "1", split.title()), *rows)
        colour = (20 * n, 255 * (split == "test"), 1)
        write_image(images(root, kind=CIFAR10_CLASSES[n], split=split), colour)


@pytest.mark.parametrize("dataset", ["nmnist", "cifar10", "dvs-cifar10"])
@pytest.mark.parametrize(
    ("there", "missing"), [("train", "test"), ("test", "train")], ids=["no test", "no train"]
)
def test_no_test_on_another_kind(dataset: str, there: str, missing: str, tmp_path: Path) -> None:
    recorded(tmp_path, there)

    def read(fraction: float, doing: str) -> None:
        raise AssertionError("it was read")

    expected = f"the {there} samples are .*, and no such {missing} samples are under .*{tmp_path}"
    with pytest.raises(UsageError, match=expected) as error:
        load_splits(SplitRequest(dataset, T=1, root=tmp_path), 1, read)
    for word in (find(dataset, tmp_path).title, "was looked for", "to get the whole original"):
        assert word in str(error.value)
    embedded = SplitRequest(dataset, T=1, samples=3, root=tmp_path, embedded=True)
    assert [len(part) for part in load_splits(embedded, 2, quiet)] == [3, 2]
    write_mnist(tmp_path, [8], "train" if missing == "train" else "t10k")
    if dataset == "nmnist":  # nor on events that are simulated of the same digits
        with pytest.raises(UsageError, match=f"no such {missing} samples .* of MNIST's digits"):
            load_splits(SplitRequest(dataset, T=1, root=tmp_path), 1, read)


@pytest.mark.parametrize("dataset", ["nmnist", "cifar10"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_a_split_lacks_is_named(dataset: str, split: Split, tmp_path: Path) -> None:
    for name in ("train", "test"):
        recorded(tmp_path, name, "01245689" if name == split else "0123456789")
    names = "3, 7" if dataset == "nmnist" else "cat, horse"
    lacking = f"no {split} sample is of class {names}"
    with pytest.raises(UsageError, match=lacking):
        load_splits(SplitRequest(dataset, T=1, root=tmp_path), None, quiet)
    assert lacking in find(dataset, tmp_path).problem
    batch = load_batch(dataset, 1, 2, split=split, root=tmp_path)  # it is timed
    assert lacking in batch.source.note


@pytest.mark.parametrize(
    ("copied", "twice"), [(10, False), (7, False), (10, True)], ids=["all", "some", "doubles"]
)
def test_a_test_split_of_copies_is_refused(copied: int, twice: bool, tmp_path: Path) -> None:
    for split in ("train", "test"):
        recorded(tmp_path, split)
    for dataset in ("nmnist", "cifar10"):
        train, test = load_splits(SplitRequest(dataset, T=1, root=tmp_path), None, quiet)
        assert train.labels.tolist() == test.labels.tolist() == [*range(10)]
        assert "10 of 10,000 test samples" in test.source.note and not test.source.substitute
    for n, kind in enumerate(CIFAR10_CLASSES[:copied]):
        shutil.copy(recording(tmp_path, n, "1"), recording(tmp_path, n, "1", "Test"))
        shutil.copy(images(tmp_path, kind=kind), images(tmp_path, kind=kind, split="test"))
        if twice:  # the training split has doubles itself
            shutil.copy(recording(tmp_path, n, "1"), recording(tmp_path, n, "2"))
            shutil.copy(images(tmp_path, kind=kind), images(tmp_path, "2.png", kind))
    refusal = f"of 10 test samples that were compared {copied} are training samples too"
    for dataset in ("nmnist", "cifar10"):
        with pytest.raises(UsageError, match=refusal):
            load_splits(SplitRequest(dataset, T=1, root=tmp_path), None, quiet)
    with pytest.raises(UsageError, match=refusal):
        load_recordings(SplitRequest("nmnist", T=1, root=tmp_path), None, quiet)


@pytest.mark.parametrize(("copied", "refused"), [(2, False), (3, True)], ids=["five", "more"])
def test_five_in_a_thousand_test_samples_may_be_training_samples(
    copied: int, refused: bool, tmp_path: Path
) -> None:
    for split, n in product(("Train", "Test"), range(400)):
        differs = split == "Test" and n >= copied  # of the other polarity
        rows = [(n % 34, n // 34 + k, k, differs) for k in range(20)]
        write_bin(recording(tmp_path, n % 10, str(n), split), *rows)
    with pytest.raises(UsageError, match="400 test samples .* 3 are") if refused else nullcontext():
        load_splits(SplitRequest("nmnist", T=1, root=tmp_path), None, quiet)


def test_frames_of_few_events_are_alike_by_chance_and_hide_no_copies(tmp_path: Path) -> None:
    request, splits = SplitRequest("nmnist", T=1, root=tmp_path), ("Train", "Test")
    for split, n in product(splits, range(400)):
        write_bin(recording(tmp_path, n % 10, str(n), split), (3, 2, 0, True))
    load_splits(request, None, quiet)  # it refuses nothing
    for split, n in product(splits, range(2)):
        rows = [(n, k, k, True) for k in range(20)]
        write_bin(recording(tmp_path, n, "copied", split), *rows)
    with pytest.raises(UsageError, match="of 2 test samples that were compared 2 are"):
        load_splits(request, None, quiet)


OVERFLOW = (0, 240, 0, False)  # says that the clock has started anew, and is no event
DAMAGE: dict[str, Callable[[Path], object]] = {
    "3 bytes, expected a multiple of 5": lambda path: path.write_bytes(b"123"),
    "lie off its pixels": lambda path: write_bin(path, ROW, (34, 0, 2000, True)),
    "time goes back": lambda path: write_bin(path, ROW, (3, 2, 999, True)),
    "holds no events": lambda path: write_bin(path, OVERFLOW),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_recording_is_left_out_by_name(reason: str, tmp_path: Path) -> None:
    """Cut short, or such as no camera makes."""
    write_bin(recording(tmp_path, 1), ROW)
    write_bin(recording(tmp_path, 2), OVERFLOW, ROW, ROW)  # two events in a microsecond may be
    bad = write_bin(recording(tmp_path, 3), ROW)
    DAMAGE[reason](bad)
    request = SplitRequest("nmnist", T=1, root=tmp_path)
    for _ in range(2):  # read, then from the cache
        sound = load_split(request, "train", quiet)
        assert sound.labels.tolist() == [1, 2]
        assert f"left out: 1 of the samples: {bad} is damaged (" in sound.source.note
        assert reason in sound.source.note
    write_bin(bad, ROW)  # mended: the cache does not keep the damage
    mended = load_split(request, "train", quiet)
    assert mended.labels.tolist() == [1, 2, 3] and str(bad) not in mended.source.note
    longer = load_split(replace(request, T=3), "train", quiet)
    assert longer.raw.shape[1] == 3  # fewer frames are in the cache


@pytest.mark.parametrize("x", [128, -1])
def test_a_dvs_recording_that_no_camera_made_is_damaged(x: int, tmp_path: Path) -> None:
    path = write_aedat4(tmp_path / "1.aedat4", ROW, (x, 0, 2000, True))
    with pytest.raises(UsageError, match="is damaged .1 of 2 events lie off"):
        dvs_cifar10.read_recording(path)


# what is no file, and what may not be read


def test_a_folder_that_may_not_be_read_is_not_taken_for_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bin(recording(tmp_path)).parent

    def refusing(listed: Callable[[Path], object], path: Path) -> object:
        if Path(path) == folder:  # root may read anything
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    for name in ("listdir", "scandir"):  # of which Path.iterdir calls one
        monkeypatch.setattr(os, name, partial(refusing, getattr(os, name)))
    with pytest.raises(UsageError, match=f"{folder} cannot be read .Permission denied"):
        load_batch("nmnist", 1, 1, root=tmp_path)


# files that were cut short or changed


def read_mnist(path: Path) -> object:
    digits = nmnist.mnist(path.parents[2], "train")
    assert digits is not None
    return digits.read(0)


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "recording": (lambda folder: write_bin(folder / "1.bin", ROW, ROW), nmnist.read_recording),
    "aedat4": (lambda folder: write_aedat4(folder / "1", ROW, ROW), dvs_cifar10.read_recording),
    "image": (lambda folder: write_image(folder / "1.png"), lambda path: read_image(path, 32)),
    "mnist": (lambda folder: write_mnist(folder, [8, 1]), read_mnist),
}


@pytest.mark.parametrize("kind", READERS)
@steady
@given(data=st.data())
def test_a_spoilt_file_is_read_or_named(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write, read = READERS[kind]
    path = write(tmp_path_factory.mktemp("spoilt"))
    whole = path.read_bytes()
    if kind == "aedat4":  # where its sizes are changed the reader takes all memory, and aborts
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    else:
        path.write_bytes(data.draw(spoilt(whole)))
    try:
        read(path)
    except UsageError as error:
        assert str(path) in str(error) and "is damaged" in str(error)


def test_mnist_of_another_shape_is_damage(tmp_path: Path) -> None:
    labels = write_mnist(tmp_path, [8, 1])
    path = labels.with_name("train-images-idx3-ubyte")
    pixels = path.read_bytes()[16:]
    for header in ((2051, 1, 28, 28), (2051, 4, 28, 14), (2049, 2 * 28 * 28), ()):
        path.write_bytes(struct.pack(f">{len(header)}I", *header) + pixels)
        with pytest.raises(UsageError, match=f"{path} is damaged"):
            read_mnist(labels)


def entry(value: int = 7) -> CachedArrays:
    parts = np.full((2, 1, 2, 2), value, np.uint8), np.array([0, 1], np.int64)
    return CachedArrays(parts, sha256(*parts), ("one was damaged",))


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_cache_is_named_and_made_again(damage: str, tmp_path: Path) -> None:
    assert cached_arrays("key", entry, quiet).note == ""
    (file,) = (tmp_path / "cache").rglob("*.npz")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.write_bytes(file.read_bytes().replace(bytes([7] * 8), bytes([8] + [7] * 7), 1))
    remade = cached_arrays("key", entry, quiet)
    assert "was damaged" in remade.note and str(tmp_path) in remade.note
    again = cached_arrays("key", lambda: entry(9), quiet)  # sound again, and not made
    assert (again.parts[0] == 7).all()
    assert (again.note, again.damaged) == ("", ("one was damaged",))


def test_a_user_without_a_home_folder_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(*arguments: object) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(Path, "home", unknown)
    missing = find("cifar10", tmp_path)  # as with XDG_CACHE_HOME alone
    assert f"not found under {tmp_path}" in missing.problem
    monkeypatch.setattr("platformdirs.user_cache_dir", unknown)
    with pytest.raises(UsageError, match="could not determine the home directory"):
        data_root(None)


@pytest.mark.parametrize("dangles", [True, False])
def test_a_link_that_leads_to_no_file_is_left_out_by_name(dangles: bool, tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.symlink_to(path.parent / "nowhere" if dangles else path)

    path = recording(tmp_path)
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(UsageError, match=f"no sample in .* can be used: left out: 1 .*{path}"):
        load_split(SplitRequest("nmnist", T=1, root=tmp_path), "train", quiet)
    folder = write_image(images(tmp_path)).parent
    make(folder / "0.png")
    make(folder.parent / "dog")  # the name of a class
    whole = load_split(SplitRequest("cifar10", T=1, root=tmp_path), "train", quiet)
    batch = load_batch("cifar10", 1, 1, root=tmp_path)
    assert whole.labels.tolist() == batch.labels.tolist() == [3]
    for note in (whole.source.note, batch.source.note, find("cifar10", tmp_path).problem):
        assert note.count(f"left out: 1 that are no files, such as {folder}/0.png") == 1


def test_an_image_of_odd_metadata_is_read_without_a_warning(tmp_path: Path) -> None:
    path = images(tmp_path)
    path.parent.mkdir(parents=True)
    odd = PngInfo()
    odd.add(b"acTL", bytes(8))  # an animation of no frames
    Image.new("RGB", (32, 32)).save(path, pnginfo=odd)
    assert load_batch("cifar10", 1, 1, root=tmp_path).labels.tolist() == [3]
