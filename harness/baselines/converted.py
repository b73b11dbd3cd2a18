"""What three conversions have in common: one network without spikes, and how it is run with them.

The network has the structure of the paper's CIFARNet with rectified units, average pools, a linear
output layer and no biases. Its inputs are pixels / 255, so that a pixel can be the probability of a
spike. It is trained once a seed and kept in the user's cache folder: conversions run in processes
of their own, and compare only where they start from the very same weights.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Literal, TypeVar, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from filelock import AcquireReturnProxy, FileLock, Timeout
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Images, Method, Say, within
from harness.datasets.loading import sha256
from harness.spec import Conv, Linear, Network, Voting, paper
from harness.system.files import make_user_cache
from harness.training.checkpoint import read_sealed, write_sealed

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)  # by default a converted network answers after these
# What none of the three conversions has as it was published.
DEVIATIONS = (
    "one shared network of CIFARNet's structure instead of the paper's own",
    "pools average spikes and have no neurons",
    "by default width 1/8 and 128 steps, where it is quick width 1/16",
)

CLASSES = 10
TOGETHER = 20  # images that are run at once
_LOOK = 1.0  # seconds between looks whether another process has trained it


# the network without spikes


@dataclass(frozen=True)
class Plan:
    """How large the network is, and how it is trained."""

    width: Fraction
    epochs: int
    batch_size: int = 50
    learning_rate: float = 1e-3  # Adam's as it comes


def structure(width: Fraction) -> str:
    """In the paper's notation, with the input and the output layer: "3x32x32-16C3-...-10"."""
    layers = str(_layers(width)).replace("(Encoding)", "").replace("Voting", str(CLASSES))
    return f"3x32x32-{layers}"


def _layers(width: Fraction) -> Network:
    return paper.network("CIFARNet", "cifar10", width=width)[1]


def built(width: Fraction) -> nn.Sequential:
    """The network with first weights that keep the size of what passes (He et al. 2015).

    A conversion finds its units by their type, so each layer is a module and none is a function.
    """
    maps: list[nn.Module] = []
    units: list[nn.Module] = []
    for stage in _layers(width).stages:
        inputs = stage.input_shape[0]
        match stage.synapse:
            case Conv(channels, kernel):
                maps.append(nn.Conv2d(inputs, channels, kernel, padding=kernel // 2, bias=False))
                maps.append(nn.ReLU())
                if stage.pool is not None:
                    maps.append(nn.AvgPool2d(stage.pool.size))
            case Linear(features):
                units += [nn.Linear(inputs, features, bias=False), nn.ReLU()]
            case Voting():
                units.append(nn.Linear(inputs, CLASSES, bias=False))
            case _:
                assert_never(stage.synapse)
    network = nn.Sequential(*maps, nn.Flatten(), *units)
    for weights in network.parameters():
        nn.init.kaiming_normal_(weights, nonlinearity="relu")
    # faster by a third
    return nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)


def scaled(pixels: Tensor) -> Tensor:
    """Bytes as numbers in [0, 1]."""
    return pixels.to(torch.float32, memory_format=torch.channels_last) / 255


def drawn(images: Images, count: int, seed: int) -> Images:
    """That many of them, or all: files are listed class by class, so not the first ones."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images.part(order[:count])


def shared(train: Images, plan: Plan, seed: int, tell: Say) -> nn.Sequential:
    """The network trained on these images: the kept one, or trained here and kept.

    What cannot be kept is trained each time.
    """
    try:
        path = make_user_cache("networks") / f"{_name(train, plan, seed)}.pt"
        lock = _lock(path, tell)
    except OSError:
        return _trained(train, plan, seed, tell)
    with lock:
        with suppress(OSError):
            if (weights := read_sealed(path)) is not None:
                network = built(plan.width)
                network.load_state_dict(weights)
                return network.eval().requires_grad_(False)
        network = _trained(train, plan, seed, tell)
        with suppress(OSError):
            write_sealed(path, network.state_dict())
        return network


def _lock(path: Path, tell: Say) -> AcquireReturnProxy:
    lock = FileLock(path.with_suffix(".lock"))
    while True:
        with suppress(Timeout):
            return lock.acquire(timeout=_LOOK)
        tell(0.0, "another process trains the network: waiting for it")


def _name(train: Images, plan: Plan, seed: int) -> str:
    """Of all that decides the weights: sums are rounded by the kind and number of processors."""
    sources = b"".join(Path(file).read_bytes() for file in (__file__, learn.__file__))
    parts = (
        sha256(train.pixels, train.labels),
        train.augmented,
        plan,
        structure(plan.width),
        seed,
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
        hashlib.sha256(sources).hexdigest(),
    )
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


def _trained(train: Images, plan: Plan, seed: int, tell: Say) -> nn.Sequential:
    learn.seeded(seed)
    network = built(plan.width)

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(network(scaled(x)), labels)

    course = learn.Course(plan.epochs, plan.batch_size, seed, train.augmented)
    optimiser = torch.optim.Adam(network.parameters(), plan.learning_rate)
    learn.train(loss, optimiser, torch.from_numpy(train.pixels), train.labels, course, tell)
    return network.eval().requires_grad_(False)


# the network with spikes

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
        if self.reset == "subtract":
            v.sub_(spikes, alpha=self.threshold)
        else:
            v.addcmul_(v, spikes, value=-1)  # many times as fast as a mask
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
class Spiking:
    """A spiking network, and how it is run."""

    step: Callable[[Tensor], Tensor]  # input of a step -> what it adds to each class (B, classes)
    neurons: tuple[nn.Module, ...]  # each gives 1 for a spike
    restart: Callable[[], None]  # all potentials as before the first step
    encode: Callable[[Tensor], Tensor]  # pixels in [0, 1] -> input of a step


def with_random_spikes(network: nn.Sequential) -> Spiking:
    """A network of `IF` neurons whose input is Bernoulli spikes."""
    neurons = tuple(each for each in network if isinstance(each, IF))

    def restart() -> None:
        for each in neurons:
            each.v = None

    return Spiking(network, neurons, restart, random_spikes)


@torch.inference_mode()
def run(snn: Spiking, images: Images, steps: Sequence[int]) -> Answers:
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


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the network is, and when its spiking form answers."""

    width: Fraction = Fraction(1, 8)
    batch_size: int = 50
    steps: tuple[int, ...] = STEPS


Z = TypeVar("Z", bound=Sizes)


class Conversion(Method[Images, Z]):
    """A spiking network made of the shared one."""

    DATASETS, INPUT, WINDOWS = ("cifar10",), "images", ()
    EPOCHS = {"quick": 20, "default": 15, "paper": 150}
    STEPS = STEPS
    TRAINING = 0.8  # the share of the time that the network takes, about

    def fit(self, train: Images, validation: Images, seed: int, tell: Say) -> None:
        self.seed, self.structure = seed, structure(self.sizes.width)
        plan = Plan(self.sizes.width, self.epochs, self.sizes.batch_size)
        self.network = shared(train, plan, seed, within(tell, 0, self.TRAINING))
        self.snn = self.converted(train, validation, within(tell, self.TRAINING, 1))

    @abstractmethod
    def converted(self, train: Images, validation: Images, tell: Say) -> Spiking:
        """The spiking form of the trained network."""

    def predict(self, test: Images) -> Answers:
        """Its answers, and those of the network without spikes."""
        pixels = torch.from_numpy(test.pixels)
        source = learn.scores(
            self.network, lambda chosen: scaled(pixels[chosen]), len(test), TOGETHER
        )
        return replace(self.answers(self.snn, test), source=source.argmax(1).numpy())

    def answers(self, snn: Spiking, images: Images) -> Answers:
        """Of one spiking form; each sees the same spikes."""
        learn.seeded(self.seed)
        return run(snn, images, self.sizes.steps)
