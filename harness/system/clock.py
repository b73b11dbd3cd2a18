"""The only clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Deadline:
    """A point in time that work must not pass, on a clock that never goes back."""

    at: float  # seconds of that clock

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; negative once it has passed."""
        return self.at - time.monotonic()


@dataclass(frozen=True)
class Stopwatch:
    """Started on a clock that never goes back."""

    device: torch.device
    at: float  # seconds of that clock

    @classmethod
    def started(cls, device: torch.device) -> Stopwatch:
        """Once the device has done all it was given before."""
        synchronise(device)
        return cls(device, time.perf_counter())

    @property
    def seconds(self) -> float:
        """Since the start, the device synchronised."""
        synchronise(self.device)
        return time.perf_counter() - self.at


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes, the device synchronised on both sides."""
    watch = Stopwatch.started(device)
    work()
    return watch.seconds
