"""The only clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CPU = torch.device("cpu")


class Stopwatch:
    """Runs from when it is made, once the device has done all it was given before."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device, self._at = device, 0.0
        self._at = self.seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start, the device synchronised."""
        synchronise(self.device)
        return time.perf_counter() - self._at  # it never goes back


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long `work` takes, the device synchronised on both sides."""
    watch = Stopwatch(device)
    work()
    return watch.seconds
