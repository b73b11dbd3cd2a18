"""Which rows of a folder count: the one place that decides it.

Tables, claims, the page, `compare` and notebooks see the rows that count here, and name what does
not count and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isclose

from harness.records.identity import EXAM, PROTOCOL
from harness.records.row import (
    AuditRow,
    Bf16TrainingRow,
    CertificateRow,
    EpochRow,
    IterationRow,
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
    """Which rows count, in the order of the rows, and what a reader must know of them."""

    counts: tuple[bool, ...]
    notes: tuple[str, ...]  # a sentence each


Together = tuple[Hashable, str, str]  # a cell, precision and run: their timings count or go


@dataclass
class _Timings:
    """What a run has of a cell and precision."""

    row: Row  # the first
    contenders: set[str] = field(default_factory=set)  # that it has any row of
    ended: set[str] = field(default_factory=set)  # those that have all their rounds
    # seconds by contender, twin and round
    turns: dict[tuple[str, bool, int], float] = field(default_factory=dict)
    doubles: set[tuple[str, bool, int]] = field(default_factory=set)  # turns with two times
    data: set[str] = field(default_factory=set)  # hashes of the batch

    @property
    def rounds(self) -> Counter[str]:
        """How many rounds each contender has."""
        return Counter(name for name, twin, _ in self.turns if not twin)

    @cached_property
    def contradictions(self) -> tuple[str, ...]:
        """Reasons why these rows cannot all be true, in words; complete once all rows are in."""
        found = []
        if len(self.data) > 1:
            found.append("its contenders were given different data")
        if self.doubles:
            found.append(f"{len(self.doubles)} of its rounds have two times each")
        return (*found,)


def cell_of(row: Record) -> Hashable:
    """Return the cell that a row belongs to: what was measured together and may be compared."""
    return row.place, *(getattr(row, name) for name in _OF_CELL)


def machine_names(rows: Sequence[Record]) -> list[str]:
    """Return the machine of each row; machines of one name have their differences added."""
    timed: dict[str, set[Place]] = {}
    for row in rows:
        if row.suite == ACCELERATION:
            timed.setdefault(str(row.place), set()).add(row.place)
    names: dict[Place, str] = {}
    for name, places in timed.items():
        differing = [n for n, each in enumerate(zip(*places, strict=True)) if len({*each}) > 1]
        for place in places:
            parts = (f"{Place._fields[n]} {_in_words(place[n])}" for n in differing)
            names[place] = ", ".join([name, *parts])
    return [names[row.place] if row.suite == ACCELERATION else str(row.place) for row in rows]


def _in_words(value: object) -> str:
    return (" ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def current(rows: Sequence[Row]) -> Current:
    """Decide which rows count.

    - Of trainings, other systems and counts: of one key and number the row that was written last.
    - Of timings: only seconds of one round compare, so a run's rows of a cell and precision count
      or go together. They go where a later run has measured the same contenders at least as well.
    - Timings under another protocol, and proofs by another exam, do not count.
    - Rows that contradict each other do not count.
    """
    refused, outdated = contradictions(rows), {n for n, row in enumerate(rows) if is_outdated(row)}
    runs = _runs(row for n, row in enumerate(rows) if _is_timing(row) and n not in outdated)
    shown = _that_count(runs)
    counts, last = [False] * len(rows), dict[Hashable, int]()
    for n, row in enumerate(rows):
        if row.suite == ACCELERATION:
            counts[n] = n not in outdated and (not _is_timing(row) or _together(row) in shown)
        elif row.key:
            last[slot_of(row)] = n
    for n in last.values():
        counts[n] = True
    for n in refused:
        counts[n] = False
    notes = [*refused.values(), *_contradicting_runs(runs), *_doubles(rows), *_mixed(rows)]
    if outdated:
        count = len({rows[n].run for n in outdated})
        notes.append(
            f"{len(outdated):,} rows of {count} runs do not count: this harness times under "
            f"protocol {PROTOCOL} and proves by exam {EXAM}; measure them again"
        )
    return Current(tuple(counts), tuple(dict.fromkeys(notes)))


def is_outdated(row: Row) -> bool:
    """Return whether a timing, or its proof, was made by another protocol or exam than today's."""
    if row.suite != ACCELERATION:
        return False
    if isinstance(row, CertificateRow | AuditRow | Bf16TrainingRow) and row.exam != EXAM:
        return True
    return row.kind != "descent" and row.protocol != PROTOCOL


def slot_of(row: Row) -> Hashable:
    """Return what only one row has that is no timing: a later row replaces the earlier."""
    return row.suite, row.key, row.kind, *(getattr(row, name) for name in NUMBERS.get(row.kind, ()))


def _is_timing(row: Row) -> bool:
    return row.suite == ACCELERATION and row.kind != "descent"


def _named(row: Record) -> str:
    network = f"{row.dataset} {network_name(row)} T={row.T}"
    return f"{network} {row.contender}{'' if row.precision == 'fp32' else f' {row.precision}'}"


# timings


def _together(row: Row) -> Together:
    return cell_of(row), row.precision, row.run


def _runs(timings: Iterable[Row]) -> dict[Together, _Timings]:
    """Return each run's part of each cell and precision, in the order they were last written.

    A clock that ran ahead does not make a run the newest.
    """
    found: dict[Together, _Timings] = {}
    for row in timings:
        key = _together(row)
        found[key] = of = found.pop(key, None) or _Timings(row)
        of.contenders.add(row.contender)
        if row.data_sha256 is not None:
            of.data.add(row.data_sha256)
        if isinstance(row, TimedRow):
            of.ended.add(row.contender)
        elif isinstance(row, IterationRow):
            turn = row.contender, row.twin, row.round
            if of.turns.setdefault(turn, row.seconds) != row.seconds:
                of.doubles.add(turn)
    return found


def _that_count(runs: dict[Together, _Timings]) -> set[Together]:
    """Return those that no later run of the cell and precision has measured as well.

    One row replaces no more than one: else an odd one would hide the figures of a whole run.
    """
    groups: dict[Hashable, list[Together]] = {}
    for each in runs:
        groups.setdefault(each[:2], []).append(each)
    counting = set[Together]()
    for every in groups.values():
        timed = [each for each in every if runs[each].turns] or every
        order = [each for each in timed if runs[each].contenders != {FLOOR}] or every[-1:]
        sound = [each for each in order if not runs[each].contradictions]
        counting |= {
            each
            for n, each in enumerate(sound)
            if not any(_is_as_good(runs[later], runs[each]) for later in sound[n + 1 :])
        }
    return counting


def _is_as_good(later: _Timings, earlier: _Timings) -> bool:
    """Return whether a later run has measured all contenders of an earlier one as well.

    They have ended where they had, each with as many rounds, or with those that a rank needs.
    """
    there, enough = later.rounds, Budget.rounds
    rounds_do = all(there[name] >= min(n, enough) for name, n in earlier.rounds.items())
    return later.contenders >= earlier.contenders and later.ended >= earlier.ended and rounds_do


def _contradicting_runs(runs: dict[Together, _Timings]) -> Iterator[str]:
    for of in runs.values():
        row = of.row
        what = f"{row.dataset} {network_name(row)} T={row.T} {row.precision}"
        for reason in of.contradictions:
            yield f"the timings of {what} in run {row.run} do not count: {reason}"


# rows that cannot be true


def contradictions(rows: Sequence[Row]) -> dict[int, str]:
    """Return a sentence for each row that others, or its own fields, contradict, by its number."""
    return {**dict(_untrue_proofs(rows)), **dict(_untrue_ends(rows))}


def _untrue_proofs(rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """Yield proofs that say they passed, though too many of their spikes differ."""
    for n, row in enumerate(rows):
        if isinstance(row, AuditRow) and row.passed:
            precision, wrong = row.precision, row.mismatches - row.near_ties
        elif isinstance(row, CertificateRow) and row.certified:
            precision, wrong = row.certificate_precision, row.mismatches or 0
            if precision == "bf16":  # is measured, not judged
                continue
        else:
            continue
        if wrong > MOST_MISMATCHES[precision] * (row.spikes or 0):
            what = "audit" if isinstance(row, AuditRow) else "exam"
            reason = f"it says that it passed, and that {wrong:,} of {row.spikes:,} spikes differ"
            yield n, f"an {what} of {_named(row)} in run {row.run} does not count: {reason}"


def _untrue_ends(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield ends of trainings whose accuracy is not the one of their last epoch."""
    last = {slot_of(row): n for n, row in enumerate(rows) if row.key}
    epochs: dict[Hashable, EpochRow] = {
        (*_training(row), row.epoch): row for row in rows if isinstance(row, EpochRow)
    }
    for n in last.values():
        row, number = rows[n], rows[n].epochs
        if isinstance(row, TrainedRow):
            number = row.trained_epochs or row.epochs
        elif not isinstance(row, TestedRow) or row.effort is not None or row.tested_T != row.T:
            continue
        ended = epochs.get((*_training(row), number))
        if ended is not None and not isclose(ended.test_accuracy, row.test_accuracy, abs_tol=1e-9):
            what = f"a result of {_named(row)} seed {row.seed} in run {row.run}"
            says = f"it says {row.test_accuracy:.2%}, and its epoch {number}"
            yield n, f"{what} does not count: {says} {ended.test_accuracy:.2%}"


def _training(row: Row) -> tuple[str, str | None]:
    return row.suite, row.key


# what to know of rows that count


def _doubles(rows: Sequence[Row]) -> Iterator[str]:
    """Yield trainings that were done twice with different results."""
    ends: dict[Hashable, TrainedRow] = {}
    for row in rows:
        if isinstance(row, TrainedRow):
            former = ends.get(_training(row))
            if former is not None and former.test_accuracy != row.test_accuracy:
                yield (
                    f"{_named(row)} seed {row.seed} was trained twice in {row.suite}: "
                    f"{row.test_accuracy:.2%} counts, {former.test_accuracy:.2%} came before"
                )
            ends[_training(row)] = row


def _mixed(rows: Sequence[Row]) -> Iterator[str]:
    """Yield trainings whose seeds do not have the same data, or the same torch."""
    groups: dict[Hashable, list[TrainedRow]] = {}
    for row in rows:
        if isinstance(row, TrainedRow):
            case = Case.of(row).fields
            same = (v for k, v in vars(case).items() if k != "seed")
            groups.setdefault((*same,), []).append(row)
    for of in groups.values():
        for what, values in (
            ("data", {(row.data_sha256, row.data_test_sha256) for row in of}),
            ("versions of torch", {row.torch for row in of}),
        ):
            if len(values) > 1:
                seeds = f"the seeds of {_named(of[0])} in {of[0].suite}"
                yield f"{seeds} have {len(values)} different {what}"
