"""Where cases run: on this machine, or on those of a Ray cluster. Rows come to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # rows take a moment to import
    from harness.records import Store
    from harness.records.run import CaseRows
    from harness.spec import Access, Budget, Case, ProgressCallback


class Executor(Protocol):
    """Runs cases and keeps their rows in a store: `local.Local` here, `ray.Ray` on a cluster."""

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: ProgressCallback
    ) -> Iterator[CaseRows]:
        """Run the trainings, baselines and counts that are not done; yield each as it ends.

        Raises UsageError where rows cannot be written.
        """
        ...

    def measure(
        self,
        cases: tuple[Case, ...],
        store: Store,
        access: Access,
        budget: Budget,
        say: ProgressCallback,
    ) -> Iterator[CaseRows]:
        """Time the cases that are not done, those of a cell together; raises as `train`."""
        ...
