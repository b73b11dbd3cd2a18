"""One case of the energy suite: test samples, a network with its initial weights, what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from harness import datasets
from harness.datasets import Batch, Request
from harness.energy import joules
from harness.proof.subject import NOTHING_KNOWN, subject_of
from harness.records import JoulesRow, OperationsRow, Record, Row, UnmeasuredRow
from harness.records.build import Failed, Run, of_case, stamped, with_source
from harness.records.identity import timing_key
from harness.records.ledger import Ledger
from harness.spec import Access, Case
from harness.system import counters, footprint
from harness.system.counters import EnergyCounter, NoCounter
from harness.training import counting, epoch, step, tried
from harness.training.tried import End, Tried, fails_alone

CALIBRATION_SAMPLES = 20  # the first of the batch


@dataclass(eq=False)
class Inferences:
    """What the cases of one process share: the batch that was read."""

    access: Access
    run: Run
    _batches: dict[Request, Batch] = field(default_factory=dict)

    def trial(self, case: Case, ledger: Ledger) -> End:
        """One case from data to result. Raises Busy where another process has it, and UsageError
        where rows cannot be written.
        """
        row = of_case(case, self.run, NOTHING_KNOWN)
        return tried.trial(Tried(case, ledger, row), self.access, self._try)

    def _try(self, at: Tried) -> bool:
        """Whether an earlier command had done it."""
        case, ledger = at.case, at.ledger
        subject = subject_of(case)
        batch = self._read(case)
        sha256, run = batch.source.sha256, self.run
        row = at.row = replace(
            with_source(of_case(case, run, subject), batch.source),
            key=timing_key(case, sha256, subject.software, run.machine, run.allocator),
        )
        ledger.owner.attempt(case)
        too_large = footprint.too_large(replace(case, batch_size=counting.BATCH))
        if too_large is not None:
            raise Failed(too_large)
        found = _counter(case)
        if _is_done(ledger.begin(row), found):
            return True
        _keep(row, case, batch, found, ledger)
        return False

    def _read(self, case: Case) -> Batch:
        request = Request(
            case.dataset,
            case.T,
            case.batch_size,
            seed=case.seed,
            split="test",
            root=self.access.root,
            download=case.dataset in self.access.download,
        )
        if request not in self._batches:
            with fails_alone():
                self._batches = {request: datasets.load_batch(request)}  # one at a time
        return self._batches[request]


def _counter(case: Case) -> EnergyCounter | str:
    """The counter of what the case's device takes, or why there is none."""
    try:
        return counters.counter(torch.device(case.device))
    except NoCounter as reason:
        return str(reason)


def _is_done(written: list[Row], counter: EnergyCounter | str) -> bool:
    """Whether it is counted, and measured where that is possible now."""
    kinds = {type(row) for row in written if row.suite == "energy"}
    return OperationsRow in kinds and (isinstance(counter, str) or JoulesRow in kinds)


def _keep(
    row: Record, case: Case, batch: Batch, counter: EnergyCounter | str, ledger: Ledger
) -> None:
    """Its rows; the one that says it is done comes last."""
    what = f"{case.dataset} {case.scale} T={case.T} {case.framework}"
    module = _module(case, batch, ledger.store.out)
    chunks = batch.inputs.split(counting.BATCH, dim=1)
    if isinstance(counter, str):
        ledger.keep(stamped(UnmeasuredRow(**vars(row), figure="energy", reason=counter)))
    else:
        ledger.owner.say(0.1, f"{what}: joules")
        ledger.keep(_joules(row, case, module, batch, counter))
    ledger.owner.say(0.5, f"{what}: operations")
    layers = counting.counted(case, module, chunks)
    ledger.keep(stamped(counting.row_of(row, layers, len(batch.labels))))


def _module(case: Case, batch: Batch, out: Path) -> nn.Module:
    """The case's network with its initial weights, or those that it names, ready to infer."""
    few = counting.placed(batch.inputs[:, :CALIBRATION_SAMPLES], case)
    with fails_alone():  # the initial weights that the case names may not be here
        return epoch.built(case, few, out).eval()


def _joules(
    row: Record, case: Case, module: nn.Module, batch: Batch, counter: EnergyCounter
) -> JoulesRow:
    x = counting.placed(batch.inputs[:, : counting.BATCH], case)
    found = joules.measured(
        lambda: step.inference(module, x, case.precision), counter, torch.device(case.device)
    )
    return stamped(
        JoulesRow(
            **vars(row),
            counter=counter.name,
            inferences=found.passes * x.shape[1],
            idle_joules=found.idle_joules,
            idle_seconds=found.idle_seconds,
            busy_joules=found.busy_joules,
            busy_seconds=found.busy_seconds,
        )
    )
