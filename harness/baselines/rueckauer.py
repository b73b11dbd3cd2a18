"""Conversion by the percentiles of activations, in SpikingJelly's form (Rueckauer et al. 2017).

Each unit max(0, z) becomes an integrate-and-fire neuron without a leak whose threshold is
subtracted when it fires,

    V(t) = V(t - 1) + z(t) / s - o(t),   o(t) = 1 where V(t - 1) + z(t) / s >= 1, else 0,

and o s goes on. The scale s of a layer is the 99.9th percentile of its activations on training
images (the paper's normalisation of parameters): the few that are larger are cut off. Pixels go in
as they are, the same ones at every step (its analog input), so what a neuron of the first layer
says on average differs from its unit's activation, where that is below s, by less than s / T. The
output layer does not fire: what it is given is added up.

SpikingJelly's `RateCodingRecipe` finds the scales and puts its own neurons in. The shared network
has no batch normalisation to fold and no biases to turn into currents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from spikingjelly.activation_based import ann2snn, functional, neuron
from torch import Tensor, fx, nn

from harness.baselines import converted
from harness.baselines.contract import Answers, Effort, Images, Method, Samples, Say
from harness.baselines.progress import within
from harness.baselines.spiking import Converted, run
from harness.spec import UsageError

TITLE = "Rate-coded conversion"
PAPER = "Rueckauer et al. 2017"
DATASETS = ("cifar10",)
INPUT = "images"
WINDOWS = ()
FIDELITY = "published equations"
DEVIATIONS = (
    *converted.DEVIATIONS,
    "no batch normalisation and no biases",
    "percentiles of 256 training images, as SpikingJelly takes them: zeros count",
    "no softmax that fires: the output layer adds up",
)
RANDOM = True
EPOCHS = converted.EPOCHS
STEPS = converted.STEPS
PACKAGES = ("spikingjelly",)


@dataclass(frozen=True)
class Parameters:
    """What is left to say of the spiking network."""

    steps: tuple[int, ...] = STEPS
    percentile: str = "99.9%"  # of the paper; SpikingJelly's own is the maximum
    images: int = 256  # whose activations are ranked
    # Ranked at once: torch ranks up to 16 million numbers, and the widest layer has 32,768 units by
    # default. What comes after the first batch counts 0.1 (SpikingJelly's moving average).
    together: int = 256


_PARAMETERS: Mapping[Effort, Parameters] = {
    "quick": Parameters(STEPS[:7]),
    "default": Parameters(),
    "paper": Parameters((*STEPS, 256, 512), images=2048, together=50),  # 262,144 units
}


class _Quiet(ann2snn.RateCodingRecipe):
    """The recipe without its progress bar, which would go to the terminal."""

    def calibrate(self, converter: ann2snn.Converter, fx_model: fx.GraphModule) -> fx.GraphModule:
        for x in self.dataloader:
            fx_model(x)
        return fx_model


class Rueckauer:
    """The conversion, once the network is trained."""

    def __init__(self, plan: converted.Plan, parameters: Parameters) -> None:
        self.plan, self.parameters = plan, parameters
        self.structure = converted.structure(plan)
        self.chosen = ""  # training images decide the scales
        self._network: nn.Sequential | None = None
        self._snn: Converted | None = None

    def fit(self, train: Samples, validation: Samples, seed: int, tell: Say) -> None:
        assert isinstance(train, Images)
        self._network = converted.shared(train, self.plan, seed, within(tell, 0, 0.9))
        tell(0.9, "scales")
        images = converted.drawn(train, self.parameters.images, seed)
        x = converted.scaled(torch.from_numpy(images.pixels))
        batches = x.split(self.parameters.together)
        self._snn = converted_by_spikingjelly(self._network, batches, self.parameters.percentile)

    def predict(self, test: Samples) -> Answers:
        assert isinstance(test, Images) and self._network is not None and self._snn is not None
        converted.checked(test)
        source = converted.source_labels(self._network, test)
        return replace(run(self._snn, test, self.parameters.steps), source=source)


def converted_by_spikingjelly(
    network: nn.Sequential, batches: tuple[Tensor, ...], mode: str
) -> Converted:
    """The network with SpikingJelly's neurons, scaled on batches of images in [0, 1].

    `mode` is SpikingJelly's: "99.9%", "max". Raises UsageError where a layer is silent on them.
    """
    recipe = _Quiet(batches, mode=mode)
    try:
        module = ann2snn.Converter(recipe).convert(network)
    except ValueError as error:  # a scale of 0
        raise UsageError(
            f"SpikingJelly cannot scale the network ({str(error).rstrip('.')}): "
            "train it on more images or for more epochs"
        ) from error
    neurons = tuple(each for each in module.modules() if isinstance(each, neuron.IFNode))
    return Converted(module, neurons, lambda: functional.reset_net(module), lambda x: x)


def build(effort: Effort, epochs: int) -> Method:
    """The conversion of that effort, of a network trained for so many epochs."""
    return Rueckauer(converted.planned(effort, epochs), _PARAMETERS[effort])
