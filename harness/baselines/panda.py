"""Layer-wise spiking convolutional auto-encoders, then a trained read-out (Panda & Roy 2016).

Each image is normalised in contrast and whitened, and each value x becomes spikes of its sign, in a
step with probability |x|. Layer after layer an encoder of leaky integrate-and-fire neurons (those
of the harness, eqs. (5)-(6)) and a decoder learn to give the input back: the potential at the end
of the decoder's neurons, which do not fire, should be the one that the input's own spikes cause,

    E = mean (u_decoded - u_input)^2,  u = sum_t k_tau^(T - t) of what arrives in step t

with gradients through all steps, and the surrogate of eq. (14) at spikes. Then the encoder is
frozen, its spikes are averaged over 2x2 places (2s), and the next layer learns from them. Last, one
output neuron per class that does not fire learns with labels, by its potential at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Baseline, Images, ProgressCallback, silent
from harness.reference.neuron import LIFCell
from harness.reference.synapses import over_steps
from harness.spec import LIF

KERNELS = (5, 5, 4)  # 32c5-2s-32c5-2s-64c4-10o
POOLED = 2  # as many layers are averaged over 2x2 places
NEURON = LIF(k_tau=0.9, v_th=1.0, a=1.0)  # ours
PATCH = 5  # pixels
EPSILON = 0.1  # added to variances before whitening, of images whose deviation is 1
PEAK = 3.0  # a value of so many deviations is a spike in every step
LEARNING_RATE = 2e-3
READ_OUT_EPOCHS = 40
BATCH = 100  # images at once where nothing is learned


@dataclass(frozen=True)
class PandaSizes:
    """Parameters of `Panda` that depend on the effort."""

    filters: tuple[int, int, int]
    steps: int
    batch_size: int


def contrast_normalised(images: Images) -> Tensor:  # (N, 3, H, W)
    """Scale each image to mean 0 and deviation 1; an image of one value becomes 0."""
    x = torch.from_numpy(images.pixels).float()
    x = x - x.mean((1, 2, 3), keepdim=True)
    deviation = x.square().mean((1, 2, 3), keepdim=True).sqrt()
    return x / deviation.clamp(min=1e-3)


def zca(covariance: Tensor, epsilon: float) -> Tensor:  # (D, D) -> (D, D), symmetric
    """Return (covariance + epsilon)^(-1/2), which whitens values and changes them least (ZCA)."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag((values.clamp(min=0) + epsilon).rsqrt()) @ vectors.T


def whitening(x: Tensor) -> Tensor:  # (N, C, H, W) -> (C, C, PATCH, PATCH)
    """Compute filters that whiten images: the middle pixel's rows of the patches' ZCA matrix."""
    patches = F.unfold(x, PATCH, stride=8).transpose(1, 2).flatten(0, 1)
    matrix = zca(patches.double().T.cov(), EPSILON)
    middles = matrix[PATCH**2 // 2 :: PATCH**2]  # of each channel
    return middles.unflatten(1, (x.shape[1], PATCH, PATCH)).float()


def signed_spikes(x: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw spikes of the sign of x, (T, *x.shape), in each step with probability |x|."""
    drawn = torch.rand((steps, *x.shape), generator=generator)
    return (drawn < x.abs()) * x.sign()


def potential(x: Tensor) -> Tensor:  # (T, ...) -> (...)
    """Compute the last potential of neurons that do not fire: eq. (5) with o = 0."""
    u = torch.zeros_like(x[0])
    for current in x:
        u = NEURON.k_tau * u + current
    return u


class LayerAutoEncoder(nn.Module):
    """The spiking encoder of one layer, and the decoder that only its training needs."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(inputs, outputs, size, bias=False)
        self.decoder = nn.ConvTranspose2d(outputs, inputs, size, bias=False)
        self.cell = LIFCell(NEURON)

    def forward(self, spikes: Tensor) -> Tensor:  # (T, B, C, H, W) -> (T, B, F, H', W')
        return learn.run_neurons(self.cell, over_steps(self.encoder, spikes))

    def error(self, spikes: Tensor) -> Tensor:  # (T, B, C, H, W) -> ()
        """Compute the mean squared difference of decoded and input potentials at the end."""
        # a decoder is linear, so it may come after the sum over steps
        decoded = self.decoder(potential(self(spikes)))
        return F.mse_loss(decoded, potential(spikes))

    @torch.no_grad()
    def scale(self, spikes: Tensor) -> None:
        """Scale the encoder's weights so that last potentials have the standard deviation V_th."""
        deviation = float(potential(over_steps(self.encoder, spikes)).std())
        if deviation > 0:
            self.encoder.weight.mul_(NEURON.v_th / deviation)


@torch.no_grad()
def encode_spikes(coders: Sequence[LayerAutoEncoder], spikes: Tensor) -> tuple[Tensor, float]:
    """Pass spikes (T, B, C, H, W) through trained layers, and count the spikes of their neurons."""
    fired = 0.0
    for n, coder in enumerate(coders):
        spikes = coder(spikes)
        fired += float(spikes.double().sum())
        if n < POOLED:
            spikes = over_steps(nn.AvgPool2d(2), spikes)
    return spikes, fired


class Panda(Baseline[Images, PandaSizes]):
    """Layer-wise spiking auto-encoders with a trained read-out (Panda & Roy 2016)."""

    TITLE, PAPER = "Spiking auto-encoders", "Panda & Roy 2016"
    DATASETS, INPUT = ("cifar10",), "images"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "LIF neurons and surrogate of Wu et al., no refractory time",
        "whitening by one filter of 5x5, not of whole images",
        "untied decoders whose neurons do not fire",
        "steps, constants and epochs are ours: 20 of each by effort paper",
        "read-out by potentials, learned from all training labels, not a fraction",
        "by default 16-16-64 filters, not 32-32-64, in 10 steps, and 2 epochs a layer",
    )
    EPOCHS = {"quick": 6, "default": 2, "paper": 20}  # of each layer
    SIZES = {
        "quick": PandaSizes((8, 8, 32), 8, 16),
        "default": PandaSizes((16, 16, 64), 10, 32),
        "paper": PandaSizes((32, 32, 64), 20, 32),
    }

    coders: list[LayerAutoEncoder]

    def fit(self, train: Images, validation: Images, seed: int, tell: ProgressCallback) -> None:
        """Train the layers as auto-encoders, one by one, then the read-out on their spikes."""
        self.seed, self.coders = seed, []
        a, b, c = self.sizes.filters  # in the paper's notation; o are output neurons, one a class
        self.structure = f"{a}c{KERNELS[0]}-2s-{b}c{KERNELS[1]}-2s-{c}c{KERNELS[2]}-o"
        learn.set_seed(seed)
        x = contrast_normalised(train)
        self.filters = whitening(x)
        whitened = F.conv2d(x, self.filters, padding=PATCH // 2)
        self.peak = PEAK * max(float(whitened.std()), 1e-3)
        x = whitened / self.peak
        parts = len(KERNELS) + 2  # the layers, their answer to all images, the read-out

        def part(n: int, doing: str) -> ProgressCallback:
            return lambda done, step: tell((n + done) / parts, f"{doing} {step}")

        for n in range(len(KERNELS)):
            self._learn_layer(x, train, part(n, f"layer {n + 1}:"))
        traces, _ = self._traces(x, part(parts - 2, "encoding"))
        self._learn_read_out(traces, train, part(parts - 1, "read-out:"))

    def predict(self, test: Images) -> Answers:
        """Predict by the read-out of the last layer's decayed spikes."""
        x = F.conv2d(contrast_normalised(test), self.filters, padding=PATCH // 2) / self.peak
        traces, fired = self._traces(x, silent)
        scaled = (traces - self.mean) / self.deviation
        labels = learn.scores(self.read, scaled.__getitem__, len(test), BATCH).argmax(1)
        return Answers(labels.numpy(), spikes=fired / len(test))

    def _learn_layer(self, x: Tensor, train: Images, tell: ProgressCallback) -> None:
        """Train the next layer to restore the spikes that the layers before it send."""
        n, channels = len(self.coders), (x.shape[1], *self.sizes.filters)
        coder = LayerAutoEncoder(channels[n], channels[n + 1], KERNELS[n])

        def encoded(images: Tensor) -> Tensor:
            return encode_spikes(self.coders[:n], signed_spikes(images, self.sizes.steps))[0]

        coder.scale(encoded(x[:: len(x) // self.sizes.batch_size + 1]))
        learn.train(
            lambda images, labels: coder.error(encoded(images)),
            torch.optim.Adam(coder.parameters(), lr=LEARNING_RATE),
            x,
            train.labels,  # passed on, not used
            *(self.epochs, self.sizes.batch_size, self.seed, tell),
        )
        self.coders.append(coder.requires_grad_(False))

    def _traces(self, x: Tensor, tell: ProgressCallback) -> tuple[Tensor, float]:
        """Return the last layer's decayed spikes (N, D), and the number of all spikes."""
        generator = torch.Generator().manual_seed(self.seed)
        traces, fired = [], 0.0
        for n, images in enumerate(x.split(BATCH)):
            tell(n * BATCH / len(x), "images")
            spikes = signed_spikes(images, self.sizes.steps, generator)
            last, count = encode_spikes(self.coders, spikes)
            traces.append(potential(last).flatten(1))
            fired += count
        return torch.cat(traces), fired

    def _learn_read_out(self, traces: Tensor, train: Images, tell: ProgressCallback) -> None:
        """Train the linear read-out on standardised traces."""
        self.mean = traces.mean(0)
        self.deviation = traces.std(0).clamp(min=1e-3)  # some neurons never fire
        read = self.read = nn.Linear(traces.shape[1], train.classes)
        learn.train(
            lambda x, labels: F.cross_entropy(read(x), labels),
            torch.optim.Adam(read.parameters(), lr=LEARNING_RATE),
            (traces - self.mean) / self.deviation,
            train.labels,
            *(READ_OUT_EPOCHS, self.sizes.batch_size, self.seed, tell),
        )
