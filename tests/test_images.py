"""Images of CIFAR-10: what is read of them, and what is damage."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from test_datasets import write_bin, write_image

from harness.datasets import (
    Request,
    cifar10,
    find,
    load_batch,
)
from harness.datasets.files import list_files
from harness.spec import UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


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
    before = images.origin()
    (folder / os.fsdecode(b"\xff")).symlink_to("nowhere")  # what else lies there is of no matter
    assert images.origin() != before
    (folder / "data_batch_1").write_bytes(content[:-1])
    with pytest.raises(UsageError, match="cifar-10-batches-py is damaged"):
        load_batch(Request("cifar10", 1, 2, root=tmp_path))
    assert "cifar-10-batches-py is damaged" in find("cifar10", tmp_path).problem
