"""How long a run will take, about: said at its start, before anything of it is timed."""

from __future__ import annotations

from math import inf

import torch

from harness.spec import Budget, Case, cells
from harness.system import clock

# What an iteration takes as a multiple of the floor's, as measured over all frameworks.
OF_FLOOR, OF_FLOOR_BF16 = 1.8, 0.35
# In iterations of the floor: layouts are chosen; the reference answers twice; some are replayed.
LAYOUTS, AUDITS = 6.0, 14.0
DESCENT_SECONDS = 25.0  # of one contender in bf16: it trains eight times (descents.py)
EXAM_SECONDS = 2.5  # of one contender: processes start, and it is examined
PASSES = 3  # forward, and two gradients


def seconds(cases: tuple[Case, ...], budget: Budget) -> float:
    """Of a run of these cases on this machine, about; at least what the budget asks."""
    rate = _rate(torch.device(cases[0].device))
    total = 0.0
    for group in cells(cases).values():
        total += _of_cell(group, budget, rate) + EXAM_SECONDS * len(group)
    total += DESCENT_SECONDS * len({case.framework for case in cases if case.precision == "bf16"})
    return total if budget.seconds == inf else max(total, budget.seconds)


def _of_cell(group: tuple[Case, ...], budget: Budget, rate: float) -> float:
    case = group[0]
    passes = PASSES if case.mode == "training" else 1
    floor = passes * case.network.macs * case.T * case.batch_size / rate
    floor *= 2 if case.precision == "fp64" else 1
    bf16 = sum(each.precision == "bf16" for each in group)
    contenders = OF_FLOOR * (len(group) - bf16) + OF_FLOOR_BF16 * bf16
    floors = 2 + (OF_FLOOR_BF16 if bf16 else 0)
    rounds = 10 if budget.seconds == inf else budget.rounds
    return floor * (rounds * (contenders + floors) + contenders + LAYOUTS + AUDITS)


def _rate(device: torch.device) -> float:
    """Multiply-accumulates a second that a convolution gets here, forward and backward."""
    maps, size, images = 128, 16, 40
    convolution = torch.nn.Conv2d(maps, maps, 3, padding=1, device=device)
    x = torch.rand(images, maps, size, size, device=device, requires_grad=True)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        convolution(x).sum().backward()

    once()
    taken = min(clock.seconds(once, device) for _ in range(3))
    return PASSES * images * size**2 * maps**2 * 9 / taken
