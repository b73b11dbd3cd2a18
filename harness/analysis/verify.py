"""A sample of recorded cases, measured again: which figures are confirmed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import adapters
from harness.analysis.groups import grouped
from harness.analysis.speed import Acceleration, acceleration_lines, cell_of
from harness.jobs import Executor
from harness.records import Record, Store
from harness.records.ledger import Say
from harness.spec import FLOOR, Case, Initialisation, Network, Precision, Reading, Training, paper
from harness.speed import schedule
from harness.training import trial

# What an epoch comes to. On the same processor these are the same numbers, bit for bit.
FIGURES = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "gradient_norm")
Verdict = Literal["confirmed", "differs", "not tested"]


@dataclass(frozen=True)
class Check:
    """One figure that was recorded, and what it is now."""

    case: str
    figure: str
    recorded: str
    now: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """How much is measured again."""

    cases: int  # trainings, and cells
    seed: int  # draws them
    epochs: int  # of a training, its first ones
    budget: float  # seconds, of a cell


def network_of(row: Record) -> Network:
    """The network that a row is of, `width` applied."""
    reading = cast(Reading | None, row.neunorm)
    plain = paper.network(row.network, row.dataset, neunorm=reading, width=Fraction(1))[1]
    return plain if row.dropout is None else replace(plain, dropout=row.dropout)


def case_of(row: Record) -> Case:
    """The case that a row is of; a training's is of the whole of it."""
    samples = (row.train_samples or 0) + (row.validation_samples or 0)
    training = Training(
        epochs=row.epochs or 1,
        samples=samples,
        test_samples=row.test_samples,
        embedded=bool(row.data_substitute),
    )
    return Case(
        suite=row.suite,
        dataset=row.dataset,
        scale=row.scale,
        network=network_of(row),
        width=Fraction(row.width),
        framework=row.framework + (f":{row.variant}" if row.variant else ""),
        T=row.T,
        batch_size=row.batch_size,
        precision=cast(Precision, row.precision),
        device=row.device,
        seed=row.seed,
        initialisation=cast(Initialisation, row.initialisation),
        mode=row.mode,
        training=None if row.epochs is None else training,
    )


def verify(
    records: Sequence[Record], sample: Sample, data_root: Path, executor: Executor, say: Say
) -> Iterator[Check]:
    """Measures a sample of recorded cases again, in a folder that is thrown away."""
    drawn = random.Random(sample.seed)
    trained = list(grouped((r for r in records if r.kind == "trained"), lambda r: r.key).values())
    cells = list(grouped((r for r in records if r.kind == "iteration"), cell_of).values())
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        repeat = Repeat(records, executor, Store(Path(folder)), data_root, say)
        for row, *_ in drawn.sample(trained, min(sample.cases, len(trained))):
            yield from repeat.training(row, sample.epochs)
        for own in drawn.sample(cells, min(sample.cases, len(cells))):
            yield from repeat.cell(own, sample.budget)


@dataclass(frozen=True)
class Repeat:
    """Recorded rows, and where cases are measured again."""

    records: Sequence[Record]
    executor: Executor
    store: Store
    data_root: Path
    say: Say

    def training(self, row: Record, epochs: int) -> Iterator[Check]:
        """A training's first epochs against the rows of the same."""
        whole = case_of(row)
        assert whole.training is not None
        epochs = min(epochs, whole.training.epochs)
        case = replace(whole, training=replace(whole.training, epochs=epochs))
        what = f"{row.dataset} {row.scale} T={row.T} {whole.framework} seed {row.seed}"
        what += f" NeuNorm {row.neunorm}" if row.neunorm else ""
        plan = trial.Plan(out=self.store.out, data_root=self.data_root)
        (ended,) = self.executor.train((case,), self.store, plan, self.say)
        recorded = {r.epoch: r for r in self.records if r.kind == "epoch" and _is_same(r, row)}
        now = {r.epoch: r for r in ended.rows if r.kind == "epoch"}
        refused = _refusal(ended.rows, row)
        for number in range(1, epochs + 1):
            before, after = recorded.get(number), now.get(number)
            if before is None or after is None or refused:
                reason = refused or ("it was not recorded" if before is None else "it did not run")
                yield Check(what, f"epoch {number}", "", "", "not tested", reason)
            else:
                yield from _epoch(what, before, after)

    def cell(self, own: Sequence[Record], budget: float) -> Iterator[Check]:
        """The ratios to the floor of a cell's last run, against those of now."""
        cell, suite = cell_of(own[0]), own[0].suite
        same = [row for row in self.records if row.suite == suite and cell_of(row) == cell]
        last = max(row.run for row in own)
        ran = (row for row in own if row.run == last and row.framework != FLOOR)
        cases = tuple(c for c in dict.fromkeys(map(case_of, ran)) if _loads(c))
        plan = schedule.Plan(budget=budget, data_root=self.data_root)
        list(self.executor.measure(cases, self.store, plan, self.say))
        after = _lines(row for row in self.store.read(suite)[0] if cell_of(row) == cell)
        for name, old in _lines(same).items():
            what = f"{old.dataset} {old.scale} T={old.T} {name}"
            new = after.get(name)
            told = "", "not tested", "it was not timed here"
            if new is not None:
                meet = old.ratio_low <= new.ratio_high and new.ratio_low <= old.ratio_high
                verdict = "confirmed" if meet else "differs"
                told = _ratio(new), verdict, "" if meet else "the intervals do not meet"
            yield Check(what, "ratio to the floor", _ratio(old), *told)


def _loads(case: Case) -> bool:
    return adapters.missing(case.framework) is None


def _epoch(what: str, before: Record, after: Record) -> Iterator[Check]:
    for name in FIGURES:
        old, new = getattr(before, name), getattr(after, name)
        figure = f"epoch {after.epoch} {name}"
        if old == new:
            yield Check(what, figure, f"{old:.6g}", f"{new:.6g}", "confirmed")
        else:
            why = _why(before, after)
            yield Check(what, figure, f"{old:.6g}", f"{new:.6g}", "differs", why)


def _is_same(row: Record, other: Record) -> bool:
    return (row.suite, row.key) == (other.suite, other.key)


def _refusal(rows_: Sequence[Record], recorded: Record) -> str:
    """Why figures cannot be compared; nothing where they can."""
    ended = [row.reason or "" for row in rows_ if row.kind == "case"]
    if ended:
        return ended[-1]
    data = next((row.data_sha256 for row in rows_ if row.data_sha256), None)
    if data != recorded.data_sha256:
        return "the data here are others (--data-root)"
    return ""


def _why(before: Record, after: Record) -> str:
    """What was not the same, of what may decide a figure."""
    names = ("cpu", "threads", "torch", "framework_version", "code", "python")
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names)
    differing = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    return "; ".join(differing) or "nothing that is recorded explains it"


def _lines(records: Iterable[Record]) -> dict[str, Acceleration]:
    return {
        line.name: line
        for line in acceleration_lines(records)
        if line.framework != FLOOR and line.rounds
    }


def _ratio(line: Acceleration) -> str:
    return f"{line.ratio_to_floor:.2f} [{line.ratio_low:.2f}, {line.ratio_high:.2f}]"
