"""Training: settings, held-out samples, checkpoints, equal weights by equal functions, warnings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from rows import row
from test_datasets import quiet

from harness.datasets import Wanted, load_split
from harness.records import EpochRow
from harness.spec import ANN, Trained, Training, UsageError, paper
from harness.spec.paper import SGD, Adam
from harness.training import checkpoint, epoch, step
from harness.training.checkpoint import Checkpoint, Epoch
from harness.training.epoch import DataSplits, Learner

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")

TINY = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"


def case(dataset: str = "cifar10", **fields: object) -> Trained:
    _, network = paper.network(TINY, dataset)
    given = Trained(
        suite="accuracy",
        dataset=dataset,
        scale="custom",
        network=replace(network, dropout=paper.settings(dataset).dropout),
        width=Fraction(1),
        framework="reference",
        T=2,
        batch_size=10,
        precision="fp32",
        device="cpu",
        seed=0,
        optimiser=paper.settings(dataset).optimiser,
        training=Training(epochs=2, samples=60, test_samples=30, embedded=True),
    )
    return replace(given, **fields)


def data(dataset: str = "cifar10", count: int = 60) -> DataSplits:
    wanted = Wanted(dataset, T=2, samples=count, embedded=True)
    train = load_split(wanted, "train", quiet)
    return DataSplits.of(train, load_split(replace(wanted, samples=30), "test", quiet))


def trained(given: Trained, parts: DataSplits, epochs: int = 2) -> tuple[Learner, list[Epoch]]:
    learner = epoch.begin(given, parts)
    return learner, [epoch.epoch(learner, n, lambda fraction: None) for n in range(1, epochs + 1)]


def weights(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.module.parameters()]


def same(one: Learner, other: Learner) -> bool:
    return all(map(torch.equal, weights(one), weights(other)))


@pytest.mark.parametrize(("epoch", "rate"), [(1, 0.1), (40, 0.1), (41, 0.01), (121, 1e-4)])
def test_the_rate_falls_every_40_epochs(epoch: int, rate: float) -> None:
    assert step.learning_rate(SGD(), epoch) == pytest.approx(rate)
    assert step.learning_rate(Adam(), epoch) == 1e-3


def test_a_tenth_is_held_out_whatever_the_seed() -> None:
    parts = data()
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (54, 6, 30)
    images = [image.numpy().tobytes() for image in (*parts.train.raw, *parts.validation.raw)]
    assert len(set(images)) == 60
    with pytest.raises(UsageError, match="use --samples 10 or more"):
        data(count=4)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    parts = data()
    (one, _), (same_seed, _) = trained(case(), parts, 1), trained(case(), parts, 1)
    other, _ = trained(case(seed=1), parts, 1)
    assert same(one, same_seed)
    assert not same(one, other)


def test_an_epoch_says_what_it_came_to() -> None:
    _, (first, second) = trained(case(), data())
    assert (first.number, second.number) == (1, 2)
    assert first.learning_rate == second.learning_rate == 0.1
    assert len(first.rates) == 4 and all(0 < rate < 1 for rate in first.rates)
    assert first.seconds > 0 and first.gradient_norm > 0 and 0 < first.loss < 1
    assert all(
        0 <= share <= 1
        for share in (first.train_accuracy, first.validation_accuracy, first.test_accuracy)
    )


def test_fused_and_reference_have_the_same_weights_after_20_steps_in_float64() -> None:
    # static images with dropout, then event frames
    for dataset in ("cifar10", "nmnist"):
        given = case(dataset, precision="fp64", batch_size=3, T=2)
        parts = data(dataset, count=67)  # 60 to train: 20 steps
        (ours, _), (theirs, _) = (
            trained(replace(given, framework=name), parts, 1) for name in ("fused", "reference")
        )
        for a, b in zip(weights(ours), weights(theirs), strict=True):
            assert (a - b).abs().max() <= 1e-12 * b.abs().max()  # sums are in another order


def test_a_run_that_goes_on_from_a_checkpoint_has_the_weights_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    parts = data()
    for given in (case(), case(framework="fused"), case(framework=ANN)):
        undisturbed, epochs = trained(given, parts)
        begun = epoch.begin(given, parts)
        first = epoch.epoch(begun, 1, lambda fraction: None)
        path = tmp_path / "a.pt"
        Checkpoint.of({"a": "b"}, (first,), begun.module, begun.optimiser).save(path)
        torch.manual_seed(12345)  # another process stands elsewhere
        resumed = epoch.begin(given, parts)
        found = checkpoint.load(path, {"a": "b"}, 9)
        assert found is not None and found.epochs == (first,)
        found.restore(path, resumed.module, resumed.optimiser)
        second = epoch.epoch(resumed, 2, lambda fraction: None)
        assert same(undisturbed, resumed)
        assert replace(second, seconds=0) == replace(epochs[1], seconds=0)


def test_a_checkpoint_goes_on_where_weights_lie_otherwise_in_memory(tmp_path: Path) -> None:
    parts, given = data("nmnist"), case("nmnist", precision="fp64")  # Adam walks through its memory
    undisturbed, _ = trained(given, parts)
    begun = epoch.begin(given, parts)
    first = epoch.epoch(begun, 1, lambda fraction: None)
    path = tmp_path / "a.pt"
    Checkpoint.of({"a": "b"}, (first,), begun.module, begun.optimiser).save(path)
    resumed = epoch.begin(replace(given, framework="fused"), parts)
    found = checkpoint.load(path, {"a": "b"}, 9)
    assert found is not None
    found.restore(path, resumed.module, resumed.optimiser)
    epoch.epoch(resumed, 2, lambda fraction: None)
    for a, b in zip(weights(resumed), weights(undisturbed), strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def saved(path: Path) -> Path:
    module = torch.nn.Linear(2, 2)
    Checkpoint.of({"T": "4"}, (), module, torch.optim.SGD(module.parameters())).save(path)
    return path


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"is of another run \(T is 4, expected 8\): delete it"):
        checkpoint.load(path, {"T": "8"}, 9)
    assert checkpoint.load(tmp_path / "none.pt", {}, 9) is None


def test_a_checkpoint_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.pt")
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    with pytest.raises(UsageError, match="is of version 2, this harness has 99"):
        checkpoint.load(path, {"T": "4"}, 9)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code was run",)


def test_a_damaged_checkpoint_is_named_and_runs_no_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.pt")
    whole = path.read_bytes()
    evil = tmp_path / "evil.pt"
    torch.save({"version": 2, "identity": Evil()}, evil)
    for content in (b"", whole[:100], whole[:-50], b"no checkpoint", evil.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=f"{path} is damaged"):
            checkpoint.load(path, {"T": "4"}, 9)
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match="is no checkpoint"):
        checkpoint.load(path, {"T": "4"}, 9)
    assert capsys.readouterr().out == ""


EPOCH = Epoch(1, 0.1, 0.5, 0.5, 0.5, (0.1,), 1.0, 0.1, 1.0)
WHOSE = {"T": "4"}


def checkpoint_of(*epochs: Epoch) -> tuple[Checkpoint, torch.nn.Linear, torch.optim.Optimizer]:
    """A checkpoint whose optimiser has state, with what it is of."""
    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return Checkpoint.of(WHOSE, epochs, module, optimiser), module, optimiser


def forged(path: Path, **changes: object) -> Path:
    """The file of a checkpoint with other contents, which its hash does not tell of."""
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": [{**asdict(EPOCH), "test_accuracy": 1.0}]},  # a forged accuracy
        {"epochs": [{**asdict(EPOCH), "test_accuracy": "high"}]},
        {"epochs": [{**asdict(EPOCH), "loss": float("nan")}]},
        {"epochs": [{**asdict(EPOCH), "more": 1}]},
        {"weights": [torch.zeros(2, 2), torch.zeros(2)]},
        {"weights": [torch.zeros(2, 2)]},
        {"weights": "none"},
        {"optimiser": {"garbage": 1}},
        {"optimiser": None},
        {"sha256": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_that_was_changed_is_damaged(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    checkpoint_of(EPOCH)[0].save(path)
    assert checkpoint.load(path, WHOSE, 9) is not None
    with pytest.raises(UsageError, match=f"{path} is damaged"):
        checkpoint.load(forged(path, **change), WHOSE, 9)


def test_a_checkpoint_of_more_epochs_than_asked_or_out_of_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint_of(EPOCH, replace(EPOCH, number=2))[0].save(path)
    assert checkpoint.load(path, WHOSE, 2) is not None
    with pytest.raises(UsageError, match=r"its epochs are \[1, 2\], of 1 asked for"):
        checkpoint.load(path, WHOSE, 1)
    checkpoint_of(replace(EPOCH, number=2))[0].save(path)
    with pytest.raises(UsageError, match="its epochs are"):
        checkpoint.load(path, WHOSE, 9)


def test_a_checkpoint_that_is_not_what_its_rows_say_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint_of(EPOCH)[0].save(path)
    said = {name: value for name, value in asdict(EPOCH).items() if name != "number"}
    first = row(EpochRow, **said)
    assert checkpoint.load(path, WHOSE, 9, [first]) is not None
    for each in (replace(first, epoch=2), replace(first, test_accuracy=0.6)):
        with pytest.raises(UsageError, match="is not what its rows say of epoch"):
            checkpoint.load(path, WHOSE, 9, [each])


def test_weights_that_do_not_fit_or_are_no_numbers_are_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole, module, optimiser = checkpoint_of()
    for weights, why in (
        ([torch.zeros(1, 2), torch.zeros(2)], "is of another network"),
        ([torch.zeros(2, 2)], "is of another network"),
        ([torch.full((2, 2), float("nan")), torch.zeros(2)], "weights hold what is no number"),
    ):
        with pytest.raises(UsageError, match=why):
            replace(whole, weights=weights).restore(path, module, optimiser)
    state = whole.optimiser
    nan = {0: {**state["state"][0], "exp_avg": torch.full((2, 2), float("nan"))}}
    wide = {**state["state"], 0: {**state["state"][0], "exp_avg": torch.zeros(3, 3)}}
    for garbage in ({}, {**state, "state": nan}, {**state, "state": wide}, {"state": 1}):
        with pytest.raises(UsageError, match="is damaged"):
            replace(whole, optimiser=garbage).restore(path, module, optimiser)
    before = [each.clone() for each in module.parameters()]
    assert all(map(torch.equal, before, module.parameters()))  # refused before anything is put in


def test_a_pipe_or_a_folder_for_a_checkpoint_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nowhere")
    for name in ("pipe.pt", "folder.pt", "dangling.pt"):
        with pytest.raises(UsageError, match="is no file"):
            checkpoint.load(tmp_path / name, WHOSE, 9)


def test_a_full_disk_at_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a disk that is always full")
    path = tmp_path / "a.pt"

    def full(target: Path, write: Callable[[Path], object]) -> None:
        write(Path("/dev/full"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write_whole", full)
        with pytest.raises(UsageError, match=r"No space left on device.*--out"):
            checkpoint_of(EPOCH)[0].save(path)


def test_a_dead_layer_and_a_loss_that_stays_are_warned_of() -> None:
    # PyTorch's initial weights leave CIFARNet dead at the paper's threshold (PAPER.md)
    given = case(framework="fused", initialisation="torch")
    _, network = paper.network("CIFARNet", "cifar10", width=Fraction(1, 16))
    _, (first,) = trained(replace(given, network=network), data(), 1)
    dead, stays = first.warnings
    assert "dead layers after epoch 1" in dead and "use --init calibrated" in dead
    assert "the loss has not moved" in stays


def test_layers_that_say_the_same_of_every_sample_are_warned_of() -> None:
    learner = epoch.begin(case(optimiser=SGD(0.001)), data())
    with torch.no_grad():
        for parameter in learner.module.parameters():
            if len(parameter) == 16:  # of the fully connected layer: its neurons always fire
                parameter.fill_(10.0)
    first = epoch.epoch(learner, 1, lambda fraction: None)
    (blind,) = (each for each in first.warnings if "same for every sample" in each)
    assert "the spikes of 3 16FC" in blind and first.rates[-2] == 1.0
    _, healthy = trained(case(), data(), 1)
    assert not any("same for every" in each for each in healthy[0].warnings)


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    learner = epoch.begin(case(), data())
    with torch.no_grad():
        next(iter(learner.module.parameters())).fill_(float("nan"))
    votes = learner.module
    learner = replace(learner, module=Nan(votes))
    with pytest.raises(epoch.Diverged, match="the loss became nan in epoch 1"):
        epoch.epoch(learner, 1, lambda fraction: None)


class Nan(torch.nn.Module):
    """A network whose potentials have become NaN."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * float("nan")


def test_the_ann_learns_and_has_the_same_weights_to_train() -> None:
    given = case(framework=ANN, training=Training(epochs=8, embedded=True))
    given = replace(given, network=replace(given.network, dropout=0.0))
    parts = data(count=600)
    learner, epochs = trained(given, parts, 8)
    spiking = epoch.begin(replace(given, framework="reference"), parts)
    shapes = [[p.shape for p in each.module.parameters()] for each in (learner, spiking)]
    assert shapes[0] == shapes[1]
    assert epochs[-1].test_accuracy > 0.5


def test_confusion_counts_the_samples_and_averages_their_votes() -> None:
    learner, _ = trained(case(), data(), 1)
    found = epoch.confusion(learner, 500)
    assert found.samples == 30  # there are no more
    assert sum(map(sum, found.counts)) == 30
    right = sum(found.counts[n][n] for n in range(10))
    assert right / 30 == pytest.approx(epoch.accuracy(learner, learner.data.test, 2))
    assert all(0 <= vote <= 1 for line in found.votes for vote in line)
