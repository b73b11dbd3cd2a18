"""How much of an iteration is run where a whole one would take too long.

Its time is then scaled in proportion, which is said wherever it is shown. That it is proportional
is measured first, here: the part against its half or its double, in samples and in steps, wherever
it is fewer than the whole has. (One sample at all steps took im2col and a product 2.5 s, and twenty
16 s.) Whoever is so slow is examined on a network of an eighth of the width; the audits are of what
is timed, as everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from harness.adapter import Adapter, trainer_of
from harness.spec import Case, paper
from harness.speed.iteration import Workload
from harness.speed.ready import loaded
from harness.system import clock

LONGEST = 25.0  # seconds of an iteration that is run whole
# Seconds that a part may take, which is run about a dozen times. Of some time a share is there
# whatever the part: where the first is not proportional, the next is tried.
PARTS = (10.0, 20.0)
# Relative: so far may twice the half be from the part. One conv2 for each pair of maps takes 11 to
# 15 % more for a sample alone than for each of two, and is scaled all the same: the verdict that
# hangs on it is on tens of times. What is scaled wrongly is off by far more (im2col: 3.8 times).
PROPORTIONAL = 0.2
NARROW = Fraction(1, 8)  # of the width, of the network that it is examined on
TRIED = 2  # times; the shorter counts


@dataclass(frozen=True)
class Part:
    """The first steps and samples of a batch."""

    steps: int
    samples: int

    @property
    def amount(self) -> int:
        """Samples at one step each: what time is to be proportional to."""
        return self.steps * self.samples

    def beside(self, whole: Part) -> Iterator[Part]:
        """Half of it, or about, or twice as much, in each way that it is less than the whole."""
        if self.samples < whole.samples:
            yield replace(self, samples=_half_or_two(self.samples))
        if self.steps < whole.steps:
            yield replace(self, steps=_half_or_two(self.steps))

    def of(self, case: Case) -> Case:
        """The case that is run."""
        return replace(case, T=self.steps, batch_size=self.samples)


def _half_or_two(count: int) -> int:
    return count // 2 if count > 1 else 2


class NotProportional(Exception):
    """Its time cannot be scaled; the message says so."""


def part_of(adapter: Adapter, case: Case) -> Part | None:
    """The part of an iteration to run; None: all of it. Raises NotProportional.

    Torch's modules are run whole, however long that takes: as they always were.
    """
    if trainer_of(adapter) is None:
        return None
    whole = Part(case.T, case.batch_size)
    in_a_second = _guessed(adapter, case, whole)
    failed = NotProportional()
    for limit in PARTS if in_a_second else ():
        part = _largest(whole, limit * in_a_second)
        spent = seconds(adapter, case, part)
        if spent * whole.amount / part.amount <= LONGEST:
            return None  # of the smallest parts most was there whatever the part
        try:
            _check(adapter, case, part, spent)
        except NotProportional as error:
            failed = error
        else:
            return part
    if in_a_second:
        raise failed
    return None


def _guessed(adapter: Adapter, case: Case, whole: Part) -> float:
    """How much is run in a second, by the smallest parts; 0 where the whole is soon over."""
    amount = 0.0
    for tried in (Part(1, 1), Part(whole.steps, 1)):  # the first tells less, and is soon known
        spent = seconds(adapter, case, tried)
        if spent * whole.amount / tried.amount <= LONGEST:
            return 0.0
        amount = tried.amount / spent
        if spent > PARTS[0]:
            break
    return amount


def _largest(whole: Part, amount: float) -> Part:
    """The largest part of so much: all steps of as many samples as fit, else steps of one."""
    samples = int(amount / whole.steps)
    if samples >= 1:
        return Part(whole.steps, min(samples, whole.samples))
    return Part(max(1, int(amount)), 1)


def _check(adapter: Adapter, case: Case, part: Part, spent: float) -> None:
    """Raises NotProportional where less or more than the part, which took `spent` seconds, does not
    take less or more in proportion.
    """
    whole = Part(case.T, case.batch_size)
    for beside in part.beside(whole):
        other = seconds(adapter, case, beside)
        found = spent / part.amount / (other / beside.amount)
        if abs(found - 1) > PROPORTIONAL:
            raise NotProportional(
                f"an iteration would take about {spent * whole.amount / part.amount:,.0f} s, and "
                f"cannot be scaled: {part.samples} samples at {part.steps} steps take "
                f"{spent:.1f} s, {beside.samples} at {beside.steps} take {other:.1f} s"
            )


def seconds(adapter: Adapter, case: Case, part: Part) -> float:
    """Of one iteration on so much of made-up data, which take as long as others."""
    generator = torch.Generator().manual_seed(0)
    static = paper.settings(case.dataset).static
    shape = (1 if static else part.steps, part.samples, *case.network.input_shape)
    labels = torch.zeros(part.samples, dtype=torch.int64)
    work = Workload(part.of(case), torch.rand(shape, generator=generator), labels, static)
    ready = loaded(adapter, work)
    found = clock.seconds(ready.run, work.device)
    for _ in range(TRIED - 1):
        if found < PARTS[0] / 2:
            found = min(found, clock.seconds(ready.run, work.device))
    ready.close()
    return found
