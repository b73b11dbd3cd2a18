"""bf16's training bar: who was audited in bf16 trains, once for each form as it is installed.

Both precisions train in a process of the contender's own, whose crash costs this row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import fmean

from torch import Tensor

from harness.records import DescentRow, Record
from harness.records.build import Failed, shortened
from harness.records.identity import EXAM
from harness.spec import Case, Precision
from harness.speed.apart import Apart, Host
from harness.speed.attempt import Attempts
from harness.speed.exchange import Broken
from harness.training import descent
from harness.training.descent import Course, Digits, Judged, judged

Tell = Callable[[str], None]  # is told what is done


@dataclass(eq=False)
class Courses:
    """The trainings of one contender so far."""

    fp32: list[Course] = field(default_factory=list)
    bf16: list[Course] = field(default_factory=list)

    def add(self, precision: Precision, course: Course) -> None:
        """One more."""
        (self.bf16 if precision == "bf16" else self.fp32).append(course)


def descend(row: Record, attempts: Attempts, host: Host, tell: Tell) -> None:
    """Has the contender of a row train in float32 and in bf16, and keeps what that comes to.

    Nothing happens where a row of its installation says so already.
    """
    if not is_lacking(row, attempts.ledger.descents()):
        return
    attempts.ledger.owner.attempt(Case.of(row))
    courses, failure = Courses(), ""
    try:
        _train(Case.of(row), courses, host, tell)
    except (Failed, Broken) as reason:
        failure = str(reason)
    verdict = Judged(False, failure) if failure else judged(courses.fp32, courses.bf16)
    attempts.keep(_row(row, courses, verdict, finished=not failure))


def is_lacking(row: Record, there: list[DescentRow]) -> bool:
    """Whether no row says how the contender trains; what was cut short is tried once a run."""
    return not any(
        each.installation == row.installation
        and each.exam == EXAM
        and (each.finished or each.run == row.run)
        for each in there
    )


def _train(timed: Case, courses: Courses, host: Host, tell: Tell) -> None:
    """All trainings, each added as it ends. Raises Failed, Broken."""
    case, trainings = descent.case_of(timed), descent.TERMS.trainings
    what = f"{timed.framework} trains, for bf16"
    tell(what)
    digits = Digits.read()
    apart = Apart.start(case, host)
    try:
        for n, (precision, seed) in enumerate(trainings, 1):
            tell(f"{what}: {n} of {len(trainings)}")
            one = replace(case, seed=seed)
            losses = _losses(apart, precision, seed, [*digits.weights(one)], digits)
            courses.add(precision, Course.of(losses, descent.TERMS.averaged))
    finally:
        apart.end()


def _losses(
    apart: Apart, precision: Precision, seed: int, weights: list[Tensor], digits: Digits
) -> list[float]:
    count = apart.give([*weights, digits.images, digits.labels])
    losses = apart.ask("descend", count, seed, precision)
    whole = isinstance(losses, list) and len(losses) == descent.TERMS.steps
    if not whole or not all(isinstance(each, float) for each in losses):
        raise Failed("it broke the pipe to its owner")
    return losses


def _row(row: Record, courses: Courses, verdict: Judged, *, finished: bool) -> DescentRow:
    firsts = [each.first for each in courses.fp32 if isfinite(each.first)]
    return DescentRow(
        **vars(row),
        exam=EXAM,
        setting=descent.said(descent.case_of(Case.of(row))),
        steps=descent.TERMS.steps,
        seeds=tuple(range(descent.TERMS.fp32_seeds)),
        first_loss=fmean(firsts) if firsts else None,
        fp32_losses=_ends(courses.fp32),
        bf16_losses=_ends(courses.bf16),
        finished=finished,
        passed=verdict.passed,
        reason=shortened(verdict.reason) or None,
    )


def _ends(courses: list[Course]) -> tuple[float | None, ...]:
    return tuple(each.last if isfinite(each.last) else None for each in courses)
