"""bf16's training bar: its loss ends where float32's seeds end, as far as these tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from statistics import fmean, stdev

from scipy import stats

CONFIDENCE = 0.95
# Of the first loss, at most what is left of it where something was learnt. An answer that is the
# same for every digit comes to 0.09, about what random weights come to; float32 ends at half.
LEARNT = 0.75


@dataclass(frozen=True)
class Course:
    """One training: means over its first and last steps, NaN where a loss is not finite."""

    first: float
    last: float

    @classmethod
    def of(cls, losses: Sequence[float], averaged: int) -> Course:
        """From the loss of each step, as many of them averaged at either end."""
        if not losses or not all(map(isfinite, losses)):
            return cls(nan, nan)
        return cls(fmean(losses[:averaged]), fmean(losses[-averaged:]))


@dataclass(frozen=True)
class Judged:
    """Whether bf16 passes, and why not."""

    passed: bool
    reason: str = ""


def judged(fp32: Sequence[Course], bf16: Sequence[Course]) -> Judged:
    """Holds trainings in bf16 against those in float32, from the same weights and batches.

    The mean of bf16 may not lie above the interval in which the mean of as many further seeds of
    float32 lies with 95 % (Student). Where float32 has not learnt, its end says nothing.
    """
    for name, courses in (("float32", fp32), ("bf16", bf16)):
        lost = [seed for seed, each in enumerate(courses) if not isfinite(each.last)]
        if lost:
            return Judged(False, f"a loss in {name} is no number (seed {lost[0]})")
    if not bf16 or len(fp32) < 2:
        return Judged(False, "too few trainings to judge by")
    for seed, each in enumerate(fp32):
        if each.last > LEARNT * each.first:
            return Judged(
                False,
                f"float32 has not learnt (seed {seed}: its loss is {each.first:.4f} at first and "
                f"{each.last:.4f} at last), so nothing is known of bf16",
            )
    exact, mixed = fmean(each.last for each in fp32), fmean(each.last for each in bf16)
    # where float32's seeds are far apart, bf16 must have learnt all the same
    most = min(_highest([each.last for each in fp32], len(bf16)), _learnt(bf16))
    if mixed > most:
        return Judged(
            False,
            f"its loss ends at {mixed:.4f}, in float32 at {exact:.4f} and at {most:.4f} at most",
        )
    return Judged(True)


def _highest(values: Sequence[float], further: int) -> float:
    """The upper end of Student's interval for the mean of further values."""
    n = len(values)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return fmean(values) + quantile * stdev(values) * sqrt(1 / n + 1 / further)


def _learnt(courses: Sequence[Course]) -> float:
    return min((LEARNT * each.first for each in courses), default=inf)
