"""Conversion whose thresholds are balanced with spikes, "Spike-Norm" (Sengupta et al. 2018).

The weights of a network of rectified units without biases are taken over as they are. A pixel is
the probability of its spike in each step. Layer after layer, from the first, the threshold becomes
the most that a neuron of the layer is given in one step,

    V_th = max over images, steps t and neurons i of sum_j w_ij s_j(t)

while training images run through the layers before it, which already fire at their own thresholds
(the paper's Spike-Norm). So no neuron would have to fire twice in a step. Neurons integrate
without a leak and fall back to 0 (a hard reset; code of the same group that came later subtracts
the threshold). The output layer does not fire: what it is given is added up.

The published networks are VGG-16 and ResNet-20; how many images balance them is not known to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from harness.baselines import converted, learn
from harness.baselines.contract import Images, Say
from harness.baselines.converted import STEPS, Spiking, spiking, with_random_spikes
from harness.spec import UsageError


@dataclass(frozen=True, kw_only=True)
class Sizes(converted.Sizes):
    images: int = 50  # that balance the thresholds
    balancing: int = 100  # steps for which they do


class Sengupta(converted.Conversion[Sizes]):
    TITLE, PAPER = "Spike-Norm", "Sengupta et al. 2018"
    FIDELITY = "published equations"
    DEVIATIONS = (
        *converted.DEVIATIONS,
        "no residual connections and no dropout",
        "by default thresholds of 50 images and 100 steps, not 2,500",
    )
    SIZES = {
        "quick": Sizes(width=Fraction(1, 16), images=20, balancing=50),
        "default": Sizes(),
        # the paper says 2,500 steps; at full width more images would not end
        "paper": Sizes(
            width=Fraction(1), steps=(*STEPS, 256, 512, 1024, 2500), images=100, balancing=2500
        ),
    }

    def converted(self, train: Images, validation: Images, tell: Say) -> Spiking:
        images = converted.drawn(train, self.sizes.images, self.seed)
        x = converted.scaled(torch.from_numpy(images.pixels))
        learn.seeded(self.seed)
        thresholds = balanced(self.network, x, self.sizes.balancing, tell)
        return with_random_spikes(spiking(self.network, thresholds, "zero"))


@torch.inference_mode()
def balanced(network: nn.Sequential, x: Tensor, steps: int, tell: Say) -> tuple[float, ...]:
    """The threshold of each layer of units, for images x in [0, 1] (B, C, H, W).

    Raises UsageError where a layer is given nothing above 0.
    """
    layers = list(network)
    units = [n for n, each in enumerate(layers) if isinstance(each, nn.ReLU)]
    thresholds: list[float] = []
    for layer, place in enumerate(units):
        before = with_random_spikes(spiking(nn.Sequential(*layers[:place]), thresholds, "zero"))
        largest = 0.0
        for t in range(steps):
            tell((layer + t / steps) / len(units), f"threshold {layer + 1}/{len(units)}")
            largest = max(largest, float(before.step(before.encode(x)).max()))
        if largest <= 0:
            raise UsageError(
                f"layer {layer + 1} of the network is given no spikes that excite it: "
                "train it on more images or for more epochs"
            )
        thresholds.append(largest)
    return tuple(thresholds)
