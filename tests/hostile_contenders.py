"""Contenders that change more than is theirs, each in one way; found by name in their process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch._inductor.runtime.cache_dir_utils import cache_dir

import adapters
from harness.adapter import Adapter, Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import Network

T, BATCH = 4, 4  # of what is timed; exams are of fewer samples
HELD = 64 * 2**20  # bytes that a greedy one holds
honest = ReferenceNetwork.forward


class Module(ReferenceNetwork):
    """Does what its name says, before it computes what it should or instead."""

    turns = 0
    kept: Tensor | None = None

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(network)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        timed = x.shape[:2] == (T, BATCH) and x.dtype == torch.float32
        deed = DEEDS.get(self.name)
        out = deed(self, x, timed) if deed else None
        return honest(self, x) if out is None else out


def sets_threads(module: Module, x: Tensor, timed: bool) -> None:
    torch.set_num_threads(3)


def sets_deterministic(module: Module, x: Tensor, timed: bool) -> None:
    torch.use_deterministic_algorithms(True)


def burns(module: Module, x: Tensor, timed: bool) -> None:
    """Leaves threads that never rest."""

    def for_ever() -> None:
        while True:
            pass

    if timed and threading.active_count() < 4:
        threading.Thread(target=for_ever, daemon=True).start()


def exits(module: Module, x: Tensor, timed: bool) -> None:
    if timed:
        os._exit(3)


def hangs(module: Module, x: Tensor, timed: bool) -> None:
    if timed:
        time.sleep(3600)


def stops(module: Module, x: Tensor, timed: bool) -> None:
    if timed:
        os.kill(os.getpid(), signal.SIGSTOP)


def shouts(module: Module, x: Tensor, timed: bool) -> None:
    if timed:
        raise RuntimeError("x" * 3_000_000)


def remembers(module: Module, x: Tensor, timed: bool) -> Tensor | None:
    """Answers from memory once it has been audited."""
    if not timed:
        return None
    if module.kept is None:
        out = honest(module, x)
        module.kept = out.detach()
        return out
    return module.kept + 0 * sum(each.sum() for each in module.parameters())


def tires(module: Module, x: Tensor, timed: bool) -> Tensor | None:
    """Computes what it must the first times, then all of the batch as its first sample."""
    module.turns += timed
    if timed and module.turns > 2:
        return honest(module, x[:, :1]).expand(-1, x.shape[1], -1)
    return None


def says_where_it_compiles(module: Module, x: Tensor, timed: bool) -> None:
    raise RuntimeError(cache_dir())


def greedy(module: Module, x: Tensor, timed: bool) -> Tensor | None:
    """Holds much where it is timed."""
    if not timed:
        return None
    held = torch.ones(HELD, dtype=torch.uint8)
    return honest(module, x) + 0 * held[0]


def littering(module: Module, x: Tensor, timed: bool) -> Tensor | None:
    """Takes as much on its first use as well, and lets it go."""
    if not timed:
        torch.ones(HELD, dtype=torch.uint8)
    return greedy(module, x, timed)


def fails_on_first_use(module: Module, x: Tensor, timed: bool) -> None:
    if not timed:
        raise RuntimeError("no such small network")


DEEDS: dict[str, Callable[[Module, Tensor, bool], Tensor | None]] = {
    "threads": sets_threads,
    "deterministic": sets_deterministic,
    "burns": burns,
    "exits": exits,
    "hangs": hangs,
    "stops": stops,
    "shouts": shouts,
    "remembers": remembers,
    "tires": tires,
    "compiles": says_where_it_compiles,
    "greedy": greedy,
    "littering": littering,
    "first-use": fails_on_first_use,
}


def find(name: str) -> Adapter:
    """The adapter of that name, planted or real."""
    framework, _, variant = name.partition(":")
    if framework != "planted":
        return adapters.load(name)
    return Variant((), lambda network: Module(network, variant), compiled=variant == "compiled")
