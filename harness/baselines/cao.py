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

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from harness.baselines import converted, learn
from harness.baselines.contract import Answers, Effort, Images, Method, Samples, Say
from harness.baselines.progress import within
from harness.baselines.spiking import IF, Converted, run, spiking, with_random_spikes
from harness.spec import UsageError

TITLE = "Tailored CNN, converted"
PAPER = "Cao, Chen and Khosla 2015"
DATASETS = ("cifar10",)
INPUT = "images"
WINDOWS = ()
FIDELITY = "after the description"
DEVIATIONS = (
    *converted.DEVIATIONS,
    "no crops of 24x24 and no absolute values: pixels / 255",
    "threshold chosen on held-out images",
    "lowest potential of -10 thresholds, a third-party reproduction's",
    "no public code",
)
RANDOM = True
REVISION = 1  # 1: each 200 test samples draw spikes anew
EPOCHS = converted.EPOCHS
STEPS = converted.STEPS


@dataclass(frozen=True)
class Parameters:
    """What is left to say of the spiking network."""

    steps: tuple[int, ...] = STEPS
    thresholds: tuple[float, ...] = (0.7, 1.0, 1.4, 2.0, 2.8)  # of which one is chosen
    floor: float = -10.0  # of potentials, in thresholds: V_min, which the paper does not give
    choosing: int = 100  # held-out images that choose


_PARAMETERS: Mapping[Effort, Parameters] = {
    "quick": Parameters(STEPS[:7], choosing=30),
    "default": Parameters(),
    "paper": Parameters((*STEPS, 256, 512), choosing=1000),
}


class Cao:
    """The conversion, once the network is trained."""

    def __init__(self, plan: converted.Plan, parameters: Parameters) -> None:
        self.plan, self.parameters = plan, parameters
        self.structure = converted.structure(plan)
        self.chosen = ""
        self._seed = 0
        self._network: nn.Sequential | None = None
        self._snn: Converted | None = None

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Images) and isinstance(validation, Images)
        self._seed = seed
        self._network = converted.shared(train, self.plan, seed, within(tell, 0, 0.7))
        converted.checked(validation)
        held_out = converted.drawn(validation, self.parameters.choosing, seed)
        if not len(held_out):
            raise UsageError("no held-out images to choose a threshold on: give more images")
        correct: list[int] = []
        tried = self.parameters.thresholds
        for n, threshold in enumerate(tried):
            tell(0.7 + 0.3 * n / len(tried), f"threshold {threshold:g}")
            answers = self._run(_converted(self._network, threshold, self.parameters), held_out)
            correct.append(int((answers.labels == held_out.labels).sum()))
        best = tried[int(np.argmax(correct))]
        self.chosen = f"threshold = {best:g}"
        self._snn = _converted(self._network, best, self.parameters)

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Images) and self._network is not None and self._snn is not None
        converted.checked(test)
        source = converted.source_labels(self._network, test)
        return replace(self._run(self._snn, test), source=source)

    def _run(self, snn: Converted, images: Images) -> Answers:
        learn.seeded(self._seed)  # each threshold sees the same spikes
        return run(snn, images, self.parameters.steps)


def _converted(network: nn.Sequential, threshold: float, parameters: Parameters) -> Converted:
    """The network with that threshold everywhere."""
    layers = sum(isinstance(each, nn.ReLU) for each in network)
    floor = parameters.floor * threshold
    snn = spiking(network, [threshold] * layers, "zero", floor)
    return with_random_spikes(nn.Sequential(*snn, IF(threshold, "zero", floor)))


def build(effort: Effort, epochs: int) -> Method:
    """The conversion of that effort, of a network trained for so many epochs."""
    return Cao(converted.planned(effort, epochs), _PARAMETERS[effort])
