"""A convolutional network tailored to become a spiking one by its weights alone (Cao et al. 2015).

The network without spikes has rectified units, no biases, and average pools in the place of
maximum pools, so that each of its parts has a spiking counterpart. Its weights are taken over as
they are. A pixel is the probability of its spike in each step. All layers, the output's too, are
integrate-and-fire neurons without a leak that have one threshold in common and fall back to 0. The
class is the one whose neuron fires most often.

Without biases a network's answer does not depend on a scale, so one threshold for all layers is
one number to find: the lowest that is best on held-out images.

The published network had three convolutions and crops of 24 x 24 pixels, of which it took the
absolute value; the steps that it ran for and its threshold are not known to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import nn

from harness.baselines import converted
from harness.baselines.contract import Images, Say
from harness.baselines.converted import IF, STEPS, Spiking, spiking, with_random_spikes
from harness.spec import UsageError


@dataclass(frozen=True, kw_only=True)
class Sizes(converted.Sizes):
    thresholds: tuple[float, ...] = (0.7, 1.0, 1.4, 2.0, 2.8)  # of which one is chosen
    floor: float = -10.0  # of potentials, in thresholds: V_min, which the paper does not give
    choosing: int = 100  # held-out images that choose


class Cao(converted.Conversion[Sizes]):
    TITLE, PAPER = "Tailored CNN, converted", "Cao, Chen and Khosla 2015"
    FIDELITY = "after the description"
    DEVIATIONS = (
        *converted.DEVIATIONS,
        "no crops of 24x24 and no absolute values: pixels / 255",
        "threshold chosen on held-out images",
        "lowest potential of -10 thresholds, a third-party reproduction's",
        "no public code",
    )
    REVISION = 1  # 1: each 200 test samples draw spikes anew
    SIZES = {
        "quick": Sizes(width=Fraction(1, 16), steps=STEPS[:7], choosing=30),
        "default": Sizes(),
        "paper": Sizes(width=Fraction(1), steps=(*STEPS, 256, 512), choosing=1000),
    }
    TRAINING = 0.7

    def converted(self, train: Images, validation: Images, tell: Say) -> Spiking:
        """With the lowest of the thresholds that are best on held-out images."""
        held_out = converted.drawn(validation, self.sizes.choosing, self.seed)
        if not len(held_out):
            raise UsageError("no held-out images to choose a threshold on: give more images")
        tried = self.sizes.thresholds
        correct: list[int] = []
        for n, threshold in enumerate(tried):
            tell(n / len(tried), f"threshold {threshold:g}")
            answers = self.answers(self.with_threshold(threshold), held_out)
            correct.append(int((answers.labels == held_out.labels).sum()))
        best = tried[int(np.argmax(correct))]
        self.chosen = f"threshold = {best:g}"
        return self.with_threshold(best)

    def with_threshold(self, threshold: float) -> Spiking:
        """The network with that threshold everywhere, in the output layer too."""
        layers = sum(isinstance(each, nn.ReLU) for each in self.network)
        floor = self.sizes.floor * threshold
        snn = spiking(self.network, [threshold] * layers, "zero", floor)
        return with_random_spikes(nn.Sequential(*snn, IF(threshold, "zero", floor)))
