"""What a training computes and draws: what `numerics.json` keeps. `NUMERICS` stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

import torch
from torch import Tensor, nn

import adapters
from harness.adapter import Adapter, record_spikes, trainer_of
from harness.datasets import Labelled
from harness.datasets.samples import About, Normal
from harness.reference.ann import initialised_ann
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.neuron import LIFCell
from harness.spec import (
    ANN,
    LIF,
    SGD,
    Adam,
    Initialisation,
    Network,
    NeuNorm,
    Source,
    Trained,
    Training,
    paper,
    schedule,
)
from harness.training import epoch, step
from harness.training.checkpoint import Epoch

STEPS = 3  # of training
# No potential may be nearer to the threshold or to the surrogate's edge: processors round apart.
APART = 1e-9


@dataclass(frozen=True)
class Setting:
    """A network, its input (T, B, C, H, W) in float64 and how it learns."""

    network: Network
    x: Tensor
    optimiser: SGD | Adam


def settings() -> dict[str, Setting]:
    """A static image with dropout and NeuNorm, and events; inputs the same on every processor."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(4, 3, 8, 8, generator=generator, dtype=torch.float64) * 4 - 2
    events = (torch.rand(5, 4, 2, 7, 7, generator=generator) < 0.2).double()
    cifar10, nmnist = paper.settings("cifar10"), paper.settings("nmnist")
    still = Network.parse(
        "6C3(Encoding)-AP2-8C3-16FC-Voting", input_shape=(3, 8, 8), lif=cifar10.lif,
        neunorm=NeuNorm(0.9, "mean"),
    )  # fmt: skip
    moving = Network.parse(
        "6C3(Encoding)-8C3-AP2-16FC-Voting", input_shape=(2, 7, 7), lif=nmnist.lif
    )
    return {
        "static": Setting(replace(still, dropout=0.5), image.expand(4, *image.shape), SGD()),
        "events": Setting(moving, events, Adam()),
    }


def made() -> Iterator[tuple[str, object]]:
    """What a training draws; of the ANN and of each adapter that is here what it computes."""
    yield "draws", _draws()
    yield ANN, {title: _of_ann(setting) for title, setting in settings().items()}
    for name in adapters.available():
        yield name, computed_by(adapters.load(name))


def computed_by(adapter: Adapter) -> dict[str, object]:
    """What an adapter computes of each setting; in a runtime of its own without dropout."""
    foreign = trainer_of(adapter) is not None
    found = {}
    for title, setting in settings().items():
        if foreign:
            setting = replace(setting, network=replace(setting.network, dropout=0.0))
        found[title] = _of_adapter(adapter, setting)
    return found


def _of_adapter(adapter: Adapter, setting: Setting) -> dict[str, object]:
    """Its spikes with the first weights, layer by layer, and what it learns in a few steps.

    Losses move by whole spikes: it takes the weights to see a gradient that is a little off.
    """
    with _in_float64():
        reference = initialised(setting.network, setting.x, seed=0)
    module = adapter.build(setting.network).double()
    copy_parameters(reference, module)
    spikes = _spikes(module.eval(), setting.x)
    return {"spikes": spikes, "losses": _losses(module, setting), "weights": _sizes(module)}


def _of_ann(setting: Setting) -> dict[str, object]:
    with _in_float64():
        module = initialised_ann(setting.network, setting.x, seed=0, scheme="calibrated")
    return {"losses": _losses(module, setting), "weights": _sizes(module)}


@contextmanager
def _in_float64() -> Iterator[None]:
    """Weights are drawn in float64: in float32 processors draw them a rounding apart."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def _spikes(module: nn.Module, x: Tensor) -> list[str]:
    with record_spikes(module) as taps:
        module(x)
        return [_hash(tap.collected().to(torch.uint8)) for tap in taps]


def _losses(module: nn.Module, setting: Setting) -> list[float]:
    module.train()
    optimise = step.optimiser(module.parameters(), setting.optimiser)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)  # dropout
        for _ in range(STEPS):
            objective = step.Objective(setting.network.classes)
            of, labels = (module, optimise, setting.x), torch.arange(setting.x.shape[1])
            outcome = step.iteration(*of, labels, objective=objective, precision="fp64")
            losses.append(outcome.loss.item())
    return losses


def nearest() -> dict[str, float]:
    """How near any potential of the reference comes to where rounding would matter."""
    found = {}
    for title, setting in settings().items():
        with _in_float64():
            module = initialised(setting.network, setting.x, seed=0)
        with _potentials(module) as potentials:
            _spikes(module.eval(), setting.x)
            _losses(module, setting)
        found[title] = _distance(setting.network.lif, potentials)
    learner = epoch.begin(_case(), _data())
    with _potentials(learner.module) as potentials:
        _trained(learner)
    return {**found, "epochs": _distance(learner.case.network.lif, potentials)}


def _distance(lif: LIF, potentials: list[Tensor]) -> float:
    off = torch.cat([each.flatten() for each in potentials]) - lif.v_th
    return min((off - edge).abs().min().item() for edge in (0.0, lif.a / 2, -lif.a / 2))


@contextmanager
def _potentials(module: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    cells = [each for each in module.modules() if isinstance(each, LIFCell)]

    def keep(cell: nn.Module, inputs: object, output: tuple[Tensor, tuple[Tensor, Tensor]]) -> None:
        kept.append(output[1][0].detach())

    handles = [cell.register_forward_hook(keep) for cell in cells]
    yield kept
    for handle in handles:
        handle.remove()


def _draws() -> dict[str, object]:
    learner = epoch.begin(_case(), _data())
    weights = {scheme: _weights(scheme) for scheme in get_args(Initialisation)}
    inputs: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor]) -> None:
        if module.training:  # in the order of the samples, cropped and flipped
            inputs.append(given[0][0])

    learner.module.register_forward_pre_hook(keep)
    epochs = _trained(learner)
    return {
        "held out": epoch.DataSplits.of(*[_pictures(classes=40)] * 2).validation.labels.tolist(),
        "inputs": [_hash((each * 1000).round().int()) for each in inputs],
        "first weights": {**weights, "ann": _sizes(epoch.begin(_case(ANN), _data()).module)},
        "losses": [each.loss for each in epochs],
        "gradient norms": [each.gradient_norm for each in epochs],
        "accuracies": [
            [each.train_accuracy, each.validation_accuracy, each.test_accuracy] for each in epochs
        ],
        "rates of epochs 1, 40, 41, 81": {
            "sgd": [schedule.table_7(SGD(), number) for number in (1, 40, 41, 81)],
            "adam": [schedule.table_7(Adam(), number) for number in (1, 40, 41, 81)],
        },
    }


def _trained(learner: epoch.Learner) -> list[Epoch]:
    with torch.random.fork_rng(devices=[]):
        rates = {number: schedule.table_7(learner.case.optimiser, number) for number in (1, 2)}
        return [epoch.epoch(learner, *each, lambda fraction: None) for each in rates.items()]


def _weights(scheme: Initialisation) -> list[float]:
    return _sizes(epoch.begin(replace(_case(), initialisation=scheme), _data()).module)


def _sizes(module: nn.Module) -> list[float]:
    """Of each parameter the sum of its magnitudes."""
    return [each.detach().double().abs().sum().item() for each in module.parameters()]


def _case(framework: str = "reference") -> Trained:
    return Trained(
        suite="timesteps", dataset="cifar10", scale="custom", network=settings()["static"].network,
        width=Fraction(1), framework=framework, T=2, batch_size=16, precision="fp64", device="cpu",
        seed=0, optimiser=SGD(), training=Training(2),
    )  # fmt: skip


def _data() -> epoch.DataSplits:
    return epoch.DataSplits.of(_pictures(classes=10), _pictures(classes=10))


def _pictures(classes: int) -> Labelled:
    generator = torch.Generator().manual_seed(3)
    raw = torch.randint(0, 256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    normal = Normal((0.5, 0.4, 0.3), (0.25, 0.25, 0.2))
    about = About("made up", 40, 40, normal=normal, augmented=True)
    source = Source("cifar10", "made up", 40, "0" * 64)
    return Labelled(raw, torch.arange(40) % classes, about, source)


def _hash(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()[:16]
