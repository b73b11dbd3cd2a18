"""Who does the cases of a suite, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from harness.baselines.trial import Fits
from harness.energy.trial import Inferences
from harness.records.build import Run
from harness.records.ledger import Ledger
from harness.spec import Access, Case
from harness.training.trial import Trials
from harness.training.tried import End


class Doer(Protocol):
    """What does a case from data to result, and keeps its rows."""

    def trial(self, case: Case, ledger: Ledger) -> End:
        """Raises Busy where another process has it, and UsageError where rows cannot be written."""
        ...


def doer(case: Case, out: Path, access: Access, run: Run) -> Doer:
    """Who does a case and the others of its suite."""
    if case.beside is not None:
        return Fits(access, run)
    if case.training is None:
        return Inferences(access, run)
    return Trials(out, access, run)
