"""Which rows of a folder count: the one place that decides it.

Tables, claims, the page, `compare` and notebooks see the rows that count here, and name what does
not count and why.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isclose

from harness.records.identity import EXAM, PROTOCOL, fields_that_train
from harness.records.row import (
    AuditRow,
    Bf16TrainingRow,
    CertificateRow,
    EpochRow,
    IterationRow,
    OfTraining,
    OperationsRow,
    Place,
    Record,
    Row,
    TestedRow,
    TimedRow,
    TrainedRow,
)
from harness.spec import ACCELERATION, FLOOR, Budget, Case, CaseFields, network_name

# What tells rows of one kind and key from one another.
NUMBERS = {
    "epoch": ("epoch",),
    "tested": ("tested_T",),
    "confusion": ("confusion_samples",),
    "certificate": ("certificate_precision", "layer"),
    "warning": ("reason",),
}
# The share of compared spikes that may differ in a proof that passed.
MOST_MISMATCHES = {"fp64": 1e-5, "fp32": 1e-5, "bf16": 0.02}
_OF_CELL = CaseFields.__dataclass_fields__.keys() - {"framework", "variant", "precision"}


@dataclass(frozen=True)
class Current:
    """Which of the given rows count, and what a reader must know of them."""

    counts: tuple[bool, ...]  # of each row, in their order
    notes: tuple[str, ...]  # a sentence each


def cell_of(row: Record) -> Hashable:
    """Return the cell of a row: rows of one cell were measured alike and may be compared."""
    return row.place, *(getattr(row, name) for name in _OF_CELL)


def machine_names(rows: Sequence[Record]) -> list[str]:
    """Return the machine's name of each row; equal names of unlike machines get what differs."""
    alike = defaultdict[str, set[Place]](set)
    for row in rows:
        if row.suite == ACCELERATION:
            alike[str(row.place)].add(row.place)
    names = dict[Place, str]()
    for name, places in alike.items():
        differing = [
            field for field in Place._fields if len({getattr(place, field) for place in places}) > 1
        ]
        for place in places:
            parts = (f"{field} {_in_words(getattr(place, field))}" for field in differing)
            names[place] = ", ".join([name, *parts])
    return [names[row.place] if row.suite == ACCELERATION else str(row.place) for row in rows]


def _in_words(value: object) -> str:
    return (" ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def current(rows: Sequence[Row]) -> Current:
    """Return which rows count: newest results, whole runs, today's protocol; and notes on them.

    - Of trainings, other systems and counts: of rows with the same suite, key, kind and fields of
      NUMBERS (epoch, T of the test) the one that was written last; but none of a training that
      was begun anew and has not ended.
    - Of timings: only seconds of one round compare, so a run's rows of a cell and precision count
      or go together. They go where a later run has measured the same contenders at least as well.
    - Timings under another protocol, and proofs by another exam, do not count.
    - Rows that contradict each other do not count.
    Notes also warn of trainings that disagree, or whose seeds had unlike data.
    """
    refused, outdated = contradictions(rows), {n for n, row in enumerate(rows) if is_outdated(row)}
    parts = _parts(row for n, row in enumerate(rows) if _is_timing(row) and n not in outdated)
    last, shown = {*_last(rows).values()}, _that_count(parts)

    def counts(n: int, row: Row) -> bool:
        if n in refused or n in outdated:
            return False
        if _is_timing(row):
            return _together(row) in shown
        return n in last or row.kind == "descent"

    untrue = [note for part in parts.values() for note in part.contradictions]
    ended = [row for n, row in enumerate(rows) if isinstance(row, TrainedRow) and n not in refused]
    notes = [*refused.values(), *untrue, *_trained_twice(ended), *_mixed_seeds(ended)]
    if outdated:
        runs = len({rows[n].run for n in outdated})
        notes.append(
            f"{len(outdated):,} rows of {runs} runs do not count: this harness times under "
            f"protocol {PROTOCOL} and proves by exam {EXAM}; measure them again"
        )
    counting = tuple(counts(n, row) for n, row in enumerate(rows))
    return Current(counting, tuple(dict.fromkeys(notes)))


def is_outdated(row: Row) -> bool:
    """Return whether a row's timing protocol, or its proof's exam, is not today's."""
    if row.suite != ACCELERATION:
        return False
    if isinstance(row, CertificateRow | AuditRow | Bf16TrainingRow) and row.exam != EXAM:
        return True
    return row.kind != "descent" and row.protocol != PROTOCOL


def slot_of(row: Row) -> Hashable:
    """Return the slot of a row that is no timing: of rows in one slot only the last counts."""
    return row.suite, row.key, row.kind, *(getattr(row, name) for name in NUMBERS.get(row.kind, ()))


def _last(rows: Sequence[Row]) -> dict[Hashable, int]:
    """Return the number of the last row of each slot; a row without a key has none.

    Rows behind the end of their training are of one that was begun anew: they come first.
    """
    ends = {(row.suite, row.key): n for n, row in enumerate(rows) if isinstance(row, TrainedRow)}

    def is_of_another(n: int) -> bool:
        row = rows[n]
        of_training = isinstance(row, OfTraining | OperationsRow)
        return of_training and n > ends.get((row.suite, row.key), n)

    order = sorted(range(len(rows)), key=is_of_another, reverse=True)
    return {slot_of(rows[n]): n for n in order if rows[n].key}


def _is_timing(row: Row) -> bool:
    return row.suite == ACCELERATION and row.kind != "descent"


def _network(row: Record) -> str:
    return f"{row.dataset} {network_name(row)} T={row.T}"


def _named(row: Record) -> str:
    return f"{_network(row)} {row.full_name}"


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
    def of(cls, rows: list[Row]) -> _Part:
        """Return what a run has measured, from all its rows of a cell and precision."""
        seconds = defaultdict[tuple[str, bool, int], set[float]](set)
        for row in rows:
            if isinstance(row, IterationRow):
                seconds[row.contender, row.twin, row.round].add(row.seconds)
        reasons = []
        if len({row.data_sha256 for row in rows} - {None}) > 1:
            reasons.append("its contenders were given different data")
        if doubles := sum(len(each) > 1 for each in seconds.values()):
            reasons.append(f"{doubles} of its rounds have two times each")
        first = rows[0]
        what = f"the timings of {_network(first)} {first.precision} in run {first.run}"
        return cls(
            {row.contender for row in rows},
            {row.contender for row in rows if isinstance(row, TimedRow)},
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
    return cell_of(row), row.precision, row.run


def _parts(timings: Iterable[Row]) -> dict[Together, _Part]:
    """Return each run's part of each cell and precision, in the order they were last written.

    A clock that ran ahead does not make a run the newest.
    """
    groups: dict[Together, list[Row]] = {}
    for row in timings:
        key = _together(row)
        groups[key] = groups.pop(key, [])
        groups[key].append(row)
    return {key: _Part.of(group) for key, group in groups.items()}


def _that_count(parts: dict[Together, _Part]) -> set[Together]:
    """Return those that no later run of the cell and precision has measured as well.

    One row replaces no more than one: else an odd one would hide the figures of a whole run.
    """
    groups = defaultdict[Hashable, list[Together]](list)
    for each in parts:
        groups[each[:2]].append(each)
    counting = set[Together]()
    for every in groups.values():
        timed = [each for each in every if parts[each].rounds] or every
        order = [each for each in timed if parts[each].contenders != {FLOOR}] or every[-1:]
        sound = [each for each in order if not parts[each].contradictions]
        counting |= {
            each
            for n, each in enumerate(sound)
            if not any(parts[later].is_as_good_as(parts[each]) for later in sound[n + 1 :])
        }
    return counting


# rows that cannot be true


def contradictions(rows: Sequence[Row]) -> dict[int, str]:
    """Return by index a sentence for each row that another row, or its own fields, contradict."""
    return {**dict(_untrue_proofs(rows)), **dict(_untrue_ends(rows))}


def _untrue_proofs(rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """Yield proofs that say they passed, though too many of their spikes differ."""
    for n, row in enumerate(rows):
        match row:
            case AuditRow(passed=True):
                what, precision, wrong = "audit", row.precision, row.mismatches - row.near_ties
            case CertificateRow(certified=True) if row.certificate_precision != "bf16":
                what, precision, wrong = "exam", row.certificate_precision, row.mismatches or 0
            case _:  # an exam in bf16 measures, and judges nothing
                continue
        if wrong > MOST_MISMATCHES[precision] * (row.spikes or 0):
            reason = f"it says that it passed, and that {wrong:,} of {row.spikes:,} spikes differ"
            yield n, f"an {what} of {_named(row)} in run {row.run} does not count: {reason}"


def _untrue_ends(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield ends of trainings whose accuracy is not the one of their last epoch."""
    last = _last(rows)
    for n in last.values():
        match row := rows[n]:
            case TrainedRow():
                number = row.trained_epochs or row.epochs
            case TestedRow() if row.tested_T == row.T:
                number = row.epochs
            case _:
                continue
        of_epoch = last.get((row.suite, row.key, "epoch", number))
        if of_epoch is None:
            continue
        ended = rows[of_epoch]
        assert isinstance(ended, EpochRow)
        if not isclose(ended.test_accuracy, row.test_accuracy, abs_tol=1e-9):
            what = f"a result of {_named(row)} seed {row.seed} in run {row.run}"
            says = f"it says {row.test_accuracy:.2%}, and its epoch {number}"
            yield n, f"{what} does not count: {says} {ended.test_accuracy:.2%}"


# what to know of rows that count


def _trained_twice(ended: Iterable[TrainedRow]) -> Iterator[str]:
    """Yield trainings that were done twice with different results."""
    ends: dict[Hashable, TrainedRow] = {}
    for row in ended:
        former = ends.get(slot_of(row), row)
        if former.test_accuracy != row.test_accuracy:
            yield (
                f"{_named(row)} seed {row.seed} was trained twice in {row.suite}: "
                f"{row.test_accuracy:.2%} counts, {former.test_accuracy:.2%} came before"
            )
        ends[slot_of(row)] = row


def _mixed_seeds(ended: Iterable[TrainedRow]) -> Iterator[str]:
    """Yield trainings whose seeds, the last of each, have not the same data, or torch.

    Suites share their trainings, but for ablations. Of other samples or sources no mean is taken.
    """
    groups = defaultdict[Hashable, dict[Hashable, TrainedRow]](dict)
    for row in ended:
        case = json.dumps(fields_that_train(replace(Case.of(row), seed=0)), sort_keys=True)
        data = row.train_samples, row.test_samples, row.data_source
        groups[case, data, row.suite == "ablations"][row.suite, row.seed] = row
    for of_seeds in groups.values():
        group = [*of_seeds.values()]
        suites = ", ".join(dict.fromkeys(row.suite for row in group))
        for what, values in (
            ("data", {(row.data_sha256, row.data_test_sha256) for row in group}),
            ("versions of torch", {row.torch for row in group}),
        ):
            if len(values) > 1:
                seeds = f"the seeds of {_named(group[0])} in {suites}"
                yield f"{seeds} have {len(values)} different {what}"
