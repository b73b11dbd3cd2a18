"""The shared base of baselines that learn by gradients: epochs over batches in a seeded order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines.contract import Answers, Baseline, Labels, Recordings, S, silent
from harness.datasets.events import BIN_US
from harness.datasets.images import cropped_and_flipped
from harness.reference.neuron import LIFCell
from harness.spec import ProgressCallback, UsageError
from harness.training.epoch import seed_of

MOST_BINS = 70  # 350 ms: recordings of N-MNIST last about 308 ms

# Indices (B,) of samples to the network's input.
BatchInput = Callable[[Tensor], Any]


def train(
    loss: Callable[[Tensor, Tensor], Tensor],  # of inputs (B, ...) and labels (B,)
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Labels,
    epochs: int,
    batch_size: int,
    seed: int,
    tell: ProgressCallback,
    augmented: bool = False,
) -> None:
    """Minimise `loss` over shuffled batches of `inputs` (N, ...); seed, epoch decide all draws.

    `augmented` inputs are images, uint8 (N, C, H, W), and are cropped and flipped at random.

    Raises UsageError if the last loss of an epoch is not finite.
    """
    expected, value = torch.from_numpy(labels), torch.zeros(())
    for epoch in range(1, epochs + 1):
        of_epoch = seed_of(f"baseline {seed}", epoch)
        torch.manual_seed(of_epoch)
        generator = torch.Generator().manual_seed(of_epoch)
        order = torch.randperm(len(labels), generator=generator)
        for n, chosen in enumerate(order.split(batch_size)):
            x = inputs[chosen]
            if augmented:
                x = cropped_and_flipped(x, generator)
            optimiser.zero_grad()
            value = loss(x, expected[chosen])
            value.backward()
            optimiser.step()
            done = (epoch - 1 + (n * batch_size) / len(labels)) / epochs
            tell(done, f"epoch {epoch}/{epochs}")
        if not isfinite(float(value.detach())):
            raise UsageError(f"the loss is no number any more in epoch {epoch}: use fewer epochs")


def set_seed(seed: int) -> None:
    """Seed torch's global generator."""
    torch.manual_seed(seed_of(f"baseline {seed}", 0))


@torch.inference_mode()
def scores(network: Callable[[Any], Tensor], pick: BatchInput, count: int, together: int) -> Tensor:
    """Compute the network's scores of `count` samples, (N, classes), `together` at a time."""
    return torch.cat([network(pick(chosen)) for chosen in torch.arange(count).split(together)])


@dataclass(frozen=True, kw_only=True)
class LearnerSizes:
    """Parameters of a training by Adam."""

    batch_size: int
    lr: float = 1e-3  # torch's default


Z = TypeVar("Z", bound=LearnerSizes)


class GradientLearner(Baseline[S, Z]):
    """A baseline whose network learns by gradients."""

    PREDICT_BATCH = 100  # samples predicted at once

    network: Any  # a module, set by `fit`

    @abstractmethod
    def build_network(self, train: S) -> nn.Module:
        """Build the network for these samples, with initial weights, and set `structure`."""

    @abstractmethod
    def inputs(self, samples: S, tell: ProgressCallback) -> BatchInput:
        """Return the function that makes a network's input from these samples."""

    def loss(self, out: Any, labels: Tensor) -> Tensor:
        return F.cross_entropy(out, labels)

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), self.sizes.lr)

    def fit(self, train: S, validation: S, seed: int, tell: ProgressCallback) -> None:
        """Build the network from the seed and train it; `validation` is not used."""
        set_seed(seed)
        self.network = self.build_network(train)
        self.learn(self.inputs(train, tell), train.labels, seed, tell)

    def learn(self, pick: BatchInput, labels: Labels, seed: int, tell: ProgressCallback) -> None:
        """Train the network on these labels, then set it to evaluation mode."""

        def loss(chosen: Tensor, expected: Tensor) -> Tensor:
            return self.loss(self.network(pick(chosen)), expected)

        every, size = torch.arange(len(labels)), self.sizes.batch_size
        train(loss, self.optimiser(), every, labels, self.epochs, size, seed, tell)
        self.network.eval()

    def predict(self, test: S) -> Labels | Answers:
        pick = self.inputs(test, silent)
        return scores(self.network, pick, len(test), self.PREDICT_BATCH).argmax(1).numpy()


@dataclass(frozen=True, kw_only=True)
class HiddenSizes(LearnerSizes):
    """Parameters of the training of a network with one hidden layer."""

    hidden: int


class FrameLearner(GradientLearner[Recordings, Z]):
    """A learner whose network's input is all frames of 5 ms of a window, (B, T, 2, H, W)."""

    DATASETS, INPUT = ("nmnist",), "frames"

    bins: int | None = None  # of the longest training recording, at most MOST_BINS

    def inputs(self, samples: Recordings, tell: ProgressCallback) -> BatchInput:
        """Return what picks samples as event counts (n, bins, 2, H, W), made when asked for."""
        bins = self.bins = self.bins or min(-(-samples.longest_us // BIN_US), MOST_BINS)

        def frames(chosen: Tensor) -> Tensor:  # all at once may not fit in memory
            return torch.from_numpy(samples.part(chosen.numpy()).frames(bins)).float()

        return frames


def step_neurons(cell: LIFCell, currents: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the spikes (B, ...) of neurons that start at rest, given their current in each step."""
    state = None
    for current in currents:
        o, state = cell(current, state)
        yield o


def run_neurons(cell: LIFCell, currents: Tensor) -> Tensor:  # (T, B, ...) -> (T, B, ...)
    """Return the spikes of all steps."""
    return torch.stack([*step_neurons(cell, currents)])


@torch.inference_mode()
def predict_by_spikes(
    layers: Callable[[Any], Sequence[Tensor]], pick: BatchInput, count: int
) -> Answers:
    """Predict by the output that fires most; `layers` returns each layer's spikes (T, B, N)."""
    labels, total = [], 0.0
    for chosen in torch.arange(count).split(GradientLearner.PREDICT_BATCH):
        spikes = layers(pick(chosen))
        labels.append(spikes[-1].sum(0).argmax(1))
        total += sum(float(layer.sum()) for layer in spikes)
    return Answers(torch.cat(labels).numpy(), spikes=total / count)
