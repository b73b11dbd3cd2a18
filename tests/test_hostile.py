"""Whatever a file or a command says, the answer is a result or one sentence: no code is run, no
other error, nothing written elsewhere.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rows import ROW
from test_cli import call
from test_datasets import write_aedat4, write_bin
from test_learning import saved

from harness.datasets import cache, dvs_cifar10, nmnist
from harness.datasets.batch import sha256
from harness.datasets.cache import Arrays
from harness.datasets.download import attempt
from harness.datasets.images import read_image
from harness.records import Store
from harness.records.store import LONGEST_LINE
from harness.spec import UsageError, paper
from harness.training import checkpoint

# deterministic, and no example takes long: a hang is a failure
steady = settings(
    derandomize=True,
    deadline=5000,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file cut short, with bits flipped, or with bytes put in its place."""
    how = draw(st.sampled_from(["cut", "flip", "splice", "replace"]))
    place = draw(st.integers(0, max(0, len(whole) - 1)))
    match how:
        case "cut":
            return whole[:place]
        case "flip":
            flipped = bytearray(whole)
            for _ in range(draw(st.integers(1, 8))):
                flipped[draw(st.integers(0, len(whole) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "splice":
            return whole[:place] + draw(st.binary(max_size=64)) + whole[place:]
        case _:
            return draw(st.binary(max_size=256))


@pytest.fixture(autouse=True)
def _nothing_written_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


PIECES = st.sampled_from(
    ["8C3(Encoding)", "8C3", "AP2", "16FC", "Voting", "-", "--", "(", ")", "C", "é", "0", "9" * 30]
    + ["8C3\nAP2"]
)
NOTATIONS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=60).map("-".join))


@steady
@given(NOTATIONS)
def test_notation(text: str) -> None:
    try:
        name, network = paper.network(text, "cifar10")
    except UsageError as error:
        assert "\n" not in str(error)
        return
    if name == "custom":
        assert paper.network(str(network), "cifar10")[1] == network


def test_a_notation_of_endless_layers_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="layers"):
        paper.network("8C3(Encoding)-" + "8C3-" * 10**6 + "Voting", "cifar10")


OPTIONS = ["--suite", "--frameworks", "--networks", "--datasets", "--steps", "--seeds", "--width"]
OPTIONS += ["--epochs", "--samples", "--batch-size", "--budget", "--neunorm", "--init"]
OPTIONS += ["--executor", "--precision"]
# what a shell can pass: no NUL, no lone surrogates
SHELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
WORDS = st.one_of(SHELL, st.just("two\nlines"))


@settings(steady, max_examples=60)
@given(arguments=st.lists(st.tuples(st.sampled_from(OPTIONS), WORDS), max_size=5))
def test_command_line(
    arguments: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word for pair in arguments for word in pair]
    if any("--help" in word for word in words):
        return
    capsys.readouterr()
    code = call(monkeypatch, "run", "--suite", "scale", *words, "--device", "abacus")
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("harness: ") and "Traceback" not in said.err
    assert said.err.count("\n") == 1


@settings(steady, max_examples=60)
@given(content=spoilt((ROW.to_json() + "\n").encode() * 3))
def test_records(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records" / "acceleration.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    rows, damaged = Store(tmp_path).read()
    lines = [line for line in content.split(b"\n") if line.strip()]
    assert len(rows) + len(damaged) == len(lines)
    assert all(len(str(each)) < 1000 for each in damaged)


def test_a_row_of_endless_depth_or_length_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "records" / "acceleration.jsonl"
    path.parent.mkdir()
    good = ROW.to_json()
    path.write_text(f"{'[' * 500_000}\n{good}\n{'x' * (3 * LONGEST_LINE)}\n{good}\n")
    rows, damaged = Store(tmp_path).read()
    assert len(rows) == 2 and [each.line for each in damaged] == [1, 3]


MADE = Arrays(np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4), np.array([3, 1]), "")
SOUND = Arrays(MADE.inputs, MADE.labels, sha256(MADE.inputs, MADE.labels))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@steady
@given(part=st.sampled_from(["inputs.npy", "labels.npy", "json"]), data=st.data())
def test_cached_arrays(part: str, data: st.DataObject, tmp_path: Path) -> None:
    cache.kept("key", lambda: SOUND)
    (path,) = (tmp_path / "cache" / "snn-harness" / "arrays").glob(f"*.{part}")
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    found = cache.kept("key", lambda: SOUND)
    assert np.array_equal(found.inputs, SOUND.inputs)
    assert np.array_equal(found.labels, SOUND.labels)


def test_a_cached_array_that_tells_of_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    cache.kept("key", lambda: SOUND)
    (path,) = (tmp_path / "cache" / "snn-harness" / "arrays").glob("*.inputs.npy")
    header = path.read_bytes()
    path.write_bytes(header.replace(b"(2, 3, 4, 4)", b"(2" + b"0" * 9 + b",)"))
    assert "damaged" in cache.kept("key", lambda: SOUND).note


@steady
@given(content=st.binary(max_size=100))
def test_recordings(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "1.bin"
    path.write_bytes(content)
    try:
        nmnist.read_recording(path)
    except UsageError as error:
        assert str(error).startswith(f"{path} is damaged")


@settings(steady, max_examples=25, deadline=20_000)
@given(data=st.data())
def test_recordings_whose_reader_may_abort(data: st.DataObject, tmp_path: Path) -> None:
    path = write_aedat4(tmp_path / "1.aedat4", (1, 2, 9000, True), (126, 5, 9000, False))
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        dvs_cifar10.read_recording(path)
    except UsageError as error:
        assert str(error).startswith(f"{path} is damaged")


def test_files_too_large_for_one_sample_are_not_read(tmp_path: Path) -> None:
    path = write_bin(tmp_path / "1.bin", (1, 1, 1, True))
    with path.open("r+b") as file:
        file.truncate(2**40)  # it is sparse
    for read in (nmnist.read_recording, dvs_cifar10.read_recording):
        with pytest.raises(UsageError, match="of one sample"):
            read(path)
    with pytest.raises(UsageError, match="of one sample"):
        read_image(path, (32, 32))


@st.composite
def images(draw: st.DrawFn) -> bytes:
    form = draw(st.sampled_from(["PNG", "JPEG", "BMP", "GIF"]))
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(file, form)
    return draw(spoilt(file.getvalue()))


@settings(steady, max_examples=60)
@given(content=images())
def test_images(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(content)
    try:
        assert read_image(path, (32, 32)).shape == (32, 32, 3)
    except UsageError as error:
        assert str(error).startswith(f"{path} is damaged")


def test_an_image_that_would_fill_the_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    Image.new("RGB", (32, 32)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is damaged"):
        read_image(path, (32, 32))


@settings(steady, max_examples=30)
@given(data=st.data())
def test_checkpoints(data: st.DataObject, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    whole = path.read_bytes()
    path.write_bytes(data.draw(spoilt(whole)))
    try:
        checkpoint.load(path, {"T": "4"}, 9)
    except UsageError as error:
        assert str(error).startswith(str(path))


def test_a_checkpoint_that_would_unfold_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    bomb = tmp_path / "b.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(UsageError, match="compressed"):
        checkpoint.load(bomb, {"T": "4"}, 9)


def _tar(path: Path, member: tarfile.TarInfo, content: bytes = b"evil") -> Path:
    member.size = len(content) if member.isreg() else 0
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


# "ABSOLUTE" stands for a place elsewhere, named from the root
NAMES = ["../evil", "ABSOLUTE", "a/../../evil", "..", "a/../../../home/evil"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_archives_write_nothing_outside_their_folder(
    name: str, kind: bytes, tmp_path: Path
) -> None:
    inside, elsewhere = tmp_path / "deep" / "inside", tmp_path / "elsewhere"
    for folder in (inside, elsewhere):
        folder.mkdir(parents=True)
    place = name.replace("ABSOLUTE", str(elsewhere / "evil"))
    member = tarfile.TarInfo(place if kind == tarfile.REGTYPE else "link")
    member.type, member.linkname = kind, place
    archive = _tar(tmp_path / "a.tar", member)
    before = set(tmp_path.rglob("*"))

    def fetch() -> None:
        with tarfile.open(archive) as opened:
            opened.extractall(inside)  # as torchvision does

    said = attempt(fetch)
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(inside)}
    assert outside | {inside} == before
    made = [path for path in inside.rglob("*") if path.is_symlink() or path.is_file()]
    if name == "ABSOLUTE" and kind == tarfile.REGTYPE:
        # a file named from the root is taken as one named from the folder
        assert said == ""
        assert made == [inside / str(elsewhere / "evil").lstrip("/")]
    else:
        assert said.startswith("the download failed")
        assert made == []


def test_torch_has_run_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "evil.pt"
    torch.save({"version": 2, "identity": Evil()}, path)
    with pytest.raises(UsageError, match="is damaged"):
        checkpoint.load(path, {}, 9)
    assert not (tmp_path / "ran").exists()
