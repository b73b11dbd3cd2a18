"""One training: proved equal, trained with a checkpoint after each epoch, and tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import adapters
from harness import datasets
from harness.datasets import Labelled
from harness.formats import weights
from harness.proof import certificate
from harness.proof.exam import Exam
from harness.proof.rules import RULES
from harness.proof.subject import subject_of
from harness.records import (
    CertificateRow,
    ConfusionRow,
    EpochRow,
    OperationsRow,
    Record,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
    WarningRow,
)
from harness.records.identity import EXAM, Software, training_identity, training_key
from harness.records.run import Failed, of_case, with_source, with_test_source
from harness.spec import ANN, Case, Trained, UsageError
from harness.system import memory
from harness.system.files import unwritable
from harness.training import checkpoint, counting, epoch
from harness.training.checkpoint import Checkpoint, Epoch
from harness.training.epoch import DataSplits, Learner
from harness.training.runner import Trial, fails_alone

PROOF_SAMPLES = 12  # the first inputs and those of further attempts
CONFUSION_SAMPLES = 500  # as in Fig. 6
COUNTED_SAMPLES = 500  # test samples, the first ones, on which operations are counted

# The last data that were read: the next case often has the same, and they are large.
_last: dict[tuple[datasets.Wanted, int | None], DataSplits] = {}


def train(trial: Trial[Trained]) -> bool:
    """Proves, trains and tests a network. Returns whether an earlier command had done it."""
    case = trial.case
    subject = subject_of(case)
    trial.row = of_case(case, trial.run, subject)
    data = _data(trial)
    row = trial.row = _with_data(trial.row, case, data, subject.software)
    too_large = memory.too_large(case)
    if too_large is not None:
        raise Failed(too_large)
    path = trial.out / "checkpoints" / f"{row.key}.pt"
    hashes = data.train.source.sha256, data.test.source.sha256
    decisive = training_identity(case, *hashes, subject.software)
    identity = {name: str(value) for name, value in decisive.items()}
    written = trial.ledger.begin(row)
    if _is_done(trial, written):
        if trial.access.keep_weights:
            _keep_weights_later(trial, path, identity)
        return True
    _prove(trial, data)
    with fails_alone():  # the initial weights that the case names may not be here
        learner = epoch.begin(case, data, trial.out)
    epochs = () if trial.access.fresh else _resumed(learner, path, identity)
    # it may have been killed after a checkpoint and before its row
    trial.keep(*(_epoch_row(row, each) for each in epochs))
    last = case.training.epochs
    for number in range(len(epochs) + 1, last + 1):
        what = f"{case.dataset} {case.scale} T={case.T} seed {case.seed}: epoch {number}/{last}"

        def say(fraction: float, number: int = number, what: str = what) -> None:
            trial.say((number - 1 + fraction) / last, what)

        try:
            epochs = (*epochs, epoch.epoch(learner, number, say))
        except epoch.Diverged as reason:
            raise Failed(str(reason)) from reason
        Checkpoint.of(identity, epochs, learner.module, learner.optimiser).save(path)
        trial.keep(_epoch_row(row, epochs[-1]))
    _keep_results(trial, learner, epochs)
    return False


# data


def _data(trial: Trial[Trained]) -> DataSplits:
    case, training = trial.case, trial.case.training
    wanted = datasets.Wanted(
        case.dataset,
        max((case.T, *training.tested_at)),
        samples=training.samples,
        root=trial.access.root,
        download=case.dataset in trial.access.download,
        embedded=training.embedded,
        bin_us=training.bin_us,
        simulated=training.simulated,
    )
    of = wanted, training.test_samples
    if of not in _last:
        _last.clear()

        def say(fraction: float, doing: str) -> None:
            trial.say(0.0, doing)

        with fails_alone():
            train, test = datasets.load_splits(*of, say)
            recorded = datasets.load_recorded(wanted, say) if wanted.simulated else None
            _last[of] = DataSplits.of(train, test, recorded)
    for part in (_last[of].train, _last[of].test):
        _keep_split(trial.out, case.dataset, part)
    return _last[of]


def _keep_split(out: Path, dataset: str, part: Labelled) -> None:
    """Writes which samples are in a split of ours, where the data set has none of its own."""
    if part.about.names:
        path = out / "splits" / f"{dataset}-{part.about.split_sha256[:12]}.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(part.about.names) + "\n", encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error


def _with_data(row: Record, case: Case, data: DataSplits, software: Software) -> Record:
    """The row with its data, and the key of all that decides its training."""
    train, test = data.train.source, data.test.source
    return replace(
        with_test_source(with_source(row, train), test),
        key=training_key(case, train.sha256, test.sha256, software),
        iterations_per_epoch=-(-len(data.train) // case.batch_size),
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
        data_split_sha256=data.train.about.split_sha256 or None,
        data_augmented=data.train.about.augmented,
    )


# what was done before


def _is_done(trial: Trial[Trained], written: list[Row]) -> bool:
    """Whether the case has its result; that of another suite becomes its own rows too."""
    case, training = trial.case, trial.case.training
    by_suite: dict[str, list[Row]] = {}
    for row in written:
        by_suite.setdefault(row.suite, []).append(row)
    if any(isinstance(row, TrainedRow) for row in by_suite.pop(case.suite, [])):
        return True
    for rows in by_suite.values():
        if case.suite != "ablations" and any(row.deviations for row in rows):
            continue  # it was trained for what it deviates in
        wanted = [
            row
            for row in rows
            if isinstance(row, EpochRow | TransferRow | OperationsRow | TrainedRow)
            or (isinstance(row, TestedRow) and row.tested_T in training.tested_at)
            or (isinstance(row, ConfusionRow) and training.confusion)
        ]
        tested = {row.tested_T for row in wanted if isinstance(row, TestedRow)}
        confused = any(isinstance(row, ConfusionRow) for row in wanted)
        trained = any(isinstance(row, TrainedRow) for row in wanted)
        if trained and tested >= set(training.tested_at) and confused >= training.confusion:
            own = ("suite", "scale", "width", "tested_at", "wants_confusion")
            names = {name: getattr(case.fields, name) for name in own}
            trial.ledger.keep(*(replace(row, **names) for row in wanted))
            return True
    return False


def _resumed(learner: Learner, path: Path, identity: dict[str, str]) -> tuple[Epoch, ...]:
    """Goes on from the checkpoint at `path`: the epochs done; none where there is none."""
    with fails_alone():  # one damaged file
        found = checkpoint.load(path, identity, learner.case.training.epochs)
        if found is None:
            return ()
        found.restore(path, learner.module, learner.optimiser)
    return found.epochs


def _keep_weights_later(trial: Trial[Trained], path: Path, identity: dict[str, str]) -> None:
    """Keeps the weights of a training that was done without, from its last checkpoint.

    Where that is not there any more, a warning says what to do.
    """
    case, store = trial.case, trial.ledger.store
    there = [each for each in store.of_keys({str(trial.row.key)}) if each.suite == case.suite]
    done = [each for each in there if isinstance(each, TrainedRow)]
    known = [each.kept_weights_sha256 for each in done if each.kept_weights_sha256]
    if any(weights.path_of(trial.out, each).is_file() for each in known):
        return
    why = f"its checkpoint {path.name} is gone"
    try:
        found = checkpoint.load(path, identity, case.training.epochs)
        if found is not None and len(found.epochs) == case.training.epochs:
            sha256 = weights.keep(trial.out, weights.content(case.network, found.weights))
            if sha256 not in known:  # else the file alone was gone
                trial.keep(replace(done[-1], kept_weights_sha256=sha256))
            return
    except (UsageError, ValueError) as error:
        why = str(error)
    reason = f"its weights were not kept: {why}; train it anew with --fresh --keep-weights"
    if not any(isinstance(each, WarningRow) and each.reason == reason for each in there):
        trial.keep(WarningRow(**vars(trial.row), reason=reason))


# the proof, before it is trained


def _prove(trial: Trial[Trained], data: DataSplits) -> None:
    """Raises Failed where the adapter is not equal on this network. Once for all seeds."""
    case, row = trial.case, trial.row
    if case.framework == ANN:
        return
    reason = _proved_before(trial)
    if reason is None:
        trial.say(0.0, f"{case.dataset}: certificate of {case.framework}")
        reason = _certify(trial, data)
    # what deviates by name is trained where that is the question; its rows say how it does
    if reason and not (case.suite == "ablations" and row.deviations):
        raise Failed(reason, "not comparable")


def _proved_before(trial: Trial[Trained]) -> str | None:
    """What certificates of the same adapter, network, data and machine say: why it is not equal, ""
    where it is. None where they are not all there. A seed has no part in a proof.
    """
    case, row = trial.case, trial.row
    there = {
        proof.certificate_precision: proof
        for proof in trial.ledger.proofs_of(case.framework.partition(":")[0])
        if proof.exam == EXAM and _who(proof) == _who(row) and _what(Case.of(proof)) == _what(case)
    }
    required = certificate.required(case.precision)
    if not all(precision in there for precision in required):
        return None
    failures = [there[each].reason or "not equal" for each in required if not there[each].certified]
    return row.deviations or next(iter(failures), "")


def _who(row: Record) -> tuple[object, ...]:
    """Who computes a proof, and where, on what: other processors run other kernels."""
    return *row.installation, row.deviations, row.data_sha256


def _what(case: Case) -> tuple[object, ...]:
    return case.framework, case.network, case.T, case.precision, case.device


def _certify(trial: Trial[Trained], data: DataSplits) -> str:
    """Keeps the certificates as rows; why the adapter is not equal, "" where it is."""
    case = trial.case
    adapter = adapters.load(case.framework)
    normal = data.train.about.normal
    steps = case.T if normal is None else max(case.T, RULES.steps)
    few = data.train.raw[:PROOF_SAMPLES]
    batch = datasets.network_input(few, steps, normal).to(case.device)
    reasons = list(adapter.DEVIATIONS)
    proofs: list[CertificateRow] = []
    for precision in certificate.required(case.precision):
        proof = Exam(case.network, batch, precision).certify(case.framework, adapter)
        proofs += certificate.rows_of(trial.row, proof)
        reasons += proof.failures
    trial.keep(*proofs)
    return reasons[0] if reasons else ""


# rows


def _epoch_row(row: Record, each: Epoch) -> EpochRow:
    warnings = each.warnings
    if each.gradient_norm == 0:  # no potential of any layer was inside the surrogate's window
        warnings += (
            f"no gradient in epoch {each.number}, and so in none to come: use --init calibrated or "
            "a lower rate in harness/spec/paper.py",
        )
    own: dict[str, Any] = {**vars(each), "epoch": each.number, "warnings": warnings}
    del own["number"]
    return EpochRow(**vars(row), **own)


def _keep_results(trial: Trial[Trained], learner: Learner, epochs: tuple[Epoch, ...]) -> None:
    """Rows of what the trained network can do; the one that says it is done comes last."""
    case, row, data = trial.case, trial.row, learner.data
    for T in case.training.tested_at:
        right = epoch.accuracy(learner, data.test, T)
        trial.keep(TestedRow(**vars(row), tested_T=T, test_accuracy=right))
    if case.training.confusion:
        found = epoch.confusion(learner, CONFUSION_SAMPLES)
        trial.keep(
            ConfusionRow(
                **vars(row),
                confusion_samples=found.samples,
                votes=found.votes,
                confusion=found.counts,
            )
        )
    if data.recorded is not None:
        source = data.recorded.source
        trial.keep(
            TransferRow(
                **vars(row),
                recorded_source=source.description,
                recorded_sha256=source.sha256,
                recorded_samples=len(data.recorded),
                recorded_partial=source.partial,
                test_accuracy=epoch.accuracy(learner, data.recorded, case.T),
            )
        )
    part = data.test.part(torch.arange(min(COUNTED_SAMPLES, len(data.test))))
    batches = (x for x, _ in part.batches(case.T, counting.BATCH))
    layers = counting.counted(case, learner.module, batches)
    trial.keep(counting.row_of(row, layers, len(part)))
    kept = None
    if trial.access.keep_weights:
        kept = weights.keep(trial.out, weights.content(case.network, learner.module.parameters()))
    best = max(epochs, key=lambda each: each.test_accuracy)
    chosen = max(epochs, key=lambda each: each.validation_accuracy)
    trial.keep(
        TrainedRow(
            **vars(row),
            test_accuracy=epochs[-1].test_accuracy,
            best_test_accuracy=best.test_accuracy,
            best_test_epoch=best.number,
            chosen_test_accuracy=chosen.test_accuracy,
            chosen_epoch=chosen.number,
            seconds=sum(each.seconds for each in epochs),
            kept_weights_sha256=kept,
        )
    )
