"""The paper's nine claims and one of ours as data, each with the tests that answer it.

A claim has parts, each with one answer. For a part's effect over seeds two bounds are fixed before
any run: `above`, and `matters`, the least effect that would matter. A part is reproduced where a
t-test finds an effect above `above`, and contradicted where one excludes an effect of `matters` or
more; both are corrected by Holm over all parts. Where the 95 % interval of an effect that is there
ends below `matters`, it has the claim's direction and is smaller. Else the part is open, or cannot
be decided here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import compress, product
from math import exp, isnan, log, log1p
from operator import attrgetter
from statistics import fmean, geometric_mean
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from harness import statistics
from harness.analysis import timings, trainings
from harness.analysis.frame import Frame, Frames, frames, grouped
from harness.analysis.tables import PUBLISHED, PublishedRow, measures, published
from harness.analysis.timings import TimedLine
from harness.analysis.trainings import Column, TrainingLine, same_but
from harness.analysis.words import FLAGS, counted, data_name, data_source, span
from harness.records import Row, TransferResult
from harness.spec import ANN, paper, schedule
from harness.statistics import Mean, mean

Answer = Literal[
    "reproduced",
    "contradicted",
    "same direction, smaller",  # than what would matter
    "open",
    "cannot be decided here",
    "not tested",
]
Unit = Literal["points", "share", "votes"]
Value = TypeVar("Value", str, int)  # of a column

# The least that would matter of each effect, fixed before the runs; of a trend that is there the
# interval must lie above 0, of one that is not there below this.
STEP = 0.01  # Fig. 4: accuracy a step of scale; less is what another seed or library gives
FEWER = 0.1  # the same on N-MNIST: of the errors
RISE = 0.01  # Fig. 5: accuracy from T = 1 to T = 8; as above
CLEARER = 0.01  # Fig. 6: votes; a fiftieth of the figure's colours, which nobody would see
SOONER = 0.1  # of the epochs without NeuNorm; the paper's 103 of 157 are 0.34
# Fig. 5: "4-8 steps suffice", and one step is "not bad".
SUFFICES = 0.02  # T = 4 may lose so much accuracy to T = 8
NOT_BAD = 0.75  # T = 1 keeps so much of the accuracy above chance that T = 8 has
# A mean over seeds may stay so far below the published figure, or a spiking network below its ANN.
ACCURACY = 0.01
HALF = 0.5  # of the gain that Tables 3 and 4 state for NeuNorm: the least that would matter
EQUAL = 0.02  # accuracy: bf16 may differ by so much from float32, either way
LEVEL = 0.05  # of a trend test over seeds, one-sided
AGAINST = 0.025  # one-sided, either way, shared by all parts of the paper's claims (Holm)
FEWEST_SEEDS = 3  # fewer say nothing of a spread
POWER, TOO_WEAK = 0.8, 0.5  # chances of a decision: enough; too few at AT_SEEDS to go on
AT_SEEDS, MOST_SEEDS = 6, 200
BY_ERRORS = ("nmnist",)  # all is above 98 %: a gain is the share of the errors that it takes away
# Of the pilot for parity with the ANN: CIFARNet and its ANN go on at the second rate.
PILOT = (40, 40, 5)
MOVED = 0.01  # accuracy: where the gap moves by so much, its size is one of the schedule
OURS = "bf16"  # the claim that is not the paper's
PAPERS = 9  # claims
# The seeds that answer `conv` and Table 4 by the second plan, and the epochs of Table 4's figure.
NEW_SEEDS, LATE_EPOCHS = range(8, 16), slice(15, 30)
# Parity with the ANN: whether the network with spikes has NeuNorm, by table.
WITH_NEUNORM = {5: "off", 6: "mean"}
RUNGS = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1))  # widths of Small
PARITY_SEEDS = 5  # of a ladder's rung


class Untested(Exception):
    """A claim's measurements are missing; the text says which."""


class Judgement(NamedTuple):
    """The answer to a part of a claim, with its reason."""

    answer: Answer
    why: str  # in a sentence
    brief: str = ""  # in a few words, where the answer alone is too short


@dataclass(frozen=True)
class Effect:
    """A quantity measured for each seed that answers a part of a claim, and its bounds."""

    words: str  # the part, in ten words or fewer
    published: str  # the paper's figure
    above: float  # it is reproduced where its interval lies above this
    matters: float  # it is contradicted where its interval lies below this
    seeds: int  # fixed beforehand; fewer are no answer
    by_seed: pd.Series  # with unit "share" log(before / after), and so are the bounds
    groups: Sequence[TrainingLine] = ()  # the trainings it is computed from
    unit: Unit = "points"
    p: float | None = None  # of Page's trend test, one-sided
    declared: str = ""  # why it cannot be decided here where the interval leaves it open
    fixed: Judgement | None = None  # the answer whatever the interval says, if there is one
    on_schedule: bool = True  # whether only trainings on the fixed schedule decide
    may_grow: bool = False  # whether seeds may still be added to those that were fixed
    is_ours: bool = False  # no part of a claim of the paper
    given: str = ""  # a choice of ours that the answer rests on: "U = 1"
    against: str = ""  # what speaks against it, in sentences

    @property
    def found(self) -> Mean:
        """The mean over the seeds, with its 95 % interval."""
        return mean([*self.by_seed])

    @property
    def unanswered(self) -> Judgement | None:
        """The answer before the interval is read: other schedule, few seeds, `fixed`; else None."""
        n = len(self.by_seed)
        if self.on_schedule and not _on_schedule(self.groups):
            if self.declared:
                return Judgement("cannot be decided here", self.declared)
            why = "trained on another schedule than the one that was fixed: --long"
            return Judgement("open", why, "schedule")
        if self.fixed is None and n < self.seeds:
            brief = f"{n} of {self.seeds} seeds"
            return Judgement("open", f"{brief}, which were fixed beforehand", brief)
        return self.fixed

    @property
    def p_against(self) -> float:
        """The one-sided p-value of an effect this small if the true one were `matters` (t-test)."""
        return statistics.t_test([*self.by_seed], self.matters, "less")

    @property
    def p_for(self) -> float:
        """The one-sided p-value of an effect this large if the true one were `above` (t-test)."""
        return statistics.t_test([*self.by_seed], self.above, "greater")

    def judged(self, is_confirmed: bool, is_excluded: bool) -> Judgement:
        """Return the answer, given what Holm's tests say.

        `is_confirmed`: there is an effect above `above`; `is_excluded`: one of `matters` or more is
        excluded.
        """
        if unanswered := self.unanswered:
            return unanswered
        why_not = f"an effect of {self.say(self.matters)} is excluded"
        if is_confirmed:
            if self.p is not None and self.p >= LEVEL:
                why = f"the interval lies above the bound, and the trend's p is not below {LEVEL}"
                return Judgement("open", why, "no trend by rank")
            if self.found.high < self.matters:
                return Judgement("same direction, smaller", why_not)
            return Judgement("reproduced", f"the interval lies above {self.say(self.above)}")
        if self.found.low > self.above:
            why = "the interval lies above the bound, but not once all parts are corrected (Holm)"
            return Judgement("open", why, "not after correction")
        if is_excluded:
            return Judgement("contradicted", why_not)
        if self.declared:
            return Judgement("cannot be decided here", self.declared)
        chance, needed = self.power(AT_SEEDS), self.seeds_needed
        count = f"about {needed} seeds" if needed else f"more than {MOST_SEEDS} seeds"
        if chance < TOO_WEAK:
            why = f"{AT_SEEDS} seeds of this spread decide it in {chance:.0%} of cases"
            why += f", {count} in four of five" if self.may_grow else ""
            return Judgement("cannot be decided here", why)
        if not self.may_grow:
            fixed = f"{len(self.by_seed)} seeds were fixed"
            return Judgement("open", f"{fixed}, leave it open, and none will be added", fixed)
        return Judgement("open", f"{count} of this spread decide it in four of five cases", count)

    def power(self, seeds: int) -> float:
        """Return the chance that so many seeds pass a bound, if mean and spread stay as found.

        Before Holm's correction, which depends on the other claims.
        """
        return statistics.power([*self.by_seed], self.above, self.matters, seeds)

    @property
    def seeds_needed(self) -> int | None:
        """The fewest seeds, more than there are, with a `power` of POWER; None over MOST_SEEDS."""
        counts = range(max(FEWEST_SEEDS, len(self.by_seed) + 1), MOST_SEEDS + 1)
        return next((n for n in counts if self.power(n) >= POWER), None)

    @property
    def ours(self) -> str:
        """The mean as text, with its interval: "+2.4 [+1.1, +3.6], n=4".

        Where a seed learnt nothing, the mean of the others without an interval.
        """
        n, lost = len(self.by_seed), {seed for each in self.groups for seed in each.lost}
        learnt = self.by_seed[~self.by_seed.index.isin(lost)]
        if 0 < len(learnt) < n:
            return f"{self.say(learnt.mean())}; {n - len(learnt)} of {n} learnt nothing"
        value, low, high = map(self.say, self.found[:3])
        interval = f" [{low.split(' ')[0]}, {high.split(' ')[0]}]" if n > 1 else ""
        return f"{value}{interval}, n={n}"

    @property
    def bound(self) -> str:
        """The bound `matters`, and p of the trend, as text: "allowed: -1.0"."""
        p = "" if self.p is None else "; p < 0.001" if self.p < 0.001 else f"; p = {self.p:.3f}"
        what = "allowed" if self.above == self.matters else "the least that matters"
        return f"{what}: {self.say(self.matters)}{p}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """The mean, the ends of its interval, n and `matters`; all but n as `shown`."""
        *ends, n = self.found
        return *map(self.shown, ends), n, self.shown(self.matters)

    def shown(self, value: float) -> float:
        """Return a value as tables have it: 1 - exp(-value) with unit "share", else as it is."""
        return 1 - exp(-value) if self.unit == "share" else value

    def say(self, value: float) -> str:
        """Return a value as signed text: in votes, in % of a share, or in points of 1/100."""
        if self.unit == "votes":
            return f"{value:+.3f}"
        if self.unit == "share":
            return f"{100 * self.shown(value):+.0f} %"
        return f"{round(100 * value, 1) + 0.0:+.1f}"  # no -0.0


@dataclass(frozen=True)
class Range:
    """A ratio measured for each cell that answers a part: geometric mean, least and largest."""

    words: str
    value: float
    low: float
    high: float
    n: int  # cells
    judgement: Judgement
    where: str
    scaled: bool  # whether an iteration is scaled up from a part of it
    published: str = "tens of times"
    unit: str = "times"

    @property
    def ours(self) -> str:
        """The figure of one cell, or the range of several: "21 to 87, 3 networks"."""
        ends = (f"{n:.2g}" if n < 100 else f"{n:,.0f}" for n in (self.low, self.high))
        found = " to ".join(dict.fromkeys(ends)) + " (scaled up)" * self.scaled
        return found if self.n == 1 else f"{found}, {self.n} networks"

    @property
    def bound(self) -> str:
        """The bound that was fixed beforehand, as text."""
        return f"tens of times begin at {TENS:g}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """The mean, the least, the largest, n and the bound, as tables have them."""
        return self.value, self.low, self.high, self.n, TENS


@dataclass(frozen=True)
class Finding:
    """The answer to a part of a claim: a line of the table of claims."""

    claim: Claim
    words: str  # the part of the claim
    published: str
    ours: str  # the figure, with its interval and n; "" where there is none
    answer: Answer
    why: str
    brief: str = ""  # what an open one lacks, in a few words
    where: str = ""  # the width of the networks, or the machine's kind; "" at the paper's size
    by: Effect | Range | None = None
    given: str = ""  # the choice of ours that it rests on: "U = 1"
    against: str = ""  # what speaks against it, in sentences
    is_ours: bool = False  # a check of ours, and no part of a claim of the paper
    lacks: str = ""  # `brief` in a sentence

    @property
    def short(self) -> str:
        """The answer; where it is open, with what it lacks in brackets."""
        return f"{self.answer} ({self.brief})" if self.brief else self.answer

    @property
    def text(self) -> str:
        """The answer as in `short`, with the reduced width or the machine, and what is given."""
        given = self.given and f"given {self.given}"
        return ", ".join(filter(None, (self.short, self.where, given)))


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    claim: str  # in our words, ten at most
    value: str  # as published
    suite: str  # its rows answer the claim
    options: str  # of `harness run`: the fixed schedule and seeds
    rule: str  # what decides it, in a few words
    test: str  # the same whole: the bounds above
    judge: Callable[[Frames], Sequence[Effect | Range]]  # raises Untested

    @property
    def command(self) -> str:
        """The command whose rows answer the claim."""
        return f"harness run --suite {self.suite} {self.options}"


def findings(rows: Frames | Iterable[Row]) -> list[Finding]:
    """Answer each part of each claim, in the order of claims.csv: the paper's, then ours (bf16).

    Holm's correction, either way, spans all parts of the paper's claims: give all rows.
    """
    found = frames(rows)
    parts: list[tuple[Claim, Effect | Range | Untested]] = []
    for claim in CLAIMS:
        try:
            parts += [(claim, part) for part in claim.judge(found)]
        except Untested as error:
            parts.append((claim, error))
    effects = [part for _, part in parts if isinstance(part, Effect)]
    families = [[each for each in effects if not each.is_ours]]
    families += [[each] for each in effects if each.is_ours]
    confirmed_ids = set[int]().union(*map(confirmed, families))
    excluded_ids = set[int]().union(*map(excluded, families))
    return [
        _finding(claim, part, id(part) in confirmed_ids, id(part) in excluded_ids)
        for claim, part in parts
    ]


def _finding(
    claim: Claim, part: Effect | Range | Untested, is_confirmed: bool, is_excluded: bool
) -> Finding:
    if isinstance(part, Untested):
        why = f"{part}: run `{claim.command}`"
        ours = claim.id == OURS
        return Finding(claim, claim.claim, claim.value, "", "not tested", why, is_ours=ours)
    front = claim, part.words, part.published, part.ours
    if isinstance(part, Range):
        return Finding(*front, *part.judgement, part.where, part)
    answer, why, brief = part.judged(is_confirmed, is_excluded)
    lacks = why if brief else ""
    reduced = [each for each in part.groups if not full_size(each)]
    widths = ", ".join(dict.fromkeys(f"width {each.width}" for each in reduced))
    why += f"; {widths}, {_trained_on(reduced)}" if reduced else ""
    more = part.given, part.against, part.is_ours, lacks
    return Finding(*front, answer, why, brief, widths, part, *more)


class Verdicts(NamedTuple):
    """How many claims of the paper have which answer, by claim and not by part."""

    claims: Mapping[str, Answer]  # by id, of the paper's nine
    holding: list[str]  # ids of those that hold in direction, in every part
    widths: list[str]  # of the trainings behind these: "width 1/8"
    at_full_size: list[str]  # ids of those that a training of the paper's size answers

    @property
    def text(self) -> str:
        """In a sentence: "3 of the paper's 9 claims hold in direction (fig3, fig4, fig5)..."."""
        named = f" ({', '.join(self.holding)})" if self.holding else ""
        where = f", trainings at {', '.join(self.widths)}" if self.widths else ""
        full = ", ".join(self.at_full_size) or "none"
        first = f"{len(self.holding)} of the paper's {PAPERS} claims hold in direction{named}"
        return f"{first}{where}; {full} trained at the paper's size"


def verdicts(found: Sequence[Finding]) -> Verdicts:
    """Return the answers by claim: of several parts the least favourable one."""
    order: Sequence[Answer] = (
        *("contradicted", "open", "cannot be decided here", "not tested"),
        *("same direction, smaller", "reproduced"),
    )
    parts = grouped((each for each in found if not each.is_ours), lambda each: each.claim.id)
    of: dict[str, Answer] = {
        name: order[min(order.index(each.answer) for each in its)] for name, its in parts.items()
    }
    holding = [name for name, answer in of.items() if answer in order[4:]]
    effects = [each for each in found if isinstance(each.by, Effect) and not each.is_ours]
    widths = dict.fromkeys(e.where for e in effects if e.where and e.claim.id in holding)
    full = dict.fromkeys(e.claim.id for e in effects if not e.where and e.answer != "open")
    return Verdicts(of, holding, [*widths], [*full])


def confirmed(effects: Sequence[Effect]) -> set[int]:
    """Return `id()` of each effect that lies above `above`, by Holm over all of them."""
    return _holm(effects, attrgetter("p_for"))


def excluded(effects: Sequence[Effect]) -> set[int]:
    """Return `id()` of each effect that excludes `matters` or more, by Holm over all of them."""
    return _holm(effects, attrgetter("p_against"))


def _holm(effects: Sequence[Effect], p_of: Callable[[Effect], float]) -> set[int]:
    tested = [effect for effect in effects if not effect.unanswered]
    rejected = statistics.holm([p_of(effect) for effect in tested], AGAINST)
    return {id(effect) for effect in compress(tested, rejected)}


# Effects are in points and shares as fractions of 1, accuracies in [0, 1], votes as they are.
COLUMNS = (
    *("id", "claim", "part", "published", "answer", "where", "unit", "value", "low", "high", "n"),
    *("matters", "why", "given", "against", "is_ours"),
)


def table(found: Iterable[Finding]) -> Frame:
    """Return findings as a table, a line for each part of a claim.

    `value` is the mean over `n` seeds, `low` and `high` its 95 % interval; for Fig. 3, a ratio,
    the geometric mean over `n` cells, the least and the largest. `matters` is the bound that was
    fixed beforehand.
    """
    lines: list[tuple[object, ...]] = []
    for each in found:
        unit, numbers = (each.by.unit, each.by.numbers) if each.by else ("", (None,) * 5)
        front = each.claim.id, each.claim.claim, each.words, each.published
        said = each.why, each.given, each.against, each.is_ours
        lines.append((*front, each.answer, each.where, unit, *numbers, *said))
    made = pd.DataFrame(lines, columns=list(COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high", "matters"), float)
    return made.astype({**numbers, "n": "Int64"})


# From trainings to effects.


def full_size(each: TrainingLine) -> bool:
    """Return whether these trainings have the paper's data, width, epochs, dropout and float32."""
    case, settings = each.case, paper.settings(each.dataset)
    return (
        not any(getattr(each, name) for name in FLAGS)
        and case.workload.width == 1
        and min(each.trained_epochs) >= settings.epochs
        and case.workload.network.dropout == settings.dropout
        and case.contender.precision == "fp32"  # mixed precision trains another network
    )


def _of(frames: Frames, suite: str, dataset: str | None = None) -> list[TrainingLine]:
    """Return trainings under whatever suite, first those of the claim's own.

    On the paper's data, by the paper's function.
    """
    found = [
        each
        for each in trainings.lines(frames, suite, *trainings.ALIKE)
        if dataset in (None, each.dataset) and not each.substitute and not each.deviations
    ]
    return sorted(found, key=lambda each: not each.own)


def _alike(
    found: Sequence[TrainingLine], wanted: set[Value], column: Column, *others: Column
) -> dict[Value, TrainingLine]:
    """Return trainings with a common seed that differ only in these columns, by the first of them.

    Of several choices with all wanted values the best one (`_best_first`): `others` may differ
    among trainings of one value too. Raises Untested for none.
    """
    values, choices = sorted(wanted), list[dict[Value, TrainingLine]]()
    for of in grouped(found, same_but(column, *others)).values():
        by_value: dict[Value, list[TrainingLine]] = grouped(of, attrgetter(column))
        first = {value: its[0] for value, its in by_value.items()}
        for chosen in product(*(by_value.get(value, ()) for value in values)):
            if len(_by_seed(chosen)):
                choices.append(first | dict(zip(values, chosen, strict=True)))
    if not choices:
        names = ", ".join(map(str, values))
        raise Untested(f"no trainings alike, with a common seed, have {column} = {names}")
    return min(choices, key=lambda of: _best_first([of[each] for each in values]))


def _by_neunorm(found: Sequence[TrainingLine]) -> tuple[TrainingLine, TrainingLine]:
    of = _alike(found, {"off", "mean"}, "neunorm", "neunorm_u")
    return of["off"], of["mean"]


def _best_first(groups: Collection[TrainingLine]) -> tuple[bool, bool, bool, float, int]:
    n = len(_by_seed(groups))
    seen = sum(each.case.workload.width * each.train_samples * each.epochs for each in groups)
    reduced = not all(map(full_size, groups))
    return not _on_schedule(groups), n < FEWEST_SEEDS, reduced, -float(seen), -n


def _on_schedule(groups: Iterable[TrainingLine]) -> bool:
    return all(schedule.is_on_schedule(each.case) for each in groups)


def _by_seed(groups: Iterable[TrainingLine]) -> Frame:
    return _common(each.accuracies for each in groups)


def _common(of_groups: Iterable[Mapping[int, float]]) -> Frame:
    """Return figures by seed (a line) and training (a column), of the seeds that all have."""
    return pd.DataFrame(dict(enumerate(of_groups))).dropna().sort_index()


def _rises(by_seed: Frame) -> float | None:
    """Return the p-value of Page's trend test: accuracy rises from the first column to the last."""
    return statistics.page_trend_test(by_seed) if len(by_seed) >= FEWEST_SEEDS else None


def _gained(before: pd.Series, after: pd.Series, of: TrainingLine) -> tuple[pd.Series, Unit]:
    """Return the gain of accuracy by seed: in points, or BY_ERRORS the log of a share of errors."""
    if of.dataset not in BY_ERRORS:
        return after - before, "points"
    half = 0.5 / of.test_samples  # of an image: there is a logarithm of no errors too
    return ((1 - before + half) / (1 - after + half)).map(log), "share"


def _data(each: TrainingLine | TimedLine) -> str:
    return data_name(each.dataset, substitute=each.substitute, simulated=each.simulated)


def _trained_on(groups: Sequence[TrainingLine]) -> str:
    samples = span((each.train_samples for each in groups), ",")
    data = " and ".join(dict.fromkeys(data_source(vars(each)) for each in groups))
    precisions = dict.fromkeys(each.precision for each in groups)
    dropout = span((each.dropout for each in groups), "g")
    epochs = span(n for each in groups for n in each.trained_epochs)
    steps = ", ".join(map(str, sorted({each.T for each in groups})))
    return (
        f"{samples} training samples of {data}, dropout {dropout}, {' and '.join(precisions)}, "
        f"{epochs} epochs, T = {steps}"
    )


# The claims' own tests.


def fig4(frames: Frames) -> list[Effect]:
    """Return the gain of accuracy a step of scale on each data set, with Page's trend test."""
    effects = []
    for found in grouped(_of(frames, "scale"), lambda each: each.dataset).values():
        try:
            of = _alike(found, {*paper.SCALES}, "scale", "network")
        except Untested:
            continue
        groups = [of[name] for name in paper.SCALES]
        accuracies = _by_seed(groups)
        # between the ends: so it is by least squares of three
        gains, unit = _gained(accuracies[0], accuracies[2], groups[0])
        gained, matters, seeds = "points gained", STEP, 4
        if unit == "share":
            gained, matters, seeds = "errors removed", -log1p(-FEWER), 5
        words = f"{_data(groups[0])}: {gained}, one size up"
        front = words, "rises", 0.0, matters, seeds
        given = f"rate {_rate(groups[0]):g}" if unit == "share" else ""
        against = _on_recordings(frames, groups) + _at_other_rates(frames, groups[0])
        effect = Effect(*front, gains / 2, groups, unit, _rises(accuracies))
        effects.append(replace(effect, given=given, against=against.strip()))
    if not effects:
        raise Untested("no data set has all three scales with a common seed")
    return effects


def _rate(each: TrainingLine) -> float:
    return each.case.optimiser.lr


def _interval(values: Iterable[float], unit: Unit = "points") -> str:
    """Return a mean over seeds with its interval as text: "+0.5 [-0.3, +1.3]"."""
    return Effect("", "", 0.0, 0.0, 0, pd.Series([*values]), unit=unit).ours.rpartition(",")[0]


def _on_recordings(frames: Frames, groups: Sequence[TrainingLine]) -> str:
    """Return what trainings on simulated events, one size up, gain on recordings, in a sentence."""
    rows = [trainings.rows_of(frames, TransferResult, each) for each in groups]
    by_seed = _common({row.workload.seed: row.result.test_accuracy for row in of} for of in rows)
    if by_seed.empty:
        return ""
    recorded = rows[0][0].result.recorded_samples
    half = 0.5 / recorded
    errors = (1 - by_seed + half).map(log)
    step, last = (errors[0] - errors[2]) / 2, errors[1] - errors[2]
    samples = f"{recorded:,} recordings"
    of_last = f"from {groups[1].scale} to {groups[2].scale} {_interval(last, 'share')}"
    return f"On the {samples} it is {_interval(step, 'share')} a size, {of_last}. "


def _at_other_rates(frames: Frames, each: TrainingLine) -> str:
    """Return how many trainings on the same stages at other rates learnt nothing, a sentence."""
    same = same_but("optimiser", "scale", "network")
    others = [
        e
        for e in _of(frames, "scale")
        if e.scale in paper.SCALES and same(e) == same(each) and _rate(e) != _rate(each)
    ]
    lost, n = sum(len(e.lost) for e in others), sum(len(e.accuracies) for e in others)
    rates = span((_rate(e) for e in others), "g")
    return f"At {rates}, tried before, {lost} of {n} trainings learnt nothing." if lost else ""


def fig5(frames: Frames) -> list[Effect]:
    """Return the rise of CIFAR-10's accuracy with T, and T = 4 and T = 1 against T = 8."""
    by_steps = _alike(_of(frames, "timesteps", "cifar10"), {1, 4, 8}, "T")
    seeds = {*_by_seed(by_steps[T] for T in (1, 4, 8)).index}  # no other T takes one away
    by_steps = {T: by_steps[T] for T in sorted(by_steps) if seeds <= by_steps[T].accuracies.keys()}
    accuracies = _by_seed(by_steps.values()).set_axis([*by_steps], axis="columns")
    one, four, eight = (accuracies[T] for T in (1, 4, 8))
    chance = 1 / by_steps[1].case.workload.network.classes
    kept, least = (one - chance) - NOT_BAD * (eight - chance), f"{100 * NOT_BAD:.0f} % of T=8"
    data, p, groups = _data(by_steps[1]), _rises(accuracies), [*by_steps.values()]
    of_four, of_one = ([by_steps[T], by_steps[8]] for T in (4, 1))
    bounds, suffices = (-SUFFICES, -SUFFICES), f"suffices (-{100 * SUFFICES:g} allowed)"
    rise = (eight - one).mean()
    against = f"The {100 * SUFFICES:g} points are {SUFFICES / rise:.0%} of what T = 8 gains. "
    if 2 in accuracies and mean([*(accuracies[2] - eight)]).low > -SUFFICES:
        against += f"T = 2 passes too: {_interval(accuracies[2] - eight)}."
    share = ((one - chance) / (eight - chance)).mean()
    ours = f"{100 * NOT_BAD:.0f} % is a bound of ours; T = 1 keeps {share:.0%}."
    not_bad = Effect(f"{data}: T=1 minus {least}, points", "not bad", 0.0, 0.0, 5, kept, of_one)
    steps = Effect(f"{data}: T=4 minus T=8, points", suffices, *bounds, 5, four - eight, of_four)
    return [
        Effect(f"{data}: T=8 minus T=1, points", "rises", 0.0, RISE, 5, eight - one, groups, p=p),
        replace(steps, against=against.strip() if rise > 0 else ""),
        replace(not_bad, against=ours),
    ]


def fig6(frames: Frames) -> list[Effect]:
    """Return the contrast that NeuNorm adds to the votes on CIFAR-10."""
    pair = _by_neunorm(_of(frames, "neunorm", "cifar10"))
    contrasts = _common(trainings.contrasts(frames, each) for each in pair)
    if contrasts.empty:
        raise Untested("no seed has votes both without and with NeuNorm")
    front = f"{_data(pair[0])}: contrast NeuNorm gains", "clearer", 0.0, CLEARER, 4
    return [Effect(*front, contrasts[1] - contrasts[0], pair, "votes", given=_first_u(pair[1]))]


def _first_u(each: TrainingLine) -> str:
    return "U uniform at first" if each.neunorm_u == "uniform" else f"U = {each.neunorm_u}"


def conv(frames: Frames) -> list[Effect]:
    """Return the share of epochs that NeuNorm saves on DVS-CIFAR10 on the way to one accuracy.

    Of NEW_SEEDS on test samples; until one of them is there, of others on held-out ones: open.
    """
    pair = _by_neunorm(_of(frames, "accuracy", "dvs-cifar10"))
    both = pair[0].curves.keys() & pair[1].curves.keys()
    seeds = sorted(both & {*NEW_SEEDS})
    on: trainings.Samples = "test" if seeds else "held out"
    seeds = seeds or sorted(both)
    goal, reached = _epochs_to(pair, on, seeds)
    if reached.empty:
        raise Untested("no seed both without and with NeuNorm has learnt enough")
    words = f"{_data(pair[0])}: epochs saved to {100 * goal:.0f} %"
    front = words, "157 to 103", 0.0, -log1p(-SOONER), OF_TABLE[4]
    saved = (reached[0] / reached[1]).map(log)
    against = _against_sooner(pair, on, seeds, saved)
    effect = Effect(*front, saved, pair, "share", given=_first_u(pair[1]), against=against)
    if on == "held out":
        effect = replace(effect, fixed=_of_new_seeds())
    elif never := sorted({*seeds} - {*reached.index}):
        names = ", ".join(map(str, never))
        why = f"with seed {names} it never reached {100 * goal:.1f} %: more epochs"
        effect = replace(effect, fixed=Judgement("open", why, "more epochs"))
    return [effect]


def _of_new_seeds() -> Judgement:
    seeds = f"seeds {NEW_SEEDS[0]} to {NEW_SEEDS[-1]}"
    return Judgement("open", f"{seeds} alone decide, and are not trained", seeds)


def _epochs_to(
    pair: Sequence[TrainingLine], on: trainings.Samples, seeds: Sequence[int]
) -> tuple[float, Frame]:
    goal = trainings.goal(pair, on, seeds)
    return goal, _common(trainings.epochs_to(goal, each, on, seeds) for each in pair)


def _against_sooner(
    pair: Sequence[TrainingLine], on: trainings.Samples, seeds: Sequence[int], saved: pd.Series
) -> str:
    """Return what speaks against a share of epochs saved, by other readings of the same rows."""
    if len(saved) < FEWEST_SEEDS:
        return ""
    without = {seed: saved.drop(seed) for seed in saved.index}
    one = min(without, key=lambda seed: without[seed].mean())
    its = _interval(without[one], "share")
    said = f"Without seed {one} it is {its}; by Wilcoxon p = {statistics.wilcoxon(saved):.3f}."
    other: trainings.Samples = "test" if on == "held out" else "held out"
    _, reached = _epochs_to(pair, other, seeds)
    if len(reached) >= FEWEST_SEEDS:
        its = _interval((reached[0] / reached[1]).map(log), "share")
        said += f" On {other} samples it is {its}."
    seconds = _common({s: e.curves[s].seconds for s in saved.index} for e in pair)
    longer = (seconds[1] / seconds[0]).map(log)
    time = _interval(saved - longer, "share")
    return f"{said} An epoch takes {exp(longer.mean()):.2f} times as long: in time {time}."


# The seeds that were fixed for the gain of NeuNorm in a table, and for parity with the ANN.
OF_TABLE = {3: 3, 4: 8, 5: 4, 6: 4}
# Nine images more or less are one deviation of counting 103 errors.
OF_TABLE_3 = "the paper's gain is 9 of 10,000 images, which one pair of runs could not have shown"


def of_table(number: int, frames: Frames) -> list[Effect]:
    """Return the effects of Table 3, 4, 5 or 6: accuracy against the paper's, and the rows' order.

    A row at the paper's size may lie at most ACCURACY below the published figure; a reduced run
    cannot show that. The order is judged at any size: NeuNorm gains, and a spiking network with it
    lies at most ACCURACY below the same structure without spikes.
    """
    ours = [row for row in published() if row.table == number and row.network]
    networks = {(row.dataset, row.network) for row in ours}
    found = [e for e in _of(frames, "accuracy") if (e.dataset, e.scale) in networks]
    whole = [each for each in found if each.own and full_size(each)]
    effects = [_against(row, e) for row in ours for e in whole if measures(row, e)]
    effects += _neunorm_gains(number, ours, found)
    if number in WITH_NEUNORM:
        effects += _behind_ann(number, frames, found)
    if number == 5 and effects:
        effects += ladder(frames)
    if not effects:
        what = "no two of its rows were run on the same data with a common seed"
        there = any(measures(row, each) for row in ours for each in found)
        lacking = _rates_lacking(_sides(frames)) if number in WITH_NEUNORM else ""
        waits = f"; no rate is chosen yet: {lacking}" if lacking else ""
        raise Untested((what if there else "its rows were not run") + waits)
    return effects


def _against(row: PublishedRow, each: TrainingLine) -> Effect:
    kind = "ANN" if each.framework == ANN else f"NeuNorm {each.neunorm}"
    words = f"{each.scale}, {kind}: minus the paper's, points"
    front = words, f"{100 * row.accuracy:.2f} %", -ACCURACY, -ACCURACY, FEWEST_SEEDS
    given = _first_u(each) if each.neunorm_u else ""
    by_seed = pd.Series(each.accuracies) - row.accuracy
    return Effect(*front, by_seed, [each], may_grow=True, given=given)


def _neunorm_gains(
    number: int, ours: Sequence[PublishedRow], found: Sequence[TrainingLine]
) -> Iterator[Effect]:
    """Yield NeuNorm's gain, against half of the published one; in Table 5 against all of it."""
    of = {bool(row.neunorm): row.accuracy for row in reversed(ours) if row.framework != ANN}
    if len(of) < 2:
        return
    try:
        groups = _by_neunorm(found)
    except Untested:
        return
    title, accuracies, more = _data(groups[0]), _by_seed(groups), dict[str, Any]()
    if number == 4:
        accuracies, more = _late(groups)
    gains, unit = _gained(accuracies[0], accuracies[1], groups[0])
    part = 1 if number == 5 else HALF  # half of Table 5's is less than two runs of a seed differ by
    words, matters = f"{title}: points NeuNorm gains", part * (of[True] - of[False])
    if unit == "share":
        words = f"{title}: errors NeuNorm removes"
        matters = -log1p(-matters / (1 - of[False]))
    figures = f"{100 * of[False]:.2f} to {100 * of[True]:.2f}"
    front = words, figures, 0.0, matters, OF_TABLE[number]
    given = _first_u(groups[1])
    if number == 3:
        more, given = {"declared": OF_TABLE_3}, f"{given}, rate {_rate(groups[1]):g}"
    yield replace(Effect(*front, gains, groups, unit, given=given), **more)


def _late(groups: Sequence[TrainingLine]) -> tuple[Frame, dict[str, Any]]:
    """Return Table 4's accuracies: of NEW_SEEDS the mean of LATE_EPOCHS; until then of others."""
    late = _common(
        {s: fmean(of) for s, c in e.curves.items() if (of := c.tested[LATE_EPOCHS])} for e in groups
    )
    new = late[late.index.isin(NEW_SEEDS)] if len(late) else late
    if len(new):
        return new, {}
    best = _common({s: max(c.tested) for s, c in e.curves.items()} for e in groups)
    against = ""
    if len(late) > 1:
        readings = (_interval(each[1] - each[0]) for each in (late, best))
        against = "By epochs 16 to 30 it is {}, by the best epoch {}.".format(*readings)
    return _by_seed(groups), {"fixed": _of_new_seeds(), "against": against}


def _behind_ann(number: int, frames: Frames, found: Sequence[TrainingLine]) -> Iterator[Effect]:
    """Yield a spiking network minus the same structure without spikes, each at its chosen rate.

    Until CIFARNet's rates are chosen Table 5's is open, with the figure at the schedule's own rate,
    and Table 6 has none.
    """
    structure = same_but("framework", "neunorm", "neunorm_u", "T", "optimiser")
    anns = grouped((each for each in found if each.framework == ANN), structure)
    spiking = (each for each in found if each.framework != ANN)
    pairs = [(each, ann) for each in spiking for ann in anns.get(structure(each), ())]
    pairs = [pair for pair in pairs if len(_by_seed(pair))]
    sides, whole = _sides(frames), [pair for pair in pairs if all(map(full_size, pair))]
    wanted, with_ = (*(side.rate for side in sides),), WITH_NEUNORM[number]
    chosen = [
        pair
        for pair in pairs
        if (*map(_rate, pair),) == wanted and pair[0].neunorm == with_ and all(map(_staged, pair))
    ]
    usual = [p for p in pairs if p[0].neunorm == "mean" and number == 5 and _on_schedule(p)]
    if not (options := whole or chosen or usual):
        return
    pair = min(options, key=_best_first)
    published = "85.24 - 83.72" if number == 6 else "90.53 - 90.49"
    if pair[0].neunorm == "off":
        published = "89.83 - 90.49"
    accuracies = _by_seed(pair)
    front = f"{pair[0].scale} minus its ANN, points", published, -ACCURACY, -ACCURACY
    rates = " and ".join(f"{_rate(each):g}" for each in pair)
    given = f"rate {rates}" if len({*map(_rate, pair)}) > 1 else f"rate {_rate(pair[0]):g}"
    fixed = None if whole else _by_pilot(frames)
    if not (whole or chosen):
        why = _rates_lacking(sides) or "no trainings at the rates that were chosen"
        fixed = Judgement("open", f"behind at one rate: {why}", "rate")
    gaps = accuracies[0] - accuracies[1]
    effect = Effect(*front, OF_TABLE[number], gaps, pair, fixed=fixed, on_schedule=False)
    yield replace(effect, given=given, against=_against_rate(frames, pair))


def _staged(each: TrainingLine) -> bool:
    """Return whether trainings have the stages that were fixed, at whatever rate."""
    return each.case.stages == schedule.STAGES[each.dataset]


def _sides(frames: Frames) -> tuple[trainings.ChosenRate, trainings.ChosenRate]:
    """Return the rates of CIFARNet at an eighth of its width, with spikes and without."""
    found = [
        each
        for each in trainings.rate_trials(frames, "accuracy", *trainings.ALIKE)
        if (each.dataset, each.scale, each.neunorm) == ("cifar10", "CIFARNet", "off")
        and (each.case.workload.width, each.dropout, each.T) == (RUNGS[0], 0.0, 4)
        and _staged(each)
        and not each.substitute
        and not each.deviations
    ]
    of_ann = [each for each in found if each.framework == ANN]
    of_snn = [each for each in found if each.framework != ANN]
    return trainings.chosen_rate(of_snn), trainings.chosen_rate(of_ann)


def _rates_lacking(sides: tuple[trainings.ChosenRate, trainings.ChosenRate]) -> str:
    """Return what a rate still has to be chosen by, of CIFARNet and its ANN; "" where it is."""
    named = zip(("the SNN", "its ANN"), sides, strict=True)
    return ", ".join(f"{name}: {side.why}" for name, side in named if not side.rate)


def _against_rate(frames: Frames, pair: Sequence[TrainingLine]) -> str:
    """Return what other rows say of the rate of a gap, in sentences."""
    ends = [fmean(c.train_accuracy for c in e.curves.values()) for e in pair if e.curves]
    shares = " and ".join(f"{100 * each:.1f} %" for each in ends)
    said = f"They end at {shares} of their training samples." if len(ends) == 2 else ""
    by = {e.change: e.trained.accuracies for e in trainings.ablated(frames)}
    both = ("surrogate twice as wide", "threshold halved")
    if all(name in by for name in both) and len(of := _common(by[name] for name in both)) > 1:
        gain = _interval(of[1] - of[0])
        said += f" Four times the rate at twice a adds {gain} points with spikes (15 epochs)."
    return said.strip()


def ladder(frames: Frames) -> list[Effect]:
    """Return whether Small's gap to its ANN closes with width, and parity at the whole width.

    By RUNGS, at the schedule's own rate and without dropout; none where no rung has both sides.
    """
    small = [
        each
        for each in _of(frames, "accuracy", "cifar10")
        if (each.scale, each.neunorm, each.T) == ("Small", "off", 4)
    ]
    rungs, lacking = dict[Fraction, tuple[TrainingLine, TrainingLine]](), list[str]()
    for width in RUNGS:
        here = [each for each in small if each.case.workload.width == width]
        sides = [[e for e in here if (e.framework == ANN) == is_ann] for is_ann in (False, True)]
        fit = [[e for e in of if _on_schedule([e]) and not e.dropout] for of in sides]
        if all(fit):
            rungs[width] = fit[0][0], fit[1][0]
            continue
        for name, of, its in zip(("SNN", "ANN"), sides, fit, strict=True):
            others = {f"{e.stages} epochs at {_rate(e):g}, dropout {e.dropout:g}" for e in of}
            if not its:
                has = " (there: " + "; ".join(sorted(others)) + ")" if others else ""
                lacking.append(f"width {width} has no {name}{has}")
    if not rungs:
        return []
    gaps = {width: _by_seed(pair) for width, pair in rungs.items()}
    gaps = {width: of[0] - of[1] for width, of in gaps.items()}
    by_seed = (
        pd.DataFrame([*gaps.values()]).T.dropna().set_axis([*range(len(gaps))], axis="columns")
    )
    groups = [each for pair in rungs.values() for each in pair]
    weights = statistics.slope_weights(np.log2([float(width) for width in gaps]))
    closing = (by_seed * weights).sum(axis="columns")
    missing = Judgement("open", "; ".join(lacking), "a rung is missing") if lacking else None
    given = f"rate {_rate(groups[0]):g}"
    front = "Small: points its gap closes a doubling", "not in the paper", 0.0, 0.0, 4
    closes = Effect(*front, closing, groups, fixed=missing, is_ours=True, given=given)
    found = [closes] if len(rungs) > 1 else []  # a single rung has no slope
    if (width := RUNGS[-1]) in gaps:
        words = f"Small minus its ANN at width {width}, points"
        bounds = "not in the paper", -ACCURACY, -ACCURACY, PARITY_SEEDS
        its = Effect(words, *bounds, gaps[width], rungs[width])
        found.append(replace(its, is_ours=True, given=given))
    return found


def _by_pilot(frames: Frames) -> Judgement | None:
    """Judge whether the gap of CIFARNet to its ANN moves as both go on at the second rate."""
    found = [each for each in _of(frames, "accuracy", "cifar10") if each.scale == "CIFARNet"]
    plain = [each for each in found if each.neunorm == "off"]
    both = PILOT, schedule.STAGES["cifar10"]
    wanted = [(stages, is_ann) for stages in both for is_ann in (False, True)]
    for of in grouped(plain, same_but("framework", "epochs", "stages")).values():
        ends = {(e.case.stages, e.framework == ANN): e.accuracies.get(0) for e in of}
        accuracies = [end for each in wanted if (end := ends.get(each)) is not None]
        if len(accuracies) == len(wanted):
            longer, longer_ann, fixed, fixed_ann = accuracies
            moved = (longer - longer_ann) - (fixed - fixed_ann)
            if abs(moved) < MOVED:
                return None
            gap = f"the gap moves by {100 * moved:+.1f} points"
            why = f"{gap} where both go on for 35 epochs at 0.01 (CIFARNet, seed 0)"
            return Judgement("cannot be decided here", why)
    why = "the pilot of both was not run (--epochs 40+40+5, seed 0)"
    return Judgement("open", why, "no pilot")


def bf16(frames: Frames) -> list[Effect]:
    """Return bf16's accuracy minus float32's, or the reverse; trainings on any schedule count."""
    both = _alike(_of(frames, "ablations"), {"fp32", "bf16"}, "precision")
    groups = both["fp32"], both["bf16"]
    accuracies = _by_seed(groups)
    less = accuracies[1] - accuracies[0]
    words = "bf16 minus float32, points"
    if less.mean() > 0:  # the further side of the two decides: both bounds are alike
        less, words = -less, "float32 minus bf16, points"
    allowed = f"no claim ({100 * EQUAL:g} allowed, either way)"
    served = min(STEP, RISE, ACCURACY)
    against = f"Its margin is larger than the bounds it serves ({100 * served:g} point)."
    effect = Effect(words, allowed, -EQUAL, -EQUAL, 6, less, groups, on_schedule=False)
    return [replace(effect, is_ours=True, against=against if served < EQUAL else "")]


OCTAVE = "octave"
# Each form of a layer of convolutions. The paper's appendix C: "all convolution operations we
# adopted are based on the officially provided operations (i.e. conv function)". So those that call
# one decide; im2col, which is quicker and not its code, is timed too and decides nothing.
FORMS = {"convn": "a convn for each map", "conv2": "a conv2 for each pair of maps"}
TENS = 10.0  # "tens of times" begins here


def fig3(frames: Frames) -> list[Range]:
    """Return how many times faster plain PyTorch is than each proved form of Matlab code."""
    timed = [
        each
        for each in timings.lines(frames)
        if each.framework == OCTAVE
        and each.precision == "fp32"
        and each.in_figure_3
        and each.scale in paper.SCALES
        and each.is_proved
        and not each.substitute
        and not isnan(each.speedup_vs_reference)
    ]
    by_form = grouped(timed, lambda each: each.variant)
    if not by_form.keys() & FORMS.keys():
        what = "the paper's Matlab code is not public, and no other was timed with plain PyTorch"
        raise Untested(what)
    of_forms = ((form, _once_each(by_form[form])) for form in FORMS if form in by_form)
    return [_over_matlab(form, of) for form, of in of_forms]


def _once_each(of: Sequence[TimedLine]) -> Sequence[TimedLine]:
    """Return each network's last most complete line, all on the machine with most rows."""
    here = [each for each in timings.most_complete(of) if each.machine == of[0].machine]
    return [*{(_data(each), each.scale): each for each in here}.values()]


def _over_matlab(form: str, of: Sequence[TimedLine]) -> Range:
    # by the intervals of the form's speed-up, which is below 1 where the reference's is not
    answer: Answer = "open"
    if all(each.speedup_high <= 1 / TENS for each in of):
        answer = "reproduced"
    if all(each.speedup_low > 1 / TENS for each in of):
        answer = "contradicted"
    program, *_ = sorted({e.framework_version.partition(",")[0] or OCTAVE for e in of})
    is_octave = "octave" in program.lower()
    why = f"plain PyTorch against {program}, {FORMS[form]}, as the paper's appendix C has it"
    if scaled := sum(not isnan(each.part) for each in of):
        networks = counted(len(of), "network")
        why += f"; an iteration is scaled from a part of it on {scaled} of {networks}"
    why += "; not measured: a GPU on both sides"
    why += ", MATLAB itself with its JIT" if is_octave else ""
    titles = dict.fromkeys(map(_data, of))
    words = f"Speed over Matlab's {form}, {', '.join(titles)}"
    device = ", ".join(sorted({each.device for each in of})).upper()
    where = f"{'Octave' if is_octave else program}, {device}"
    times = sorted(1 / each.speedup_vs_reference for each in of)
    figures = geometric_mean(times), times[0], times[-1], len(times)
    return Range(words, *figures, Judgement(answer, why), where, scaled > 0)


_JUDGES: dict[str, Callable[[Frames], Sequence[Effect | Range]]] = {
    **{"fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "conv": conv, "bf16": bf16},
    **{f"tab{number}": partial(of_table, number) for number in (3, 4, 5, 6)},
}
_WORDS = csv.DictReader((PUBLISHED / "claims.csv").read_text("utf-8").splitlines())
CLAIMS = tuple(Claim(**each, judge=_JUDGES[each["id"]]) for each in _WORDS)
