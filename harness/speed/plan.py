"""How long a run will take, about: said at its start, before anything of it is timed."""

from __future__ import annotations

from math import inf

import torch

from adapters import facts
from harness.spec import Budget, Case, Timed, cells
from harness.speed.schedule import PREPARATION
from harness.system import clock, machine

# What an iteration takes as a multiple of the float32 floor's, as measured over all frameworks at
# Middle and Large, which take most of the time; in bf16 with a matrix unit and without, for a
# contender and for the floor.
OF_FLOOR = 1.4
BF16 = {True: (0.35, 0.2), False: (1.1, 1.6)}
# In iterations of the floor: layouts are chosen; of each contender its exam, its first iteration,
# and its audits, some of which are replays.
LAYOUTS, PROOFS = 12.0, 14.0
UNTIMED = 1.6  # what runs before rounds and is not timed, as a share of what is
DESCENT_SECONDS = 25.0  # of one contender in bf16: it trains eight times (judge.py)
START_SECONDS = 8.0  # of one contender: its processes start, and small things are done
FOREIGN_SECONDS = 120.0  # of one in a runtime of its own: it is slow, and may be run in part
# Of torch.compile, once: 35 to 310 for three frameworks. In bf16 an audit replays, and its tapped
# pass is compiled apart; a training compiles in both precisions.
COMPILED, COMPILE_SECONDS = ":compiled", 110.0
PASSES = 3  # forward, and two gradients
ROUNDS = 6  # of a large network without a budget; small ones have more, which take little
RATE_SECONDS = 0.5  # of tries, of which the fastest counts: memory and clock settle
# What a training takes over its convolutions at full width: its networks are narrow, and it tests.
OF_TRAINING = 2.5


def training_seconds(cases: tuple[Case, ...]) -> float:
    """Of training these cases on this machine, about: half or twice as much is no surprise."""
    rate = _rate(torch.device(cases[0].device))
    passes = PASSES * sum(case.pace for case in cases)
    return OF_TRAINING * passes / rate + START_SECONDS * len(cases)


def seconds(cases: tuple[Timed, ...], budget: Budget) -> float:
    """Of a run of these cases on this machine, about; at least what the budget asks."""
    rate, groups = _rate(torch.device(cases[0].device)), list(cells(cases).values())
    share = (1 - PREPARATION) * budget.seconds / len(groups)
    total = sum(_of_cell(group, budget, rate, 0.0 if share == inf else share) for group in groups)
    total += START_SECONDS * len(cases)
    for case in cases:
        if facts.of(case.framework.partition(":")[0]).foreign:
            total += FOREIGN_SECONDS
        if case.framework.endswith(COMPILED):
            total += COMPILE_SECONDS * (2 if case.precision == "bf16" else 1)
    for framework in {case.framework for case in cases if case.precision == "bf16"}:
        total += DESCENT_SECONDS
        total += 2 * COMPILE_SECONDS if framework.endswith(COMPILED) else 0.0
    return total if budget.seconds == inf else max(total, budget.seconds)


def _of_cell(group: tuple[Timed, ...], budget: Budget, rate: float, share: float) -> float:
    case = group[0]
    passes = PASSES if case.mode == "training" else 1
    floor = passes * case.network.macs * case.T * case.batch_size / rate
    floor *= 2 if case.precision == "fp64" else 1
    bf16 = sum(each.precision == "bf16" for each in group)
    of_bf16, floor_bf16 = BF16[machine.has_amx()]
    contenders = OF_FLOOR * (len(group) - bf16) + of_bf16 * bf16
    floors = 2 + (floor_bf16 if bf16 else 0)
    rounds = ROUNDS if budget.seconds == inf else budget.rounds
    timed = max(share, floor * rounds * (contenders + floors))
    return UNTIMED * timed + floor * (LAYOUTS + PROOFS * len(group))


def _rate(device: torch.device) -> float:
    """Multiply-accumulates a second that a convolution gets here, forward and backward."""
    maps, size, images = 128, 16, 40
    convolution = torch.nn.Conv2d(maps, maps, 3, padding=1, device=device)
    x = torch.rand(images, maps, size, size, device=device, requires_grad=True)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        convolution(x).sum().backward()

    once()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < RATE_SECONDS:
        taken.append(clock.seconds(once, device))
    return PASSES * images * size**2 * maps**2 * 9 / min(taken)
