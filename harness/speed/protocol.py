"""The timing protocol.


- One iteration is zero_grad, forward, loss, backward and optimiser step, on data already on the
  device. Epoch time is iteration time times the iterations of an epoch, and said to be so.
- Warm-up (compilation, autotuning, first allocations) is timed apart and kept as its own rows. Then
  come rounds: in each, every contender runs once, in a fresh random order, so that a machine whose
  speed drifts slows all of them alike. The figure is the median; comparisons are ratios of the same
  round with an interval; rounds go on until the intervals are within 5 % or the budget is spent.
- The device is synchronised on both sides of every measurement.
- The floor (`floor.py`), which all ratios rest on, runs twice in each round under two names (A/A);
  the interval of its ratio is the noise floor, and the ratios are to the mean of the two.
- Peak memory is measured in a process of its own, never in the timed pass.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping

import torch

from harness.system.clock import seconds


def rounds(
    contenders: Mapping[str, Callable[[], object]],
    device: torch.device,
    order: random.Random,
    announce: Callable[[str], object] | None = None,
) -> Iterator[dict[str, float]]:
    """Endless rounds: the seconds of every contender, each run once, in a fresh random order.

    `announce` is told who is next; what it takes is not measured.
    """
    names = list(contenders)
    while True:
        order.shuffle(names)
        gc.collect()  # between rounds, so that no contender pays for another's garbage
        gc.disable()
        try:
            measured = {}
            for name in names:
                if announce is not None:
                    announce(name)
                measured[name] = seconds(contenders[name], device)
        finally:
            gc.enable()
        yield measured
