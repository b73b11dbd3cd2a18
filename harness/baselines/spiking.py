"""Networks whose rectified units became integrate-and-fire neurons, and how they are run.

No system of its own: the conversions use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from harness.baselines.contract import Answers, Images
from harness.baselines.converted import CLASSES, TOGETHER, scaled

Reset = Literal["subtract", "zero"]


class IF(nn.Module):
    """Integrate-and-fire neurons without a leak, which go on from step to step.

    V += z, and not below `floor`; a spike where V >= threshold; there V -= threshold ("subtract")
    or V = 0 ("zero").
    """

    def __init__(self, threshold: float, reset: Reset, floor: float = -inf) -> None:
        super().__init__()
        self.threshold, self.floor = threshold, floor
        self.reset: Reset = reset
        self.v: Tensor | None = None  # None: 0, before the first step

    def forward(self, z: Tensor) -> Tensor:  # (B, ...) -> (B, ...), of 0 and 1
        v = z.clone() if self.v is None else self.v.add_(z)
        if self.floor > -inf:
            v.clamp_(min=self.floor)
        spikes = torch.ge(v, self.threshold, out=torch.empty_like(v))
        match self.reset:
            case "subtract":
                v.sub_(spikes, alpha=self.threshold)
            case "zero":
                v.addcmul_(v, spikes, value=-1)  # many times as fast as a mask
            case _:
                assert_never(self.reset)
        self.v = v
        return spikes


def spiking(
    network: nn.Sequential, thresholds: Sequence[float], reset: Reset, floor: float = -inf
) -> nn.Sequential:
    """The same synapses and pools, with neurons of these thresholds in the place of units."""
    left = iter(thresholds)
    return nn.Sequential(
        *(IF(next(left), reset, floor) if isinstance(each, nn.ReLU) else each for each in network)
    )


def random_spikes(x: Tensor) -> Tensor:
    """The input of one step: a pixel in [0, 1] is the probability of its spike (Bernoulli)."""
    return (torch.rand_like(x) < x).to(x.dtype)


@dataclass(frozen=True, eq=False)
class Converted:
    """A spiking network, and how it is run."""

    step: Callable[[Tensor], Tensor]  # input of a step -> what it adds to each class (B, classes)
    neurons: tuple[nn.Module, ...]  # each gives 1 for a spike
    restart: Callable[[], None]  # all potentials as before the first step
    encode: Callable[[Tensor], Tensor]  # pixels in [0, 1] -> input of a step


def with_random_spikes(network: nn.Sequential) -> Converted:
    """A network of `IF` neurons whose input is Bernoulli spikes."""
    neurons = tuple(each for each in network if isinstance(each, IF))

    def restart() -> None:
        for each in neurons:
            each.v = None

    return Converted(network, neurons, restart, random_spikes)


@torch.inference_mode()
def run(snn: Converted, images: Images, steps: Sequence[int]) -> Answers:
    """Runs it on each image for the most of the steps; after each, what was added most is said."""
    found: dict[int, list[Tensor]] = {step: [] for step in steps}
    fired = 0

    def count(neuron: nn.Module, given: object, spikes: Tensor) -> None:
        nonlocal fired
        fired += int(spikes.sum())  # exact: fewer than 2**24 neurons together

    counters = [each.register_forward_hook(count) for each in snn.neurons]
    try:
        for pixels in torch.from_numpy(images.pixels).split(TOGETHER):
            snn.restart()
            x, total = scaled(pixels), torch.zeros(len(pixels), CLASSES)
            for t in range(1, max(steps) + 1):
                total += snn.step(snn.encode(x))
                if t in found:
                    found[t].append(total.argmax(1))
    finally:
        for each in counters:
            each.remove()
    labels = {step: torch.cat(each).numpy() for step, each in found.items()}
    return Answers(labels[max(steps)], labels, fired / len(images))
