"""Does a case that is no timing: another system, a count of operations, or a training."""

from __future__ import annotations

from harness.baselines.trial import fit
from harness.records.build import Run
from harness.records.ledger import Ledger
from harness.spec import Access, Case
from harness.training import runner
from harness.training.counting import count
from harness.training.runner import End
from harness.training.trial import train


def trial(case: Case, ledger: Ledger, access: Access, run: Run) -> End:
    """From data to results. Raises Busy where another process has the case, and UsageError where
    results cannot be written.
    """
    work = fit if case.beside is not None else count if case.training is None else train
    return runner.do(case, ledger, access, run, work)
