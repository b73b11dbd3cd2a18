"""bf16's training bar: a contender that was audited in bf16 trains, once for each installation.

Both precisions train in a process of the contender's own, whose crash costs this row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from statistics import fmean

from harness.records import DescentRow, Record
from harness.records.identity import EXAM
from harness.records.ledger import Ledger
from harness.records.run import Failed, shortened, stamped
from harness.spec import Precision, Timed
from harness.speed.contender import Host, Process, Subject
from harness.system import machine
from harness.training import descent
from harness.training.descent import Course, Digits, judged

Courses = dict[Precision, list[Course]]


def descend(row: Record, ledger: Ledger, host: Host, say: Callable[[str], None]) -> None:
    """Has the contender of a row train in float32 and in bf16, and keeps what that comes to.

    Nothing happens where a row of its installation says so already.
    """
    if not is_lacking(row, ledger.descents()):
        return
    courses: Courses = {"fp32": [], "bf16": []}
    finished = False
    try:
        _train(Timed.of(row), courses, host, say)
        reason, finished = judged(courses["fp32"], courses["bf16"]), True
    except Failed as error:
        reason = str(error)
    firsts = [each.first for each in courses["fp32"] if isfinite(each.first)]
    made = DescentRow(
        **vars(row),
        exam=EXAM,
        setting=descent.said(descent.case_of(Timed.of(row))),
        steps=descent.TERMS.steps,
        seeds=tuple(range(descent.TERMS.fp32_seeds)),
        first_loss=fmean(firsts) if firsts else None,
        fp32_losses=_ends(courses["fp32"]),
        bf16_losses=_ends(courses["bf16"]),
        finished=finished,
        passed=finished and not reason,
        reason=shortened(reason) or None,
    )
    ledger.keep(stamped(made, machine.moment()))


def is_lacking(row: Record, there: list[DescentRow]) -> bool:
    """Whether no row says how the contender trains; what was cut short is tried once a run."""
    return not any(
        each.installation == row.installation
        and each.exam == EXAM
        and (each.finished or each.run == row.run)
        for each in there
    )


def _train(timed: Timed, courses: Courses, host: Host, say: Callable[[str], None]) -> None:
    """All trainings, each added as it ends. Raises Failed."""
    case, trainings = descent.case_of(timed), descent.TERMS.trainings
    what = f"{timed.framework} trains, for bf16"
    say(what)
    digits = Digits.read()
    process = Process(case, host)
    try:
        for n, (precision, seed) in enumerate(trainings, 1):
            say(f"{what}: {n} of {len(trainings)}")
            one = replace(case, seed=seed, precision=precision)
            weights = digits.weights(one)
            losses = process.call(Subject.descend, one, weights, digits)
            courses[precision].append(Course.of(losses, descent.TERMS.averaged))
    finally:
        process.end()


def _ends(courses: list[Course]) -> tuple[float | None, ...]:
    return tuple(each.last if isfinite(each.last) else None for each in courses)
