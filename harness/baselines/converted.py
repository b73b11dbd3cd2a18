"""Conversions of a trained network to a spiking one: the shared base, and two of three.

The network without spikes has the structure of the paper's CIFARNet with rectified units, average
pools, a linear output layer and no biases, so that each of its parts has a spiking counterpart. Its
inputs are pixels / 255, so that a pixel can be the probability of its spike in each step. It is
trained once a seed and kept in the user's cache folder: conversions run in processes of their own,
and compare only where they start from the very same weights.

Cao et al. 2015: all layers, the output's too, are integrate-and-fire neurons without a leak that
have one threshold in common and fall back to 0. The class is the one whose neuron fires most often.
Without biases a network's answer does not depend on a scale, so one threshold for all layers is one
number to find: the lowest that is best on held-out images.

Sengupta et al. 2018, "Spike-Norm": layer after layer, from the first, the threshold becomes the
most that a neuron of the layer is given in one step,

    V_th = max over images, steps t and neurons i of sum_j w_ij s_j(t)

while training images run through the layers before it, which already fire at their own thresholds.
Neurons integrate without a leak and fall back to 0. The output layer does not fire: what it is
given is added up.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import repeat
from math import inf
from pathlib import Path
from typing import Any, ClassVar, TypeVar, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Baseline, Images, ProgressCallback, progress_part
from harness.datasets import CachedArrays, cached_arrays, sha256
from harness.spec import Conv, Linear, Network, UsageError, Voting, paper

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)  # default steps after which a network answers
# Deviations that all three conversions share.
SHARED_DEVIATIONS = (
    "one shared network of CIFARNet's structure instead of the paper's own",
    "pools average spikes and have no neurons",
    "by default width 1/8 and 128 steps, where it is quick width 1/16 and 64 or 128 steps",
)

CLASSES = 10
PREDICT_BATCH = 20  # images that are run at once


# the network without spikes


def structure(width: Fraction) -> str:
    """Return CIFARNet at this width in the paper's notation: "3x32x32-16C3-...-10"."""
    layers = str(_layers(width)).replace("(Encoding)", "").replace("Voting", str(CLASSES))
    return f"3x32x32-{layers}"


def _layers(width: Fraction) -> Network:
    return paper.network("CIFARNet", "cifar10", width=width)[1]


def build_source(width: Fraction) -> nn.Sequential:
    """Build CIFARNet at this width without spikes, with initial weights of He et al. 2015.

    Rectified units are layers of their own: a conversion finds them by their type, nn.ReLU.
    """
    maps: list[nn.Module] = []
    units: list[nn.Module] = []
    for stage in _layers(width).stages:
        inputs = stage.input_shape[0]
        match stage.synapse:
            case Conv(channels, kernel):
                maps.append(nn.Conv2d(inputs, channels, kernel, padding=kernel // 2, bias=False))
                maps.append(nn.ReLU())
                if stage.pool is not None:
                    maps.append(nn.AvgPool2d(stage.pool.size))
            case Linear(features):
                units += [nn.Linear(inputs, features, bias=False), nn.ReLU()]
            case Voting():
                units.append(nn.Linear(inputs, CLASSES, bias=False))
            case _:
                assert_never(stage.synapse)
    network = nn.Sequential(*maps, nn.Flatten(), *units)
    for weights in network.parameters():
        nn.init.kaiming_normal_(weights, nonlinearity="relu")
    # faster by a third
    return nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)


def to_float(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [0, 1]."""
    return pixels.to(torch.float32, memory_format=torch.channels_last) / 255


def draw_images(images: Images, count: int, seed: int) -> Images:
    """Draw `count` images at random, all if there are fewer; files are sorted by class."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images.part(order[:count])


def load_or_train_source(
    train: Images, sizes: ConversionSizes, epochs: int, seed: int, tell: ProgressCallback
) -> nn.Sequential:
    """Train the network without spikes, or load it if cached of the same data, settings, code."""
    files = __file__, learn.__file__, learn.cropped_and_flipped.__code__.co_filename
    sources = b"".join(Path(file).read_bytes() for file in files)
    parts = (
        *(sha256(train.pixels, train.labels), train.augmented, structure(sizes.width)),
        *(sizes.batch_size, epochs, seed, hashlib.sha256(sources).hexdigest()),
        # what decides rounding
        *(torch.__version__, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()),
    )

    learn.set_seed(seed)
    network = build_source(sizes.width)

    def train_source() -> CachedArrays:
        """Train the network from its initial weights and return its parameters."""
        learn.train(
            lambda x, labels: F.cross_entropy(network(to_float(x)), labels),
            torch.optim.Adam(network.parameters()),
            torch.from_numpy(train.pixels),
            train.labels,
            *(epochs, sizes.batch_size, seed, tell, train.augmented),
        )
        arrays = tuple(parameter.detach().numpy() for parameter in network.parameters())
        return CachedArrays(arrays, sha256(*arrays))

    weights = cached_arrays(" ".join(map(str, parts)), train_source, tell)
    network.eval().requires_grad_(False)
    for parameter, array in zip(network.parameters(), weights.parts, strict=True):
        parameter.copy_(torch.from_numpy(array))
    return network


# the network with spikes


class RandomSpikes(nn.Module):
    """Random input spikes of one step: a pixel is the probability of its spike (Bernoulli)."""

    def forward(self, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < x).to(x.dtype)


class IF(nn.Module):
    """Integrate-and-fire neurons without leak that keep their potential from step to step.

    V += z, and not below `floor`; a spike and V = 0 where V >= threshold.
    """

    def __init__(self, threshold: float, floor: float = -inf) -> None:
        super().__init__()
        self.threshold, self.floor = threshold, floor
        self.v: Tensor | None = None  # None: 0

    def reset(self) -> None:
        """Set all potentials to 0, as before the first step."""
        self.v = None

    def forward(self, z: Tensor) -> Tensor:  # (B, ...) -> (B, ...), of 0 and 1
        """Add a step's input to the potential; return the spikes, each of which lowers it."""
        v = z.clone() if self.v is None else self.v.add_(z)
        v.clamp_(min=self.floor)
        spikes = torch.ge(v, self.threshold, out=torch.empty_like(v))
        self.v = v.addcmul_(v, spikes, value=-1)  # many times as fast as a mask
        return spikes


def to_spiking(
    layers: Iterable[nn.Module], thresholds: Iterable[float], floor: float = -inf
) -> nn.Sequential:
    """Replace each nn.ReLU by `IF` neurons of the next threshold; put `RandomSpikes` first."""
    next_threshold = iter(thresholds).__next__
    spiking = (IF(next_threshold(), floor) if isinstance(m, nn.ReLU) else m for m in layers)
    return nn.Sequential(RandomSpikes(), *spiking)


@torch.inference_mode()
def run(network: nn.Module, neuron: type[Any], images: Images, steps: Sequence[int]) -> Answers:
    """Run a spiking network on each image, and predict its class after each of `steps`.

    In each step the network maps pixels in [0, 1] to (B, classes); the largest sum so far wins. Its
    neurons are modules of type `neuron`, which return 1 for a spike and have `reset`.
    """
    predictions: dict[int, list[Tensor]] = {step: [] for step in steps}
    fired = 0

    def count(neuron: nn.Module, inputs: object, spikes: Tensor) -> None:
        nonlocal fired
        fired += int(spikes.sum())  # exact: fewer than 2**24 neurons together

    layers: list[Any] = [module for module in network.modules() if isinstance(module, neuron)]
    counters = [layer.register_forward_hook(count) for layer in layers]
    for pixels in torch.from_numpy(images.pixels).split(PREDICT_BATCH):
        for layer in layers:
            layer.reset()
        x, total = to_float(pixels), torch.zeros(len(pixels), CLASSES)
        for t in range(1, max(steps) + 1):
            total += network(x)
            if t in predictions:
                predictions[t].append(total.argmax(1))
    for counter in counters:
        counter.remove()
    labels = {step: torch.cat(classes).numpy() for step, classes in predictions.items()}
    return Answers(labels[max(steps)], labels, fired / len(images))


@dataclass(frozen=True, kw_only=True)
class ConversionSizes:
    """Parameters that all conversions share."""

    width: Fraction = Fraction(1, 8)
    batch_size: int = 50
    steps: tuple[int, ...] = STEPS


Z = TypeVar("Z", bound=ConversionSizes)


class Conversion(Baseline[Images, Z]):
    """A baseline that converts the shared network without spikes to a spiking one."""

    DATASETS, INPUT = ("cifar10",), "images"
    EPOCHS = {"quick": 20, "default": 15, "paper": 150}
    STEPS = STEPS
    NEURON: ClassVar[type[Any]] = IF

    def fit(self, train: Images, validation: Images, seed: int, tell: ProgressCallback) -> None:
        """Train the ANN, or load it, and convert it."""
        self.seed, self.structure = seed, structure(self.sizes.width)
        training = progress_part(tell, 0, 0.8)  # its share of the time, about
        self.network = load_or_train_source(train, self.sizes, self.epochs, seed, training)
        self.snn = self.convert(train, validation, progress_part(tell, 0.8, 1))

    @abstractmethod
    def convert(self, train: Images, validation: Images, tell: ProgressCallback) -> nn.Module:
        """Convert the trained `self.network` to a spiking one."""

    def predict(self, test: Images) -> Answers:
        """Return the converted network's answers, with its ANN's as their source."""
        pixels, count = torch.from_numpy(test.pixels), len(test)
        source = learn.scores(self.network, lambda n: to_float(pixels[n]), count, PREDICT_BATCH)
        return replace(self.answers(self.snn, test), source=source.argmax(1).numpy())

    def answers(self, snn: nn.Module, images: Images) -> Answers:
        """Predict by a spiking network; each call draws its input spikes from the same seed."""
        learn.set_seed(self.seed)
        return run(snn, self.NEURON, images, self.sizes.steps)


# two conversions


@dataclass(frozen=True, kw_only=True)
class CaoSizes(ConversionSizes):
    """Parameters of `Cao`."""

    thresholds: tuple[float, ...] = (0.7, 1.0, 1.4, 2.0, 2.8)  # of which one is chosen
    floor: float = -10.0  # of potentials, in thresholds: V_min, which the paper does not give
    choosing: int = 100  # held-out images on which it is chosen


class Cao(Conversion[CaoSizes]):
    """Conversion with one threshold for all layers and a reset to 0 (Cao et al. 2015)."""

    TITLE, PAPER = "Tailored CNN, converted", "Cao, Chen and Khosla 2015"
    FIDELITY = "after the description"
    DEVIATIONS = (
        *SHARED_DEVIATIONS,
        "no crops of 24x24 and no absolute values: pixels / 255",
        "threshold chosen on held-out images",
        "lowest potential of -10 thresholds, a third-party reproduction's",
        "no public code",
    )
    REVISION = 1  # 1: each 200 test samples draw spikes anew
    SIZES = {
        "quick": CaoSizes(width=Fraction(1, 16), steps=STEPS[:7], choosing=30),
        "default": CaoSizes(),
        "paper": CaoSizes(width=Fraction(1), steps=(*STEPS, 256, 512), choosing=1000),
    }

    def convert(self, train: Images, validation: Images, tell: ProgressCallback) -> nn.Module:
        """Convert with the threshold that is best on held-out images, the lowest of ties."""
        held_out = draw_images(validation, self.sizes.choosing, self.seed)
        tried = self.sizes.thresholds

        def correct(threshold: float) -> int:
            tell(tried.index(threshold) / len(tried), f"threshold {threshold:g}")
            answers = self.answers(self.with_threshold(threshold), held_out)
            return int((answers.labels == held_out.labels).sum())

        best = max(tried, key=correct)
        self.chosen = f"threshold = {best:g}"
        return self.with_threshold(best)

    def with_threshold(self, threshold: float) -> nn.Module:
        """Convert with this threshold for all layers; the output layer fires too."""
        layers = [*self.network, nn.ReLU()]
        return to_spiking(layers, repeat(threshold), self.sizes.floor * threshold)


@dataclass(frozen=True, kw_only=True)
class SenguptaSizes(ConversionSizes):
    """Parameters of `Sengupta`."""

    images: int = 50  # training images that the thresholds are balanced on
    balancing: int = 100  # time steps for each layer


class Sengupta(Conversion[SenguptaSizes]):
    """Conversion with a balanced threshold for each layer (Sengupta et al. 2018)."""

    TITLE, PAPER = "Spike-Norm", "Sengupta et al. 2018"
    FIDELITY = "published equations"
    DEVIATIONS = (
        *SHARED_DEVIATIONS,
        "no residual connections and no dropout",
        "by default thresholds of 50 images and 100 steps, not 2,500",
    )
    SIZES = {
        "quick": SenguptaSizes(width=Fraction(1, 16), images=20, balancing=50),
        "default": SenguptaSizes(),
        # the paper says 2,500 steps; at full width more images would not end
        "paper": SenguptaSizes(
            width=Fraction(1), steps=(*STEPS, 256, 512, 1024, 2500), images=100, balancing=2500
        ),
    }

    def convert(self, train: Images, validation: Images, tell: ProgressCallback) -> nn.Module:
        """Convert with thresholds balanced layer by layer, on a sample of training images."""
        images = draw_images(train, self.sizes.images, self.seed)
        x = to_float(torch.from_numpy(images.pixels))
        learn.set_seed(self.seed)
        thresholds = balance_thresholds(self.network, x, self.sizes.balancing, tell)
        return to_spiking(self.network, thresholds)


@torch.inference_mode()
def balance_thresholds(
    network: nn.Sequential, x: Tensor, steps: int, tell: ProgressCallback
) -> tuple[float, ...]:
    """Return each layer's threshold: the largest input of its units over images and steps.

    `x` (B, C, H, W) in [0, 1]; the layers before it fire at their thresholds. Raises UsageError if
    a layer receives no input above 0.
    """
    layers = list(network)
    units = [n for n, module in enumerate(layers) if isinstance(module, nn.ReLU)]
    thresholds: list[float] = []
    for layer, place in enumerate(units):
        below = to_spiking(layers[:place], thresholds)
        largest = 0.0
        for t in range(steps):
            tell((layer + t / steps) / len(units), f"threshold {layer + 1}/{len(units)}")
            largest = max(largest, float(below(x).max()))
        if largest <= 0:
            raise UsageError(
                f"layer {layer + 1} of the network is given no spikes that excite it: "
                "train it on more images or for more epochs"
            )
        thresholds.append(largest)
    return tuple(thresholds)
