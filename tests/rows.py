"""Rows for tests: one of each kind, of a small case, with changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass, replace
from fractions import Fraction
from itertools import cycle, islice
from typing import Any, TypeVar, cast, get_args

from harness.machine.installed import Machine
from harness.records import (
    AuditResult,
    Bf16TrainingResult,
    CertificateResult,
    ConfusionResult,
    Data,
    EndedResult,
    EpochResult,
    FittedResult,
    IterationResult,
    K,
    MemoryResult,
    OfTraining,
    OperationsResult,
    Result,
    Row,
    Run,
    TestedResult,
    TimedResult,
    TrainedResult,
    TransferResult,
    UnmeasuredResult,
    WarmupResult,
    WarningResult,
    has,
    of_kind,
)
from harness.records.identity import EXAM, PROTOCOL, training_key
from harness.spec import (
    Case,
    Contender,
    Count,
    Fit,
    Precision,
    Reading,
    Sampling,
    Source,
    Timing,
    Training,
    Workload,
    paper,
    schedule,
)

T = TypeVar("T")

# cases

_CIFAR10 = paper.settings("cifar10").optimiser
WORKLOAD = Workload(
    dataset="cifar10", scale="Small", network=paper.network("8C3(Encoding)-Voting", "cifar10")[1],
    width=Fraction(1), T=10, batch_size=20, seed=0,
)  # fmt: skip
CASE = Timing(
    suite="acceleration", workload=WORKLOAD, contender=Contender("reference"), device="cpu",
    optimiser=_CIFAR10,
)  # fmt: skip
TRAINED = Training(
    suite="timesteps", workload=WORKLOAD, contender=Contender("reference"), device="cpu",
    optimiser=_CIFAR10, sampling=Sampling(), epochs=2,
)  # fmt: skip
FITTED = Fit(
    suite="baselines", workload=replace(WORKLOAD, dataset="nmnist"), contender=Contender("hats"),
    sampling=Sampling(), epochs=1, effort="default", window="whole",
)  # fmt: skip
COUNTED = Count(
    suite="energy", workload=WORKLOAD, contender=Contender("reference"), device="cpu"
)  # fmt: skip


def altered(part: T, /, **fields: Any) -> T:
    """A row, a case or another part of one with these fields, wherever in it they stand.

    A name stands for a contender ("snntorch:subtract bf16") and for a run. A field of the result
    comes first, then one of the data.
    """
    unused = dict(fields)
    new = _with(part, unused)
    if unused:
        raise TypeError(f"{type(part).__name__}: no part has {', '.join(unused)}")
    return new


def _with(part: T, unused: dict[str, Any]) -> T:
    """A part with those fields that it has, or parts of it; they are taken out of `unused`."""
    old: dict[str, Any] = {
        field.name: getattr(part, field.name) for field in fields_of(cast(Any, part))
    }
    new = {name: _read(old[name], unused.pop(name)) for name in old if name in unused}
    for name in sorted(old, key=lambda name: name not in ("result", "data")):
        if unused and is_dataclass(inner := new.get(name, old[name])):
            new[name] = _with(inner, unused)
    return replace(cast(Any, part), **new) if new else part


def _read(old: object, value: Any) -> Any:
    """What a name stands for, in the place of a contender or a run."""
    match old:
        case Contender() if isinstance(value, str):
            name, _, precision = value.rpartition(" ")
            if precision in get_args(Precision):
                return Contender.parse(name, cast(Any, precision))
            return Contender.parse(value)
        case Run() if isinstance(value, str):
            return replace(old, id=value)
        case _:
            return value


def trained_case(epochs: int = 2, **fields: Any) -> Training:
    """The small case as one that is trained."""
    return altered(TRAINED, epochs=epochs, **fields)


def fitted_case(name: str, **fields: Any) -> Fit:
    """The small case as one of a baseline, on events."""
    return altered(FITTED, contender=name, **fields)


# rows

RUN = "20260101T000000-abcdef"
VOTES = tuple(tuple(0.5 if a == b else 0.1 for a in range(10)) for b in range(10))
COUNTS = tuple(tuple(5 if a == b else 0 for a in range(10)) for b in range(10))
# The result of each kind, where a test does not say.
_RESULTS: dict[type[Result], Result] = {
    type(result): result
    for result in (
        CertificateResult(exam=EXAM, certified=True, certificate_precision="fp64"),
        WarmupResult(seconds=0.6, steps=2),
        IterationResult(round=1, seconds=0.5),
        TimedResult(rounds=3, converged=True),
        MemoryResult(peak_memory_mib=607.0),
        AuditResult(
            exam=EXAM, when="before", way="direct", passed=True, spikes=1000, mismatches=0,
            near_ties=0,
        ),
        Bf16TrainingResult(
            exam=EXAM, setting="a network on digits", steps=300, seeds=(0, 1, 2), first_loss=0.1,
            fp32_losses=(0.05, 0.06, 0.05), bf16_losses=(0.05, 0.06), finished=True, passed=True,
        ),
        UnmeasuredResult(figure="memory", reason="its process died"),
        EpochResult(
            epoch=1, loss=0.09, train_accuracy=0.4, validation_accuracy=0.3, test_accuracy=0.3,
            rates=(0.1, 0.2), gradient_norm=1.0, learning_rate=0.1, seconds=1.0,
        ),
        TestedResult(tested_T=1, test_accuracy=0.3),
        TransferResult(
            recorded_source="N-MNIST recordings, 5 ms bins", recorded_sha256="0" * 64,
            recorded_samples=1100, recorded_partial=True, test_accuracy=0.3,
        ),
        ConfusionResult(confusion_samples=50, votes=VOTES, confusion=COUNTS),
        TrainedResult(
            test_accuracy=0.3, best_test_accuracy=0.3, best_test_epoch=1, chosen_test_accuracy=0.3,
            chosen_epoch=1, seconds=10.0,
        ),
        FittedResult(
            structure="trees", fidelity="after the description", random=True, test_accuracy=0.3,
            seconds=10.0, test_seconds=1.0,
        ),
        OperationsResult(
            counted_samples=20, spikes=(100, 20), events=(2000, 100), operations=(9000, 10_000),
            accumulates=(0, 10_000), multiplies=(9000, 0),
        ),
        EndedResult(status="failed", reason="why"),
        WarningResult(reason="mind"),
    )
}  # fmt: skip


_CASES: dict[type[Result], Case] = {
    **dict.fromkeys(get_args(OfTraining), TRAINED), FittedResult: FITTED, OperationsResult: COUNTED
}  # fmt: skip


def row(kind: type[K], case: Case | None = None, **fields: Any) -> Row[K]:
    """A row with a result of that kind, and with these fields, wherever in it they stand."""
    case = case or _CASES.get(kind, CASE)
    protocol = PROTOCOL if isinstance(case, Timing) else None
    usual = Row(
        run=Run(id=RUN, machine=Machine(threads=2), protocol=protocol),
        time="2026-01-01T00:00:00+00:00",
        case=case,
        data=Data(iterations_per_epoch=2500),
        result=cast(K, _RESULTS[kind]),
    )
    return altered(usual, **fields)


def all_altered(rows: Iterable[Row], **fields: Any) -> list[Row]:
    """The rows, each with these fields."""
    return [altered(row, **fields) for row in rows]


def changed(
    rows: Iterable[Row],
    kind: type[K],
    new: dict[str, Any] | Callable[[Row[K]], dict[str, Any]] | None,
    **where: Any,
) -> list[Row]:
    """The rows, those of a kind that have these fields with new ones; None: without those."""
    changed: list[Row] = []
    for row in rows:
        if not (has(row, kind) and is_with(row, **where)):
            changed.append(row)
        elif new is not None:
            changed.append(altered(row, **(new(row) if callable(new) else new)))
    return changed


def is_with(row: Row, **fields: Any) -> bool:
    """Whether a row has these fields."""
    unused = dict(fields)
    return _with(row, unused) == row and not unused


ROW = row(IterationResult)


# timings


def timed(contender: str, *seconds: float, **fields: Any) -> list[Row]:
    """A contender's rounds in the small cell."""
    return [
        row(IterationResult, contender=contender, round=n, seconds=second, **fields)
        for n, second in enumerate(seconds, 1)
    ]


def certified(contender: str, **fields: Any) -> list[Row]:
    """A contender's proof in float64 and float32."""
    fields = {"contender": contender, "spike_rate": 0.15, **fields}
    return [
        row(CertificateResult, certificate_precision=precision, **fields)
        for precision in ("fp64", "fp32")
    ]


def audited(contender: str, **fields: Any) -> list[Row]:
    """A contender's audits, before and after its rounds."""
    return [
        row(AuditResult, contender=contender, when=when, **fields)
        for when in ("before", "round", "late")
    ]


def bf16_training(contender: str, **fields: Any) -> Row[Bf16TrainingResult]:
    """That a contender learns in bf16, in some cell and run."""
    usual: dict[str, Any] = {"run": "20250101T000000-000000", "scale": "Large"}
    return row(Bf16TrainingResult, contender=f"{contender} bf16", **usual | fields)


def rows_of_a_run() -> list[Row]:
    """One cell, all that can become of a contender in it."""
    subtracts = {"deviations": "it subtracts"}
    return [
        *certified("reference"),
        *certified("snntorch"),
        *audited("reference"),
        *audited("snntorch"),
        *certified("snntorch:subtract", certified=False, **subtracts),
        *timed("floor", 0.5, 2.0, 2.0),
        *timed("floor", 2.0, 2.0, 0.5, twin=True),  # with the first name, a mean of 1, 2, 1
        *timed("reference", 2.0, 4.0, 2.2),
        *timed("snntorch", 1.5, 3.0, 1.5),
        *timed("snntorch:subtract", 1.2, 2.4, 1.2, **subtracts),
        row(MemoryResult, contender="snntorch", peak_memory_mib=607.0),
        row(EndedResult, contender="norse", status="missing", reason="norse does not load"),
    ]


# trainings, whose epochs bear out their results

SEEDS = 5  # as many as any of Figs. 4 to 6 is to have
TRAIN, TEST = (Source("photographs", samples, name) for samples, name in ((900, "a"), (150, "b")))


def training(
    seed: int,
    curve: Sequence[float],
    neunorm: Reading | None = None,
    learning: Sequence[float] = (0.4,),
    **fields: Any,
) -> list[Row]:
    """Rows of a training with the test accuracies of `curve`; `fields` are those of its case.

    It is CIFARNet at an eighth of its width, on 1,000 samples, with as many epochs as the curve
    where its case names none. `learning` has its accuracies in training and validation. The last
    accuracies hold for all later epochs.
    """
    chosen = {"dataset": "cifar10", "scale": "CIFARNet", "width": Fraction(1, 8), **fields}
    dataset, suite = chosen["dataset"], chosen.get("suite")
    _, network = paper.network(chosen["scale"], dataset, neunorm=neunorm, width=chosen["width"])
    if network.neunorm:
        network = replace(network, neunorm=replace(network.neunorm, u=schedule.U))
    usual = {"seed": seed, "contender": "fused", "network": network}
    usual |= {"optimiser": schedule.optimiser(dataset), "may_deviate": suite == "ablations"}
    usual |= {"epochs": sum(chosen.get("stages", ())) or len(curve)}
    case = trained_case(**usual | chosen)
    sizes: dict[str, Any] = {"train_samples": 900, "validation_samples": 100, "test_samples": 150}
    shared = {"source": TRAIN, "test": TEST, **sizes}

    def epoch(n: int) -> Row:
        accuracy = learning[min(n, len(learning)) - 1]
        accuracies = dict.fromkeys(("train_accuracy", "validation_accuracy"), accuracy)
        tested = curve[min(n, len(curve)) - 1]
        return row(EpochResult, case, epoch=n, test_accuracy=tested, **accuracies, **shared)

    over_one_step = curve[-1] if case.workload.T == 1 else curve[-1] / 2
    rows = [
        *map(epoch, range(1, max(len(curve), len(learning)) + 1)),
        row(TestedResult, case, tested_T=1, test_accuracy=over_one_step, **shared),
        row(TestedResult, case, tested_T=2, test_accuracy=curve[-1], **shared),
        row(ConfusionResult, case, **shared),
        row(TrainedResult, case, seconds=10.0 * len(curve), **shared),
    ]
    return retrained(rows)


def retrained(rows: Iterable[Row], **fields: Any) -> list[Row]:
    """The trainings with these fields of their cases and data, under the keys that they then have.

    Each has as many epochs, at those rates, as its schedule has, and their results. The last epoch
    that is there is repeated; seeds differ in their losses.
    """
    trainings: dict[tuple[str, str | None], list[Row]] = {}
    for old in rows:
        # fields of the result stay as they are
        bare = altered(replace(cast(Row[Any], old), result=None), **fields)
        trainings.setdefault((old.suite, old.key), []).append(replace(bare, result=old.result))
    return [row for training in trainings.values() for row in _borne_out(training)]


def _borne_out(rows: Sequence[Row]) -> list[Row]:
    written, (end,) = of_kind(rows, EpochResult), of_kind(rows, TrainedResult)
    case = end.training
    key = training_key(case, repr(end.data), "", end.installation)
    epochs = list[EpochResult]()
    while rate := schedule.next_rate(case, [epoch.train_accuracy for epoch in epochs]):
        n, loss = len(epochs), 0.09 + 1e-6 * case.workload.seed
        last = written[min(n, len(written) - 1)].result
        epochs.append(replace(last, epoch=n + 1, learning_rate=rate, loss=loss))
    tests = [epoch.test_accuracy for epoch in epochs]
    result = replace(
        end.result, test_accuracy=tests[-1], best_test_accuracy=max(tests),
        best_test_epoch=tests.index(max(tests)) + 1, chosen_test_accuracy=tests[0], chosen_epoch=1,
        trained_epochs=len(epochs) if len(epochs) < case.epochs else None,
    )  # fmt: skip
    others = [row for row in rows if not has(row, EpochResult) and row is not end]
    trained = [replace(written[0], result=epoch) for epoch in epochs]
    return all_altered([*trained, *others, replace(end, result=result)], key=key)


def learnt(
    by_seed: Iterable[Iterable[float]],
    *cases: dict[str, Any],
    suite: str,
    seeds: int = SEEDS,
    **shared: Any,
) -> list[Row]:
    """Trainings on the schedule that was fixed: for each seed the accuracies of those cases, the
    seeds' over and over again.
    """
    stages = schedule.STAGES[shared.get("dataset", "cifar10")]
    return [
        row
        for seed, accuracies in enumerate(islice(cycle(by_seed), seeds))
        for case, accuracy in zip(cases, accuracies, strict=True)
        for row in training(seed, (accuracy,), suite=suite, **{"stages": stages} | shared | case)
    ]


def scales(*by_seed: tuple[float, float, float], **shared: Any) -> list[Row]:
    """Trainings of the three scales."""
    return learnt(by_seed, *({"scale": name} for name in paper.SCALES), suite="scale", **shared)
