"""Soft-LIF units, trained as rates and run as spiking neurons (Hunsberger & Eliasmith 2015).

A unit answers with the rate at which a leaky integrate-and-fire neuron would fire under its current
j, smoothed around the threshold 1 so that its slope is bounded:

    r = A / (tau_ref + tau_rc log(1 + 1 / rho(j - 1))),  rho(x) = sigma log(1 + exp(x / sigma))

In training, Gaussian noise is added to the rates of units above threshold, as spikes will be noisy;
gradients pass it by. Layers, pooling and constants are those of the authors' code
(hunse/cuda-convnet2): random crops of 24x24 pixels, mirrored or not, where the data set allows
that, the middle otherwise and at test; two convolutions with average pooling, two layers whose
filters are not shared between places, a linear read-out.

With spikes, each unit becomes a leaky integrate-and-fire neuron with a refractory time, in steps of
1 ms:

    tau_rc dv/dt = j - v;  at v = 1 a spike, v = 0, and no change during tau_ref

Within a step it is solved exactly, so that a neuron under a constant current fires at the rate to
which the soft rate tends with sigma. Pixels are constant currents. Spikes are pooled and pass an
alpha synapse, h(t) = t / tau_s^2 exp(-t / tau_s), before the next layer. The class is that of the
largest mean read-out over the last half of the run, as in the authors' runs of 200 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Images, ProgressCallback, silent

CROP = 24  # pixels
POOLED = 2  # as many layers are convolutions and followed by pooling
SIDE = 6  # pixels after pooling: 24 -> 12 -> 6
# Per step of the learning rate, of the weights alone; none of the convolutions'.
DECAY = {"layers.2.weight": 0.004, "layers.3.weight": 0.004, "read.weight": 0.01}
LOWEST = -20.0  # from here down log(1 + exp(y)) is exp(y)
STEPS = (25, 50, 100, 200)  # ms
DT = 0.001  # seconds
TAU_S = 0.005  # seconds, of the authors' notebook and runs of 200 ms
BATCH = 50  # images at once with spikes: their potentials fit the caches


@dataclass(frozen=True)
class SoftLIFNeuron:
    """Constants of a neuron and its soft rate, from layers-cifar10-lifnoise.cfg; tau in seconds."""

    tau_ref: float = 0.001
    tau_rc: float = 0.05
    gain: float = 0.825
    bias: float = 1.0  # the threshold: without input a unit is about to fire
    sigma: float = 0.02
    amplitude: float = 0.063  # A: of one spike a second, for the next layer
    noise: float = 10.0  # Hz, its deviation; 20 in another of the authors' files

    def current(self, x: Tensor) -> Tensor:  # j for a synaptic input x
        return self.gain * x + self.bias


class SoftRate(torch.autograd.Function):
    """The smoothed rate in Hz of any finite current j, and its gradient.

    Far below the threshold rho underflows in float32, so its logarithm is computed.
    """

    @staticmethod
    def forward(ctx: Any, j: Tensor, neuron: SoftLIFNeuron) -> Tensor:
        """Return the smoothed firing rate of currents `j`, and save its slope for the way back."""
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


@torch.no_grad()
def noise(rate: Tensor, j: Tensor, deviation: float) -> Tensor:  # Hz
    """Draw Gaussian noise to be added to rates: 0 up to the threshold, no sum falls below 0."""
    # drawn in the order of memory, which is several times faster
    drawn = torch.randn(rate.numel()).as_strided(rate.shape, rate.stride())
    return torch.maximum(drawn.mul_(deviation).mul_(j > 1), -rate)


def pool(x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H / 2, W / 2)
    """Average 3x3 pixels at a stride of 2; windows are cut at the far edges."""
    return F.avg_pool2d(x, 3, stride=2, ceil_mode=True, count_include_pad=False)


def centre(images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, CROP, CROP)
    """Crop the middle CROP x CROP pixels of each image."""
    row, column = (size // 2 - CROP // 2 for size in images.shape[-2:])
    return images[..., row : row + CROP, column : column + CROP]


def random_crops(images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, CROP, CROP)
    """Crop each image at random, mirrored with probability 1/2, by torch's global generator."""
    count, _, height, width = images.shape
    rows = torch.randint(height - CROP + 1, (count, 1)) + torch.arange(CROP)
    columns = torch.randint(width - CROP + 1, (count, 1)) + torch.arange(CROP)
    mirrored = torch.rand(count, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(count)[:, None, None]
    # indices around the channels' slice put the channels last
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class LocallyConnected(nn.Module):
    """A layer like a 3x3 convolution, with filters of its own at each place."""

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
    """The network of rates that is trained; it has noise only in training."""

    def __init__(self, filters: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        a, b, c, d = filters
        self.neuron, self.layers = SoftLIFNeuron(), nn.ModuleList()
        for inputs, outputs in ((3, a), (a, b)):
            convolution = nn.Conv2d(inputs, outputs, 5, padding=2)
            nn.init.kaiming_normal_(convolution.weight)  # above threshold its slope is near 1
            self.layers.append(convolution)
        self.layers.append(LocallyConnected(b, c, SIDE))
        self.layers.append(LocallyConnected(c, d, SIDE))
        self.read = nn.Linear(d * SIDE * SIDE, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, CROP, CROP) -> (B, N)
        """Return the scores (B, N) of images, from firing rates, with noise in training."""
        x = x.contiguous(memory_format=torch.channels_last)  # pools faster
        for n, layer in enumerate(self.layers):
            j = self.neuron.current(layer(x))
            rate: Tensor = SoftRate.apply(j, self.neuron)
            if self.training:
                rate = rate + noise(rate, j, self.neuron.noise)
            x = self.neuron.amplitude * self.pool_layer(n, rate)
        return self.read(x.flatten(1))

    def pool_layer(self, n: int, x: Tensor) -> Tensor:
        return pool(x) if n < POOLED else x


@dataclass(frozen=True, kw_only=True)
class SoftLIFSizes(learn.LearnerSizes):
    """Parameters of `SoftLIF`."""

    filters: tuple[int, int, int, int]
    lr: float = 2e-3  # ours


class SoftLIF(learn.GradientLearner[Images, SoftLIFSizes]):
    """Soft-LIF units without spikes (Hunsberger & Eliasmith 2015)."""

    TITLE, PAPER = "Soft-LIF network without spikes", "Hunsberger & Eliasmith 2015"
    DATASETS, INPUT = ("cifar10",), "images"
    FIDELITY = "published code's parameters"
    DEVIATIONS = (
        "torch instead of CUDA C++",
        "AdamW at one learning rate, not SGD with momentum at three",
        "first weights after He, pixels scaled to a deviation of 1",
        "noise of 10 Hz, one of two in the authors' code",
        "held-out images are not trained on in the end",
        "by default a quarter of the width and 12 epochs of batches of 64, not 520 of 128",
    )
    EPOCHS = {"quick": 20, "default": 12, "paper": 520}
    SIZES = {
        "quick": SoftLIFSizes(filters=(8, 8, 8, 4), batch_size=32),
        "default": SoftLIFSizes(filters=(16, 16, 16, 8), batch_size=64),
        "paper": SoftLIFSizes(filters=(64, 64, 64, 32), batch_size=128),
    }
    PREDICT_BATCH = 200

    def build_network(self, train: Images) -> RateNetwork:
        """Build the network, and take the mean and deviation of the training images' middles."""
        a, b, c, d = self.sizes.filters
        # filters and their size, average pooling, filters of each place, the read-out
        self.structure = f"{CROP}x{CROP}x3-{a}c5-ap3-{b}c5-ap3-{c}local3-{d}local3-fc"
        middle = centre(torch.from_numpy(train.pixels)).float()
        self.mean = middle.mean(0)
        self.deviation = max(float((middle - self.mean).std()), 1.0)  # all pixels may be equal
        return RateNetwork(self.sizes.filters, train.classes)

    def inputs(self, samples: Images, tell: ProgressCallback) -> learn.BatchInput:
        """Return what picks images, standardised, cropped: at random in training, else midway."""
        pixels = torch.from_numpy(samples.pixels)

        def picked(chosen: Tensor) -> Tensor:
            crop = random_crops if samples.augmented and self.network.training else centre
            return (crop(pixels[chosen]).float() - self.mean) / self.deviation

        return picked

    def optimiser(self) -> torch.optim.Optimizer:
        """Return AdamW with each parameter's own weight decay."""
        groups = [
            {"params": [parameter], "weight_decay": DECAY.get(name, 0.0)}
            for name, parameter in self.network.named_parameters()
        ]
        return torch.optim.AdamW(groups, lr=self.sizes.lr)


def lif_rate(j: Tensor, neuron: SoftLIFNeuron) -> Tensor:  # any one shape -> Hz
    """Compute a LIF neuron's rate under a constant current j: 0 up to the threshold."""
    over = j - 1
    period = neuron.tau_ref + neuron.tau_rc * torch.log1p(1 / over.clamp(min=1e-30))
    return torch.where(over > 0, 1 / period, 0.0)


def spike_count(seconds: float, rate: Tensor, neuron: SoftLIFNeuron) -> Tensor:
    """Count the spikes within `seconds` of neurons that start at rest and fire at `rate` Hz."""
    return torch.floor((seconds + neuron.tau_ref) * rate)  # the first has no wait before it


class LIFNeurons:
    """LIF neurons that start at rest; exact for currents that are constant in a step."""

    def __init__(self, neuron: SoftLIFNeuron) -> None:
        self.neuron = neuron  # whose tau_ref is DT or more: else one might fire twice in a step
        self.v = torch.zeros(())  # takes the shape of the first currents
        self.wait = torch.zeros(())  # seconds that are left of the refractory time, below 0: none

    def step(self, j: Tensor) -> Tensor:
        """Advance by DT; return 1 for each neuron that fires."""
        tau_rc = self.neuron.tau_rc
        free = (DT - self.wait).clamp(0, DT)  # seconds of the step that are not refractory
        v = j + (self.v - j) * torch.exp(free / -tau_rc)
        fired = v > 1
        lateness = -tau_rc * torch.log1p((1 - v) / (j - 1))  # seconds since v was 1, where it fired
        self.v = torch.where(fired, 0.0, v.clamp(min=0))  # inhibition does not add up
        self.wait = torch.where(fired, self.neuron.tau_ref - lateness, self.wait - DT)
        return fired.to(j.dtype)


class AlphaSynapse:
    """An alpha synapse: two equal low-passes in series; exact for an input constant in a step."""

    def __init__(self) -> None:
        self.first = self.second = torch.zeros(())

    def step(self, x: Tensor) -> Tensor:
        """Advance by DT; return the filtered input."""
        a = exp(-DT / TAU_S)
        b = DT / TAU_S * a
        self.second = a * self.second + b * self.first + (1 - a - b) * x
        self.first = a * self.first + (1 - a) * x
        return self.second


@torch.inference_mode()
def simulate(network: RateNetwork, x: Tensor, steps: int) -> tuple[Tensor, float]:
    """Run the trained network with spikes: read-outs (T, B, N), and the number of all spikes."""
    neuron = network.neuron
    first, *others = network.layers
    x = x.contiguous(memory_format=torch.channels_last)  # pools faster
    rate = lif_rate(neuron.current(first(x)), neuron)
    neurons = [LIFNeurons(neuron) for _ in others]
    synapses = [AlphaSynapse() for _ in network.layers]
    height = neuron.amplitude / DT  # of a spike, which lasts one step
    fired, last, outputs = 0.0, torch.zeros(()), []
    for n in range(1, steps + 1):
        # its currents are constant, so the first layer needs no potentials
        count = network.pool_layer(0, spike_count(n * DT, rate, neuron))
        inputs = height * synapses[0].step(count - last)
        last = count
        for k, layer in enumerate(others):
            spikes = neurons[k].step(neuron.current(layer(inputs)))
            fired += float(spikes.sum())
            inputs = height * synapses[k + 1].step(network.pool_layer(k + 1, spikes))
        outputs.append(network.read(inputs.flatten(1)))
    fired += float(spike_count(steps * DT, rate, neuron).double().sum())
    return torch.stack(outputs), fired


class SpikingSoftLIF(SoftLIF):
    """The trained soft-LIF network, run with spiking LIF neurons."""

    TITLE = "Soft-LIF network with spikes"
    DEVIATIONS = (
        *SoftLIF.DEVIATIONS,
        "each image starts from silence, not from the end of the one before",
    )
    STEPS = STEPS

    def predict(self, test: Images) -> Answers:
        """Predict with spikes, after each of STEPS, by the mean read-out of the later half."""
        pick, parts = self.inputs(test, silent), torch.arange(len(test)).split(BATCH)
        runs = [simulate(self.network, pick(chosen), max(STEPS)) for chosen in parts]
        outputs = torch.cat([read_outs for read_outs, _ in runs], 1)
        at_steps = {n: outputs[n // 2 : n].mean(0).argmax(1).numpy() for n in STEPS}
        spikes = sum(fired for _, fired in runs) / len(test)
        source = super().predict(test)
        assert not isinstance(source, Answers)
        return Answers(at_steps[max(STEPS)], at_steps, spikes, source)
