"""Holds what contenders compute at the size that is timed against the reference, in our process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from harness.datasets import Batch
from harness.formats.weights import first_weights
from harness.proof.answer import Answer, Question
from harness.proof.audit import Audit, Finding
from harness.records import AuditRow, Record
from harness.records.build import shortened
from harness.records.identity import EXAM
from harness.reference import coding
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Case, paper
from harness.speed.apart import Apart
from harness.speed.inside.network import asked_of
from harness.speed.update import wrong_update
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
    out: Path | None = None  # the result folder, which keeps weights that a case names
    _audits: dict[tuple[When, Case], Audit] = field(default_factory=dict)

    @cached_property
    def first_weights(self) -> tuple[ReferenceNetwork, Tensor]:
        """The cell's weights, and the samples (T, B, C, H, W) that they were calibrated on."""
        return self._weights("before")

    def _weights(self, when: When) -> tuple[ReferenceNetwork, Tensor]:
        few = self._of(when).inputs[:, :CALIBRATION_SAMPLES].to(DTYPES[self.cell.precision])
        cell = self.cell
        if when == "after":
            cell = replace(cell, seed=cell.seed + 1, weights_sha256=None)
        return first_weights(cell, few, self.out), few

    def _of(self, when: When) -> Batch:
        return self.batch if when == "before" else self.other

    def labels(self, when: When, case: Case) -> Tensor:  # (B,)
        """Of the batch that is asked."""
        return self._of(when).labels[: case.batch_size]

    def question(self, when: When, case: Case) -> list[Tensor]:
        """Weights in layer order, inputs and labels, as a contender is given them.

        `case`: one of the cell's, as it is run: with fewer steps and samples, their first.
        """
        asked = self._question(when, case)
        return [*asked.parameters, asked.x, self.labels(when, case)]

    def _question(self, when: When, case: Case) -> Question:
        weights = self.first_weights[0] if when == "before" else self._weights(when)[0]
        batch, static = self._of(when), paper.settings(case.dataset).static
        given = batch.inputs[: 1 if static else case.T, : case.batch_size]
        # laid out as a contender is given them: else sums end in other bits, and spikes turn
        inputs = given.to(DTYPES[case.precision]).contiguous()
        parameters = tuple(each.detach() for each in weights.parameters())
        return asked_of(case, parameters, inputs, self.labels(when, case))

    def audit(self, apart: Apart, when: When, case: Case) -> Audited:
        """Holds the last iteration of a contender against the reference. Raises Failed, Broken."""
        out, *rest = apart.exchange.take(apart.ask("answer"))
        audit = self._audit(when, case)
        count = len(audit.question.parameters) if self.cell.mode == "training" else 0
        given, updated = Answer(out, tuple(rest[:count])), rest[count:]
        finding = audit.direct(given)
        if finding is None:
            of_weights, of_layers = apart.ask("tapped")
            out, *rest = apart.exchange.take(1 + of_weights + of_layers)
            tapped = Answer(out, tuple(rest[:of_weights]), tuple(rest[of_weights:]))
            finding = audit.replay(given, tapped)
        if updated and when == "before" and finding.passed:  # its optimiser has gathered nothing
            wrong = wrong_update(audit.question, self.cell.optimiser, given.gradients, updated)
            finding = replace(finding, passed=wrong is None, reason=wrong)
        apart.exchange.clear()
        return Audited(finding, coding.vote(given.out.float(), self.cell.network.classes))

    def _audit(self, when: When, case: Case) -> Audit:
        key = when, replace(case, framework="")  # whose it is does not matter
        if key not in self._audits:
            device = torch.device(self.cell.device)
            self._audits[key] = Audit(self.cell.network, self._question(when, case), device)
        return self._audits[key]

    def forget(self) -> None:
        """Lets go of what the reference answered, and of its memory."""
        self._audits.clear()
        allocator.release()
