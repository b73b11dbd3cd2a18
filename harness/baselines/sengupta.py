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

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.baselines import converted, learn
from harness.baselines.contract import Answers, Effort, Images, Method, Samples, Say
from harness.baselines.progress import within
from harness.baselines.spiking import Converted, run, spiking, with_random_spikes
from harness.spec import UsageError

TITLE = "Spike-Norm"
PAPER = "Sengupta et al. 2018"
DATASETS = ("cifar10",)
INPUT = "images"
WINDOWS = ()
FIDELITY = "published equations"
DEVIATIONS = (
    *converted.DEVIATIONS,
    "no residual connections and no dropout",
    "by default thresholds of 50 images and 100 steps, not 2,500",
)
RANDOM = True
EPOCHS = converted.EPOCHS
STEPS = converted.STEPS


@dataclass(frozen=True)
class Parameters:
    """What is left to say of the spiking network."""

    steps: tuple[int, ...] = STEPS
    images: int = 50  # that balance the thresholds
    balancing: int = 100  # steps for which they do


_PARAMETERS: Mapping[Effort, Parameters] = {
    "quick": Parameters(images=20, balancing=50),
    "default": Parameters(),
    # the paper says 2,500 steps; at full width more images would not end
    "paper": Parameters((*STEPS, 256, 512, 1024, 2500), images=100, balancing=2500),
}


class Sengupta:
    """The conversion, once the network is trained."""

    def __init__(self, plan: converted.Plan, parameters: Parameters) -> None:
        self.plan, self.parameters = plan, parameters
        self.structure = converted.structure(plan)
        self.chosen = ""  # training images decide the thresholds
        self._seed = 0
        self._network: nn.Sequential | None = None
        self._snn: Converted | None = None

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Images)
        self._seed = seed
        self._network = converted.shared(train, self.plan, seed, within(tell, 0, 0.8))
        images = converted.drawn(train, self.parameters.images, seed)
        x = converted.scaled(torch.from_numpy(images.pixels))
        learn.seeded(seed)
        rest = within(tell, 0.8, 1)
        thresholds = balanced(self._network, x, self.parameters.balancing, rest)
        self._snn = with_random_spikes(spiking(self._network, thresholds, "zero"))

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Images) and self._network is not None and self._snn is not None
        converted.checked(test)
        source = converted.source_labels(self._network, test)
        learn.seeded(self._seed)
        return replace(run(self._snn, test, self.parameters.steps), source=source)


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


def build(effort: Effort, epochs: int) -> Method:
    """The conversion of that effort, of a network trained for so many epochs."""
    return Sengupta(converted.planned(effort, epochs), _PARAMETERS[effort])
