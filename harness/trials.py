"""Cases that are trained, in; records out: each proved, trained with checkpoints, and tested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import adapters
from harness import allocator, certificate, checkpoints, datasets, learning, machine, networks, rows
from harness.adapter import Unsupported
from harness.certificate import Exam
from harness.checkpoints import Checkpoint, Epoch
from harness.datasets.batch import network_input
from harness.datasets.whole import Say
from harness.learning import Data, Learner
from harness.records import Record, Store
from harness.spec import ANN, Case, Training, UsageError

CONFUSION_SAMPLES = 500  # as in Fig. 6
PROOF_SAMPLES = 12  # the first inputs and those of further attempts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where data are and results go on from."""

    data_root: Path
    download: frozenset[str] = frozenset()  # data sets to fetch where they are missing
    fresh: bool = False  # begin anew what is done or begun


@dataclass(frozen=True)
class Trained:
    """A case that came to an end, with its rows; `before`: an earlier command had done it."""

    case: Case
    rows: tuple[Record, ...]
    before: bool = False


class _Failed(Exception):
    """The case comes to nothing, for this reason."""


def run(cases: tuple[Case, ...], store: Store, plan: Plan, say: Say) -> Iterator[Trained]:
    """Trains all cases that are not done, keeps each row as it comes, and tells how far it is.

    A case that fails becomes a row with its reason; the others go on. Raises UsageError where rows
    or checkpoints cannot be written.
    """
    run_id = rows.new_run()
    trials = Trials(store, plan, run_id, allocator.choose("keep"))
    total = sum(map(_weight, cases))
    before = 0.0
    for case in cases:
        share = _weight(case) / total

        def tell(fraction: float, doing: str, before: float = before, share: float = share) -> None:
            say(before + share * fraction, doing)

        yield trials.trial(case, tell)
        before += share


def _weight(case: Case) -> float:
    """A case's share of the work; a data set that is not known yet counts as a large one."""
    training = _training(case)
    return float(case.network.macs * case.T * training.epochs * (training.samples or 50_000))


def _training(case: Case) -> Training:
    assert case.training is not None
    return case.training


@dataclass(eq=False)
class Trials:
    """What the trials of one command share: data that were read, proofs that were made."""

    store: Store
    plan: Plan
    run_id: str
    allocator: str
    _data: dict[tuple[object, ...], Data] = field(default_factory=dict)
    _proved: dict[tuple[object, ...], str] = field(default_factory=dict)

    def trial(self, case: Case, say: Say) -> Trained:
        """One case from data to result."""
        kept: list[Record] = []
        row = self._row(case)
        try:
            data = self._load(case, say)
            row = _with_data(row, case, data)
            written = [] if self.plan.fresh else self._written(row)
            if any(each.kind == "trained" for each in written):
                return Trained(case, tuple(written), before=True)
            self._prove(row, case, data, kept, say)
            kept_epochs = {each.epoch for each in written}
            self._train(row, Learning.of(case, data), kept_epochs, kept, say)
        except _Failed as reason:
            self._keep(kept, row, kind="case", status="failed", reason=str(reason))
        except adapters.Missing as reason:
            self._keep(kept, row, kind="case", status="missing", reason=str(reason))
        except Unsupported as reason:
            self._keep(kept, row, kind="case", status="unsupported", reason=str(reason))
        except (RuntimeError, MemoryError) as error:  # out of memory, or a framework's own
            reason = f"{type(error).__name__}: {error}"
            self._keep(kept, row, kind="case", status="failed", reason=reason)
        return Trained(case, tuple(kept))

    def _row(self, case: Case) -> Record:
        here = machine.describe(torch.device(case.device))
        row = rows.of_case(rows.of_cell(case, self.run_id, here, self.allocator), case)
        return replace(
            row,
            kind="epoch",
            epochs=_training(case).epochs,
            dropout=case.network.dropout,
            optimiser=str(networks.settings(case.dataset).optimiser),
        )

    def _keep(self, kept: list[Record], row: Record, **measured: object) -> None:
        full = replace(row, time=rows.now(), **measured)  # type: ignore[arg-type]
        self.store.append(full)
        kept.append(full)

    def _written(self, row: Record) -> list[Record]:
        """The rows of this very run that are there."""
        return [each for each in self.store.read(row.suite)[0] if each.key == row.key]

    def _load(self, case: Case, say: Say) -> Data:
        training = _training(case)
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
                raise _Failed(str(error)) from error
            for part in (train, test):
                self._keep_split(case.dataset, part)
        return self._data[of]

    def _keep_split(self, dataset: str, part: datasets.Labelled) -> None:
        """Writes which samples are in a split of ours, where the data set has none of its own."""
        if part.about.names:
            path = self.store.out / "splits" / f"{dataset}-{part.about.split_sha256[:12]}.txt"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(part.about.names) + "\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"cannot write {path} ({error.strerror or error})") from error

    def _prove(self, row: Record, case: Case, data: Data, kept: list[Record], say: Say) -> None:
        """Proves the adapter equal on this network before it is trained; once for all seeds."""
        if case.framework == ANN:
            return
        of = (case.framework, case.network, case.T, case.precision, case.device)
        if of not in self._proved:
            say(0.0, f"{case.dataset}: certificate of {case.framework}")
            self._proved[of] = self._certify(row, case, data, kept)
        if self._proved[of]:
            raise _Failed(f"not comparable: {self._proved[of]}")

    def _certify(self, row: Record, case: Case, data: Data, kept: list[Record]) -> str:
        """Keeps the certificates as rows; why the adapter is not equal, "" where it is."""
        adapter = adapters.load(case.framework)
        static = data.train.about.normal is not None
        steps = max(case.T, certificate.STEPS) if static else case.T
        few = data.train.raw[:PROOF_SAMPLES]
        batch = network_input(few, steps, data.train.about.normal).to(case.device)
        reasons = list(adapter.DEVIATIONS)
        for precision in certificate.required(case.precision):
            proof = Exam(case.network, batch, precision).certify(case.framework, adapter)
            for each in rows.of_certificate(row, proof):
                self._keep(kept, each)
            reasons += proof.failures
        return reasons[0] if reasons else ""

    def _train(
        self,
        row: Record,
        learning_: Learning,
        written: set[int | None],
        kept: list[Record],
        say: Say,
    ) -> None:
        """Trains what is not trained yet, a checkpoint after each epoch, and tests the result."""
        path = self.store.out / "checkpoints" / f"{row.key}.pt"
        epochs = () if self.plan.fresh else learning_.resume(path)
        for each in epochs:  # it was killed after its checkpoint and before its row
            if each.number not in written:
                self._keep(kept, row, **_of_epoch(each))
        for each in learning_.epochs(path, epochs, say):
            self._keep(kept, row, **_of_epoch(each))
            epochs = (*epochs, each)
        self._results(row, learning_.learner, epochs, kept)

    def _results(
        self, row: Record, learner: Learner, epochs: tuple[Epoch, ...], kept: list[Record]
    ) -> None:
        """Rows of what the trained network can do; the one that says it is done comes last."""
        training = _training(learner.case)
        for T in training.tested_at:
            right = learning.accuracy(learner, learner.data.test, T)
            self._keep(kept, row, kind="tested", tested_T=T, test_accuracy=right)
        if training.confusion:
            found = learning.confusion(learner, CONFUSION_SAMPLES)
            self._keep(
                kept,
                row,
                kind="confusion",
                test_samples=found.samples,
                votes=found.votes,
                confusion=found.counts,
            )
        best = max(epochs, key=lambda each: each.test_accuracy)
        chosen = max(epochs, key=lambda each: each.validation_accuracy)
        self._keep(
            kept,
            row,
            kind="trained",
            test_accuracy=epochs[-1].test_accuracy,
            best_test_accuracy=best.test_accuracy,
            best_test_epoch=best.number,
            chosen_test_accuracy=chosen.test_accuracy,
            chosen_epoch=chosen.number,
            seconds=sum(each.seconds for each in epochs),
        )


@dataclass(frozen=True)
class Learning:
    """A learner, and what its checkpoints must say they are of."""

    learner: Learner
    identity: dict[str, str]

    @classmethod
    def of(cls, case: Case, data: Data) -> Learning:
        """With first weights. Raises what the case's adapter raises."""
        return cls(learning.begin(case, data), identity(case, data))

    def resume(self, path: Path) -> tuple[Epoch, ...]:
        """Goes on from the checkpoint at `path`: the epochs done; none where there is none."""
        try:
            found = checkpoints.load(path, self.identity)
        except UsageError as error:  # one damaged file does not cost the other cases
            raise _Failed(str(error)) from error
        if found is None:
            return ()
        found.restore(self.learner.module, self.learner.optimiser)
        return found.epochs

    def epochs(self, path: Path, done: tuple[Epoch, ...], say: Say) -> Iterator[Epoch]:
        """Trains the epochs that are left, and keeps a checkpoint of each."""
        case = self.learner.case
        last = _training(case).epochs
        for number in range(len(done) + 1, last + 1):
            what = f"{case.dataset} {case.scale} T={case.T} seed {case.seed}: epoch {number}/{last}"

            def tell(fraction: float, number: int = number, what: str = what) -> None:
                say((number - 1 + fraction) / last, what)

            try:
                each = learning.epoch(self.learner, number, tell)
            except learning.Diverged as reason:
                raise _Failed(str(reason)) from reason
            done = (*done, each)
            module, optimiser = self.learner.module, self.learner.optimiser
            Checkpoint.of(self.identity, done, module, optimiser).save(path)
            yield each


def identity(case: Case, data: Data) -> dict[str, str]:
    """All that decides the weights a case ends with, as texts; its suite does not."""
    network, training = case.network, _training(case)
    told = {
        "network": str(network),
        "input": network.input_shape,
        "classes": (network.classes, network.population),
        "neuron": network.lif,
        "neunorm": network.neunorm,
        "dropout": network.dropout,
        "framework": case.framework,
        "T": case.T,
        "batch size": case.batch_size,
        "precision": case.precision,
        "device": case.device,
        "seed": case.seed,
        "initialisation": case.initialisation,
        "epochs": training.epochs,
        "optimiser": networks.settings(case.dataset).optimiser,
        "training data": data.train.source.sha256,
        "test data": data.test.source.sha256,
    }
    return {name: str(value) for name, value in told.items()}


def _key(case: Case, data: Data) -> str:
    told = json.dumps([checkpoints.VERSION, identity(case, data)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _with_data(row: Record, case: Case, data: Data) -> Record:
    row = rows.of_data(row, data.train.source)
    batches = -(-len(data.train) // case.batch_size)
    return replace(
        row,
        key=_key(case, data),
        implementation=None
        if case.framework == ANN
        else adapters.implementation(case.framework.partition(":")[0], case.device),
        iterations_per_epoch=batches,
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
        data_test_sha256=data.test.source.sha256,
        data_split_sha256=data.train.about.split_sha256 or None,
        data_augmented=data.train.about.augmented,
    )


def _of_epoch(each: Epoch) -> dict[str, Any]:
    """An epoch as the fields of a row."""
    told = asdict(each)
    warnings = told.pop("warnings")
    return {"epoch": told.pop("number"), "reason": "; ".join(warnings) or None, **told}
