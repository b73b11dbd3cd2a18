"""What was proved of a contender, by its exams and its audits, and what its rank lacks of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

from harness.records import (
    AuditRow,
    CertificateRow,
    DescentRow,
    EndedRow,
    Record,
    Row,
    identity,
)
from harness.spec import FLOOR

Standing = Literal[
    "equal",  # by the exam and by an audit of the very object that was timed
    "examined",  # by an exam alone: an older one, or what was timed was not audited
    "bf16",  # its bar is passed; never called equal
    "none",
]


@dataclass(frozen=True)
class Proof:
    """What a contender's proof came to."""

    text: str
    standing: Standing = "none"
    precisions: tuple[str, ...] = ()  # in which it was proved equal
    lacks: tuple[str, ...] = ()  # of its proof, what a rank would need


def proof_of(rows: Sequence[Row], descents: Sequence[DescentRow] = ()) -> Proof:
    """What the rows of one contender in one cell and run prove.

    `descents` are those of all cells and contenders: one counts wherever its version is timed.
    """
    if rows[0].framework == FLOOR:
        return Proof("")
    ends = [row for row in rows if isinstance(row, EndedRow)]
    if ends:
        return _ended(ends[-1])
    if rows[-1].deviations:
        return Proof("not the paper's function", lacks=(rows[-1].deviations,))
    exams = exams_of(rows)
    if not exams:
        return Proof("none", lacks=("no exam was taken",))
    failed = [row for row in exams if not row.certified]
    if failed:
        return Proof("none", lacks=(f"its exam failed: {failed[0].reason or 'no reason is said'}",))
    refused = [row for row in audits_of(rows) if not row.passed]
    if refused:
        why = f"audit {refused[0].when} its rounds: {refused[0].reason or 'no reason is said'}"
        return Proof("audit failed", lacks=(why,))
    return _bf16(rows, descents) if rows[-1].precision == "bf16" else _equal(rows)


def exams_of(rows: Iterable[Row]) -> list[CertificateRow]:
    """The outcomes of its exams, one each precision."""
    return [row for row in rows if isinstance(row, CertificateRow) and row.layer is None]


def audits_of(rows: Iterable[Row]) -> list[AuditRow]:
    """Its audits; those by another exam count as none."""
    return [row for row in rows if isinstance(row, AuditRow) and row.exam == identity.EXAM]


def shares_that_differ(audits: Sequence[AuditRow]) -> tuple[float, float]:
    """Of the spikes compared, those that differ beyond rounding, and those that it decides."""
    compared = sum(row.spikes for row in audits)
    if not compared:
        return nan, nan
    rounding = sum(row.near_ties for row in audits)
    return (sum(row.mismatches for row in audits) - rounding) / compared, rounding / compared


def _ended(row: EndedRow) -> Proof:
    reason = f"{row.status}: {row.reason}" if row.status == "not comparable" else row.reason
    return Proof("not installed" if row.status == "missing" else row.status, lacks=(reason,))


def _equal(rows: Sequence[Row]) -> Proof:
    exams, audits = exams_of(rows), audits_of(rows)
    lacks = (*_lacking_exam(exams), *_lacking_audits(audits))
    exact = tuple(p for row in exams if (p := row.certificate_precision) != "bf16")
    if _lacking_exam(exams) or not any(row.when == "before" for row in audits):
        oldest = min(row.exam for row in exams)
        return Proof(f"equal by exam {oldest}", "examined", lacks=lacks)
    return Proof(f"equal ({'+'.join(exact)})", "equal", exact, lacks)


def _bf16(rows: Sequence[Row], descents: Sequence[DescentRow]) -> Proof:
    lacks = (*_lacking_exam(exams_of(rows)), *_bf16_bar(rows, descents))
    if lacks:
        return Proof("not proved", lacks=lacks)
    beyond, within = (f"{100 * share:.2g} %" for share in shares_that_differ(audits_of(rows)))
    return Proof(f"bf16 ({beyond} of spikes differ beyond rounding, {within} within it)", "bf16")


def _bf16_bar(rows: Sequence[Row], descents: Sequence[DescentRow]) -> tuple[str, ...]:
    """What of bf16's bar is not passed: its audits, then a training.

    Until both are it has neither word nor rank.
    """
    return (*_lacking_audits(audits_of(rows)), *_lacking_descent(rows[-1], descents))


def _lacking_descent(row: Record, descents: Sequence[DescentRow]) -> tuple[str, ...]:
    """What is lacking of a training in bf16 that ended within the spread of float32's seeds.

    The last that came to its end counts: one that was cut short says nothing against it.
    """
    own = [
        each
        for each in descents
        if each.installation == row.installation and each.exam == identity.EXAM
    ]
    counts = [each for each in own if each.finished] or own
    if not counts:
        return (f"no training in bf16 yet: a run of {row.contender} in bf16 makes one",)
    if counts[-1].passed:
        return ()
    return (f"its training in bf16: {counts[-1].reason or 'no reason is said'}",)


def _lacking_exam(exams: Sequence[CertificateRow]) -> tuple[str, ...]:
    older = {row.exam for row in exams} - {identity.EXAM}
    return tuple(f"proved by exam {number}" for number in sorted(older))


def _lacking_audits(audits: Sequence[AuditRow]) -> tuple[str, ...]:
    taken = {row.when for row in audits}
    if not taken:
        return ("not audited",)
    return tuple(
        f"not audited {when} its rounds" for when in ("before", "after") if when not in taken
    )
