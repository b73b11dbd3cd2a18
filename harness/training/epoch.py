"""A network trained on a data set, epoch by epoch, and tested.

Every random draw of an epoch (order, crops and flips, dropout) comes from a seed made of the run's
seed and the epoch's number. So a run that goes on from a checkpoint draws what an undisturbed one
would have drawn, and ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

import adapters
from harness.adapter import record_spikes
from harness.datasets import Labelled
from harness.datasets.augment import cropped_and_flipped
from harness.datasets.loading import network_input
from harness.datasets.samples import SPLIT_SEED
from harness.formats.weights import first_weights
from harness.reference import coding
from harness.reference.ann import initialised_ann
from harness.reference.initialise import copy_parameters, hardly_firing
from harness.reference.precision import DTYPES
from harness.spec import ANN, DEAD_RATE, Case, Precision, Trained, UsageError
from harness.system import clock
from harness.training import step
from harness.training.checkpoint import Epoch

VALIDATION_SHARE = 0.1  # of the training samples, drawn once: the same for every seed
CALIBRATION_SAMPLES = 20
EVALUATION_BATCH = 100

Tell = Callable[[float], None]  # is told how far a piece of work is, in [0, 1]
UNMOVED = 0.01  # relative change of the loss over the first epoch below which it has not moved
TRAINING_SHARE = 0.8  # of an epoch's time, about; the rest tests


class Diverged(Exception):
    """The loss is no number any more; the message says what to try."""


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Which of `count` training samples are trained on, and which are held out to validate.

    Raises UsageError where they are too few to hold any out.
    """
    held = round(VALIDATION_SHARE * count)
    if held < 1:
        raise UsageError(
            f"{count} training samples are too few to hold some out: use --samples 10 or more"
        )
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return drawn[held:], drawn[:held]


@dataclass(frozen=True)
class DataSplits:
    """The three parts of a data set: a tenth of the training samples is held out to validate.

    Beside simulated ones real recordings, to test on as well, where there are any.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    recorded: Labelled | None = None

    @classmethod
    def of(cls, train: Labelled, test: Labelled, recorded: Labelled | None = None) -> DataSplits:
        """Raises UsageError where the training samples are too few to hold any out."""
        kept, held = held_out(len(train))
        return cls(train.part(kept), train.part(held), test, recorded)

    def to(self, device: torch.device) -> DataSplits:
        """The same on a device."""
        train, validation, test = (
            part.to(device) for part in (self.train, self.validation, self.test)
        )
        return DataSplits(train, validation, test, self.recorded and self.recorded.to(device))


@dataclass(frozen=True)
class Learner:
    """A network in training."""

    case: Trained
    data: DataSplits  # on the case's device
    module: nn.Module
    optimiser: torch.optim.Optimizer

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return DTYPES[self.case.precision]


def begin(case: Trained, data: DataSplits, out: Path | None = None) -> Learner:
    """The case's network with its initial weights; those that it names are in the result folder.

    Raises what its adapter raises, and UsageError where weights that it names are not there.
    """
    device = torch.device(case.device)
    dtype = DTYPES[case.precision]
    data = data.to(device)
    few = data.train.part(torch.arange(min(CALIBRATION_SAMPLES, len(data.train))))
    x = _as(few.raw, case, data, dtype)
    module = built(case, x, out)
    return Learner(case, data, module, step.optimiser(module.parameters(), case.optimiser))


def built(case: Case, x: Tensor, out: Path | None) -> nn.Module:
    """The case's network with its initial weights, of the type and on the device of x (T, B, ...).

    Raises as `begin` does.
    """
    if case.framework == ANN:
        return initialised_ann(case.network, x, seed=case.seed, scheme=case.initialisation)
    module = adapters.load(case.framework).build(case.network).to(device=x.device, dtype=x.dtype)
    copy_parameters(first_weights(case, x, out), module)
    return module


def epoch(learner: Learner, number: int, tell: Tell) -> Epoch:
    """Trains one epoch, from 1, and tests. Raises Diverged."""
    rate = step.learning_rate(learner.case.optimiser, number)
    for group in learner.optimiser.param_groups:
        group["lr"] = rate
    watch = clock.Stopwatch(torch.device(learner.case.device))
    passed = _pass(learner, number, tell)
    seconds = watch.seconds
    if not all(map(isfinite, passed.losses)):
        raise Diverged(
            f"the loss became {passed.loss} in epoch {number}: use fewer steps, a smaller network "
            "or --init calibrated"
        )
    validation = accuracy(learner, learner.data.validation, learner.case.T)
    test = accuracy(learner, learner.data.test, learner.case.T)
    x, _ = next(learner.data.validation.batches(learner.case.T, EVALUATION_BATCH))
    does = activity(learner.module, step.placed(x, learner.dtype), learner.case.precision)
    return Epoch(
        number=number,
        loss=passed.loss,
        train_accuracy=passed.accuracy,
        validation_accuracy=validation,
        test_accuracy=test,
        rates=tuple(layer.rate for layer in does),
        gradient_norm=passed.gradient_norm,
        learning_rate=rate,
        seconds=seconds,
        warnings=tuple(warnings_of(learner.case, number, does, passed.losses)),
    )


@dataclass(frozen=True)
class _Pass:
    """What the training pass of an epoch came to."""

    losses: list[float]  # of each iteration
    loss: float  # mean over the samples
    accuracy: float
    gradient_norm: float  # mean over the iterations


def _pass(learner: Learner, number: int, tell: Tell) -> _Pass:
    case, train = learner.case, learner.data.train
    seed = _seed(case.seed, number)
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)
    learner.module.train()
    losses, norms, right = [], [], []
    chunks = order.split(case.batch_size)
    for n, chosen in enumerate(chunks):
        part = train.part(chosen)
        raw = cropped_and_flipped(part.raw, generator) if train.about.augmented else part.raw
        x = _as(raw, case, learner.data, learner.dtype)
        outcome = step.iteration(
            learner.module,
            learner.optimiser,
            x,
            part.labels,
            objective=step.Objective(case.network.classes, case.training.loss),
            precision=case.precision,
        )
        gradients = [p.grad for p in learner.module.parameters() if p.grad is not None]
        losses.append(outcome.loss)
        norms.append(get_total_norm(gradients))
        right.append((outcome.votes.argmax(1) == part.labels).sum())
        tell(TRAINING_SHARE * (n + 1) / len(chunks))
    each = torch.stack(losses).double().cpu()
    sizes = torch.tensor([len(chosen) for chosen in chunks], dtype=torch.float64)
    return _Pass(
        losses=each.tolist(),
        loss=float((each * sizes).sum() / sizes.sum()),
        accuracy=float(torch.stack(right).sum().cpu() / len(train)),
        gradient_norm=float(torch.stack(norms).double().mean().cpu()),
    )


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _as(raw: Tensor, case: Trained, data: DataSplits, dtype: torch.dtype) -> Tensor:
    """Bytes as the network's input (T, B, C, H, W); a static image stays expanded."""
    x = network_input(raw, case.T, data.train.about.normal)
    return step.placed(x, dtype)


def votes(learner: Learner, part: Labelled, T: int) -> Iterator[Tensor]:
    """The votes (B, classes) of each batch of `part` over T steps, in order."""
    learner.module.eval()
    for x, _ in part.batches(T, EVALUATION_BATCH):
        spikes = step.inference(
            learner.module, step.placed(x, learner.dtype), learner.case.precision
        )
        yield coding.vote(spikes.to(learner.dtype), learner.case.network.classes)


def accuracy(learner: Learner, part: Labelled, T: int) -> float:
    """The share of samples whose class has the most votes, the first of equals, over T steps."""
    right = 0
    labels = part.labels.split(EVALUATION_BATCH)
    for each, expected in zip(votes(learner, part, T), labels, strict=True):
        right += int((each.argmax(1) == expected).sum())
    return right / len(part)


@dataclass(frozen=True)
class Confusion:
    """Votes and decisions on random test samples (Fig. 6); rows are the labels."""

    samples: int
    votes: tuple[tuple[float, ...], ...]  # mean vote for each class
    counts: tuple[tuple[int, ...], ...]  # samples decided for each class


def confusion(learner: Learner, samples: int) -> Confusion:
    """Fig. 6's matrix over that many random test samples, the same for every run."""
    test = learner.data.test
    drawn = torch.randperm(len(test), generator=torch.Generator().manual_seed(SPLIT_SEED))
    part = test.part(drawn[:samples])
    voted = torch.cat(list(votes(learner, part, learner.case.T))).double().cpu()
    labels = part.labels.cpu()
    classes = learner.case.network.classes
    mean, counts = torch.zeros(classes, classes).double(), torch.zeros(classes, classes).long()
    mean.index_add_(0, labels, voted)
    counts.index_put_((labels, voted.argmax(1)), torch.tensor(1), accumulate=True)
    mean /= counts.sum(1, keepdim=True).clamp(min=1)
    return Confusion(
        len(part), tuple(map(tuple, mean.tolist())), tuple(map(tuple, counts.tolist()))
    )


# what the layers of a network do, and what is warned of


@dataclass(frozen=True)
class Activity:
    """What a layer does on some samples."""

    rate: float  # spikes per neuron and step
    same: bool  # whether its spikes are the same for every sample

    @classmethod
    def of(cls, spikes: Tensor) -> Activity:
        """Of a layer's spikes (T, B, ...)."""
        same = spikes.shape[1] > 1 and bool((spikes == spikes[:, :1]).all())
        return cls(float(spikes.double().mean()), same)


@torch.inference_mode()
def activity(module: nn.Module, x: Tensor, precision: Precision) -> tuple[Activity, ...]:
    """What each layer does on the samples x (T, B, ...), without dropout."""
    module.eval()
    with record_spikes(module) as taps:
        step.inference(module, x, precision)
        return tuple(Activity.of(tap.collected()) for tap in taps)


def warnings_of(
    case: Trained, number: int, layers: Sequence[Activity], losses: Sequence[float]
) -> Iterator[str]:
    """What is to be said of a network after that epoch, whose iterations had these losses."""
    remedy = "use --init calibrated" if case.initialisation != "calibrated" else "lower V_th"
    dead = hardly_firing(case.network, [at.rate for at in layers])
    if dead:
        yield f"dead layers after epoch {number}: {', '.join(dead)}; they cannot learn: {remedy}"
    pairs = zip(case.network.stages, layers, strict=True)
    blind = [stage.name for stage, at in pairs if at.same and at.rate >= DEAD_RATE]
    if blind:
        yield (
            f"after epoch {number} the spikes of {', '.join(blind)} are the same for every sample: "
            "far from their threshold neurons cannot learn; --seeds shows how often this happens"
        )
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]), sum(losses[-tenth:])
    if number == 1 and abs(last - first) < UNMOVED * abs(first):
        yield f"the loss has not moved in the first epoch (mean {first / tenth:.4f}): {remedy}"
