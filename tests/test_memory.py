"""Peak memory is of a contender's own process, over what that had before it was built."""

from __future__ import annotations

import math
import sys

import numpy as np
import psutil
import pytest
import torch
from test_schedule import case
from torch import Tensor, nn

from harness.adapter import Adapter, Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import Allocator, Network
from harness.speed.apart import Apart, Host
from harness.speed.inside import Setting
from harness.system.former_child import Child, Ends

HELD = 64 * 2**20  # bytes that the greedy module holds


class Greedy(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[:2] == (4, 4):  # not on first use, whose memory is in the base
            held = torch.ones(HELD, dtype=torch.uint8)
            return super().forward(x) + 0 * held[0]
        return super().forward(x)


class Littering(Greedy):
    """Takes much on its first use, and lets it go."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[:2] != (4, 4):
            torch.ones(HELD, dtype=torch.uint8)
        return super().forward(x)


class OnFirstUse(ReferenceNetwork):
    """Has no average pool of the size that the first use takes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[:2] != (4, 4):
            raise RuntimeError("no such small network")
        return super().forward(x)


MODULES: dict[str, type[nn.Module]] = {
    "plain": ReferenceNetwork,
    "greedy": Greedy,
    "littering": Littering,
    "fails": OnFirstUse,
}


def find(name: str) -> Adapter:
    framework, _, variant = name.partition(":")

    def build(network: Network) -> nn.Module:
        return MODULES[variant or framework](network)

    return Variant((), build, compiled=framework == "compiled")


def first(name: str, allocator: Allocator = "system") -> tuple[float | None, str]:
    """The peak of its first iteration in a process, or why there is none."""
    host = Host(find, Setting(threads=1, allocator=allocator), math.inf, lambda: None)
    apart = Apart.start(case(name), host)
    try:
        weights = [
            torch.zeros_like(each) for each in ReferenceNetwork(case(name).network).parameters()
        ]
        inputs, labels = torch.rand(1, 4, 3, 32, 32), torch.arange(4)
        apart.ask("build", apart.give([*weights, inputs, labels]))
        apart.ask("ready", 0)
        seconds, peak, why, _ = apart.ask("first")
        assert seconds > 0
        return peak, why
    finally:
        apart.end()


def test_what_a_module_holds_is_in_the_figure() -> None:
    held = HELD / 2**20
    (greedy, _), (plain, _) = first("greedy"), first("plain")
    assert greedy is not None and plain is not None and plain > 0
    assert 0.9 * held < greedy - plain < 1.5 * held


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone keeps memory")
def test_what_is_free_before_it_begins_is_not_in_the_base() -> None:
    (littering, _), (greedy, _) = first("littering", "keep"), first("greedy", "keep")
    assert littering is not None and greedy is not None
    assert littering == pytest.approx(greedy, rel=0.1)


@pytest.mark.parametrize(
    ("name", "why"),
    [("fails", "RuntimeError: no such small network"), ("compiled:plain", "a compiler works in")],
)
def test_where_memory_cannot_be_measured_the_time_stands(name: str, why: str) -> None:
    peak, reason = first(name)
    assert peak is None and reason.startswith(why)


def _takes(ends: Ends, *sizes: int) -> None:
    ends.enter()
    for mib in sizes:
        try:
            ends.say(np.empty(mib * 2**20, np.uint8).nbytes)
        except MemoryError:
            ends.say("no memory")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone limits memory")
def test_a_limit_is_what_a_process_may_take_beside_what_it_begins_with() -> None:
    limit = 100  # less than it begins with
    assert psutil.Process().memory_info().data > limit * 2**20
    child = Child.start(_takes, (limit - 30, limit + 30), "cpu", limit)
    try:
        assert child.hear(60.0) == (limit - 30) * 2**20
        assert child.hear(60.0) == "no memory"
    finally:
        child.end()
