"""A network trained on a data set, epoch by epoch, and tested.

Every random draw of an epoch (order, crops and flips, dropout) comes from a seed made of the run's
seed and the epoch's number. So a run that goes on from a checkpoint ends with the weights of an
undisturbed one, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

import adapters
from harness.adapter import record_spikes
from harness.datasets import LabelledSplit, network_input
from harness.datasets.images import cropped_and_flipped
from harness.datasets.samples import SPLIT_SEED
from harness.formats.weights import initial_network
from harness.machine import clock
from harness.proof.gradients import keep_potentials, within
from harness.records import ConfusionResult, EpochResult
from harness.records.run import Failed
from harness.reference import coding
from harness.reference.ann import initialised_ann
from harness.reference.initialise import as_drawn, copy_parameters, hardly_firing
from harness.reference.network import ReferenceNetwork
from harness.spec import (
    ANN,
    DEAD_RATE,
    MASKED_ANN,
    Case,
    Network,
    Precision,
    Training,
    UsageError,
)
from harness.training import step
from harness.training.checkpoint import EpochPart

VALIDATION_SHARE = 0.1  # of the training samples, drawn once: the same for every seed
CALIBRATION_SAMPLES = 20
EVALUATION_BATCH = 100
TRAINING_SHARE = 0.8  # of an epoch's time, about; the rest tests
KEEP_AFTER = 600.0  # seconds of an epoch after which its state is kept


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Return the indices of `count` training samples to train on, and to hold out for validation.

    Raises UsageError where they are too few to hold any out.
    """
    size = round(VALIDATION_SHARE * count)
    if size < 1:
        raise UsageError(
            f"{count} training samples are too few to hold some out: use --samples 10 or more"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[size:], order[:size]


@dataclass(frozen=True)
class DataSplits:
    """The three parts of a data set: a tenth of the training samples is held out to validate."""

    train: LabelledSplit
    validation: LabelledSplit
    test: LabelledSplit
    recorded: LabelledSplit | None = None  # of simulated ones: real recordings, tested on as well

    @classmethod
    def from_splits(
        cls, train: LabelledSplit, test: LabelledSplit, recorded: LabelledSplit | None = None
    ) -> DataSplits:
        """Hold a part of the training samples out. Raises UsageError where they are too few."""
        training, validation = map(train.part, held_out(len(train)))
        return cls(training, validation, test, recorded)

    def to(self, device: torch.device) -> DataSplits:
        return DataSplits(*(part and part.to(device) for part in vars(self).values()))


@dataclass(frozen=True)
class Learner:
    """A network in training."""

    case: Training
    data: DataSplits  # on the case's device
    module: nn.Module
    optimiser: torch.optim.Optimizer
    alive: Callable[[], object] = lambda: None  # called while it is tested, batch by batch


def inputs(case: Training, data: DataSplits, raw: Tensor) -> Tensor:
    """Convert raw samples to the network's input (T, B, C, H, W), as `step.placed` gives it."""
    return step.placed(network_input(raw, case.workload.T, data.train.info.normalisation), case)


def begin(case: Training, data: DataSplits, out: Path | None = None) -> Learner:
    """Begin a training: the network with its initial weights, its optimiser and data.

    Weights that the case names are read from the folder of results `out`. Raises what its adapter
    raises, and UsageError where they are not there.
    """
    data = data.to(torch.device(case.device))
    module = built(case, inputs(case, data, data.train.raw[:CALIBRATION_SAMPLES]), out)
    return Learner(case, data, module, step.optimiser(module.parameters(), case.optimiser))


def built(case: Case, x: Tensor, out: Path | None) -> nn.Module:
    """Return the network with its initial weights, of x's dtype and device. Raises as `begin`."""
    workload = case.workload
    if case.contender.framework == ANN:
        scheme = workload.initialisation
        masks = workload.T if case.contender.name == MASKED_ANN else 1
        network, seed = workload.network, workload.seed
        return initialised_ann(network, x, seed=seed, scheme=scheme, masks=masks)
    module = adapters.load(case.contender.name).build(workload.network)
    module = module.to(device=x.device, dtype=x.dtype)
    copy_parameters(initial_network(workload, x, out), module)
    return module


def train_epoch(
    learner: Learner,
    number: int,
    rate: float,
    tell: Callable[[float], None],
    part: EpochPart | None = None,
    keep: Callable[[EpochPart], None] | None = None,
) -> EpochResult:
    """Train epoch `number`, from 1, at learning rate `rate`, then validate and test.

    `tell` is given the fraction done. The epoch goes on from `part`, where that is given, bit for
    bit; every KEEP_AFTER seconds `keep` is given its state. Raises Failed where the loss or a
    gradient is not finite.
    """
    case, data, module = learner.case, learner.data, learner.module
    for group in learner.optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1)
    watch = clock.Stopwatch(torch.device(case.device))
    seed = seed_of(case.workload.seed, number)
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    chunks = torch.randperm(len(data.train), generator=generator).split(case.workload.batch_size)
    iterate = partial(
        step.iteration, module, learner.optimiser, classes=case.workload.network.classes,
        precision=case.contender.precision, loss_function=case.loss,
    )  # fmt: skip
    module.train()
    losses, norms, right = [], [], []
    if part is not None:
        losses, norms, right = ([*values] for values in (part.losses, part.norms, part.right))
        _set_draws(part.draws, generator, case)
    earlier, since = (0.0 if part is None else part.seconds), clock.Stopwatch()
    for n, chosen in islice(enumerate(chunks), len(losses), None):
        samples = data.train.part(chosen)
        raw = samples.raw
        raw = cropped_and_flipped(raw, generator) if samples.info.augmented else raw
        outcome = iterate(inputs(case, data, raw), samples.labels)
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        losses.append(outcome.loss)
        norms.append(get_total_norm(gradients))
        right.append((outcome.votes.argmax(1) == samples.labels).sum())
        tell(TRAINING_SHARE * (n + 1) / len(chunks))
        if keep is not None and since.seconds > KEEP_AFTER and n + 1 < len(chunks):
            sums = torch.stack(losses), torch.stack(norms), torch.stack(right)
            keep(EpochPart(number, *sums, earlier + watch.seconds, _draws(generator, case)))
            since = clock.Stopwatch()
    loss, gradient_norm = (torch.stack(values).double().cpu() for values in (losses, norms))
    train_accuracy = float(torch.stack(right).sum().cpu() / len(data.train))
    seconds, mean_norm = earlier + watch.seconds, float(gradient_norm.mean())
    # the votes of a network with spikes are in [0, 1] whatever its weights are: gradients tell
    for what, values in (("the loss", loss), ("the gradient's norm", gradient_norm)):
        if not bool(values.isfinite().all()):
            raise Failed(
                f"{what} became {float(values.mean())} in epoch {number}: use fewer steps, a "
                "smaller network or --init calibrated"
            )
    sizes = torch.tensor([len(chosen) for chosen in chunks], dtype=torch.float64)
    T = case.workload.T
    validation, test = (accuracy(learner, split, T) for split in (data.validation, data.test))
    x = step.placed(next(data.validation.batches(T, EVALUATION_BATCH))[0], case)
    is_ann, does = case.contender.framework == ANN, activity(module, x, case.contender.precision)
    return EpochResult(
        epoch=number,
        loss=float((loss * sizes).sum() / sizes.sum()),
        train_accuracy=train_accuracy,
        validation_accuracy=validation,
        test_accuracy=test,
        rates=tuple(rate for rate, _ in does),
        gradient_norm=mean_norm,
        learning_rate=rate,
        seconds=seconds,
        warnings=tuple(warnings_of(case, number, does, mean_norm)),
        inside=() if is_ann else inside_window(case.workload.network, module, x),
    )


def _draws(generator: torch.Generator, case: Case) -> list[Tensor]:
    """Return the states of the generators that an epoch draws from: samples, then dropout."""
    on_gpu = [torch.cuda.get_rng_state(case.device)] if case.device != "cpu" else []
    return [generator.get_state(), torch.get_rng_state(), *on_gpu]


def _set_draws(states: Sequence[Tensor], generator: torch.Generator, case: Case) -> None:
    """Set the random generators back to the states that `_draws` returned."""
    of_samples, of_dropout, *on_gpu = states
    generator.set_state(of_samples)
    torch.set_rng_state(of_dropout)
    for state in on_gpu:
        torch.cuda.set_rng_state(state, case.device)


def seed_of(seed: int | str, number: int) -> int:
    """Return the seed of all draws of a run's epoch."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def votes(learner: Learner, part: LabelledSplit, T: int) -> Tensor:  # (samples, classes)
    """Compute the votes on `part` over T steps."""
    learner.module.eval()
    batches = []
    for x, _ in part.batches(T, EVALUATION_BATCH):
        x = step.placed(x, learner.case)
        spikes = step.inference(learner.module, x, learner.case.contender.precision)
        learner.alive()
        batches.append(coding.vote(spikes.to(x.dtype), learner.case.workload.network.classes))
    return torch.cat(batches)


def accuracy(learner: Learner, part: LabelledSplit, T: int) -> float:
    """Return the share classified right over T steps: most votes win, of equals the first class."""
    return int((votes(learner, part, T).argmax(1) == part.labels).sum()) / len(part)


def draw(test: LabelledSplit, count: int) -> LabelledSplit:
    """Draw `count` random samples, the same for every run: files lie class by class."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(SPLIT_SEED))
    return test.part(order[:count])


def confusion(learner: Learner, samples: int) -> ConfusionResult:
    """Return Fig. 6 of `samples` test samples: the mean votes, and the counts of decisions.

    Rows are the labels, columns the classes.
    """
    part, classes = draw(learner.data.test, samples), learner.case.workload.network.classes
    voted, labels = votes(learner, part, learner.case.workload.T).double().cpu(), part.labels.cpu()
    mean, counts = torch.zeros(classes, classes).double(), torch.zeros(classes, classes).long()
    mean.index_add_(0, labels, voted)
    counts.index_put_((labels, voted.argmax(1)), torch.tensor(1), accumulate=True)
    mean /= counts.sum(1, keepdim=True).clamp(min=1)
    return ConfusionResult(
        confusion_samples=samples,
        votes=tuple(map(tuple, mean.tolist())),
        confusion=tuple(map(tuple, counts.tolist())),
    )


@torch.inference_mode()
def activity(module: nn.Module, x: Tensor, precision: Precision) -> list[tuple[float, bool]]:
    """Return each layer's rate on x (T, B, ...), and whether all samples have the same spikes."""
    module.eval()
    with record_spikes(module) as taps:
        step.inference(module, x, precision)
        layers = [tap.collected() for tap in taps]  # (T, B, ...)
    many = x.shape[1] > 1
    return [(float(o.double().mean()), many and bool((o == o[:, :1]).all())) for o in layers]


@torch.inference_mode()
def inside_window(network: Network, module: nn.Module, x: Tensor) -> tuple[float, ...]:
    """Return each layer's share of potentials inside eq. (14)'s window on x (T, B, ...).

    By the reference with the module's weights. Potentials outside pass no gradient.
    """
    reference = as_drawn(ReferenceNetwork, network).to(x.device, x.dtype).eval()
    copy_parameters(module, reference)
    layers = keep_potentials(reference, lambda u: within(u, network.lif).double().mean())
    reference(x)
    return tuple(float(torch.stack(shares).mean()) for shares in layers)


def warnings_of(
    case: Training, number: int, layers: Sequence[tuple[float, bool]], gradient_norm: float
) -> Iterator[str]:
    """Yield warnings of dead layers, spikes alike for all samples (`activity`), and no gradient."""
    calibrated = case.workload.initialisation == "calibrated"
    if dead := hardly_firing(case.workload.network, [rate for rate, _ in layers]):
        threshold = "lower V_th" if case.contender.framework != ANN else "use another of --seeds"
        remedy = threshold if calibrated else "use --init calibrated"
        yield f"dead layers after epoch {number}: {', '.join(dead)}; they cannot learn: {remedy}"
    pairs = zip(case.workload.network.stages, layers, strict=True)
    blind = [stage.name for stage, (rate, same) in pairs if same and rate >= DEAD_RATE]
    if blind and case.contender.framework != ANN:  # a unit that is always active learns
        yield (
            f"after epoch {number} the spikes of {', '.join(blind)} are the same for every sample: "
            "far from their threshold neurons cannot learn; --seeds shows how often this happens"
        )
    if gradient_norm == 0:  # no potential of any layer was inside the surrogate's window
        remedy = "another of --seeds" if calibrated else "--init calibrated"
        yield f"no gradient in epoch {number}, and so in none to come: use {remedy}"
