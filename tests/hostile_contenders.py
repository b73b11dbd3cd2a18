"""Contenders that change more than is theirs, each in one way; found by name in their process."""

from __future__ import annotations

import os
import signal
import threading
import time

import torch
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import cache_dir

import adapters
from harness.adapter import Adapter, Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import Network

T, BATCH = 4, 4  # of what is timed; exams are of fewer samples
HELD = 64 * 2**20  # bytes that a greedy one holds


def _is_timed(x: Tensor) -> bool:
    return x.shape[:2] == (T, BATCH) and x.dtype == torch.float32


class ThreeThreads(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_num_threads(3)
        return super().forward(x)


class Deterministic(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        torch.use_deterministic_algorithms(True)
        return super().forward(x)


class Burns(ReferenceNetwork):
    """Leaves a thread that never rests."""

    def forward(self, x: Tensor) -> Tensor:
        if _is_timed(x) and threading.active_count() < 4:
            threading.Thread(target=self._for_ever, daemon=True).start()
        return super().forward(x)

    def _for_ever(self) -> None:
        while True:
            pass


class Exits(ReferenceNetwork):
    """Ends its process where it is timed, not where it is examined."""

    def forward(self, x: Tensor) -> Tensor:
        if _is_timed(x):
            os._exit(3)
        return super().forward(x)


class Hangs(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        if _is_timed(x):
            time.sleep(3600)
        return super().forward(x)


class Stops(ReferenceNetwork):
    """Has the system stop its process."""

    def forward(self, x: Tensor) -> Tensor:
        if _is_timed(x):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().forward(x)


class Remembers(ReferenceNetwork):
    """Answers from memory once it has been audited."""

    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not _is_timed(x):
            return super().forward(x)
        if self.kept is None:
            out = super().forward(x)
            self.kept = out.detach()
            return out
        return self.kept + 0 * sum(each.sum() for each in self.parameters())


class Tires(ReferenceNetwork):
    """Computes what it must the first times, then all of the batch as its first sample."""

    turns = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turns += _is_timed(x)
        if self.turns > 2 and _is_timed(x):
            out = super().forward(x[:, :1])
            return out.expand(-1, x.shape[1], -1)
        return super().forward(x)


class SaysWhereItCompiles(ReferenceNetwork):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(cache_dir())


class Greedy(ReferenceNetwork):
    """Holds 64 MiB where it is timed."""

    def forward(self, x: Tensor) -> Tensor:
        if _is_timed(x):
            held = torch.ones(HELD, dtype=torch.uint8)
            return super().forward(x) + 0 * held[0]
        return super().forward(x)


class Littering(Greedy):
    """Takes as much on its first use, and lets it go."""

    def forward(self, x: Tensor) -> Tensor:
        if not _is_timed(x):
            torch.ones(HELD, dtype=torch.uint8)
        return super().forward(x)


class FailsOnFirstUse(ReferenceNetwork):
    """Has no network of the size that the first use takes."""

    def forward(self, x: Tensor) -> Tensor:
        if not _is_timed(x):
            raise RuntimeError("no such small network")
        return super().forward(x)


MODULES: dict[str, type[nn.Module]] = {
    "threads": ThreeThreads,
    "deterministic": Deterministic,
    "burns": Burns,
    "exits": Exits,
    "hangs": Hangs,
    "stops": Stops,
    "remembers": Remembers,
    "tires": Tires,
    "compiles": SaysWhereItCompiles,
    "greedy": Greedy,
    "littering": Littering,
    "first-use": FailsOnFirstUse,
    "compiled": ReferenceNetwork,
}


def find(name: str) -> Adapter:
    """The adapter of that name, planted or real."""
    framework, _, variant = name.partition(":")
    if framework != "planted":
        return adapters.load(name)

    def build(network: Network) -> nn.Module:
        return MODULES[variant](network)

    return Variant((), build, compiled=variant == "compiled")
