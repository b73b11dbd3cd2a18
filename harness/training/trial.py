"""One case that is no timing: a training, a count, or, by `baselines.trial`, a baseline.

A training is proved equal, trained with a checkpoint after each epoch, and tested. A failure
becomes one row with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor, nn

import adapters
from harness import datasets
from harness.adapter import Unsupported, record_spikes
from harness.formats import weights
from harness.machine import kept, memory
from harness.machine.files import Unwritable
from harness.proof import certificate
from harness.proof.answer import question_of
from harness.proof.audit import Audit
from harness.proof.certificate import RULES
from harness.proof.exam import Exam
from harness.proof.installation import NOTHING_KNOWN, installation_of
from harness.records import (
    AuditResult,
    CertificateResult,
    Data,
    EndedResult,
    EpochResult,
    OperationsResult,
    Result,
    Row,
    Run,
    TestedResult,
    TrainedResult,
    TransferResult,
    WarningResult,
    has,
)
from harness.records.done import served_by, without_overcome
from harness.records.identity import EXAM, timing_key, training_identity, training_key
from harness.records.run import CaseRows, Failed, RowMaker, maker, shortened
from harness.records.store import Ledger
from harness.reference.operations import LayerOperations, ann_operations, spiking_operations
from harness.spec import (
    ANN,
    Access,
    Budget,
    C,
    Case,
    Count,
    Precision,
    Training,
    UsageError,
    network_name,
    schedule,
)
from harness.training import checkpoint, epoch, step
from harness.training.checkpoint import EpochPart
from harness.training.epoch import DataSplits, Learner

PROOF_SAMPLES = 12  # the first inputs and those of further attempts
CONFUSION_SAMPLES = 500  # as in Fig. 6
COUNTED_SAMPLES = 500  # random test samples, those of Fig. 6, on which operations are counted
COUNTED_TOGETHER = 10  # samples: the spikes of all layers and steps are kept


@dataclass(eq=False)
class Trial(Generic[C]):
    """A case that is being done, and what its rows say so far."""

    case: C
    ledger: Ledger
    access: Access
    run: Run
    maker: RowMaker
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

        A training whose weights are asked for and missing must: it goes on from its checkpoint.
        Raises Busy.
        """
        self.written = self.ledger.lock_and_read(self.maker)
        rows = self.written
        if self.access.keep_weights:
            rows = [r for r in rows if not has(r, TrainedResult) or self._keeps(r.result)]
        return served_by(self.case, {self.maker.key}, rows, Budget())

    def _keeps(self, result: TrainedResult) -> bool:
        name = result.kept_weights_sha256
        return name is not None and weights.path_of(self.out, name).is_file()

    def keep(self, *results: Result) -> None:
        """Write results as rows of the case."""
        self.ledger.keep(*map(self.maker.row, results))


def do(
    case: C, ledger: Ledger, access: Access, run: Run, work: Callable[[Trial[C]], bool]
) -> CaseRows:
    """Run a case by `work`, which returns whether it was done before; a failure becomes a row.

    A case that was done returns its earlier rows. A RuntimeError is a failure too, but for
    exhausted memory of the host, which is raised.

    Raises Busy where another process has the case, and UsageError where results cannot be written.
    """
    trial = Trial(case, ledger, access, run, maker(case, run, NOTHING_KNOWN))
    try:
        was_done = work(trial)
        earlier = (row for row in trial.written if row.suite == case.suite) if was_done else ()
        rows = tuple(without_overcome([*earlier, *ledger.rows]))
        return CaseRows(case, rows, was_done=was_done)
    except Unwritable:
        raise
    except (Failed, adapters.Missing, Unsupported) as error:
        status, reason = error.status, str(error)
    except UsageError as error:  # a file that the case names is missing or damaged
        status, reason = "failed", str(error)
    except RuntimeError as error:  # a framework's own, or a full card
        if memory.is_exhausted(error) and not isinstance(error, torch.OutOfMemoryError):
            raise  # nothing that this process does now can be trusted
        status, reason = "failed", f"{type(error).__name__}: {error}"
    ledger.keep(trial.maker.ended(status, reason))
    return CaseRows(case, tuple(ledger.rows))


# a training

# The last data that were read: the next case often has the same, and they are large.
_last: dict[tuple[datasets.SplitRequest, int | None], DataSplits] = {}


def train(trial: Trial[Training]) -> bool:
    """Prove (except the ANN), train and test a network. Returns whether it was already done."""
    case = trial.case
    kept.share_with("nobody")  # a later commit takes the same kernels
    installation = installation_of(case)
    trial.maker = maker(case, trial.run, installation)
    data = _data(trial)
    info, source, test = data.train.info, data.train.source, data.test.source
    decisive = training_identity(case, source.sha256, test.sha256, installation)
    key = training_key(case, source.sha256, test.sha256, installation)
    samples = Data(
        source=source,
        test=test,
        augmented=info.augmented,
        split_sha256=info.split_sha256 or None,
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
        iterations_per_epoch=-(-len(data.train) // case.workload.batch_size),
    )
    trial.maker = replace(trial.maker, key=key, data=samples)
    if too_large := memory.too_large(case):
        raise Failed(too_large)
    path = trial.out / "checkpoints" / f"{key}.pt"
    identity = {name: str(value) for name, value in decisive.items()}
    if (suite := trial.served_by()) is not None:
        _keep_rows_of(trial, suite)
        return True
    if case.contender.framework != ANN:
        _prove(trial, data)
    learner = replace(epoch.begin(case, data, trial.out), alive=trial.alive)
    epochs, part = (), None
    if not trial.access.fresh:
        epochs, part = checkpoint.restore(path, identity, learner.module, learner.optimiser)
    # it may have been killed after a checkpoint and before its row
    trial.keep(*epochs)
    last = case.epochs
    workload = case.workload
    network = f"{workload.dataset} {network_name(workload)} T={workload.T}"
    doing = f"{network} seed {workload.seed}: epoch"
    while (rate := schedule.next_rate(case, [e.train_accuracy for e in epochs])) is not None:
        number = len(epochs) + 1

        def say(fraction: float, done: int = number - 1) -> None:
            trial.say((done + fraction) / last, f"{doing} {done + 1}/{last}")

        def keep(under_way: EpochPart, done: tuple[EpochResult, ...] = epochs) -> None:
            checkpoint.save(path, identity, done, learner.module, learner.optimiser, under_way)

        epochs = (*epochs, epoch.train_epoch(learner, number, rate, say, part, keep))
        part = None
        checkpoint.save(path, identity, epochs, learner.module, learner.optimiser)
        trial.keep(epochs[-1])
    if epochs and len(epochs) < last:
        accuracy = f"training accuracy {epochs[-1].train_accuracy:.1%}"
        reason = f"nothing was learnt in {len(epochs)} epochs ({accuracy}): the training ended"
        trial.keep(WarningResult(reason=reason))
    _keep_results(trial, learner, epochs)
    return False


def _data(trial: Trial[Training]) -> DataSplits:
    """Return the data of a training, kept for the next one on the same data."""
    request, say = datasets.SplitRequest.of_case(trial.case, trial.access), trial.say_reading
    key = request, trial.case.sampling.test
    if key not in _last:
        _last.clear()
        splits = datasets.load_splits(*key, say)
        recorded = datasets.load_recorded_frames(request, say) if request.simulated else None
        _last[key] = DataSplits.from_splits(*splits, recorded)
    return _last[key]


def _keep_rows_of(trial: Trial[Training], suite: str) -> None:
    """Keep the rows of the same training in another suite as rows of this one."""
    case = trial.case
    if suite == case.suite:
        return
    rows = []
    for row in trial.written:
        stays = isinstance(row.result, CertificateResult | EndedResult | WarningResult)
        other_T = has(row, TestedResult) and row.result.tested_T not in case.tested_at
        if row.suite == suite and not stays and not other_T:
            rows.append(replace(row, case=case))
    trial.ledger.keep(*rows)


def _prove(trial: Trial[Training], data: DataSplits) -> None:
    """Raise Failed where the adapter is not equal on this network. Once for all seeds."""
    case, maker = trial.case, trial.maker
    deviations = maker.installation.deviations

    # other processors run other kernels
    def examined(row: Row | RowMaker) -> tuple[object, ...]:
        """Return what a proof holds for: the installed versions, contender, network, T and data."""
        workload, source = row.case.workload, row.data.source
        what = row.case.contender, workload.network, workload.T, source and source.sha256
        return *row.installed, row.installation.deviations, *what

    proofs = {
        row.result.certificate_precision: row.result
        for row in trial.ledger.of_kind(CertificateResult)
        if row.result.layer is None and row.result.exam == EXAM and examined(row) == examined(maker)
    }
    if not proofs.keys() >= {*certificate.required(case.contender.precision)}:
        trial.say(0.0, f"{case.workload.dataset}: certificate of {case.contender.name}")
        proofs = _certificates(trial, data)
    unequal = (proof.reason or "not equal" for proof in proofs.values() if not proof.certified)
    reason = deviations or next(unequal, "")
    # what deviates by name is trained where that is the question; its rows say how it does
    if reason and not (case.may_deviate and deviations):
        raise Failed(reason, "not comparable")


def _certificates(trial: Trial[Training], data: DataSplits) -> dict[Precision, CertificateResult]:
    """Examine the adapter and write the results as rows; return each precision's outcome."""
    workload, normal = trial.case.workload, data.train.info.normalisation
    longest = max(workload.T, RULES.steps)
    steps = workload.T if normal is None else longest
    few = data.train.raw[:PROOF_SAMPLES]
    batch = datasets.network_input(few, steps, normal).to(trial.case.device)
    contender, results = trial.case.contender, list[CertificateResult]()
    for precision in certificate.required(contender.precision):
        exam = Exam(workload.network, batch, precision, steps=longest)
        results += certificate.results_of(exam.certify(adapters.load(contender.name)))
    trial.keep(*results)
    return {result.certificate_precision: result for result in results if result.layer is None}


def _keep_results(
    trial: Trial[Training], learner: Learner, epochs: tuple[EpochResult, ...]
) -> None:
    """Write the results of the trained network; the row that ends the training comes last."""
    case, data = trial.case, learner.data
    T, is_ann = case.workload.T, case.contender.framework == ANN
    for steps in case.tested_at:
        right = epoch.accuracy(learner, data.test, steps)
        trial.keep(TestedResult(tested_T=steps, test_accuracy=right))
    if not is_ann:
        for samples in sorted({min(CONFUSION_SAMPLES, len(data.test)), len(data.test)}):
            trial.keep(epoch.confusion(learner, samples))
    if data.recorded is not None:
        source = data.recorded.source
        trial.keep(TransferResult(
            recorded_source=source.description, recorded_sha256=source.sha256,
            recorded_samples=len(data.recorded), recorded_partial=source.partial,
            test_accuracy=epoch.accuracy(learner, data.recorded, T),
        ))  # fmt: skip
    if not is_ann and not trial.maker.installation.deviations:
        audit = _audited(learner)
        trial.keep(audit)
        if not audit.passed:
            reason = f"with its last weights it is not the reference: {audit.reason}"
            trial.keep(WarningResult(reason=shortened(reason)))
    part = epoch.draw(data.test, COUNTED_SAMPLES)
    batches = (x for x, _ in part.batches(T, COUNTED_TOGETHER))
    layers = count_operations(case, learner.module, batches, trial.alive)
    trial.keep(_operations(layers, len(part)))
    kept_weights = None
    if trial.access.keep_weights:
        encoded = weights.encode(case.workload.network, learner.module.parameters())
        kept_weights = weights.keep(trial.out, encoded)
    chooses = None if is_ann else adapters.load(case.contender.name)
    computed = getattr(chooses, "computed", None)
    if computed is not None:
        build = replace(trial.maker.build, computed=computed(learner.module))
        trial.maker = replace(trial.maker, build=build)
    best = max(epochs, key=lambda result: result.test_accuracy)
    chosen = max(epochs, key=lambda result: result.validation_accuracy)
    trial.keep(TrainedResult(
        test_accuracy=epochs[-1].test_accuracy,
        best_test_accuracy=best.test_accuracy, best_test_epoch=best.epoch,
        chosen_test_accuracy=chosen.test_accuracy, chosen_epoch=chosen.epoch,
        trained_epochs=len(epochs) if len(epochs) < case.epochs else None,
        seconds=sum(result.seconds for result in epochs),
        kept_weights_sha256=kept_weights,
    ))  # fmt: skip


def _audited(learner: Learner) -> AuditResult:
    """Audit the network with its last weights: potentials and rates are not the first weights'."""
    case, validation = learner.case, learner.data.validation
    part = validation.part(torch.arange(min(case.workload.batch_size, len(validation))))
    parameters = tuple(p.detach().cpu().clone() for p in learner.module.parameters())
    x = epoch.inputs(case, learner.data, part.raw)
    question = question_of(case, parameters, x, part.labels)
    return Audit(question, torch.device(case.device), "after").judge(learner.module)


# counts of operations: of a network that was trained, and of one with its initial weights

Layers = tuple[LayerOperations, ...]


def count(trial: Trial[Count]) -> bool:
    """Count the operations of a network with its initial weights on a batch of test samples.

    Returns whether an earlier command had done it.
    """
    case, run, workload = trial.case, trial.run, trial.case.workload
    installation = installation_of(case)
    trial.maker = maker(case, run, installation)
    settings = workload.dataset, workload.T, workload.batch_size, workload.seed
    download = workload.dataset in trial.access.download
    batch = datasets.load_batch(*settings, "test", trial.access.root, download)
    sha256 = batch.source.sha256
    key = timing_key(case, sha256, installation, run.machine, run.allocator or "")
    trial.maker = replace(trial.maker, data=replace(trial.maker.data, source=batch.source), key=key)
    in_parts = replace(case, workload=replace(workload, batch_size=COUNTED_TOGETHER))
    if too_large := memory.too_large(in_parts):
        raise Failed(too_large)
    if trial.served_by() is not None:
        return True
    trial.say(0.5, f"{workload.dataset} {network_name(workload)} {case.contender.name}: operations")
    few = step.placed(batch.inputs[:, : epoch.CALIBRATION_SAMPLES], case)
    module = epoch.built(case, few, trial.out)
    batches = batch.inputs.split(COUNTED_TOGETHER, dim=1)
    layers = count_operations(case, module, batches, trial.alive)
    trial.keep(_operations(layers, len(batch.labels)))
    return False


def count_operations(
    case: Case,
    module: nn.Module,
    batches: Iterable[Tensor],
    alive: Callable[[], object] = lambda: None,
) -> Layers:
    """Sum each layer's operations over batches x (T, B, C, H, W), calling `alive` after each."""
    module.eval()
    network = case.workload.network
    parameters = dict(zip(weights.parameter_shapes(network), module.parameters(), strict=True))
    U = [parameters.get(f"{n}.U") for n, _ in enumerate(network.stages, 1)]  # behind each layer
    parts = list[Layers]()
    for batch in batches:
        x = step.placed(batch, case)
        with torch.inference_mode(), record_spikes(module) as taps:
            step.inference(module, x, case.contender.precision)
            spikes = [tap.collected() for tap in taps]
            if case.contender.framework == ANN:
                parts.append(ann_operations(network, x, spikes))
            else:
                parts.append(spiking_operations(network, x, spikes, U))
        alive()
    return reduce(lambda one, other: tuple(map(add, one, other)), parts)


def _operations(layers: Layers, samples: int) -> OperationsResult:
    """Return the counts of all layers as one result."""
    return OperationsResult(
        counted_samples=samples,
        spikes=tuple(layer.spikes for layer in layers),
        events=tuple(layer.events for layer in layers),
        operations=tuple(layer.operations for layer in layers),
        accumulates=tuple(layer.accumulates for layer in layers),
        multiplies=tuple(layer.multiplies for layer in layers),
    )
