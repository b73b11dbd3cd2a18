"""How long cells and trainings will take, about: first by earlier runs, then as this one went."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch

from adapters import facts
from harness.machine import clock, host
from harness.spec import Budget, Case, Timing
from harness.spec.schedule import SETUP_SECONDS

Group = tuple[Timing, ...]  # the cases of a cell
RANKED = Budget.rounds  # from which on a figure may have a rank
# An iteration as a multiple of the float32 floor's, over all frameworks; in bf16 without
# instructions for it, with them, and with a matrix unit, for a contender and for the floor.
OF_FLOOR = 1.7
BF16 = ((1.1, 1.6), (0.5, 0.5), (0.4, 0.2))
LAYOUTS = 12.0  # iterations of the floor in which layouts are chosen
# Iterations of each contender outside its rounds: its first of each start, and before each half.
UNTIMED = 4
AUDITED = 9.0  # in iterations of the floor: three audits of a contender, some of which replay
EXAM_SECONDS = 3.0  # of one contender: two are examined at a time
START_SECONDS = 4.0  # of one contender: its processes start, and small things are done
FOREIGN_SECONDS = 120.0  # of one in a runtime of its own: it is slow, and may be run in part
# Of torch.compile, once: 35 to 310 for three frameworks; twice that in bf16.
COMPILE_SECONDS = 110.0
# Of the small training that bf16 must pass, once a contender: our own engine took 16.
TRAINING_IN_BF16_SECONDS = 20.0
PASSES = 3  # forward, and two gradients
RATE_SECONDS = 0.5  # of tries, of which the fastest counts: memory and clock settle
# The time of a training, divided by that of its dense convolutions in float32: 0.3 to 0.5 on two
# processors for our own engine, which trains where no other is named.
OF_TRAINING = 0.4


def training_seconds(cases: tuple[Case, ...]) -> float:
    """Estimate the seconds of training all these cases on this machine, within a factor of two."""
    passes = PASSES * sum(case.forward_macs for case in cases)
    return OF_TRAINING * passes / _rate(cases[0].device) + SETUP_SECONDS * len(cases)


class Estimates:
    """Estimates of how long cells take, corrected by the cells measured so far."""

    def __init__(self, rounds: int, trained: Iterable[str] = ()) -> None:
        self.rounds = rounds
        self.trained = set(trained)  # the contenders that have trained in bf16
        self._spent, self._foreseen = 0.0, 0.0

    def seconds(self, group: Group) -> float:
        """Estimate the seconds of a cell: exams, compiling, rounds, the bf16 check's trainings."""
        timed = self._corrected * self._model(group, self.rounds)
        mixed = {case.contender.name for case in group if case.contender.precision == "bf16"}
        trainings = len(mixed - self.trained) if self.rounds >= RANKED else 0
        untimed = EXAM_SECONDS * len(group) + TRAINING_IN_BF16_SECONDS * trainings
        return untimed + timed + self._without_floor(group)

    def _without_floor(self, group: Group) -> float:
        """Return the seconds of compilers and of runtimes of their own."""
        names = (case.contender.package for case in group)
        foreign = FOREIGN_SECONDS * sum(facts.look_up(name).foreign for name in names)
        return foreign + self.compile_seconds(group)

    def compile_seconds(self, group: Group) -> float:
        precisions = [c.contender.precision for c in group if c.contender.form == "compiled"]
        return COMPILE_SECONDS * (len(precisions) + precisions.count("bf16"))

    def round_seconds(self, group: Group) -> float:
        return self._corrected * self._floor(group) * self._times(group)

    def correct(self, group: Group, seconds: float, rounds: int) -> None:
        """Correct later estimates by a cell that took so many seconds, without its exams."""
        self._spent += seconds
        self._foreseen += self._model(group, rounds) + self._without_floor(group)

    @property
    def _corrected(self) -> float:
        return self._spent / self._foreseen if self._foreseen else 1.0

    def _model(self, group: Group, rounds: int) -> float:
        of_floor = LAYOUTS + (rounds + UNTIMED) * self._times(group) + AUDITED * len(group)
        return START_SECONDS * len(group) + self._floor(group) * of_floor

    def _times(self, group: Group) -> float:  # a round, in iterations of the floor
        """Estimate a round's length, as a multiple of an iteration of the floor."""
        bf16 = sum(case.contender.precision == "bf16" for case in group)
        instructions = host.has_bf16(torch.device(group[0].device)) + host.has_amx()
        of_bf16, floor_bf16 = BF16[instructions]
        contenders = OF_FLOOR * (len(group) - bf16) + of_bf16 * bf16
        return contenders + 2 + (floor_bf16 if bf16 else 0)

    def _floor(self, group: Group) -> float:
        """Return the estimated seconds of one iteration's convolutions and products."""
        case = group[0]
        passes = PASSES if case.mode == "training" else 1
        seconds = passes * case.forward_macs / _rate(case.device)
        return seconds * (2 if case.contender.precision == "fp64" else 1)


@cache
def _rate(device: str) -> float:
    """Multiply-accumulates a second that a convolution gets here, forward and backward."""
    maps, size, images = 128, 16, 40
    convolution = torch.nn.Conv2d(maps, maps, 3, padding=1, device=device)
    x = torch.rand(images, maps, size, size, device=device, requires_grad=True)
    x = x.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        convolution(x).sum().backward()

    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < RATE_SECONDS:
        times.append(clock.seconds(run, torch.device(device)))
    return PASSES * images * size**2 * maps**2 * 9 / min(times)
