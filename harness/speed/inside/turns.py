"""The turns of who is timed: the same for a network and for the floor."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.system import clock


@dataclass(eq=False)
class Turns:
    """The turns of one process."""

    device: torch.device
    run: Callable[[], object]
    frozen: bool = False

    def ready(self) -> None:
        """What must not fall into the time: garbage is collected, and none is until the report."""
        gc.collect()
        if not self.frozen:
            gc.freeze()  # what is there stays: to look through it at every turn takes long
            self.frozen = True
        gc.disable()

    def iterate(self) -> float:
        """Seconds of one iteration."""
        return clock.seconds(self.run, self.device)
