"""Rows for tests: one of each kind, of a small case, with changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import cycle, islice
from typing import Any, TypeVar

from harness import records
from harness.analysis.timings import AUDITS
from harness.records import identity
from harness.records.identity import EXAM
from harness.spec import Case, Reading, System, Timed, Trained, Training, paper, schedule

R = TypeVar("R", bound=records.Row)

_OF_CASE: dict[str, Any] = {
    "suite": "acceleration",
    "dataset": "cifar10",
    "scale": "Small",
    "network": paper.network("8C3(Encoding)-Voting", "cifar10")[1],
    "width": Fraction(1),
    "framework": "reference",
    "T": 10,
    "batch_size": 20,
    "precision": "fp32",
    "device": "cpu",
    "seed": 0,
    "optimiser": paper.settings("cifar10").optimiser,
}
CASE = Timed(**_OF_CASE)
RUN = "20260101T000000-abcdef"

VOTES = tuple(tuple(0.5 if a == b else 0.1 for a in range(10)) for b in range(10))
COUNTS = tuple(tuple(5 if a == b else 0 for a in range(10)) for b in range(10))

_SPIKES = {"spikes": 1000, "mismatches": 0, "near_ties": 0}
_LOSSES = {"first_loss": 0.1, "fp32_losses": (0.05, 0.06, 0.05), "bf16_losses": (0.05, 0.06)}
_ENDED = {"steps": 300, "seeds": (0, 1, 2), "finished": True, "passed": True}
_PASS = {"loss": 0.09, "gradient_norm": 1.0, "learning_rate": 0.1, "rates": (0.1, 0.2)}
_ACCURACIES = {"train_accuracy": 0.4, "validation_accuracy": 0.3, "test_accuracy": 0.3}
_RECORDED = {"recorded_source": "N-MNIST recordings, 5 ms bins", "recorded_samples": 1100}
_BEST = {"best_test_accuracy": 0.3, "best_test_epoch": 1}
_CHOSEN = {"chosen_test_accuracy": 0.3, "chosen_epoch": 1}
_TREES = {"structure": "trees", "fidelity": "after the description", "random": True}
_COUNTS = {"spikes": (100, 20), "events": (2000, 100), "operations": (9000, 10_000)}
# What each kind adds, where a test does not say.
_ADDED: dict[type[Any], dict[str, object]] = {
    records.CertificateRow: {"exam": EXAM, "certified": True, "certificate_precision": "fp64"},
    records.WarmupRow: {"seconds": 0.6, "steps": 2},
    records.IterationRow: {"round": 1, "seconds": 0.5},
    records.TimedRow: {"rounds": 3, "converged": True},
    records.MemoryRow: {"peak_memory_mib": 607.0},
    records.AuditRow: {"exam": EXAM, "when": "before", "way": "direct", "passed": True, **_SPIKES},
    records.Bf16TrainingRow: {"exam": EXAM, "setting": "a network on digits", **_LOSSES, **_ENDED},
    records.UnmeasuredRow: {"figure": "memory", "reason": "its process died"},
    records.EpochRow: {"epoch": 1, "seconds": 1.0, **_PASS, **_ACCURACIES},
    records.TestedRow: {"tested_T": 1, "test_accuracy": 0.3},
    records.TransferRow: {
        **_RECORDED,
        **{"recorded_sha256": "0" * 64, "recorded_partial": True, "test_accuracy": 0.3},
    },
    records.ConfusionRow: {"confusion_samples": 50, "votes": VOTES, "confusion": COUNTS},
    records.TrainedRow: {"test_accuracy": 0.3, **_BEST, **_CHOSEN, "seconds": 10.0},
    records.FittedRow: {**_TREES, "test_accuracy": 0.3, "seconds": 10.0, "test_seconds": 1.0},
    records.OperationsRow: {
        **_COUNTS,
        **{"counted_samples": 20, "accumulates": (0, 10_000), "multiplies": (9000, 0)},
    },
    records.EndedRow: {"status": "failed", "reason": "why"},
    records.WarningRow: {"reason": "mind"},
}


def base(case: Case = CASE, **fields: object) -> records.Record:
    """What all rows of a case share."""
    protocol = identity.PROTOCOL if case.suite == "acceleration" else None
    given = {"run": RUN, "time": "2026-01-01T00:00:00+00:00", "protocol": protocol}
    given |= {"iterations_per_epoch": 2500, "threads": 2, **fields}
    return records.Record(**{**vars(case.fields), **given})


def row(kind: type[R], case: Case | None = None, **fields: object) -> R:
    """A row of that kind; `fields` are those of the row."""
    if case is None and kind is records.FittedRow:
        case = fitted_case("hats")
    elif case is None:
        case = trained_case() if issubclass(kind, records.OfTraining) else CASE
    return kind(**{**vars(base(case)), **_ADDED[kind], **fields})


def changed(
    rows: Iterable[records.Row],
    kind: type[records.Record],
    new: Callable[[Any], dict[str, Any]] | None = None,
    **where: object,
) -> list[records.Row]:
    """The rows, those of a kind that have these fields with others, by the row; None: without."""

    def its(each: records.Row) -> bool:
        return isinstance(each, kind) and all(getattr(each, n) == v for n, v in where.items())

    if new is None:
        return [each for each in rows if not its(each)]
    return [replace(each, **new(each)) if its(each) else each for each in rows]


def trained_case(epochs: int = 2, **changes: Any) -> Trained:
    """The small case as one that is trained."""
    given = {**_OF_CASE, "suite": "timesteps", "training": Training(epochs), **changes}
    return Trained(**given)


def fitted_case(system: str, **changes: Any) -> System:
    """The small case as one of another system, on events."""
    given = {"suite": "baselines", "dataset": "nmnist", "framework": system}
    given |= {"training": Training(1), "effort": "default", "window": "whole"}
    return System(**{**_OF_CASE, **given, **changes})


ROW = row(records.IterationRow)


def timed(framework: str, *seconds: float, **fields: Any) -> list[records.Row]:
    """A framework's rounds in the small cell."""
    return [
        row(records.IterationRow, framework=framework, round=n, seconds=each, **fields)
        for n, each in enumerate(seconds, 1)
    ]


def certified(framework: str, **fields: Any) -> list[records.CertificateRow]:
    """A framework's proof in float64 and float32."""
    given: dict[str, Any] = {"framework": framework, "spike_rate": 0.15, **fields}
    return [
        row(records.CertificateRow, certificate_precision=each, **given)
        for each in ("fp64", "fp32")
    ]


def audited(framework: str, **fields: Any) -> list[records.AuditRow]:
    """A framework's audits, before and after its rounds."""
    return [row(records.AuditRow, framework=framework, when=when, **fields) for when in AUDITS]


def descended(framework: str, **fields: Any) -> records.Bf16TrainingRow:
    """That a framework learns in bf16, in some cell and run."""
    given: dict[str, Any] = {"precision": "bf16", "run": "20250101T000000-000000", "scale": "Large"}
    return row(records.Bf16TrainingRow, framework=framework, **given | fields)


def rows_of_a_run() -> list[records.Row]:
    """One cell, all that can become of a contender in it."""
    subtracts: dict[str, Any] = {"variant": "subtract", "deviations": "it subtracts"}
    missing: dict[str, Any] = {"status": "missing", "reason": "norse does not load"}
    return [
        *certified("reference"),
        *certified("snntorch"),
        *audited("reference"),
        *audited("snntorch"),
        *certified("snntorch", certified=False, **subtracts),
        *timed("floor", 0.5, 2.0, 2.0),
        *timed("floor", 2.0, 2.0, 0.5, twin=True),  # with the first name, a mean of 1, 2, 1
        *timed("reference", 2.0, 4.0, 2.2),
        *timed("snntorch", 1.5, 3.0, 1.5),
        *timed("snntorch", 1.2, 2.4, 1.2, **subtracts),
        row(records.MemoryRow, framework="snntorch", peak_memory_mib=607.0),
        row(records.EndedRow, framework="norse", **missing),
    ]


def training(
    seed: int, curve: tuple[float, ...], neunorm: Reading | None = None, **changes: Any
) -> list[records.Row]:
    """Rows of a training with the test accuracies of `curve`; `changes` go into its case.

    It is CIFARNet at an eighth of its width, on 1,000 samples.
    """
    chosen: dict[str, Any] = {"dataset": "cifar10", "scale": "CIFARNet", "framework": "fused"}
    chosen |= {"width": Fraction(1, 8), "seed": seed, **changes}
    dataset = chosen["dataset"]
    _, network = paper.network(chosen["scale"], dataset, neunorm=neunorm, width=chosen["width"])
    if network.neunorm:
        network = replace(network, neunorm=replace(network.neunorm, u=schedule.U))
    chosen |= {"network": network, "optimiser": schedule.optimiser(dataset)}
    case = trained_case(len(curve), **chosen)
    shared: dict[str, Any] = {
        "key": identity.training_key(case, "train", "test", identity.Software(torch="2")),
        **{"data_source": "photographs", "train_samples": 900},
        **{"validation_samples": 100, "test_samples": 150},
    }
    best = max(curve)
    last: dict[str, Any] = {"test_accuracy": curve[-1], "seconds": 10.0 * len(curve)}
    last |= {"best_test_accuracy": best, "best_test_epoch": curve.index(best) + 1}
    last |= {"chosen_test_accuracy": curve[0], "chosen_epoch": 1}
    accuracy = _ACCURACIES["train_accuracy"]
    rates = [schedule.next_rate(case, (accuracy,) * n) for n in range(len(curve))]
    shown = zip(curve, rates, strict=True)
    epochs = [
        row(
            records.EpochRow, case, epoch=n, test_accuracy=each, learning_rate=rate,
            loss=0.09 + 1e-6 * seed, **shared,
        )
        for n, (each, rate) in enumerate(shown, 1)
    ]  # fmt: skip
    over_one_step = curve[-1] if case.T == 1 else curve[-1] / 2
    return [
        *epochs,
        row(records.TestedRow, case, tested_T=1, test_accuracy=over_one_step, **shared),
        row(records.TestedRow, case, tested_T=2, test_accuracy=curve[-1], **shared),
        row(records.ConfusionRow, case, **shared),
        row(records.TrainedRow, case, **last, **shared),
    ]


EPOCHS = 12  # whose accuracies are written; a quarter of them has a slope
SEEDS = 5  # as many as any of Figs. 4 to 6 is to have


def whole(rows: Iterable[records.Row]) -> list[records.Row]:
    """The trainings with as many epochs, at those rates, as their schedules have.

    The last epoch that is written is repeated; results are those of the epochs.
    """
    trainings: dict[tuple[str, str | None], list[records.Row]] = {}
    for each in rows:
        trainings.setdefault((each.suite, each.key), []).append(each)
    found: list[records.Row] = []
    for its in trainings.values():
        written = [each for each in its if isinstance(each, records.EpochRow)]
        (end,) = (each for each in its if isinstance(each, records.TrainedRow))
        case, epochs = Trained.of(end), list[records.EpochRow]()
        while rate := schedule.next_rate(case, [each.train_accuracy for each in epochs]):
            n = len(epochs)
            last = written[min(n, len(written) - 1)]
            epochs.append(replace(last, epoch=n + 1, learning_rate=rate))
        tests = [each.test_accuracy for each in epochs]
        best: dict[str, Any] = {"best_test_accuracy": max(tests)}
        best |= {"best_test_epoch": tests.index(max(tests)) + 1}
        best |= {"chosen_epoch": 1, "chosen_test_accuracy": tests[0], "test_accuracy": tests[-1]}
        fewer = len(epochs) if len(epochs) < case.training.epochs else None
        rest = [each for each in its if each not in (*written, end)]
        found += [*epochs, *rest, replace(end, **best, trained_epochs=fewer)]
    return found


def staged(rows: list[records.Row], stages: tuple[int, ...] | None = None) -> list[records.Row]:
    """The rows as if they had those stages, by default those that were fixed."""
    found: list[records.Row] = []
    for each in rows:
        of = stages or schedule.STAGES[each.dataset]
        found.append(replace(each, stages=of, epochs=sum(of), key=f"{stages or ''} {each.key}"))
    return whole(found)


def learnt(
    by_seed: Iterable[Iterable[float]],
    *cases: dict[str, Any],
    suite: str,
    seeds: int = SEEDS,
    **shared: Any,
) -> list[records.Row]:
    """Trainings on the schedule that was fixed: for each seed the accuracies of those cases, the
    seeds' over and over again.
    """
    return staged(
        [
            each
            for seed, values in enumerate(islice(cycle(by_seed), seeds))
            for case, value in zip(cases, values, strict=True)
            for each in training(seed, (value,) * EPOCHS, suite=suite, **shared, **case)
        ]
    )


def scales(*by_seed: tuple[float, float, float], **shared: Any) -> list[records.Row]:
    """Trainings of the three scales."""
    return learnt(by_seed, *({"scale": name} for name in paper.SCALES), suite="scale", **shared)


def along(rows: list[records.Row], *curve: float, **where: object) -> list[records.Row]:
    """The rows with that accuracy in training and validation, epoch by epoch; then the last."""

    def new(each: records.EpochRow) -> dict[str, Any]:
        value = curve[min(each.epoch, len(curve)) - 1]
        return dict.fromkeys(("train_accuracy", "validation_accuracy"), value)

    return changed(rows, records.EpochRow, new, **where)
