"""One case of another system: its samples, fitted, asked; its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from harness import baselines, spec
from harness.baselines import parts
from harness.baselines.contract import Answers, Images, Labels, Method, joined
from harness.baselines.parts import Parts
from harness.baselines.system import System
from harness.proof.subject import TORCH
from harness.records import FittedRow, Record, TestedRow
from harness.records.identity import Software, training_key
from harness.records.ledger import Ledger
from harness.records.run import (
    Failed,
    Subject,
    of_case,
    stamped,
    with_source,
    with_test_source,
)
from harness.spec import Case
from harness.system import clock
from harness.training.runner import Trial, fails_alone

FITTING = 0.9  # of a case's time, about; the rest is for test samples
TOGETHER = 200  # test samples: who is asked for all of them says nothing for minutes


# The last samples that were read: the next case often has the same, and they are large.
_last: dict[object, Parts] = {}


def fit(trial: Trial[spec.System]) -> bool:
    """Fits a system and asks it. Returns whether an earlier command had done it."""
    case, ledger = trial.case, trial.ledger
    system = _loaded(case)
    trial.row = of_case(case, trial.run, _subject(system))
    given = _read(trial, system)
    row = trial.row = _with_parts(trial.row, case, given, software_of(system))
    if any(isinstance(each, FittedRow) for each in ledger.begin(row)):
        return True
    _keep(row, system, given, _fitted(case, system, given, ledger), ledger)
    return False


def _read(trial: Trial[spec.System], system: System) -> Parts:
    case = trial.case
    of = (case.dataset, case.T, case.window, system.input, case.training)
    if of not in _last:
        _last.clear()
        with fails_alone():
            _last[of] = parts.read(
                case, system, trial.access, lambda _, doing: trial.say(0.0, doing)
            )
    return _last[of]


def _loaded(case: Case) -> System:
    with fails_alone():  # its file may say too little
        try:
            return baselines.load(case.framework)
        except baselines.Missing as error:
            raise Failed(str(error), "missing") from error


def software_of(system: System) -> Software:
    """What computes its results here."""
    return Software(
        torch=TORCH, framework_version=baselines.versions(system), revision=system.revision
    )


def _subject(system: System) -> Subject:
    return Subject(software_of(system), deviations="; ".join(system.deviations) or None)


def _with_parts(row: Record, case: Case, given: Parts, software: Software) -> Record:
    """The row with its data, and the key of all that decides its result."""
    train, test = given.train_source, given.test_source
    return replace(
        with_test_source(with_source(row, train), test),
        key=training_key(case, train.sha256, test.sha256, software),
        iterations_per_epoch=None,  # it has batches of its own
        train_samples=len(given.train),
        validation_samples=len(given.validation),
        test_samples=len(given.test),
        data_split_sha256=given.split_sha256 or None,
        data_augmented=isinstance(given.train, Images) and given.train.augmented,
    )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """A system that was fitted, and what it says of the test samples."""

    method: Method
    answers: Answers
    seconds: float  # of fitting
    test_seconds: float


def _fitted(case: spec.System, system: System, given: Parts, ledger: Ledger) -> _Outcome:
    window = f" {case.window}" if case.window else ""
    what = f"{case.dataset}{window} {system.title} seed {case.seed}"

    def tell(fraction: float, doing: str) -> None:
        ledger.owner.say(FITTING * min(1.0, fraction), f"{what}: {doing}")

    device = torch.device("cpu")
    with fails_alone():
        method = system.build(case.effort, case.training.epochs)
        watch = clock.Stopwatch.started(device)
        method.fit(given.train, given.validation, case.seed, tell)
        seconds = watch.seconds
        watch = clock.Stopwatch.started(device)
        answers = []
        count = len(given.test)
        for first in range(0, count, TOGETHER):
            share = FITTING + (1 - FITTING) * first / count
            ledger.owner.say(share, f"{what}: test samples")
            some = given.test.part(np.arange(first, min(first + TOGETHER, count)))
            answers.append(_answers(method.predict(some), some.labels))
        test_seconds = watch.seconds
    return _Outcome(method, joined(answers), seconds, test_seconds)


def _answers(found: Labels | Answers, labels: Labels) -> Answers:
    answers = found if isinstance(found, Answers) else Answers(found)
    _check(answers, labels)
    return answers


def _check(answers: Answers, labels: Labels) -> None:
    source = [] if answers.source is None else [answers.source]
    for each in (answers.labels, *answers.at_steps.values(), *source):
        if np.shape(each) != labels.shape:
            raise Failed(f"its answers are {np.shape(each)}, expected {labels.shape}")


def _keep(row: Record, system: System, given: Parts, outcome: _Outcome, ledger: Ledger) -> None:
    """Its rows; the one that says it is done comes last."""
    answers, labels, seen = outcome.answers, given.test.labels, given.seen
    for steps, found in sorted(answers.at_steps.items()):
        ledger.keep(
            stamped(TestedRow(**vars(row), tested_T=steps, test_accuracy=_share(found, labels)))
        )
    ledger.keep(
        stamped(
            FittedRow(
                **vars(row),
                structure=outcome.method.structure,
                fidelity=system.fidelity,
                chosen=outcome.method.chosen,
                random=system.random,
                sensor=seen.sensor if seen else None,
                window_us=seen.longest_us if seen else None,
                test_accuracy=_share(answers.labels, labels),
                source_accuracy=(
                    None if answers.source is None else _share(answers.source, labels)
                ),
                spikes=answers.spikes,
                seconds=outcome.seconds,
                test_seconds=outcome.test_seconds,
            )
        )
    )


def _share(answers: Labels, labels: Labels) -> float:
    """The share of answers that are right."""
    return float(np.mean(answers == labels))
