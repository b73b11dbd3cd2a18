"""Holds what contenders compute at the size that is timed against the reference, in our process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from harness.datasets import Batch
from harness.proof.answer import Answer, Question
from harness.proof.audit import Audit, Finding
from harness.records import AuditRow, Record
from harness.records.build import shortened
from harness.records.identity import EXAM
from harness.reference import coding
from harness.reference.initialise import initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Case, Precision, paper
from harness.speed.apart import Apart
from harness.speed.inside.network import asked_of
from harness.system import allocator

CALIBRATION_SAMPLES = 4
When = Literal["before", "after"]  # the rounds; after them on other weights and another batch


@dataclass(frozen=True)
class Audited:
    """What an audit found, and the votes that it was of."""

    finding: Finding
    votes: Tensor  # (B, classes)

    def row(self, row: Record, when: When) -> AuditRow:
        """The audit as a row of its case."""
        found = self.finding
        return AuditRow(
            **vars(row),
            exam=EXAM,
            when=when,
            way=found.way,
            passed=found.passed,
            reason=shortened(found.reason) if found.reason else None,
            spikes=found.spikes,
            mismatches=found.mismatches,
            near_ties=found.near_ties,
            gradient_error=found.gradient_error,
            gradient_cosine=found.gradient_cosine,
        )


@dataclass(eq=False)
class Judge:
    """The judge of one cell. It keeps what the reference answers until it is told to forget."""

    cell: Case
    batch: Batch
    other: Batch
    _audits: dict[tuple[When, Precision], Audit] = field(default_factory=dict)

    @cached_property
    def first_weights(self) -> tuple[ReferenceNetwork, Tensor]:
        """The cell's weights, and the samples (T, B, C, H, W) that they were calibrated on."""
        return self._weights("before")

    def _weights(self, when: When) -> tuple[ReferenceNetwork, Tensor]:
        few = self._of(when).inputs[:, :CALIBRATION_SAMPLES].to(DTYPES[self.cell.precision])
        seed = self.cell.seed if when == "before" else self.cell.seed + 1
        scheme = self.cell.initialisation
        return initialised(self.cell.network, few, seed=seed, scheme=scheme), few

    def _of(self, when: When) -> Batch:
        return self.batch if when == "before" else self.other

    def labels(self, when: When) -> Tensor:  # (B,)
        """Of the batch that is asked."""
        return self._of(when).labels

    def question(self, when: When, precision: Precision) -> list[Tensor]:
        """Weights in layer order, inputs and labels, as a contender is given them."""
        asked = self._question(when, precision)
        return [*asked.parameters, asked.x, self.labels(when)]

    def _question(self, when: When, precision: Precision) -> Question:
        weights = self.first_weights[0] if when == "before" else self._weights(when)[0]
        batch, static = self._of(when), paper.settings(self.cell.dataset).static
        # laid out as a contender is given them: else sums end in other bits, and spikes turn
        inputs = (batch.inputs[:1] if static else batch.inputs).to(DTYPES[precision]).contiguous()
        parameters = tuple(each.detach() for each in weights.parameters())
        return asked_of(replace(self.cell, precision=precision), parameters, inputs, batch.labels)

    def audit(self, apart: Apart, when: When, precision: Precision) -> Audited:
        """Holds the last iteration of a contender against the reference. Raises Failed, Broken."""
        out, *gradients = apart.exchange.take(apart.ask("answer"))
        given = Answer(out, tuple(gradients))
        audit = self._audit(when, precision)
        finding = audit.direct(given)
        if finding is None:
            of_weights, of_layers = apart.ask("tapped")
            out, *rest = apart.exchange.take(1 + of_weights + of_layers)
            tapped = Answer(out, tuple(rest[:of_weights]), tuple(rest[of_weights:]))
            finding = audit.replay(given, tapped)
        apart.exchange.clear()
        return Audited(finding, coding.vote(given.out.float(), self.cell.network.classes))

    def _audit(self, when: When, precision: Precision) -> Audit:
        if (when, precision) not in self._audits:
            question = self._question(when, precision)
            device = torch.device(self.cell.device)
            self._audits[when, precision] = Audit(self.cell.network, question, device)
        return self._audits[when, precision]

    def forget(self) -> None:
        """Lets go of what the reference answered, and of its memory."""
        self._audits.clear()
        allocator.release()
