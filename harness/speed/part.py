"""How much of an iteration is run where a whole one would take too long.

Its time is then scaled in proportion, which is said wherever it is shown. That it is proportional
is measured first, here: the part against its half or its double, in samples and in steps, wherever
it is fewer than the whole has. (One sample at all steps took im2col and a product 2.5 s, and twenty
16 s.) A contender that is so slow is examined on a network of an eighth of the width; the audits
are of what is timed, as everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from harness.adapter import Adapter, trainer_of
from harness.proof.answer import Incomparable
from harness.spec import Timed, paper
from harness.speed.iteration import built_to_try
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
TRIES = 2  # of which the shorter counts


@dataclass(frozen=True)
class Part:
    """The first steps and samples of a batch."""

    steps: int
    samples: int

    @property
    def amount(self) -> int:
        """Samples at one step each: what time is to be proportional to."""
        return self.steps * self.samples

    def of(self, case: Timed) -> Timed:
        return replace(case, T=self.steps, batch_size=self.samples)


def part_of(adapter: Adapter, case: Timed) -> Part | None:
    """The part of an iteration to run; None: all of it. Raises Incomparable where its time cannot
    be scaled.

    Torch's modules are run whole, however long that takes: as they always were.
    """
    if trainer_of(adapter) is None:
        return None
    whole, in_a_second, reason = Part(case.T, case.batch_size), 0.0, None
    for small in (Part(1, 1), Part(whole.steps, 1)):  # the first tells less, and is soon known
        spent = seconds(adapter, case, small)
        in_a_second = small.amount / spent
        if whole.amount / in_a_second <= LONGEST:
            return None
        if spent > PARTS[0]:
            break
    for limit in PARTS:
        part = _largest(whole, limit * in_a_second)
        spent = seconds(adapter, case, part)
        if spent * whole.amount / part.amount <= LONGEST:
            return None  # of the smallest parts most was there whatever the part
        reason = _not_proportional(adapter, case, part, spent)
        if reason is None:
            return part
    raise Incomparable(str(reason))


def _largest(whole: Part, amount: float) -> Part:
    """The largest part of so much: all steps of as many samples as fit, else steps of one."""
    samples = int(amount / whole.steps)
    if samples >= 1:
        return Part(whole.steps, min(samples, whole.samples))
    return Part(max(1, int(amount)), 1)


def _not_proportional(adapter: Adapter, case: Timed, part: Part, spent: float) -> str | None:
    """A sentence where less or more than the part, which took `spent` seconds, does not take less
    or more in proportion.
    """
    others = []  # half of it, or twice as much, in each way that it is less than the whole
    if part.samples < case.batch_size:
        others.append(replace(part, samples=part.samples // 2 or 2))
    if part.steps < case.T:
        others.append(replace(part, steps=part.steps // 2 or 2))
    for other in others:
        taken = seconds(adapter, case, other)
        if abs(spent / part.amount / (taken / other.amount) - 1) > PROPORTIONAL:
            all_of_it = spent * case.T * case.batch_size / part.amount
            return (
                f"an iteration would take about {all_of_it:,.0f} s, and cannot be scaled: "
                f"{part.samples} samples at {part.steps} steps take {spent:.1f} s, "
                f"{other.samples} at {other.steps} take {taken:.1f} s"
            )
    return None


def seconds(adapter: Adapter, case: Timed, part: Part) -> float:
    """Of one iteration on so much of made-up data, which take as long as others."""
    steps = 1 if paper.settings(case.dataset).static else part.steps
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((steps, part.samples, *case.network.input_shape), generator=generator)
    labels = torch.zeros(part.samples, dtype=torch.int64)
    ready = built_to_try(adapter, part.of(case), x, labels)
    device = torch.device(case.device)
    found = clock.seconds(ready.run, device)
    for _ in range(TRIES - 1):
        if found < PARTS[0] / 2:
            found = min(found, clock.seconds(ready.run, device))
    ready.close()
    return found
