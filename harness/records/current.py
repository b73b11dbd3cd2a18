"""Which rows of a folder count: the one place that decides it.

Tables, claims, the page, `compare` and notebooks see the rows that this module counts, and name the
others with the reason.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import isclose

from harness.records.identity import EXAM, PROTOCOL, columns_that_train
from harness.records.row import (
    AuditResult,
    Bf16TrainingResult,
    CertificateResult,
    ConfusionResult,
    EpochResult,
    IterationResult,
    OfTraining,
    OperationsResult,
    Place,
    Proof,
    Row,
    TestedResult,
    TimedResult,
    TrainedResult,
    WarningResult,
    has,
    of_kind,
)
from harness.spec import (
    FLOOR,
    Budget,
    Case,
    Contender,
    Training,
    Workload,
    network_name,
    paper,
    schedule,
)

# The share of compared spikes that may differ in a proof that passed.
MOST_MISMATCHES = {"fp64": 1e-5, "fp32": 1e-5, "bf16": 0.02}
_WITH_A_SEED = OfTraining | OperationsResult


@dataclass(frozen=True)
class Current:
    """Which rows count, and what a reader must know of them."""

    counts: tuple[bool, ...]  # of each row, in their order
    notes: tuple[str, ...]  # a sentence each


def cell_of(row: Row) -> tuple[Place, Case]:
    """Return the cell of a row: rows of one cell were measured alike and may be compared."""
    return row.place, without_contender(row.case)


@lru_cache(maxsize=4096)
def without_contender(case: Case) -> Case:
    """Return what cases that are measured together share."""
    return replace(case, contender=Contender(""))


def machine_names(rows: Sequence[Row]) -> list[str]:
    """Return the machine's name of each row; equal names of unlike machines get what differs."""
    alike = defaultdict[str, set[Place]](set)
    for row in rows:
        if row.is_timing:
            alike[str(row.place)].add(row.place)
    names = dict[Place, str]()
    for name, places in alike.items():
        differing = [
            field for field in Place._fields if len({getattr(place, field) for place in places}) > 1
        ]
        for place in places:
            parts = (f"{field} {_in_words(getattr(place, field))}" for field in differing)
            names[place] = ", ".join([name, *parts])
    return [names[row.place] if row.is_timing else str(row.place) for row in rows]


def _in_words(value: object) -> str:
    return (" ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def current(rows: Sequence[Row]) -> Current:
    """Return which rows count: newest results, whole runs, today's protocol; and notes on them.

    - Of trainings, baselines and counts: of rows with the same suite, key, kind and number (epoch,
      T of the test) the one that was written last; but none of a training that was begun anew and
      has not ended.
    - Of timings: only seconds of one round compare, so a run's rows of a cell and precision count
      or go together. They go where a later run has measured the same contenders at least as well.
    - Timings under another protocol, and proofs by another exam, do not count.
    - Rows that contradict each other do not count: nor do a training that its epochs contradict, a
      seed that copies another, and one that was not trained as most seeds were.
    Notes also warn of trainings that were done twice with different results.
    """
    refused, outdated = contradictions(rows), {n for n, row in enumerate(rows) if is_outdated(row)}
    parts = _parts(row for n, row in enumerate(rows) if _is_timing(row) and n not in outdated)
    slots, counting = _last(rows), _counting_parts(parts)
    odd = _odd_seeds(rows, slots, refused)
    last = {*slots.values()} - odd.keys()

    def counts(n: int, row: Row) -> bool:
        """Return whether row n is a result that is shown."""
        if n in refused or n in outdated:
            return False
        if _is_timing(row):
            return _together(row) in counting
        return n in last or has(row, Bf16TrainingResult)

    untrue = [note for part in parts.values() for note in part.contradictions]
    ended = of_kind((row for n, row in enumerate(rows) if n not in refused), TrainedResult)
    notes = [*refused.values(), *untrue, *_trained_twice(ended), *filter(None, odd.values())]
    if nameless := sum(row.key is None for row in ended):
        notes.append(
            f"{nameless:,} results of trainings have no key and do not count: their rows were "
            "changed after they were written; train them again"
        )
    if outdated:
        runs = len({rows[n].run.id for n in outdated})
        notes.append(
            f"{len(outdated):,} rows of {runs} runs do not count: this harness times under "
            f"protocol {PROTOCOL} and proves by exam {EXAM}; measure them again"
        )
    counted = tuple(counts(n, row) for n, row in enumerate(rows))
    return Current(counted, tuple(dict.fromkeys(notes)))


def is_outdated(row: Row) -> bool:
    """Return whether a row's timing protocol, or its proof's exam, is not today's."""
    if row.is_timing and isinstance(row.result, Proof) and row.result.exam != EXAM:
        return True
    return _is_timing(row) and row.run.protocol != PROTOCOL


def slot_of(row: Row) -> Hashable:
    """Return the slot of a row that is no timing: of rows in one slot only the last counts."""
    return row.suite, row.key, row.result.kind, *_numbers(row)


def _numbers(row: Row) -> tuple[object, ...]:
    """Return the fields that tell results of one kind and key apart: an epoch's number, a T."""
    match result := row.result:
        case EpochResult():
            return (result.epoch,)
        case TestedResult():
            return (result.tested_T,)
        case ConfusionResult():
            return (result.confusion_samples,)
        case CertificateResult():
            return result.certificate_precision, result.layer
        case WarningResult():
            return (result.reason,)
        case _:
            return ()


def _last(rows: Sequence[Row]) -> dict[Hashable, int]:
    """Return the number of the last row of each slot; a row without a key has none.

    Rows behind the end of their training are of one that was begun anew: they come first. Rows of
    another seed than their key's are left out.
    """
    ends = {(row.suite, row.key): n for n, row in enumerate(rows) if has(row, TrainedResult)}
    strays = dict(_of_another_seed(rows))

    def is_of_another(n: int) -> bool:
        row = rows[n]
        return isinstance(row.result, _WITH_A_SEED) and n > ends.get((row.suite, row.key), n)

    order = sorted(range(len(rows)), key=is_of_another, reverse=True)
    return {slot_of(rows[n]): n for n in order if rows[n].key and n not in strays}


def _is_timing(row: Row) -> bool:
    return row.is_timing and not has(row, Bf16TrainingResult)


def _network(workload: Workload) -> str:
    return f"{workload.dataset} {network_name(workload)} T={workload.T}"


def _named(row: Row) -> str:
    return f"{_network(row.workload)} {row.contender.full_name}"


# timings

Together = tuple[Hashable, str, str]  # a cell, precision and run: their timings count or go


@dataclass(frozen=True)
class _Part:
    """What a run has measured of a cell and precision."""

    contenders: set[str]  # that it has any row of
    ended: set[str]  # those that have all their rounds
    rounds: Counter[str]  # of each contender
    contradictions: list[str]  # a sentence for each reason why its rows cannot all be true

    @classmethod
    def of_rows(cls, rows: list[Row]) -> _Part:
        """Return what a run has measured, from all its rows of a cell and precision."""
        seconds = defaultdict[tuple[str, bool, int], set[float]](set)
        for row in of_kind(rows, IterationResult):
            result = row.result
            seconds[row.contender.name, result.twin, result.round].add(result.seconds)
        reasons = []
        if len({row.data.source.sha256 for row in rows if row.data.source}) > 1:
            reasons.append("its contenders were given different data")
        if doubles := sum(len(times) > 1 for times in seconds.values()):
            reasons.append(f"{doubles} of its rounds have two times each")
        first = rows[0]
        precision = first.contender.precision
        what = f"the timings of {_network(first.workload)} {precision} in run {first.run.id}"
        return cls(
            {row.contender.name for row in rows},
            {row.contender.name for row in of_kind(rows, TimedResult)},
            Counter(contender for contender, twin, _ in seconds if not twin),
            [f"{what} do not count: {reason}" for reason in reasons],
        )

    def is_as_good_as(self, earlier: _Part) -> bool:
        """Return whether all contenders of an earlier run were measured here as well.

        They have ended where they had, each with as many rounds, or with those that a rank needs.
        """
        enough = Budget.rounds
        rounds_do = all(self.rounds[name] >= min(n, enough) for name, n in earlier.rounds.items())
        return self.contenders >= earlier.contenders and self.ended >= earlier.ended and rounds_do


def _together(row: Row) -> Together:
    return cell_of(row), row.contender.precision, row.run.id


def _parts(timings: Iterable[Row]) -> dict[Together, _Part]:
    """Group timed rows by run, cell and precision; the group that was last written to comes last.

    The order is that of the rows, not of their clocks, which may have run ahead.
    """
    groups: dict[Together, list[Row]] = {}
    for row in timings:
        key = _together(row)
        groups[key] = groups.pop(key, [])
        groups[key].append(row)
    return {key: _Part.of_rows(group) for key, group in groups.items()}


def _counting_parts(parts: dict[Together, _Part]) -> set[Together]:
    """Return the parts that no later run of their cell and precision has measured as well.

    One row replaces no more than one: else an odd one would hide the figures of a whole run.
    """
    groups = defaultdict[Hashable, list[Together]](list)
    for key in parts:
        groups[key[:2]].append(key)
    counting = set[Together]()
    for group in groups.values():
        timed = [key for key in group if parts[key].rounds] or group
        order = [key for key in timed if parts[key].contenders != {FLOOR}] or group[-1:]
        sound = [key for key in order if not parts[key].contradictions]
        counting |= {
            key
            for n, key in enumerate(sound)
            if not any(parts[later].is_as_good_as(parts[key]) for later in sound[n + 1 :])
        }
    return counting


# rows that cannot be true


def contradictions(rows: Sequence[Row]) -> dict[int, str]:
    """Return by index a sentence for each row that another row, or its own fields, contradict."""
    of_seeds = dict(_of_another_seed(rows))
    return {**of_seeds, **dict(_untrue_proofs(rows)), **dict(_untrue_ends(rows))}


def _untrue_proofs(rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """Yield proofs that say they passed, though too many of their spikes differ."""
    for n, row in enumerate(rows):
        match result := row.result:
            case AuditResult(passed=True):
                precision, wrong = row.contender.precision, result.mismatches - result.near_ties
            case CertificateResult(certified=True) if result.certificate_precision != "bf16":
                precision, wrong = result.certificate_precision, result.mismatches or 0
            case _:  # an exam in bf16 measures, and judges nothing
                continue
        if wrong > MOST_MISMATCHES[precision] * (result.spikes or 0):
            what = "audit" if isinstance(result, AuditResult) else "exam"
            reason = f"it is reported as passed, and {wrong:,} of {result.spikes:,} spikes differ"
            yield n, f"an {what} of {_named(row)} in run {row.run.id} does not count: {reason}"


def _of_another_seed(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield rows of trainings under the key of another seed: of the one first written with it."""
    seeds: dict[str, int] = {}
    for n, row in enumerate(rows):
        if row.key and isinstance(row.result, _WITH_A_SEED):
            seed = row.workload.seed
            first = seeds.setdefault(row.key, seed)
            if first != seed:
                what = f"rows of {_named(row)} seed {seed} in {row.suite} do not count"
                yield n, f"{what}: their key is that of seed {first}, of which they are a copy"


def _untrue_ends(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield ends of trainings that their epochs contradict."""
    last = _last(rows)
    epochs = _epochs(rows, last)
    for n in last.values():
        row, reason = rows[n], None
        by_number = epochs[row.suite, row.key]
        if has(row, TrainedResult):
            reason = _why_untrue(row, by_number)
        elif has(row, TestedResult) and isinstance(row.case, Training):
            result, number = row.result, row.case.epochs
            if result.tested_T == row.workload.T and number in by_number:
                reason = _unlike_its_epoch(result.test_accuracy, number, by_number)
        if reason:
            what = f"a result of {_named(row)} seed {row.workload.seed} in run {row.run.id}"
            yield n, f"{what} does not count: {reason}"


Epochs = Mapping[int, EpochResult]  # of a training, by their number


def _epochs(
    rows: Sequence[Row], last: Mapping[Hashable, int]
) -> defaultdict[tuple[str, str | None], dict[int, EpochResult]]:
    """Return the epochs of each training, by suite and key, then by number.

    `last` maps what may be written twice to the number of its last row.
    """
    by_training = defaultdict[tuple[str, str | None], dict[int, EpochResult]](dict)
    for row in of_kind((rows[n] for n in last.values()), EpochResult):
        by_training[row.suite, row.key][row.result.epoch] = row.result
    return by_training


def _why_untrue(row: Row[TrainedResult], by_number: Epochs) -> str | None:
    """Return why its epochs contradict a result, its schedule or width; None if they do not."""
    case, result = row.training, row.result
    count = result.trained_epochs or case.epochs
    if missing := sorted({*range(1, count + 1)} - by_number.keys()):
        names = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
        return f"of {count} epochs {len(missing)} have no row ({names})"
    if more := [n for n in by_number if n > count]:
        return f"it ended after {count} epochs, and has a row of epoch {max(more)}"
    epochs = [by_number[n] for n in range(1, count + 1)]
    best = max(epoch.test_accuracy for epoch in epochs)
    unlike = _unlike_its_epoch(result.best_test_accuracy, result.best_test_epoch, by_number)
    if unlike or not isclose(result.best_test_accuracy, best, abs_tol=1e-9):
        named = f"{result.best_test_accuracy:.2%} in epoch {result.best_test_epoch}"
        return f"its reported best is {named}, and that of its epochs {best:.2%}"
    chosen = _unlike_its_epoch(result.chosen_test_accuracy, result.chosen_epoch, by_number)
    return (
        _unlike_its_epoch(result.test_accuracy, count, by_number)
        or (chosen and f"of the chosen epoch {chosen}")
        or _off_schedule(case, epochs)
        or _of_another_width(row.workload)
    )


def _unlike_its_epoch(accuracy: float, number: int, by_number: Epochs) -> str | None:
    """Return how an accuracy differs from that of its epoch; None if it does not."""
    if (epoch := by_number.get(number)) is None:
        return f"it has no epoch {number}"
    if isclose(epoch.test_accuracy, accuracy, abs_tol=1e-9):
        return None
    return f"it reports {accuracy:.2%}, and its epoch {number} {epoch.test_accuracy:.2%}"


def _off_schedule(case: Training, epochs: Sequence[EpochResult]) -> str | None:
    """Return where epochs leave their case's schedule; None if they do not.

    By an earlier rule the rate fell when accuracy was flat: such a case has no schedule to check.
    """
    if case.least_epochs is not None:
        return None
    accuracies = [epoch.train_accuracy for epoch in epochs]
    for n, epoch in enumerate(epochs):
        rate = schedule.next_rate(case, accuracies[:n])
        if rate is None:
            return f"by its schedule it ended before epoch {epoch.epoch}"
        if not isclose(rate, epoch.learning_rate, rel_tol=1e-6):
            actual = f"{epoch.learning_rate:g}"
            return f"its rate is {actual} in epoch {epoch.epoch}, where its schedule has {rate:g}"
    if schedule.next_rate(case, accuracies) is not None:
        return f"it ended after {len(epochs)} of {case.epochs} epochs, though it had learnt"
    return None


def _of_another_width(workload: Workload) -> str | None:
    """Return the fault of a row whose network is not the one of its width, or None."""
    notation = _notation(workload.scale, workload.dataset, workload.width)
    if notation in (None, str(workload.network)):
        return None
    return f"it reports width {workload.width}, and its network is {workload.network}"


@lru_cache(maxsize=256)
def _notation(scale: str, dataset: str, width: Fraction) -> str | None:
    """Return a network of the paper at a width in its notation; None for one that it has not."""
    if scale not in {network.name for network in paper.NETWORKS}:
        return None
    return str(paper.network(scale, dataset, width=width)[1])


def _odd_seeds(
    rows: Sequence[Row], last: Mapping[Hashable, int], refused: Mapping[int, str]
) -> dict[int, str]:
    """Return, by index, why a training does not count that differs from most seeds or copies one.

    The sentence is empty where a later training of that seed has taken its place. All suites but
    the ablations share their trainings. Of as many seeds either way the later ones count.
    """
    epochs, reasons = _epochs(rows, last), dict[int, str]()
    groups = defaultdict[Hashable, dict[int, Row[TrainedResult]]](dict)
    for n in sorted(last.values()):
        row = rows[n]
        if has(row, TrainedResult) and n not in refused:
            case = replace(row.case, workload=replace(row.workload, seed=0))
            trained = json.dumps(columns_that_train(case), sort_keys=True)
            source = row.data.source and row.data.source.description
            data = row.data.train_samples, row.data.test_samples, source
            groups[trained, data, row.training.may_deviate][n] = row
    for group in groups.values():
        newest = {(row.suite, row.workload.seed): n for n, row in group.items()}
        votes = Counter(tuple(_conditions(group[n]).items()) for n in reversed([*newest.values()]))
        most = dict(votes.most_common(1)[0][0])
        curves = dict[Hashable, int]()
        for n, row in group.items():
            seed = row.workload.seed
            unlike = [name for name, value in _conditions(row).items() if value != most[name]]
            results = epochs[row.suite, row.key].values()
            curve = frozenset((e.epoch, e.loss, e.train_accuracy, e.test_accuracy) for e in results)
            best = max((epoch.train_accuracy for epoch in results), default=0.0)
            # dead layers leave any seed at the same figures
            alone = unlike or best * row.workload.network.classes < schedule.LEARNT
            first = seed if alone else curves.setdefault(curve, seed)
            prefix = f"{_named(row)} seed {seed} in {row.suite} does not count"
            if unlike:
                reason = f"it is unlike the other seeds in {' and '.join(unlike)}"
                reasons[n] = f"{prefix}: {reason}" if n in newest.values() else ""
            elif first != seed:
                reasons[n] = f"{prefix}: its epochs are those of seed {first}, digit for digit"
    return reasons


def _conditions(row: Row) -> dict[str, Hashable]:
    """Return what all seeds of one mean must share, by name."""
    data, by = row.data, row.installation
    return {
        "data": (data.source and data.source.sha256, data.test and data.test.sha256),
        "version of torch": (row.run.machine.torch or "").split("+")[0],
        "framework version": by.framework_version,
        "revision of the adapter": by.revision,
        "deviations": by.deviations,
    }


# what to know of rows that count


def _trained_twice(ended: Iterable[Row[TrainedResult]]) -> Iterator[str]:
    """Yield trainings that were done twice with different results."""
    ends: dict[Hashable, TrainedResult] = {}
    for row in (row for row in ended if row.key):
        now, former = row.result, ends.get(slot_of(row), row.result)
        if former.test_accuracy != now.test_accuracy:
            yield (
                f"{_named(row)} seed {row.workload.seed} was trained twice in {row.suite}: "
                f"{now.test_accuracy:.2%} counts, {former.test_accuracy:.2%} came before"
            )
        ends[slot_of(row)] = now
