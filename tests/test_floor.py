"""The floor does the network's products, all of them and nothing else."""

from __future__ import annotations

import pytest
import torch
from conftest import small

from harness.speed import floor
from harness.speed.floor import Shape


@pytest.mark.parametrize("layout", floor.LAYOUTS)
@pytest.mark.parametrize(("static", "images"), [(True, 2), (False, 6)])
def test_every_synapse_once_with_the_steps_in_the_batch(
    layout: floor.Layout, static: bool, images: int
) -> None:
    network = small("cifar10", "Middle")
    products = floor.products(
        network, Shape(3, 2, static), layout, precision="fp32", device=torch.device("cpu")
    )
    assert [tuple(p.x.shape) for p in products] == [
        (images if n == 0 else 6, *stage.input_shape) for n, stage in enumerate(network.stages)
    ]
    # the first layer's input needs no gradient; every other weight, bias and input does
    assert [len(p.wanted) for p in products] == [2, 3, 3, 3, 3]
    for product in products:
        product.train()


def test_channels_last_is_what_it_says() -> None:
    network = small("cifar10")
    products = floor.products(
        network,
        Shape(2, 2, True),
        "channels_last",
        precision="bf16",
        device=torch.device("cpu"),
    )
    second = products[1]
    assert second.x.is_contiguous(memory_format=torch.channels_last)
    assert second.gradient.is_contiguous(memory_format=torch.channels_last)
    assert second.x.dtype == torch.bfloat16
