"""A training that may be gone on with: what it is of, its checkpoints, its epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import adapters
from harness.records import Record, build
from harness.records.ledger import Say
from harness.spec import ANN, Case, Training, UsageError, paper
from harness.training import checkpoint, epoch
from harness.training.checkpoint import Checkpoint, Epoch
from harness.training.epoch import Data, Learner


class Failed(Exception):
    """The case comes to nothing, for this reason."""


def training_of(case: Case) -> Training:
    """How a case of a suite that trains is trained."""
    assert case.training is not None
    return case.training


@dataclass(frozen=True)
class Learning:
    """A learner, and what its checkpoints must say they are of."""

    learner: Learner
    identity: dict[str, str]

    @classmethod
    def of(cls, row: Record, case: Case, data: Data) -> Learning:
        """With first weights. Raises what the case's adapter raises."""
        return cls(epoch.begin(case, data), identity(row, case, data))

    def resume(self, path: Path) -> tuple[Epoch, ...]:
        """Goes on from the checkpoint at `path`: the epochs done; none where there is none."""
        try:
            found = checkpoint.load(path, self.identity)
        except UsageError as error:  # one damaged file does not cost the other cases
            raise Failed(str(error)) from error
        if found is None:
            return ()
        found.restore(self.learner.module, self.learner.optimiser)
        return found.epochs

    def epochs(self, path: Path, done: tuple[Epoch, ...], say: Say) -> Iterator[Epoch]:
        """Trains the epochs that are left, and keeps a checkpoint of each."""
        case = self.learner.case
        last = training_of(case).epochs
        for number in range(len(done) + 1, last + 1):
            what = f"{case.dataset} {case.scale} T={case.T} seed {case.seed}: epoch {number}/{last}"

            def tell(fraction: float, number: int = number, what: str = what) -> None:
                say((number - 1 + fraction) / last, what)

            try:
                each = epoch.epoch(self.learner, number, tell)
            except epoch.Diverged as reason:
                raise Failed(str(reason)) from reason
            done = (*done, each)
            module, optimiser = self.learner.module, self.learner.optimiser
            Checkpoint.of(self.identity, done, module, optimiser).save(path)
            yield each


def identity(row: Record, case: Case, data: Data) -> dict[str, str]:
    """All that decides the weights a case ends with, as texts; its suite does not."""
    network, training = case.network, training_of(case)
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
        "optimiser": paper.settings(case.dataset).optimiser,
        "training data": data.train.source.sha256,
        "test data": data.test.source.sha256,
        "code": row.code,
        "framework version": row.framework_version,
        "torch": row.torch,
    }
    return {name: str(value) for name, value in told.items()}


def with_data(row: Record, case: Case, data: Data) -> Record:
    """The row with its data, and the key of all that decides its training."""
    row = build.of_data(row, data.train.source)
    batches = -(-len(data.train) // case.batch_size)
    return replace(
        row,
        key=build.key_of(identity(row, case, data)),
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
