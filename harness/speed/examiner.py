"""Exams of a cell's contenders, each in a process of its own, before one is built to be timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from harness.proof.answer import Answer, Incomparable
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam, Questions, Sitting
from harness.records.build import Failed
from harness.spec import Case, Precision
from harness.speed.apart import Apart, Host


@dataclass(eq=False)
class Examiner:
    """The exams of one cell; each certificate is made once: a bf16 case asks for those of fp32."""

    cell: Case
    batch: Tensor  # (T, B, C, H, W)
    host: Host
    _exams: dict[Precision, Exam] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)
    _sitting: tuple[str, Apart] | None = None  # whose process there is

    def certify(self, case: Case, deviations: tuple[str, ...], precision: Precision) -> Certificate:
        """The adapter's certificate. Raises Failed where it cannot be built, or dies; Broken."""
        if precision not in self._exams:
            batch = self.batch.to(case.device)
            self._exams[precision] = Exam(case.network, batch, precision, case.seed)
        key = case.framework, precision
        if key not in self._proofs:
            sit = partial(self._sit, case)
            self._proofs[key] = self._exams[precision].judge(case.framework, deviations, sit)
        return self._proofs[key]

    def _sit(self, case: Case, questions: Questions) -> Sitting:
        apart = self._process(case)
        asked, first = questions.asked, questions.first
        tensors = [*first.parameters, first.x, *asked.parameters, asked.x]
        apart.exchange.put(tensors)
        how = [asked.steps, asked.static, asked.precision, first.seed, asked.seed]
        try:
            counts = apart.ask("sit", len(asked.parameters), *how)
        except Failed as reason:
            if reason.status == "not comparable":
                raise Incomparable(str(reason)) from None
            raise
        found = iter(apart.exchange.take(sum(1 + g + s for g, s in counts)))
        return Sitting(*(_answer(found, gradients, spikes) for gradients, spikes in counts))

    def _process(self, case: Case) -> Apart:
        """The process that a contender is examined in; that of the one before ends."""
        if self._sitting is None or self._sitting[0] != case.framework:
            self.end()
            self._sitting = case.framework, Apart.start(case, self.host)
        return self._sitting[1]

    def end(self) -> None:
        """Ends the process of who was examined last."""
        if self._sitting is not None:
            self._sitting[1].end()
            self._sitting = None


def _answer(tensors: Iterator[Tensor], gradients: int, spikes: int) -> Answer:
    out = next(tensors)
    rest = [next(tensors) for _ in range(gradients + spikes)]
    return Answer(out, tuple(rest[:gradients]), tuple(rest[gradients:]))
