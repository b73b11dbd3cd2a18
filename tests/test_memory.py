"""Peak memory comes from a process of its own; what happens there never ends ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn

from harness.adapter import Adapter, Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import Case, Network, paper
from harness.speed import memory
from harness.speed.iteration import Workload

NETWORK = paper.network("8C3(Encoding)-AP2-8C3-AP2-16FC-Voting", "cifar10")[1]
HELD = 64 * 2**20  # bytes that the greedy module holds
SAMPLES = 3


class Greedy(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == SAMPLES:  # not on first use, whose memory is in the base
            held = torch.ones(HELD, dtype=torch.uint8)
            return super().forward(x) + 0 * held[0]
        return super().forward(x)


class Dies(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        os._exit(7)


class Hangs(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        print(os.getpid(), flush=True)
        time.sleep(3600)
        return x


class Fails(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no memory left")


MODULES: dict[str, type[nn.Module]] = {
    "plain": ReferenceNetwork,
    "greedy": Greedy,
    "dies": Dies,
    "fails": Fails,
    "hangs": Hangs,
}


def find(name: str) -> Adapter:
    def build(network: Network) -> nn.Module:
        return MODULES[name](network)

    return Variant((), build)


def work(framework: str) -> Workload:
    case = Case(
        suite="acceleration",
        dataset="cifar10",
        scale="custom",
        network=NETWORK,
        width=Fraction(1),
        framework=framework,
        T=2,
        batch_size=SAMPLES,
        precision="fp32",
        device="cpu",
        seed=0,
        optimiser=paper.settings("cifar10").optimiser,
    )
    inputs = torch.zeros(2, SAMPLES, *NETWORK.input_shape)
    return Workload.of(case, inputs, torch.arange(SAMPLES))


def peak(framework: str) -> float:
    return memory.peak_mib(work(framework), find, threads=1, timeout=60)


def test_what_a_module_holds_is_in_the_figure() -> None:
    held = HELD / 2**20
    assert 0.9 * held < peak("greedy") - peak("plain") < 1.5 * held


def test_a_process_that_dies_or_fails_is_an_error_with_its_reason() -> None:
    with pytest.raises(ChildProcessError, match="exit code 7"):
        peak("dies")
    with pytest.raises(ChildProcessError, match="RuntimeError: no memory left"):
        peak("fails")


def test_a_batch_of_one_and_one_step_have_a_figure() -> None:
    small = work("plain")
    small = replace(
        small,
        case=replace(small.case, T=1, batch_size=1),
        inputs=small.inputs[:, :1],
        labels=small.labels[:1],
    )
    assert memory.peak_mib(small, find, threads=1, timeout=60) > 0


ASKING = """
import sys
sys.path.insert(0, sys.argv[1])
import test_memory
test_memory.peak("hangs")
"""


@pytest.mark.slow
def test_it_ends_with_the_process_that_asked_though_that_is_killed() -> None:
    call = [sys.executable, "-c", ASKING, str(Path(__file__).parent)]
    asking = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    with asking.stdout:
        measuring = psutil.Process(int(asking.stdout.readline()))
    asking.kill()
    asking.wait(30)
    _, alive = psutil.wait_procs([measuring], timeout=30)
    assert not alive
