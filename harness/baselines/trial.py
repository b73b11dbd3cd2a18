"""Run one case of a baseline: load its samples, fit it, test it, and keep its rows.

Samples and splits are those of the paper's networks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from warnings import catch_warnings

import numpy as np

from harness import baselines, datasets, spec
from harness.baselines import BaselineInfo
from harness.baselines.contract import Answers, Images, Labels, Recordings, Samples
from harness.datasets.events import BIN_US
from harness.machine import clock, installed
from harness.proof.installation import TORCH
from harness.records import Data, FittedResult, Row, TestedResult
from harness.records.identity import Installation, training_key
from harness.records.run import Failed, RowMaker
from harness.records.store import line_of, parse_row
from harness.spec import Access, ProgressCallback, Source, UsageError
from harness.training.epoch import held_out
from harness.training.trial import Trial

FITTING = 0.9  # share of a case's progress; the rest is for test samples
TEST_BATCH = 200  # test samples between two reports of progress


@dataclass(frozen=True, eq=False)
class CaseSamples:
    """Training, held-out and test samples of a case."""

    train: Samples
    validation: Samples
    test: Samples
    sources: tuple[Source, Source]  # of the training and the test split
    split_sha256: str  # of the file names, if we drew the split; "": it is official


def load_samples(
    case: spec.Fit, baseline: BaselineInfo, access: Access, say: ProgressCallback
) -> CaseSamples:
    """Load the samples of a case, with recordings cut to its window.

    Raises UsageError if that fails, a class has no training sample, or a recording is empty.
    """
    request, tested = datasets.SplitRequest.of_case(case, access), case.sampling.test
    if baseline.input == "images":
        loaded, classes = datasets.load_splits(request, tested, say), case.workload.network.classes
        train, test = (
            Images(data.raw.numpy(), data.labels.numpy(), classes, data.info.augmented)
            for data in loaded
        )
    else:
        loaded = datasets.load_recordings(request, tested, say)
        train, test = (data.recordings for data in loaded)
        if case.window == "first":
            train, test = (data.first(case.workload.T * BIN_US) for data in (train, test))
        empty = sum(int((np.diff(data.starts) == 0).sum()) for data in (train, test))
        if empty:
            raise UsageError(
                f"{empty} of the {case.workload.dataset} recordings have no event: "
                "leave their files out, or fetch them anew"
            )
    train, held = (train.part(indices.numpy()) for indices in held_out(len(train)))
    lacking = np.flatnonzero(np.bincount(train.labels, minlength=train.classes) == 0)
    if len(lacking):
        classes = ", ".join(map(str, lacking))
        raise UsageError(
            f"{case.workload.dataset}: no training sample is of class {classes}: use more with "
            "--samples"
        )
    split = loaded[0].info.split_sha256
    return CaseSamples(train, held, test, (loaded[0].source, loaded[1].source), split)


def installation_of(baseline: BaselineInfo) -> Installation:
    """Return the versions and revision that decide a baseline's results, and its deviations."""
    versions = (f"{name} {installed.version(name) or 'missing'}" for name in baseline.packages)
    version = ", ".join(versions) or None  # "numba 0.62"
    return Installation(
        torch=TORCH,
        framework_version=version,
        revision=baseline.revision,
        deviations="; ".join(baseline.deviations) or None,
    )


def fit(trial: Trial[spec.Fit]) -> bool:
    """Fit and test the case's baseline, unless an earlier command has; return whether one has.

    Raises Failed if it cannot be imported or does not give one answer for each sample.
    """
    case = trial.case
    try:
        baseline = baselines.load(case.contender.framework)
    except baselines.MissingBaseline as error:
        raise Failed(str(error), "missing") from error
    installation = installation_of(baseline)
    trial.maker = RowMaker(trial.run, case, installation)
    samples = load_samples(case, baseline, trial.access, trial.say_reading)
    train, test = samples.sources
    data = Data(
        source=train,
        test=test,
        augmented=isinstance(samples.train, Images) and samples.train.augmented,
        split_sha256=samples.split_sha256 or None,
        train_samples=len(samples.train),
        validation_samples=len(samples.validation),
        test_samples=len(samples.test),
    )
    key = training_key(case, train.sha256, test.sha256, installation)
    trial.maker = replace(trial.maker, key=key, data=data)
    if trial.served_by() is not None:
        return True
    window = f" {case.window}" if case.window else ""
    name = f"{case.workload.dataset}{window} {baseline.title} seed {case.workload.seed}"

    def tell(fraction: float, doing: str) -> None:
        trial.say(FITTING * min(1.0, fraction), f"{name}: {doing}")

    model = baseline.build(case.effort, case.epochs)
    watch = clock.Stopwatch()
    model.fit(samples.train, samples.validation, case.workload.seed, tell)
    seconds, watch = watch.seconds, clock.Stopwatch()
    parts, count = [], len(samples.test)
    for first in range(0, count, TEST_BATCH):
        trial.say(FITTING + (1 - FITTING) * first / count, f"{name}: test samples")
        some = samples.test.part(np.arange(first, min(first + TEST_BATCH, count)))
        parts.append(_check_answers(model.predict(some), some.labels))
    answers, test_seconds = _concatenate(parts), watch.seconds

    def accuracy(labels: Labels) -> float:
        return float(np.mean(labels == samples.test.labels))

    tested = [
        TestedResult(tested_T=steps, test_accuracy=accuracy(labels))
        for steps, labels in sorted(answers.at_steps.items())
    ]
    seen = samples.train if isinstance(samples.train, Recordings) else None
    end = FittedResult(  # it comes last: with it the case is done
        structure=model.structure,
        fidelity=baseline.fidelity,
        chosen=model.chosen,
        random=baseline.random,
        sensor=seen.sensor if seen else None,
        window_us=seen.longest_us if seen else None,
        test_accuracy=accuracy(answers.labels),
        source_accuracy=None if answers.source is None else accuracy(answers.source),
        spikes=answers.spikes,
        seconds=seconds,
        test_seconds=test_seconds,
    )
    for result in (*tested, end):
        _check_readable(trial.maker.row(result))
    trial.keep(*tested, end)
    return False


def _check_readable(row: Row) -> None:
    """Raise Failed where a baseline's own description would make a row that cannot be read."""
    try:
        with catch_warnings(action="error"):  # pydantic writes bytes as text, and only warns
            parse_row(json.loads(line_of(row)))
    except (ValueError, UserWarning) as error:
        raise Failed(f"its description does not fit a row ({error})") from error


def _check_answers(predicted: Labels | Answers, labels: Labels) -> Answers:
    """Return the answers. Raises Failed unless there is one for each sample."""
    answers = predicted if isinstance(predicted, Answers) else Answers(predicted)
    for answer in (answers.labels, *answers.at_steps.values(), answers.source):
        if answer is not None and np.shape(answer) != labels.shape:
            raise Failed(f"its answers are {np.shape(answer)}, expected {labels.shape}")
    return answers


def _concatenate(parts: Sequence[Answers]) -> Answers:
    """Join the answers to parts of the samples; the spikes become their mean."""
    counts = [len(part.labels) for part in parts]
    sources = [part.source for part in parts if part.source is not None]
    spikes = [part.spikes for part in parts if part.spikes is not None]
    return Answers(
        np.concatenate([part.labels for part in parts]),
        {T: np.concatenate([part.at_steps[T] for part in parts]) for T in parts[0].at_steps},
        float(np.average(spikes, weights=counts)) if spikes else None,
        np.concatenate(sources) if sources else None,
    )
