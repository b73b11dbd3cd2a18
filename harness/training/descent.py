"""Small trainings that show whether a contender learns in bf16: it must end where float32 does.

An audit shows one gradient; only many steps show the sum of roundings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite, nan
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from harness.adapter import Adapter
from harness.datasets import network_input
from harness.datasets.images import colour_digits
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.precision import DTYPES
from harness.spec import Precision, Timing, paper
from harness.statistics import mean_prediction
from harness.training import step

DATASET = "cifar10"  # its settings and network are used


@dataclass(frozen=True)
class Bf16CheckSettings:
    """The network, data and number of the trainings that check bf16."""

    scale: str = "Small"  # or a notation
    width: Fraction = Fraction(1, 8)
    size: int = 16  # of a digit, in pixels: a quarter of CIFAR-10's work, and no easier to learn
    T: int = 4
    batch_size: int = 20
    steps: int = 300
    averaged: int = 20  # steps: a batch's loss is noisy
    fp32_seeds: int = 5  # their spread is the yardstick
    bf16_seeds: int = 3

    @property
    def trainings(self) -> tuple[tuple[Precision, int], ...]:
        """Precision and seed of each training, float32 first."""
        seeds: dict[Precision, int] = {"fp32": self.fp32_seeds, "bf16": self.bf16_seeds}
        return tuple(
            (precision, seed) for precision, count in seeds.items() for seed in range(count)
        )


CHECK_SETTINGS = Bf16CheckSettings()


@dataclass(frozen=True)
class Digits:
    """The embedded digits that the trainings use."""

    images: Tensor  # float32 (N, C, H, W), normalised
    labels: Tensor  # int64 (N,)

    @classmethod
    def read(cls) -> Digits:
        """Read the digits of the training split."""
        samples = colour_digits("train", CHECK_SETTINGS.size)
        raw, labels = map(torch.from_numpy, (np.stack(samples.all()), samples.labels))
        return cls(network_input(raw, 1, samples.info.normalisation)[0].contiguous(), labels)

    def draws(self, seed: int) -> Iterator[Tensor]:
        """Yield the indices of each batch, the same in every precision and framework."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(CHECK_SETTINGS.steps):
            yield torch.randint(len(self.labels), (CHECK_SETTINGS.batch_size,), generator=generator)

    def weights(self, case: Timing) -> tuple[Tensor, ...]:
        """Return the initial weights of a case, in layer order, calibrated on its first batch."""
        few = self.images[next(self.draws(case.workload.seed))]
        x = few.expand(case.workload.T, *few.shape)
        module = initialised(case.workload.network, x, seed=case.workload.seed)
        return tuple(parameter.detach() for parameter in module.parameters())


def case_of(timed: Timing) -> Timing:
    """Return the small training with which a timed case's contender is checked."""
    title, network = paper.network(CHECK_SETTINGS.scale, DATASET, width=CHECK_SETTINGS.width)
    channels = network.input_shape[0]
    size = CHECK_SETTINGS.size
    workload = replace(
        timed.workload, dataset=DATASET, scale=title, width=CHECK_SETTINGS.width,
        network=replace(network, input_shape=(channels, size, size)), T=CHECK_SETTINGS.T,
        batch_size=CHECK_SETTINGS.batch_size, initialisation="calibrated",
    )  # fmt: skip
    optimiser = paper.settings(DATASET).optimiser
    return replace(timed, workload=workload, optimiser=optimiser, mode="training")


def in_words(case: Timing) -> str:
    """Describe what is trained, in words."""
    workload = case.workload
    size = workload.network.input_shape[-1]
    digits = f"scikit-learn's digits of {size}x{size} pixels"
    steps = f"T={workload.T}, batch {workload.batch_size}"
    return f"{workload.network} on {digits}, {steps}, {case.optimiser}"


@dataclass(frozen=True)
class Bf16Trainee:
    """The module that is trained: one for all seeds and precisions, as compiling it takes long."""

    module: nn.Module

    @classmethod
    def of_case(cls, adapter: Adapter, case: Timing) -> Bf16Trainee:
        """Return the adapter's network, on the case's device. Raises what the adapter raises."""
        module = adapter.build(case.workload.network).to(torch.device(case.device), DTYPES["fp32"])
        return cls(module.train())

    def train(self, case: Timing, weights: Sequence[Tensor], digits: Digits) -> list[float]:
        """Train anew from these weights in the case's precision; return each step's loss."""
        device = torch.device(case.device)
        images, classes = digits.images.to(device), digits.labels.to(device)
        workload, size = case.workload, case.workload.batch_size
        held, labels = images[:size].clone(), classes[:size].clone()
        x = held.expand(workload.T, *held.shape)
        copy_parameters(nn.ParameterList(weights), self.module)
        optimise = step.optimiser(self.module.parameters(), case.optimiser)
        count, precision = workload.network.classes, case.contender.precision
        torch.manual_seed(workload.seed)
        losses = []
        for draw in digits.draws(workload.seed):
            indices = draw.to(device)
            held.copy_(images[indices])
            labels.copy_(classes[indices])
            outcome = step.iteration(
                self.module, optimise, x, labels, classes=count, precision=precision
            )
            losses.append(outcome.loss)
        return torch.stack(losses).double().tolist()


# the judgement

# The share of the first loss that may remain where something was learnt. The same answer for every
# digit gives 0.09, about as random weights do; float32 ends at half of that.
LEARNT = 0.75


@dataclass(frozen=True)
class LossEnds:
    """One training: means over its first and last steps, NaN where a loss is not finite."""

    first: float
    last: float

    @classmethod
    def from_losses(cls, losses: Sequence[float], averaged: int) -> LossEnds:
        """Return the means over the first and over the last `averaged` of the steps' losses."""
        if not all(map(isfinite, losses)):
            return cls(nan, nan)
        return cls(fmean(losses[:averaged]), fmean(losses[-averaged:]))


def why_bf16_fails(fp32: Sequence[LossEnds], bf16: Sequence[LossEnds]) -> str:
    """Return why trainings in bf16 fail against those in float32; "" where they pass.

    The mean of bf16's last losses may not lie above the interval in which the mean of as many
    further seeds of float32 lies with 95 % (Student), nor above `LEARNT` of a first loss of bf16.
    Where float32 has not learnt, bf16 fails too, as nothing is known of it.
    """
    for name, trainings in (("float32", fp32), ("bf16", bf16)):
        for seed, ends in enumerate(trainings):
            if not isfinite(ends.last):
                return f"a loss in {name} is no number (seed {seed})"
    for seed, ends in enumerate(fp32):
        if ends.last > LEARNT * ends.first:
            return (
                f"float32 has not learnt (seed {seed}: its loss is {ends.first:.4f} at first and "
                f"{ends.last:.4f} at last), so nothing is known of bf16"
            )
    expected = mean_prediction([ends.last for ends in fp32], len(bf16))
    mixed = fmean(ends.last for ends in bf16)
    # where float32's seeds differ much, bf16 must have learnt all the same
    most = min(expected.high, *(LEARNT * ends.first for ends in bf16))
    if mixed <= most:
        return ""
    in_float32 = f"in float32 at {expected.value:.4f} and at {most:.4f} at most"
    return f"its loss ends at {mixed:.4f}, {in_float32}"
