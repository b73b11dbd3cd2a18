"""One case that is trained: proved, trained with checkpoints, and tested; its rows as they come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import adapters
from harness import datasets
from harness.datasets.batch import network_input
from harness.formats import weights
from harness.proof import certificate
from harness.proof.exam import Exam
from harness.proof.rules import RULES
from harness.proof.subject import NOTHING_KNOWN, subject_of
from harness.records import CertificateRow, EpochRow, Record, Row
from harness.records.build import Failed, Run, of_case, stamped, with_source, with_test_source
from harness.records.identity import Software, training_identity, training_key
from harness.records.ledger import Ledger
from harness.spec import ANN, Access, Case, Say
from harness.system import footprint
from harness.system.files import unwritable
from harness.training import checkpoint, epoch, results, tried
from harness.training.checkpoint import Checkpoint, Epoch
from harness.training.epoch import DataSplits, Learner
from harness.training.kept import Ended, keep_later
from harness.training.tried import End, Tried, fails_alone

PROOF_SAMPLES = 12  # the first inputs and those of further attempts


@dataclass(eq=False)
class Trials:
    """What the trials of one process share: data that were read."""

    out: Path  # of checkpoints, and of lists of what is in a split
    access: Access
    run: Run
    _data: dict[tuple[datasets.Wanted, int | None], DataSplits] = field(default_factory=dict)

    def trial(self, case: Case, ledger: Ledger) -> End:
        """One case from data to result. Raises Busy where another process has it, and UsageError
        where rows or checkpoints cannot be written.
        """
        row = of_case(case, self.run, NOTHING_KNOWN)
        return tried.trial(Tried(case, ledger, row), self.access, self._try)

    def _try(self, at: Tried) -> bool:
        """Whether an earlier command had done it."""
        case, ledger = at.case, at.ledger
        subject = subject_of(case)
        at.row = of_case(case, self.run, subject)
        data = self._load(case, ledger.owner.say)
        row = at.row = _with_data(at.row, case, data, subject.software)
        ledger.owner.attempt(case)
        too_large = footprint.too_large(case)
        if too_large is not None:
            raise Failed(too_large)
        written = ledger.begin(row)
        if results.done(case, written, ledger):
            if self.access.keep_weights:
                identity = _identity(case, data, subject.software)
                keep_later(row, Ended(case, self._checkpoint(row), identity), ledger)
            return True
        self._prove(row, case, data, written, ledger)
        self._train(row, case, data, subject.software, written, ledger)
        return False

    def _load(self, case: Case, say: Say) -> DataSplits:
        training = case.trained
        wanted = datasets.Wanted(
            case.dataset,
            max((case.T, *training.tested_at)),
            samples=training.samples,
            root=self.access.root,
            download=case.dataset in self.access.download,
            embedded=training.embedded,
            bin_us=training.bin_us,
            simulated=training.simulated,
        )
        of = wanted, training.test_samples
        if of not in self._data:
            with fails_alone():  # one at a time: data are large
                self._data = {of: _read(*of, lambda fraction, doing: say(0.0, doing))}
            for part in (self._data[of].train, self._data[of].test):
                self._keep_split(case.dataset, part)
        return self._data[of]

    def _keep_split(self, dataset: str, part: datasets.Labelled) -> None:
        """Writes which samples are in a split of ours, where the data set has none of its own."""
        if part.about.names:
            path = self.out / "splits" / f"{dataset}-{part.about.split_sha256[:12]}.txt"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(part.about.names) + "\n", encoding="utf-8")
            except OSError as error:
                raise unwritable(path, error) from error

    def _prove(
        self, row: Record, case: Case, data: DataSplits, written: list[Row], ledger: Ledger
    ) -> None:
        """Proves the adapter equal on this network before it is trained; once for all seeds."""
        if case.framework == ANN or results.is_proved(row, case, written):
            return
        reason = results.proved_elsewhere(row, case, ledger)
        if reason is None:
            ledger.owner.say(0.0, f"{case.dataset}: certificate of {case.framework}")
            reason = _certify(row, case, data, ledger)
        # what deviates by name is trained where that is the question; its rows say how it does
        if reason and not (case.suite == "ablations" and row.deviations):
            raise Failed(reason, "not comparable")

    def _train(
        self,
        row: Record,
        case: Case,
        data: DataSplits,
        software: Software,
        written: list[Row],
        ledger: Ledger,
    ) -> None:
        """Trains what is not trained yet, a checkpoint after each epoch, and tests the result."""
        path, identity = self._checkpoint(row), _identity(case, data, software)
        with fails_alone():  # the initial weights that the case names may not be here
            learner = epoch.begin(case, data, self.out)
        epochs: tuple[Epoch, ...] = ()
        if not self.access.fresh:
            kept = [each for each in written if isinstance(each, EpochRow)]
            epochs = _resumed(learner, path, identity, kept)
        for each in epochs:  # it may have been killed after its checkpoint and before its row
            ledger.keep(results.of_epoch(row, each))
        for number in range(len(epochs) + 1, case.trained.epochs + 1):
            epochs = (*epochs, _epoch(learner, number, ledger.owner.say))
            state = Checkpoint.of(identity, epochs, learner.module, learner.optimiser)
            state.save(path)
            ledger.keep(results.of_epoch(row, epochs[-1]))
        kept = None
        if self.access.keep_weights:
            content = weights.content(case.network, learner.module.parameters())
            kept = weights.keep(self.out, content)
        results.keep_results(row, learner, epochs, ledger, kept)

    def _checkpoint(self, row: Record) -> Path:
        return self.out / "checkpoints" / f"{row.key}.pt"


def _read(wanted: datasets.Wanted, test_samples: int | None, say: Say) -> DataSplits:
    train, test = datasets.load_splits(wanted, test_samples, say)
    recorded = datasets.load_recorded(wanted, say) if wanted.simulated else None
    return DataSplits.of(train, test, recorded)


def _with_data(row: Record, case: Case, data: DataSplits, software: Software) -> Record:
    """The row with its data, and the key of all that decides its training."""
    train, test = data.train.source, data.test.source
    row = with_test_source(with_source(row, train), test)
    batches = -(-len(data.train) // case.batch_size)
    return replace(
        row,
        key=training_key(case, train.sha256, test.sha256, software),
        iterations_per_epoch=batches,
        train_samples=len(data.train),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
        data_split_sha256=data.train.about.split_sha256 or None,
        data_augmented=data.train.about.augmented,
    )


def _identity(case: Case, data: DataSplits, software: Software) -> dict[str, str]:
    """What a checkpoint is of, as texts."""
    hashes = data.train.source.sha256, data.test.source.sha256
    decisive = training_identity(case, *hashes, software)
    return {name: str(value) for name, value in decisive.items()}


def _certify(row: Record, case: Case, data: DataSplits, ledger: Ledger) -> str:
    """Keeps the certificates as rows; why the adapter is not equal, "" where it is."""
    adapter = adapters.load(case.framework)
    static = data.train.about.normal is not None
    steps = max(case.T, RULES.steps) if static else case.T
    few = data.train.raw[:PROOF_SAMPLES]
    batch = network_input(few, steps, data.train.about.normal).to(case.device)
    reasons = list(adapter.DEVIATIONS)
    proofs: list[CertificateRow] = []
    for precision in certificate.required(case.precision):
        proof = Exam(case.network, batch, precision).certify(case.framework, adapter)
        proofs += certificate.rows_of(row, proof)
        reasons += proof.failures
    ledger.keep(*(stamped(each) for each in proofs))
    return reasons[0] if reasons else ""


def _resumed(
    learner: Learner, path: Path, identity: dict[str, str], rows: list[EpochRow]
) -> tuple[Epoch, ...]:
    """Goes on from the checkpoint at `path`: the epochs done; none where there is none."""
    with fails_alone():  # one damaged file
        found = checkpoint.load(path, identity, learner.case.trained.epochs, rows)
        if found is None:
            return ()
        found.restore(path, learner.module, learner.optimiser)
    return found.epochs


def _epoch(learner: Learner, number: int, say: Say) -> Epoch:
    case, last = learner.case, learner.case.trained.epochs
    what = f"{case.dataset} {case.scale} T={case.T} seed {case.seed}: epoch {number}/{last}"
    try:
        return epoch.epoch(
            learner, number, lambda fraction: say((number - 1 + fraction) / last, what)
        )
    except epoch.Diverged as reason:
        raise Failed(str(reason)) from reason
