"""One case that is no timing: a training, a count, or, by `baselines.trial`, another system.

A training is proved equal, trained with a checkpoint after each epoch, and tested. A failure
becomes one row with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

import adapters
from harness import datasets
from harness.adapter import Unsupported, record_spikes
from harness.formats import weights
from harness.proof import certificate
from harness.proof.answer import question_of
from harness.proof.audit import Audit, Finding, row_of
from harness.proof.certificate import RULES
from harness.proof.exam import Exam
from harness.proof.installation import NOTHING_KNOWN, installation_of
from harness.records import (
    CertificateRow,
    ConfusionRow,
    EndedRow,
    EpochRow,
    OperationsRow,
    Record,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
    WarningRow,
)
from harness.records.done import served_by, without_overcome
from harness.records.identity import EXAM, IDLE, timing_key, training_identity, training_key
from harness.records.run import Failed, Result, Run, ended, of_case, shortened, stamped, with_data
from harness.records.store import Ledger
from harness.reference.operations import LayerOperations, ann_operations, spiking_operations
from harness.spec import (
    ANN,
    Access,
    Budget,
    Case,
    Timed,
    Trained,
    UsageError,
    network_name,
    schedule,
)
from harness.system import kept, memory
from harness.system.files import Unwritable
from harness.training import checkpoint, epoch, step
from harness.training.checkpoint import Epoch, EpochPart
from harness.training.epoch import DataSplits, Learner

PROOF_SAMPLES = 12  # the first inputs and those of further attempts
CONFUSION_SAMPLES = 500  # as in Fig. 6
COUNTED_SAMPLES = 500  # random test samples, those of Fig. 6, on which operations are counted
COUNTED_TOGETHER = 10  # samples: the spikes of all layers and steps are kept

C = TypeVar("C", bound=Case)


@dataclass(eq=False)
class Trial(Generic[C]):
    """A case that is being done, and what its rows say so far."""

    case: C
    ledger: Ledger
    access: Access
    run: Run
    row: Record
    written: list[Row] = field(default_factory=list)  # rows with its key from before it began
    last: tuple[float, str] = (0.0, "tests")  # the last report

    @property
    def out(self) -> Path:  # the folder of its results
        return self.ledger.store.out

    def say(self, fraction: float, doing: str) -> None:
        """Report the progress of the case: a fraction in [0, 1], and what is being done."""
        self.last = fraction, doing
        self.ledger.say(fraction, doing)

    def alive(self) -> None:
        """Repeat the last report: a process that is silent for too long is ended as hung."""
        self.ledger.say(*self.last)

    def say_reading(self, fraction: float, doing: str) -> None:
        """Report the reading of data, at progress 0: the case itself has not begun."""
        self.say(0.0, doing)

    def served_by(self) -> str | None:
        """Claim the case; return the suite whose rows serve it, None where it must be run.

        A training whose weights are wanted and not here must: it goes on from its last checkpoint.
        Raises Busy.
        """
        self.written = self.ledger.lock_and_read(self.row)
        there = self.written
        if self.access.keep_weights:
            there = [row for row in there if not isinstance(row, TrainedRow) or self._keeps(row)]
        return served_by(self.case, {self.row.key}, there, Budget())

    def _keeps(self, row: TrainedRow) -> bool:
        name = row.kept_weights_sha256
        return name is not None and weights.path_of(self.out, name).is_file()

    def keep(self, *rows: Row) -> None:
        """Write rows, stamped with the present time."""
        self.ledger.keep(*map(stamped, rows))


def do(
    case: C, ledger: Ledger, access: Access, run: Run, work: Callable[[Trial[C]], bool]
) -> Result:
    """Run a case by `work`, which returns whether it was done before; a failure becomes a row.

    Raises Busy where another process has the case, and UsageError where results cannot be written.
    """
    trial = Trial(case, ledger, access, run, of_case(case, run, NOTHING_KNOWN))
    try:
        before = work(trial)
        found = (row for row in trial.written if row.suite == case.suite) if before else ()
        return Result(case, tuple(without_overcome([*found, *ledger.kept])), before=before)
    except Unwritable:
        raise
    except (Failed, adapters.Missing, Unsupported) as error:
        status, reason = error.status, str(error)
    except UsageError as error:  # what the case names is not here, or damaged
        status, reason = "failed", str(error)
    except RuntimeError as error:  # a framework's own, or a full card
        if memory.is_exhausted(error) and not isinstance(error, torch.OutOfMemoryError):
            raise  # nothing that this process does now can be trusted
        status, reason = "failed", f"{type(error).__name__}: {error}"
    trial.keep(ended(trial.row, status, reason))
    return Result(case, tuple(ledger.kept))


# a training

# The last data that were read: the next case often has the same, and they are large.
_last: dict[tuple[datasets.SplitRequest, int | None], DataSplits] = {}


def train(trial: Trial[Trained]) -> bool:
    """Prove (except the ANN), train and test a network. Returns whether it was already done."""
    case = trial.case
    kept.share_with("nobody")  # a later commit takes the same kernels
    installation = installation_of(case)
    trial.row = of_case(case, trial.run, installation)
    data = _data(trial)
    about, sources = data.train.info, (data.train.source, data.test.source)
    hashes = sources[0].sha256, sources[1].sha256
    row = trial.row = replace(
        with_data(trial.row, *sources),
        key=training_key(case, *hashes, installation.software),
        iterations_per_epoch=-(-len(data.train) // case.batch_size),
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
        data_split_sha256=about.split_sha256 or None,
        data_augmented=about.augmented,
    )
    if too_large := memory.too_large(case):
        raise Failed(too_large)
    path = trial.out / "checkpoints" / f"{row.key}.pt"
    decisive = training_identity(case, *hashes, installation.software)
    identity = {name: str(value) for name, value in decisive.items()}
    if (suite := trial.served_by()) is not None:
        _keep_rows_of(trial, suite)
        return True
    if case.framework != ANN:
        _prove(trial, data)
    learner = replace(epoch.begin(case, data, trial.out), alive=trial.alive)
    epochs, part = (), None
    if not trial.access.fresh:
        epochs, part = checkpoint.restore(path, identity, learner.module, learner.optimiser)
    # it may have been killed after a checkpoint and before its row
    trial.keep(*(_epoch_row(row, each) for each in epochs))
    last = case.training.epochs
    doing = f"{case.dataset} {network_name(case)} T={case.T} seed {case.seed}: epoch"
    while (rate := schedule.next_rate(case, [e.train_accuracy for e in epochs])) is not None:
        number = len(epochs) + 1

        def say(fraction: float, done: int = number - 1) -> None:
            trial.say((done + fraction) / last, f"{doing} {done + 1}/{last}")

        def keep(under_way: EpochPart, done: tuple[Epoch, ...] = epochs) -> None:
            checkpoint.save(path, identity, done, learner.module, learner.optimiser, under_way)

        epochs = (*epochs, epoch.train_epoch(learner, number, rate, say, part, keep))
        part = None
        checkpoint.save(path, identity, epochs, learner.module, learner.optimiser)
        trial.keep(_epoch_row(row, epochs[-1]))
    if epochs and len(epochs) < last:
        accuracy = f"training accuracy {epochs[-1].train_accuracy:.1%}"
        reason = f"nothing was learnt in {len(epochs)} epochs ({accuracy}): the training ended"
        trial.keep(WarningRow(**vars(row), reason=reason))
    _keep_results(trial, learner, epochs)
    return False


def _data(trial: Trial[Trained]) -> DataSplits:
    wanted = datasets.SplitRequest.of(trial.case, trial.access)
    of = wanted, trial.case.training.test_samples
    if of not in _last:
        _last.clear()
        splits = datasets.load_splits(*of, trial.say_reading)
        recorded = (
            datasets.load_recorded_frames(wanted, trial.say_reading) if wanted.simulated else None
        )
        _last[of] = DataSplits.of(*splits, recorded)
    return _last[of]


def _keep_rows_of(trial: Trial[Trained], suite: str) -> None:
    case = trial.case
    if suite == case.suite:
        return
    own = {name: getattr(case.fields, name) for name in IDLE}
    mine = []
    for row in trial.written:
        alone = isinstance(row, CertificateRow | EndedRow | WarningRow)
        unasked = isinstance(row, TestedRow) and row.tested_T not in case.training.tested_at
        if row.suite == suite and not alone and not unasked:
            mine.append(replace(row, **own))
    trial.ledger.keep(*mine)


def _prove(trial: Trial[Trained], data: DataSplits) -> None:
    """Raise Failed where the adapter is not equal on this network. Once for all seeds."""
    case, row = trial.case, trial.row

    def place(row: Record) -> tuple[object, ...]:  # other processors run other kernels
        of = Case.of(row)
        what = of.framework, of.network, of.T, of.precision, of.device
        return *row.installation, row.deviations, row.data_sha256, *what

    there = {
        proof.certificate_precision: "" if proof.certified else proof.reason or "not equal"
        for proof in trial.ledger.of_kind(CertificateRow)
        if proof.layer is None and proof.exam == EXAM and place(proof) == place(row)
    }
    if not there.keys() >= {*certificate.required(case.precision)}:
        trial.say(0.0, f"{case.dataset}: certificate of {case.framework}")
        there = _certified(trial, data)
    reason = row.deviations or next(filter(None, there.values()), "")
    # what deviates by name is trained where that is the question; its rows say how it does
    if reason and not (case.suite == "ablations" and row.deviations):
        raise Failed(reason, "not comparable")


def _certified(trial: Trial[Trained], data: DataSplits) -> dict[str, str]:
    """Keep the certificates as rows; return why the adapter is not equal, "" where it is."""
    case, normal = trial.case, data.train.info.normalisation
    steps = case.T if normal is None else max(case.T, RULES.steps)
    few = data.train.raw[:PROOF_SAMPLES]
    batch = datasets.network_input(few, steps, normal).to(case.device)
    reasons, rows = dict[str, str](), list[CertificateRow]()
    for precision in certificate.required(case.precision):
        exam = Exam(case.network, batch, precision, steps=max(case.T, RULES.steps))
        proof = exam.certify(adapters.load(case.framework))
        rows += certificate.rows_of(trial.row, proof)
        reasons[precision] = "; ".join(proof.failures)
    trial.keep(*rows)
    return reasons


def _epoch_row(row: Record, each: Epoch) -> EpochRow:
    own: dict[str, Any] = dict(vars(each))
    return EpochRow(**vars(row), epoch=own.pop("number"), **own)


def _keep_results(trial: Trial[Trained], learner: Learner, epochs: tuple[Epoch, ...]) -> None:
    """Write the results of the trained network; the row that ends the training comes last."""
    case, row, data = trial.case, trial.row, learner.data
    for T in case.training.tested_at:
        right = epoch.accuracy(learner, data.test, T)
        trial.keep(TestedRow(**vars(row), tested_T=T, test_accuracy=right))
    if case.framework != ANN:
        for samples in sorted({min(CONFUSION_SAMPLES, len(data.test)), len(data.test)}):
            votes, counts = epoch.confusion(learner, samples)
            more: dict[str, Any] = {"votes": votes, "confusion": counts}
            trial.keep(ConfusionRow(**vars(row), confusion_samples=samples, **more))
    if data.recorded is not None:
        source = data.recorded.source
        trial.keep(TransferRow(
            **vars(row),
            recorded_source=source.description, recorded_sha256=source.sha256,
            recorded_samples=len(data.recorded), recorded_partial=source.partial,
            test_accuracy=epoch.accuracy(learner, data.recorded, case.T),
        ))  # fmt: skip
    if case.framework != ANN and not row.deviations:
        audit = _audited(learner)
        trial.keep(row_of(row, "after", audit))
        if not audit.passed:
            reason = f"with its last weights it is not the reference: {audit.reason}"
            trial.keep(WarningRow(**vars(row), reason=shortened(reason)))
    part = epoch.drawn(data.test, COUNTED_SAMPLES)
    batches = (x for x, _ in part.batches(case.T, COUNTED_TOGETHER))
    layers = count_operations(case, learner.module, batches, trial.alive)
    trial.keep(_operations(row, layers, len(part)))
    kept_weights = None
    if trial.access.keep_weights:
        encoded = weights.encode(case.network, learner.module.parameters())
        kept_weights = weights.keep(trial.out, encoded)
    chooses = None if case.framework == ANN else adapters.load(case.framework)
    computed = getattr(chooses, "computed", None)
    best = max(epochs, key=lambda each: each.test_accuracy)
    chosen = max(epochs, key=lambda each: each.validation_accuracy)
    if computed is not None:
        row = replace(row, computed=computed(learner.module))
    trial.keep(TrainedRow(
        **vars(row),
        test_accuracy=epochs[-1].test_accuracy,
        best_test_accuracy=best.test_accuracy, best_test_epoch=best.number,
        chosen_test_accuracy=chosen.test_accuracy, chosen_epoch=chosen.number,
        trained_epochs=len(epochs) if len(epochs) < case.training.epochs else None,
        seconds=sum(each.seconds for each in epochs),
        kept_weights_sha256=kept_weights,
    ))  # fmt: skip


def _audited(learner: Learner) -> Finding:
    """Audit the network with its last weights: potentials and rates are not the first weights'."""
    case, held = learner.case, learner.data.validation
    part = held.part(torch.arange(min(case.batch_size, len(held))))
    parameters = tuple(each.detach().cpu().clone() for each in learner.module.parameters())
    x = epoch.inputs(case, learner.data, part.raw)
    asked = question_of(case, parameters, x, part.labels)
    return Audit(asked, torch.device(case.device)).judge(learner.module)


# counts of operations: of a network that was trained, and of one with its initial weights

Layers = tuple[LayerOperations, ...]


def count(trial: Trial[Timed]) -> bool:
    """Count the operations of a network with its initial weights on a batch of test samples.

    Returns whether an earlier command had done it.
    """
    case, run = trial.case, trial.run
    installation = installation_of(case)
    trial.row = of_case(case, run, installation)
    may = case.dataset in trial.access.download
    batch = datasets.load_batch(
        case.dataset, case.T, case.batch_size, case.seed, "test", trial.access.root, may
    )
    content, software = batch.source.sha256, installation.software
    key = timing_key(case, content, software, run.machine, run.allocator)
    row = trial.row = replace(with_data(trial.row, batch.source), key=key)
    if too_large := memory.too_large(replace(case, batch_size=COUNTED_TOGETHER)):
        raise Failed(too_large)
    if trial.served_by() is not None:
        return True
    trial.say(0.5, f"{case.dataset} {network_name(case)} {case.framework}: operations")
    few = step.placed(batch.inputs[:, : epoch.CALIBRATION_SAMPLES], case)
    module = epoch.built(case, few, trial.out)
    layers = count_operations(
        case, module, batch.inputs.split(COUNTED_TOGETHER, dim=1), trial.alive
    )
    trial.keep(_operations(row, layers, len(batch.labels)))
    return False


def count_operations(
    case: Case,
    module: nn.Module,
    batches: Iterable[Tensor],
    alive: Callable[[], object] = lambda: None,
) -> Layers:
    """Sum each layer's operations over batches x (T, B, C, H, W), calling `alive` after each."""
    module.eval()
    named = dict(zip(weights.parameter_shapes(case.network), module.parameters(), strict=True))
    U = [named.get(f"{n}.U") for n, _ in enumerate(case.network.stages, 1)]  # behind each layer
    parts = list[Layers]()
    for batch in batches:
        x = step.placed(batch, case)
        with torch.inference_mode(), record_spikes(module) as taps:
            step.inference(module, x, case.precision)
            spikes = [tap.collected() for tap in taps]
            if case.framework == ANN:
                parts.append(ann_operations(case.network, x, spikes))
            else:
                parts.append(spiking_operations(case.network, x, spikes, U))
        alive()
    return reduce(lambda one, other: tuple(map(add, one, other)), parts)


def _operations(row: Record, layers: Layers, samples: int) -> OperationsRow:
    names = [each.name for each in fields(LayerOperations)]
    of: dict[str, Any] = {name: tuple(getattr(each, name) for each in layers) for name in names}
    return OperationsRow(**vars(row), counted_samples=samples, **of)
