"""A convolutional network of soft-LIF rate units, without spikes (Hunsberger & Eliasmith 2015).

A unit answers with the rate at which a leaky integrate-and-fire neuron would fire under its current
j, smoothed around the threshold 1 so that its slope is bounded:

    r = A / (tau_ref + tau_rc log(1 + 1 / rho(j - 1))),  rho(x) = sigma log(1 + exp(x / sigma))

In training, Gaussian noise is added to the rates of units above threshold, as spikes will be noisy;
gradients pass it by. Layers, pooling and constants are those of the authors' code
(hunse/cuda-convnet2): random crops of 24x24 pixels, mirrored or not, where the data set allows
that, the middle otherwise and at test; two convolutions with average pooling, two layers whose
filters are not shared between places, a linear read-out; no normalisation of responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Effort, Images, Labels, Samples, Say
from harness.spec import UsageError

TITLE = "Soft-LIF network without spikes"
PAPER = "Hunsberger & Eliasmith 2015"
DATASETS = ("cifar10",)
INPUT = "images"
WINDOWS = ()
FIDELITY = "published code's parameters"
DEVIATIONS = (
    "torch instead of CUDA C++",
    "AdamW at one learning rate, not SGD with momentum at three",
    "first weights after He, pixels scaled to a deviation of 1",
    "noise of 10 Hz, one of two in the authors' code",
    "held-out images are not trained on in the end",
    "by default a quarter of the width and 12 epochs of batches of 64, not 520 of 128",
)
RANDOM = True
EPOCHS: Mapping[Effort, int] = {"quick": 20, "default": 12, "paper": 520}

CROP = 24  # pixels
POOLED = 2  # as many layers are convolutions and followed by pooling
SIDE = 6  # what pooling leaves of CROP: 24 -> 12 -> 6
LEARNING_RATE = 2e-3  # ours
# Per step of the learning rate, of the weights alone; none of the convolutions'.
DECAY = {"layers.2.weight": 0.004, "layers.3.weight": 0.004, "read.weight": 0.01}
BATCH = 200  # images at once at test
LOWEST = -20.0  # from here down log(1 + exp(y)) is exp(y)


@dataclass(frozen=True)
class Neuron:
    """A LIF neuron and its soft rate; times in seconds. Of `layers-cifar10-lifnoise.cfg`."""

    tau_ref: float = 0.001
    tau_rc: float = 0.05
    gain: float = 0.825
    bias: float = 1.0  # the threshold: a unit that is given nothing is about to fire
    sigma: float = 0.02
    amplitude: float = 0.063  # A: of one spike a second, for the next layer
    noise: float = 10.0  # Hz, its deviation; 20 in another of the authors' files

    def current(self, x: Tensor) -> Tensor:
        """j of what the synapses bring."""
        return self.gain * x + self.bias


class _SoftRate(torch.autograd.Function):
    """Keeps one number for the way back, the slope."""

    @staticmethod
    def forward(ctx: Any, j: Tensor, neuron: Neuron) -> Tensor:
        y = (j - 1) / neuron.sigma
        near = y.clamp(min=LOWEST)
        rho = F.softplus(near)  # of sigma
        log_rho = rho.log() + (y - near) + log(neuron.sigma)
        rate = 1 / (neuron.tau_ref + neuron.tau_rc * F.softplus(-log_rho))
        # d log rho / dy = sigmoid(y) / rho, which stays 1 from LOWEST down
        slope = rate.square() * torch.sigmoid(-log_rho) * torch.sigmoid(near) / rho
        ctx.save_for_backward(slope * (neuron.tau_rc / neuron.sigma))
        return rate

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


def soft_rate(j: Tensor, neuron: Neuron) -> Tensor:  # any one shape -> Hz
    """The smoothed rate of current j, and its gradient, for all j that are finite.

    Far below the threshold exp(x / sigma) is no float32 any more, so rho is kept as its logarithm:
    log(1 + 1 / rho) is log(1 + exp(-log rho)).
    """
    return _SoftRate.apply(j, neuron)


@torch.no_grad()
def noise(rate: Tensor, j: Tensor, deviation: float) -> Tensor:  # Hz
    """Gaussian noise on the rates where j is above threshold; none falls below 0."""
    # drawn in the order of memory, which is several times faster
    drawn = torch.randn(rate.numel()).as_strided(rate.shape, rate.stride())
    return torch.maximum(drawn.mul_(deviation).mul_(j > 1), -rate)


def pool(x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H / 2, W / 2)
    """Means of 3x3 at a stride of 2; at the far edges, of the pixels that are there."""
    return F.avg_pool2d(x, 3, stride=2, ceil_mode=True, count_include_pad=False)


def centre(images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, CROP, CROP)
    """The middle of each image."""
    top, left = (size // 2 - CROP // 2 for size in images.shape[-2:])
    return images[..., top : top + CROP, left : left + CROP]


def random_crops(images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, CROP, CROP)
    """A part of each image, anywhere in it and mirrored or not, by torch's own generator."""
    count, _, height, width = images.shape
    rows = torch.randint(height - CROP + 1, (count, 1)) + torch.arange(CROP)
    columns = torch.randint(width - CROP + 1, (count, 1)) + torch.arange(CROP)
    mirrored = torch.rand(count, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(count)[:, None, None]
    # indices around the channels' slice put the channels last
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class Local(nn.Module):
    """Filters of 3x3 as a convolution's, but each place has its own."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        deviation = (2 / (9 * inputs)) ** 0.5
        self.weight = nn.Parameter(torch.randn(9, side * side, inputs, outputs) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs, side, side))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, F, H, W)
        height, width = x.shape[-2:]
        wide = F.pad(x, (1, 1, 1, 1)).permute(2, 3, 0, 1)  # (H + 2, W + 2, B, C)
        out = torch.zeros(())
        for n, weight in enumerate(self.weight):
            row, column = divmod(n, 3)
            seen = wide[row : row + height, column : column + width]
            out = out + seen.flatten(0, 1) @ weight  # (H W, B, F)
        return out.permute(1, 2, 0).unflatten(2, (height, width)) + self.bias


class RateNetwork(nn.Module):
    """What is trained; without noise once it is in `eval`."""

    def __init__(self, filters: tuple[int, int, int, int], classes: int, neuron: Neuron) -> None:
        super().__init__()
        a, b, c, d = filters
        self.neuron = neuron
        self.layers = nn.ModuleList(
            [_convolution(3, a), _convolution(a, b), Local(b, c, SIDE), Local(c, d, SIDE)]
        )
        self.read = nn.Linear(d * SIDE * SIDE, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, CROP, CROP) -> (B, N)
        x = x.contiguous(memory_format=torch.channels_last)  # pools faster
        for n, layer in enumerate(self.layers):
            j = self.neuron.current(layer(x))
            rate = soft_rate(j, self.neuron)
            if self.training:
                rate = rate + noise(rate, j, self.neuron.noise)
            x = self.neuron.amplitude * self.pooled(n, rate)
        return self.read(x.flatten(1))

    def pooled(self, n: int, x: Tensor) -> Tensor:
        """What goes on from layer n; the same of rates and of spikes."""
        return pool(x) if n < POOLED else x


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 5, padding=2)
    nn.init.kaiming_normal_(layer.weight)  # above threshold a unit's slope is near 1
    return layer


@dataclass(frozen=True)
class Sizes:
    """How large it is."""

    filters: tuple[int, int, int, int]
    batch_size: int


SIZES: Mapping[Effort, Sizes] = {
    "quick": Sizes((8, 8, 8, 4), 32),
    "default": Sizes((16, 16, 16, 8), 64),
    "paper": Sizes((64, 64, 64, 32), 128),
}


class SoftLIF:
    """The network and what its images are normalised by."""

    def __init__(self, sizes: Sizes, epochs: int, neuron: Neuron) -> None:
        self.sizes, self.epochs, self.neuron = sizes, epochs, neuron

    @property
    def structure(self) -> str:
        """Filters and their size, average pooling, filters of each place, the read-out."""
        a, b, c, d = self.sizes.filters
        return f"{CROP}x{CROP}x3-{a}c5-ap3-{b}c5-ap3-{c}local3-{d}local3-fc"

    @property
    def chosen(self) -> str:
        """Nothing is."""
        return ""

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        """Learns the classes by cross-entropy."""
        assert isinstance(train, Images)
        images = _whole(train)
        middle = centre(images).float()
        self.mean = middle.mean(0)
        self.deviation = max(float((middle - self.mean).std()), 1.0)  # all pixels may be equal
        learn.seeded(seed)
        network = self.network = RateNetwork(self.sizes.filters, train.classes, self.neuron)
        crop = random_crops if train.augmented else centre

        def loss(x: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(network(self._normal(crop(x))), labels)

        groups = [
            {"params": [parameter], "weight_decay": DECAY.get(name, 0.0)}
            for name, parameter in network.named_parameters()
        ]
        optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE)
        course = learn.Course(self.epochs, self.sizes.batch_size, seed)
        learn.train(loss, optimiser, images, train.labels, course, tell)
        network.eval()

    def predict(self, test: Samples) -> Labels:
        """The class whose read-out is largest."""
        return learn.scores(self.network, self.inputs(test), BATCH).argmax(1).numpy()

    def inputs(self, test: Samples) -> Tensor:
        """The middle of each image as the network takes it, (N, 3, CROP, CROP)."""
        assert isinstance(test, Images)
        return self._normal(centre(_whole(test)))

    def _normal(self, crops: Tensor) -> Tensor:
        return (crops.float() - self.mean) / self.deviation


def _whole(images: Images) -> Tensor:
    """The pixels. Raises UsageError where images are smaller than a crop."""
    height, width = images.pixels.shape[-2:]
    if min(height, width) < CROP:
        raise UsageError(
            f"images are {height}x{width} pixels, expected at least {CROP}x{CROP}: enlarge them"
        )
    return torch.from_numpy(images.pixels)


def build(effort: Effort, epochs: int) -> SoftLIF:
    """The system at a size."""
    return SoftLIF(SIZES[effort], epochs, Neuron())
