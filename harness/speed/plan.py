"""How long a run will take, about: first by what is known of such runs, then as it went."""

from __future__ import annotations

import torch

from adapters import facts
from harness.spec import Case, Timed
from harness.speed.floor import images
from harness.system import clock, machine

# What an iteration takes as a multiple of the float32 floor's, over all frameworks; in bf16 with a
# matrix unit and without, for a contender and for the floor.
OF_FLOOR = 1.7
BF16 = {True: (0.4, 0.2), False: (1.1, 1.6)}
LAYOUTS = 12.0  # iterations of the floor in which layouts are chosen
# Iterations of each contender beside its rounds: its first of each start, and before each half.
UNTIMED = 4
AUDITED = 9.0  # in iterations of the floor: three audits of a contender, some of which replay
EXAM_SECONDS = 3.0  # of one contender: two are examined at a time
START_SECONDS = 4.0  # of one contender: its processes start, and small things are done
FOREIGN_SECONDS = 120.0  # of one in a runtime of its own: it is slow, and may be run in part
# Of torch.compile, once: 35 to 310 for three frameworks. In bf16 an audit replays, and its tapped
# pass is compiled apart; a training compiles in both precisions.
COMPILED, COMPILE_SECONDS = ":compiled", 110.0
PASSES = 3  # forward, and two gradients
RATE_SECONDS = 0.5  # of tries, of which the fastest counts: memory and clock settle
# What a training takes over its convolutions at full width: its networks are narrow, and it tests.
OF_TRAINING, TRAINING_SECONDS = 2.5, 8.0


def training_seconds(cases: tuple[Case, ...]) -> float:
    """Of training these cases on this machine, about: half or twice as much is no surprise."""
    rate = _rate(torch.device(cases[0].device))
    passes = PASSES * sum(case.pace for case in cases)
    return OF_TRAINING * passes / rate + TRAINING_SECONDS * len(cases)


class Plan:
    """What cells take, of so many rounds: the first ones that were measured correct the others."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self._rates = rounds, dict[str, float]()
        self._spent, self._foreseen = 0.0, 0.0

    def seconds(self, group: tuple[Timed, ...]) -> float:
        """Of a cell with its exams, about."""
        found = EXAM_SECONDS * len(group) + self._corrected * self._model(group, self.rounds)
        for case in group:
            if facts.of(case.framework.partition(":")[0]).foreign:
                found += FOREIGN_SECONDS
            if case.framework.endswith(COMPILED):
                found += COMPILE_SECONDS * (2 if case.precision == "bf16" else 1)
        return found

    def round_seconds(self, group: tuple[Timed, ...]) -> float:
        """Of one more round of a cell, about."""
        return self._corrected * self._floor(group) * self._times(group)

    def correct(self, group: tuple[Timed, ...], spent: float, rounds: int) -> None:
        """A cell took so long, its exams aside."""
        self._spent += spent
        self._foreseen += self._model(group, rounds)

    @property
    def _corrected(self) -> float:
        return self._spent / self._foreseen if self._foreseen else 1.0

    def _model(self, group: tuple[Timed, ...], rounds: int) -> float:
        of_floor = LAYOUTS + (rounds + UNTIMED) * self._times(group) + AUDITED * len(group)
        return START_SECONDS * len(group) + self._floor(group) * of_floor

    def _times(self, group: tuple[Timed, ...]) -> float:
        """What a round takes, in iterations of the floor."""
        bf16 = sum(each.precision == "bf16" for each in group)
        of_bf16, floor_bf16 = BF16[machine.has_amx()]
        contenders = OF_FLOOR * (len(group) - bf16) + of_bf16 * bf16
        return contenders + 2 + (floor_bf16 if bf16 else 0)

    def _floor(self, group: tuple[Timed, ...]) -> float:
        """Seconds of an iteration of the float32 floor."""
        case = group[0]
        if case.device not in self._rates:
            self._rates[case.device] = _rate(torch.device(case.device))
        passes = PASSES if case.mode == "training" else 1
        stages = zip(case.network.stages, images(case), strict=True)
        macs = passes * sum(stage.macs * count for stage, count in stages)
        return macs / self._rates[case.device] * (2 if case.precision == "fp64" else 1)


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
