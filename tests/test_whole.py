"""Whole data sets in memory: what is read once, cached, left out where damaged, and augmented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED, needs_shared
from numpy.typing import NDArray
from test_datasets import ROW, write_aedat4, write_bin, write_image, write_mnist

from harness.datasets import Wanted, cache, find, load_split, load_splits
from harness.datasets.augment import cropped_and_flipped
from harness.datasets.cache import Arrays
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def quiet(fraction: float, doing: str) -> None:
    assert 0 <= fraction <= 1 and doing


def digits(count: int, dataset: str = "cifar10") -> Wanted:
    return Wanted(dataset, T=3, samples=count, embedded=True)


def test_digits_as_images_are_bytes_that_batches_normalise() -> None:
    found = load_split(digits(20), "train", quiet)
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


def test_a_choice_of_samples_is_the_same_every_time_and_called_partial() -> None:
    whole = load_split(replace(digits(1), samples=None), "test", quiet)
    some = load_split(digits(30), "test", quiet)
    assert not whole.source.partial and some.source.partial
    rows = {bytes(image.numpy().tobytes()) for image in whole.raw}
    assert all(bytes(image.numpy().tobytes()) in rows for image in some.raw)


def test_a_damaged_recording_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "NMNIST" / "Train"
    write_bin(folder / "1" / "00001.bin", (3, 2, 0, True))
    bad = write_bin(folder / "2" / "00002.bin", (3, 2, 0, True))
    bad.write_bytes(b"123")
    wanted = Wanted("nmnist", T=2, root=tmp_path)
    for _ in range(2):  # read, then from the cache
        found = load_split(wanted, "train", quiet)
        assert found.labels.tolist() == [1]
        assert f"1 samples were left out: {bad} is damaged" in found.source.note
    write_bin(bad, (0, 0, 0, False))  # mended: the cache does not keep the damage
    mended = load_split(wanted, "train", quiet)
    assert mended.labels.tolist() == [1, 2] and "left out" not in mended.source.note


def test_where_nothing_can_be_read_the_first_reason_is_said(tmp_path: Path) -> None:
    bad = write_image(tmp_path / "cifar10" / "train" / "cat" / "1.png", side=31)
    with pytest.raises(UsageError, match=f"none of 1 samples could be read: {bad} is damaged"):
        load_split(Wanted("cifar10", T=1, root=tmp_path), "train", quiet)


def test_images_of_cifar10_are_augmented_and_the_reduced_copy_is_lossy(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar10" / "train" / "cat" / "1.jpg")
    found = load_split(Wanted("cifar10", T=1, root=tmp_path), "train", quiet)
    assert found.about.augmented and found.source.lossy and found.source.partial


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


def recorded(root: Path, split: str) -> None:
    write_bin(root / "NMNIST" / split.title() / "3" / "1.bin", ROW)
    write_image(root / "cifar10" / split / "cat" / "1.png")


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


def test_events_of_mnist_are_not_tested_on_those_of_other_digits(tmp_path: Path) -> None:
    write_mnist(tmp_path, [8])
    with pytest.raises(UsageError, match="not tested on simulated .* scikit-learn's digits"):
        load_splits(Wanted("nmnist", T=1, root=tmp_path), None, quiet)


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
    assert train.labels.tolist() == test.labels.tolist() == [3]
    assert not train.source.substitute and not test.source.substitute
    assert "1 of 10,000 test samples" in test.source.note


def test_a_single_recording_has_no_test_split_and_that_is_said(tmp_path: Path) -> None:
    write_aedat4(tmp_path / "CIFAR10DVS" / "cat" / "1.aedat4", ROW)
    assert find("dvs-cifar10", tmp_path).test is None
    with pytest.raises(UsageError, match="DVS-CIFAR10: .*no such test samples"):
        load_splits(Wanted("dvs-cifar10", T=1, root=tmp_path), None, quiet)


def entry(value: int = 7) -> Arrays:
    inputs: NDArray[np.uint8] = np.full((2, 1, 2, 2), value, np.uint8)
    labels = np.array([0, 1], np.int64)
    return Arrays(inputs, labels, cache.sha256(inputs, labels))


@pytest.mark.parametrize("part", ["inputs.npy", "labels.npy", "json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "pickle"])
def test_a_damaged_cache_is_named_and_made_again(part: str, damage: str, tmp_path: Path) -> None:
    cache.kept("key", entry)
    (file,) = (tmp_path / "cache").rglob(f"*.{part}")
    content = file.read_bytes()
    if damage == "gone":
        if part == "json":
            return  # then there is no entry
        file.unlink()
    elif damage == "pickle":
        np.save(file.with_suffix(".tmp.npy"), np.array([print], object), allow_pickle=True)
        file.write_bytes(file.with_suffix(".tmp.npy").read_bytes())
    else:
        middle = len(content) - 3
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else changed)
    found = cache.kept("key", entry)
    assert "was damaged" in found.note and str(tmp_path) in found.note
    assert (found.inputs == 7).all()
    assert cache.kept("key", lambda: entry(9)).note == ""  # sound again, and not made


def test_another_key_is_another_entry() -> None:
    assert (cache.kept("a", entry).inputs == 7).all()
    assert (cache.kept("b", lambda: entry(9)).inputs == 9).all()


def test_without_a_folder_for_it_nothing_is_cached_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    assert "not cached" in cache.kept("key", entry).note


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
