"""Exams of a cell's contenders, each in a process of its own, before one is built to be timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from harness.proof.answer import Answer, Incomparable
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam, Questions, Sitting
from harness.records.build import Failed
from harness.spec import Case, Network, Precision
from harness.speed.apart import Apart, Host
from harness.speed.part import NARROW, Part


@dataclass(eq=False)
class Examiner:
    """The exams of one cell; each certificate is made once: a bf16 case asks for those of fp32."""

    cell: Case
    batch: Tensor  # (T, B, C, H, W)
    host: Host
    _exams: dict[tuple[Network, Precision], Exam] = field(default_factory=dict)
    _parts: dict[str, Part | None] = field(default_factory=dict)
    _proofs: dict[tuple[str, Precision], Certificate] = field(default_factory=dict)
    _sitting: tuple[Case, Apart] | None = None  # whose process there is

    def certify(self, case: Case, deviations: tuple[str, ...], precision: Precision) -> Certificate:
        """The adapter's certificate. Raises Failed where it cannot be built, or dies; Broken."""
        key = case.framework, precision
        if key not in self._proofs:
            exam = self._exam(self.network_of(case), precision)
            sit = partial(self._sit, case)
            self._proofs[key] = exam.judge(case.framework, deviations, sit)
        return self._proofs[key]

    def _exam(self, network: Network, precision: Precision) -> Exam:
        if (network, precision) not in self._exams:
            batch = self.batch.to(self.cell.device)
            self._exams[network, precision] = Exam(network, batch, precision, self.cell.seed)
        return self._exams[network, precision]

    def network_of(self, case: Case) -> Network:
        """That a contender is examined on. Raises Failed."""
        narrow = self.part(case) is not None
        return case.network.scaled(NARROW) if narrow else case.network

    def part(self, case: Case) -> Part | None:
        """The part of an iteration that it will run; None: all of it. Raises Failed."""
        if case.framework not in self._parts:
            match self._process(case).ask("part"):
                case None:
                    self._parts[case.framework] = None
                case [int() as steps, int() as samples] if 1 <= steps <= case.T and samples >= 1:
                    self._parts[case.framework] = Part(steps, min(samples, case.batch_size))
                case _:
                    raise Failed("it broke the pipe to its owner")
        return self._parts[case.framework]

    def _sit(self, case: Case, questions: Questions) -> Sitting:
        apart = self._process(replace(case, network=self.network_of(case)))
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

    def _process(self, examined: Case) -> Apart:
        """The process that a contender is examined in; that of the one before ends."""
        of = replace(examined, precision=self.cell.precision)  # one serves all precisions
        if self._sitting is None or self._sitting[0] != of:
            self.end()
            self._sitting = of, Apart.start(examined, self.host)
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
