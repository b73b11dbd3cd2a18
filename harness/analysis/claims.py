"""The paper's nine claims and one of ours as data, each with the test that decides it.

The tests were fixed before the runs. What was run at a reduced scale can at most reproduce or
contradict a trend "at reduced scale"; it says nothing of an accuracy that the paper states for the
full size.

A verdict follows from effects over seeds. Of each effect two bounds are fixed before any run. The
claim holds where the 95 % interval over seeds lies above the one; it is contradicted only where the
interval lies below the other, so that what would matter is excluded. Data too few, too noisy, or of
networks that had not converged can do neither: they are inconclusive, and no noise makes a verdict
surer.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import exp, log1p
from statistics import geometric_mean
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import timings, trainings
from harness.analysis.frame import Frame, Frames, Line, each_of, frames, grouped
from harness.analysis.tables import PUBLISHED, measures, published
from harness.analysis.trainings import SAME, Mean, mean, share
from harness.analysis.words import FLAGS, counted, data_source
from harness.records import Row
from harness.spec import ANN, contender, paper, schedule

Status = Literal["reproduced", "contradicted", "inconclusive", "not tested"]
Call = Literal["holds", "fails", "too small", "cannot tell"]
Unit = Literal["points", "accuracy", "share", "votes"]

# The least that would matter of each effect, fixed before the runs; of a trend that is there the
# interval must lie above 0, of one that is not there below this.
STEP = 0.01  # Fig. 4: accuracy a step of scale; less is what another seed or library gives
FEWER = 0.1  # the same on N-MNIST: of the errors
RISE = 0.01  # Fig. 5: accuracy from T = 1 to T = 8; as above
CLEARER = 0.01  # Fig. 6: votes; a fiftieth of the figure's colours, which nobody would see
SOONER = 0.1  # of the epochs without NeuNorm; the paper's 103 of 157 are 0.34
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of what T = 8 is above chance
# A mean over seeds may stay so far below the published figure, or a spiking network below its ANN.
ACCURACY = 0.01
HALF = 0.5  # of what a table has NeuNorm gain: the least that would matter
EQUAL = 0.02  # accuracy: bf16 may differ by so much from float32, either way
LEVEL = 0.05  # of every trend test, one-sided
FEWEST_SEEDS = 3  # the same everywhere; fewer say nothing of a spread
PRECISION = "fp32"  # of the paper's trainings; mixed precision trains another network
BY_ERRORS = ("nmnist",)  # all is above 98 %: a gain is the share of the errors that it takes away
ROUNDING = 1e-12  # relative: differences so close are the same number
LONGER = "trainings on the schedule that was fixed (--long)"


class Untested(Exception):
    """The measurements that a claim needs are not there: which, and options of the command."""


class Doubt(NamedTuple):
    """Why trainings can tell nothing, and what would have them tell."""

    why: str
    needs: str


@dataclass(frozen=True)
class Effect:
    """A figure over seeds that decides a claim, and what was fixed of it beforehand."""

    name: str
    unit: Unit
    values: tuple[float, ...]  # one a seed; of a share that is saved log(before / after)
    above: float  # it holds where its interval lies above this
    matters: float  # it fails where its interval lies below this, the least that would matter
    p: float | None = None  # one-sided, where a trend is tested
    groups: tuple[Line, ...] = ()  # the trainings that show it
    doubt: Doubt | None = None  # whether they can tell nothing, whatever the interval

    @property
    def found(self) -> Mean:
        """The mean over the seeds, with its 95 % interval."""
        return (share if self.unit == "accuracy" else mean)(self.values)

    def call(self, parts: int) -> Call:
        """What it says of a claim that has so many parts.

        All parts must hold for a claim, one that fails is enough against it: so the interval that
        speaks against is wider, by Bonferroni, that no claim falls by the number of its parts.
        """
        if len(self.values) < FEWEST_SEEDS or self.doubt:
            return "cannot tell"
        high = mean(self.values, 1 - (1 - trainings.CONFIDENCE) / parts).high
        if high < self.matters:
            return "too small" if self._is_above else "fails"
        trend = self.p is None or self.p < LEVEL
        return "holds" if self._is_above and trend else "cannot tell"

    @property
    def _is_above(self) -> bool:
        low = self.found.low  # of a single bound it is enough to reach it
        return low >= self.above if self.above == self.matters else low > self.above

    @property
    def lacks(self) -> Doubt:
        """Why it cannot tell, where it cannot, and what would have it tell."""
        n, name = len(self.values), f"({self.name})"
        if self.doubt:
            return self.doubt
        if n < FEWEST_SEEDS:
            needs = f"at least {FEWEST_SEEDS} seeds of each training (`--seeds`)"
            return Doubt(f"{n} of at least {FEWEST_SEEDS} seeds", needs)
        if self._is_above:
            needs = f"more seeds, if the trend test came to tell {name}"
            return Doubt(f"the trend test's p is not below {LEVEL}", needs)
        room = max(self.found.value - self.above, self.matters - self.found.value)
        seeds = trainings.values_to_reach(self.values, room)
        count = "more seeds than are practical" if seeds is None else f"about {seeds} seeds"
        return Doubt("the data fit an effect and none", f"{count} of the same spread {name}")

    @property
    def text(self) -> str:
        """Its mean and interval: "CIFAR-10, a step of scale: +0.4 points [-1.2, +2.0]"."""
        value, low, high = map(self._said, self.found[:3])
        interval = f" [{low.split(' ')[0]}, {high.split(' ')[0]}]" * (len(self.values) > 1)
        return f"{self.name}: {value}{interval}"

    @property
    def decided_by(self) -> str:
        """What it was held against, for the reason of a verdict."""
        p = "" if self.p is None else "; p < 0.001" if self.p < 0.001 else f"; p = {self.p:.3f}"
        what = "allowed:" if self.above == self.matters else "the least that matters:"
        seeds = f"{counted(len(self.values), 'seed')}{self._without_lost}"
        seeds += ", stopped early" * (self.doubt is not None and self.doubt.needs == LONGER)
        return f"{self.text} ({seeds}; {what} {self._said(self.matters)}{p})"

    @property
    def _without_lost(self) -> str:
        """The mean without the seeds that learnt nothing, where others did: it decides nothing."""
        lost = {seed for each in self.groups for seed in each.lost}
        seeds = _seeds([each.accuracies for each in self.groups]) if lost else []
        if len(seeds) != len(self.values) or not 0 < len(lost.intersection(seeds)) < len(seeds):
            return ""
        learnt = [v for seed, v in zip(seeds, self.values, strict=True) if seed not in lost]
        names = ", ".join(map(str, sorted(lost.intersection(seeds))))
        return f", {self._said(mean(learnt).value)} without seed {names}, which learnt nothing"

    def shown(self, value: float) -> float:
        """A value as it is shown: a share and not its logarithm."""
        return 1 - exp(-value) if self.unit == "share" else value

    def _said(self, value: float) -> str:
        match self.unit:
            case "points":
                return f"{round(100 * value, 1) + 0.0:+.1f} points"  # no -0.0
            case "accuracy":
                return f"{100 * value:.1f} %"
            case "share":
                return f"{100 * self.shown(value):+.0f} %"
            case "votes":
                return f"{value:+.3f}"


class Range(NamedTuple):
    """A figure over cells that decides a claim: its geometric mean, the least and the largest."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    n: int  # cells

    @property
    def text(self) -> str:
        """In words."""
        low, high = (f"{n:.2g}" if n < 100 else f"{n:,.0f}" for n in (self.low, self.high))
        times = f"{low} times" if low == high else f"{low} to {high} times"
        return f"plain PyTorch is {times} as fast as {self.name}"


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim."""

    status: Status
    text: str  # the status, with what of the claim it is of, and where it holds
    figures: str  # what was measured, where that is no effect over seeds; "" where nothing was
    why: tuple[str, ...]  # it is this verdict
    would_change: str  # what would change it, in one sentence
    effects: tuple[Effect, ...] = ()
    ranges: tuple[Range, ...] = ()  # where no effects over seeds decide it

    @property
    def reason(self) -> str:
        """Why it is this verdict, in one sentence."""
        return "; ".join(self.why)

    @property
    def measured(self) -> str:
        """Its effects with their intervals, else what was measured, in a few words."""
        return "; ".join(each.text for each in self.effects) or self.figures

    @property
    def n(self) -> str:
        """How many seeds each effect has; once where all have as many."""
        return ", ".join(map(str, dict.fromkeys(len(each.values) for each in self.effects)))


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    claim: str  # in our words
    value: str  # as published
    suite: str  # whose rows answer it
    test: str  # what decides it, in words: the bounds above
    judge: Callable[[Frames], Verdict]  # raises Untested

    def verdict(self, frames: Frames) -> Verdict:
        """What the rows say of it."""
        try:
            return self.judge(frames)
        except Untested as error:
            what, *options = error.args
            command = f"`harness run --suite {' '.join((self.suite, *options))}`"
            why = (f"{what}: run {command}",)
            return Verdict("not tested", "not tested", "", why, f"rows of {command}")


def verdicts(rows: Frames | Iterable[Row]) -> list[tuple[Claim, Verdict]]:
    """Each claim with its verdict, in the paper's order."""
    return _verdicts(frames(rows))


@lru_cache(maxsize=1)  # the report and what is said of it ask for them
def _verdicts(found: Frames) -> list[tuple[Claim, Verdict]]:
    return [(claim, claim.verdict(found)) for claim in CLAIMS]


# Effects are in points and shares as fractions of 1, accuracies in [0, 1], votes as they are.
COLUMNS = (
    *("id", "claim", "published", "verdict", "effect", "unit", "value", "low", "high", "n"),
    *("reason", "would_change"),
)


def table(judged: Iterable[tuple[Claim, Verdict]]) -> Frame:
    """Each claim with each effect that decides it: one line an effect.

    `value` is the mean over `n` seeds, `low` and `high` its 95 % interval; of Fig. 3, in times, the
    geometric mean over `n` cells, the least and the most. `reason` says why the verdict is this
    one. A claim without such figures has one line, whose `effect` is what was measured, in words.
    """
    lines: list[tuple[object, ...]] = []
    for claim, verdict in judged:
        front = (claim.id, claim.claim, claim.value, verdict.text)
        figures: list[tuple[object, ...]] = [*verdict.ranges]
        for each in verdict.effects:
            *values, n = each.found
            figures.append((each.name, each.unit, *map(each.shown, values), n))
        for of in figures or [(verdict.figures, "", None, None, None, None)]:
            lines.append((*front, *of, verdict.reason, verdict.would_change))
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.astype({"value": float, "low": float, "high": float, "n": "Int64"})


# From trainings to effects.


def full_size(each: Line) -> bool:
    """Whether these trainings are the paper's: all data, width, epochs, dropout and precision."""
    case, settings = each.case, paper.settings(each.dataset)
    return (
        not any(getattr(each, name) for name in FLAGS)
        and case.width == 1
        and min(each.trained_epochs) >= settings.epochs
        and case.network.dropout == settings.dropout
        and case.precision == PRECISION
    )


def _of(frames: Frames, suite: str, dataset: str | None = None) -> list[Line]:
    """Trainings under whatever suite, first those of the claim's own."""
    found = trainings.trainings(frames, suite, *trainings.ALIKE)
    found = found if dataset is None else found[found["dataset"] == dataset]
    return sorted(each_of(found), key=lambda each: not each.own)


def _alike(found: Sequence[Line], wanted: set[Any], by: str, *apart: str) -> dict[Any, Line]:
    """Trainings by a column that has all values wanted, with a common seed, and that differ in it
    and the columns `apart` alone: only these compare. Of several such sets one that can tell, with
    seeds enough and converged, of the paper's size, that learnt from most, the claim's own
    suite's; else empty.
    """
    columns = [name for name in SAME if name not in (by, *apart)]
    sets = grouped(found, lambda each: tuple(str(getattr(each, name)) for name in columns))
    by_value = ({getattr(each, by): each for each in of} for of in sets.values())
    whole = [
        of
        for of in by_value
        if wanted <= of.keys() and _seeds(of[each].accuracies for each in wanted)
    ]
    return min(whole, key=lambda of: _largest_first(of.values()), default={})


def _of_neunorm(frames: Frames, suite: str, dataset: str) -> tuple[Line, Line]:
    """Trainings without NeuNorm and with its default reading."""
    of = _alike(_of(frames, suite, dataset), {"off", "mean"}, "neunorm")
    if not of:
        title = paper.settings(dataset).title
        raise Untested(f"{title} was not run without and with NeuNorm with a common seed")
    return of["off"], of["mean"]


def _largest_first(groups: Collection[Line]) -> tuple[bool, bool, float]:
    few = min(len(each.accuracies) for each in groups) < FEWEST_SEEDS
    seen = sum(each.case.width * each.train_samples * each.epochs for each in groups)
    tells = not few and _unconverged(groups) is None
    return not tells, not all(map(full_size, groups)), -float(seen)


def _seeds(groups: Iterable[Mapping[int, float]]) -> list[int]:
    """Those that all groups have, at least one group."""
    return sorted(set.intersection(*map(set, groups)))


def _paired(groups: Iterable[Mapping[int, float]]) -> np.ndarray:
    """Values by group (rows) and seed (columns), of the seeds that all groups have."""
    groups = [*groups]
    return np.array([[group[seed] for seed in _seeds(groups)] for group in groups])


def _unconverged(groups: Iterable[Line]) -> Doubt | None:
    """Why trainings cannot be told by where they ended; None where all of them had converged."""
    for each in groups:
        title = paper.settings(each.dataset).title
        name = f"{title} {each.scale}, NeuNorm {each.neunorm}, T = {each.T}"
        if each.lost:
            seeds = ", ".join(map(str, each.lost))
            near = f"training accuracy ended near chance with seed {seeds} ({name})"
            return Doubt(near, f"a network that learns with every seed ({name})")
        if not schedule.decides(each.case):
            return Doubt(f"another schedule than the one fixed beforehand ({name})", LONGER)
    return None


def _effect(
    name: str,
    values: np.ndarray,
    groups: Sequence[Line],
    bounds: tuple[float, float],
    unit: Unit = "points",
    p: float | None = None,
) -> Effect:
    """What these trainings show, a value a seed; bounds as of `Effect`, above and matters."""
    given = tuple(values.tolist()), *bounds, p, tuple(groups)
    return Effect(name, unit, *given, _unconverged(groups))


def _rises(table: np.ndarray) -> float | None:
    """The p-value of Page's trend test: rows rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table.T).pvalue) if table.shape[1] >= FEWEST_SEEDS else None


def _is_positive(gains: np.ndarray) -> float | None:
    """The one-sided p-value of Student's paired test, of its differences; None of too few."""
    if len(gains) < FEWEST_SEEDS:
        return None
    if np.ptp(gains) <= ROUNDING * np.abs(gains).max():  # no spread: SciPy would warn
        return 0.0 if gains[0] > 0 else 1.0
    return float(stats.ttest_rel(gains, np.zeros(len(gains)), alternative="greater").pvalue)


def _gain(
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    groups: Sequence[Line],
    matters: float,
    p: float | None = None,
    steps: int = 1,
) -> Effect:
    """What accuracies gain a step, by seed: in points, or BY_ERRORS as a share of the errors."""
    gains, bound, unit = (after - before) / steps, matters, "points"
    if groups[0].dataset in BY_ERRORS:
        half = 0.5 / groups[0].test_samples  # of an image: there is a logarithm of no errors too
        gains = np.log((1 - before + half) / (1 - after + half)) / steps
        bound, unit = -log1p(-matters), "share"
    p = _is_positive(gains) if p is None else p
    return _effect(name, gains, groups, (0.0, bound), unit, p)


# From effects to a verdict.


def decided(
    effects: Sequence[Effect], scope: str = "", sized: Iterable[Line] | None = None
) -> Verdict:
    """The verdict of a claim all of whose effects must hold. `sized`: the trainings that say at
    which size it was tried, where not all do.
    """
    called: list[tuple[Effect, Call]] = [(each, each.call(len(effects))) for each in effects]
    unsure = [(effect, call) for effect, call in called if call != "holds"]
    groups = [each for effect in effects for each in effect.groups] if sized is None else sized
    reduced = [each for each in groups if not full_size(each)]
    command = f"harness run --suite {effects[0].groups[0].suite} --paper --precision fp32"
    whole = f"the paper's size: `{command}`"
    status: Status = "inconclusive"
    if any(call == "fails" for _, call in unsure):
        status = "contradicted"
        change = "more seeds, if every interval came to reach what matters; else a wider network"
        change += f"; or {whole}" if reduced else ""
    elif unsure:
        unstated = "a size that the paper states: it states none"
        needs = (unstated if call == "too small" else of.lacks.needs for of, call in unsure)
        change = "; ".join(dict.fromkeys(needs))
    else:
        status = "reproduced"
        change = whole if reduced else "more seeds, if an interval came to reach below its bound"
    said = {"holds": "yes", "fails": "no", "too small": "it is there, but less than would matter"}
    why = [f"{said.get(call, call)}: {effect.decided_by}" for effect, call in called]
    why += dict.fromkeys(effect.lacks.why for effect, call in unsure if call == "cannot tell")
    why += [f"at reduced scale: {_scale_of(reduced)}"] if reduced else []
    text = f"{scope} {status}{' at reduced scale' if reduced else ''}".strip()
    return Verdict(status, text, "", tuple(why), change, tuple(effects))


def _scale_of(groups: Iterable[Line]) -> str:
    """The scale that trainings were run at, in words."""

    def size(each: Line) -> str:
        samples = (
            f"{counted(each.train_samples, 'training sample')} of {data_source(each._asdict())}"
        )
        mixed = f", {each.precision} (the paper's is float32)" * (each.precision != PRECISION)
        return f"width {each.width}, {samples}, dropout {each.dropout:g}{mixed}"

    said = []
    for name, of in grouped(groups, size).items():
        epochs = {n for each in of for n in each.trained_epochs}
        ends = " to ".join(map(str, sorted({min(epochs), max(epochs)})))
        said.append(f"{name}, {ends} epochs, T = {', '.join(map(str, sorted({e.T for e in of})))}")
    return "; ".join(said)


# The claims' own tests.


def fig4(frames: Frames) -> Verdict:
    """Whether accuracy rises with the scale, on each data set: its slope, and Page's trend test."""
    effects, steps = [], len(paper.SCALES) - 1
    for dataset, found in grouped(_of(frames, "scale"), lambda each: each.dataset).items():
        if by_scale := _alike(found, {*paper.SCALES}, "scale", "network"):
            scales = [by_scale[name] for name in paper.SCALES]
            table, by_errors = _paired(each.accuracies for each in scales), dataset in BY_ERRORS
            name = f"{paper.settings(dataset).title}, a step of scale"
            name += " takes errors away" * by_errors
            # between the ends: so it is by least squares of three
            ends, matters = (table[0], table[-1]), FEWER if by_errors else STEP
            effects.append(_gain(name, *ends, scales, matters, _rises(table), steps))
    if not effects:
        raise Untested("no data set has all three scales with a common seed")
    return decided(effects)


def fig5(frames: Frames) -> Verdict:
    """Of CIFAR-10: whether accuracy rises with T, and what T = 4 and T = 1 lose to T = 8."""
    by_steps = _alike(_of(frames, "timesteps", "cifar10"), {1, 4, 8}, "T")
    if not by_steps:
        raise Untested("T = 1, 4 and 8 were not all run on CIFAR-10 with a common seed")
    seeds = set(_seeds(by_steps[T].accuracies for T in (1, 4, 8)))  # no other T takes one away
    by_steps = {T: by_steps[T] for T in sorted(by_steps) if seeds <= by_steps[T].accuracies.keys()}
    groups = [*by_steps.values()]
    table = _paired(each.accuracies for each in groups)
    of, chance = dict(zip(by_steps, table, strict=True)), 1 / groups[0].case.network.classes
    kept = (of[1] - chance) - NOT_BAD * (of[8] - chance)
    one = f"T = 1 minus {100 * NOT_BAD:.0f} % of T = 8, above chance"
    bounds = (-SUFFICES, -SUFFICES)
    effects = [
        _effect("T = 8 minus T = 1", of[8] - of[1], groups, (0.0, RISE), p=_rises(table)),
        _effect("T = 4 minus T = 8", of[4] - of[8], groups, bounds),
        _effect(one, kept, groups, (0.0, 0.0)),
    ]
    return decided(effects)


def fig6(frames: Frames) -> Verdict:
    """Whether the votes on CIFAR-10 are clearer with NeuNorm: a paired t test over seeds."""
    pair = _of_neunorm(frames, "neunorm", "cifar10")
    off, on = _paired(trainings.contrasts(frames, each) for each in pair)
    if not len(off):
        raise Untested("no seed was run both without and with NeuNorm")
    name, bounds, p = "NeuNorm adds to the votes' contrast", (0.0, CLEARER), _is_positive(on - off)
    return decided([_effect(name, on - off, pair, bounds, "votes", p)])


def conv(frames: Frames) -> Verdict:
    """Whether DVS-CIFAR10 is learnt in fewer epochs with NeuNorm: a paired t test over seeds of the
    log ratio of the epochs to one accuracy, the same for all (`trainings.goal`).
    """
    pair = _of_neunorm(frames, "accuracy", "dvs-cifar10")
    goal = trainings.goal(pair)
    reached = [trainings.epochs_to(goal, each) for each in pair]
    off, on = _paired(reached)
    if not len(off):
        raise Untested("no seed both without and with NeuNorm has learnt enough")
    gains, at = np.log(off / on), f"{100 * goal:.1f} % of held-out samples"
    bounds, p = (0.0, -log1p(-SOONER)), _is_positive(gains)
    effect = _effect(f"epochs that NeuNorm saves until {at}", gains, pair, bounds, "share", p)
    learnt, both = (set.intersection(*map(set, of)) for of in (reached, [e.at_first for e in pair]))
    if both > learnt and not effect.doubt:
        why = f"with seed {', '.join(map(str, sorted(both - learnt)))} it never came to {at}"
        effect = replace(effect, doubt=Doubt(why, "more epochs at the first learning rate"))
    return decided([effect])


def of_table(number: int, frames: Frames) -> Verdict:
    """Our rows of Table 3 to 6: at the paper's size each within ACCURACY of what is published.

    A reduced run says nothing of that, so there the order alone is judged that a table shows: that
    NeuNorm gains, that a spiking network does not fall behind the same structure without spikes.
    """
    found, rows = _of(frames, "accuracy"), published()
    ours = [*each_of(rows[(rows["table"] == number) & (rows["network"] != "")])]
    measured = [(row, each) for row in ours for each in found if measures(row, each)]
    if not measured:
        raise Untested("its rows were not run")
    full = [(row, each) for row, each in measured if full_size(each) and each.own]
    if {row.Index for row, _ in full} == {row.Index for row in ours}:
        return decided([_against(*of) for of in full])
    networks = {(row.dataset, row.network) for row in ours}
    found = [each for each in found if (each.dataset, each.scale) in networks]
    effects = [*_neunorm_gains(ours, found)] if number != 6 else []  # it does not say of NeuNorm
    effects += _behind_ann(found, "off" if number == 6 else "mean")
    if not effects:
        raise Untested("no two of its rows were run on the same data with a common seed")
    return decided(effects, "order")


def _against(row: Line, each: Line) -> Effect:
    """The accuracy of trainings against a published one."""
    name = "ANN" if each.framework == ANN else f"NeuNorm {each.neunorm}"
    name += f", published {100 * row.accuracy:.2f} %"
    target, values = row.accuracy - ACCURACY, np.array([*each.accuracies.values()])
    effect = _effect(name, values, [each], (target, target), "accuracy")
    # what is reached is reached, converged or not; what is not might have been, with more epochs
    return replace(effect, doubt=None) if effect.found.low >= target else effect


def _neunorm_gains(ours: Sequence[Line], found: Sequence[Line]) -> Iterator[Effect]:
    """What NeuNorm gains of reduced trainings, against half of what the table states."""
    if pair := _alike(found, {"off", "mean"}, "neunorm"):
        groups, stated = (pair["off"], pair["mean"]), [r for r in ours if r.framework != ANN]
        of = {bool(row.neunorm): row.accuracy for row in reversed(stated)}
        gain, name = of[True] - of[False], "NeuNorm gains (published {:+.2f})"
        if groups[0].dataset in BY_ERRORS:
            gain, name = gain / (1 - of[False]), "NeuNorm takes errors away (published {:.0f} %)"
        off, on = _paired(each.accuracies for each in groups)
        yield _gain(name.format(100 * gain), off, on, groups, HALF * gain)


def _behind_ann(found: Sequence[Line], reading: str) -> Iterator[Effect]:
    """A spiking network with that reading minus the same structure without spikes: the largest."""

    def structure(each: Line) -> tuple[object, ...]:  # an ANN has no steps
        samples = each.train_samples, each.data_source
        return each.dataset, each.network, each.width, each.epochs, *samples

    anns = {structure(each): each for each in found if each.framework == ANN}
    spiking = (each for each in found if each.framework != ANN and each.neunorm == reading)
    pairs = [(each, anns[structure(each)]) for each in spiking if structure(each) in anns]
    pairs = [pair for pair in pairs if _seeds(each.accuracies for each in pair)]
    if pairs:
        pair, bounds = min(pairs, key=_largest_first), (-ACCURACY, -ACCURACY)
        ours, ann = _paired(each.accuracies for each in pair)
        yield _effect(f"{pair[0].scale} minus its ANN", ours - ann, pair, bounds)


def bf16(frames: Frames) -> Verdict:
    """Whether training in bf16 ends as in float32: within EQUAL either way, over seeds."""
    both = _alike(_of(frames, "ablations"), {"fp32", "bf16"}, "precision")
    if not both:
        raise Untested("no training was run in float32 and in bf16 with a common seed")
    groups, bounds = [both["fp32"], both["bf16"]], (-EQUAL, -EQUAL)
    of_fp32, of_bf16 = _paired(each.accuracies for each in groups)
    less = of_bf16 - of_fp32
    effects = [
        _effect("accuracy in bf16 minus in float32", less, groups, bounds),
        _effect("accuracy in float32 minus in bf16", -less, groups, bounds),
    ]
    return decided(effects, sized=(both["fp32"],))  # bf16 is never the paper's size


OCTAVE = "octave"
# What each form does for a layer of convolutions. The paper's appendix C: "all convolution
# operations we adopted are based on the officially provided operations (i.e. conv function)". So
# those that call one decide, and im2col, which is quicker and not its code, stands beside them.
FORMS = {
    "convn": "a convn for each map",
    "conv2": "a conv2 for each pair",
    "": "im2col, not the paper's",
}
COMMAND = "--frameworks reference,octave,octave:convn,octave:conv2"
TENS = 10.0  # "tens of times" begins here
CALLED = {
    True: "tens of times or more",
    False: "not tens of times",
    None: "not the same in all cells, or too noisy to tell,",
}


def fig3(frames: Frames) -> Verdict:
    """Whether plain PyTorch is tens of times faster than Matlab code by its conv functions."""
    timed = against(timings.lines(frames))
    if timed.empty:
        what = "the paper's Matlab code is not public, and no other was timed beside plain PyTorch"
        raise Untested(what, COMMAND)
    ranges, said, calls = [], [], set[bool | None]()
    for form in FORMS:
        if len(of := timed[timed["variant"] == form]):
            name, times = _name(form, of), sorted(1 / of["speedup_vs_reference"])
            ranges.append(
                Range(name, "times", geometric_mean(times), times[0], times[-1], len(times))
            )
            # by the intervals of the form's speed-up, which is below 1 where the reference's is not
            is_tens, is_not = 1 / of["speedup_high"] >= TENS, 1 / of["speedup_low"] < TENS
            call = True if is_tens.all() else False if is_not.all() else None
            said.append(f"{CALLED[call]} for {name}")
            calls |= {call} if form else set()
    status: Status = "inconclusive"
    if calls in ({True}, {False}):
        status = "reproduced" if True in calls else "contradicted"
    programs = {each.partition(",")[0] or OCTAVE for each in timed["framework_version"]}
    missing = "a GPU on both sides"
    missing += ", MATLAB itself with its JIT" * all("octave" in each.lower() for each in programs)
    missing += ", whole iterations" * bool(timed["part"].notna().any())
    where = (
        f"on {', '.join(sorted(set(timed['device']))).upper()}, in {', '.join(sorted(programs))}"
    )
    return Verdict(
        status,
        f"{status} {where}",
        f"{'; '.join(each.text for each in ranges)}; not measured: {missing}",
        (*said, "judged by Matlab's conv functions, which the paper used"),
        missing if calls else f"Matlab's conv functions (`{COMMAND}`)",
        ranges=tuple(ranges),
    )


def against(lines: Frame) -> Frame:
    """The lines of Matlab code that was timed beside plain PyTorch, proved to be its function."""
    return lines[
        (lines["framework"] == OCTAVE)
        & lines["variant"].isin(FORMS)
        & lines["in_figure_3"]
        & (lines["precision"] == "fp32")
        & (lines["standing"] != "none")
        & lines["speedup_vs_reference"].notna()
    ]


def _name(form: str, of: Frame) -> str:
    scaled = of["part"].notna().sum()
    part = f", scaled from a part on {scaled} of {counted(len(of), 'network')}" if scaled else ""
    return f"{contender(OCTAVE, form)} ({FORMS[form]}{part})"


_JUDGES: dict[str, Callable[[Frames], Verdict]] = {
    **{"fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "conv": conv, "bf16": bf16},
    **{f"tab{number}": partial(of_table, number) for number in (3, 4, 5, 6)},
}
_WORDS = csv.DictReader((PUBLISHED / "claims.csv").read_text("utf-8").splitlines())
CLAIMS = tuple(Claim(**each, judge=_JUDGES[each["id"]]) for each in _WORDS)
