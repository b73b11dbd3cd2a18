"""Which rows of a folder count: the one place that decides it.

Tables, claims, the page, `compare` and notebooks see the rows that count here, and name what does
not count and why.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
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
from harness.spec import (
    ACCELERATION,
    FLOOR,
    Budget,
    Case,
    CaseFields,
    Trained,
    network_name,
    paper,
    schedule,
)
from harness.spec.network import parse_fraction

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
_WITH_A_SEED = OfTraining | OperationsRow
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
    - Rows that contradict each other do not count: nor does a training that its epochs do not bear
      out, a seed that copies another, and one that was not trained as most seeds were.
    Notes also warn of trainings that were done twice with different results.
    """
    refused, outdated = contradictions(rows), {n for n, row in enumerate(rows) if is_outdated(row)}
    parts = _parts(row for n, row in enumerate(rows) if _is_timing(row) and n not in outdated)
    slots, shown = _last(rows), _that_count(parts)
    odd = _odd_seeds(rows, slots, refused)
    last = {*slots.values()} - odd.keys()

    def counts(n: int, row: Row) -> bool:
        if n in refused or n in outdated:
            return False
        if _is_timing(row):
            return _together(row) in shown
        return n in last or row.kind == "descent"

    untrue = [note for part in parts.values() for note in part.contradictions]
    ended = [row for n, row in enumerate(rows) if isinstance(row, TrainedRow) and n not in refused]
    notes = [*refused.values(), *untrue, *_trained_twice(ended), *filter(None, odd.values())]
    if nameless := sum(row.key is None for row in ended):
        notes.append(
            f"{nameless:,} results of trainings have no key and do not count: their rows were "
            "changed after they were written; train them again"
        )
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

    Rows behind the end of their training are of one that was begun anew: they come first. Rows of
    another seed than their key's are left out.
    """
    ends = {(row.suite, row.key): n for n, row in enumerate(rows) if isinstance(row, TrainedRow)}
    strays = dict(_of_another_seed(rows))

    def is_of_another(n: int) -> bool:
        row = rows[n]
        return isinstance(row, _WITH_A_SEED) and n > ends.get((row.suite, row.key), n)

    order = sorted(range(len(rows)), key=is_of_another, reverse=True)
    return {slot_of(rows[n]): n for n in order if rows[n].key and n not in strays}


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
    of_seeds = dict(_of_another_seed(rows))
    return {**of_seeds, **dict(_untrue_proofs(rows)), **dict(_untrue_ends(rows))}


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


def _of_another_seed(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield rows of trainings whose key is another seed's: a key is of one seed, written first."""
    seeds: dict[str, int] = {}
    for n, row in enumerate(rows):
        if row.key and isinstance(row, _WITH_A_SEED):
            seed = seeds.setdefault(row.key, row.seed)
            if seed != row.seed:
                what = f"rows of {_named(row)} seed {row.seed} in {row.suite} do not count"
                yield n, f"{what}: their key is that of seed {seed}, of which they are a copy"


def _untrue_ends(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Yield ends of trainings that their epochs do not bear out."""
    last = _last(rows)
    epochs = _epochs(rows, last)
    for n in last.values():
        match row := rows[n]:
            case TrainedRow():
                reason = _unborne(row, epochs[row.suite, row.key])
            case TestedRow() if row.tested_T == row.T:
                reason = _unlike_its_epoch(row, row.epochs, epochs[row.suite, row.key])
            case _:
                continue
        if reason:
            what = f"a result of {_named(row)} seed {row.seed} in run {row.run}"
            yield n, f"{what} does not count: {reason}"


def _epochs(
    rows: Sequence[Row], last: Mapping[Hashable, int]
) -> defaultdict[tuple[str, str | None], dict[int, EpochRow]]:
    """Return the epochs of each training, given its suite and key, by their number."""
    found = defaultdict[tuple[str, str | None], dict[int, EpochRow]](dict)
    for n in last.values():
        row = rows[n]
        if isinstance(row, EpochRow):
            found[row.suite, row.key][row.epoch] = row
    return found


def _unborne(row: TrainedRow, by_number: Mapping[int, EpochRow]) -> str | None:
    """Return why epochs do not bear out a result, its schedule or its width; None if they do."""
    case, count = Trained.of(row), row.trained_epochs or row.epochs or 0
    if missing := sorted({*range(1, count + 1)} - by_number.keys()):
        names = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
        return f"of {count} epochs {len(missing)} have no row ({names})"
    if more := [n for n in by_number if n > count]:
        return f"it ended after {count} epochs, and has a row of epoch {max(more)}"
    epochs = [by_number[n] for n in range(1, count + 1)]
    its_best = max(epoch.test_accuracy for epoch in epochs)
    best = _unlike_its_epoch(row, row.best_test_epoch, by_number, row.best_test_accuracy)
    if best or not isclose(row.best_test_accuracy, its_best, abs_tol=1e-9):
        named = f"{row.best_test_accuracy:.2%} in epoch {row.best_test_epoch}"
        return f"its best is said to be {named}, and is {its_best:.2%}"
    chosen = _unlike_its_epoch(row, row.chosen_epoch, by_number, row.chosen_test_accuracy)
    return (
        _unlike_its_epoch(row, count, by_number)
        or (chosen and f"of the chosen epoch {chosen}")
        or _off_schedule(case, epochs)
        or _of_another_width(row)
    )


def _unlike_its_epoch(
    row: TrainedRow | TestedRow,
    number: int | None,
    by_number: Mapping[int, EpochRow],
    says: float | None = None,
) -> str | None:
    """Return how an accuracy, by default the row's own, differs from that of an epoch."""
    epoch = by_number.get(number or 0)
    says = row.test_accuracy if says is None else says
    if epoch is None:
        return f"it has no epoch {number}" if isinstance(row, TrainedRow) else None
    if isclose(epoch.test_accuracy, says, abs_tol=1e-9):
        return None
    return f"it says {says:.2%}, and its epoch {number} {epoch.test_accuracy:.2%}"


def _off_schedule(case: Trained, epochs: Sequence[EpochRow]) -> str | None:
    """Return where epochs leave their case's schedule; None if they do not.

    Of an earlier rule, by which the rate fell when accuracy was flat, no schedule is known.
    """
    if case.training.least_epochs is not None:
        return None
    accuracies = [epoch.train_accuracy for epoch in epochs]
    for n, epoch in enumerate(epochs):
        rate = schedule.next_rate(case, accuracies[:n])
        if rate is None:
            return f"by its schedule it ended before epoch {epoch.epoch}"
        if not isclose(rate, epoch.learning_rate, rel_tol=1e-6):
            its = f"{epoch.learning_rate:g}"
            return f"its rate is {its} in epoch {epoch.epoch}, where its schedule has {rate:g}"
    if schedule.next_rate(case, accuracies) is not None:
        wanted = case.training.epochs
        return f"it ended after {len(epochs)} of {wanted} epochs, though it had learnt"
    return None


def _of_another_width(row: TrainedRow) -> str | None:
    notation = _notation(row.scale, row.dataset, row.width)
    if notation in (None, row.network):
        return None
    return f"it says width {row.width}, and its network is {row.network}"


@lru_cache(maxsize=256)
def _notation(scale: str, dataset: str, width: str) -> str | None:
    """Return a network of the paper at a width in its notation; None for one that it has not."""
    if scale not in {each.name for each in paper.NETWORKS}:
        return None
    return str(paper.network(scale, dataset, width=parse_fraction(width))[1])


def _odd_seeds(
    rows: Sequence[Row], last: Mapping[Hashable, int], refused: Mapping[int, str]
) -> dict[int, str]:
    """Return by index trainings that were not done as most seeds of their kind, and copies.

    With a sentence, which is empty where a later training of that seed has taken its place. Suites
    share their trainings, but for ablations. Of as many seeds either way the later ones count.
    """
    epochs, found = _epochs(rows, last), dict[int, str]()
    groups = defaultdict[Hashable, dict[int, TrainedRow]](dict)
    for n in sorted(last.values()):
        row = rows[n]
        if isinstance(row, TrainedRow) and n not in refused:
            case = json.dumps(fields_that_train(replace(Case.of(row), seed=0)), sort_keys=True)
            data = row.train_samples, row.test_samples, row.data_source
            groups[case, data, row.suite == "ablations"][n] = row
    for group in groups.values():
        newest = {(row.suite, row.seed): n for n, row in group.items()}
        votes = Counter(tuple(_way(group[n]).items()) for n in reversed([*newest.values()]))
        most = dict(votes.most_common(1)[0][0])
        curves = dict[Hashable, int]()
        for n, row in group.items():
            unlike = [name for name, value in _way(row).items() if value != most[name]]
            of = epochs[row.suite, row.key].values()
            curve = tuple((e.epoch, e.loss, e.train_accuracy, e.test_accuracy) for e in of)
            learnt = max((each.train_accuracy for each in of), default=0.0) * row.classes
            # dead layers leave any seed at the same figures
            alone = unlike or learnt < schedule.LEARNT
            seed = row.seed if alone else curves.setdefault(frozenset(curve), row.seed)
            said = f"{_named(row)} seed {row.seed} in {row.suite} does not count"
            if unlike:
                reason = f"it is unlike the other seeds in {' and '.join(unlike)}"
                found[n] = f"{said}: {reason}" if n in newest.values() else ""
            elif seed != row.seed:
                found[n] = f"{said}: its epochs are those of seed {seed}, digit for digit"
    return found


def _way(row: TrainedRow) -> dict[str, Hashable]:
    """Return in what seeds of one mean must be alike, by name."""
    return {
        "data": (row.data_sha256, row.data_test_sha256),
        "version of torch": (row.torch or "").partition("+")[0],
        "framework version": row.framework_version,
        "revision of the adapter": row.revision,
        "deviations": row.deviations,
    }


# what to know of rows that count


def _trained_twice(ended: Iterable[TrainedRow]) -> Iterator[str]:
    """Yield trainings that were done twice with different results."""
    ends: dict[Hashable, TrainedRow] = {}
    for row in (each for each in ended if each.key):
        former = ends.get(slot_of(row), row)
        if former.test_accuracy != row.test_accuracy:
            yield (
                f"{_named(row)} seed {row.seed} was trained twice in {row.suite}: "
                f"{row.test_accuracy:.2%} counts, {former.test_accuracy:.2%} came before"
            )
        ends[slot_of(row)] = row
