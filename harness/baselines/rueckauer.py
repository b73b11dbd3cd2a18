"""Conversion by the percentiles of activations, in SpikingJelly's form (Rueckauer et al. 2017).

Each unit max(0, z) becomes an integrate-and-fire neuron without a leak whose threshold is
subtracted when it fires,

    V(t) = V(t - 1) + z(t) / s - o(t),   o(t) = 1 where V(t - 1) + z(t) / s >= 1, else 0,

and o s goes on. The scale s of a layer is the 99.9th percentile of its activations on training
images (the paper's normalisation of parameters): the few that are larger are cut off. Pixels go in
as they are, the same ones at every step (its analog input). The output layer does not fire: its
input is added up.

SpikingJelly's `RateCodingRecipe` finds the scales and puts its own neurons in.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from spikingjelly.activation_based import ann2snn, neuron
from torch import Tensor, fx, nn

from harness.baselines import converted
from harness.baselines.contract import Images, ProgressCallback
from harness.baselines.converted import STEPS
from harness.spec import UsageError

PERCENTILE = "99.9%"  # of activations, as in the paper


@dataclass(frozen=True, kw_only=True)
class RueckauerSizes(converted.ConversionSizes):
    """Parameters of `Rueckauer`."""

    images: int = 256  # whose activations give the percentiles
    # Ranked at once: torch ranks up to 16 million numbers, and the widest layer has 32,768 units by
    # default. Later batches than the first count 0.1 (SpikingJelly's moving average).
    together: int = 256


class _QuietRecipe(ann2snn.RateCodingRecipe):  # its progress bar would go to the terminal
    def calibrate(self, converter: ann2snn.Converter, fx_model: fx.GraphModule) -> fx.GraphModule:
        """Run the calibration images through the network, without a bar of progress."""
        for x in self.dataloader:
            fx_model(x)
        return fx_model


def converted_by_spikingjelly(network: nn.Sequential, batches: tuple[Tensor, ...]) -> nn.Module:
    """Convert a network by SpikingJelly, with scales from batches of images in [0, 1].

    Raises UsageError if a scale is 0.
    """
    try:
        return ann2snn.Converter(_QuietRecipe(batches, mode=PERCENTILE)).convert(network)
    except ValueError as error:  # a scale of 0
        raise UsageError(
            f"SpikingJelly cannot scale the network ({str(error).rstrip('.')}): "
            "train it on more images or for more epochs"
        ) from error


class Rueckauer(converted.Conversion[RueckauerSizes]):
    """Conversion by percentiles of activations (Rueckauer et al. 2017)."""

    TITLE, PAPER = "Rate-coded conversion", "Rueckauer et al. 2017"
    FIDELITY = "published equations"
    DEVIATIONS = (
        *converted.SHARED_DEVIATIONS,
        "no batch normalisation and no biases",
        "percentiles of 256 training images, as SpikingJelly takes them: zeros count",
        "no softmax that fires: the output layer adds up",
    )
    PACKAGES = ("spikingjelly",)
    SIZES = {
        "quick": RueckauerSizes(width=Fraction(1, 16), steps=STEPS[:7]),
        "default": RueckauerSizes(),
        "paper": RueckauerSizes(  # its widest layer has 262,144 units
            width=Fraction(1), steps=(*STEPS, 256, 512), images=2048, together=50
        ),
    }
    NEURON = neuron.IFNode

    def convert(self, train: Images, validation: Images, tell: ProgressCallback) -> nn.Module:
        """Return SpikingJelly's conversion of the ANN, its scales from some training images."""
        tell(0, "scales")
        images = converted.draw_images(train, self.sizes.images, self.seed)
        x = converted.to_float(torch.from_numpy(images.pixels))
        return converted_by_spikingjelly(self.network, x.split(self.sizes.together))
