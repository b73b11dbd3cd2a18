"""An adapter whose variants change more than is theirs, each in one way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor
from torch._inductor.runtime.cache_dir_utils import cache_dir

from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import Network

T, BATCH = 4, 4  # of what is timed; exams are of fewer samples
HELD = 64 * 2**20  # bytes that a greedy one holds


def babble() -> None:
    os.write(1, b"\x00\xff[1, 2\n" * 1000)
    os.write(2, b'{"kind": "iteration"}\n' * 1000)


DEEDS: dict[str, Callable[[], object]] = {  # to its own process
    "exits": lambda: os._exit(3),
    "hangs": lambda: time.sleep(3600),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    # it is refused before it is touched
    "eats": lambda: [torch.empty(2**28, dtype=torch.uint8) for _ in range(10**6)],
    "babbles": babble,
}


class Module(ReferenceNetwork):
    """Does what its name says, before it computes what it should or instead."""

    turns = 0
    answer: Tensor | None = None
    gradients: dict[Tensor, Tensor]

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(network)
        self.name, self.gradients = name, {}
        if name == "hoards":
            self.register_buffer("hoard", torch.ones(HELD, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        timed = x.shape[:2] == (T, BATCH) and x.dtype == torch.float32
        self.turns += timed
        match self.name, timed:
            case "threads", _:
                torch.set_num_threads(torch.get_num_threads() + 1)
            case "deterministic", _:
                torch.use_deterministic_algorithms(True)
            case "compiles" | "compiles-too", True:
                raise RuntimeError(cache_dir())
            case "first-use", False:
                raise RuntimeError("no such small network")
            case "littering", False:  # takes as much on its first use as well, and lets it go
                torch.ones(HELD, dtype=torch.uint8)
            case "burns", True if self.turns == 1:
                threading.Thread(target=for_ever, daemon=True).start()
            case name, True if name in DEEDS:
                DEEDS[name]()
            case "greedy" | "littering", True:
                held = torch.ones(HELD, dtype=torch.uint8)
                return super().forward(x) + 0 * held[0]
            case "remembers", True if self.answer is not None:  # since it was audited
                return self.answer + 0 * sum(weights.sum() for weights in self.parameters())
        out = self.lazily(x) if timed else super().forward(x)
        self.answer = out.detach() if timed else self.answer
        return out

    def lazily(self, x: Tensor) -> Tensor:
        """Does less, once it was audited."""
        match self.name, self.turns > 2:
            case "tires", True:  # all of the batch is its first sample
                return super().forward(x[:, :1]).expand(-1, x.shape[1], -1)
            case "skips-one", True:  # a sample of the batch is another
                out = super().forward(x[:, 1:])
                return torch.cat([out[:, :1], out], 1)
            case "coarse", True:  # its gradients are rounded to bf16
                for parameter in self.parameters():
                    if not parameter._backward_hooks:
                        parameter.register_hook(lambda g: g.bfloat16().to(g.dtype))
            case "keeps-gradients", False if not self.gradients:  # of weights that are near
                for parameter in self.parameters():
                    self.gradients[parameter] = torch.empty(0)
                    parameter.register_hook(partial(self.first, parameter))
        return super().forward(x)

    def first(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """The first gradient of a parameter, ever after."""
        if not self.gradients[parameter].numel():
            self.gradients[parameter] = gradient.clone()
        return self.gradients[parameter]


def for_ever() -> NoReturn:
    while True:
        pass


NAMES = (
    *DEEDS,
    *("threads", "deterministic", "compiles", "compiles-too", "compiled", "first-use", "burns"),
    *("littering", "greedy", "hoards"),
    *("remembers", "tires", "skips-one", "coarse", "keeps-gradients"),
)
DEVIATIONS = ()
VARIANTS = {
    name: Variant((), partial(Module, name=name), compiled=name == "compiled") for name in NAMES
}
build = ReferenceNetwork
