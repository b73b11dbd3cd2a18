"""A sample of recorded cases, measured again: which figures are confirmed.

What a training comes to is the same number or another. A time is confirmed where the interval of
new over old lies within MARGIN of 1; it differs where the interval does not, and has no 1 in it;
else it is too noisy to tell, so no noise makes it surer.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isnan, log, log1p, sqrt
from pathlib import Path
from typing import Literal

from harness.analysis import timings
from harness.analysis.compare import MARGIN
from harness.analysis.frame import Line, cell_of, each_of, frames, grouped
from harness.analysis.words import unusual
from harness.jobs.results import Executor
from harness.records import EndedRow, EpochRow, FittedRow, IterationRow, Row, Store, TrainedRow
from harness.records.identity import PROTOCOL
from harness.spec import FLOOR, Access, Budget, Case, Say, Timed, Trained

LARGEST = 700.0  # whose exponential is a float
# What an epoch comes to. On the same processor these are the same numbers, bit for bit.
FIGURES = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "gradient_norm")
Verdict = Literal["confirmed", "differs", "too noisy to tell", "not tested"]


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


@dataclass(frozen=True)
class Here:
    """Where cases are measured again."""

    executor: Executor
    access: Access
    lacks: Callable[[Case], str | None]  # why a case cannot run here; None where it can
    say: Say
    weights: Path | None = None  # the folder of those that recorded cases name, if they do


def verify(records: Sequence[Row], sample: Sample, here: Here) -> Iterator[Check]:
    """Measures a sample of recorded cases again, in a folder that is thrown away."""
    drawn = random.Random(sample.seed)
    ended = [row for row in records if isinstance(row, TrainedRow)]
    trained = list(grouped(ended, lambda row: row.key).values())
    fitted = {row.key: row for row in records if isinstance(row, FittedRow)}
    timed = [row for row in records if isinstance(row, IterationRow)]
    cells = _preferred(list(grouped(timed, cell_of).values()))
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        repeat = Repeat(records, here, Store(Path(folder)))
        for row, *_ in drawn.sample(trained, min(sample.cases, len(trained))):
            yield from repeat.training(row, sample.epochs)
        for row in drawn.sample(list(fitted.values()), min(sample.cases, len(fitted))):
            yield repeat.system(row)
        for group in drawn.sample(cells, min(sample.cases, len(cells))):
            yield from repeat.cell(group, sample.budget)


def _preferred(cells: list[list[IterationRow]]) -> list[list[IterationRow]]:
    """The cells timed under the protocol of now, which alone can be tested; else all."""
    return [cell for cell in cells if cell[-1].protocol == PROTOCOL] or cells


@dataclass(frozen=True)
class Repeat:
    """Recorded rows, and where cases are measured again."""

    records: Sequence[Row]
    here: Here
    store: Store

    def training(self, row: TrainedRow, epochs: int) -> Iterator[Check]:
        """A training's first epochs against the rows of the same."""
        whole = Trained.of(row)
        epochs = min(epochs, whole.training.epochs)
        case = replace(whole, training=replace(whole.training, epochs=epochs))
        what = f"{row.dataset} {row.scale} T={row.T} {whole.framework} seed {row.seed}"
        what += f" NeuNorm {row.neunorm}" if row.neunorm else ""
        what += "".join(f", {each}" for each in unusual(whole))
        recorded = {
            r.epoch: r
            for r in self.records
            if isinstance(r, EpochRow) and (r.suite, r.key) == (row.suite, row.key)
        }
        rows, refused = self._trained_again(case, row)
        now = {r.epoch: r for r in rows if isinstance(r, EpochRow)}
        for number in range(1, epochs + 1):
            before, after = recorded.get(number), now.get(number)
            if before is None or after is None or refused:
                reason = refused or ("it was not recorded" if before is None else "it did not run")
                yield Check(what, f"epoch {number}", "", "", "not tested", reason)
            else:
                yield from _epoch(what, before, after)

    def system(self, row: FittedRow) -> Check:
        """What another system comes to, fitted anew."""
        case = Case.of(row)
        window = f" {row.window}" if row.window else ""
        what = f"{row.dataset}{window} {row.framework} seed {row.seed}"
        old = f"{row.test_accuracy:.6g}"
        rows, refused = self._trained_again(case, row)
        after = next((each for each in rows if isinstance(each, FittedRow)), None)
        if refused or after is None:
            return Check(what, "test_accuracy", old, "", "not tested", refused or "it did not end")
        same = after.test_accuracy == row.test_accuracy
        verdict: Verdict = "confirmed" if same else "differs"
        why = "" if same else _why(row, after)
        return Check(what, "test_accuracy", old, f"{after.test_accuracy:.6g}", verdict, why)

    def _trained_again(self, case: Case, row: TrainedRow | FittedRow) -> tuple[Sequence[Row], str]:
        """The rows of a second training, and why they cannot be compared; "" where they can."""
        lack = self.here.lacks(case)
        if lack is not None:
            return (), lack
        self._bring_weights(case)
        (trained,) = self.here.executor.train((case,), self.store, self.here.access, self.here.say)
        return trained.rows, _refusal(trained.rows, row)

    def _bring_weights(self, case: Case) -> None:
        """Lays the initial weights that a case names where it looks for them, if they are here."""
        folder, sha256 = self.here.weights, case.weights_sha256
        if folder is None or sha256 is None:
            return
        kept = folder / f"{sha256}.safetensors"
        if kept.is_file():
            place = self.store.out / folder.name
            place.mkdir(exist_ok=True)
            shutil.copy(kept, place)

    def cell(self, group: Sequence[IterationRow], budget: float) -> Iterator[Check]:
        """The ratios to the floor of a cell's last run, against those of now."""
        cell, suite = cell_of(group[0]), group[0].suite
        same = [row for row in self.records if row.suite == suite and cell_of(row) == cell]
        recorded = _lines(same)
        alike = {name for name, line in recorded.items() if line.protocol == PROTOCOL}
        after = self._timed_again(group, budget) if alike else {}
        for name, old in recorded.items():
            if name in alike:
                yield ratio_check(name, old, after.get(name))
            else:
                why = f"measured under protocol {old.protocol}"
                why += f", this harness measures under {PROTOCOL}"
                yield _untested(name, old, why)

    def _timed_again(self, group: Sequence[IterationRow], budget: float) -> dict[str, Line]:
        """The lines of a cell's last contenders, timed here and now."""
        ran = (row for row in group if row.run == group[-1].run and row.framework != FLOOR)
        cases = tuple(c for c in dict.fromkeys(map(Timed.of, ran)) if not self.here.lacks(c))
        if not cases:
            return {}
        for case in cases:
            self._bring_weights(case)
        access, say = self.here.access, self.here.say
        list(self.here.executor.measure(cases, self.store, access, Budget(seconds=budget), say))
        rows = self.store.read(group[0].suite)[0]
        return _lines(row for row in rows if Case.of(row).cell == Case.of(group[0]).cell)


def _what(name: str, line: Line) -> tuple[str, str, str]:
    return f"{line.dataset} {line.scale} T={line.T} {name}", "ratio to the floor", _ratio(line)


def _untested(name: str, old: Line, why: str) -> Check:
    return Check(*_what(name, old), "", "not tested", why)


def ratio_check(name: str, old: Line, new: Line | None) -> Check:
    """A contender's recorded ratio against that of now; None where it was not timed."""
    if new is None:
        return _untested(name, old, "it was not timed here")
    if isnan(old.ratio_to_floor) or isnan(new.ratio_to_floor):
        return _untested(name, old, "there was no floor to compare with")
    centre, low, high = _log_change(old, new)
    shown = f"now over recorded {exp(centre):.2f} [{exp(low):.2f}, {_exp(high):.2f}]"
    verdict: Verdict = "too noisy to tell"
    if -log1p(MARGIN) <= low and high <= log1p(MARGIN):
        verdict, shown = "confirmed", ""
    elif low > 0 or high < 0:
        verdict = "differs"
    else:
        shown += f": 1 is in it, and so is a change of more than {100 * MARGIN:.0f} %"
    if shown and old.machine != new.machine:
        shown += f"; it was another machine: {old.machine}, now {new.machine}"
    return Check(*_what(name, old), _ratio(new), verdict, shown)


def _log_change(old: Line, new: Line) -> tuple[float, float, float]:
    """log(new / old) and its interval, from both intervals (Donner and Zou's MOVER).

    Of two independent figures each side of the interval is the root of the sum of squares.
    """
    a, b = _logs(old), _logs(new)
    centre = b[0] - a[0]
    below = sqrt((b[0] - b[1]) ** 2 + (a[2] - a[0]) ** 2)
    above = sqrt((b[2] - b[0]) ** 2 + (a[0] - a[1]) ** 2)
    return centre, centre - below, centre + above


def _logs(line: Line) -> tuple[float, float, float]:
    """Of a ratio, and of its interval's ends; one that is not known reaches to infinity."""
    low = log(line.ratio_low) if line.ratio_low > 0 else -inf
    high = log(line.ratio_high) if line.ratio_high < inf else inf
    return log(line.ratio_to_floor), low, high


def _exp(value: float) -> float:
    return exp(value) if value < LARGEST else inf


def _epoch(what: str, before: EpochRow, after: EpochRow) -> Iterator[Check]:
    for name in FIGURES:
        old, new = getattr(before, name), getattr(after, name)
        figure = f"epoch {after.epoch} {name}"
        if old == new:
            yield Check(what, figure, f"{old:.6g}", f"{new:.6g}", "confirmed")
        else:
            why = _why(before, after)
            yield Check(what, figure, f"{old:.6g}", f"{new:.6g}", "differs", why)


def _refusal(rows: Sequence[Row], recorded: TrainedRow | FittedRow) -> str:
    """Why figures cannot be compared; nothing where they can."""
    ended = [row.reason for row in rows if isinstance(row, EndedRow)]
    if ended:
        return ended[-1]
    data = next((_data(row) for row in rows if row.data_sha256), None)
    if data != _data(recorded):
        return "the data here are others (--data-root)"
    return ""


def _data(row: Row) -> tuple[str | None, str | None]:
    return row.data_sha256, row.data_test_sha256


def _why(before: Row, after: Row) -> str:
    """What was not the same, of what may decide a figure."""
    names = ("cpu", "threads", "torch", "framework_version", "revision", "code", "python")
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in names)
    differing = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    return "; ".join(differing) or "nothing that is recorded explains it"


def _lines(records: Iterable[Row]) -> dict[str, Line]:
    return {
        line.name: line
        for line in each_of(timings.lines(frames(records)))
        if line.framework != FLOOR and line.rounds
    }


def _ratio(line: Line) -> str:
    return f"{line.ratio_to_floor:.2f} [{line.ratio_low:.2f}, {line.ratio_high:.2f}]"
