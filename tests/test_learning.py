"""Training: epochs, held-out samples, checkpoints, equal weights by equal functions, warnings; and
its rows: kept, never made twice, and resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from contenders import TruncatedAtFour, stepped
from recordings import with_mnist
from rows import altered, row, training
from torch import Tensor, nn
from torch.nn import functional
from trainings import case, data, rows_of, run

import adapters
from harness import records, spec
from harness.adapter import Variant
from harness.analysis import tables
from harness.conformance import random_batch, small
from harness.machine import host
from harness.records import EpochResult, has, identity, of_kind
from harness.records.run import Failed
from harness.reference import coding
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.spec import paper, schedule
from harness.spec.network import LIF
from harness.spec.paper import SGD
from harness.training import checkpoint, epoch, step
from harness.training import trial as training_trial
from harness.training.checkpoint import EpochPart
from harness.training.epoch import DataSplits, Learner

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")


def trained(
    settings: spec.Training, parts: DataSplits, epochs: int = 2
) -> tuple[Learner, list[EpochResult]]:
    learner = epoch.begin(settings, parts)
    return learner, [one_epoch(learner, n) for n in range(1, epochs + 1)]


def one_epoch(learner: Learner, number: int) -> EpochResult:
    rate = schedule.table_7(learner.case.optimiser, number)
    return epoch.train_epoch(learner, number, rate, lambda fraction: None)


def weights(learner: Learner) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in learner.module.parameters()]


def test_a_tenth_is_held_out_whatever_the_seed() -> None:
    parts = data()
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (54, 6, 30)
    images = [image.numpy().tobytes() for image in (*parts.train.raw, *parts.validation.raw)]
    assert len(set(images)) == 60


# checkpoints


def resumed(
    path: Path, first: spec.Training, then: spec.Training, parts: DataSplits
) -> tuple[Learner, EpochResult]:
    """After one epoch of the first, and one more of what goes on from its checkpoint."""
    begun = epoch.begin(first, parts)
    one = one_epoch(begun, 1)
    checkpoint.save(path, RUN, (one,), begun.module, begun.optimiser)
    torch.manual_seed(12345)  # another process stands elsewhere
    again = epoch.begin(then, parts)
    assert checkpoint.restore(path, RUN, again.module, again.optimiser) == ((one,), None)
    return again, one_epoch(again, 2)


@pytest.mark.parametrize("framework", ["reference", "fused", spec.ANN])
def test_a_resumed_run_has_an_undisturbed_ones_weights(framework: str, tmp_path: Path) -> None:
    parts, settings = data(), case(contender=framework)
    undisturbed, epochs = trained(settings, parts)
    again, second = resumed(tmp_path / "a.pt", settings, settings, parts)
    assert replace(second, seconds=0) == replace(epochs[1], seconds=0)
    assert all(map(torch.equal, weights(undisturbed), weights(again)))


@pytest.mark.parametrize("framework", ["reference", "fused", spec.ANN])
def test_an_epoch_that_is_stopped_goes_on_bit_for_bit(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "KEEP_AFTER", 0.0)
    parts, settings = data(), case(contender=framework, dropout=0.5, batch_size=10)
    info = replace(parts.train.info, augmented=True)
    parts = replace(parts, train=replace(parts.train, info=info))
    undisturbed = epoch.begin(settings, parts)
    whole = epoch.train_epoch(undisturbed, 1, 0.1, lambda fraction: None)
    begun, path = epoch.begin(settings, parts), tmp_path / "a.pt"

    def kill(fraction: float) -> None:
        if fraction > epoch.TRAINING_SHARE / 2:
            raise KeyboardInterrupt

    def keep(part: EpochPart) -> None:
        checkpoint.save(path, RUN, (), begun.module, begun.optimiser, part)

    with pytest.raises(KeyboardInterrupt):
        epoch.train_epoch(begun, 1, 0.1, kill, None, keep)
    torch.manual_seed(12345)  # another process stands elsewhere
    again = epoch.begin(settings, parts)
    epochs, part = checkpoint.restore(path, RUN, again.module, again.optimiser)
    assert part is not None and epochs == () and 0 < len(part.losses) < 5
    end = epoch.train_epoch(again, 1, 0.1, lambda fraction: None, part)
    assert replace(end, seconds=0) == replace(whole, seconds=0) and end.seconds > part.seconds
    assert all(map(torch.equal, weights(undisturbed), weights(again)))


def test_a_checkpoint_goes_on_where_weights_lie_otherwise_in_memory(tmp_path: Path) -> None:
    parts, settings = (
        data("nmnist"),
        case("nmnist", precision="fp64"),
    )  # Adam walks through its memory
    undisturbed, _ = trained(settings, parts)
    again, _ = resumed(
        tmp_path / "a.pt", settings, altered(settings, contender="fused fp64"), parts
    )
    for ours, theirs in zip(weights(again), weights(undisturbed), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)  # the order of sums


RUN = {"T": "4"}
EPOCH = row(EpochResult).result


def saved(path: Path) -> Path:
    """A checkpoint whose optimiser has state."""
    module = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    checkpoint.save(path, RUN, (EPOCH,), module, optimiser)
    return path


def restored(path: Path, run: dict[str, str]) -> tuple[EpochResult, ...]:
    module = nn.Linear(2, 2)
    return checkpoint.restore(path, run, module, torch.optim.Adam(module.parameters()))[0]


def test_a_damaged_checkpoint_or_one_of_another_run_is_named_and_runs_no_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pt"
    assert restored(path, RUN) == ()
    whole = saved(path).read_bytes()
    assert restored(path, RUN) == (EPOCH,)
    with pytest.raises(spec.UsageError, match=r"of another run \(T is 4, expected 8\): delete it"):
        restored(path, {"T": "8"})
    flipped = whole[:-99] + bytes([whole[-99] ^ 1]) + whole[-98:]
    torch.save({"identity": Evil()}, path)
    for damage in (b"", whole[:100], flipped, path.read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(spec.UsageError, match=f"{path} is damaged"):
            restored(path, RUN)
    assert capsys.readouterr().out == ""


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code was run",)


def test_a_checkpoint_with_nan_is_not_restored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    assert restored(path, RUN) == (EPOCH,)
    for part in ("weights", "optimiser"):
        content = checkpoint.read_sealed(saved(path))
        assert content is not None
        spoilt = content["weights"] if part == "weights" else content[part]["state"][0].values()
        next(value for value in spoilt if value.dim()).fill_(float("nan"))
        checkpoint.write_sealed(path, content)
        with pytest.raises(spec.UsageError, match="is damaged"):
            restored(path, RUN)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a disk that is always full")

    def full(target: Path, write: Callable[[Path], object]) -> None:
        write(Path("/dev/full"))

    monkeypatch.setattr("harness.machine.files.write_whole", full)
    with pytest.raises(spec.UsageError, match=r"No space left on device.*--out"):
        saved(tmp_path / "a.pt")


# warnings


def test_a_dead_layer_is_warned_of() -> None:
    # PyTorch's initial weights leave CIFARNet dead at the paper's threshold (PAPER.md)
    _, network = paper.network("CIFARNet", "cifar10", width=Fraction(1, 16))
    settings = case(contender="fused", initialisation="torch", network=network)
    _, (first,) = trained(settings, data(), 1)
    dead, still = first.warnings
    assert "dead layers after epoch 1" in dead and "use --init calibrated" in dead
    assert "no gradient in epoch 1" in still


def test_layers_with_the_same_spikes_for_every_sample_are_warned_of() -> None:
    learner = epoch.begin(case(optimiser=SGD(0.001)), data())
    with torch.no_grad():
        for parameter in learner.module.parameters():
            if len(parameter) == 16:  # of the fully connected layer: its neurons always fire
                parameter.fill_(10.0)
    first = one_epoch(learner, 1)
    (blind,) = (warning for warning in first.warnings if "same for every sample" in warning)
    assert "the spikes of 3 16FC" in blind and first.rates[-2] == 1.0
    _, healthy = trained(case(), data(), 1)
    assert not any("same for every" in warning for warning in healthy[0].warnings)


def test_the_share_of_potentials_inside_the_window_is_that_of_the_trained_network() -> None:
    settings, parts = case(), data()
    network = settings.workload.network
    learner, (first,) = trained(settings, parts, 1)
    assert len(first.inside) == len(first.rates) and all(0 < share < 1 for share in first.inside)
    x = epoch.inputs(settings, learner.data, learner.data.validation.raw)
    narrow, wide = (replace(network, lif=LIF(0.25, 0.75, a)) for a in (1e-6, 1e6))
    assert epoch.inside_window(narrow, learner.module, x) == (0.0,) * 4
    assert epoch.inside_window(wide, learner.module, x) == (1.0,) * 4
    assert epoch.inside_window(network, learner.module, x) == pytest.approx(first.inside)


def test_a_training_on_events_is_proved_at_all_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Variant((), stepped(TruncatedAtFour))  # its gradients go four steps back
    monkeypatch.setattr(adapters, "load", lambda name: cut)
    run((case("nmnist", contender="snntorch", T=6),), tmp_path)
    (ended,) = (row.result for row in rows_of(tmp_path, records.EndedResult))
    assert ended.status == "not comparable" and "gradients differ" in ended.reason


@pytest.mark.parametrize("what", ["the loss", "the gradient's norm"])
def test_nan_ends_the_run(what: str) -> None:
    def spoil(module: nn.Module, inputs: object, out: Tensor) -> Tensor:
        return out * float("nan")

    learner = epoch.begin(case(), data())
    if what == "the loss":
        learner.module.register_forward_hook(spoil)
    else:  # votes are numbers whatever the weights are
        with torch.no_grad():
            list(learner.module.parameters())[2].fill_(float("nan"))
    with pytest.raises(Failed, match=f"{what} became nan in epoch 1"):
        one_epoch(learner, 1)


def test_a_part_of_the_test_samples_is_of_all_classes() -> None:
    test = data().test
    order = test.labels.argsort()  # class by class, as files lie
    part = epoch.draw(test.part(order), 15)
    assert len(part) == 15 and len(part.labels.unique()) > 5


def test_testing_reports_progress_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EVALUATION_BATCH", 7)
    signs: list[int] = []
    learner = replace(epoch.begin(case(), data()), alive=lambda: signs.append(1))
    epoch.accuracy(learner, learner.data.test, 2)
    assert len(signs) == -(-len(learner.data.test) // 7) > 1


def test_the_ann_learns_and_has_the_same_weights_to_train() -> None:
    settings, parts = case(contender=spec.ANN, epochs=8, dropout=0.0), data(count=600)
    learner, epochs = trained(settings, parts, 8)
    spiking = epoch.begin(altered(settings, contender="reference"), parts)
    shapes = [[p.shape for p in network.module.parameters()] for network in (learner, spiking)]
    assert shapes[0] == shapes[1]
    assert epochs[-1].test_accuracy > 0.5


# one iteration


def rates(settings: spec.Training, accuracy: float = 0.5) -> list[float]:
    """All rates of a training with that training accuracy in each epoch."""
    rates = list[float]()
    while (rate := schedule.next_rate(settings, [accuracy] * len(rates))) is not None:
        rates.append(rate)
    return rates


STAGED = case(epochs=10, stages=(6, 3, 1))


def test_each_stage_has_a_tenth_of_the_rate_before_it() -> None:
    assert rates(STAGED) == pytest.approx([0.1] * 6 + [0.01] * 3 + [0.001])
    assert rates(case(epochs=42)) == pytest.approx([0.1] * 40 + [0.01] * 2)  # Table 7


def test_a_training_that_has_learnt_nothing_ends_after_five_epochs() -> None:
    assert len(rates(STAGED, 0.19)) == 5
    assert len(rates(STAGED, 0.21)) == 10  # a network that only generalises badly
    assert len(rates(case(epochs=10), 0.1)) == 10  # the paper's schedule is run whole


@pytest.mark.parametrize("stages", [(6, 3), (11,), (0, 10)], ids=["short", "long", "empty"])
def test_an_impossible_schedule_is_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(spec.UsageError, match="epochs is 10, expected|stage 1 is 0, expected"):
        case(epochs=10, stages=stages)


def test_the_papers_schedule_decides_at_its_length_and_steps_alone() -> None:
    whole = case(epochs=150)  # those with stages: test_claims.py
    assert schedule.is_on_schedule(whole)
    for change in ({"epochs": 50}, {"optimiser": SGD(step_epochs=4)}):
        assert not schedule.is_on_schedule(replace(whole, **change))


def _of_counts(spikes: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of how often each class's ten neurons fired."""
    counts = torch.stack([neurons.sum((0, 2)) for neurons in spikes.split(10, dim=2)], dim=1)
    return functional.cross_entropy(counts, labels)


LOSSES: dict[spec.Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda spikes, labels: coding.loss(coding.vote(spikes, 10), labels),
    "cross-entropy": _of_counts,
    "cross-entropy of votes": lambda spikes, labels: functional.cross_entropy(
        coding.vote(spikes, 10), labels
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_an_iteration_is_a_step_of_plain_sgd_on_the_loss(name: spec.Loss) -> None:
    network = small("cifar10")
    x = random_batch(network, 3, 4, static=True).double()
    labels = torch.tensor([0, 1, 2, 3])
    module, by_hand = (initialised(network, x, seed=0) for _ in range(2))
    optimise = step.optimiser(module.parameters(), paper.SGD(lr=0.1, momentum=0.0))
    batch = module, optimise, x, labels
    loss = step.iteration(*batch, classes=10, precision="fp64", loss_function=name).loss
    expected = LOSSES[name](by_hand(x), labels)
    expected.backward()
    assert loss.item() == expected.item()
    for ours, theirs in zip(module.parameters(), by_hand.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad, rtol=1e-12, atol=1e-15)


def test_bf16_runs_under_autocast_and_keeps_float32_weights() -> None:
    network = small("cifar10")
    x = random_batch(network, 2, 2, static=True)
    module = initialised(network, x, seed=0)
    seen: list[torch.dtype] = []
    module.layers[1].synapse.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    optimise = step.optimiser(module.parameters(), paper.SGD())
    step.iteration(module, optimise, x, torch.tensor([0, 1]), classes=10, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}


# trainings as rows


FULL = case(tested_at=(1, 2))


def test_a_training_is_proved_and_kept_by_epoch_with_its_three_figures(tmp_path: Path) -> None:
    run((FULL,), tmp_path)
    proofs = rows_of(tmp_path, records.CertificateResult)
    assert {row.result.certificate_precision for row in proofs} == {"fp64", "fp32"}
    assert all(row.result.certified for row in proofs)
    trained = rows_of(tmp_path, EpochResult)
    epochs = [row.result for row in trained]
    assert [result.epoch for result in epochs] == [1, 2]
    (ended,) = rows_of(tmp_path, records.TrainedResult)
    end, sizes = ended.result, ended.data
    assert end.test_accuracy == epochs[-1].test_accuracy
    tests = [result.test_accuracy for result in epochs]
    assert end.best_test_accuracy == max(tests)
    best = max(epochs, key=lambda result: result.validation_accuracy)
    assert (end.chosen_epoch, end.chosen_test_accuracy) == (best.epoch, best.test_accuracy)
    steps = [row.result for row in rows_of(tmp_path, records.TestedResult)]
    tested = {result.tested_T: result.test_accuracy for result in steps}
    assert tested.keys() == {1, 2} and tested[2] == end.test_accuracy
    (row,) = rows_of(tmp_path, records.ConfusionResult)  # all test samples are fewer than 500
    confusion = row.result
    assert sum(map(sum, confusion.confusion)) == 30
    right = sum(confusion.confusion[n][n] for n in range(10))
    assert right / 30 == pytest.approx(end.test_accuracy)
    assert all(0 <= vote <= 1 for line in confusion.votes for vote in line)
    for row in trained:
        source, test = row.data.source, row.data.test
        assert source and test and source.substitute and test.substitute
        assert source.description == test.description == "scikit-learn's digits"
        assert test.sha256 != source.sha256
    assert (sizes.train_samples, sizes.validation_samples, sizes.test_samples) == (54, 6, 30)
    assert sizes.iterations_per_epoch == 6 and ended.workload.network.dropout == 0.5
    (audit,) = (row.result for row in rows_of(tmp_path, records.AuditResult))
    assert audit.passed and audit.when == "after" and audit.spikes > 0
    assert {row.key for row in (*proofs, *trained, ended)} == {ended.key}


def test_a_training_that_learns_nothing_warns_and_is_done(tmp_path: Path) -> None:
    dead = case(epochs=18, stages=(8, 10), train=200, optimiser=SGD(lr=1e-12))
    run((dead,), tmp_path)
    assert len(rows_of(tmp_path, EpochResult)) == 5
    (end,) = rows_of(tmp_path, records.TrainedResult)
    assert end.result.trained_epochs == 5 and end.case == dead
    warnings = [row.result.reason for row in rows_of(tmp_path, records.WarningResult)]
    assert any("nothing was learnt in 5 epochs" in reason for reason in warnings)
    (again,) = run((dead,), tmp_path)
    assert again.was_done and len(rows_of(tmp_path, records.TrainedResult)) == 1


def test_a_done_training_repeats_only_on_request_and_serves_other_suites(tmp_path: Path) -> None:
    settings = case(contender=spec.ANN)
    (first,) = run((settings,), tmp_path)
    (again,) = run((settings,), tmp_path)
    assert not first.was_done and again.was_done and again.rows == first.rows
    run((replace(settings, suite="scale"),), tmp_path)
    one, other = rows_of(tmp_path, records.TrainedResult)
    assert {one.suite, other.suite} == {"accuracy", "scale"}
    assert one.key == other.key and one.result == other.result  # it was not trained again
    run((settings,), tmp_path, fresh=True)
    one, anew, _ = sorted(rows_of(tmp_path, records.TrainedResult), key=lambda row: row.suite)
    assert len(rows_of(tmp_path, EpochResult)) == 6
    assert anew.result.seconds != one.result.seconds
    assert anew.result.test_accuracy == one.result.test_accuracy


def test_rows_of_another_suite_say_what_the_case_was_asked_for(tmp_path: Path) -> None:
    whole = case(contender=spec.ANN, epochs=1, test=180)
    # all test samples are 180, and without data there are the digits
    other = altered(whole, suite="scale", test=None, embedded=False)
    first, second = run((whole, other), tmp_path)
    assert not first.was_done and second.was_done
    assert {row.case for row in second.rows} == {other}


@pytest.mark.parametrize(("changed", "proofs"), [("nothing", 2), ("processor", 4), ("exam", 4)])
def test_a_proof_holds_for_all_seeds_of_one_processor_and_exam(
    changed: str, proofs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run((case(),), tmp_path)
    machine = host.describe(torch.device("cpu"))
    if changed == "processor":
        monkeypatch.setattr(host, "describe", lambda device: replace(machine, cpu="another"))
    elif changed == "exam":
        monkeypatch.setattr(training_trial, "EXAM", identity.EXAM + 1)
    run((case(seed=1),), tmp_path)
    assert len(rows_of(tmp_path, records.TrainedResult)) == 2
    layers = [row.result.layer for row in rows_of(tmp_path, records.CertificateResult)]
    assert layers.count(None) == proofs  # one in float64, one in float32


@pytest.mark.parametrize(
    ("later", "words"),
    [(0.0, "spikes"), (0.5, "neither 0 nor 1"), (1.0, "changes its parameters in place")],
    ids=["mute", "halved", "its weights decay"],
)
def test_a_network_that_deviates_late_is_warned_of_at_the_end(
    later: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tires(ReferenceNetwork):
        steps = 0  # of its training, whose batches are of ten samples

        def forward(self, x: Tensor) -> Tensor:
            if self.steps < 3:
                self.steps += x.shape[1] == 10 and torch.is_grad_enabled()
                return super().forward(x)
            with torch.no_grad():
                next(self.parameters()).mul_(0.999 if later == 1 else 1)
            return super().forward(x) * later

    monkeypatch.setattr("adapters.reference.build", Tires)
    run((replace(FULL, epochs=1),), tmp_path)
    assert all(row.result.certified for row in rows_of(tmp_path, records.CertificateResult))
    (audit,) = (row.result for row in rows_of(tmp_path, records.AuditResult))
    assert not audit.passed and words in str(audit.reason)
    warnings = [row.result.reason for row in rows_of(tmp_path, records.WarningResult)]
    assert any("with its last weights it is not the reference" in reason for reason in warnings)
    assert len(rows_of(tmp_path, records.TrainedResult)) == 1


def test_too_few_samples_cost_their_own_case(tmp_path: Path) -> None:
    enough = altered(FULL, contender=spec.ANN, epochs=1)
    few = altered(enough, train=3, test=None, tested_at=())
    (short, good) = run((few, enough), tmp_path)
    (end,) = short.rows
    assert has(end, records.EndedResult) and end.result.status == "failed"
    assert "use --samples 10 or more" in end.result.reason
    assert has(good.rows[-1], records.TrainedResult)


def test_a_training_on_simulated_events_is_tested_on_recordings_too(tmp_path: Path) -> None:
    with_mnist(tmp_path)
    sampling = spec.Sampling(simulated=True, bin_us=10_000)
    settings = case("nmnist", epochs=1, sampling=sampling)
    (ended,) = run((settings,), tmp_path)
    assert not of_kind(ended.rows, records.EndedResult)
    (transfer,) = rows_of(tmp_path, records.TransferResult)
    (trained,) = rows_of(tmp_path, records.TrainedResult)
    assert transfer.key == trained.key and transfer.case == settings
    result, data = transfer.result, trained.data
    assert result.recorded_source == "N-MNIST recordings, 10 ms bins"
    assert result.recorded_partial and result.recorded_samples == 3
    assert data.source and data.source.simulated and data.test and data.test.simulated
    run((replace(settings, suite="scale"),), tmp_path)
    suites = {row.suite for row in rows_of(tmp_path, records.TransferResult)}
    assert suites == {"accuracy", "scale"}


def test_the_table_has_accuracies_on_simulations_and_on_recordings() -> None:
    rows: list[records.Row] = []
    for seed, accuracy in enumerate((0.4, 0.5, 0.6)):
        rows += training(seed, (0.9,), suite="accuracy", dataset="nmnist", scale="OurModel")
        end = rows[-1]
        shared = {"key": end.key, "data": end.data}
        rows.append(row(records.TransferResult, end.case, test_accuracy=accuracy, **shared))
    (line,) = tables.TABLES["accuracy"](rows).to_dict("records")
    assert line["accuracy"] == pytest.approx(0.9)
    assert line["recorded_accuracy"] == pytest.approx(0.5) and line["recorded_samples"] == "1100"
    assert line["recorded_low"] < 0.5 < line["recorded_high"]
    assert line["bin_ms"] == 5.0


def test_units_without_spikes_are_not_said_to_have_a_threshold() -> None:
    ann = case(contender=spec.ANN)
    layers = [(0.0, True), (1.0, True), (0.5, False), (1.0, True)]
    (dead,) = epoch.warnings_of(ann, 1, layers, 1.0)
    assert "dead layers after epoch 1: 1 8C3" in dead and "V_th" not in dead
    assert len([*epoch.warnings_of(altered(ann, contender="fused"), 1, layers, 1.0)]) == 2


def test_a_failure_that_was_overcome_is_none_of_a_training_that_was_done_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> Learner:
        raise Failed("no room")

    small = case(contender=spec.ANN)
    with monkeypatch.context() as patch:
        patch.setattr(epoch, "begin", full)
        (failed,) = run((small,), tmp_path)
    assert [row.result.kind for row in failed.rows] == ["ended"]
    run((small,), tmp_path)
    (again,) = run((small,), tmp_path)
    kinds = {row.result.kind for row in again.rows}
    assert again.was_done and "trained" in kinds and "ended" not in kinds
