"""What comes of a training, as rows; and whether it had been done before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from harness.datasets import Labelled
from harness.proof import certificate
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
)
from harness.records.build import stamped
from harness.records.identity import EXAM
from harness.records.ledger import Ledger
from harness.spec import Case, Training
from harness.training import counting, epoch
from harness.training.checkpoint import Epoch
from harness.training.epoch import Learner

CONFUSION_SAMPLES = 500  # as in Fig. 6
COUNTED_SAMPLES = 500  # test samples, the first ones, on which operations are counted


def keep_results(
    row: Record,
    learner: Learner,
    epochs: tuple[Epoch, ...],
    ledger: Ledger,
    kept_weights_sha256: str | None = None,
) -> None:
    """Rows of what the trained network can do; the one that says it is done comes last.

    `kept_weights_sha256`: of its weights, where they are kept.
    """
    training = learner.case.trained
    for T in training.tested_at:
        right = epoch.accuracy(learner, learner.data.test, T)
        ledger.keep(stamped(TestedRow(**vars(row), tested_T=T, test_accuracy=right)))
    if training.confusion:
        found = epoch.confusion(learner, CONFUSION_SAMPLES)
        ledger.keep(
            stamped(
                ConfusionRow(
                    **vars(row),
                    confusion_samples=found.samples,
                    votes=found.votes,
                    confusion=found.counts,
                )
            )
        )
    if learner.data.recorded is not None:
        ledger.keep(_of_transfer(row, learner, learner.data.recorded))
    ledger.keep(_of_operations(row, learner))
    best = max(epochs, key=lambda each: each.test_accuracy)
    chosen = max(epochs, key=lambda each: each.validation_accuracy)
    ledger.keep(
        stamped(
            TrainedRow(
                **vars(row),
                test_accuracy=epochs[-1].test_accuracy,
                best_test_accuracy=best.test_accuracy,
                best_test_epoch=best.number,
                chosen_test_accuracy=chosen.test_accuracy,
                chosen_epoch=chosen.number,
                seconds=sum(each.seconds for each in epochs),
                kept_weights_sha256=kept_weights_sha256,
            )
        )
    )


def _of_operations(row: Record, learner: Learner) -> OperationsRow:
    part = learner.data.test
    part = part.part(torch.arange(min(COUNTED_SAMPLES, len(part))))
    case = learner.case
    batches = (x for x, _ in part.batches(case.T, counting.BATCH))
    layers = counting.counted(case, learner.module, batches)
    return stamped(counting.row_of(row, layers, len(part)))


def _of_transfer(row: Record, learner: Learner, recorded: Labelled) -> TransferRow:
    source = recorded.source
    return stamped(
        TransferRow(
            **vars(row),
            recorded_source=source.description,
            recorded_sha256=source.sha256,
            recorded_samples=len(recorded),
            recorded_partial=source.partial,
            test_accuracy=epoch.accuracy(learner, recorded, learner.case.T),
        )
    )


def done(case: Case, written: list[Row], ledger: Ledger) -> bool:
    """Whether the case has its result; that of another suite becomes its own rows too."""
    by_suite: dict[str, list[Row]] = {}
    for row in written:
        by_suite.setdefault(row.suite, []).append(row)
    if any(isinstance(row, TrainedRow) for row in by_suite.pop(case.suite, [])):
        return True
    for rows in by_suite.values():
        if case.suite != "ablations" and any(row.deviations for row in rows):
            continue  # it was trained for what it deviates in
        wanted = [row for row in rows if _is_wanted(row, case.trained)]
        tested = {row.tested_T for row in wanted if isinstance(row, TestedRow)}
        confused = any(isinstance(row, ConfusionRow) for row in wanted)
        trained = any(isinstance(row, TrainedRow) for row in wanted)
        whole = tested >= set(case.trained.tested_at) and confused >= case.trained.confusion
        if trained and whole:
            names = case.fields
            ledger.keep(
                *(
                    replace(
                        row,
                        suite=names.suite,
                        scale=names.scale,
                        width=names.width,
                        tested_at=names.tested_at,
                        wants_confusion=names.wants_confusion,
                    )
                    for row in wanted
                )
            )
            return True
    return False


def _is_wanted(row: Row, training: Training) -> bool:
    """Whether a row of the same training says what this one is to say."""
    match row:
        case TestedRow():
            return row.tested_T in training.tested_at
        case ConfusionRow():
            return training.confusion
        case _:
            return isinstance(row, EpochRow | TransferRow | OperationsRow | TrainedRow)


def is_proved(row: Record, case: Case, written: list[Row]) -> bool:
    """Whether the certificates of this very case, by today's exam and of who computes `row`, are
    there and hold.
    """
    held = {
        each.certificate_precision
        for each in written
        if isinstance(each, CertificateRow)
        and (each.layer is None and each.certified and each.exam == EXAM)
        and each.installation == row.installation
    }
    return held >= set(certificate.required(case.precision))


def proved_elsewhere(row: Record, case: Case, ledger: Ledger) -> str | None:
    """What certificates of the same adapter, network, data and machine say: why it is not equal, ""
    where it is. None where they are not all there. A seed has no part in a proof.
    """
    there = {
        proof.certificate_precision: proof
        for proof in ledger.proofs_of(case.framework.partition(":")[0])
        if proof.exam == EXAM and _who(proof) == _who(row) and _is_of(proof, case)
    }
    required = certificate.required(case.precision)
    if not all(precision in there for precision in required):
        return None
    failures = [there[each].reason or "not equal" for each in required if not there[each].certified]
    return row.deviations or next(iter(failures), "")


def _who(row: Record) -> tuple[object, ...]:
    """Who computed a proof, and where, on what: other processors run other kernels."""
    return *row.installation, row.deviations, row.data_sha256


def _is_of(proof: CertificateRow, case: Case) -> bool:
    """Whether a proof is one of this case, but for what has no part in it."""
    of = Case.of(proof)
    return (of.framework, of.network, of.T, of.precision, of.device) == (
        case.framework,
        case.network,
        case.T,
        case.precision,
        case.device,
    )


def _stuck(each: Epoch) -> Iterator[str]:
    # an exact zero: no potential of any layer was inside the surrogate's window all epoch long
    if each.gradient_norm == 0:
        yield (
            f"no gradient in epoch {each.number}, and so in none to come: use --init calibrated or "
            "a lower rate in harness/spec/paper.py"
        )


def of_epoch(row: Record, each: Epoch) -> EpochRow:
    """An epoch as a row."""
    return stamped(
        EpochRow(
            **vars(row),
            epoch=each.number,
            loss=each.loss,
            train_accuracy=each.train_accuracy,
            validation_accuracy=each.validation_accuracy,
            test_accuracy=each.test_accuracy,
            rates=each.rates,
            gradient_norm=each.gradient_norm,
            learning_rate=each.learning_rate,
            seconds=each.seconds,
            warnings=(*each.warnings, *_stuck(each)),
        )
    )
