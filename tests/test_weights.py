"""Weights that are kept: files by their hash, named in rows, loaded again or refused."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import pytest
import torch
import trainings
from rows import altered
from safetensors.torch import load_file, save
from torch import Tensor
from trainings import case, data, rows_of

from harness.conformance import small
from harness.datasets import load_batch
from harness.formats import weights
from harness.jobs import verify
from harness.jobs.local import Local
from harness.records import EndedResult, Store, TrainedResult
from harness.reference.network import ReferenceNetwork
from harness.spec import Access, Case, Network, Reading, Timing, Training, UsageError, paper
from harness.speed.judge import Judge
from harness.training import epoch

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


DAMAGED = (b"", b"text", b"\x10\0\0\0\0\0\0\0{}")


def parameters(network: Network) -> list[Tensor]:
    return [p.detach() for p in ReferenceNetwork(network).parameters()]


def run(case: Case, out: Path, *, keep: bool = True) -> None:
    trainings.run((case,), out, keep=keep)


@pytest.mark.parametrize("neunorm", [None, "mean"])
@pytest.mark.parametrize(("dataset", "scale"), [*product(paper.SETTINGS, paper.SCALES)])
def test_a_file_has_the_parameters_of_the_adapter_contract_in_order(
    dataset: str, scale: str, neunorm: Reading | None, tmp_path: Path
) -> None:
    network = small(dataset, scale, neunorm)
    drawn = parameters(network)
    path = weights.path_of(tmp_path, weights.keep(tmp_path, weights.encode(network, drawn)))
    read = load_file(path)
    for (name, shape), p in zip(weights.parameter_shapes(network).items(), drawn, strict=True):
        assert tuple(read[name].shape) == shape and torch.equal(read[name], p)


def test_the_same_weights_are_the_same_file_and_come_back(tmp_path: Path) -> None:
    network = small("cifar10", neunorm="literal")
    drawn = parameters(network)
    last = torch.channels_last
    others = [p.to(memory_format=last) if p.dim() == 4 else p for p in drawn]
    (content,) = {weights.encode(network, tensors) for tensors in (drawn, others)}
    sha256 = weights.keep(tmp_path, content)
    path = tmp_path / "weights" / f"{sha256}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert all(map(torch.equal, weights.load_kept(tmp_path, sha256, network), drawn))
    whole = path.read_bytes()
    for changed in (whole[:-4], whole[:-1] + b"\x01"):
        path.write_bytes(changed)
        with pytest.raises(UsageError, match="has been changed"):
            weights.load_kept(tmp_path, sha256, network)
    path.unlink()
    with pytest.raises(UsageError, match="its initial weights are missing"):
        weights.load_kept(tmp_path, sha256, network)


def test_what_is_no_file_of_the_networks_weights_is_refused_with_the_place(tmp_path: Path) -> None:
    network, other = small("cifar10"), small("cifar10", "Middle")
    named = dict(zip(weights.parameter_shapes(network), parameters(network), strict=True))
    of_other = weights.encode(other, parameters(other))
    for content, sentence in (
        (of_other, r"w\.safetensors: .*it is of 16C3\(Encoding\)"),
        (save({**named, "more": torch.zeros(1)}), "more is"),
        (
            save({**named, "1.bias": torch.full((16,), float("nan"))}),
            "1.bias holds values that are no fl",
        ),
        (
            save({**named, "1.bias": named["1.bias"].half()}),
            "1.bias holds values that are no float32",
        ),
        *((damage, r"w\.safetensors is no file of weights, or a damaged") for damage in DAMAGED),
    ):
        path = tmp_path / "w.safetensors"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            weights.load(path, network)
    with pytest.raises(UsageError, match="is no file"):
        weights.load(tmp_path, network)


def test_what_was_trained_without_is_kept_from_its_checkpoint(tmp_path: Path) -> None:
    small_case = case()
    run(small_case, tmp_path, keep=False)
    assert not (tmp_path / "weights").exists()
    run(small_case, tmp_path)
    first, second = rows_of(tmp_path, TrainedResult)
    sha256, network = second.result.kept_weights_sha256, small_case.workload.network
    assert sha256 is not None
    assert altered(second, kept_weights_sha256=None, time=first.time, run=first.run) == first
    first_weights = weights.load_kept(tmp_path, sha256, network)
    run(small_case, tmp_path)  # all is there
    assert len(rows_of(tmp_path, TrainedResult)) == 2
    weights.path_of(tmp_path, sha256).unlink()
    run(small_case, tmp_path)  # the file alone was gone
    assert len(rows_of(tmp_path, TrainedResult)) == 2
    again = weights.load_kept(tmp_path, sha256, network)
    assert all(map(torch.equal, first_weights, again))
    assert rows_of(tmp_path, EndedResult) == []


def test_a_damaged_checkpoint_is_named_and_a_lost_one_is_trained_anew(tmp_path: Path) -> None:
    small_case = case()
    run(small_case, tmp_path, keep=False)
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    run(small_case, tmp_path)
    (end,) = rows_of(tmp_path, EndedResult)
    assert "is damaged" in end.result.reason and "--fresh" in end.result.reason
    path.unlink()
    run(small_case, tmp_path)
    first, second = (row.result for row in rows_of(tmp_path, TrainedResult))
    assert second.kept_weights_sha256 and second.test_accuracy == first.test_accuracy


def from_file(out: Path) -> tuple[Training, list[Tensor]]:
    """A case whose initial weights are kept in the folder."""
    network = case().workload.network
    torch.manual_seed(5)
    drawn = parameters(network)
    sha256 = weights.keep(out, weights.encode(network, drawn))
    return case(weights_sha256=sha256), drawn


def test_trainings_and_cells_begin_with_their_cases_weights(tmp_path: Path) -> None:
    from_weights, drawn = from_file(tmp_path)
    parts = data()
    learner = epoch.begin(from_weights, parts, tmp_path)
    assert all(map(torch.equal, learner.module.parameters(), drawn))
    # whose drawing leaves the seeds of all else as they were
    other = epoch.begin(altered(from_weights, weights_sha256=None), parts)
    assert not torch.equal(next(other.module.parameters()), drawn[0])
    timed = Timing(
        suite="acceleration", workload=from_weights.workload, contender=from_weights.contender,
        device=from_weights.device, optimiser=from_weights.optimiser,
    )  # fmt: skip
    batch = load_batch(timed.workload.dataset, timed.workload.T, 4)
    module, _ = Judge(timed.cell, batch, batch, tmp_path).weights(is_late=False)
    assert all(map(torch.equal, module.parameters(), drawn))


@pytest.mark.parametrize(("folder", "verdict"), [("weights", "confirmed"), ("none", "not tested")])
def test_a_training_is_verified_with_the_weights_that_it_began_with(
    folder: str, verdict: str, tmp_path: Path
) -> None:
    from_weights, _ = from_file(tmp_path)
    run(from_weights, tmp_path)
    where = Access(tmp_path), lambda case: None, lambda *_: None, tmp_path / folder
    context = verify.VerifyContext(Local(), *where)
    checks = [*verify.verify(Store(tmp_path).read()[0], context, 1, 0, 1, 1.0)]
    assert {check.verdict for check in checks} == {verdict}
