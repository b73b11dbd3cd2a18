"""Joules of inferences, by the machine's own counter, less what the machine takes at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep

import torch

from harness.system import clock
from harness.system.counters import EnergyCounter

LEAST = 10.0  # seconds of rest, and of work: counters are read about a thousand times a second


@dataclass(frozen=True)
class Joules:
    """What a counter said over rest and over work."""

    idle_joules: float
    idle_seconds: float
    busy_joules: float
    busy_seconds: float
    passes: int  # in the time of work


def measured(
    work: Callable[[], object],
    counter: EnergyCounter,
    device: torch.device,
    seconds: float = LEAST,
) -> Joules:
    """What `work`, again and again over at least `seconds`, takes; after as long a rest.

    Whatever else runs on the machine is counted too.
    """
    work()  # the first pass pays for memory and caches
    idle, idle_seconds = _over(lambda: sleep(seconds), counter, device)
    passes = 0

    def busy() -> None:
        nonlocal passes
        deadline = clock.Deadline.after(seconds)
        while passes == 0 or deadline.left > 0:
            work()
            clock.synchronise(device)
            passes += 1

    joules, busy_seconds = _over(busy, counter, device)
    return Joules(idle, idle_seconds, joules, busy_seconds, passes)


def _over(
    doing: Callable[[], object], counter: EnergyCounter, device: torch.device
) -> tuple[float, float]:
    """Joules and seconds of it."""
    before, watch = counter.joules(), clock.Stopwatch.started(device)
    doing()
    seconds = watch.seconds
    return counter.joules() - before, seconds
