"""Cases that are trained, in; records out: each proved, trained with checkpoints, and tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import adapters
from harness import datasets
from harness.adapter import Unsupported
from harness.datasets.batch import network_input
from harness.proof import certificate, exam
from harness.proof.exam import Exam
from harness.records import Record, build
from harness.records.ledger import DOWNLOAD, Ledger, Say
from harness.spec import ANN, Case, Training, UsageError, paper
from harness.system import footprint, machine
from harness.training import epoch
from harness.training.checkpoint import Epoch
from harness.training.epoch import Data, Learner
from harness.training.resuming import Failed, Learning, training_of, with_data

CONFUSION_SAMPLES = 500  # as in Fig. 6
PROOF_SAMPLES = 12  # the first inputs and those of further attempts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where data are and results go on from."""

    out: Path  # of checkpoints, and of lists of what is in a split
    data_root: Path
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    fresh: bool = False  # begin anew what is done or begun


def weight(case: Case) -> float:
    """A case's share of the work; a data set that is not known yet counts as a large one."""
    training = training_of(case)
    return float(case.network.macs * case.T * training.epochs * (training.samples or 50_000))


def _training(case: Case) -> Training:
    assert case.training is not None
    return case.training


@dataclass(eq=False)
class Trials:
    """What the trials of one process share: data that were read, proofs that were made."""

    plan: Plan
    run_id: str
    allocator: str
    _data: dict[tuple[object, ...], Data] = field(default_factory=dict)
    _proved: dict[tuple[object, ...], str] = field(default_factory=dict)

    def trial(self, case: Case, ledger: Ledger) -> None:
        """One case from data to result. Raises Busy where another process has it, and UsageError
        where rows or checkpoints cannot be written.
        """
        row = self._row(case)
        ledger.attempt(row, DOWNLOAD if case.dataset in self.plan.download else 0.0)
        try:
            data = self._load(case, ledger.say)
            row = with_data(row, case, data)
            ledger.attempt(row)
            too_large = footprint.too_large(case)
            if too_large is not None:
                raise Failed(too_large)
            written = ledger.begin(row)
            if not _done(case, written, ledger):
                self._prove(row, case, data, written, ledger)
                self._train(row, Learning.of(row, case, data), ledger)
        except Failed as reason:
            self._keep(ledger, row, kind="case", status="failed", reason=str(reason))
        except adapters.Missing as reason:
            self._keep(ledger, row, kind="case", status="missing", reason=str(reason))
        except Unsupported as reason:
            self._keep(ledger, row, kind="case", status="unsupported", reason=str(reason))
        except RuntimeError as error:  # a framework's own
            if footprint.is_exhausted(error):  # the next case would fail too: end with the process
                raise
            reason = f"{type(error).__name__}: {error}"
            self._keep(ledger, row, kind="case", status="failed", reason=reason)

    def _row(self, case: Case) -> Record:
        here = machine.describe(torch.device(case.device))
        row = build.of_case(build.of_cell(case, self.run_id, here, self.allocator), case)
        return replace(
            row,
            kind="epoch",
            epochs=training_of(case).epochs,
            dropout=case.network.dropout,
            optimiser=str(paper.settings(case.dataset).optimiser),
        )

    def _keep(self, ledger: Ledger, row: Record, **measured: object) -> None:
        ledger.keep(replace(row, time=build.now(), **measured))  # type: ignore[arg-type]

    def _load(self, case: Case, say: Say) -> Data:
        training = training_of(case)
        steps = max((case.T, *training.tested_at))
        of = (case.dataset, steps, training.samples, training.test_samples, training.embedded)

        def reading(fraction: float, doing: str) -> None:
            say(0.0, doing)

        if of not in self._data:
            wanted = datasets.Wanted(
                case.dataset,
                steps,
                samples=training.samples,
                root=self.plan.data_root,
                download=case.dataset in self.plan.download,
                embedded=training.embedded,
            )
            try:
                train = datasets.load_split(wanted, "train", reading)
                fewer = replace(wanted, samples=training.test_samples)
                test = datasets.load_split(fewer, "test", reading)
                self._data = {of: Data.of(train, test)}  # one at a time: data sets are large
            except UsageError as error:
                raise Failed(str(error)) from error
            for part in (train, test):
                self._keep_split(case.dataset, part)
        return self._data[of]

    def _keep_split(self, dataset: str, part: datasets.Labelled) -> None:
        """Writes which samples are in a split of ours, where the data set has none of its own."""
        if part.about.names:
            path = self.plan.out / "splits" / f"{dataset}-{part.about.split_sha256[:12]}.txt"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(part.about.names) + "\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"cannot write {path} ({error.strerror or error})") from error

    def _prove(
        self, row: Record, case: Case, data: Data, written: list[Record], ledger: Ledger
    ) -> None:
        """Proves the adapter equal on this network before it is trained; once for all seeds."""
        if case.framework == ANN or _is_proved(case, written):
            return
        of = (case.framework, case.network, case.T, case.precision, case.device)
        if of not in self._proved:
            ledger.say(0.0, f"{case.dataset}: certificate of {case.framework}")
            self._proved[of] = self._certify(row, case, data, ledger)
        if self._proved[of]:
            raise Failed(f"not comparable: {self._proved[of]}")

    def _certify(self, row: Record, case: Case, data: Data, ledger: Ledger) -> str:
        """Keeps the certificates as rows; why the adapter is not equal, "" where it is."""
        adapter = adapters.load(case.framework)
        static = data.train.about.normal is not None
        steps = max(case.T, exam.STEPS) if static else case.T
        few = data.train.raw[:PROOF_SAMPLES]
        batch = network_input(few, steps, data.train.about.normal).to(case.device)
        reasons = list(adapter.DEVIATIONS)
        proofs: list[Record] = []
        for precision in certificate.required(case.precision):
            proof = Exam(case.network, batch, precision).certify(case.framework, adapter)
            proofs += build.of_certificate(row, proof)
            reasons += proof.failures
        ledger.keep(*(replace(each, time=build.now()) for each in proofs))
        return reasons[0] if reasons else ""

    def _train(self, row: Record, learning_: Learning, ledger: Ledger) -> None:
        """Trains what is not trained yet, a checkpoint after each epoch, and tests the result."""
        path = self.plan.out / "checkpoints" / f"{row.key}.pt"
        epochs = () if self.plan.fresh else learning_.resume(path)
        for each in epochs:  # it may have been killed after its checkpoint and before its row
            self._keep(ledger, row, **_of_epoch(each))
        for each in learning_.epochs(path, epochs, ledger.say):
            self._keep(ledger, row, **_of_epoch(each))
            epochs = (*epochs, each)
        self._results(row, learning_.learner, epochs, ledger)

    def _results(
        self, row: Record, learner: Learner, epochs: tuple[Epoch, ...], ledger: Ledger
    ) -> None:
        """Rows of what the trained network can do; the one that says it is done comes last."""
        training = training_of(learner.case)
        for T in training.tested_at:
            right = epoch.accuracy(learner, learner.data.test, T)
            self._keep(ledger, row, kind="tested", tested_T=T, test_accuracy=right)
        if training.confusion:
            found = epoch.confusion(learner, CONFUSION_SAMPLES)
            self._keep(
                ledger,
                row,
                kind="confusion",
                test_samples=found.samples,
                votes=found.votes,
                confusion=found.counts,
            )
        best = max(epochs, key=lambda each: each.test_accuracy)
        chosen = max(epochs, key=lambda each: each.validation_accuracy)
        self._keep(
            ledger,
            row,
            kind="trained",
            test_accuracy=epochs[-1].test_accuracy,
            best_test_accuracy=best.test_accuracy,
            best_test_epoch=best.number,
            chosen_test_accuracy=chosen.test_accuracy,
            chosen_epoch=chosen.number,
            seconds=sum(each.seconds for each in epochs),
        )


def _done(case: Case, written: list[Record], ledger: Ledger) -> bool:
    """Whether the case has its result; that of another suite becomes its own rows too."""
    training = training_of(case)
    by_suite: dict[str, list[Record]] = {}
    for row in written:
        by_suite.setdefault(row.suite, []).append(row)
    own = by_suite.pop(case.suite, [])
    if any(row.kind == "trained" for row in own):
        return True
    for others in by_suite.values():
        tested = {row.tested_T for row in others if row.kind == "tested"}
        confused = any(row.kind == "confusion" for row in others)
        trained = any(row.kind == "trained" for row in others)
        if trained and tested >= set(training.tested_at) and confused >= training.confusion:
            told = [row for row in others if _is_wanted(row, training)]
            ledger.keep(*(replace(row, suite=case.suite, scale=case.scale) for row in told))
            return True
    return False


def _is_wanted(row: Record, training: Training) -> bool:
    """Whether a row of the same training says what this one is to say."""
    if row.kind == "tested":
        return row.tested_T in training.tested_at
    return row.kind in ("epoch", "trained") or (row.kind == "confusion" and training.confusion)


def _is_proved(case: Case, written: list[Record]) -> bool:
    """Whether the certificates of this very case are there, and hold."""
    outcomes = [row for row in written if row.kind == "certificate" and row.layer is None]
    held = {row.certificate_precision for row in outcomes if row.certified}
    return held >= set(certificate.required(case.precision))


def _stuck(each: Epoch) -> Iterator[str]:
    # an exact zero: no potential of any layer was inside the surrogate's window all epoch long
    if each.gradient_norm == 0:
        yield (
            f"no gradient in epoch {each.number}, and so in none to come: use --init calibrated or "
            "a lower rate in harness/networks.py"
        )


def _of_epoch(each: Epoch) -> dict[str, Any]:
    """An epoch as the fields of a row."""
    told = asdict(each)
    warnings = [*told.pop("warnings"), *_stuck(each)]
    return {"epoch": told.pop("number"), "reason": "; ".join(warnings) or None, **told}
