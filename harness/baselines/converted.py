"""The one network that three conversions start from, trained once and kept.

No system of its own: `cao`, `rueckauer` and `sengupta` use it. The network has the structure of the
paper's CIFARNet with rectified units, average pools, a linear output layer and no biases. Its
inputs are pixels / 255, so that a pixel can be the probability of a spike. It is trained once a
seed and kept in the user's cache folder: conversions run in processes of their own, and compare
only where they start from the very same weights.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Effort, Images, Labels, Say
from harness.datasets.loading import sha256
from harness.spec import Conv, Linear, Network, UsageError, Voting, paper
from harness.system.files import make_user_cache, write_whole

EPOCHS: Mapping[Effort, int] = {"quick": 20, "default": 15, "paper": 150}
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)  # by default a converted network answers after these
# What none of the three conversions has as it was published.
DEVIATIONS = (
    "one shared network of CIFARNet's structure instead of the paper's own",
    "pools average spikes and have no neurons",
    "by default width 1/8 and 128 steps, where it is quick width 1/16",
)

SHAPE, CLASSES = (3, 32, 32), 10  # of what it is given (C, H, W), and of what it says
_WIDTHS: Mapping[Effort, Fraction] = {
    "quick": Fraction(1, 16),
    "default": Fraction(1, 8),
    "paper": Fraction(1),
}
TOGETHER = 20  # images that are run at once
_LOOK = 1.0  # seconds between looks whether another process has trained it
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Plan:
    """How large the network is, and how it is trained."""

    width: Fraction
    epochs: int
    batch_size: int = 50
    learning_rate: float = 1e-3  # Adam's as it comes


def planned(effort: Effort, epochs: int) -> Plan:
    """Of that effort; the paper's networks have all their channels."""
    return Plan(_WIDTHS[effort], epochs)


def structure(plan: Plan) -> str:
    """In the paper's notation, with the input and the output layer: "3x32x32-16C3-...-10"."""
    layers = str(_layers(plan)).replace("(Encoding)", "").replace("Voting", str(CLASSES))
    return f"{'x'.join(map(str, SHAPE))}-{layers}"


def _layers(plan: Plan) -> Network:
    return paper.network("CIFARNet", "cifar10", width=plan.width)[1]


def built(plan: Plan) -> nn.Sequential:
    """The network with first weights that keep the size of what passes (He et al. 2015).

    A conversion finds its units by their type, so each layer is a module and none is a function.
    """
    maps: list[nn.Module] = []
    units: list[nn.Module] = []
    for stage in _layers(plan).stages:
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


def checked(images: Images) -> None:
    """Raises UsageError for images that the network has no input or no output for."""
    if images.pixels.shape[1:] != SHAPE:
        found, wanted = ("x".join(map(str, shape)) for shape in (images.pixels.shape[1:], SHAPE))
        raise UsageError(f"the images have {found} pixels, expected {wanted}: give CIFAR-10's")
    if images.classes > CLASSES:
        raise UsageError(f"{images.classes} classes, expected at most {CLASSES}: give CIFAR-10's")


def scaled(pixels: Tensor) -> Tensor:
    """Bytes as numbers in [0, 1]."""
    return pixels.to(torch.float32, memory_format=torch.channels_last) / 255


def drawn(images: Images, count: int, seed: int) -> Images:
    """That many of them, or all: files are listed class by class, so not the first ones."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images.part(order[:count])


def shared(train: Images, plan: Plan, seed: int, tell: Say) -> nn.Sequential:
    """The network trained on these images: the kept one, or trained here and kept.

    What cannot be kept is trained each time. Raises UsageError for images that it cannot learn.
    """
    checked(train)
    try:
        folder = make_user_cache("networks")
        name = _name(train, plan, seed)
        lock = FileLock(folder / f"{name}.lock")
        _take(lock, tell)
    except OSError:
        return _trained(train, plan, seed, tell)
    try:
        kept = _read(folder / f"{name}.pt", plan)
        if kept is not None:
            return kept
        made = _trained(train, plan, seed, tell)
        with suppress(OSError):
            write_whole(folder / f"{name}.pt", lambda place: _write(place, made))
        return made
    finally:
        lock.release()


def _name(train: Images, plan: Plan, seed: int) -> str:
    """Of all that decides the weights: sums are rounded by the kind and number of processors."""
    sources = b"".join(Path(file).read_bytes() for file in (__file__, learn.__file__))
    parts = (
        sha256(train.pixels, train.labels),
        train.augmented,
        plan,
        structure(plan),
        seed,
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
        hashlib.sha256(sources).hexdigest(),
    )
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


def _take(lock: FileLock, tell: Say) -> None:
    while True:
        try:
            lock.acquire(timeout=_LOOK)
        except Timeout:
            tell(0.0, "another process trains the network: waiting for it")
        else:
            return


def _read(path: Path, plan: Plan) -> nn.Sequential | None:
    """The network of a file that is whole, else None."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, weights = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(weights).digest() != digest:  # torch reads past bytes that have changed
        return None
    network = built(plan)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    return network.eval().requires_grad_(False)


def _write(place: Path, network: nn.Sequential) -> None:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    weights = buffer.getvalue()
    place.write_bytes(hashlib.sha256(weights).digest() + weights)


def _trained(train: Images, plan: Plan, seed: int, tell: Say) -> nn.Sequential:
    learn.seeded(seed)
    network = built(plan)

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(network(scaled(x)), labels)

    course = learn.Course(plan.epochs, plan.batch_size, seed, train.augmented)
    optimiser = torch.optim.Adam(network.parameters(), plan.learning_rate)
    learn.train(loss, optimiser, torch.from_numpy(train.pixels), train.labels, course, tell)
    return network.eval().requires_grad_(False)


def source_labels(network: nn.Module, images: Images) -> Labels:
    """What the network without spikes says of them."""
    pixels = torch.from_numpy(images.pixels)
    return learn.scores(lambda x: network(scaled(x)), pixels, TOGETHER).argmax(1).numpy()
