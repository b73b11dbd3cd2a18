"""Training: settings, held-out samples, checkpoints, equal weights by equal functions, warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
from test_datasets import quiet
from torch import Tensor, nn
from torch.nn import functional

from harness.conformance import random_batch, small
from harness.datasets import Wanted, load_split
from harness.reference import coding
from harness.reference.initialise import initialised
from harness.spec import ANN, Loss, Trained, Training, UsageError, paper
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
    Checkpoint.of(OF, (), module, torch.optim.SGD(module.parameters())).save(path)
    return path


OF = {"T": "4"}
EPOCH = Epoch(1, 0.1, 0.5, 0.5, 0.5, (0.1,), 1.0, 0.1, 1.0)


def checkpoint_of(*epochs: Epoch) -> tuple[Checkpoint, torch.nn.Linear, torch.optim.Optimizer]:
    """A checkpoint whose optimiser has state, with what it is of."""
    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return Checkpoint.of(OF, epochs, module, optimiser), module, optimiser


def test_a_checkpoint_is_of_its_own_run_version_and_epochs(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    assert checkpoint.load(path, OF, 9) is None
    checkpoint_of(EPOCH, replace(EPOCH, number=2))[0].save(path)
    assert checkpoint.load(path, OF, 2) is not None
    with pytest.raises(UsageError, match=r"of another run \(T is 4, expected 8\): delete it"):
        checkpoint.load(path, {"T": "8"}, 2)
    with pytest.raises(UsageError, match="has 2 epochs, 1 were asked for"):
        checkpoint.load(path, OF, 1)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": 1}, path)
    with pytest.raises(UsageError, match="is of version 1"):
        checkpoint.load(path, OF, 2)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code was run",)


def test_a_damaged_checkpoint_is_named_and_runs_no_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pt"
    checkpoint_of(EPOCH)[0].save(path)
    whole, content = path.read_bytes(), torch.load(path, weights_only=True)
    place = whole.index(content["weights"][0].numpy().tobytes())
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    torch.save({"version": 2, "identity": Evil()}, path)
    evil = path.read_bytes()
    for damage in (b"", whole[:100], whole[:-50], flipped, b"no checkpoint", evil):
        path.write_bytes(damage)
        with pytest.raises(UsageError, match=f"{path} is damaged"):
            checkpoint.load(path, OF, 9)
    for name in ("epochs", "weights", "optimiser", "sha256"):
        torch.save({**content, name: None}, path)
        with pytest.raises(UsageError, match=f"{path} is damaged"):
            checkpoint.load(path, OF, 9)
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match="is no checkpoint"):
        checkpoint.load(path, OF, 9)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="is no file"):
        checkpoint.load(path, OF, 9)
    assert capsys.readouterr().out == ""


def test_weights_that_do_not_fit_or_are_no_numbers_are_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole, module, optimiser = checkpoint_of()
    nan = torch.full((2, 2), float("nan"))
    for weights, why in (
        ([torch.zeros(1, 2), torch.zeros(2)], "is of another network"),
        ([torch.zeros(2, 2)], "is of another network"),
        ([nan, torch.zeros(2)], "is damaged"),
    ):
        with pytest.raises(UsageError, match=why):
            replace(whole, weights=weights).restore(path, module, optimiser)
    state = whole.optimiser
    spoilt = {**state, "state": {**state["state"], 0: {**state["state"][0], "exp_avg": nan}}}
    with pytest.raises(UsageError, match="is damaged"):
        replace(whole, optimiser=spoilt).restore(path, module, optimiser)


def test_a_full_disk_at_a_checkpoint_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a disk that is always full")

    def full(target: Path, write: Callable[[Path], object]) -> None:
        write(Path("/dev/full"))

    monkeypatch.setattr(checkpoint, "write_whole", full)
    with pytest.raises(UsageError, match=r"No space left on device.*--out"):
        checkpoint_of(EPOCH)[0].save(tmp_path / "a.pt")


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


# one iteration


TEN = step.Objective(10)


def _of_counts(spikes: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of how often each class's ten neurons fired."""
    counts = torch.stack([each.sum((0, 2)) for each in spikes.split(10, dim=2)], dim=1)
    return functional.cross_entropy(counts, labels)


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda spikes, labels: coding.loss(coding.vote(spikes, 10), labels),
    "cross-entropy": _of_counts,
    "cross-entropy of votes": lambda spikes, labels: functional.cross_entropy(
        coding.vote(spikes, 10), labels
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_an_iteration_is_a_step_of_plain_sgd_on_the_loss(name: Loss) -> None:
    network = small("cifar10")
    x = random_batch(network, 3, 4, static=True).double()
    labels = torch.tensor([0, 1, 2, 3])
    module, by_hand = (initialised(network, x, seed=0) for _ in range(2))
    settings = paper.SGD(lr=0.1, momentum=0.0)
    loss = step.iteration(
        module,
        step.optimiser(module.parameters(), settings),
        x,
        labels,
        objective=step.Objective(10, name),
        precision="fp64",
    ).loss
    expected = LOSSES[name](by_hand(x), labels)
    expected.backward()
    assert loss.item() == expected.item()
    for ours, theirs in zip(module.parameters(), by_hand.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad, rtol=1e-12, atol=1e-15)


def test_twenty_iterations_lower_the_loss() -> None:
    network = small("nmnist", neunorm="mean")
    x = random_batch(network, 4, 10, static=False)
    labels = torch.arange(10)
    module = initialised(network, x, seed=0)
    optimise = step.optimiser(module.parameters(), paper.settings("nmnist").optimiser)
    losses = [
        step.iteration(module, optimise, x, labels, objective=TEN, precision="fp32").loss.item()
        for _ in range(20)
    ]
    assert losses[-1] < 0.7 * losses[0]


def test_bf16_runs_under_autocast_and_keeps_float32_weights() -> None:
    network = small("cifar10")
    x = random_batch(network, 2, 2, static=True)
    module = initialised(network, x, seed=0)
    seen: list[torch.dtype] = []
    module.layers[1].synapse.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    optimise = step.optimiser(module.parameters(), paper.SGD())
    step.iteration(module, optimise, x, torch.tensor([0, 1]), objective=TEN, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dataset", ["cifar10", "nmnist"])
def test_a_captured_step_trains_as_the_step_does(dataset: str) -> None:
    network = small(dataset)
    x = random_batch(network, 3, 4, static=dataset == "cifar10").cuda()
    x = x[:1].expand_as(x) if dataset == "cifar10" else x
    labels = torch.tensor([0, 1, 2, 3]).cuda()
    losses = []
    for wrap in (step.captured, lambda given: given):
        module = initialised(network, x, seed=0)
        optimise = step.optimiser(module.parameters(), paper.settings(dataset).optimiser)
        once = partial(_loss_of_a_step, module, optimise, x, labels)
        run = wrap(once)
        if run is once:  # as many as the capture takes first
            for _ in range(step.CAPTURE_AFTER):
                once()
        losses.append([run().item() for _ in range(5)])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-6)


def _loss_of_a_step(
    module: nn.Module, optimise: torch.optim.Optimizer, x: Tensor, labels: Tensor
) -> Tensor:
    return step.iteration(module, optimise, x, labels, objective=TEN, precision="fp32").loss
