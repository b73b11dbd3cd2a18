"""Cases on this machine.

Each training, other system or count runs in a child of this process; for timings this process's
children are the contenders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import adapters
from adapters import facts, overlay
from adapters.facts import Facts
from harness.baselines.trial import fit
from harness.proof.installation import NOTHING_KNOWN
from harness.records import EndedRow, Store
from harness.records.run import Result, Run, ended, of_case, save_run, stamped
from harness.records.store import Busy, Ledger
from harness.spec import (
    Access,
    Budget,
    Case,
    ProgressCallback,
    System,
    Timed,
    Trained,
    UsageError,
    network_name,
)
from harness.speed.schedule import Schedule
from harness.system import machine, memory
from harness.system.child import SILENCE, Child, Died, tell
from harness.training.trial import count, do, train

DOWNLOAD = 6 * 3600.0  # seconds that a data set may take to arrive
WORK: Mapping[type[Case], Callable[[Any], bool]] = {System: fit, Trained: train, Timed: count}
Cases = tuple[Case, ...]


def begin_run(cases: Cases, store: Store, command: Sequence[str]) -> Run:
    """Write the file of a run of these cases; return its name, machine and allocator."""
    here = machine.describe(torch.device(cases[0].device))
    frameworks = dict.fromkeys(case.framework.partition(":")[0] for case in cases)
    known = adapters.names()
    facts.discover(name for name in frameworks if name.partition(overlay.MARK)[0] in known)
    return Run(save_run(store.out, here, frameworks, command), here, memory.allocator_of_children())


def keep_failure(case: Case, reason: str, run: Run, store: Store) -> EndedRow:
    """Append and return the row of a failed case whose installation and data are unknown."""
    known = of_case(case, replace(run, allocator="system"), NOTHING_KNOWN)
    row = stamped(ended(known, "failed", reason))
    store.append(row)
    return row


@dataclass(frozen=True)
class Local:
    """Executor on this machine. A case that fails becomes a row with its reason; others go on."""

    command: tuple[str, ...] = ()  # as it was typed, for the file of the run

    def train(
        self, cases: Cases, store: Store, access: Access, say: ProgressCallback
    ) -> Iterator[Result]:
        """Run the trainings, other systems and counts that are not done, in any order.

        Cases that another process has locked come last, once it has ended them. Each case has a
        child process of its own: what a framework sets for its process would decide the next case's
        weights. A child that found its case done or locked has imported no framework, and takes the
        next case with the data that it has read.

        Raises UsageError where rows cannot be written.
        """
        run = begin_run(cases, store, self.command)
        total, before = sum(case.forward_macs for case in cases), 0.0
        child: Child | None = None
        waiting = deque((case, False) for case in cases)
        try:
            while waiting:
                case, patient = waiting.popleft()

                def hear(
                    fraction: float, doing: str, of=case.forward_macs / total, after=before
                ) -> None:
                    say(after + of * fraction, doing)

                given = store.out, access, run, facts.known(), case, patient
                try:
                    child = child or Child(case.device, short_spin=True)
                    result = child.call(trial_in_child, *given, silence=SILENCE, hear=hear)
                except Busy:
                    waiting.append((case, True))
                    continue
                except UsageError:
                    raise
                except Exception as error:  # noqa: BLE001 a framework's own costs its own case
                    of = "" if isinstance(error, Died) else f"{type(error).__name__}: "
                    result = Result(case, (keep_failure(case, f"{of}{error}", run, store),))
                before += case.forward_macs / total
                if not result.before and child is not None:
                    child.end()
                    child = None
                yield result
        finally:
            if child is not None:
                child.end()

    def measure(
        self, cases: Cases, store: Store, access: Access, budget: Budget, say: ProgressCallback
    ) -> Iterator[Result]:
        """Time the cases that are not done. Raises UsageError where rows cannot be written."""
        run = begin_run(cases, store, self.command)
        ledger = Ledger(store, say, access.fresh, (run.id,), patient=True)
        timed = tuple(case for case in cases if isinstance(case, Timed))
        try:
            yield from Schedule(timed, ledger, access, budget, run).results()
        finally:
            ledger.release()


def trial_in_child(
    out: Path, access: Access, run: Run, known: tuple[Facts, ...], case: Case, patient: bool
) -> Result:
    """Run one case in a child process, from data to results; its rows go to the folder `out`.

    `known`: facts of adapters, from the parent. Where another process has locked the case, waits if
    `patient`, else raises Busy. Raises UsageError where results cannot be written.
    """
    facts.remember(*known)
    ledger = Ledger(Store(out), tell, access.fresh, (run.id,), patient)
    # fetching a data set may take long, and reports nothing
    patience = DOWNLOAD if case.dataset in access.download else 0.0
    tell(0.0, f"{case.dataset} {network_name(case)} {case.framework}", patience=patience)
    try:
        return do(
            case, ledger, access, replace(run, allocator=memory.keep_freed()), WORK[type(case)]
        )
    finally:
        ledger.release()
