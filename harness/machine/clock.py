"""The only clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CPU = torch.device("cpu")


class Stopwatch:
    """A clock that starts when it is made, once the device has finished its earlier work."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.device, self._at = device, 0.0
        self._at = self.seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start, the device synchronised."""
        synchronise(self.device)
        return time.perf_counter() - self._at  # it never goes back


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all work it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes, the device synchronised before and after."""
    watch = Stopwatch(device)
    work()
    return watch.seconds
