"""The floor does the network's products, all of them and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from harness.conformance import small
from harness.spec import Network
from harness.speed import floor
from harness.speed.floor import Shape, Work
from harness.system import clock

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")  # no layout that was found before

MOVING = {"aten.t", "aten.view", "aten.flatten"}  # no arithmetic
TRAINED = {"aten.convolution", "aten.convolution_backward", "aten.addmm", "aten.mm"}
INFERRED = {"aten.conv2d", "aten.linear"}  # inference mode does not take them apart
CPU = torch.device("cpu")
TRAINING = Work("training", "fp32", CPU)
BIAS_GRADIENT = "aten.sum"  # a product's; a convolution's backward has it


class Computed(TorchDispatchMode):
    """Which of torch's operations ran, and how many multiplications they took."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()
        self.multiplications = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        self.operations.add(str(operation))
        if str(operation) in INFERRED:
            self.multiplications += out.numel() * args[1][0].numel()
        elif operation in flop_registry:  # of torch: an addition and a multiplication each
            self.multiplications += flop_registry[operation](*args, out_val=out) // 2
        return out


def made(static: bool, layout: floor.Layout) -> tuple[Network, list[floor.Product]]:
    """T = 3, two samples."""
    network = small("cifar10", "Middle")
    layouts = (layout,) * len(network.stages)
    return network, floor.products(network, Shape(3, 2, static), layouts, TRAINING)


@pytest.mark.parametrize("layout", floor.LAYOUTS)
@pytest.mark.parametrize(("static", "images"), [(True, 2), (False, 6)])
def test_every_synapse_once_with_the_steps_in_the_batch(
    layout: floor.Layout, static: bool, images: int
) -> None:
    network, products = made(static, layout)
    assert [tuple(p.x.shape) for p in products] == [
        (images if n == 0 else 6, *stage.input_shape) for n, stage in enumerate(network.stages)
    ]
    # the first layer's input needs no gradient; every other weight, bias and input does
    assert [len(p.wanted) for p in products] == [2, 3, 3, 3, 3]


@pytest.mark.parametrize("layout", floor.LAYOUTS)
@pytest.mark.parametrize("static", [True, False])
def test_a_step_is_the_products_forward_and_backward_and_nothing_else(
    layout: floor.Layout, static: bool
) -> None:
    network, products = made(static, layout)
    for n, (product, stage) in enumerate(zip(products, network.stages, strict=True)):
        images = 2 if static and n == 0 else 6
        with Computed() as trained:
            product.train()
        # forward, the weights' gradients and, but for the first layer, the input's
        assert trained.multiplications == stage.macs * images * (2 if n == 0 else 3)
        assert trained.operations & TRAINED
        assert trained.operations <= TRAINED | MOVING | {BIAS_GRADIENT}
        with Computed() as inferred:
            product.infer()
        assert inferred.multiplications == stage.macs * images
        assert inferred.operations & INFERRED
        assert inferred.operations <= INFERRED | MOVING


def test_a_step_gives_the_gradient_of_each_weight_bias_and_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, products = made(False, "channels_last")
    found: list[tuple[Tensor, ...]] = []
    differentiate = torch.autograd.grad

    def kept(*arguments: Any) -> tuple[Tensor, ...]:
        found.append(differentiate(*arguments))
        return found[-1]

    monkeypatch.setattr(torch.autograd, "grad", kept)
    for product in products:
        product.train()
    assert len(found) == len(network.stages)
    for n, (stage, gradients) in enumerate(zip(network.stages, found, strict=True)):
        weight, bias, *inputs = gradients
        assert weight.numel() == stage.weights and bias.shape == stage.output_shape[:1]
        assert [tuple(x.shape) for x in inputs] == ([(6, *stage.input_shape)] if n else [])
        assert min(each.abs().sum().item() for each in gradients) > 0


def test_channels_last_is_what_it_says() -> None:
    network = small("cifar10")
    layouts: tuple[floor.Layout, ...] = ("channels_last",) * len(network.stages)
    work = Work("training", "bf16", CPU)
    products = floor.products(network, Shape(2, 2, True), layouts, work)
    second = products[1]
    assert second.x.is_contiguous(memory_format=torch.channels_last)
    assert second.gradient.is_contiguous(memory_format=torch.channels_last)
    assert second.x.dtype == torch.bfloat16


def test_each_convolution_has_the_layout_that_is_faster_at_full_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = small("cifar10", "Middle")
    seen: list[tuple[int, ...]] = []

    def seconds(run: Any, device: torch.device) -> float:
        (product,) = run.args
        seen.append(tuple(product.x.shape))
        last = product.x.is_contiguous(memory_format=torch.channels_last)
        # the second convolution is faster channels last, the others are not
        return 1.0 if last == (product.x.shape[1] == network.stages[1].input_shape[0]) else 2.0

    monkeypatch.setattr(clock, "seconds", seconds)
    layouts = floor.fastest(network, Shape(3, 2, False), TRAINING)
    assert layouts == ("contiguous", "channels_last", "contiguous", "contiguous", "contiguous")
    assert {shape[0] for shape in seen} == {6}
    assert floor.said(layouts) == ", ".join(layouts) and floor.said(layouts[:1]) == "contiguous"


def test_the_minimum_of_all_rounds_counts_though_the_first_are_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = small("cifar10")
    # channels last, contiguous: a first turn that the host held up by a factor of two
    told = {True: [1.1, 1.0, 1.2, 1.1, 1.0], False: [2.4, 1.3, 1.3, 1.3, 0.9]}

    def seconds(run: Any, device: torch.device) -> float:
        last = run.args[0].x.is_contiguous(memory_format=torch.channels_last)
        values = told[last]
        values.append(values.pop(0))
        return values[-1]

    monkeypatch.setattr(clock, "seconds", seconds)
    layouts = floor.fastest(network, Shape(3, 2, False), TRAINING)
    assert layouts[1] == "contiguous"


def test_a_layout_is_chosen_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def seconds(run: Any, device: torch.device) -> float:
        asked.append(len(asked))
        return 1.0 if run.args[0].x.is_contiguous() else 2.0

    monkeypatch.setattr(clock, "seconds", seconds)
    network = small("cifar10", "Middle")
    first = floor.fastest(network, Shape(3, 2, False), TRAINING)
    measured = len(asked)
    assert measured > 0
    assert floor.fastest(network, Shape(3, 2, False), TRAINING) == first
    assert len(asked) == measured  # as it was kept
    for shape, work in (
        (Shape(4, 2, False), TRAINING),
        (Shape(3, 2, False), Work("inference", "fp32", CPU)),
        (Shape(3, 2, False), Work("training", "bf16", CPU)),
    ):
        before = len(asked)
        floor.fastest(network, shape, work)
        assert len(asked) > before
