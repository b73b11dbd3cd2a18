"""Gabor-SNN: spikes of fixed Gabor filters, counted for a linear SVM (Sironi et al. 2018).

The authors of HATS compare with a spiking network of two layers whose filters are not learned; no
code and no sizes are public. Here it is made of parts that are: HFirst's bank of 12 Gabor filters
(Orchard et al. 2015a) runs over 5 ms frames, ON and OFF separately, and drives the paper's
iterative LIF neurons, eqs. (5)-(6), one at each place for each filter and polarity. Their spikes
are pooled over 4 x 4 places and counted over the recording; the counts, of L2 norm 1, go to a
linear SVM. One threshold for all neurons makes them fire at a given rate on training samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from harness.baselines import learn, svm
from harness.baselines.contract import Answers, Baseline, Recordings, progress_part, silent
from harness.baselines.svm import Features
from harness.datasets.events import BIN_US
from harness.reference.neuron import LIFCell
from harness.spec import LIF, ProgressCallback

# HFirst's bank, after its authors' code: 12 filters of 7 x 7 pixels.
ORIENTATIONS = 12
SIZE = 7
SIGMA = 2.8  # pixels: the envelope's deviation across the stripes
WAVELENGTH = 5.0  # pixels: from one stripe to the next
ASPECT = 0.3  # gamma: the envelope is 1 / 0.3 times as long along the stripes

K_TAU = 0.3  # Table 7's decay for N-MNIST
RATE = 0.05  # spikes per neuron and step that the threshold is set for
CALIBRATION_SAMPLES = 20  # as many as calibrate the paper's networks
THINNED = 3  # the rate is that of every 3rd neuron in each direction
HALVINGS = 16
POOL = 4  # as HFirst's C1
PART = 16  # recordings at a time


def bank() -> NDArray[np.float64]:
    """Return the Gabor filters [k, y, x], of mean 0 and L2 norm 1; the 0th has vertical stripes."""
    theta = np.pi * np.arange(ORIENTATIONS)[:, None, None] / ORIENTATIONS
    offset = np.arange(SIZE) - (SIZE - 1) / 2
    y, x = offset[None, :, None], offset[None, None, :]
    across = x * np.cos(theta) + y * np.sin(theta)
    along = y * np.cos(theta) - x * np.sin(theta)
    envelope = np.exp(-(across**2 + (ASPECT * along) ** 2) / (2 * SIGMA**2))
    filters = envelope * np.cos(2 * np.pi * across / WAVELENGTH)
    filters -= filters.mean((1, 2), keepdims=True)
    return filters / np.sqrt((filters**2).sum((1, 2), keepdims=True))


def spike_counts(steps: Iterable[Tensor], lif: LIF) -> Tensor:
    """Count each neuron's spikes, from rest; `steps` are the currents of one step each."""
    return sum(learn.step_neurons(LIFCell(lif), steps), torch.zeros(()))


def threshold(steps: Sequence[Tensor], rate: float) -> float:
    """Find, by bisection, the V_th at which currents cause `rate` spikes per neuron and step."""
    low, high = 0.0, max(float(current.max()) for current in steps) / (1 - K_TAU)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        spikes = spike_counts(steps, LIF(K_TAU, middle, 1.0)).mean(dtype=torch.float64)
        if float(spikes) > rate * len(steps):
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class GaborSizes:
    """Parameters of `GaborSNN` that depend on the effort."""

    frames: int  # of 5 ms, at most
    reduced: bool  # whether 3 x 3 pixels of large sensors become one


class GaborSNN(Baseline[Recordings, GaborSizes]):
    """Spikes of fixed Gabor filters, counted for a linear SVM (Sironi et al. 2018)."""

    TITLE, PAPER = "Gabor-SNN", "Sironi et al. 2018"
    DATASETS, INPUT = ("dvs-cifar10", "nmnist"), "frames"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "HFirst's filters",
        "the paper's LIF neurons on frames of 5 ms",
        svm.LOSS,
        "at most 300 frames",
        "but for paper-sized runs at most 64 frames, and DVS-CIFAR10 on a 42x42 sensor",
    )
    RANDOM = False
    PACKAGES = ("scikit-learn",)
    SIZES = {
        "quick": GaborSizes(64, True),
        "default": GaborSizes(64, True),
        "paper": GaborSizes(300, False),
    }

    filters = torch.from_numpy(bank()).float()[:, None]  # (K, 1, h, w)

    @torch.inference_mode()
    def fit(
        self, train: Recordings, validation: Recordings, seed: int, tell: ProgressCallback
    ) -> None:
        """Set the neurons' threshold by their rate, then fit a linear SVM on their spike counts."""
        self.bins = min(self.sizes.frames, -(-train.longest_us // BIN_US))
        tell(0, "setting the threshold")
        self.lif = LIF(K_TAU, threshold(self._sample_currents(train), RATE), 1.0)
        # counting takes about 0.8 of the time
        seen, _ = self._counts(train, progress_part(tell, 0, 0.8))
        held, _ = self._counts(validation, silent)
        samples = (seen, train.labels), (held, validation.labels)
        self.machine = svm.fit_linear_svm(*samples, progress_part(tell, 0.8, 1))
        self.chosen = f"C = {self.machine.c:g}"
        maps, (classes, features) = 2 * len(self.filters), self.machine.weight.shape
        self.structure = f"{maps}G{SIZE}-LIF-AP{POOL}-{features}-{classes}"

    @torch.inference_mode()
    def predict(self, test: Recordings) -> Answers:
        features, spikes = self._counts(test, silent)
        return Answers(self.machine.predict(features), spikes=spikes)

    def _steps(self, recordings: Recordings) -> Iterable[Tensor]:  # T of (N, 2 K, H', W')
        """Yield the currents of each step, by the filters on OFF and ON frames, without padding."""
        recordings = recordings.reduced() if self.sizes.reduced else recordings
        frames = torch.from_numpy(recordings.frames(self.bins))  # (N, T, 2, H, W)
        for t in range(self.bins):
            currents = conv2d(frames[:, t].float().flatten(0, 1)[:, None], self.filters)
            yield currents.unflatten(0, (len(frames), 2)).flatten(1, 2)

    def _sample_currents(self, recordings: Recordings) -> list[Tensor]:
        """Return the currents of a sample of neurons, in a sample of recordings."""
        number = min(CALIBRATION_SAMPLES, len(recordings))
        # far from each other: in a data set's order neighbours are often of one class
        chosen = np.linspace(0, len(recordings) - 1, number).astype(np.int64)
        steps = self._steps(recordings.part(chosen))
        return [current[..., ::THINNED, ::THINNED].contiguous() for current in steps]

    def _counts(self, recordings: Recordings, tell: ProgressCallback) -> tuple[Features, float]:
        """Return the pooled spike counts (N, D), and the mean number of spikes of a recording."""
        parts, total = [], 0.0
        for start in range(0, len(recordings), PART):
            tell(start / len(recordings), f"spikes of recording {start:,} of {len(recordings):,}")
            part = recordings.part(np.arange(start, min(start + PART, len(recordings))))
            counts = spike_counts(self._steps(part), self.lif)
            total += float(counts.sum(dtype=torch.float64))
            # the mean of counts is the count of means: pooled once, after the last step
            parts.append(avg_pool2d(counts, POOL).flatten(1).numpy())
        return np.concatenate(parts), total / len(recordings)
