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

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from math import exp, log1p
from statistics import geometric_mean
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import timings, trainings
from harness.analysis.frame import Frame, Frames, Line, each_of, frames
from harness.analysis.tables import measures, published
from harness.analysis.trainings import FLAGS, Mean, mean, share
from harness.analysis.words import counted
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


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    claim: str  # in our words
    value: str  # as published
    test: str  # what decides it, in words
    suite: str  # whose rows answer it
    judge: Callable[[Frames], Verdict]


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
    doubt: Doubt | None = None  # whether its trainings can tell nothing, whatever the interval

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
    def _is_bound(self) -> bool:
        """Whether it is judged by one figure that it reaches or does not."""
        return self.above == self.matters

    @property
    def _is_above(self) -> bool:
        low = self.found.low
        return low >= self.above if self._is_bound else low > self.above

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
        found = self.found
        value, *ends = map(self._said, (found.value, found.low, found.high))
        interval = f" [{', '.join(end.split(' ')[0] for end in ends)}]" if found.n > 1 else ""
        return f"{self.name}: {value}{interval}"

    @property
    def decided_by(self) -> str:
        """What it was held against, for the reason of a verdict."""
        p = "" if self.p is None else "; p < 0.001" if self.p < 0.001 else f"; p = {self.p:.3f}"
        what = "allowed:" if self._is_bound else "the least that matters:"
        seeds = counted(len(self.values), "seed")
        return f"{self.text} ({seeds}; {what} {self._said(self.matters)}{p})"

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


@dataclass(frozen=True)
class Range:
    """A figure over cells that decides a claim: its geometric mean, the least and the largest."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    n: int  # cells


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim."""

    status: Status
    figures: str  # what was measured, where that is no effect over seeds; "" where nothing was
    why: tuple[str, ...]  # it is this verdict
    would_change: str  # what would change it, in one sentence
    where: str = ""  # it holds, where that is not all that the claim speaks of
    effects: tuple[Effect, ...] = ()
    scope: str = ""  # what of the claim was judged, where that is not all of it
    ranges: tuple[Range, ...] = ()  # where no effects over seeds decide it

    @property
    def text(self) -> str:
        """The verdict as it is shown."""
        return f"{self.scope} {self.status} {self.where}".strip()

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


def verdicts(rows: Frames | Iterable[Row]) -> list[tuple[Claim, Verdict]]:
    """Each claim with its verdict, in the paper's order."""
    found = frames(rows)
    return [(claim, claim.judge(found)) for claim in CLAIMS]


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
        figures = [
            (each.name, each.unit, *map(each.shown, (of.value, of.low, of.high)), of.n)
            for each in verdict.effects
            for of in [each.found]
        ]
        figures += [astuple(each) for each in verdict.ranges]
        for each in figures or [(verdict.figures, "", None, None, None, None)]:
            lines.append((*front, *each, verdict.reason, verdict.would_change))
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.astype({"value": float, "low": float, "high": float, "n": "Int64"})


# From trainings to effects.


def full_size(each: Line) -> bool:
    """Whether these trainings are the paper's: all data, width, epochs, dropout and precision."""
    case, settings = each.case, paper.settings(each.case.dataset)
    return (
        not any(getattr(each, name) for name in FLAGS)
        and case.width == 1
        and case.training.epochs >= settings.epochs
        and case.network.dropout == settings.dropout
        and case.precision == PRECISION
    )


def _of(frames: Frames, suite: str, dataset: str | None = None) -> list[Line]:
    """Trainings under whatever suite, first those of the claim's own."""
    found = trainings.trainings(frames, suite, *trainings.ALIKE)
    found = found if dataset is None else found[found["dataset"] == dataset]
    return sorted(each_of(found), key=lambda each: not each.own)


def _alike(found: Sequence[Line], wanted: set[Any], by: str, *apart: str) -> dict[Any, Line] | None:
    """Trainings by a column that has all values wanted, and that differ in it and the columns
    `apart` alone: only these compare. Of several such sets that with seeds enough, of the paper's
    size, the one that learnt most, and the claim's own suite's; None where there is none.
    """
    columns = [n for n in (*trainings.FRONT, *trainings.CONDITION) if n not in (by, *apart)]
    sets: dict[tuple[object, ...], dict[Any, Line]] = {}
    for each in found:
        same = tuple(str(getattr(each, name)) for name in columns)
        sets.setdefault(same, {})[getattr(each, by)] = each
    whole = [each for each in sets.values() if wanted <= set(each)]
    return min(whole, key=lambda same: _largest_first(same.values()), default=None)


def _largest_first(groups: Collection[Line]) -> tuple[bool, bool, float]:
    few = min(len(each.accuracies) for each in groups) < FEWEST_SEEDS
    seen = sum(each.case.width * each.train_samples * each.epochs for each in groups)
    return few, not all(map(full_size, groups)), -float(seen)


def _paired(groups: Iterable[Mapping[int, float]]) -> np.ndarray:
    """Values by seed (rows) and group (columns), of the seeds that all groups have."""
    groups = [*groups]
    seeds = sorted(set.intersection(*map(set, groups)))
    values = [[group[seed] for group in groups] for seed in seeds]
    return np.array(values).reshape(len(seeds), len(groups))


def _unconverged(groups: Iterable[Line]) -> Doubt | None:
    """Why trainings cannot be told by where they ended; None where all of them had converged."""
    longer = "networks that were not stopped early (--long)"
    for each in groups:
        title = paper.settings(each.dataset).title
        name = f"{title} {each.scale}, NeuNorm {each.neunorm}, T = {each.T}"
        if each.lost:
            seeds = ", ".join(map(str, each.lost))
            near = f"training accuracy ended near chance with seed {seeds} ({name})"
            return Doubt(near, f"a network that learns with every seed ({name})")
        early = [curve for curve in each.at_first.values() if not schedule.converged(curve)]
        if early:
            least = min(early, key=len)
            why = f"{counted(len(least), 'epoch')} at the first learning rate"
            if len(least) >= schedule.FEWEST_EPOCHS:
                gained = 100 * max(map(schedule.gain, early))
                why += f", in whose last quarter held-out accuracy still rose {gained:.1f} points"
            return Doubt(f"the networks were stopped early: {why} ({name})", longer)
    return None


def _effect(
    name: str,
    values: np.ndarray,
    groups: Iterable[Line],
    bounds: tuple[float, float],
    unit: Unit = "points",
    p: float | None = None,
) -> Effect:
    """What these trainings show, a value a seed; bounds as of `Effect`, above and matters."""
    return Effect(name, unit, tuple(values.tolist()), *bounds, p, _unconverged(groups))


def _rises(table: np.ndarray) -> float | None:
    """The p-value of Page's trend test: columns rise from first to last, seeds are the blocks."""
    return float(stats.page_trend_test(table).pvalue) if len(table) >= FEWEST_SEEDS else None


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


def untested(what: str, suite: str) -> Verdict:
    """The verdict where the rows that a claim needs are not there."""
    command = f"`harness run --suite {suite}`"
    return Verdict("not tested", "", (f"{what}: run {command}",), f"rows of {command}")


_SAID: dict[Call, str] = {
    "holds": "yes",
    "fails": "no",
    "too small": "it is there, but less than would matter",
    "cannot tell": "cannot tell",
}


def decided(effects: Sequence[Effect], groups: Sequence[Line], suite: str) -> Verdict:
    """The verdict of a claim all of whose effects must hold, on these trainings."""
    called: list[tuple[Effect, Call]] = [(each, each.call(len(effects))) for each in effects]
    calls = {call for _, call in called}
    status: Status = "inconclusive"
    if "fails" in calls:
        status = "contradicted"
    elif calls == {"holds"}:
        status = "reproduced"
    reduced = [each for each in groups if not full_size(each)]
    why = [f"{_SAID[call]}: {effect.decided_by}" for effect, call in called]
    why += dict.fromkeys(effect.lacks.why for effect, call in called if call == "cannot tell")
    why += [f"at reduced scale: {_scale_of(reduced)}"] if reduced else []
    change = _would_change(status, called, suite, reduced=bool(reduced))
    where = "at reduced scale" if reduced else ""
    return Verdict(status, "", tuple(why), change, where, tuple(effects))


def _scale_of(groups: Sequence[Line]) -> str:
    """The scale that trainings were run at, in words."""
    sizes: dict[str, tuple[set[int], set[int]]] = {}
    for each in groups:
        flags = [name for name in FLAGS if getattr(each, name) and name not in each.data_source]
        data = f"{each.data_source} ({', '.join(flags)})" if flags else each.data_source
        mixed = f", {each.precision} (the paper's is float32)" * (each.precision != PRECISION)
        size = (
            f"width {each.width}, {counted(each.train_samples, 'training sample')} of {data}, "
            f"dropout {each.dropout:g}{mixed}"
        )
        epochs, steps = sizes.setdefault(size, (set(), set()))
        epochs.update(each.trained_epochs)
        steps.add(each.T)
    said = []
    for size, (epochs, steps) in sizes.items():
        ends = " to ".join(map(str, sorted({min(epochs), max(epochs)})))
        said.append(f"{size}, {ends} epochs, T = {', '.join(map(str, sorted(steps)))}")
    return "; ".join(said)


def _would_change(
    status: Status, called: Sequence[tuple[Effect, Call]], suite: str, *, reduced: bool
) -> str:
    whole = f"the paper's size: `harness run --suite {suite} --paper --precision fp32`"
    match status:
        case "inconclusive":
            unstated = "a size that the paper states: it states none"
            unsure = [(e, call) for e, call in called if call != "holds"]
            needs = (unstated if call == "too small" else e.lacks.needs for e, call in unsure)
            return "; ".join(dict.fromkeys(needs))
        case "reproduced":
            return whole if reduced else "more seeds, if an interval came to reach below its bound"
        case _:
            high = "more seeds, if every interval came to reach what matters; else a wider network"
            return f"{high}; or {whole}" if reduced else high


# The claims' own tests.


def fig4(frames: Frames) -> Verdict:
    """Whether accuracy rises with the scale, on each data set: its slope, and Page's trend test."""
    every = _of(frames, "scale")
    effects, used = [], []
    for dataset in dict.fromkeys(each.dataset for each in every):
        own = [each for each in every if each.dataset == dataset]
        by_scale = _alike(own, set(paper.SCALES), "scale", "network")
        if by_scale is None:
            continue
        scales = [by_scale[name] for name in paper.SCALES]
        table, by_errors = _paired(each.accuracies for each in scales), dataset in BY_ERRORS
        name = f"{paper.settings(dataset).title}, a step of scale{' takes errors away' * by_errors}"
        matters, steps = FEWER if by_errors else STEP, len(paper.SCALES) - 1
        # between the ends: so it is by least squares of three
        ends = table[:, 0], table[:, -1]
        effects.append(_gain(name, *ends, scales, matters, _rises(table), steps))
        used += scales
    if not effects:
        return untested("no data set has all three scales", "scale")
    return decided(effects, used, "scale")


def fig5(frames: Frames) -> Verdict:
    """Of CIFAR-10: whether accuracy rises with T, and what T = 4 and T = 1 lose to T = 8."""
    by_steps = _alike(_of(frames, "timesteps", "cifar10"), {1, 4, 8}, "T")
    if by_steps is None:
        return untested("T = 1, 4 and 8 were not all run on CIFAR-10", "timesteps")
    steps = sorted(by_steps)
    groups = [by_steps[T] for T in steps]
    table = _paired(each.accuracies for each in groups)
    column = {T: table[:, n] for n, T in enumerate(steps)}
    chance = 1 / by_steps[8].case.network.classes
    rise, p = column[8] - column[1], _rises(table)
    kept = (column[1] - chance) - NOT_BAD * (column[8] - chance)
    one = f"T = 1 minus {100 * NOT_BAD:.0f} % of T = 8, above chance"
    effects = [
        _effect("T = 8 minus T = 1", rise, groups, (0.0, RISE), p=p),
        _effect("T = 4 minus T = 8", column[4] - column[8], groups, (-SUFFICES, -SUFFICES)),
        _effect(one, kept, groups, (0.0, 0.0)),
    ]
    return decided(effects, groups, "timesteps")


def _with_and_without(found: Sequence[Line]) -> tuple[Line, Line] | None:
    """Trainings without NeuNorm and with its default reading."""
    of = _alike(found, {"off", "mean"}, "neunorm")
    return (of["off"], of["mean"]) if of else None


def fig6(frames: Frames) -> Verdict:
    """Whether the votes on CIFAR-10 are clearer with NeuNorm: a paired t test over seeds."""
    pair = _with_and_without(_of(frames, "neunorm", "cifar10"))
    if pair is None:
        return untested("CIFAR-10 was not run without and with NeuNorm", "neunorm")
    table = _paired(trainings.contrasts(frames, each) for each in pair)
    if not len(table):
        return untested("no seed was run both without and with NeuNorm", "neunorm")
    gains, bounds = table[:, 1] - table[:, 0], (0.0, CLEARER)
    name, p = "NeuNorm adds to the votes' contrast", _is_positive(gains)
    return decided([_effect(name, gains, pair, bounds, "votes", p)], pair, "neunorm")


def conv(frames: Frames) -> Verdict:
    """Whether DVS-CIFAR10 is learnt in fewer epochs with NeuNorm: a paired t test over seeds of the
    log ratio of the epochs to one accuracy, the same for all (`trainings.goal`).
    """
    pair = _with_and_without(_of(frames, "accuracy", "dvs-cifar10"))
    if pair is None:
        return untested("DVS-CIFAR10 was not run without and with NeuNorm", "accuracy")
    goal = trainings.goal(pair)
    reached = [trainings.epochs_to(goal, each) for each in pair]
    table = _paired(reached)
    if not len(table):
        return untested("no seed both without and with NeuNorm has learnt enough", "accuracy")
    gains, at = np.log(table[:, 0] / table[:, 1]), f"{100 * goal:.1f} % of held-out samples"
    bounds, p = (0.0, -log1p(-SOONER)), _is_positive(gains)
    effect = _effect(f"epochs that NeuNorm saves until {at}", gains, pair, bounds, "share", p)
    both = set.intersection(*(set(each.at_first) for each in pair))
    never = sorted(both - set.intersection(*map(set, reached)))
    if never and not effect.doubt:
        why = f"with seed {', '.join(map(str, never))} it never came to {at}"
        effect = replace(effect, doubt=Doubt(why, "more epochs at the first learning rate"))
    return decided([effect], pair, "accuracy")


def of_table(number: int, frames: Frames) -> Verdict:
    """Our rows of Table 3 to 6: at the paper's size each within ACCURACY of what is published.

    A reduced run says nothing of that, so there the order alone is judged that a table shows: that
    NeuNorm gains, that a spiking network does not fall behind the same structure without spikes.
    """
    found, rows = _of(frames, "accuracy"), published()
    ours = [*each_of(rows[(rows["table"] == number) & (rows["network"] != "")])]
    measured = [(row, each) for row in ours for each in found if measures(row, each)]
    if not measured:
        return untested("its rows were not run", "accuracy")
    full = [(row, each) for row, each in measured if full_size(each) and each.own]
    if {row.Index for row, _ in full} == {row.Index for row in ours}:
        return decided([_against(*of) for of in full], [each for _, each in full], "accuracy")
    networks = {(row.dataset, row.network) for row in ours}
    return _order(number, ours, [each for each in found if (each.dataset, each.scale) in networks])


def _against(row: Line, each: Line) -> Effect:
    """The accuracy of trainings against a published one."""
    name = "ANN" if each.framework == ANN else f"NeuNorm {each.neunorm}"
    name += f", published {100 * row.accuracy:.2f} %"
    target, values = row.accuracy - ACCURACY, np.array([*each.accuracies.values()])
    effect = _effect(name, values, [each], (target, target), "accuracy")
    # what is reached is reached, converged or not; what is not might have been, with more epochs
    return replace(effect, doubt=None) if effect.found.low >= target else effect


def _order(number: int, ours: Sequence[Line], found: Sequence[Line]) -> Verdict:
    """Whether reduced trainings stand in the order of the table."""
    effects, used = [], list[Line]()
    pair = _with_and_without(found)
    if pair is not None and number != 6:  # which does not say whether NeuNorm was on
        with_, without = (
            next(row.accuracy for row in ours if bool(row.neunorm) == on and row.framework != ANN)
            for on in (True, False)
        )
        table = _paired(each.accuracies for each in pair)
        stated, name = with_ - without, "NeuNorm gains (published {:+.2f})"
        if pair[0].dataset in BY_ERRORS:
            stated, name = stated / (1 - without), "NeuNorm takes errors away (published {:.0f} %)"
        off, on = table.T
        effects.append(_gain(name.format(100 * stated), off, on, pair, HALF * stated))
        used += pair
    beside_ann = _beside_ann(found, "off" if number == 6 else "mean")
    if beside_ann is not None:
        spiking, ann = beside_ann
        table = _paired([ann.accuracies, spiking.accuracies])
        less, bounds = table[:, 1] - table[:, 0], (-ACCURACY, -ACCURACY)
        effects.append(_effect(f"{spiking.scale} minus its ANN", less, beside_ann, bounds))
        used += beside_ann
    if not effects:
        return untested("no two of its rows were run on the same data", "accuracy")
    return replace(decided(effects, used, "accuracy"), scope="order")


def _beside_ann(found: Sequence[Line], reading: str) -> tuple[Line, Line] | None:
    """A spiking network with that reading, and the same structure without spikes: the largest."""

    def structure(each: Line) -> tuple[object, ...]:  # an ANN has no steps
        samples = each.train_samples, each.data_source
        return each.dataset, each.network, each.width, each.epochs, *samples

    anns = {structure(each): each for each in found if each.framework == ANN}
    pairs = [
        (each, anns[structure(each)])
        for each in found
        if each.framework != ANN and each.neunorm == reading and structure(each) in anns
    ]
    return min(pairs, key=_largest_first, default=None)


def bf16(frames: Frames) -> Verdict:
    """Whether training in bf16 ends as in float32: within EQUAL either way, over seeds."""
    both = _alike(_of(frames, "ablations"), {"fp32", "bf16"}, "precision")
    if both is None:
        return untested("no training was run in float32 and in bf16", "ablations")
    groups = [both["fp32"], both["bf16"]]
    accuracies, bounds = _paired(each.accuracies for each in groups), (-EQUAL, -EQUAL)
    less = accuracies[:, 1] - accuracies[:, 0]
    effects = [
        _effect("accuracy in bf16 minus in float32", less, groups, bounds),
        _effect("accuracy in float32 minus in bf16", -less, groups, bounds),
    ]
    return decided(effects, groups, "ablations")


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


def fig3(frames: Frames) -> Verdict:
    """Whether plain PyTorch is tens of times faster than Matlab code by its conv functions."""
    timed = against(timings.lines(frames))
    if timed.empty:
        why = "the paper's Matlab code is not public, and no other was timed beside plain PyTorch"
        return untested(why, "acceleration " + COMMAND)
    of_form = {form: timed[timed["variant"] == form] for form in FORMS}
    forms = {form: _form(form, of) for form, of in of_form.items() if len(of)}
    timed_by = tuple(each for each, _ in forms.values())
    calls = {call for form, (_, call) in forms.items() if form}
    status = "inconclusive" if calls != {True} else "reproduced"
    status = "contradicted" if calls == {False} else status
    said = {
        True: "tens of times or more",
        False: "not tens of times",
        None: "not the same in all cells, or too noisy to tell,",
    }
    programs = {each.partition(",")[0] or OCTAVE for each in timed["framework_version"]}
    missing = "a GPU on both sides"
    missing += ", MATLAB itself with its JIT" * all("octave" in each.lower() for each in programs)
    missing += ", whole iterations" * bool(timed["part"].notna().any())
    return Verdict(
        status,
        f"{'; '.join(map(_as_fast, timed_by))}; not measured: {missing}",
        (
            *(f"{said[call]} for {of.name}" for of, call in forms.values()),
            "judged by Matlab's conv functions, which the paper used",
        ),
        missing if calls else f"Matlab's conv functions (`{COMMAND}`)",
        f"on {', '.join(sorted(set(timed['device']))).upper()}, in {', '.join(sorted(programs))}",
        ranges=timed_by,
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


def _form(variant: str, of: Frame) -> tuple[Range, bool | None]:
    """How many times faster the reference is, over the cells; and whether tens of times, by the
    intervals: of the form's speed-up, which is below 1 where the reference is faster.
    """
    times, scaled = sorted(1 / of["speedup_vs_reference"]), of["part"].notna().sum()
    part = f", scaled from a part on {scaled} of {counted(len(of), 'network')}" if scaled else ""
    name = f"{contender(OCTAVE, variant)} ({FORMS[variant]}{part})"
    holds, fails = (1 / of["speedup_high"] >= TENS).all(), (1 / of["speedup_low"] < TENS).all()
    call = bool(holds) if holds or fails else None
    return Range(name, "times", geometric_mean(times), times[0], times[-1], len(times)), call


def _as_fast(of: Range) -> str:
    low, high = (f"{each:.2g}" if each < 100 else f"{each:,.0f}" for each in (of.low, of.high))
    times = f"{low} times" if low == high else f"{low} to {high} times"
    return f"plain PyTorch is {times} as fast as {of.name}"


_OVER_SEEDS = f"95 % interval over at least {FEWEST_SEEDS} seeds"
_TABLE_TEST = (
    f"{_OVER_SEEDS} of the accuracy at the paper's size, in float32: reproduced where it lies "
    f"above {100 * ACCURACY:.0f} point below the published figure, contradicted where under that; "
    "at a reduced scale the order of its rows alone: what NeuNorm gains (N-MNIST: the share of the "
    f"errors that it takes away), of which {100 * HALF:.0f} % would matter, and that a spiking "
    f"network is not more than {100 * ACCURACY:.0f} point below the same structure without spikes"
)


def _trend_test(effect: str, matters: str, test: str) -> str:
    return (
        f"{_OVER_SEEDS} of {effect}: reproduced where it lies above 0 and {test} has p < {LEVEL}, "
        f"contradicted where it lies below {matters}, the least that would matter; inconclusive "
        "where neither, or where training had not converged"
    )


_PAGES, _STUDENTS = "Page's trend test over seeds", "a paired t test over seeds"
_SLOPE = "the accuracy a step of scale, on every data set that was run"
_BY_CIFARNET = "without and with NeuNorm, and by the ANN of the same structure"
_STEP = f"{100 * STEP:.0f} point (N-MNIST: {100 * FEWER:.0f} % of the errors)"
_SAVED = (
    "the share saved of the epochs to one held-out accuracy (by log ratios): "
    f"{100 * trainings.NEARLY:.0f} % of the way from chance to what both hold on average"
)
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig3",
        "The iterative LIF in PyTorch trains tens of times faster than in Matlab",
        "tens of times (bars without figures)",
        "the time of GNU Octave or MATLAB divided by the reference's, by the two conv functions "
        "that it offers, as the paper's code (appendix C): each interval is to lie at 10 or above",
        "acceleration",
        fig3,
    ),
    Claim(
        "fig4",
        "Accuracy rises from Small to Middle to Large",
        "trend",
        _trend_test(_SLOPE, _STEP, _PAGES),
        "scale",
        fig4,
    ),
    Claim(
        "fig5",
        "On CIFAR-10 longer T is better, 4 to 8 steps suffice, one step is not bad",
        "trend",
        _trend_test("the rise from T = 1 to T = 8", f"{100 * RISE:.0f} point", _PAGES)
        + f"; likewise that T = 4 is within {100 * SUFFICES:.0f} points of T = 8, and that T = 1 "
        f"keeps {100 * NOT_BAD:.0f} % of what T = 8 is above chance",
        "timesteps",
        fig5,
    ),
    Claim(
        "fig6",
        "The confusion matrix over 500 random test images is clearer with NeuNorm",
        "comparison",
        _trend_test("the gain in contrast of the votes", f"{CLEARER:g}", _STUDENTS),
        "neunorm",
        fig6,
    ),
    Claim(
        "conv",
        "NeuNorm converges sooner on DVS-CIFAR10",
        "best accuracy at epoch 157 without, 103 with",
        _trend_test(_SAVED, f"{100 * SOONER:.0f} %", _STUDENTS),
        "accuracy",
        conv,
    ),
    *(
        Claim(f"tab{number}", claim, value, _TABLE_TEST, "accuracy", partial(of_table, number))
        for number, claim, value in (
            (3, "N-MNIST without and with NeuNorm", "99.44 %, 99.53 %"),
            (4, "DVS-CIFAR10 without and with NeuNorm", "58.1 %, 60.5 %"),
            (5, f"CIFAR-10 by CIFARNet {_BY_CIFARNET}", "89.83 %, 90.53 %, 90.49 %"),
            (6, "CIFAR-10 by AlexNet", "85.24 %"),
        )
    ),
    Claim(
        "bf16",
        "Training in bf16 ends as training in float32 does",
        "ours, not the paper's",
        f"{_OVER_SEEDS} of the difference of one training in both: reproduced where it lies "
        f"within {100 * EQUAL:.0f} points of 0, contradicted where beyond",
        "ablations",
        bf16,
    ),
)
