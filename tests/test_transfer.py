"""Trained on simulated events, tested on recordings too: of which digits, over which windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rows import row, training
from test_datasets import ROW, write_bin, write_mnist
from test_learning import case
from test_trials import rows_of, run

from harness.analysis import tables
from harness.datasets import Wanted, dvs_cifar10, load_recorded, load_splits, nmnist
from harness.datasets.events import Bins, bin_events
from harness.records import EndedRow, Row, TrainedRow, TransferRow
from harness.spec import Training, UsageError

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

LABELS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 0, 7]
WANTED = Wanted("nmnist", 3, simulated=True)


def quiet(fraction: float, doing: str) -> None:
    assert doing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """MNIST of a few digits, recordings of the second and the fifth to train, of one to test."""
    write_mnist(tmp_path, LABELS)
    write_mnist(tmp_path, LABELS[::-1], "t10k")
    for split, label, name in (("Train", 1, "00002"), ("Train", 5, "00005"), ("Test", 3, "00001")):
        write_bin(tmp_path / "NMNIST" / split / str(label) / f"{name}.bin", ROW, (4, 4, 9000, True))
    return tmp_path


def test_no_digit_is_trained_on_of_which_there_is_a_recording(root: Path) -> None:
    train, test = load_splits(replace(WANTED, root=root), None, quiet)
    rest = [label for n, label in enumerate(LABELS) if n not in (1, 4)]
    assert train.labels.tolist() == rest and test.labels.tolist() == LABELS[::-1]
    assert train.about.simulated and not train.about.substitute
    assert train.source.partial  # of MNIST's 60,000
    recorded = load_recorded(replace(WANTED, root=root), quiet)
    assert recorded is not None
    assert recorded.labels.tolist() == [1, 5, 3] and not recorded.about.simulated
    assert recorded.source.description == "N-MNIST recordings, 5 ms bins"
    assert recorded.raw.shape == (3, 3, 2, 34, 34) and recorded.raw.sum() == 6


def test_a_recording_of_another_digit_than_its_name_says_is_refused(root: Path) -> None:
    write_bin(root / "NMNIST" / "Train" / "7" / "00003.bin", ROW)
    with pytest.raises(UsageError, match="its name is not the place of its digit in MNIST"):
        load_splits(replace(WANTED, root=root), None, quiet)


def test_without_mnist_or_recordings_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lay MNIST there"):
        load_splits(replace(WANTED, root=tmp_path), None, quiet)
    assert load_recorded(replace(WANTED, root=tmp_path), quiet) is None
    with pytest.raises(UsageError, match="cifar10 has no recordings"):
        load_recorded(Wanted("cifar10", 1, root=tmp_path), quiet)


def test_whose_images_cannot_be_told_is_not_simulated_beside_its_recordings(tmp_path: Path) -> None:
    path = tmp_path / "CIFAR10DVS" / "ship" / "cifar10_ship_0.aedat4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="which images they are of is not known"):
        dvs_cifar10.unrecorded(tmp_path, "train", Bins(1))


@pytest.mark.parametrize("bins", [Bins(3), Bins(2, 30_000)])
def test_a_simulation_as_long_as_its_bins_has_the_frames_of_a_whole_one(
    root: Path, bins: Bins
) -> None:
    whole = nmnist.simulated(root, "train").read(0)
    short = nmnist.stand_in(root, "train", bins)
    frames = short.read(0)
    assert short.labels.tolist() == LABELS and frames.sum() > 0
    assert np.array_equal(frames, bin_events(whole, bins.count, (34, 34), bins.us))


def test_wider_bins_sum_the_frames_of_narrow_ones_and_the_description_says_so(root: Path) -> None:
    narrow = nmnist.stand_in(root, "train", Bins(12)).read(1)
    wide = nmnist.stand_in(root, "train", Bins(2, 30_000))
    assert np.array_equal(wide.read(1), narrow.reshape(2, 6, *narrow.shape[1:]).sum(1))
    assert wide.about.description == "simulated saccade events of MNIST's digits, 30 ms bins"


def test_a_training_on_simulated_events_is_tested_on_recordings_too(root: Path) -> None:
    given = case("nmnist", training=Training(1, simulated=True, bin_us=10_000))
    (ended,) = run((given,), root)
    assert not [each for each in ended.rows if isinstance(each, EndedRow)]
    (transfer,) = rows_of(root, TransferRow)
    (trained,) = rows_of(root, TrainedRow)
    assert transfer.key == trained.key and transfer.recorded_samples == 3
    assert transfer.recorded_source == "N-MNIST recordings, 10 ms bins"
    assert transfer.recorded_partial and transfer.bin_us == 10_000 and transfer.wants_simulated
    assert trained.data_simulated and trained.data_test_simulated
    run((replace(given, suite="scale"),), root)
    assert {each.suite for each in rows_of(root, TransferRow)} == {"accuracy", "scale"}
    plain = replace(given, training=Training(1))
    (other,) = run((plain,), root)  # the recordings themselves, of three classes
    assert "train sample is of class 0, 2" in other.rows[-1].to_json()


def test_the_accuracy_on_recordings_stands_beside_that_on_simulated_ones() -> None:
    rows: list[Row] = []
    for seed, accuracy in enumerate((0.4, 0.5, 0.6)):
        of: dict[str, Any] = {"suite": "accuracy", "dataset": "nmnist", "scale": "OurModel"}
        rows += training(seed, (0.9,), **of)
        (end,) = (each for each in rows if isinstance(each, TrainedRow) and each.seed == seed)
        added = vars(row(TransferRow, test_accuracy=accuracy))
        own = {name: added[name] for name in added if name not in vars(end) or name == "kind"}
        shared = {name: vars(end)[name] for name in added.keys() & vars(end).keys()}
        rows.append(TransferRow(**{**shared, **own, "test_accuracy": accuracy}))
    (line,) = tables.TABLES["accuracy"](rows).to_dict("records")
    assert line["accuracy"] == pytest.approx(0.9)
    assert line["recorded_accuracy"] == pytest.approx(0.5) and line["recorded_samples"] == "1100"
    assert line["recorded_low"] < 0.5 < line["recorded_high"]
    assert line["bin_ms"] == 5.0


def test_joined_samples_are_those_of_both_splits_in_order(root: Path) -> None:
    recorded = load_recorded(replace(WANTED, root=root, T=1), quiet)
    assert recorded is not None and torch.equal(recorded.labels, torch.tensor([1, 5, 3]))
    assert recorded.about.count == 3 and recorded.about.whole == 70_000
