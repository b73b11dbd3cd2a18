"""The floor does the network's products, all of them and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_schedule import case
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from harness.conformance import small
from harness.machine import clock
from harness.spec import FLOOR, Timing
from harness.speed import floor

pytestmark = pytest.mark.usefixtures("no_data_of_the_machine")  # no layout that was found before

MOVING = {"aten.t", "aten.view", "aten.flatten"}  # no arithmetic
TRAINED = {"aten.convolution", "aten.convolution_backward", "aten.addmm", "aten.mm"}
INFERRED = {"aten.conv2d", "aten.linear"}  # inference mode keeps them whole
BIAS_GRADIENT = "aten.sum"  # a product's; a convolution's backward has it
NETWORK = small("cifar10", "Middle")


def timing(**changes: Any) -> Timing:
    fields = {"dataset": "nmnist", "network": NETWORK, "T": 3, "batch_size": 2}
    return case(FLOOR, **{**fields, **changes})


def products(layout: floor.Layout, **changes: Any) -> list[floor.Product]:
    return floor.products(timing(**changes), (layout,) * len(NETWORK.stages))


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


@pytest.mark.parametrize("layout", floor.LAYOUTS)
@pytest.mark.parametrize("static", [True, False])
def test_a_step_is_each_product_once_and_nothing_else(layout: floor.Layout, static: bool) -> None:
    dataset = "cifar10" if static else "nmnist"
    assert products(layout, dataset=dataset, precision="bf16")[0].x.dtype == torch.bfloat16
    pairs = zip(products(layout, dataset=dataset), NETWORK.stages, strict=True)
    for n, (product, stage) in enumerate(pairs):
        images = 2 if static and n == 0 else 6  # the steps are in the batch, a still image once
        assert tuple(product.x.shape) == (images, *stage.input_shape)
        if product.x.dim() == 4 and layout == "channels_last":
            for x in (product.x, product.gradient):
                assert x.is_contiguous(memory_format=torch.channels_last)
        with Computed() as trained:
            product.run()
        # forward, the weights' gradients and, but for the first layer, the input's
        assert len(product.sources) == (2 if n == 0 else 3)
        assert trained.multiplications == stage.macs * images * (2 if n == 0 else 3)
        assert trained.operations & TRAINED
        assert trained.operations <= TRAINED | MOVING | {BIAS_GRADIENT}
        with Computed() as inferred:
            replace(product, mode="inference").run()
        assert inferred.multiplications == stage.macs * images
        assert inferred.operations & INFERRED
        assert inferred.operations <= INFERRED | MOVING


@pytest.mark.parametrize(("mode", "first", "later"), [("training", 2, 3), ("inference", 1, 1)])
def test_an_iteration_runs_all_of_them(mode: str, first: int, later: int) -> None:
    run = floor.iteration(timing(mode=mode), ("channels_last",) * len(NETWORK.stages))
    with Computed() as computed:
        run()
    macs = [6 * stage.macs for stage in NETWORK.stages]
    assert computed.multiplications == first * macs[0] + later * sum(macs[1:])


def is_last(run: Any) -> bool:
    return run.__self__.x.is_contiguous(memory_format=torch.channels_last)


def test_each_convolution_has_its_faster_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def seconds(run: Any, device: torch.device) -> float:
        seen.append(tuple(run.__self__.x.shape))
        # the second convolution is faster channels last, the others are not
        return 1.0 if is_last(run) == (seen[-1][1] == NETWORK.stages[1].input_shape[0]) else 2.0

    monkeypatch.setattr(clock, "seconds", seconds)
    layouts = floor.fastest_layouts(timing())
    assert layouts == ("contiguous", "channels_last", "contiguous", "contiguous", "contiguous")
    assert {shape[0] for shape in seen} == {6}
    assert floor.in_words(layouts) == ", ".join(layouts)
    assert floor.in_words(layouts[:1]) == "contiguous"


def test_the_minimum_of_rounds_counts_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # channels last, contiguous: a first turn that the host held up by a factor of two
    seconds_of = {True: [1.1, 1.0, 1.2, 1.1, 1.0], False: [2.4, 1.3, 1.3, 1.3, 0.9]}
    measured: list[float] = []

    def seconds(run: Any, device: torch.device) -> float:
        values = seconds_of[is_last(run)]
        values.append(values.pop(0))
        measured.append(values[-1])
        return values[-1]

    monkeypatch.setattr(clock, "seconds", seconds)
    first = floor.fastest_layouts(timing())
    assert first[1] == "contiguous"
    count = len(measured)
    assert floor.fastest_layouts(timing()) == first and len(measured) == count  # as it was kept
    for other in (timing(T=4), timing(mode="inference"), timing(precision="bf16")):
        count = len(measured)
        floor.fastest_layouts(other)
        assert len(measured) > count
