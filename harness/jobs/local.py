"""Cases on this machine.

Each training, baseline or count runs in a child of this process; for timings this process's
children are the contenders. This process alone writes rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

import adapters
from adapters import facts
from adapters.facts import Facts
from harness.baselines.trial import fit
from harness.machine import host, memory
from harness.machine.child import SILENCE, Child, Died, tell
from harness.proof.installation import NOTHING_KNOWN
from harness.records import EndedResult, Row, Run, Store
from harness.records.run import CaseRows, begin, maker
from harness.records.store import Busy, Ledger
from harness.spec import (
    Access,
    Budget,
    Case,
    Count,
    Fit,
    ProgressCallback,
    Timing,
    Training,
    UsageError,
    network_name,
)
from harness.speed.schedule import Schedule
from harness.training.trial import count, do, train

DOWNLOAD = 6 * 3600.0  # seconds that a data set may take to arrive
Cases = tuple[Case, ...]


class Progress(NamedTuple):
    """How far a child is with its case."""

    fraction: float  # in [0, 1]
    doing: str


def begin_run(cases: Cases, store: Store, command: Sequence[str]) -> Run:
    """Write the file of a run of these cases; return its name, machine and allocator."""
    machine = host.describe(torch.device(cases[0].device))
    contenders, names = {case.contender.plain for case in cases}, adapters.names()
    facts.discover(contender.package for contender in contenders if contender.framework in names)
    packages = dict.fromkeys(case.contender.package for case in cases)
    return begin(store.out, machine, memory.allocator_of_children(), packages, command)


def keep_failure(case: Case, reason: str, run: Run, store: Store) -> Row[EndedResult]:
    """Append and return the row of a failed case whose installation and data are unknown."""
    row = maker(case, replace(run, allocator="system"), NOTHING_KNOWN).ended("failed", reason)
    store.append(row)
    return row


@dataclass(frozen=True)
class Local:
    """Executor on this machine. A case that fails becomes a row with its reason; others go on."""

    command: tuple[str, ...] = ()  # as it was typed, for the file of the run

    def train(
        self, cases: Cases, store: Store, access: Access, say: ProgressCallback
    ) -> Iterator[CaseRows]:
        """Run the trainings, baselines and counts that are not done, in any order.

        Cases that another process has locked come last, once it has ended them. Each case has a
        child process of its own: what a framework sets for its process would decide the next case's
        weights. A child that found its case done or locked has imported no framework, and takes the
        next case with the data that it has read.

        Raises UsageError where rows cannot be written.
        """
        run = begin_run(cases, store, self.command)
        total, done = sum(case.forward_macs for case in cases), 0.0
        child: Child | None = None
        waiting = deque((case, False) for case in cases)
        try:
            while waiting:
                case, patient = waiting.popleft()

                def hear(
                    message: Progress | tuple[Row, ...], share=case.forward_macs / total, start=done
                ) -> None:
                    """Show the child's progress as part of the whole; keep its rows."""
                    match message:
                        case Progress(fraction, doing):
                            say(start + share * fraction, doing)
                        case rows:
                            store.append(*rows)

                arguments = store.out, access, run, facts.snapshot(), case, patient
                try:
                    child = child or Child(case.device, short_spin=True)
                    result = child.call(trial_in_child, *arguments, silence=SILENCE, hear=hear)
                except Busy:
                    waiting.append((case, True))
                    continue
                except UsageError:
                    raise
                except Exception as error:  # noqa: BLE001 a framework's own costs its own case
                    kind = "" if isinstance(error, Died) else f"{type(error).__name__}: "
                    result = CaseRows(case, (keep_failure(case, f"{kind}{error}", run, store),))
                done += case.forward_macs / total
                if not result.was_done and child is not None:
                    child.end()
                    child = None
                yield result
        finally:
            if child is not None:
                child.end()

    def measure(
        self, cases: Cases, store: Store, access: Access, budget: Budget, say: ProgressCallback
    ) -> Iterator[CaseRows]:
        """Time the cases that are not done. Raises UsageError where rows cannot be written."""
        run = begin_run(cases, store, self.command)
        ledger = Ledger(store, say, access.fresh, (run.id,), patient=True)
        timed = tuple(case for case in cases if isinstance(case, Timing))
        try:
            yield from Schedule(timed, ledger, access, budget, run).results()
        finally:
            ledger.release()


_locks = ExitStack()  # of a child: those of its last case


def trial_in_child(
    out: Path, access: Access, run: Run, adapter_facts: tuple[Facts, ...], case: Case, patient: bool
) -> CaseRows:
    """Run one case in a child process, from data to results; send its rows to the parent.

    `out`: the folder of the rows so far, checkpoints and weights. `adapter_facts`: as the parent
    has them. Where another process has locked the case, waits if `patient`, else raises Busy. It
    stays locked until the next call, or the end, of this process: its rows are on the disk by then.
    Raises UsageError where checkpoints or weights cannot be written.
    """
    _locks.close()
    facts.remember(*adapter_facts)

    def say(fraction: float, doing: str) -> None:
        tell(Progress(fraction, doing))

    ledger = Ledger(Store(out), say, access.fresh, (run.id,), patient, lambda *rows: tell(rows))
    _locks.callback(ledger.release)
    workload = case.workload
    # fetching a data set may take long, and reports nothing
    patience = DOWNLOAD if workload.dataset in access.download else 0.0
    name = f"{workload.dataset} {network_name(workload)} {case.contender.name}"
    tell(Progress(0.0, name), patience=patience)
    run = replace(run, allocator=memory.keep_freed())
    match case:
        case Training():
            return do(case, ledger, access, run, train)
        case Fit():
            return do(case, ledger, access, run, fit)
        case Count():
            return do(case, ledger, access, run, count)
        case Timing():
            raise TypeError("a timing is no trial: its contenders have processes of their own")
